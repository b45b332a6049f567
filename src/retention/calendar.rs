//! The calendar of a group's time zone: in which hour, day, week, month and year a snapshot was made, and how far back a
//! span reaches.
//!
//! Times come from other machines and may be anything that 64 bits of seconds can hold. What the calendar does not
//! reach (years −9999 to 9999) counts as its first or last instant; comparisons of instants use [`nanos`] and are exact.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp as Instant};

use super::span::Span;
use crate::format::node::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// The beginning of the year 1, UTC.
const YEAR_ONE: i128 = -62_135_596_800 * NANOS;

/// A time as nanoseconds since 1970.
pub(super) fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * NANOS + i128::from(time.nanos)
}

/// Seconds as nanoseconds.
pub(super) const fn seconds(seconds: i128) -> i128 {
    seconds * NANOS
}

/// The nearest time that the calendar has.
fn instant(time: Timestamp) -> Instant {
    Instant::from_nanosecond(nanos(time)).unwrap_or(if time.seconds < 0 { Instant::MIN } else { Instant::MAX })
}

/// A stretch of local time of which a rule keeps one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// A local hour; the hour that the end of summer time repeats is two of them.
    Hour,
    /// A local date.
    Day,
    /// An ISO week: Monday to Sunday, also across New Year.
    Week,
    /// A local month.
    Month,
    /// A local year.
    Year,
}

impl Period {
    /// All, from short to long.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// `hour`, `day`, …
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// Which period of its kind it is; equal for all times in one period.
pub(super) type PeriodKey = [i32; 3];

/// A time as the clocks of the zone showed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local {
    time: DateTime,
    offset: Offset,
}

impl Local {
    pub(super) fn of(time: Timestamp, zone: &TimeZone) -> Self {
        let instant = instant(time);
        let offset = zone.to_offset(instant);
        Self { time: offset.to_datetime(instant), offset }
    }

    /// The period that it is in.
    pub(super) fn key(&self, period: Period) -> PeriodKey {
        let date = self.time.date();
        let (year, month) = (i32::from(date.year()), i32::from(date.month()));
        // No two dates share a number: 12 · 32 + 31 is below 512.
        let day = year * 512 + month * 32 + i32::from(date.day());
        match period {
            Period::Hour => [day, i32::from(self.time.hour()), self.offset.seconds()],
            Period::Day => [day, 0, 0],
            Period::Week => {
                let week = date.iso_week_date();
                [i32::from(week.year()), i32::from(week.week()), 0]
            }
            Period::Month => [year, month, 0],
            Period::Year => [year, 0, 0],
        }
    }
}

impl Span {
    /// The instant that lies the span before `time`, in nanoseconds since 1970: months, then days on the calendar of
    /// `zone`, then hours of exact time. `i128::MIN`, before which nothing is, when that is before the year 1.
    ///
    /// A local time that the clocks skip moves forward by what they skip; of one that they repeat, the first counts.
    /// Hours alone are exact.
    pub(super) fn before(self, time: Timestamp, zone: &TimeZone) -> i128 {
        let cut = self.checked_before(time, zone).map(Instant::as_nanosecond);
        cut.filter(|cut| *cut >= YEAR_ONE).unwrap_or(i128::MIN)
    }

