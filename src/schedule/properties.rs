//! Claims about every schedule, tried on many; the crate `croner` is the second opinion.

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// With the usual change of the clock, one of half an hour, some at midnight and before it, one south of the equator.
const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "America/Nuuk",
    "America/Santiago",
    "Asia/Kathmandu",
    "UTC",
];

/// A field as people write it.
fn field(least: u8, most: u8) -> impl Strategy<Value = String> {
    let one = move || least..=most;
    let step = 1..=most.max(2) / 2;
    prop_oneof![
        3 => Just("*".to_owned()),
        4 => one().prop_map(|value| value.to_string()),
        2 => (one(), one()).prop_map(|(one, other)| format!("{},{}", one, other)),
        1 => (one(), one()).prop_map(|(one, other)| format!("{}-{}", one.min(other), one.max(other))),
        1 => step.clone().prop_map(|step| format!("*/{step}")),
        1 => (one(), one(), step).prop_map(|(one, other, step)| format!("{}-{}/{step}", one.min(other), one.max(other))),
    ]
}

/// Hours in which clocks are changed come often.
fn hour() -> impl Strategy<Value = String> {
    prop_oneof![field(0, 23), select(vec!["0", "1", "2", "3", "23", "1,2", "2,14", "0-3"]).prop_map(str::to_owned)]
}

fn line() -> impl Strategy<Value = String> {
    let days = prop_oneof![2 => Just("*".to_owned()), 1 => field(1, 31)];
    let months = prop_oneof![3 => Just("*".to_owned()), 1 => field(1, 12)];
    let week = prop_oneof![2 => Just("*".to_owned()), 1 => field(0, 7)];
    (field(0, 59), hour(), days, months, week)
        .prop_map(|(minute, hour, day, month, week)| format!("{minute} {hour} {day} {month} {week}"))
}

/// Anywhere in 20 years, and often near a change of the clock.
fn time() -> impl Strategy<Value = (i64, usize)> {
    let near = (-180_000_i64..180_000, 0_i64..40, 0..ZONES.len()).prop_map(|(away, which, zone)| {
        let zone_of = TimeZone::get(ZONES[zone]).unwrap();
        let changes = zone_of.following(jiff::Timestamp::from_second(1_600_000_000).unwrap());
        let change = changes.take(which as usize + 1).last().map_or(1_700_000_000, |one| one.timestamp().as_second());
        (change + away, zone)
    });
    prop_oneof![2 => near, 1 => (1_500_000_000_i64..2_100_000_000, 0..ZONES.len())]
}

/// What croner says comes next, in the same words as crontab(5). It differs from crontab(5) in two ways, both of which
/// are answered by asking it otherwise:
/// - It takes only a single minute of a single hour for a fixed time. Here every fixed hour is one, so it is asked about
///   each by itself, and the earliest answer counts.
/// - A step such as `*/2` in a day counts as a choice for it; crontab(5) says that a field with `*` does not choose.
fn second_opinion(schedule: &Schedule, after: i64, zone: &TimeZone) -> Option<i64> {
    let texts: Vec<&str> = schedule.text().split(' ').collect();
    let [_, _, days, months, week] = texts[..] else { panic!("{texts:?}") };
    let star = days.contains('*') || week.contains('*');
    let parser = CronParser::builder().dom_and_dow(star).build();
    let start = jiff::Timestamp::from_second(after).unwrap().to_zoned(zone.clone());
    let ask = |line: &str| -> Option<i64> {
        let cron: Cron = parser.parse(line).unwrap();
        let next = cron.find_next_occurrence(&start, false).ok()?;
        Some(next.timestamp().as_second())
    };
    if schedule.comes_again() {
        return ask(schedule.text());
    }
    let (minutes, hours) = (&schedule.line.minute.values, &schedule.line.hour.values);
    let each = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (*minute, *hour)));
    each.filter_map(|(minute, hour)| ask(&format!("{minute} {hour} {days} {months} {week}"))).min()
}

/// Whether a change of the clock at this moment has swallowed the end of a day, as in Nuuk. What should have come then
/// comes at the first moment of the next day; croner wants that day to be one of the line's, too.
fn swallowed_the_end_of_a_day(moment: i64, zone: &TimeZone) -> bool {
    let local = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap().to_zoned(zone.clone());
    let (before, after) = (local(moment - 1), local(moment));
    before.offset() < after.offset() && before.date() < after.date() && before.hour() < 23
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn croner_says_the_same(line in line(), (after, zone) in time()) {
        let Ok(schedule) = Schedule::parse(&line) else { return Ok(()) };
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let ours = schedule.next_after(Timestamp { seconds: after, nanos: 0 }, &zone).map(|time| time.seconds);
        let theirs = second_opinion(&schedule, after, &zone);
        if let Some(moment) = ours.filter(|ours| theirs != Some(*ours) && swallowed_the_end_of_a_day(*ours, &zone)) {
            let texts: Vec<&str> = line.split(' ').collect();
            let any_day = Schedule::parse(&format!("{} {} * * *", texts[0], texts[1])).unwrap();
            prop_assert_eq!(second_opinion(&any_day, moment - 1, &zone), ours, "{} on any day", line);
            return Ok(());
        }
        prop_assert_eq!(ours, theirs, "{} after {} in {:?}", line, after, zone);
    }

    #[test]
    fn only_lines_that_croner_knows_no_time_for_never_come(line in line()) {
        if let Err(ScheduleError::Never { .. }) = Schedule::parse(&line) {
            let cron: Cron = CronParser::new().parse(&line).unwrap();
            let start = jiff::Timestamp::from_second(1_700_000_000).unwrap().to_zoned(TimeZone::UTC);
            prop_assert!(cron.find_next_occurrence(&start, false).is_err(), "{}", line);
        } else {
            prop_assert!(Schedule::parse(&line).is_ok(), "{}", line);
        }
    }

    #[test]
    fn the_latest_until_now_agrees_with_the_next_after(line in line(), (now, zone) in time()) {
        let Ok(schedule) = Schedule::parse(&line) else { return Ok(()) };
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let at = |seconds: i64| Timestamp { seconds, nanos: 0 };
        let latest = schedule.latest_until(at(now), &zone).unwrap();
        prop_assert!(latest.seconds <= now);
        // Nothing comes between it and now, and it is a time that comes.
        prop_assert!(schedule.next_after(latest, &zone).unwrap().seconds > now, "{} until {}", line, now);
        prop_assert_eq!(schedule.next_after(at(latest.seconds - 1), &zone), Some(latest));
        let next = schedule.next_after(at(now), &zone).unwrap();
        prop_assert_eq!(schedule.latest_until(next, &zone), Some(next));
        prop_assert_eq!(schedule.latest_until(at(next.seconds - 1), &zone), Some(latest));
    }

    #[test]
    fn what_is_no_schedule_is_refused_and_never_panics(line in "[-0-9*/, @a-zA-Z#?]{0,30}") {
        if let Err(error) = Schedule::parse(&line) {
            prop_assert!(!error.hint().is_empty() && !error.to_string().is_empty());
        }
    }
}
