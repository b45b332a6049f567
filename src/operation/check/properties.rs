//! What holds of the choice for any packs, and a year of checks.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::turn::{Done, GRACE, Kept, Standing, Unread, due, late, longest_first, standing, within};
use super::{Budget, Promise};
use crate::format::fact::{Fact, FactKind, Packs};
use crate::format::index_file::PackName;
use crate::format::node::Timestamp;
use crate::id::PackId;
use crate::operation::bench::Bench;
use crate::repository::{Facts, Repository, add_facts, join_facts};
use crate::store::{Area, ObjectName};

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
const NOW: i64 = 20_000 * DAY;

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn name(number: u64) -> PackName {
    PackName { id: PackId(*blake3::hash(&number.to_le_bytes()).as_bytes()), nonce: [0; 8] }
}

/// A pack of ten bytes that was stored and read so many days ago.
fn pack(number: u64, stored: Option<i64>, read: Option<i64>) -> Unread {
    let days_ago = |days: i64| at(NOW - days * DAY);
    Unread { name: name(number), size: 10, stored: stored.map(days_ago), read: read.map(days_ago) }
}

/// Weekly checks, of which this is one and the last was a week ago.
fn weekly(days: i64) -> Promise {
    Promise {
        seconds: days * DAY,
        next: at(NOW + WEEK),
        interval: WEEK,
        last: Some(at(NOW - WEEK)),
        first: Some(at(NOW - 300 * DAY)),
    }
}

fn names(packs: &[Unread]) -> Vec<PackName> {
    packs.iter().map(|pack| pack.name).collect()
}

fn done(late: u64, left_bytes: u64, read_bytes: u64) -> Done {
    Done { began: at(NOW), late, left_bytes, read_bytes }
}

fn kept(packs: &[Unread], promise: &Promise, done: &Done) -> Kept {
    standing(packs, Some(promise), done).kept.unwrap()
}

#[test]
fn budgets_are_sizes_and_times() {
    assert_eq!("20GiB".parse(), Ok(Budget::Bytes(20 << 30)));
    assert_eq!("30min".parse(), Ok(Budget::Time(Duration::from_secs(1800))));
    assert_eq!("2h".parse(), Ok(Budget::Time(Duration::from_secs(7200))));
    for wrong in ["", "0", "0min", "-1h", "half", "10%", "1/7"] {
        assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
    }
}

#[test]
fn the_longest_unread_comes_first_and_equal_ones_by_name() {
    let of_unknown_age = pack(1, None, None);
    let never = pack(2, Some(50), None);
    let long_ago = pack(3, Some(90), Some(40));
    let mut twins = [pack(4, Some(90), Some(3)), pack(5, Some(80), Some(3))];
    twins.sort_by_key(|pack| pack.name);
    let stored_after_it_was_read = pack(6, Some(1), Some(20));
    let sorted = longest_first(vec![twins[1], stored_after_it_was_read, long_ago, twins[0], never, of_unknown_age]);
    assert_eq!(sorted, [of_unknown_age, never, long_ago, twins[0], twins[1], stored_after_it_was_read]);
    assert_eq!(within(Some(Budget::Bytes(25)), sorted.clone()), sorted[..3]);
    assert_eq!(within(Some(Budget::Bytes(20)), sorted.clone()), sorted[..2]);
    assert_eq!(within(Some(Budget::Time(Duration::from_secs(1))), sorted.clone()), sorted);
}

#[test]
fn what_lies_in_the_future_and_readings_of_other_bytes_are_not_believed() {
    let id = name(1).id;
    let fact = |seconds| Fact {
        kind: FactKind::PackRead,
        time: at(seconds),
        host: "h".into(),
        snapshot: None,
        pack: Some(Packs::One(id)),
        detail: None,
    };
    let of = |stored: i64, read: i64| {
        let readings = Facts::of(&[fact(read)]).readings(at(NOW));
        let pack = Unread::new(name(1), 10, at(stored), &readings, at(NOW));
        (pack.stored.map(|time| time.seconds), pack.read.map(|time| time.seconds))
    };
    assert_eq!(of(NOW - DAY, NOW - 50), (Some(NOW - DAY), Some(NOW - 50)));
    assert_eq!(of(NOW + DAY, NOW + DAY), (None, None));
    assert_eq!(of(0, NOW - 50), (None, Some(NOW - 50)), "the store does not say");
    assert_eq!(of(NOW - DAY, NOW - 2 * DAY), (Some(NOW - DAY), None), "stored again since");
    assert_eq!(of(NOW - 600, NOW - 900), (Some(NOW - 600), Some(NOW - 900)), "the clocks are a little apart");
}

