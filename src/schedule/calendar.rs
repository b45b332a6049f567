//! A schedule as systemd.time(7) writes calendar events.

use super::Line;
use super::field::{Field, FieldName};

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Calendar events that together are the line: two when the day of the month or the day of the week counts.
pub(super) fn events(line: &Line, zone: Option<&str>) -> Vec<String> {
    let zone = zone.map(|zone| format!(" {zone}")).unwrap_or_default();
    let time = format!("{}:{}:00", numbers(&line.hour, FieldName::Hour), numbers(&line.minute, FieldName::Minute));
    let months = numbers(&line.month, FieldName::Month);
    let days = numbers(&line.day_of_month, FieldName::DayOfMonth);
    let week = weekdays(&line.day_of_week);
    if line.either_day() {
        return vec![format!("*-{months}-{days} {time}{zone}"), format!("{week}*-{months}-* {time}{zone}")];
    }
    vec![format!("{week}*-{months}-{days} {time}{zone}")]
}

/// `Mon..Fri ` with a blank at its end; nothing when every day is meant.
fn weekdays(field: &Field) -> String {
    if field.is_all(FieldName::DayOfWeek) {
        return String::new();
    }
    // Weeks of systemd begin on Monday, and no range of it goes round the end.
    let mut days: Vec<u8> = field.values.iter().map(|day| (day + 6) % 7).collect();
    days.sort_unstable();
    let name = |day: u8| DAYS.get(usize::from((day + 1) % 7)).copied().unwrap_or_default().to_owned();
    format!("{} ", ranges(&days, name))
}

fn numbers(field: &Field, name: FieldName) -> String {
    if field.is_all(name) { "*".to_owned() } else { ranges(&field.values, |value| format!("{value:02}")) }
}

/// `01,03..07`: three and more in a row are a range.
fn ranges(values: &[u8], show: impl Fn(u8) -> String) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = values;
    while let Some(&first) = rest.first() {
        let row = rest.iter().zip(first..).take_while(|(value, expected)| *value == expected).count().max(1);
        let (run, after) = rest.split_at(row);
        match run {
            [first, _, .., last] => parts.push(format!("{}..{}", show(*first), show(*last))),
            few => parts.extend(few.iter().map(|value| show(*value))),
        }
        rest = after;
    }
    parts.join(",")
}
