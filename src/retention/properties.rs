//! What holds for every group and every rule.

use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::bench::{Bench, Made, berlin, keep};
use super::{ALL, Keep, Pin, Value};
use crate::format::node::Timestamp;

/// Mostly within some weeks, so that periods are shared; some years apart; some that no calendar reaches.
fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0..40_i64, 0..24_i64, 0..4_i64)
            .prop_map(|(day, hour, quarter)| 1_792_800_000 + day * 86_400 + hour * 3600 + quarter * 900),
        2 => 1_600_000_000..1_900_000_000_i64,
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(253_402_207_200), Just(-377_705_023_201)],
    ]
}

fn times() -> impl Strategy<Value = Timestamp> {
    let nanos = prop_oneof![4 => Just(0), 1 => 0..1_000_000_000_u32];
    (seconds(), nanos).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn made() -> impl Strategy<Value = Made> {
    let pin = prop_oneof![6 => Just(Pin::None), 1 => Just(Pin::Forever), 1 => times().prop_map(Pin::Until)];
    let tags = prop_oneof![4 => Just(vec![]), 1 => Just(vec!["x".to_owned()])];
    let stored = prop_oneof![4 => Just(None), 1 => times().prop_map(Some)];
    let complete = prop_oneof![3 => Just(true), 1 => Just(false)];
    let previous = prop_oneof![1 => Just(None), 2 => times().prop_map(Some)];
    (times(), complete, tags, pin, any::<bool>(), stored, previous).prop_map(
        |(start, complete, tags, pin, verified, stored, previous)| Made {
            id: 0,
            start,
            complete,
            tags,
            pin,
            verified,
            stored,
            previous,
        },
    )
}

/// Each says what it says.
fn unrelated() -> impl Strategy<Value = Vec<Made>> {
    prop::collection::vec(made(), 0..60).prop_map(|mut history| {
        history.iter_mut().zip(0..).for_each(|(made, id)| made.id = id);
        history
    })
}

/// Each says which complete one was the newest before it.
fn chained(mut history: Vec<Made>) -> Vec<Made> {
    history.sort_by_key(|made| (made.start, made.id));
    let mut newest = None;
    for made in &mut history {
        made.previous = newest;
        newest = if made.complete { Some(made.start) } else { newest };
    }
    history
}

/// Runs with absences of days to years between them.
fn with_absences() -> impl Strategy<Value = Vec<Made>> {
    let hours = prop::sample::select(vec![1, 6, 24, 24, 24, 24, 50, 72, 130, 200, 960, 9600]);
    prop::collection::vec((made(), hours), 0..30).prop_map(|runs| {
        let mut seconds = 1_792_800_000;
        let back = runs.into_iter().zip(0..).map(|((made, hours), back)| {
            seconds -= hours * 3600;
            Made { id: 99 - back, start: Timestamp { seconds, nanos: 0 }, stored: None, ..made }
        });
        chained(back.collect())
    })
}

fn histories() -> impl Strategy<Value = Vec<Made>> {
    prop_oneof![unrelated(), unrelated().prop_map(chained), with_absences()]
}

fn count() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![3 => Just(None), 3 => (1..12_u32).prop_map(Some), 1 => Just(Some(ALL))]
}

fn span() -> impl Strategy<Value = Option<super::Span>> {
    const TEXTS: [&str; 10] = ["1h", "1d", "36h", "1w", "30d", "1mo", "1y", "2y6mo", "1000y", "8766000h"];
    prop_oneof![3 => Just(None), 2 => prop::sample::select(&TEXTS).prop_map(|text| Some(text.parse().unwrap()))]
}

fn keeps() -> impl Strategy<Value = Keep> {
    let counts = (count(), count(), count(), count(), count(), count());
    let spans = (span(), span(), span(), span(), span(), span());
    (counts, spans, any::<bool>()).prop_map(|(counts, spans, tagged)| Keep {
        last: counts.0,
        hourly: counts.1,
        daily: counts.2,
        weekly: counts.3,
        monthly: counts.4,
        yearly: counts.5,
        within: spans.0,
        within_hourly: spans.1,
        within_daily: spans.2,
        within_weekly: spans.3,
        within_monthly: spans.4,
        within_yearly: spans.5,
        tags: if tagged { vec!["x".into()] } else { Vec::new() },
    })
}

const COUNTS: [(&str, u32); 2] = [("", 12), ("", ALL)];
const SPANS: [(&str, u32); 5] = [("h", 200), ("d", 60), ("w", 9), ("mo", 30), ("y", 30)];

