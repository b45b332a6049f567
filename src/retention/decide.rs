//! The decision about one group.
//!
//! Each step adds its reason to the snapshots that it keeps, in the order in which reasons are listed. "Newest" is always
//! the last by start and then id, so equal starts have an order too.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::calendar::{Local, Period, PeriodKey, nanos, seconds};
use super::keep::Rule;
use super::reason::Reason;
use super::span::Span;
use super::steering::{Break, Moment, Steering};
use super::{Candidate, Decision, Held, Pin, Rules, Verdict};
use crate::format::node::Timestamp;

/// How far a start may lie after the time of day.
const CLOCK_SLACK_SECONDS: i128 = 5 * 60;
/// How far a start may lie after the moment when the store took the snapshot.
const STORE_SLACK_SECONDS: i128 = 3600;

/// A snapshot that takes part.
struct Part<'a> {
    candidate: &'a Candidate<'a>,
    /// Among the candidates.
    at: usize,
    start: i128,
    local: Local,
    reasons: Vec<Reason>,
}

/// The snapshots that take part, the newest first.
struct Group<'a> {
    rules: &'a Rules<'a>,
    complete: Vec<Part<'a>>,
    incomplete: Vec<Part<'a>>,
    /// Whether a complete snapshot is dated in the future.
    has_future: bool,
}

