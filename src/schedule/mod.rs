//! When something is to be done: one line of crontab(5).
//!
//! The crate `cron` counts, on the wall clock and without a time zone; what crontab(5) means otherwise than that crate is
//! put right here: five fields and no seconds, Sunday is 0 and 7, `@daily` and its like, and a line that names both a day
//! of the month and a day of the week means either. `jiff` then says which moment a time on the wall clock is.
//!
//! # When the clock is changed
//! As the cron of Vixie does it, since people know it:
//! - A line with fixed hours comes once for each time that it names. One that the clock skips comes at the first moment
//!   after the gap; one that the clock shows twice comes the first time.
//! - A line with `*` or a step in the hour is meant to come again and again: it follows the wall clock, so it comes in
//!   both of two equal hours and has nothing to make up for after a gap.
//!
//! Nothing here reads a clock or sleeps.

mod calendar;
mod error;
mod field;
mod zone;

#[cfg(test)]
mod properties;

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use jiff::tz::TimeZone;

pub use error::ScheduleError;
pub use field::FieldName;
pub use zone::{ClockChange, Shift};

use crate::clock::Timestamp;
use field::Field;

/// Seconds since 1970 on a wall clock, as if it showed UTC.
type Wall = i64;

/// The crate `cron` knows the years 1970 to 2100.
const WALLS: std::ops::Range<Wall> = 0..4_133_980_800;

/// The five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    minute: Field,
    hour: Field,
    day_of_month: Field,
    month: Field,
    day_of_week: Field,
}

impl Line {
    fn parse(line: &str) -> Result<Self, ScheduleError> {
        let texts: Vec<&str> = line.split(' ').collect();
        let [minute, hour, day_of_month, month, day_of_week] = texts.as_slice() else {
            return Err(ScheduleError::Fields { line: line.to_owned(), found: texts.len() });
        };
        Ok(Self {
            minute: Field::parse(FieldName::Minute, minute)?,
            hour: Field::parse(FieldName::Hour, hour)?,
            day_of_month: Field::parse(FieldName::DayOfMonth, day_of_month)?,
            month: Field::parse(FieldName::Month, month)?,
            day_of_week: Field::parse(FieldName::DayOfWeek, day_of_week)?,
        })
    }

    /// crontab(5): when neither of the two has a `*`, one of them is enough.
    fn either_day(&self) -> bool {
        !self.day_of_month.star && !self.day_of_week.star
    }

    /// What is handed to the crate `cron`, which wants seconds and both kinds of days.
    fn for_cron(&self) -> Vec<String> {
        let text = |days: &str, week: &str| {
            let minute = self.minute.for_cron(FieldName::Minute);
            let hour = self.hour.for_cron(FieldName::Hour);
            format!("0 {minute} {hour} {days} {} {week}", self.month.for_cron(FieldName::Month))
        };
        let days = self.day_of_month.for_cron(FieldName::DayOfMonth);
        let week = self.day_of_week.for_cron(FieldName::DayOfWeek);
        if self.either_day() { vec![text(&days, "*"), text("*", &week)] } else { vec![text(&days, &week)] }
    }
}

/// When something is to be done: one line of crontab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    line: Box<Line>,
    /// What the line means to the crate; it comes when one of them does.
    parts: Vec<cron::Schedule>,
}

/// What `@daily` and its like stand for.
fn spelled_out(word: &str) -> Result<&'static str, ScheduleError> {
    match word.to_ascii_lowercase().as_str() {
        "@hourly" => Ok("0 * * * *"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@monthly" => Ok("0 0 1 * *"),
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@reboot" => Err(ScheduleError::Reboot),
        _ => Err(ScheduleError::Word { word: word.to_owned() }),
    }
}