#[test]
fn a_promise_of_one_interval_reads_everything_but_what_was_just_stored_or_read() {
    let old = [pack(1, Some(90), Some(7)), pack(2, Some(5), None)];
    let new = [pack(3, Some(0), None), pack(4, Some(90), Some(0))];
    let chosen = due([old, new].concat(), &Promise { last: Some(at(NOW)), ..weekly(7) }, at(NOW));
    assert_eq!(names(&chosen).into_iter().collect::<HashSet<_>>(), names(&old).into_iter().collect());
}

#[test]
fn what_would_be_late_if_the_next_check_were_missed_is_read() {
    // Read 77 days ago: 91 in two weeks, and the day that is not counted has passed a moment later.
    let must = pack(1, Some(200), Some(78));
    let can_wait = pack(2, Some(200), Some(76));
    let nothing_to_share = Promise { last: Some(at(NOW)), ..weekly(90) };
    assert_eq!(due(vec![can_wait, must], &nothing_to_share, at(NOW)), [must]);
}

#[test]
fn a_fair_share_is_read_although_nothing_is_urgent() {
    let packs: Vec<_> = (0..90).map(|number| pack(number, Some(300), Some(30 + number as i64 % 40))).collect();
    let oldest = longest_first(packs.clone());
    assert_eq!(due(packs.clone(), &weekly(90), at(NOW)), oldest[..7]);
    let missed_two = Promise { last: Some(at(NOW - 3 * WEEK)), ..weekly(90) };
    assert_eq!(due(packs.clone(), &missed_two, at(NOW)).len(), 21);
    let unknown = Promise { last: None, ..weekly(90) };
    assert_eq!(due(packs.clone(), &unknown, at(NOW)).len(), 7);
    let mut another_has = packs;
    for pack in another_has.iter_mut().take(7) {
        pack.read = Some(at(NOW - 3600));
    }
    assert_eq!(due(another_has, &weekly(90), at(NOW)), [], "another machine has read the share of this week");
}

#[test]
fn a_new_promise_is_not_broken_on_its_first_day_and_reads_everything_in_its_time() {
    let packs: Vec<_> = (0..900).map(|number| pack(number, Some(700), None)).collect();
    let first = Promise { first: None, last: None, ..weekly(90) };
    assert_eq!(late(&packs, &first, at(NOW)), 0);
    let chosen = due(packs.clone(), &first, at(NOW));
    assert_eq!(chosen.len(), 70);
    let read: HashSet<_> = names(&chosen).into_iter().collect();
    let after: Vec<_> = packs
        .iter()
        .map(|pack| if read.contains(&pack.name) { Unread { read: Some(at(NOW)), ..*pack } } else { *pack })
        .collect();
    let kept = kept(&after, &first, &done(0, 0, 700));
    assert_eq!((kept.waiting, kept.broken, kept.is_on_time(), kept.is_kept()), (830, None, true, false));
    let by = kept.read_by.unwrap().seconds;
    assert!(by <= NOW + 90 * DAY && by > NOW + 70 * DAY, "{}", (by - NOW) / DAY);
    let later = Promise { first: Some(at(NOW - 100 * DAY)), ..first };
    assert_eq!(late(&packs, &later, at(NOW)), 900, "the promise is old by now");
}

#[test]
fn a_budget_that_breaks_the_promise_is_told_with_the_date() {
    let packs = [pack(1, Some(300), Some(88)), pack(2, Some(300), Some(0))];
    let promise = weekly(90);
    let kept = kept(&packs, &promise, &done(0, 10, 10));
    assert_eq!(kept.broken, Some(at(NOW + 2 * DAY)));
    assert!(!kept.is_on_time());
    let in_time = [pack(1, Some(300), Some(80)), packs[1]];
    assert_eq!(super::properties::kept(&in_time, &promise, &done(0, 10, 10)).broken, None, "the next check reads it");
    // 830 packs are waiting, and a budget for one of them each week reads them in sixteen years.
    let packs: Vec<_> = (0..830).map(|number| pack(number, Some(700), None)).collect();
    let first = Promise { first: None, last: None, ..weekly(90) };
    let kept = super::properties::kept(&packs, &first, &done(0, 690, 10));
    assert_eq!(kept.broken, Some(at(NOW + 90 * DAY)));
    assert!(kept.read_by.unwrap().seconds > NOW + 5000 * DAY);
}