/// Decides what stays of one group, and why.
///
/// # Shape
/// One verdict for each candidate, in their order. The newest [`Rules::floor`] complete snapshots always stay, and so
/// does everything in the future or in a held group.
/// # Units
/// Times are instants; periods and spans follow the calendar of [`Rules::zone`].
#[must_use]
pub fn decide(candidates: &[Candidate<'_>], rules: &Rules<'_>) -> Decision {
    let mut verdicts = vec![Verdict { reasons: vec![Reason::Future] }; candidates.len()];
    let mut group = Group::new(candidates, rules);
    let held = group.held();
    group.keep();
    for part in group.complete.into_iter().chain(group.incomplete) {
        let mut reasons = part.reasons;
        if held.is_some() && reasons.is_empty() {
            reasons.push(Reason::Held);
        }
        if let Some(verdict) = verdicts.get_mut(part.at) {
            verdict.reasons = reasons;
        }
    }
    Decision { held, verdicts }
}

fn is_in_the_future(candidate: &Candidate<'_>, now: Timestamp) -> bool {
    let after = |limit: Timestamp, slack| nanos(candidate.start) > nanos(limit) + seconds(slack);
    after(now, CLOCK_SLACK_SECONDS) || candidate.stored.is_some_and(|stored| after(stored, STORE_SLACK_SECONDS))
}

impl<'a> Group<'a> {
    fn new(candidates: &'a [Candidate<'a>], rules: &'a Rules<'a>) -> Self {
        let mut has_future = false;
        let mut parts: Vec<Part<'a>> = Vec::with_capacity(candidates.len());
        for (at, candidate) in candidates.iter().enumerate() {
            if is_in_the_future(candidate, rules.now) {
                has_future |= candidate.complete;
                continue;
            }
            let (start, local) = (nanos(candidate.start), Local::of(candidate.start, rules.zone));
            parts.push(Part { candidate, at, start, local, reasons: Vec::new() });
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.order()));
        let (complete, incomplete) = parts.into_iter().partition(|part| part.candidate.complete);
        Self { rules, complete, incomplete, has_future }
    }

    fn held(&self) -> Option<Held> {
        let Some(newest) = self.complete.first() else {
            return Some(if self.has_future { Held::OnlyFuture } else { Held::NoComplete });
        };
        let max_age = self.rules.max_age.filter(|_| !self.rules.even_if_overdue)?;
        let age = age(newest.start, self.rules.now);
        (age > max_age).then_some(Held::Overdue { age, max_age })
    }

    /// Every reason, in the order in which they are listed.
    fn keep(&mut self) {
        let keep = self.rules.keep;
        let moment = |part: &Part<'_>| Moment { start: part.candidate.start, previous: part.candidate.previous };
        let Steering { reference, breaks } = Steering::of(&self.complete.iter().map(moment).collect::<Vec<_>>());
        self.pinned_and_tagged(reference);
        self.newer_than_complete();
        if let Some(verified) = self.complete.iter_mut().find(|part| part.candidate.verified) {
            verified.reasons.push(Reason::Verified);
        }
        if let Some(reference) = reference {
            self.last();
            for period in Period::ALL {
                if let Some(count) = keep.count(period) {
                    self.per(period, count);
                }
            }
            let cut = |span: Span| span.before(reference, self.rules.zone);
            if let Some(cut) = keep.within.map(cut) {
                self.within(cut);
            }
            for period in Period::ALL {
                if let Some(cut) = keep.span(period).map(cut) {
                    self.within_per(period, cut);
                }
            }
        }
        self.next_to(&breaks);
        let floor = self.floor();
        for part in self.complete.iter_mut().take(length(floor)).filter(|part| part.reasons.is_empty()) {
            part.reasons.push(Reason::Floor(floor));
        }
    }

    fn floor(&self) -> u32 {
        self.rules.floor.max(1)
    }

    fn pinned_and_tagged(&mut self, reference: Option<Timestamp>) {
        for part in self.complete.iter_mut().chain(&mut self.incomplete) {
            let pinned = match part.candidate.pin {
                Pin::None => false,
                Pin::Forever => true,
                Pin::Until(end) => reference.is_none_or(|reference| nanos(reference) < nanos(end)),
            };
            part.reasons.extend(pinned.then_some(Reason::Pinned));
            for tag in self.rules.keep.tags.iter().filter(|tag| part.candidate.tags.contains(tag)) {
                let reason = Reason::Tag(tag.clone());
                if !part.reasons.contains(&reason) {
                    part.reasons.push(reason);
                }
            }
        }
    }

    fn newer_than_complete(&mut self) {
        let newest = self.complete.first().map(Part::order);
        let newer = self.incomplete.iter_mut().take_while(|part| newest.is_none_or(|newest| part.order() > newest));
        newer.for_each(|part| part.reasons.push(Reason::Newest));
    }

    fn last(&mut self) {
        let Some(of) = self.rules.keep.last else { return };
        for (place, part) in (1..=of).zip(&mut self.complete) {
            part.reasons.push(Reason::Counted { rule: Rule::Last, place, of });
        }
        // None when there are fewer complete ones than the rule keeps.
        let oldest = length(of).checked_sub(1).and_then(|last| self.complete.get(last)).map(Part::order);
        let newer = self.incomplete.iter_mut().take_while(|part| oldest.is_none_or(|oldest| part.order() > oldest));
        newer.for_each(|part| part.reasons.push(Reason::Incomplete(Rule::Last)));
    }

    fn per(&mut self, period: Period, of: u32) {
        let rule = Rule::Per(period);
        let mut seen = HashSet::new();
        let mut place = 0;
        let mut oldest_kept = (usize::MAX, i128::MAX);
        for (at, part) in self.complete.iter_mut().enumerate() {
            if seen.insert(part.local.key(period)) && place < of {
                place += 1;
                part.reasons.push(Reason::Counted { rule, place, of });
                oldest_kept = (at, part.start);
            }
        }
        let fewer_than_kept = seen.len() < length(of);
        let count = self.complete.len();
        if let Some(oldest) = self.complete.last_mut().filter(|_| fewer_than_kept && oldest_kept.0 + 1 != count) {
            oldest.reasons.push(Reason::Oldest(period));
        }
        let from = if fewer_than_kept { i128::MIN } else { oldest_kept.1 };
        self.shadow(period, rule, from, seen);
    }

    fn within(&mut self, cut: i128) {
        let parts = self.complete.iter_mut().chain(&mut self.incomplete);
        parts.filter(|part| part.start >= cut).for_each(|part| part.reasons.push(Reason::Within(Rule::Within)));
    }

    fn within_per(&mut self, period: Period, cut: i128) {
        let rule = Rule::WithinPer(period);
        let mut seen = HashSet::new();
        for part in &mut self.complete {
            if seen.insert(part.local.key(period)) && part.start >= cut {
                part.reasons.push(Reason::Within(rule));
            }
        }
        self.shadow(period, rule, cut, seen);
    }

    /// Keeps those that follow a break, the newest ones before it, and those that it was measured by.
    fn next_to(&mut self, breaks: &[Break]) {
        let before = length(self.floor());
        let mut places: BTreeSet<usize> = breaks.iter().flat_map(|one| &one.measures).copied().collect();
        let mut next = 0;
        for one in breaks {
            // Each place once, though a floor may reach over many breaks.
            let from = one.first.max(next);
            next = one.first.saturating_add(before).saturating_add(1).min(self.complete.len());
            places.extend(from..next);
        }
        for (place, part) in self.complete.iter_mut().enumerate() {
            part.reasons.extend(places.contains(&place).then_some(Reason::Gap));
        }
    }

    /// Keeps the newest incomplete one of each period that has no complete one, if it is not before `from`.
    fn shadow(&mut self, period: Period, rule: Rule, from: i128, mut seen: HashSet<PeriodKey>) {
        for part in &mut self.incomplete {
            if seen.insert(part.local.key(period)) && part.start >= from {
                part.reasons.push(Reason::Incomplete(rule));
            }
        }
    }
}