impl Schedule {
    /// Reads the five fields of crontab(5), or one of `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`,
    /// `@yearly`, `@annually`.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field, also of a line that never comes, such as the 31st of February.
    /// # Source
    /// crontab(5) of Debian's cron; ranges and lists of names are accepted too, as cron itself does.
    pub fn parse(line: &str) -> Result<Self, ScheduleError> {
        let text = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let spelled = if text.starts_with('@') { spelled_out(&text)? } else { &text };
        let fields = Line::parse(spelled)?;
        let never = || ScheduleError::Never { line: text.clone() };
        let parts = fields.for_cron().iter().map(|part| cron::Schedule::from_str(part)).collect::<Result<Vec<_>, _>>();
        // What came through `Line::parse` the crate can read.
        let schedule = Self { parts: parts.map_err(|_| never())?, line: Box::new(fields), text: text.clone() };
        schedule.next_wall(0).map(|_| schedule).ok_or_else(never)
    }

    /// As it was written, with single blanks.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The next time after `after`, by the clocks of `zone`; never `after` itself. `None` after the year 2100.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let seconds =
            if self.comes_again() { self.next_again(after.seconds, zone) } else { self.next_once(after.seconds, zone) };
        seconds.map(|seconds| Timestamp { seconds, nanos: 0 })
    }

    /// The newest time that is not after `now`, however long ago: whoever ran last before it has missed one.
    /// `None` before 1970 and before the first.
    #[must_use]
    pub fn latest_until(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let seconds =
            if self.comes_again() { self.latest_again(now.seconds, zone) } else { self.latest_once(now.seconds, zone) };
        seconds.map(|seconds| Timestamp { seconds, nanos: 0 })
    }

    /// As calendar events of systemd.time(7), in the time zone with this name, else in that of the machine.
    ///
    /// Two of them when the day of the month or the day of the week counts. systemd itself decides what it does when the
    /// clock is changed.
    #[must_use]
    pub fn on_calendar(&self, zone: Option<&str>) -> Vec<String> {
        calendar::events(&self.line, zone)
    }

    /// As every cron reads it: ranges of names become numbers, since some of them go round the end of the week.
    #[must_use]
    pub fn crontab(&self) -> String {
        match self.text.rsplit_once(' ') {
            Some((before, week)) if week.contains('-') && week.contains(|one: char| one.is_ascii_alphabetic()) => {
                let days: Vec<String> = self.line.day_of_week.values.iter().map(u8::to_string).collect();
                format!("{before} {}", days.join(","))
            }
            _ => self.text.clone(),
        }
    }

    /// Whether it is meant to come again and again, whatever the clock does.
    fn comes_again(&self) -> bool {
        self.line.hour.repeats
    }

    /// The first time on the wall clock after `after`.
    fn next_wall(&self, after: Wall) -> Option<Wall> {
        let after = utc(after)?;
        self.parts.iter().filter_map(|part| part.after(&after).next()).map(|time| time.timestamp()).min()
    }

    /// The last time on the wall clock before `before`.
    fn previous_wall(&self, before: Wall) -> Option<Wall> {
        let before = utc(before)?;
        self.parts.iter().filter_map(|part| part.after(&before).next_back()).map(|time| time.timestamp()).max()
    }
}

