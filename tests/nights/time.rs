//! Berlin's clock in the winter of 2026, worked out by hand: summer time ends on 2026-10-25 and begins on 2027-03-28.

/// A day, counted from 1970-01-01.
pub type Day = i64;

pub const DAY: i64 = 86_400;
pub const NANO: i64 = 1_000_000_000;

/// 2026-10-01, a Thursday.
pub const OCTOBER_1: Day = 20_727;
/// 2026-10-25: at 3:00 it is 2:00 again.
const OCTOBER_25: Day = OCTOBER_1 + 24;
/// 2027-03-28: at 2:00 it is 3:00.
pub const MARCH_28: Day = OCTOBER_1 + 178;

/// Seconds since 1970 of a time of the day. What the clock shows twice is the first; what it skips is 3:00.
pub fn at(day: Day, hour: i64, minute: i64) -> i64 {
    let wall = day * DAY + hour * 3600 + minute * 60;
    let (ends, begins) = (OCTOBER_25 * DAY + 3 * 3600, MARCH_28 * DAY + 2 * 3600);
    if wall < ends {
        wall - 7200
    } else if wall < begins {
        wall - 3600
    } else if wall < begins + 3600 {
        begins - 3600
    } else {
        wall - 7200
    }
}

/// When the night's timer fires.
pub fn timer(day: Day) -> i64 {
    at(day, 2, 30)
}

/// So many days of the calendar before, in nanoseconds: the clock on the wall shows the same.
pub fn days_before(nanos: i64, days: i64) -> i64 {
    let seconds = nanos.div_euclid(NANO);
    let (ends, begins) = (OCTOBER_25 * DAY + 3600, MARCH_28 * DAY + 3600);
    let ahead = if (ends..begins).contains(&seconds) { 3600 } else { 7200 };
    let wall = seconds + ahead - days * DAY;
    let then = at(wall.div_euclid(DAY), 0, wall.rem_euclid(DAY) / 60) + wall.rem_euclid(60);
    then * NANO + nanos.rem_euclid(NANO)
}

pub fn is_sunday(day: Day) -> bool {
    (day - OCTOBER_1).rem_euclid(7) == 3
}

pub fn is_monday(day: Day) -> bool {
    is_sunday(day - 1)
}

/// Nanoseconds since 1970 of a time as the program writes it.
pub fn nanos(text: &str) -> i64 {
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    i64::try_from(time.as_nanosecond()).unwrap()
}

/// Seconds since 1970 of such a time.
pub fn seconds(text: &str) -> i64 {
    nanos(text).div_euclid(NANO)
}