#[test]
fn a_promise_shorter_than_the_time_between_checks_is_told_to_break() {
    let packs = [pack(1, Some(300), Some(0))];
    assert_eq!(kept(&packs, &weekly(3), &done(0, 0, 10)).broken, Some(at(NOW + 3 * DAY)));
    assert_eq!(kept(&packs, &weekly(7), &done(0, 0, 10)).broken, None);
}

#[test]
fn how_things_stand_is_the_oldest_of_all() {
    let all = standing(&[pack(1, Some(30), Some(6)), pack(2, Some(90), Some(2))], None, &done(0, 0, 0));
    let days = |time: Option<Timestamp>| time.map(|time| (NOW - time.seconds) / DAY);
    assert_eq!((all.packs, all.never_read, days(all.oldest_reading), days(all.unread_since)), (2, 0, Some(6), Some(6)));
    let some = standing(&[pack(1, Some(30), None), pack(2, Some(90), Some(2))], None, &done(0, 0, 0));
    assert_eq!((some.never_read, days(some.oldest_reading), days(some.unread_since)), (1, Some(2), Some(30)));
    let unknown = standing(&[pack(1, None, None), pack(2, None, Some(2))], None, &done(0, 0, 0));
    assert_eq!((unknown.never_read, unknown.unread_since), (1, None));
    assert_eq!(standing(&[], None, &done(0, 0, 0)), Standing::default());
}

fn any_packs() -> impl Strategy<Value = Vec<Unread>> {
    let day = || proptest::option::of(0..400_i64);
    proptest::collection::vec((day(), day(), 0..1000_u64), 0..60).prop_map(|all| {
        let numbered = all.into_iter().zip(0..);
        numbered.map(|((stored, read, size), number)| Unread { size, ..pack(number, stored, read) }).collect()
    })
}

proptest! {
    #[test]
    fn what_is_left_is_never_late_before_the_next_check_and_what_is_read_is_the_oldest(
        packs in any_packs(), days in 7..200_i64, last in proptest::option::of(0..100_i64),
    ) {
        let promise = Promise { last: last.map(|days| at(NOW - days * DAY)), ..weekly(days) };
        let chosen = due(packs.clone(), &promise, at(NOW));
        let read: HashSet<_> = names(&chosen).into_iter().collect();
        prop_assert_eq!(read.len(), chosen.len());
        let after: Vec<_> = packs.iter().map(|pack| {
            if read.contains(&pack.name) { Unread { read: Some(at(NOW)), ..*pack } } else { *pack }
        }).collect();
        prop_assert_eq!(late(&after, &promise, promise.next), 0);
        let mut shuffled = packs;
        shuffled.reverse();
        prop_assert_eq!(names(&due(shuffled, &promise, at(NOW))), names(&chosen), "the order of a list does not matter");
    }

    #[test]
    fn a_budget_is_reached_but_hardly_passed(packs in any_packs(), budget in 1..20_000_u64) {
        let all: u64 = packs.iter().map(|pack| pack.size).sum();
        let chosen = within(Some(Budget::Bytes(budget)), longest_first(packs));
        let bytes: u64 = chosen.iter().map(|pack| pack.size).sum();
        prop_assert!(bytes >= budget.min(all));
        prop_assert!(bytes < budget + 1000);
    }
}

/// A repository whose packs are names only, and which machine has checked it when.
struct Year {
    bench: Bench,
    packs: BTreeMap<PackName, (u64, i64)>,
    hosts: [(Option<Timestamp>, Option<Timestamp>); 2],
    made: u64,
    read_bytes: u64,
    random: u64,
}

impl Year {
    fn new(random: u64) -> Self {
        let (packs, hosts) = (BTreeMap::new(), [(None, None); 2]);
        Self { bench: Bench::new(), packs, hosts, made: 0, read_bytes: 0, random }
    }

    fn repository(&self) -> &Repository {
        &self.bench.repository
    }

    fn roll(&mut self, most: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % most
    }

    fn back_up(&mut self, now: i64, packs: u64) {
        for _ in 0..packs {
            self.made += 1;
            let size = 1000 + self.roll(1000);
            self.repository().store().put_new(&ObjectName::Pack(name(self.made)), b"pack").unwrap();
            self.packs.insert(name(self.made), (size, now));
        }
    }

