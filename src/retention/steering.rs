//! From which moment spans are measured, and which breaks a history has.
//!
//! Usually from the start of the newest complete snapshot. But a clock may have jumped, or a machine come back for an
//! hour after a year: if that moved the window at once, one run could drop all that was there before. So what follows a
//! *break* steers only once it has *settled*, and what lies next to a break is remembered for a while longer.
//!
//! How long a break was is known from what each snapshot says about the one before it. That never changes, so a history
//! that was thinned out has no breaks of its own making.

use super::calendar::{nanos, seconds};
use super::keep::Keep;
use crate::format::node::Timestamp;

/// A break is longer than the shortest span of a rule, but that is taken as at least
const SHORTEST_LIMIT_SECONDS: u64 = 2 * 86_400;
/// and at most this,
const LONGEST_LIMIT_SECONDS: u64 = 7 * 86_400;
/// and it is longer than so many times the distance before.
const BREAK_RHYTHMS: i128 = 4;
/// A break has settled when the newest snapshot is so much newer than the one that follows it.
const SETTLED_SECONDS: i128 = 48 * 3600;
/// Until the newest snapshot is so much newer, what lies next to a break is remembered.
const REMEMBERED_SECONDS: i128 = 30 * 86_400;

/// When a complete snapshot was made, and the newest complete one before it, as far as it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) start: Timestamp,
    pub(super) previous: Option<Timestamp>,
}

impl Moment {
    /// From the one before it, when that is known.
    fn distance(&self) -> Option<i128> {
        let distance = nanos(self.start) - nanos(self.previous?);
        (distance > 0).then_some(distance)
    }
}

/// What steers a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Steering {
    /// What spans are measured from; none without a complete snapshot.
    pub(super) reference: Option<Timestamp>,
    /// The places of those that follow a break that is still remembered, the newest first.
    pub(super) breaks: Vec<usize>,
}

