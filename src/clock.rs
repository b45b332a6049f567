//! Time, read in one place only: tests put a clock of their own here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A point in time as file systems keep it: seconds since 1970 (negative before) and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub seconds: i64,
    /// Nanoseconds after [`Self::seconds`], below 1,000,000,000.
    pub nanos: u32,
}

/// The clock that a local repository stamps its files with, where it is not the machine's own: a simulation of many
/// nights needs files as old as its nights.
#[derive(Clone)]
pub struct Stamps(pub Arc<dyn Clock>);

impl std::fmt::Debug for Stamps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Stamps({:?})", self.0.wall())
    }
}

/// The two clocks that `bk` needs. (The third, the store's own, is in what a store lists.)
pub trait Clock: Send + Sync {
    /// The time of day; may jump.
    fn wall(&self) -> Timestamp;
    /// Time since the machine started, suspend included (`CLOCK_BOOTTIME`); never jumps.
    /// `std::time::Instant` stops while a machine sleeps, so it cannot bound a commit.
    fn boottime(&self) -> Duration;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn wall(&self) -> Timestamp {
        (**self).wall()
    }

    fn boottime(&self) -> Duration {
        (**self).boottime()
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        Timestamp { seconds: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
    }

    fn boottime(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// Measures how long something takes: for rates and estimates that people read. Decisions use [`Clock`].
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it began.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
