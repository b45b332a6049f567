//! What is done so far: written by every thread that works, read now and then by whatever shows it.
//!
//! Writers pay two additions, on a cache line that few other threads write to. A path is kept only when a reader has
//! asked for one since the last, and then into memory that is used again, so that telling the current entry costs one
//! load.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Longer paths are cut: nobody can read them on one line.
const MAX_PATH_LEN: usize = 8 << 10;

/// Threads that count at once without waiting for each other's cache line.
const SHARES: usize = 8;

/// What some of the threads did; alone on its cache line (processors fetch them in pairs).
#[repr(align(128))]
#[derive(Default)]
struct Share {
    items: AtomicU64,
    bytes: AtomicU64,
}

/// The share of this thread.
fn own_share() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARES;
    }
    OWN.with(|own| *own)
}

#[derive(Default)]
struct Slow {
    phase: String,
    phase_began: Duration,
    total_items: Option<u64>,
    total_bytes: Option<u64>,
    current: Vec<u8>,
}

/// What is done so far.
pub(super) struct Tally {
    shares: [Share; SHARES],
    /// A reader wants to know the current entry.
    wanted: AtomicBool,
    slow: Mutex<Slow>,
    watch: Stopwatch,
}

/// What was done at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub phase: String,
    pub items: u64,
    pub bytes: u64,
    pub total_items: Option<u64>,
    pub total_bytes: Option<u64>,
    /// Since the operation began.
    pub elapsed: Duration,
    /// Since the phase began.
    pub phase_elapsed: Duration,
    /// An entry that was being worked on; empty when none was told.
    pub current: Vec<u8>,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            shares: Default::default(),
            wanted: AtomicBool::new(true),
            slow: Mutex::default(),
            watch: Stopwatch::start(),
        }
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn phase(&self, name: &str, total_bytes: Option<u64>) {
        let mut slow = self.slow();
        for share in &self.shares {
            share.items.store(0, Ordering::Relaxed);
            share.bytes.store(0, Ordering::Relaxed);
        }
        self.wanted.store(true, Ordering::Relaxed);
        *slow = Slow {
            phase: name.to_owned(),
            phase_began: self.watch.elapsed(),
            total_items: None,
            total_bytes,
            current: Vec::new(),
        };
    }

    pub fn total(&self, items: u64, bytes: u64) {
        let mut slow = self.slow();
        slow.total_items = Some(items);
        slow.total_bytes = Some(bytes);
    }

    pub fn advance(&self, items: u64, bytes: u64) {
        let Some(share) = self.shares.get(own_share()) else { return };
        // Most calls move only one of the two.
        if items > 0 {
            share.items.fetch_add(items, Ordering::Relaxed);
        }
        if bytes > 0 {
            share.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub fn current(&self, path: &[u8]) {
        if self.wanted.load(Ordering::Relaxed) && self.wanted.swap(false, Ordering::Relaxed) {
            let mut slow = self.slow();
            slow.current.clear();
            slow.current.extend(path.iter().take(MAX_PATH_LEN));
        }
    }

    /// Looks at it, and asks for another current entry.
    pub fn view(&self) -> View {
        let slow = self.slow();
        self.wanted.store(true, Ordering::Relaxed);
        let elapsed = self.watch.elapsed();
        let sum =
            |count: fn(&Share) -> &AtomicU64| self.shares.iter().map(|one| count(one).load(Ordering::Relaxed)).sum();
        View {
            phase: slow.phase.clone(),
            items: sum(|share| &share.items),
            bytes: sum(|share| &share.bytes),
            total_items: slow.total_items,
            total_bytes: slow.total_bytes,
            elapsed,
            phase_elapsed: elapsed.saturating_sub(slow.phase_began),
            current: slow.current.clone(),
        }
    }
}

impl View {
    /// How much of the phase is done, 0 to 1, when its total is known: by bytes, by items where there are none.
    pub fn fraction(&self) -> Option<f64> {
        let (done, total) = match (self.total_bytes, self.total_items) {
            (Some(total), _) if total > 0 => (self.bytes, total),
            (_, Some(total)) if total > 0 => (self.items, total),
            _ => return None,
        };
        Some((done as f64 / total as f64).min(1.0))
    }
}

/// How fast it goes lately; an average that forgets what is long ago.
#[derive(Debug, Default)]
pub(super) struct Pace {
    items: u64,
    bytes: u64,
    at: Duration,
    items_per_second: f64,
    bytes_per_second: f64,
}

/// What is so long ago counts about a third.
const MEMORY_SECONDS: f64 = 10.0;

/// Before this an estimate is a guess.
const FIRST_ESTIMATE: Duration = Duration::from_secs(2);

impl Pace {
    /// Takes in what is done now.
    pub fn update(&mut self, view: &View) {
        if view.items < self.items || view.bytes < self.bytes || view.phase_elapsed < self.at {
            // A new phase.
            *self = Self::default();
        }
        let seconds = view.phase_elapsed.saturating_sub(self.at).as_secs_f64();
        if seconds < 1e-6 {
            return;
        }
        // The plain average at first, then the forgetful one.
        let weight = (1.0 - (-seconds / MEMORY_SECONDS).exp()).max(seconds / view.phase_elapsed.as_secs_f64());
        let blend = |old: &mut f64, more: u64| *old += (more as f64 / seconds - *old) * weight.min(1.0);
        blend(&mut self.items_per_second, view.items - self.items);
        blend(&mut self.bytes_per_second, view.bytes - self.bytes);
        (self.items, self.bytes, self.at) = (view.items, view.bytes, view.phase_elapsed);
    }

    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second as u64
    }

    /// How long the rest of the phase takes at this speed.
    pub fn remaining(&self, view: &View) -> Option<Duration> {
        let (left, speed) = match (view.total_bytes, view.total_items) {
            (Some(total), _) if total > 0 => (total.saturating_sub(view.bytes), self.bytes_per_second),
            (_, Some(total)) => (total.saturating_sub(view.items), self.items_per_second),
            _ => return None,
        };
        if view.phase_elapsed < FIRST_ESTIMATE {
            return None;
        }
        Duration::try_from_secs_f64(left as f64 / speed).ok().filter(|left| left.as_secs() < 1000 * 3600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, bytes: u64, total: Option<u64>) -> View {
        let phase_elapsed = Duration::from_secs(seconds);
        View { bytes, total_bytes: total, phase_elapsed, ..View::default() }
    }

    #[test]
    fn what_several_threads_do_is_added_up() {
        let tally = Tally::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| tally.advance(1, 10)));
            }
        });
        let view = tally.view();
        assert_eq!((view.items, view.bytes), (4000, 40_000));
    }

    #[test]
    fn a_path_is_kept_only_when_one_was_asked_for() {
        let tally = Tally::new();
        tally.current(b"first");
        tally.current(b"second");
        assert_eq!(tally.view().current, b"first");
        tally.current(b"third");
        assert_eq!(tally.view().current, b"third");
        assert_eq!(tally.view().current, b"third", "nothing new was told");
    }

    #[test]
    fn a_new_phase_begins_at_nothing() {
        let tally = Tally::new();
        tally.total(3, 30);
        tally.advance(1, 10);
        tally.current(b"x");
        tally.phase("checking", Some(7));
        let view = tally.view();
        assert_eq!((view.items, view.bytes, view.total_items, view.total_bytes), (0, 0, None, Some(7)));
        assert_eq!((view.phase.as_str(), view.current.as_slice()), ("checking", &b""[..]));
    }

    #[test]
    fn the_fraction_goes_by_bytes_and_by_items_where_there_are_none() {
        assert_eq!(at(1, 5, Some(20)).fraction(), Some(0.25));
        assert_eq!(at(1, 50, Some(20)).fraction(), Some(1.0), "a file grew while it was read");
        assert_eq!(at(1, 5, None).fraction(), None);
        assert_eq!(View { items: 1, total_items: Some(4), ..at(1, 5, Some(0)) }.fraction(), Some(0.25));
        assert_eq!(at(1, 0, Some(0)).fraction(), None);
    }

    #[test]
    fn the_pace_is_the_average_at_first_and_follows_a_change() {
        let mut pace = Pace::default();
        for second in 1..=5 {
            pace.update(&at(second, second * 100, Some(10_000)));
        }
        assert_eq!(pace.bytes_per_second(), 100);
        assert_eq!(pace.remaining(&at(5, 500, Some(10_000))), Some(Duration::from_secs(95)));
        for second in 6..=65 {
            pace.update(&at(second, 500 + (second - 5) * 10, Some(10_000)));
        }
        assert!((10..=12).contains(&pace.bytes_per_second()), "{pace:?}");
        pace.update(&at(1, 7, None));
        assert_eq!(pace.bytes_per_second(), 7, "another phase");
    }

    #[test]
    fn there_is_no_estimate_without_a_total_a_speed_or_some_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.remaining(&at(10, 0, Some(100))), None, "0 bytes a second");
        pace.update(&at(10, 100, None));
        assert_eq!(pace.remaining(&at(10, 100, None)), None);
        assert_eq!(pace.remaining(&at(1, 100, Some(200))), None);
        assert_eq!(pace.remaining(&at(10, 100, Some(200))), Some(Duration::from_secs(10)));
    }
}
