//! How fast bytes may flow: one pace for all connections of a repository.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::Stopwatch;

/// So often in a second something moves, as long as the limit is not very low.
const SLICES_PER_SECOND: u64 = 8;

/// Whoever wants to move bytes waits until those before have had their time.
pub(super) struct Pace {
    bytes_per_second: u64,
    since: Stopwatch,
    /// Until when the bytes that were let go take, counted from `since`.
    taken: Mutex<Duration>,
}

impl Pace {
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), since: Stopwatch::start(), taken: Mutex::default() }
    }

    /// How many bytes go at once: little enough that none of several connections seems to stand still.
    pub fn slice_len(&self) -> usize {
        usize::try_from((self.bytes_per_second / SLICES_PER_SECOND).clamp(1 << 10, 64 << 10)).unwrap_or(1 << 10)
    }

    /// When so many bytes may move: after those that were asked for before.
    pub fn wait_for(&self, bytes: usize) -> Pin<Box<Sleep>> {
        Box::pin(tokio::time::sleep(self.reserve(bytes, self.since.elapsed())))
    }

    fn reserve(&self, bytes: usize, now: Duration) -> Duration {
        let nanos = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = (*taken).max(now).saturating_add(cost);
        taken.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn all_who_ask_share_the_time_and_what_was_not_used_is_not_saved_up() {
        let pace = Pace::new(1000);
        assert_eq!(pace.reserve(500, SECOND), SECOND / 2);
        assert_eq!(pace.reserve(1000, SECOND), SECOND * 3 / 2, "after the one before");
        assert_eq!(pace.reserve(1000, SECOND * 100), SECOND, "a pause is no credit");
    }

    #[test]
    fn slices_are_small_where_the_way_is_narrow() {
        assert_eq!([1, 80_000, 1 << 40].map(|limit| Pace::new(limit).slice_len()), [1024, 10_000, 65_536]);
    }
}