    fn prune(&mut self, now: i64) {
        let gone: Vec<_> = self.packs.keys().copied().collect();
        for name in gone {
            if self.roll(40) == 0 {
                self.repository().store().delete(&ObjectName::Pack(name)).unwrap();
                self.packs.remove(&name);
            }
        }
        let before = self.ages(now);
        let facts: Vec<_> = self.repository().store().list(Area::Facts).unwrap().iter().map(|one| one.name).collect();
        if facts.len() >= 8 {
            join_facts(self.repository(), &facts, at(now)).unwrap();
            assert_eq!(self.repository().store().list(Area::Facts).unwrap().len(), 1);
        }
        assert_eq!(self.ages(now), before, "readings survive");
    }

    fn ages(&self, now: i64) -> Vec<Unread> {
        let readings = Facts::load(self.repository()).unwrap().readings(at(now));
        let age = |(name, (size, stored)): (&PackName, &(u64, i64))| {
            Unread::new(*name, *size, at(*stored), &readings, at(now))
        };
        self.packs.iter().map(age).collect()
    }

    /// For how many seconds a pack was not read at most, by what a machine knows.
    fn oldest(&self, host: usize, now: i64) -> i64 {
        let first = self.hosts[host].1.map_or(now, |first| first.seconds);
        let since = |pack: &Unread| match (pack.read, pack.stored) {
            (Some(read), _) => read.seconds,
            (None, stored) => stored.unwrap().seconds.max(first),
        };
        now - self.ages(now).iter().map(since).min().unwrap()
    }

    /// One machine checks, an hour after the other.
    fn check(&mut self, host: usize, now: i64, days: i64) -> Kept {
        let (last, first) = self.hosts[host];
        let promise = Promise { last, first, next: at(now + WEEK), ..weekly(days) };
        let mut ages = self.ages(now);
        let late = late(&ages, &promise, at(now));
        let chosen = due(ages.clone(), &promise, at(now));
        let starts = chosen.iter().map(|pack| Packs::start(&pack.name.id)).collect();
        let fact = Fact {
            kind: FactKind::PackRead,
            time: at(now),
            host: format!("host{host}"),
            snapshot: None,
            pack: Some(Packs::Starts(starts)),
            detail: None,
        };
        if !chosen.is_empty() {
            add_facts(self.repository(), &[fact]).unwrap();
        }
        let read_bytes = chosen.iter().map(|pack| pack.size).sum();
        self.read_bytes += read_bytes;
        self.hosts[host] = (Some(at(now)), first.or(Some(at(now))));
        let read: HashSet<_> = names(&chosen).into_iter().collect();
        ages.iter_mut().filter(|pack| read.contains(&pack.name)).for_each(|pack| pack.read = Some(at(now)));
        let done = Done { began: at(now), late, left_bytes: 0, read_bytes };
        standing(&ages, Some(&promise), &done).kept.unwrap()
    }
}

#[test]
fn in_a_year_of_checks_every_promise_is_kept_or_told_to_be_broken() {
    for (days, seed) in [(90, 1), (90, 2), (30, 3)] {
        let mut year = Year::new(seed);
        let (start, mut last_check, mut needed, mut broken) = (NOW, NOW, 0.0, 0);
        year.back_up(start, 200);
        for day in 1..=400 {
            let now = start + day * DAY;
            let packs = 1 + year.roll(4);
            year.back_up(now, packs);
            needed += year.packs.values().map(|(size, _)| *size as f64).sum::<f64>() / days as f64;
            if day % 7 == 3 {
                year.prune(now + 3600);
            }
            // In the summer nobody checks for a while.
            let is_away =
                (days == 30 && (200..250).contains(&day)) || (days == 90 && seed == 2 && (200..310).contains(&day));
            for host in 0..2 {
                let now = now + 5 * 3600 + host as i64 * 3600;
                if day % 7 != 0 || is_away || year.roll(7) == 0 {
                    continue;
                }
                let oldest = year.oldest(host, now);
                let on_time = now - last_check <= 2 * WEEK;
                last_check = now;
                let kept = year.check(host, now, days);
                let what = format!("promise of {days} days, day {day}, host {host}: the oldest {oldest} s, {kept:?}");
                assert_eq!(kept.late > 0, oldest > days * DAY + GRACE, "{what}");
                assert!(!on_time || kept.is_on_time(), "{what}");
                broken += u64::from(!kept.is_on_time());
            }
        }
        assert_eq!(broken > 0, days == 30 || seed == 2, "of {days} days");
        let ratio = year.read_bytes as f64 / needed;
        assert!((0.6..1.5).contains(&ratio), "{days} days: {ratio}");
    }
}
