//! Trying out a store: each thing that it does not do is named, what can be left out is left out, and nothing stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bk::clock::Clock as _;
use bk::format::node::Timestamp;
use bk::store::probe::{ProbeError, ProbeReport, Step, measure, probe};
use bk::store::{Area, Listed, ObjectName, Store, StoreError, Upload};
use support::{MemoryStore, TestClock};

/// What a store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    None,
    RefusesToWrite,
    LosesTheAnswerOfAPut,
    ChangesABit,
    ListsNothing,
    ListsAnotherLength,
    SaysAnotherLength,
    CannotLook,
    RefusesToDelete,
    FailsToDelete,
    OnlySaysThatItDeletes,
    /// Somebody who cleans takes away the first object that is put.
    LosesTheFirst,
    KeepsNothing,
    IsSlow,
}

struct Odd {
    inner: MemoryStore,
    oddity: Oddity,
    puts: AtomicU32,
    deletes: AtomicU32,
}

impl Odd {
    fn new(oddity: Oddity, clock: &TestClock) -> Self {
        let inner = MemoryStore::new();
        inner.set_time(clock.wall());
        Self { inner, oddity, puts: AtomicU32::new(0), deletes: AtomicU32::new(0) }
    }

    fn is(&self, oddity: Oddity) -> bool {
        self.oddity == oddity
    }

    fn left(&self) -> usize {
        Area::ALL.into_iter().chain([Area::Temporary]).map(|area| self.inner.names(area).len()).sum()
    }
}

fn failure(action: &'static str, kind: std::io::ErrorKind) -> StoreError {
    StoreError::Io { action, name: "it".into(), location: "odd:".into(), source: kind.into() }
}

const DENIED: std::io::ErrorKind = std::io::ErrorKind::PermissionDenied;
const BROKEN: std::io::ErrorKind = std::io::ErrorKind::BrokenPipe;

