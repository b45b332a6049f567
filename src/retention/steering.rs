//! From which moment spans are measured, and which breaks a history has.
//!
//! Usually from the start of the newest complete snapshot. But a clock may have jumped, or a machine come back for an
//! hour after a year: if that moved the window at once, one run could drop all that was there before. So what follows a
//! *break* steers only once it has *settled*: once runs of two days lie between this break and the next one, or many
//! runs after it all the same. What lies next to a break is remembered until then, and for a while longer.
//!
//! How long a break was is known from what each snapshot says about the one before it. That never changes, so a hole in
//! a history that was thinned out is no break. Nor do the rules have a say in what a break is: one that reaches farther
//! back never keeps less.

use super::calendar::{nanos, seconds};
use crate::format::node::Timestamp;

/// A break is longer than this,
const LIMIT_SECONDS: i128 = 2 * 86_400;
/// and longer than so many times the rhythm before it,
const BREAK_RHYTHMS: i128 = 4;
/// which is the shortest of so many distances: one absence does not hide the next one.
const RHYTHM_DISTANCES: usize = 2;
/// A break has settled when what follows it, up to the next break, spans at least this,
const SETTLED_SECONDS: i128 = 48 * 3600;
/// or when so many follow it and all of them span that: two runs every ten days are a rhythm at last.
const SETTLED_SNAPSHOTS: usize = 10;
/// Until the newest snapshot is so much newer, what lies next to a break that has settled is remembered.
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
    /// The breaks that are still remembered, the newest first.
    pub(super) breaks: Vec<Break>,
}

/// A break, by places among the complete snapshots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Break {
    /// Of the one that follows it.
    pub(super) first: usize,
    /// Of those whose distances told the rhythm: without them it might be a break no longer, or another one.
    pub(super) measures: Vec<usize>,
}

