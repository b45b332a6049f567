//! How old things are, by clocks that may be wrong. bk-repository(7), "PRUNING".
//!
//! A mark is due when a day has passed by the clock of the store and by the one of the machine. Either may have
//! jumped. After a long silence of the store, time counts only once something stored after it is a day old.

use std::time::Duration;

use crate::format::node::Timestamp;

/// So long marked packs stay, and so old packs are when they are marked.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);
/// So long they stay where the store tells no times, by the clocks of machines alone.
const GRACE_WITHOUT_TIMES: Duration = Duration::from_secs(72 * 3600);
/// When nothing was stored for longer, the clock of the store may have jumped.
const SILENCE: Duration = Duration::from_secs(10 * 24 * 3600);
/// Packs of a run that put no snapshot are kept so long after its last index object.
pub const RUN_LIVES: Duration = Duration::from_secs(14 * 24 * 3600);

/// Whether at least `age` lies between two times.
pub(super) fn is_older(then: Timestamp, now: Timestamp, age: Duration) -> bool {
    let past = i128::from(now.seconds) * 1_000_000_000 + i128::from(now.nanos)
        - i128::from(then.seconds) * 1_000_000_000
        - i128::from(then.nanos);
    past >= age.as_nanos().cast_signed()
}

fn after(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp { seconds: time.seconds.saturating_add_unsigned(by.as_secs()), ..time }
}

/// What the clocks say.
#[derive(Debug, Clone)]
pub(super) struct Ages {
    /// Now, by the clock of the store; `None` when it tells no times.
    pub(super) now: Option<Timestamp>,
    /// Now, by the clock of this machine.
    pub(super) wall: Timestamp,
    /// When objects were stored, sorted.
    times: Vec<Timestamp>,
}

/// Whether what is marked may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It may.
    Now,
    /// Not before this time of the store or the machine.
    NotBefore(Timestamp),
    /// The clock may have jumped: something has to be stored now and to become a day old.
    Unsure,
}

impl Ages {
    /// `times` are those of all objects in the store.
    pub(super) fn new(now: Timestamp, wall: Timestamp, mut times: Vec<Timestamp>) -> Self {
        times.retain(|time| *time != Timestamp::default());
        times.sort_unstable();
        Self { now: (now != Timestamp::default()).then_some(now), wall, times }
    }

    /// Whether an object was stored at least `age` ago.
    pub(super) fn is_stored_for(&self, stored: Timestamp, age: Duration) -> bool {
        match self.now {
            Some(now) if stored != Timestamp::default() => is_older(stored, now, age),
            _ => false,
        }
    }

    /// Whether the packs of a mark may be deleted, that was written at `written` by the clock of its machine, and at
    /// `stored` by the one of the store.
    pub(super) fn due(&self, written: Timestamp, stored: Timestamp) -> Due {
        let (Some(now), true) = (self.now, stored != Timestamp::default()) else {
            return if is_older(written, self.wall, GRACE_WITHOUT_TIMES) {
                Due::Now
            } else {
                Due::NotBefore(after(written, GRACE_WITHOUT_TIMES))
            };
        };
        if !is_older(stored, now, GRACE) {
            return Due::NotBefore(after(stored, GRACE));
        }
        if !is_older(written, self.wall, GRACE) {
            return Due::NotBefore(after(written, GRACE));
        }
        let agrees = |time: &Timestamp| is_older(stored, *time, GRACE) && is_older(*time, now, GRACE);
        if self.since_silence(now) <= stored || self.times.iter().any(agrees) { Due::Now } else { Due::Unsure }
    }

    /// The first time after which nothing was silent for long.
    fn since_silence(&self, now: Timestamp) -> Timestamp {
        let mut first = now;
        for time in self.times.iter().rev().filter(|time| **time <= now) {
            if is_older(*time, first, SILENCE) {
                break;
            }
            first = *time;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds: 1_800_000_000 + seconds, nanos: 0 }
    }

    fn due(now: i64, wall: i64, times: &[i64], mark: i64) -> Due {
        Ages::new(at(now), at(wall), times.iter().map(|time| at(*time)).collect()).due(at(mark), at(mark))
    }

    #[test]
    fn a_mark_is_due_a_day_later_by_both_clocks() {
        assert_eq!(due(DAY, DAY, &[0], 0), Due::Now);
        assert_eq!(due(DAY - 1, DAY, &[0], 0), Due::NotBefore(at(DAY)));
        assert_eq!(due(DAY, DAY - 1, &[0], 0), Due::NotBefore(at(DAY)));
        assert_eq!(due(-DAY, 2 * DAY, &[0], 0), Due::NotBefore(at(DAY)));
    }

    #[test]
    fn after_a_long_silence_something_stored_since_must_be_a_day_old() {
        let month = 30 * DAY;
        assert_eq!(due(month, month, &[-DAY, 0], 0), Due::Unsure);
        assert_eq!(due(month + HOUR, month + HOUR, &[-DAY, 0, month], 0), Due::Unsure);
        assert_eq!(due(month + DAY, month + DAY, &[-DAY, 0, month], 0), Due::Now);
        // Somebody who prunes once a month: what the last one left agrees.
        assert_eq!(due(2 * month, 2 * month, &[-DAY, 0, month], 0), Due::Now);
        assert_eq!(due(9 * DAY, 9 * DAY, &[-DAY, 0], 0), Due::Now);
    }

    #[test]
    fn a_store_without_times_is_given_three_days_by_the_clocks_of_machines() {
        let ages = |wall| Ages::new(Timestamp::default(), at(wall), Vec::new());
        assert_eq!(ages(3 * DAY).due(at(0), Timestamp::default()), Due::Now);
        assert_eq!(ages(3 * DAY - 1).due(at(0), Timestamp::default()), Due::NotBefore(at(3 * DAY)));
    }
}