impl Store for Odd {
    fn location(&self) -> String {
        "odd:".into()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let mut bytes = self.inner.get(name)?;
        bytes[7] ^= u8::from(self.is(Oddity::ChangesABit));
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inner.get_range(name, offset, length, into)
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        assert_eq!(name.area(), Area::Temporary, "readers of the repository do not see it");
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        match self.oddity {
            Oddity::RefusesToWrite => return Err(failure("write", DENIED)),
            Oddity::KeepsNothing => return Ok(()),
            Oddity::IsSlow => {
                std::thread::sleep(Duration::from_millis(100));
                self.inner.put_new(name, bytes)?;
            }
            Oddity::LosesTheFirst if number == 0 => return Ok(()),
            _ => self.inner.put_new(name, bytes)?,
        }
        if self.is(Oddity::LosesTheAnswerOfAPut) { Err(failure("write", BROKEN)) } else { Ok(()) }
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        self.inner.begin()
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.inner.list(area)?;
        match self.oddity {
            Oddity::ListsNothing => listed.clear(),
            Oddity::ListsAnotherLength => listed.iter_mut().for_each(|listed| listed.size -= 1),
            _ => {}
        }
        Ok(listed)
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        match self.oddity {
            Oddity::SaysAnotherLength => Ok(self.inner.stat(name)?.map(|size| size + 1)),
            Oddity::CannotLook => Err(failure("look at", BROKEN)),
            _ => self.inner.stat(name),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.deletes.fetch_add(1, Ordering::Relaxed);
        match self.oddity {
            Oddity::RefusesToDelete => Err(failure("delete", DENIED)),
            Oddity::FailsToDelete => Err(failure("delete", BROKEN)),
            Oddity::OnlySaysThatItDeletes => Ok(()),
            _ => self.inner.delete(name),
        }
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time()
    }
}

/// The steps that were taken, in their order; `!` before one that failed.
fn steps(report: &ProbeReport) -> String {
    let step = |(step, result): &(Step, Result<(), ProbeError>)| match result {
        Ok(()) => format!("{step:?}"),
        Err(_) => format!("!{step:?}"),
    };
    report.steps.iter().map(step).collect::<Vec<_>>().join(" ")
}

fn tried(oddity: Oddity) -> (Odd, ProbeReport) {
    let clock = TestClock::tomorrow();
    let store = Odd::new(oddity, &clock);
    let report = probe(&store, &clock);
    (store, report)
}

#[test]
fn a_store_that_does_everything_is_sound_and_nothing_is_left() {
    let (store, report) = tried(Oddity::None);
    assert_eq!(steps(&report), "Write Read List Size Delete Gone");
    assert!(report.is_sound() && !report.is_left() && report.answer_time.is_some());
    assert!(report.clock.unwrap().ahead_seconds.abs() < 1.0);
    let rates = measure(&store).unwrap();
    assert!(rates.put_bytes_per_second > 0 && rates.got_bytes_per_second > 0);
    assert_eq!(store.left(), 0);
}

#[test]
fn each_thing_that_a_store_does_not_do_is_named_and_the_rest_is_tried_all_the_same() {
    let cases = [
        (Oddity::ChangesABit, "Write !Read List Size Delete Gone", 0),
        (Oddity::ListsNothing, "Write Read !List Size Delete Gone", 0),
        (Oddity::ListsAnotherLength, "Write Read !List Size Delete Gone", 0),
        (Oddity::CannotLook, "Write Read List !Size Delete !Gone", 0),
        (Oddity::SaysAnotherLength, "Write Read List !Size Delete Gone", 0),
        (Oddity::FailsToDelete, "Write Read List Size !Delete", 1),
        (Oddity::OnlySaysThatItDeletes, "Write Read List Size Delete !Gone", 1),
        (Oddity::RefusesToWrite, "!Write", 0),
    ];
    for (oddity, expected, left) in cases {
        let (store, report) = tried(oddity);
        assert_eq!(steps(&report), expected, "{oddity:?}");
        assert_eq!((store.left(), report.is_left()), (left, left == 1), "{oddity:?}");
        assert!(!report.is_sound() && !report.is_delete_refused(), "{oddity:?}");
        for (_, result) in &report.steps {
            let Err(error) = result else { continue };
            assert!(!error.hint().is_empty(), "{oddity:?}");
            let is_told = matches!(error, ProbeError::Store(_)) || error.to_string().contains(&report.name);
            assert!(is_told && error.to_string().contains("odd:"), "{error}");
        }
        let is_well = |step| report.step(step).is_some_and(Result::is_ok);
        assert_eq!(report.clock.is_some(), is_well(Step::List), "{oddity:?}");
        assert_eq!(report.answer_time.is_some(), is_well(Step::Size), "{oddity:?}");
    }
}

#[test]
fn deleting_that_is_refused_is_told_apart_from_deleting_that_fails() {
    let (store, report) = tried(Oddity::RefusesToDelete);
    assert!(report.is_delete_refused() && report.is_left() && !report.is_sound());
    assert_eq!(store.inner.names(Area::Temporary).first().map(ToString::to_string), Some(report.name));
}

#[test]
fn a_put_of_which_only_the_answer_was_lost_leaves_nothing() {
    let (store, report) = tried(Oddity::LosesTheAnswerOfAPut);
    assert_eq!((steps(&report).as_str(), store.left()), ("!Write", 0));
}

#[test]
fn an_object_that_somebody_cleaned_away_is_put_once_more_and_one_that_is_never_there_is_told() {
    let (store, report) = tried(Oddity::LosesTheFirst);
    assert!(report.is_sound() && store.puts.load(Ordering::Relaxed) == 2);
    let (store, report) = tried(Oddity::KeepsNothing);
    assert!(report.step(Step::Read).unwrap().is_err() && store.puts.load(Ordering::Relaxed) == 2);
}

#[test]
fn the_clock_of_a_store_is_compared_with_ours_when_it_took_the_object() {
    for seconds in [-7200, -90, 90, 7200] {
        let clock = TestClock::tomorrow();
        let store = MemoryStore::new();
        let now = clock.wall();
        store.set_time(Timestamp { seconds: now.seconds + seconds, ..now });
        let difference = probe(&store, &clock).clock.unwrap();
        assert!((difference.ahead_seconds - seconds as f64).abs() < 1.0, "{difference:?}");
        assert!((0.0..1.0).contains(&difference.uncertain_seconds), "{difference:?}");
    }
}

#[test]
fn half_of_the_way_to_the_store_and_back_is_taken_off_the_difference() {
    let (_, report) = tried(Oddity::IsSlow);
    let difference = report.clock.unwrap();
    assert!(difference.uncertain_seconds >= 0.05, "{difference:?}");
    assert!((difference.ahead_seconds + difference.uncertain_seconds).abs() < 1e-6, "{difference:?}");
}

#[test]
fn what_a_run_that_died_has_left_goes_after_a_day_and_not_before() {
    let clock = TestClock::tomorrow();
    let leave = |store: &Odd| {
        let name = ObjectName::Plain(Area::Temporary, bk::id::ObjectId([7; 32]));
        store.inner.put_new(&name, b"left").unwrap();
    };
    let after = |store: &Odd, time| {
        clock.advance(time);
        store.inner.set_time(clock.wall());
        let _ = probe(store, &clock);
        store.left()
    };
    let store = Odd::new(Oddity::None, &clock);
    leave(&store);
    assert_eq!(after(&store, Duration::from_secs(23 * 3600)), 1);
    assert_eq!(after(&store, Duration::from_secs(2 * 3600)), 0);
    // Where deleting is refused it is tried with one of them, not with all.
    let store = Odd::new(Oddity::RefusesToDelete, &clock);
    for _ in 0..5 {
        let _ = probe(&store, &clock);
    }
    store.deletes.store(0, Ordering::Relaxed);
    assert_eq!(after(&store, Duration::from_secs(25 * 3600)), 6);
    assert_eq!(store.deletes.load(Ordering::Relaxed), 2);
}

#[test]
fn a_measurement_that_fails_says_at_what_and_leaves_nothing_that_can_go() {
    let clock = TestClock::tomorrow();
    let cases = [
        (Oddity::RefusesToWrite, Step::Write, 0),
        (Oddity::LosesTheAnswerOfAPut, Step::Write, 0),
        (Oddity::ChangesABit, Step::Read, 0),
        (Oddity::RefusesToDelete, Step::Delete, 1),
    ];
    for (oddity, expected, left) in cases {
        let store = Odd::new(oddity, &clock);
        let (step, _) = measure(&store).unwrap_err();
        assert_eq!((step, store.left()), (expected, left), "{oddity:?}");
    }
}