/// What the crate `cron` counts with; nearest to what it knows.
fn utc(wall: Wall) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(wall.clamp(WALLS.start, WALLS.end), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp { seconds: time.as_second(), nanos: u32::try_from(time.subsec_nanosecond()).unwrap() }
    }

    fn shown(time: Option<Timestamp>, zone: &TimeZone) -> String {
        let time = jiff::Timestamp::from_second(time.unwrap().seconds).unwrap();
        time.to_zoned(zone.clone()).strftime("%a %F %H:%M %:z").to_string()
    }

    /// The next few times.
    fn next(line: &str, after: &str, zone: &str, count: usize) -> Vec<String> {
        let (schedule, zone) = (Schedule::parse(line).unwrap(), TimeZone::get(zone).unwrap());
        let times =
            std::iter::successors(schedule.next_after(at(after), &zone), |time| schedule.next_after(*time, &zone));
        times.take(count).map(|time| shown(Some(time), &zone)).collect()
    }

    #[test]
    fn what_crontab_5_says_of_its_examples_is_when_they_come() {
        // Thursday, 1 January 2026.
        let cases = [
            ("5 0 * * *", "Thu 2026-01-01 00:05", "Fri 2026-01-02 00:05"),
            ("15 14 1 * *", "Thu 2026-01-01 14:15", "Sun 2026-02-01 14:15"),
            ("0 22 * * 1-5", "Thu 2026-01-01 22:00", "Fri 2026-01-02 22:00"),
            ("23 0-23/2 * * *", "Thu 2026-01-01 00:23", "Thu 2026-01-01 02:23"),
            ("5 4 * * sun", "Sun 2026-01-04 04:05", "Sun 2026-01-11 04:05"),
            ("0 */4 1 * mon", "Thu 2026-01-01 00:00", "Thu 2026-01-01 04:00"),
            ("0 0 */2 * sun", "Sun 2026-01-11 00:00", "Sun 2026-01-25 00:00"),
            ("30 4 1,15 * 5", "Thu 2026-01-01 04:30", "Fri 2026-01-02 04:30"),
            ("0 0 13 * fri", "Fri 2026-01-02 00:00", "Fri 2026-01-09 00:00"),
            ("0 0 29 feb *", "Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"),
            ("0 5 * * 0", "Sun 2026-01-04 05:00", "Sun 2026-01-11 05:00"),
            ("0 5 * * 7", "Sun 2026-01-04 05:00", "Sun 2026-01-11 05:00"),
            ("0 5 * * 1", "Mon 2026-01-05 05:00", "Mon 2026-01-12 05:00"),
            ("0 12 * jan-mar,DEC 6", "Sat 2026-01-03 12:00", "Sat 2026-01-10 12:00"),
            ("*/20 8-9 * * *", "Thu 2026-01-01 08:00", "Thu 2026-01-01 08:20"),
            ("@hourly", "Thu 2026-01-01 00:00", "Thu 2026-01-01 01:00"),
            ("@daily", "Thu 2026-01-01 00:00", "Fri 2026-01-02 00:00"),
            ("@midnight", "Thu 2026-01-01 00:00", "Fri 2026-01-02 00:00"),
            ("@weekly", "Sun 2026-01-04 00:00", "Sun 2026-01-11 00:00"),
            ("@monthly", "Thu 2026-01-01 00:00", "Sun 2026-02-01 00:00"),
            ("@yearly", "Thu 2026-01-01 00:00", "Fri 2027-01-01 00:00"),
            ("@Annually", "Thu 2026-01-01 00:00", "Fri 2027-01-01 00:00"),
        ];
        for (line, first, second) in cases {
            let times = next(line, "2025-12-31T23:59:59.5Z", "UTC", 2);
            assert_eq!(times, [first, second].map(|time| format!("{time} +00:00")), "{line}");
        }
    }

    #[test]
    fn the_next_time_is_never_the_one_that_was_asked_about() {
        assert_eq!(next("30 2 * * *", "2026-05-01T02:30:00Z", "UTC", 1), ["Sat 2026-05-02 02:30 +00:00"]);
        assert_eq!(next("30 2 * * *", "2026-05-01T02:29:59.999Z", "UTC", 1), ["Fri 2026-05-01 02:30 +00:00"]);
    }

    #[test]
    fn fixed_hours_come_once_a_day_also_when_the_clock_is_changed() {
        let spring = next("30 2 * * *", "2026-03-28T00:00:00Z", "Europe/Berlin", 3);
        let expected = ["Sat 2026-03-28 02:30 +01:00", "Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:30 +02:00"];
        assert_eq!(spring, expected);
        let autumn = next("30 2 * * *", "2026-10-24T00:00:00Z", "Europe/Berlin", 3);
        let expected = ["Sat 2026-10-24 02:30 +02:00", "Sun 2026-10-25 02:30 +02:00", "Mon 2026-10-26 02:30 +01:00"];
        assert_eq!(autumn, expected);
        // Several that are skipped are one, also with one that is not.
        let several = next("*/15 2,3 * * *", "2026-03-28T23:00:00Z", "Europe/Berlin", 3);
        let expected = ["Sun 2026-03-29 03:00 +02:00", "Sun 2026-03-29 03:15 +02:00", "Sun 2026-03-29 03:30 +02:00"];
        assert_eq!(several, expected);
    }

    #[test]
    fn hourly_ones_go_on_by_the_hours_that_there_are() {
        let spring = next("30 * * * *", "2026-03-29T00:00:00Z", "Europe/Berlin", 3);
        let expected = ["Sun 2026-03-29 01:30 +01:00", "Sun 2026-03-29 03:30 +02:00", "Sun 2026-03-29 04:30 +02:00"];
        assert_eq!(spring, expected);
        let autumn = next("30 * * * *", "2026-10-24T23:35:00Z", "Europe/Berlin", 3);
        let expected = ["Sun 2026-10-25 02:30 +02:00", "Sun 2026-10-25 02:30 +01:00", "Sun 2026-10-25 03:30 +01:00"];
        assert_eq!(autumn, expected);
    }

    #[test]
    fn in_the_second_of_two_equal_hours_the_first_is_the_latest() {
        let (schedule, zone) = (Schedule::parse("30 2 * * *").unwrap(), TimeZone::get("Europe/Berlin").unwrap());
        for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:40:00Z", "2026-10-26T01:29:59Z"] {
            let latest = schedule.latest_until(at(now), &zone);
            assert_eq!(shown(latest, &zone), "Sun 2026-10-25 02:30 +02:00", "{now}");
        }
        let latest = schedule.latest_until(at("2026-10-25T00:29:59.9Z"), &zone);
        assert_eq!(shown(latest, &zone), "Sat 2026-10-24 02:30 +02:00");
    }

    #[test]
    fn a_run_that_was_missed_years_ago_is_found_at_once() {
        let schedule = Schedule::parse("0 0 29 2 *").unwrap();
        let latest = schedule.latest_until(at("2028-02-28T23:59:59Z"), &TimeZone::UTC);
        assert_eq!(shown(latest, &TimeZone::UTC), "Thu 2024-02-29 00:00 +00:00");
        let early = Timestamp { seconds: -1, nanos: 0 };
        assert_eq!(schedule.latest_until(early, &TimeZone::UTC), None);
        for seconds in [i64::MIN, i64::MAX] {
            let time = Timestamp { seconds, nanos: 0 };
            assert_eq!(schedule.next_after(time, &TimeZone::UTC).is_some(), seconds < 0, "{seconds}");
            assert_eq!(schedule.latest_until(time, &TimeZone::UTC).is_some(), seconds > 0, "{seconds}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_and_the_hint_names_the_field() {
        let cases = [
            ("", "`` has 1 fields, not 5", "minute, hour"),
            ("30 2 * *", "`30 2 * *` has 4 fields, not 5", "minute, hour"),
            ("0 30 2 * * *", "`0 30 2 * * *` has 6 fields, not 5", "minute, hour"),
            ("@reboot", "`@reboot` is no time: bk looks at every start whether a run was missed", "remove"),
            ("@nightly", "`@nightly` is no schedule", "@daily"),
            ("60 2 * * *", "the field for the minute has `60`, which is no minute", "the minute"),
            ("30 24 * * *", "the field for the hour has `24`, which is no hour", "the hour"),
            (
                "30 2 0 * *",
                "the field for the day of the month has `0`, which is no day of the month",
                "the day of the month",
            ),
            ("30 2 * 13 *", "the field for the month has `13`, which is no month", "the month"),
            (
                "30 2 * * 8",
                "the field for the day of the week has `8`, which is no day of the week",
                "the day of the week",
            ),
            (
                "30 2 * * 1#2",
                "the field for the day of the week has `1#2`, which is no day of the week",
                "the day of the week",
            ),
            (
                "30 2 L * *",
                "the field for the day of the month has `L`, which is no day of the month",
                "the day of the month",
            ),
            (
                "30 2 * * mo",
                "the field for the day of the week has `mo`, which is no day of the week",
                "the day of the week",
            ),
            ("*/90 * * * *", "the field for the minute has the step `90`, which is not between 1 and 59", "the minute"),
            ("*/0 * * * *", "the field for the minute has the step `0`, which is not between 1 and 59", "the minute"),
            ("5/15 * * * *", "the field for the minute has `5/15`, a step without a range", "the minute"),
            ("0 22-2 * * *", "the field for the hour has `22-2`, a range that ends before it begins", "the hour"),
            ("0 2,, * * *", "the field for the hour has ``, which is no hour", "the hour"),
            ("-1 2 * * *", "the field for the minute has ``, which is no minute", "the minute"),
            ("0 0 31 2 *", "`0 0 31 2 *` never comes: no such month has such a day", "the day of the month"),
            ("0 0 31 4,6,9,11 *", "`0 0 31 4,6,9,11 *` never comes: no such month has such a day", "the month"),
        ];
        for (line, message, hint) in cases {
            let error = Schedule::parse(line).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(error.hint().contains(hint), "{line}: {}", error.hint());
        }
        // The 31st of February, or a Monday in it.
        assert!(Schedule::parse("0 0 31 2 1").is_ok());
        assert_eq!(Schedule::parse("  30\t2  * * * ").unwrap().text(), "30 2 * * *");
    }

    #[test]
    fn a_schedule_is_written_as_systemd_reads_it() {
        let cases: [(&str, &[&str]); 9] = [
            ("30 2 * * *", &["*-*-* 02:30:00"]),
            ("@hourly", &["*-*-* *:00:00"]),
            ("*/15 8-18 * * mon-fri", &["Mon..Fri *-*-* 08..18:00,15,30,45:00"]),
            ("0 5 * * 0", &["Sun *-*-* 05:00:00"]),
            ("0 5 * * 5-7", &["Fri..Sun *-*-* 05:00:00"]),
            ("0 5 * * 0,1,6", &["Mon,Sat,Sun *-*-* 05:00:00"]),
            ("0 4 1,15 1-6 *", &["*-01..06-01,15 04:00:00"]),
            ("0 4 1,15 * fri", &["*-*-01,15 04:00:00", "Fri *-*-* 04:00:00"]),
            ("0 4 */10 * fri", &["Fri *-*-01,11,21,31 04:00:00"]),
        ];
        for (line, events) in cases {
            assert_eq!(Schedule::parse(line).unwrap().on_calendar(None), events, "{line}");
        }
        let berlin = Schedule::parse("@daily").unwrap().on_calendar(Some("Europe/Berlin"));
        assert_eq!(berlin, ["*-*-* 00:00:00 Europe/Berlin"]);
    }

    #[test]
    fn a_weekend_is_written_so_that_every_cron_reads_it() {
        for (line, written) in
            [("0 4 * * sat-sun", "0 4 * * 0,6"), ("0 4 * * sat", "0 4 * * sat"), ("@daily", "@daily")]
        {
            assert_eq!(Schedule::parse(line).unwrap().crontab(), written);
        }
    }

    #[test]
    fn what_the_change_of_the_clock_does_is_told_with_the_day() {
        let (from, until) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let told = |line: &str| -> Vec<(String, String, Shift)> {
            let changes = Schedule::parse(line).unwrap().clock_changes(from, until, &zone);
            changes.into_iter().map(|one| (one.wall.to_string(), shown(Some(one.comes), &zone), one.shift)).collect()
        };
        assert_eq!(
            told("30 2 * * *"),
            [
                ("2026-03-29T02:30:00".into(), "Sun 2026-03-29 03:00 +02:00".into(), Shift::Skipped),
                ("2026-10-25T02:30:00".into(), "Sun 2026-10-25 02:30 +02:00".into(), Shift::Doubled),
            ]
        );
        assert_eq!(told("0 2 * 3 *").len(), 1, "the first moment of the gap is in it");
        assert_eq!(told("0 3 * * *"), [], "the first moment after it is not");
        assert_eq!(told("59 1 * * *"), []);
        assert_eq!(told("30 * * * *"), [], "hourly ones go on");
        assert_eq!(told("30 2 * * mon"), []);
    }
}
