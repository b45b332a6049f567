//! From which moment spans are measured, and which breaks a history has.
//!
//! Usually from the start of the newest complete snapshot. But a clock may have jumped, or a machine come back for an
//! hour after a year: if that moved the window at once, one run could drop all that was there before. So what follows a
//! *gap* steers only once it has *settled*, that is, lies on three local dates. And what was before the newest gap is
//! remembered for a while longer.

use std::collections::HashSet;

use super::calendar::{PeriodKey, seconds};
use super::keep::Keep;

/// A gap is longer than this, or than the shortest span of a rule, whichever is less,
const GAP_SECONDS: u64 = 7 * 86_400;
/// and longer than so many times what was usual
const GAP_RHYTHMS: i128 = 4;
/// in so many differences before it.
const RHYTHM_DIFFERENCES: usize = 10;
/// What follows a gap has settled on so many local dates.
const SETTLED_DATES: usize = 3;

/// A complete snapshot: its start in nanoseconds, and its local date.
pub(super) type Moment = (i128, PeriodKey);

/// What steers a group, as places among its complete snapshots, the newest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Steering {
    /// Whose start is the steering time.
    pub(super) steers: usize,
    /// The first snapshot after the newest gap; the next one is the newest before it.
    pub(super) after_gap: Option<usize>,
}

impl Steering {
    /// Finds the gaps among the complete snapshots, the newest first.
    pub(super) fn of(complete: &[Moment], keep: &Keep) -> Self {
        let limit = seconds(keep.shortest_span_seconds().unwrap_or(GAP_SECONDS).min(GAP_SECONDS).into());
        let differences: Vec<i128> =
            complete.iter().zip(complete.iter().skip(1)).map(|(new, old)| new.0 - old.0).collect();
        let gaps = differences.iter().enumerate().filter(|(at, difference)| {
            let below = differences.iter().skip(at + 1).take(RHYTHM_DIFFERENCES);
            **difference > limit && **difference > GAP_RHYTHMS * lower_median(below)
        });
        let gaps: Vec<usize> = gaps.map(|(at, _)| at).collect();
        let settled = settled_at(complete);
        let unsettled = gaps.iter().rfind(|gap| **gap < settled);
        Self { steers: unsettled.map_or(0, |gap| gap + 1), after_gap: gaps.first().copied() }
    }
}

/// The first place up to which the snapshots lie on enough dates.
fn settled_at(complete: &[Moment]) -> usize {
    let mut dates = HashSet::new();
    let settled = complete.iter().position(|(_, date)| {
        dates.insert(date);
        dates.len() >= SETTLED_DATES
    });
    settled.unwrap_or(usize::MAX)
}

/// The median, and of two the lower one; 0 of nothing.
fn lower_median<'a>(differences: impl Iterator<Item = &'a i128>) -> i128 {
    let mut sorted: Vec<i128> = differences.copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::bench::keep;
    use super::*;

    const DAY: i128 = 86_400;

    /// What steers a history in which snapshots lie so many seconds apart, the newest first; dates are those of UTC.
    fn steering(differences: &[i128], rules: &str) -> (usize, Option<usize>) {
        let mut at = 20_000 * DAY + DAY / 2;
        let mut complete = Vec::new();
        for difference in differences.iter().copied().chain([0]) {
            complete.push((seconds(at), [i32::try_from(at.div_euclid(DAY)).unwrap(), 0, 0]));
            at -= difference;
        }
        let found = Steering::of(&complete, &keep(rules));
        (found.steers, found.after_gap)
    }

    #[test]
    fn the_newest_steers_a_history_without_a_gap() {
        assert_eq!(steering(&[], "last 1"), (0, None));
        assert_eq!(steering(&[DAY; 30], "last 1"), (0, None));
        assert_eq!(steering(&[28 * DAY, 7 * DAY, 7 * DAY], "last 1"), (0, None), "four times the rhythm");
        assert_eq!(steering(&[7 * DAY], "last 1"), (0, None));
        assert_eq!(Steering::of(&[], &keep("last 1")), Steering { steers: 0, after_gap: None });
    }

    #[test]
    fn what_follows_a_gap_steers_once_it_lies_on_three_dates() {
        let gap = 100 * DAY;
        assert_eq!(steering(&[gap, DAY, DAY], "last 1"), (1, Some(0)));
        assert_eq!(steering(&[DAY, gap, DAY, DAY], "last 1"), (2, Some(1)));
        assert_eq!(steering(&[DAY, DAY, gap, DAY, DAY], "last 1"), (0, Some(2)));
        assert_eq!(steering(&[60, 60, 60, 60, gap, DAY, DAY], "last 1"), (5, Some(4)), "five of one date");
        assert_eq!(steering(&[gap, gap, DAY, DAY], "last 1"), (2, Some(0)), "of two gaps the older steers");
    }

    #[test]
    fn a_gap_is_longer_than_seven_days_or_the_shortest_span() {
        let second_more = 7 * DAY + 1;
        assert_eq!(steering(&[second_more, DAY, DAY, DAY], "last 1"), (1, Some(0)));
        assert_eq!(steering(&[6 * DAY, DAY, DAY, DAY], "last 1"), (0, None));
        assert_eq!(steering(&[6 * DAY, DAY, DAY, DAY], "within 1y, within-daily 143h"), (1, Some(0)));
        assert_eq!(steering(&[6 * DAY, DAY, DAY, DAY], "within 1y, within-daily 6d"), (0, None));
        assert_eq!(steering(&[4 * DAY, DAY, DAY, DAY], "within 1h"), (0, Some(3)), "the oldest has nothing below it");
    }

    #[test]
    fn what_is_usual_is_the_lower_median_of_the_ten_differences_below() {
        let history = |weeks: usize| [&[28 * DAY][..], &vec![7 * DAY; weeks], &[DAY; 20]].concat();
        assert_eq!(steering(&history(6), "last 1").0, 0);
        assert_eq!(steering(&history(5), "last 1").0, 1, "five of ten are days");
        let eleventh = [&[28 * DAY][..], &[DAY; 5], &[7 * DAY; 20]].concat();
        assert_eq!(steering(&eleventh, "last 1").0, 1, "the eleventh has no say");
    }
}