impl Steering {
    /// Finds the breaks among the complete snapshots, the newest first.
    pub(super) fn of(complete: &[Moment], keep: &Keep) -> Self {
        let Some(newest) = complete.first() else { return Self { reference: None, breaks: Vec::new() } };
        let shortest = keep.shortest_span_seconds().unwrap_or(LONGEST_LIMIT_SECONDS);
        let limit = seconds(shortest.clamp(SHORTEST_LIMIT_SECONDS, LONGEST_LIMIT_SECONDS).into());
        let (mut before, mut steering) = (0, newest.start);
        let (mut settled, mut breaks) = (true, Vec::new());
        // The oldest first: the oldest break that has not settled steers.
        for (place, moment) in complete.iter().enumerate().rev() {
            let (Some(distance), Some(previous)) = (moment.distance(), moment.previous) else { continue };
            if distance > limit && distance > before * BREAK_RHYTHMS {
                let age = nanos(newest.start) - nanos(moment.start);
                if age < seconds(REMEMBERED_SECONDS) {
                    breaks.push(place);
                }
                if settled && age < seconds(SETTLED_SECONDS) {
                    (settled, steering) = (false, previous);
                }
            }
            before = distance;
        }
        breaks.reverse();
        Self { reference: Some(steering), breaks }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::keep;
    use super::*;

    const DAY: i64 = 86_400;

    /// What steers a history in which snapshots lie so many seconds apart, the newest first: how many seconds before the
    /// newest one, and the places that follow a break. The oldest one knows of none before it.
    fn steering(differences: &[i64], rules: &str) -> (i64, Vec<usize>) {
        let newest = 20_000 * DAY;
        let time = |seconds| Timestamp { seconds, nanos: 0 };
        let mut at = newest;
        let mut complete = Vec::new();
        for difference in differences {
            complete.push(Moment { start: time(at), previous: Some(time(at - difference)) });
            at -= difference;
        }
        complete.push(Moment { start: time(at), previous: None });
        let found = Steering::of(&complete, &keep(rules));
        (newest - found.reference.unwrap().seconds, found.breaks)
    }

    #[test]
    fn the_newest_steers_a_history_without_a_break() {
        assert_eq!(steering(&[], "last 1"), (0, vec![]));
        assert_eq!(steering(&[DAY; 30], "last 1"), (0, vec![]));
        assert_eq!(steering(&[28 * DAY, 7 * DAY, 7 * DAY], "last 1"), (0, vec![]), "four times the distance before");
        assert_eq!(steering(&[7 * DAY], "last 1"), (0, vec![]));
        assert_eq!(Steering::of(&[], &keep("last 1")), Steering { reference: None, breaks: Vec::new() });
    }

    #[test]
    fn what_follows_a_break_steers_after_two_days() {
        let long = 100 * DAY;
        assert_eq!(steering(&[long, DAY, DAY], "last 1"), (long, vec![0]));
        assert_eq!(steering(&[DAY, long, DAY, DAY], "last 1"), (long + DAY, vec![1]));
        assert_eq!(steering(&[2 * DAY - 1, long, DAY, DAY], "last 1"), (long + 2 * DAY - 1, vec![1]));
        assert_eq!(steering(&[2 * DAY, long, DAY, DAY], "last 1"), (0, vec![1]));
        assert_eq!(steering(&[60, 60, 60, 60, long, DAY, DAY], "last 1"), (long + 240, vec![4]), "five in a while");
    }

    #[test]
    fn the_oldest_break_that_has_not_settled_steers() {
        let two = [8 * DAY, 60, 8 * DAY, DAY];
        assert_eq!(steering(&two, "last 1"), (8 * DAY, vec![0, 2]), "the older one has settled");
        let moment = |start, previous| Moment {
            start: Timestamp { seconds: start, nanos: 0 },
            previous: Some(Timestamp { seconds: previous, nanos: 0 }),
        };
        // Made by two clocks.
        let complete = [moment(100 * DAY, 50 * DAY), moment(100 * DAY - 1, 100 * DAY - 2), moment(100 * DAY - 2, 0)];
        let found = Steering::of(&complete, &keep("last 1"));
        assert_eq!((found.reference.unwrap().seconds, found.breaks), (0, vec![0, 2]));
    }

    #[test]
    fn a_break_is_remembered_for_thirty_days() {
        let after = |seconds| steering(&[seconds, 100 * DAY, DAY, DAY], "last 1").1;
        assert_eq!(after(4 * DAY), [1]);
        assert_eq!(steering(&[6 * DAY, 6 * DAY, 6 * DAY, 6 * DAY, 6 * DAY - 1, 100 * DAY, DAY], "last 1").1, [5]);
        assert_eq!(steering(&[6 * DAY, 6 * DAY, 6 * DAY, 6 * DAY, 6 * DAY, 100 * DAY, DAY], "last 1").1, [0; 0]);
    }

    #[test]
    fn a_break_is_longer_than_the_shortest_span_taken_as_two_to_seven_days() {
        let breaks = |distance, rules| !steering(&[distance, HOUR, HOUR], rules).1.is_empty();
        const HOUR: i64 = 3600;
        for (rules, limit) in [
            ("last 1", 7 * DAY),
            ("within 1y", 7 * DAY),
            ("within 169h", 7 * DAY),
            ("within 1y, within-daily 167h", 167 * HOUR),
            ("within 49h", 49 * HOUR),
            ("within 1h, within-daily 1y", 2 * DAY),
        ] {
            assert_eq!([limit, limit + 1].map(|distance| breaks(distance, rules)), [false, true], "{rules}");
        }
    }

    #[test]
    fn an_unknown_distance_is_no_break_and_no_measure() {
        let moment = |start: i64, previous: Option<i64>| Moment {
            start: Timestamp { seconds: start * DAY, nanos: 0 },
            previous: previous.map(|seconds| Timestamp { seconds: seconds * DAY, nanos: 0 }),
        };
        let breaks = |complete: &[Moment]| Steering::of(complete, &keep("last 1")).breaks;
        assert_eq!(breaks(&[moment(900, None), moment(1, Some(0))]), [0; 0]);
        assert_eq!(breaks(&[moment(900, Some(900)), moment(1, Some(0))]), [0; 0]);
        assert_eq!(breaks(&[moment(900, Some(901)), moment(1, Some(0))]), [0; 0], "a clock that was set back");
        let measured = [moment(100, Some(60)), moment(99, None), moment(98, Some(200)), moment(60, Some(50))];
        assert_eq!(breaks(&measured), [0; 0], "40 days after 10");
        assert_eq!(breaks(&[moment(101, Some(60)), measured[1], measured[2], moment(60, Some(50))]), [0]);
    }
}