    fn checked_before(self, time: Timestamp, zone: &TimeZone) -> Option<Instant> {
        let mut cut = instant(time);
        // The way over the calendar would take the second of two repeated hours for the first.
        if self.months() != 0 || self.days() != 0 {
            let months = jiff::Span::new().try_months(self.months()).ok()?;
            let days = jiff::Span::new().try_days(self.days()).ok()?;
            let local = Local::of(time, zone).time.checked_sub(months).ok()?.checked_sub(days).ok()?;
            cut = zone.to_ambiguous_timestamp(local).compatible().ok()?;
        }
        cut.checked_sub(SignedDuration::from_hours(self.hours())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::{berlin, time};
    use super::*;

    fn before(span: &str, from: &str, zone: &TimeZone) -> String {
        let cut = span.parse::<Span>().unwrap().before(time(from), zone);
        Instant::from_nanosecond(cut).unwrap().to_string()
    }

    fn same(period: Period, one: &str, other: &str) -> bool {
        let [one, other] = [one, other].map(|text| Local::of(time(text), &berlin()).key(period));
        one == other
    }

    #[test]
    fn the_repeated_hour_of_autumn_is_two_hours_and_one_day() {
        let [first, second] = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"];
        assert!(!same(Period::Hour, first, second), "both are 02:30 in Berlin");
        assert!(same(Period::Hour, first, "2026-10-25T00:59:59Z"));
        assert!(same(Period::Day, "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"), "25 hours");
        assert!(!same(Period::Day, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"));
        assert!(same(Period::Day, "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z"), "23 hours");
        assert!(!same(Period::Day, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"));
    }

    #[test]
    fn an_iso_week_goes_across_new_year_and_a_month_does_not() {
        let [wednesday, friday] = ["2025-12-31T12:00:00Z", "2026-01-02T12:00:00Z"];
        assert!(same(Period::Week, wednesday, friday));
        assert!(!same(Period::Month, wednesday, friday));
        assert!(!same(Period::Year, wednesday, friday));
        assert!(!same(Period::Week, "2026-01-04T22:59:59Z", "2026-01-04T23:00:00Z"), "Sunday ends in local time");
        assert!(!same(Period::Week, "2025-01-01T12:00:00Z", "2025-12-31T12:00:00Z"), "both are week 1, of two years");
        assert!(!same(Period::Month, "2025-05-15T12:00:00Z", "2026-05-15T12:00:00Z"));
    }

    #[test]
    fn months_end_on_their_last_day() {
        assert_eq!(before("1y", "2024-02-29T11:00:00Z", &berlin()), "2023-02-28T11:00:00Z");
        assert_eq!(before("1mo", "2026-03-31T10:00:00Z", &berlin()), "2026-02-28T11:00:00Z");
        assert_eq!(before("1y1mo", "2024-02-29T11:00:00Z", &berlin()), "2023-01-29T11:00:00Z", "both at once");
        assert_eq!(before("1mo1d", "2026-03-31T10:00:00Z", &berlin()), "2026-02-27T11:00:00Z", "months first");
    }

    #[test]
    fn days_are_days_of_the_calendar_and_hours_are_exact() {
        assert_eq!(before("1d", "2026-10-25T12:00:00Z", &berlin()), "2026-10-24T11:00:00Z", "25 hours");
        assert_eq!(before("24h", "2026-10-25T12:00:00Z", &berlin()), "2026-10-24T12:00:00Z");
        assert_eq!(before("1d3h", "2026-03-29T12:00:00Z", &berlin()), "2026-03-28T10:00:00Z", "23 hours, then 3");
    }

    #[test]
    fn a_skipped_time_moves_forward_and_of_a_repeated_one_the_first_counts() {
        assert_eq!(before("1d", "2026-03-30T00:30:00Z", &berlin()), "2026-03-29T01:30:00Z", "02:30 becomes 03:30");
        assert_eq!(before("1d", "2026-10-26T01:30:00Z", &berlin()), "2026-10-25T00:30:00Z");
        assert_eq!(before("1h", "2026-10-25T01:30:00Z", &berlin()), "2026-10-25T00:30:00Z", "exact");
    }

    #[test]
    fn what_the_calendar_does_not_reach_is_within_every_span() {
        assert_eq!("24h".parse::<Span>().unwrap().before(time("0001-01-02T00:00:00Z"), &TimeZone::UTC), YEAR_ONE);
        assert_eq!("1d1h".parse::<Span>().unwrap().before(time("0001-01-02T00:00:00Z"), &TimeZone::UTC), i128::MIN);
        let span: Span = "1h".parse().unwrap();
        for zone in [berlin(), TimeZone::UTC, TimeZone::fixed(jiff::tz::offset(-12))] {
            for seconds in [i64::MIN, Instant::MIN.as_second()] {
                assert_eq!(span.before(Timestamp { seconds, nanos: 0 }, &zone), i128::MIN);
            }
            let late = Timestamp { seconds: i64::MAX, nanos: 999_999_999 };
            assert!(span.before(late, &zone) < nanos(late));
            for period in Period::ALL {
                let keys = [i64::MIN, -1, 0, i64::MAX]
                    .map(|seconds| Local::of(Timestamp { seconds, nanos: 1 }, &zone).key(period));
                assert_ne!(keys.first(), keys.last());
            }
        }
    }
}