/// What a rule is set to in each of two sets of rules, in one unit: which one of `30d` and `1mo` is longer depends on
/// where it is counted from.
fn grown(units: &'static [(&str, u32)]) -> impl Strategy<Value = [Option<String>; 2]> {
    prop::sample::select(units).prop_flat_map(|(unit, most)| {
        let text = move |amount: u32| format!("{amount}{unit}");
        let amount = || prop_oneof![1..9_u32, 1..most];
        prop_oneof![
            12 => Just([None, None]),
            1 => amount().prop_map(move |amount| [None, Some(text(amount))]),
            4 => (amount(), amount()).prop_map(move |(one, two)| [one.min(two), one.max(two)].map(text).map(Some)),
        ]
    })
}

/// Every rule of the second set keeps as much as that of the first one, or more.
fn less_and_more() -> impl Strategy<Value = [Keep; 2]> {
    let (counts, spans) = (prop::collection::vec(grown(&COUNTS), 6), prop::collection::vec(grown(&SPANS), 6));
    let tag = prop::sample::select(vec![[None, None], [None, Some("x")], [Some("x"), Some("x")]]);
    (counts, spans, tag).prop_map(|(counts, spans, tag)| {
        let mut keeps = [Keep::default(), Keep::default()];
        let tag = tag.map(|tag| tag.map(String::from));
        for (rule, values) in Keep::RULES.into_iter().zip([counts, spans, vec![tag]].concat()) {
            for (keep, value) in keeps.iter_mut().zip(values) {
                value.into_iter().for_each(|value| keep.set(rule, Value::Text(&value)).unwrap());
            }
        }
        keeps
    })
}

fn benches() -> impl Strategy<Value = Bench> {
    let zones = prop::sample::select(vec![
        TimeZone::UTC,
        berlin(),
        TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap(),
        TimeZone::fixed(jiff::tz::offset(-12)),
    ]);
    let max_age = prop_oneof![3 => Just(None), 1 => any::<u32>().prop_map(|age| Some(Duration::from_secs(age.into())))];
    (keeps(), 0..5_u32, max_age, any::<bool>(), zones, times()).prop_map(
        |(keep, floor, max_age, even_if_overdue, zone, now)| Bench { keep, floor, max_age, even_if_overdue, zone, now },
    )
}

fn kept(bench: &Bench, history: &[Made]) -> Vec<bool> {
    let decision = bench.decide(history);
    assert_eq!(decision.verdicts.len(), history.len());
    decision.verdicts.iter().map(super::Verdict::is_kept).collect()
}

fn is_future(bench: &Bench, made: &Made) -> bool {
    Bench { keep: keep("last 1"), ..bench.clone() }.decide(std::slice::from_ref(made)).verdicts[0].reasons
        == [super::Reason::Future]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_newest_complete_ones_are_never_dropped(bench in benches(), history in histories()) {
        let kept = kept(&bench, &history);
        let mut complete: Vec<usize> = (0..history.len())
            .filter(|at| history[*at].complete && !is_future(&bench, &history[*at]))
            .collect();
        complete.sort_by_key(|at| std::cmp::Reverse((history[*at].start, history[*at].id)));
        let floor = bench.floor.max(1) as usize;
        prop_assert!(complete.iter().take(floor).all(|at| kept[*at]));
    }

    #[test]
    fn an_incomplete_one_costs_no_complete_one_its_place(
        bench in benches(), history in histories(), more in made(), at in any::<prop::sample::Index>(),
    ) {
        let before = kept(&bench, &history);
        let mut longer = history.clone();
        let at = at.index(history.len() + 1);
        longer.insert(at, Made { complete: false, id: 255, ..more });
        let mut after = kept(&bench, &longer);
        after.remove(at);
        for (made, (before, after)) in history.iter().zip(before.iter().zip(&after)) {
            prop_assert!(!made.complete || before == after);
        }
    }

    #[test]
    fn a_more_generous_keep_keeps_all_that_another_keeps(
        bench in benches(), history in histories(), [less, more] in less_and_more(),
    ) {
        let less = kept(&Bench { keep: less, ..bench.clone() }, &history);
        let more = kept(&Bench { keep: more, ..bench }, &history);
        for ((made, less), more) in history.iter().zip(less).zip(more) {
            prop_assert!(!less || more, "{made:?}");
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        bench in benches(),
        (history, shuffled) in histories().prop_flat_map(|history| {
            let order = Just((0..history.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(history), order)
        }),
    ) {
        let straight = bench.decide(&history);
        let other = bench.decide(&shuffled.iter().map(|at| history[*at].clone()).collect::<Vec<_>>());
        prop_assert_eq!(straight.held, other.held);
        for (place, at) in shuffled.iter().enumerate() {
            prop_assert_eq!(&straight.verdicts[*at], &other.verdicts[place]);
        }
    }

    #[test]
    fn a_held_group_drops_nothing_and_another_always_keeps_one(bench in benches(), history in histories()) {
        let decision = bench.decide(&history);
        let kept = decision.verdicts.iter().filter(|verdict| verdict.is_kept()).count();
        prop_assert!(kept == history.len() || decision.held.is_none() && kept > 0);
    }
}