impl Part<'_> {
    const fn order(&self) -> (i128, [u8; 32]) {
        (self.start, self.candidate.id.0)
    }
}

fn length(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// How long ago `start` was; nothing when it lies ahead, and the longest time there is when it is farther off.
fn age(start: i128, now: Timestamp) -> Duration {
    let nanos = u128::try_from(nanos(now) - start).unwrap_or(0);
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, berlin, keep, time};
    use super::*;

    #[test]
    fn a_count_keeps_the_newest_of_each_period_that_has_one() {
        let nights = [
            "2026-03-01T02:00:00Z",
            "2026-03-01T20:00:00Z",
            "2026-03-03T08:00:00Z",
            "2026-03-03T09:00:00Z",
            "2026-03-04T08:00:00Z",
        ];
        let kept = Bench::new("daily 2").reasons(&nights);
        assert_eq!(kept, ["", "", "", "daily 2 of 2", "daily 1 of 2"]);
        let kept = Bench::new("daily 3").reasons(&nights);
        assert_eq!(kept, ["", "daily 3 of 3", "", "daily 2 of 3", "daily 1 of 3"], "as many days as are kept");
        let kept = Bench::new("daily all").reasons(&nights);
        assert_eq!(kept, ["oldest daily", "daily 3 of all", "", "daily 2 of all", "daily 1 of all"]);
        let kept = Bench::new("last 2").reasons(&nights);
        assert_eq!(kept, ["", "", "", "last 2 of 2", "last 1 of 2"]);
        let kept = Bench::new("last all, yearly 1").reasons(&nights);
        assert_eq!(kept[0], "last 5 of all");
        assert_eq!(kept[4], "last 1 of all; yearly 1 of 1");
    }

    #[test]
    fn the_oldest_stays_while_there_are_fewer_periods_than_a_rule_keeps() {
        let bench = Bench::new("weekly 3");
        assert_eq!(bench.reasons(&["2026-03-10T02:00:00Z"]), ["weekly 1 of 3"], "it is kept by the rule itself");
        let two = ["2026-03-02T02:00:00Z", "2026-03-03T02:00:00Z", "2026-03-10T02:00:00Z"];
        assert_eq!(bench.reasons(&two), ["oldest weekly", "weekly 2 of 3", "weekly 1 of 3"]);
        let three = ["2026-03-02T02:00:00Z", "2026-03-03T02:00:00Z", "2026-03-10T02:00:00Z", "2026-03-17T02:00:00Z"];
        assert_eq!(bench.reasons(&three), ["", "weekly 3 of 3", "weekly 2 of 3", "weekly 1 of 3"]);
    }

    #[test]
    fn each_kind_of_period_follows_the_local_calendar() {
        let mut bench = Bench::new("weekly 9, monthly 9, yearly 9");
        // 2026-01-01 is a Thursday; the first is 00:30 of New Year in Berlin.
        let starts = ["2025-12-31T22:30:00Z", "2025-12-31T23:30:00Z", "2026-01-04T22:30:00Z", "2026-01-04T23:30:00Z"];
        assert_eq!(
            bench.reasons(&starts),
            [
                "oldest weekly; oldest monthly; oldest yearly",
                "monthly 2 of 9; yearly 2 of 9",
                "",
                "weekly 1 of 9; monthly 1 of 9; yearly 1 of 9"
            ]
        );
        bench.zone = berlin();
        assert_eq!(
            bench.reasons(&starts),
            [
                "oldest weekly; monthly 2 of 9; yearly 2 of 9",
                "",
                "weekly 2 of 9",
                "weekly 1 of 9; monthly 1 of 9; yearly 1 of 9"
            ]
        );
    }

    #[test]
    fn the_days_on_which_clocks_change_have_23_and_25_hours() {
        let mut bench = Bench::new("hourly all, daily 1");
        bench.zone = berlin();
        let hours = |from: &str, many: i64| {
            let from: jiff::Timestamp = from.parse().unwrap();
            (0..many).map(|hour| (from + jiff::SignedDuration::from_hours(hour)).to_string()).collect::<Vec<_>>()
        };
        for (from, many) in [("2026-10-24T22:30:00Z", 25), ("2026-03-28T23:30:00Z", 23), ("2026-07-01T22:30:00Z", 24)] {
            let day = hours(from, many);
            let mut reasons = bench.reasons(&day.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(reasons.pop().unwrap(), "hourly 1 of all; daily 1 of 1");
            assert_eq!(reasons.first().unwrap(), &format!("hourly {many} of all"));
            assert!(reasons.iter().all(|reasons| reasons.starts_with("hourly ")), "{reasons:?}");
            assert!(!reasons.iter().any(|reasons| reasons.contains("daily")), "one day");
        }
        let repeated = ["2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:50:00Z"];
        assert_eq!(
            Bench { zone: berlin(), ..Bench::new("hourly 2") }.reasons(&repeated),
            ["", "hourly 2 of 2", "", "hourly 1 of 2"],
            "02:10, 02:50 and once more 02:10, 02:50"
        );
    }

    #[test]
    fn within_reaches_from_the_newest_complete_one_and_not_from_today() {
        let starts = [
            "2026-01-29T01:59:59Z",
            "2026-01-29T02:00:00Z",
            "2026-02-05T02:00:00Z",
            "2026-02-12T02:00:00Z",
            "2026-02-14T02:00:00Z incomplete",
            "2026-02-19T02:00:00Z",
            "2026-02-26T02:00:00Z",
            "2026-02-28T02:00:00Z",
        ];
        let kept = Bench::new("within 30d").reasons(&starts);
        assert_eq!(kept[0], "");
        assert_eq!(kept[1..], ["within"; 7]);
        assert_eq!(Bench::new("within 1mo").reasons(&starts), ["within"; 8]);
        let after = ["2026-02-28T02:00:00Z", "2026-02-28T02:00:00Z incomplete", "2026-03-05T02:00:00Z incomplete"];
        assert_eq!(Bench::new("within 1h").reasons(&after), ["within", "newest; within", "newest; within"]);
    }

    #[test]
    fn a_year_before_a_leap_day_is_the_end_of_february() {
        let starts = ["2023-02-27T23:59:59Z", "2023-02-28T00:00:00Z", "2024-02-29T00:00:00Z"];
        assert_eq!(Bench::new("within 1y").reasons(&starts), ["", "within", "within"]);
    }

    #[test]
    fn within_and_a_period_keep_the_newest_of_each_in_the_span() {
        let starts = [
            "2026-03-01T01:00:00Z",
            "2026-03-01T03:00:00Z",
            "2026-03-02T01:00:00Z",
            "2026-03-02T03:00:00Z",
            "2026-03-03T02:00:00Z",
        ];
        let said = ["", "within-daily", "", "within-daily", "within-daily"];
        assert_eq!(Bench::new("within-daily 2d").reasons(&starts), said, "the first day reaches into the span");
        assert_eq!(Bench::new("within-daily 1d").reasons(&starts), ["", "", "", "within-daily", "within-daily"]);
        let said = ["", "", "", "within-hourly", "within-hourly; within-monthly; within-yearly"];
        assert_eq!(
            Bench::new("within-hourly 23h, within-monthly 1mo, within-yearly 9y").reasons(&starts),
            said,
            "23 hours before"
        );
    }

    #[test]
    fn pins_hold_until_the_steering_time_and_not_until_today() {
        let starts = [
            "2026-03-01T02:00:00Z pin",
            "2026-03-02T02:00:00Z until=2026-03-04T02:00:01Z",
            "2026-03-03T02:00:00Z until=2026-03-04T02:00:00Z",
            "2026-03-03T03:00:00Z incomplete pin",
            "2026-03-04T02:00:00Z",
        ];
        assert_eq!(Bench::new("last 1").reasons(&starts), ["pinned", "pinned", "", "pinned", "last 1 of 1"]);
    }

    #[test]
    fn tags_keep_also_what_is_incomplete_with_a_reason_for_each() {
        let starts = [
            "2026-03-01T02:00:00Z tag=b tag=x tag=a",
            "2026-03-02T02:00:00Z incomplete tag=b",
            "2026-03-03T02:00:00Z tag=other",
            "2026-03-04T02:00:00Z",
        ];
        assert_eq!(Bench::new("tags a, tags b").reasons(&starts), ["tag a; tag b", "tag b", "", "floor"]);
    }

    #[test]
    fn the_newest_verified_one_stays_though_its_time_is_over() {
        let starts = [
            "2026-03-01T02:00:00Z verified",
            "2026-03-02T02:00:00Z verified",
            "2026-03-03T02:00:00Z",
            "2026-03-04T02:00:00Z incomplete verified",
        ];
        assert_eq!(Bench::new("last 1").reasons(&starts), ["", "verified", "last 1 of 1", "newest; last incomplete"]);
    }

    #[test]
    fn the_floor_is_named_only_where_nothing_else_keeps() {
        let starts = [
            "2026-03-01T02:00:00Z",
            "2026-03-02T02:00:00Z pin",
            "2026-03-03T02:00:00Z incomplete",
            "2026-03-04T02:00:00Z",
        ];
        let mut bench = Bench::new("tags none");
        for (floor, said) in [
            (0, ["", "pinned", "", "floor"]),
            (1, ["", "pinned", "", "floor"]),
            (2, ["", "pinned", "", "floor"]),
            (3, ["floor", "pinned", "", "floor"]),
            (u32::MAX, ["floor", "pinned", "", "floor"]),
        ] {
            bench.floor = floor;
            assert_eq!(bench.reasons(&starts), said, "{floor}");
        }
    }

    #[test]
    fn an_incomplete_one_stays_in_the_shadow_of_a_count() {
        let starts = [
            "2026-03-01T01:00:00Z incomplete",
            "2026-03-02T01:00:00Z",
            "2026-03-03T01:00:00Z incomplete",
            "2026-03-03T02:00:00Z incomplete",
            "2026-03-04T01:00:00Z incomplete",
            "2026-03-04T02:00:00Z",
            "2026-03-04T03:00:00Z incomplete",
        ];
        assert_eq!(
            Bench::new("daily 2").reasons(&starts),
            ["", "daily 2 of 2", "", "daily incomplete", "", "daily 1 of 2", "newest"],
            "what is before the oldest kept day goes"
        );
        assert_eq!(
            Bench::new("daily 3").reasons(&starts),
            ["daily incomplete", "daily 2 of 3", "", "daily incomplete", "", "daily 1 of 3", "newest"],
            "fewer days than are kept"
        );
        assert_eq!(Bench::new("daily 1").reasons(&starts), ["", "", "", "", "", "daily 1 of 1", "newest"]);
        assert_eq!(
            Bench::new("last 1").reasons(&starts),
            ["", "", "", "", "", "last 1 of 1", "newest; last incomplete"]
        );
        let last = "last incomplete";
        assert_eq!(
            Bench::new("last 2").reasons(&starts),
            ["", "last 2 of 2", last, last, last, "last 1 of 2", "newest; last incomplete"]
        );
        assert_eq!(Bench::new("last 3").reasons(&starts)[0], last);
    }

    #[test]
    fn an_incomplete_one_stays_in_the_shadow_of_a_span() {
        let starts = [
            "2026-02-28T01:00:00Z",
            "2026-03-01T03:00:00Z incomplete",
            "2026-03-02T01:00:00Z",
            "2026-03-02T03:00:00Z incomplete",
            "2026-03-03T01:00:00Z incomplete",
            "2026-03-03T02:00:00Z incomplete",
            "2026-03-04T02:00:00Z",
        ];
        let shadow = "within-daily incomplete";
        let said = ["", shadow, "within-daily", "", "", shadow, "within-daily"];
        assert_eq!(Bench::new("within-daily 3d").reasons(&starts), said);
        assert_eq!(
            Bench::new("within-daily 2d").reasons(&starts),
            ["", "", "", "", "", shadow, "within-daily"],
            "a complete one of the day counts though it is out of the span"
        );
    }

    #[test]
    fn what_is_dated_in_the_future_is_kept_and_counts_for_nothing() {
        let mut bench = Bench::new("last 1, within 1d");
        bench.now = time("2026-03-04T12:00:00Z");
        let starts = [
            "2026-03-02T12:05:00Z",
            "2026-03-03T12:05:00Z",
            "2026-03-04T12:05:00Z",
            "2026-03-04T12:05:00.000000001Z pin tag=x verified",
            "2029-03-04T12:05:01Z incomplete",
        ];
        assert_eq!(bench.reasons(&starts), ["", "within", "last 1 of 1; within", "future", "future"]);
        let stored = [
            "2026-03-02T12:00:00Z",
            "2026-03-03T13:00:00Z stored=2026-03-03T12:00:00Z",
            "2026-03-03T13:00:01Z stored=2026-03-03T12:00:00Z",
        ];
        bench.keep = keep("last 1");
        assert_eq!(bench.reasons(&stored), ["", "last 1 of 1", "future"]);
    }

    #[test]
    fn what_follows_a_long_break_steers_only_after_two_days() {
        let bench = Bench::new("within 2d");
        let mut starts = vec!["2026-02-28T02:00:00Z", "2026-03-01T02:00:00Z", "2026-03-03T02:00:00Z"];
        starts.push("2027-03-01T02:00:00Z previous=2026-03-03T02:00:00Z");
        for later in ["2027-03-01T03:00:00Z", "2027-03-03T01:59:59Z"] {
            assert_eq!(bench.reasons(&starts)[..4], ["", "within", "within; gap", "within; gap"]);
            starts.push(later);
        }
        starts.push("2027-03-03T02:00:00Z");
        assert_eq!(bench.reasons(&starts)[..4], ["", "", "gap", "within; gap"]);
        starts.extend(["2028-03-03T02:00:00Z incomplete previous=2026-03-03T02:00:00Z"; 3]);
        assert_eq!(bench.reasons(&starts)[..4], ["", "", "gap", "within; gap"], "incomplete ones do not take part");
    }

    #[test]
    fn a_thinned_history_has_no_breaks_and_a_dropped_one_can_steer() {
        let bench = Bench::new("within 2d");
        let thinned = ["2026-01-31T02:00:00Z", "2026-03-31T02:00:00Z previous=2026-03-30T02:00:00Z"];
        assert_eq!(bench.reasons(&thinned), ["", "within"]);
        let gone = ["2026-01-01T02:00:00Z", "2026-03-31T02:00:00Z previous=2026-01-03T02:00:00Z"];
        assert_eq!(bench.reasons(&gone), ["within; gap", "within; gap"]);
        assert_eq!(bench.reasons(&["2025-12-31T02:00:00Z", gone[0], gone[1]])[0], "");
    }

    #[test]
    fn what_lies_next_to_a_break_is_remembered_for_thirty_days() {
        let mut bench = Bench::new("last 1");
        let mut starts = vec!["2026-06-01T12:00:00Z", "2026-06-02T12:00:00Z incomplete", "2026-06-03T12:00:00Z"];
        starts.extend(["2026-09-01T12:00:00Z previous=2026-06-03T12:00:00Z", "2026-10-01T11:59:59Z"]);
        assert_eq!(bench.reasons(&starts), ["", "", "gap", "gap", "last 1 of 1"]);
        bench.floor = 3;
        assert_eq!(bench.reasons(&starts), ["gap", "", "gap", "gap", "last 1 of 1"], "as many as the floor");
        bench.floor = 0;
        assert_eq!(bench.reasons(&starts), ["", "", "gap", "gap", "last 1 of 1"], "at least one");
        starts[4] = "2026-10-01T12:00:00Z";
        assert_eq!(bench.reasons(&starts), ["", "", "", "", "last 1 of 1"]);
    }

    #[test]
    fn what_a_break_was_measured_by_is_remembered_with_it() {
        let starts = [
            "2026-05-30T12:00:00Z previous=2026-05-29T12:00:00Z",
            "2026-05-31T12:00:00Z previous=2026-05-30T12:00:00Z",
            "2026-06-01T12:00:00Z previous=2026-05-31T12:00:00Z",
            "2026-06-03T12:00:00Z",
            "2026-09-01T12:00:00Z previous=2026-06-03T12:00:00Z",
        ];
        let mut bench = Bench::new("last 1");
        assert_eq!(bench.reasons(&starts), ["", "gap", "gap", "gap", "last 1 of 1; gap"]);
        bench.floor = 2;
        assert_eq!(bench.reasons(&starts), ["", "gap", "gap", "gap", "last 1 of 1; gap"], "once");
    }

    #[test]
    fn an_hour_after_each_of_two_absences_drops_nothing() {
        let mut starts = vec!["2026-05-31T02:00:00Z", "2026-06-01T02:00:00Z previous=2026-05-31T02:00:00Z"];
        starts.push("2026-08-01T02:00:00Z previous=2026-06-01T02:00:00Z");
        starts.push("2026-08-01T03:00:00Z previous=2026-08-01T02:00:00Z");
        starts.push("2026-10-01T02:00:00Z previous=2026-08-01T03:00:00Z");
        let (bench, both) = (Bench::new("within 1d"), "within; gap");
        assert_eq!(bench.reasons(&starts), ["within", both, both, both, both]);
        starts.push("2026-10-03T02:00:00Z previous=2026-10-01T02:00:00Z");
        assert_eq!(bench.reasons(&starts), ["", "", "gap", "gap", "gap", "within"], "regular runs followed");
    }

    #[test]
    fn two_breaks_side_by_side_are_one_reason() {
        let starts = [
            "2026-06-01T12:00:00Z",
            "2026-06-02T12:00:00Z",
            "2026-07-01T12:00:00Z previous=2026-06-02T12:00:00Z",
            "2026-07-02T12:00:00Z previous=2026-07-01T12:00:00Z",
            "2026-07-12T12:00:00Z previous=2026-07-02T12:00:00Z",
        ];
        let mut bench = Bench::new("last 1");
        for (floor, said) in [
            (1, ["", "gap", "gap", "gap", "last 1 of 1; gap"]),
            (2, ["gap", "gap", "gap", "gap", "last 1 of 1; gap"]),
            (u32::MAX, ["gap", "gap", "gap", "gap", "last 1 of 1; gap"]),
        ] {
            bench.floor = floor;
            assert_eq!(bench.reasons(&starts), said, "{floor}");
        }
    }

    #[test]
    fn a_leap_of_the_clock_ends_no_pin() {
        let bench = Bench::new("last 1");
        let old = ["2026-03-01T02:00:00Z until=2026-06-01T00:00:00Z", "2026-03-02T02:00:00Z"];
        assert_eq!(
            bench.reasons(&[&old[..], &["2027-01-01T00:00:00Z previous=2026-03-02T02:00:00Z"]].concat()),
            ["pinned", "gap", "last 1 of 1; gap"]
        );
    }

    #[test]
    fn a_group_without_a_complete_one_is_held() {
        let bench = Bench::new("last 1, within 1d, tags x, daily 1");
        let starts = [
            "2026-03-01T02:00:00Z incomplete until=2001-01-01T00:00:00Z",
            "2026-03-02T02:00:00Z incomplete tag=x",
            "2031-03-02T02:00:00Z incomplete",
            "2031-03-02T02:00:00Z",
        ];
        assert_eq!(bench.decide_about(&starts[..3]).held, Some(Held::NoComplete));
        assert_eq!(bench.decide_about(&starts).held, Some(Held::OnlyFuture));
        assert_eq!(bench.reasons(&starts), ["pinned; newest", "tag x; newest", "future", "future"]);
        assert_eq!(bench.decide_about(&[]), Decision { held: Some(Held::NoComplete), verdicts: Vec::new() });
    }

    #[test]
    fn a_tag_that_is_named_twice_is_one_reason() {
        let mut bench = Bench::new("tags a");
        bench.keep.tags = ["b", "a", "b"].map(String::from).to_vec();
        assert_eq!(bench.reasons(&["2026-03-01T02:00:00Z tag=a tag=b"]), ["tag b; tag a"]);
    }

    #[test]
    fn a_group_whose_backups_stopped_is_held_unless_told_otherwise() {
        let mut bench = Bench::new("last 1");
        bench.max_age = Some(Duration::from_secs(26 * 3600));
        let starts = ["2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z", "2026-03-04T02:00:00Z incomplete"];
        bench.now = time("2026-03-03T04:00:00Z");
        assert_eq!(bench.decide_about(&starts[..2]).held, None, "exactly the limit");
        bench.now.nanos = 1;
        let age = Duration::new(26 * 3600, 1);
        let held = Some(Held::Overdue { age, max_age: Duration::from_secs(26 * 3600) });
        assert_eq!(bench.decide_about(&starts[..2]).held, held);
        bench.now = time("2026-03-05T00:00:00Z");
        assert_eq!(bench.reasons(&starts), ["held", "last 1 of 1", "newest; last incomplete"]);
        bench.even_if_overdue = true;
        assert_eq!(bench.decide_about(&starts).held, None);
        assert_eq!(bench.reasons(&starts), ["", "last 1 of 1", "newest; last incomplete"]);
    }

    #[test]
    fn equal_starts_are_told_apart_by_their_ids() {
        let at = "2026-03-01T02:00:00Z";
        let incomplete = &format!("{at} incomplete");
        assert_eq!(Bench::new("last 1").reasons(&[at, at, at]), ["", "", "last 1 of 1"]);
        let kept = Bench::new("last 1").reasons(&[incomplete, at, incomplete]);
        assert_eq!(kept, ["", "last 1 of 1", "newest; last incomplete"]);
    }

    #[test]
    fn parts_of_a_second_count() {
        let starts = ["2026-03-01T01:59:59.999999999Z", "2026-03-01T02:00:00Z", "2026-03-01T03:00:00Z"];
        assert_eq!(Bench::new("within 1h").reasons(&starts), ["", "within", "within"]);
        assert_eq!(Bench::new("hourly 3").reasons(&starts), ["hourly 3 of 3", "hourly 2 of 3", "hourly 1 of 3"]);
    }

    #[test]
    fn reasons_are_listed_in_one_order() {
        let everything = "tags x, last 1, hourly 1, daily 1, weekly 1, monthly 1, yearly 1, within 1h, within-hourly 1h, \
            within-daily 1h, within-weekly 1h, within-monthly 1h, within-yearly 1h";
        let kept = Bench::new(everything).reasons(&["2026-03-01T02:00:00Z pin verified tag=x"]);
        let said = "pinned; tag x; verified; last 1 of 1; hourly 1 of 1; daily 1 of 1; weekly 1 of 1; monthly 1 of 1; \
            yearly 1 of 1; within; within-hourly; within-daily; within-weekly; within-monthly; within-yearly";
        assert_eq!(kept, [said]);
    }
}