impl Steering {
    /// Finds the breaks among the complete snapshots, the newest first.
    pub(super) fn of(complete: &[Moment]) -> Self {
        let Some(newest) = complete.first() else { return Self { reference: None, breaks: Vec::new() } };
        let known = complete.iter().enumerate().filter_map(|(place, moment)| Some((place, moment, moment.distance()?)));
        let known: Vec<(usize, &Moment, i128)> = known.collect();
        let (mut steering, mut breaks) = (newest.start, Vec::new());
        let (mut has_settled, mut stretch_end) = (false, newest.start);
        for (at, &(place, moment, distance)) in known.iter().enumerate() {
            let measures = known.iter().skip(at + 1).take(RHYTHM_DISTANCES);
            let rhythm = measures.clone().map(|(_, _, distance)| *distance).min().unwrap_or(0);
            if distance <= seconds(LIMIT_SECONDS) || distance <= rhythm * BREAK_RHYTHMS {
                continue;
            }
            // When one has settled, every older one has.
            let spans_enough = |end: Timestamp| nanos(end) - nanos(moment.start) >= seconds(SETTLED_SECONDS);
            has_settled |= spans_enough(stretch_end) || place + 1 >= SETTLED_SNAPSHOTS && spans_enough(newest.start);
            if !has_settled {
                steering = moment.previous.map_or(steering, |previous| steering.min(previous));
            }
            if !has_settled || nanos(newest.start) - nanos(moment.start) < seconds(REMEMBERED_SECONDS) {
                breaks.push(Break { first: place, measures: measures.map(|(place, ..)| *place).collect() });
            }
            stretch_end = complete.get(place + 1).map_or(stretch_end, |older| older.start);
        }
        Self { reference: Some(steering), breaks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 86_400;
    const LONG: i64 = 100 * DAY;

    fn time(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn moment(start: i64, previous: impl Into<Option<i64>>) -> Moment {
        Moment { start: time(start), previous: previous.into().map(time) }
    }

    /// What steers, and the places that follow a break.
    fn found(complete: &[Moment]) -> (i64, Vec<usize>) {
        let found = Steering::of(complete);
        (found.reference.unwrap().seconds, found.breaks.iter().map(|one| one.first).collect())
    }

    /// Snapshots so many seconds apart, the newest first. The oldest one knows of none before it.
    fn apart(differences: &[i64]) -> Vec<Moment> {
        let mut at = 20_000 * DAY;
        let mut complete = Vec::new();
        for difference in differences {
            complete.push(moment(at, at - difference));
            at -= difference;
        }
        complete.push(moment(at, None));
        complete
    }

    /// How many seconds before the newest one the steering time is, and the places that follow a break.
    fn steering(differences: &[i64]) -> (i64, Vec<usize>) {
        let (reference, breaks) = found(&apart(differences));
        (20_000 * DAY - reference, breaks)
    }

    fn breaks(differences: &[i64]) -> Vec<usize> {
        steering(differences).1
    }

    #[test]
    fn the_newest_steers_a_history_without_a_break() {
        assert_eq!(steering(&[]), (0, vec![]));
        assert_eq!(steering(&[DAY; 30]), (0, vec![]));
        assert_eq!(Steering::of(&[]), Steering { reference: None, breaks: Vec::new() });
    }

    #[test]
    fn a_break_is_longer_than_two_days_and_four_times_the_rhythm() {
        for (limit, before) in
            [(2 * DAY, &[][..]), (2 * DAY, &[HOUR, HOUR]), (2 * DAY, &[DAY / 2; 2]), (28 * DAY, &[7 * DAY; 2])]
        {
            let found = [limit, limit + 1].map(|distance| breaks(&[&[distance], before].concat()).contains(&0));
            assert_eq!(found, [false, true], "{before:?}");
        }
    }

    #[test]
    fn the_rhythm_is_the_shorter_one_of_the_two_distances_before() {
        let is_break = |before: &[i64]| breaks(&[&[20 * DAY], before].concat()).contains(&0);
        assert!(is_break(&[LONG, DAY, DAY]), "an absence does not hide the next one");
        assert!(is_break(&[DAY, LONG]));
        assert!(!is_break(&[LONG, LONG, DAY]), "the third has no say");
        assert!(!is_break(&[5 * DAY, LONG]));
        assert!(is_break(&[5 * DAY - 1, LONG]));
        assert!(!is_break(&[LONG]), "the only one");
        assert_eq!(Steering::of(&apart(&[LONG, HOUR, DAY, 7])).breaks, [Break { first: 0, measures: vec![1, 2] }]);
        assert_eq!(Steering::of(&apart(&[LONG, DAY])).breaks, [Break { first: 0, measures: vec![1] }]);
        assert_eq!(Steering::of(&apart(&[LONG])).breaks, [Break { first: 0, measures: vec![] }]);
    }

    #[test]
    fn what_follows_a_break_steers_after_runs_of_two_days() {
        assert_eq!(steering(&[LONG, DAY, DAY]), (LONG, vec![0]));
        assert_eq!(steering(&[DAY, LONG, DAY, DAY]), (LONG + DAY, vec![1]));
        assert_eq!(steering(&[2 * DAY - 1, LONG, DAY, DAY]), (LONG + 2 * DAY - 1, vec![1]));
        assert_eq!(steering(&[2 * DAY, LONG, DAY, DAY]), (0, vec![1]));
        assert_eq!(steering(&[60, 60, 60, 60, LONG, DAY, DAY]), (LONG + 240, vec![4]), "five in a while");
    }

    #[test]
    fn single_runs_between_absences_settle_nothing() {
        assert_eq!(steering(&[LONG, 3 * DAY, DAY, DAY]), (LONG, vec![0]), "three days after one are no break");
        let absences = [8 * DAY, 60, 8 * DAY, DAY, DAY];
        assert_eq!(steering(&absences), (16 * DAY + 60, vec![0, 2]), "the older break steers: a minute lies after it");
        assert_eq!(steering(&[LONG, LONG, DAY, DAY]), (2 * LONG, vec![0, 1]));
        assert_eq!(steering(&[LONG, LONG, LONG, DAY, DAY]), (0, vec![]), "three in a row are a rhythm");
        let regular = [8 * DAY, DAY, DAY, 8 * DAY, DAY, DAY];
        assert_eq!(steering(&regular), (8 * DAY, vec![0, 3]), "two days lie between the breaks");
        let less = [8 * DAY, DAY, DAY - 1, 8 * DAY, DAY, DAY];
        assert_eq!(steering(&less), (18 * DAY - 1, vec![0, 3]));
    }

    #[test]
    fn ten_runs_settle_a_break_though_breaks_lie_between_them() {
        let pairs = [HOUR, 10 * DAY].repeat(5);
        let after = |runs: &[i64]| steering(&[runs, &[LONG, DAY, DAY]].concat());
        assert_eq!(after(&pairs[..9]), (40 * DAY + 4 * HOUR, vec![1, 3, 5, 7]), "ten");
        assert_eq!(after(&pairs[1..9]), (40 * DAY + 4 * HOUR + LONG, vec![0, 2, 4, 6, 8]), "nine");
        let two_days = [&[2 * DAY / 9 - 1][..], &[2 * DAY / 9; 8]].concat();
        assert_eq!(after(&two_days), (2 * DAY - 1 + LONG, vec![9]), "ten, but too soon");
    }

    #[test]
    fn every_break_before_a_settled_one_has_settled() {
        assert_eq!(steering(&[DAY, DAY, 8 * DAY, 60, 8 * DAY, DAY, DAY]), (0, vec![2, 4]));
        assert_eq!(steering(&[8 * DAY, DAY, DAY, 8 * DAY, 60, 8 * DAY, DAY, DAY]), (8 * DAY, vec![0, 3, 5]));
    }

    #[test]
    fn the_earliest_time_before_a_break_that_has_not_settled_steers() {
        // Made by two clocks: the newest one was told of an older one.
        let older = moment(100 * DAY - 2, 60 * DAY);
        let complete = [moment(100 * DAY, 50 * DAY), moment(100 * DAY - 1, 100 * DAY - 2), older];
        assert_eq!(found(&complete), (50 * DAY, vec![0, 2]));
        assert_eq!(found(&[moment(100 * DAY, 70 * DAY), complete[1], older]), (60 * DAY, vec![0, 2]));
    }

    #[test]
    fn a_break_that_has_settled_is_remembered_for_thirty_days() {
        let month = [2 * DAY; 15];
        assert_eq!(breaks(&[&month[1..], &[2 * DAY - 1, LONG, DAY]].concat()), [15]);
        assert_eq!(breaks(&[&month[..], &[LONG, DAY]].concat()), [0; 0]);
    }

    #[test]
    fn a_break_that_has_not_settled_is_remembered_for_as_long_as_that() {
        assert_eq!(steering(&[LONG, HOUR, LONG, DAY, DAY]), (2 * LONG + HOUR, vec![0, 2]));
        assert_eq!(steering(&[LONG, DAY, DAY, LONG, DAY, DAY]), (LONG, vec![0]), "the older one has settled");
    }

    #[test]
    fn an_unknown_distance_is_no_break_and_no_measure() {
        let moment = |start: i64, previous: Option<i64>| moment(start * DAY, previous.map(|days| days * DAY));
        let breaks = |complete: &[Moment]| found(complete).1;
        assert_eq!(breaks(&[moment(900, None), moment(1, Some(0))]), [0; 0]);
        assert_eq!(breaks(&[moment(900, Some(900)), moment(1, Some(0))]), [0; 0]);
        assert_eq!(breaks(&[moment(900, Some(901)), moment(1, Some(0))]), [0; 0], "a clock that was set back");
        let unknown = [moment(99, None), moment(98, Some(200))];
        let known = [moment(60, Some(50)), moment(50, Some(30)), moment(30, Some(29))];
        let after = |previous| [&[moment(100, Some(previous))], &unknown[..], &known].concat();
        assert_eq!(breaks(&after(60)), [0; 0], "40 days after 10 and 20");
        assert_eq!(Steering::of(&after(59)).breaks, [Break { first: 0, measures: vec![3, 4] }]);
    }
}
