//! What stays is what an independent implementation of the rules says, reason by reason.
//!
//! Random histories of backups (nightly and hourly with jitter, several absences in a row with a run or two between them,
//! clocks that jump, days on which clocks change, times exactly on a limit) are decided here and by
//! `tests/reader/retention.py`, which shares no code with `bk`. A history follows from its seed alone. Where the two
//! differ, the smallest history that still shows it is printed.
//!
//! 1,500 histories; 100,000 with `BK_TORTURE=1`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bk::clock::Timestamp;
use bk::id::{SnapshotId, to_hex};
use bk::retention::{Candidate, Keep, Pin, Rules, Value as KeepValue, decide};
use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Half an hour of summer time (Lord Howe), 45 minutes of offset (Kathmandu), a date that was left out (Apia), and dates
/// that come back when the clock is put back over midnight (St. John's, until 2011).
const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "UTC",
    "Pacific/Apia",
    "America/St_Johns",
];

const SPANS: [&str; 24] = [
    "1h",
    "5h",
    "24h",
    "25h",
    "36h",
    "168h",
    "1d",
    "2d",
    "1d1h",
    "6d",
    "7d",
    "1w",
    "8d",
    "1w1d",
    "30d",
    "1mo",
    "2mo",
    "13mo",
    "1y",
    "1y1mo",
    "2y6mo",
    "1y1mo1w1d1h",
    "30y",
    "1000y",
];

/// A sequence that its seed decides (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `from` up to, but not, `to`.
    fn range(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.next() % u64::try_from(to - from).unwrap()).unwrap()
    }

    fn percent(&mut self, chance: i64) -> bool {
        self.range(0, 100) < chance
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.range(0, i64::try_from(from.len()).unwrap())).unwrap()].clone()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pinned {
    No,
    Forever,
    Until(i64),
}

#[derive(Debug, Clone)]
struct Backup {
    id: [u8; 32],
    start: i64,
    complete: bool,
    tags: Vec<String>,
    pin: Pinned,
    verified: bool,
    stored: Option<i64>,
    previous: Option<i64>,
}

/// A group and its rules.
#[derive(Debug, Clone)]
struct History {
    now: i64,
    zone: &'static str,
    keep: Map<String, Value>,
    floor: u32,
    max_age: Option<i64>,
    even_if_overdue: bool,
    backups: Vec<Backup>,
}

fn text(seconds: i64) -> String {
    Instant::from_second(seconds).unwrap().to_string()
}

impl History {
    fn to_json(&self) -> Value {
        let backup = |one: &Backup| {
            json!({
                "id": to_hex(&one.id),
                "start": text(one.start),
                "complete": one.complete,
                "tags": one.tags,
                "pin": match one.pin {
                    Pinned::No => Value::Null,
                    Pinned::Forever => "forever".into(),
                    Pinned::Until(end) => text(end).into(),
                },
                "verified": one.verified,
                "stored": one.stored.map(text),
                "previous": one.previous.map(text),
            })
        };
        json!({
            "now": text(self.now),
            "zone": self.zone,
            "keep": self.keep,
            "floor": self.floor,
            "max_age": self.max_age,
            "even_if_overdue": self.even_if_overdue,
            "snapshots": self.backups.iter().map(backup).collect::<Vec<_>>(),
        })
    }

    /// The rules, set as a configuration sets them.
    fn keep(&self) -> Keep {
        let mut keep = Keep::default();
        for (rule, value) in &self.keep {
            match value {
                Value::Number(number) => keep.set(rule, KeepValue::Number(number.as_i64().unwrap())),
                Value::String(text) => keep.set(rule, KeepValue::Text(text)),
                Value::Array(tags) => {
                    let tags: Vec<String> = tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
                    keep.set(rule, KeepValue::List(&tags))
                }
                _ => panic!("{value}"),
            }
            .unwrap();
        }
        keep
    }

    /// What `bk` decides, as the other implementation writes it.
    fn decided(&self) -> Value {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let candidates: Vec<Candidate<'_>> = self
            .backups
            .iter()
            .map(|one| Candidate {
                id: SnapshotId(one.id),
                start: at(one.start),
                complete: one.complete,
                tags: &one.tags,
                pin: match one.pin {
                    Pinned::No => Pin::None,
                    Pinned::Forever => Pin::Forever,
                    Pinned::Until(end) => Pin::Until(at(end)),
                },
                verified: one.verified,
                stored: one.stored.map(at),
                previous: one.previous.map(at),
            })
            .collect();
        let rules = Rules {
            keep: &self.keep(),
            floor: self.floor,
            max_age: self.max_age.map(|seconds| Duration::from_secs(seconds.try_into().unwrap())),
            even_if_overdue: self.even_if_overdue,
            zone: &TimeZone::get(self.zone).unwrap(),
            now: at(self.now),
        };
        let decision = decide(&candidates, &rules);
        let (mut kept, mut dropped) = (Map::new(), Vec::new());
        for (candidate, verdict) in candidates.iter().zip(&decision.verdicts) {
            let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
            match verdict.is_kept() {
                true => drop(kept.insert(candidate.id.to_string(), reasons.into())),
                false => dropped.push(candidate.id.to_string()),
            }
        }
        in_order(json!({ "held": decision.held.map(|held| held.code()), "kept": kept, "dropped": dropped }))
    }
}

/// With the dropped ones sorted: they are a set.
fn in_order(mut result: Value) -> Value {
    result["dropped"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    result
}

/// What the other implementation says of each.
fn independent(histories: &[History]) -> Vec<Value> {
    let cases: Vec<Value> = histories.iter().map(History::to_json).collect();
    let document = json!({ "cases": cases }).to_string();
    let mut reader = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reader/retention.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = reader.stdin.take().unwrap();
    // From another thread: the reader may write before it has read everything.
    let writer = std::thread::spawn(move || input.write_all(document.as_bytes()));
    let output = reader.wait_with_output().unwrap();
    let written = writer.join().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    written.unwrap();
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = std::mem::take(answer["results"].as_array_mut().unwrap());
    assert_eq!(results.len(), histories.len());
    results.into_iter().map(in_order).collect()
}

// Histories.

/// A moment around which something happens to the clocks of the zone, or any.
fn anchor(random: &mut Random, zone: &str, known: &TimeZone) -> i64 {
    let any = random.range(1_200_000_000, 2_240_000_000);
    if zone == "Pacific/Apia" && random.percent(50) {
        // The end of 2011-12-29, after which 2011-12-31 began.
        return 1_325_239_200 + random.range(-2, 4) * DAY + random.range(-3, 4) * HOUR;
    }
    let change = known.following(Instant::from_second(any).unwrap()).next();
    let Some(change) = change.filter(|_| random.percent(60)) else { return any / HOUR * HOUR };
    let near = [-DAY, -HOUR, -1800, -1, 0, 1, 1800, 2700, HOUR, 5400, 2 * HOUR, DAY, 2 * DAY, 30 * DAY, 365 * DAY];
    change.timestamp().as_second() + random.pick(&near)
}

/// Absences in a row, from the newest start back, with a few runs between them or a single one; gives where the oldest
/// absence began.
fn absences(random: &mut Random, newest: i64, rhythm: i64, starts: &mut Vec<i64>) -> i64 {
    let mut at = newest;
    for _ in 0..random.range(1, 6) {
        let runs = random.pick(&[1, 1, 1, 2, 3, 8]);
        let stretches = [HOUR, DAY, 2 * DAY - 1, 2 * DAY, 5 * DAY, 30 * DAY - 1, 30 * DAY];
        let stretch = if runs > 1 { random.pick(&stretches) } else { 0 };
        starts.extend((0..runs).map(|run| at - stretch * run / (runs - 1).max(1)));
        let lengths = [2 * DAY, 3 * DAY, 4 * DAY, 8 * DAY, 40 * DAY, 40 * DAY, 400 * DAY, 4 * rhythm, 4 * rhythm];
        at -= stretch + random.pick(&lengths) + random.range(0, 2);
    }
    at
}

/// Starts from the newest back.
fn starts(random: &mut Random, newest: i64) -> Vec<i64> {
    let rhythm = random.pick(&[900, 1800, HOUR, HOUR, 6 * HOUR, DAY, DAY, DAY, 7 * DAY, 30 * DAY, 365 * DAY]);
    let jitter = random.pick(&[1, 1, 600, rhythm / 2]);
    let count = match random.range(0, 10) {
        0..3 => random.range(0, 8),
        3..9 => random.range(8, 40),
        _ => random.range(40, 120),
    };
    let early_gap = if random.percent(40) { random.range(0, 6) } else { -1 };
    let mut starts = Vec::new();
    let mut at = if random.percent(40) { absences(random, newest, rhythm, &mut starts) } else { newest };
    for place in 0..count {
        // Back to the times of the 32-bit clock, and no further: the years are those of backups.
        if at < 1_190_000_000 {
            break;
        }
        starts.push(at);
        let step = rhythm + random.range(-jitter / 2, jitter / 2 + 1);
        let gaps = [HOUR, DAY, 2 * DAY, 3 * DAY, 8 * DAY, 40 * DAY, 400 * DAY, 4 * rhythm, 5 * rhythm];
        at -= match random.range(0, 100) {
            _ if place == early_gap => random.pick(&gaps) + random.range(0, 2),
            0..4 => random.pick(&gaps) + random.range(0, 2),
            4..7 => 0,
            7..10 => random.range(0, 7200),
            _ => step,
        };
    }
    starts
}

fn backup(random: &mut Random, start: i64, complete: i64, moments: &[i64]) -> Backup {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&random.next().to_be_bytes());
    let tags = ["x", "y", "z"].into_iter().filter(|_| random.percent(4)).map(String::from).collect();
    let pin = match random.range(0, 100) {
        0..3 => Pinned::Forever,
        3..12 => Pinned::Until(random.pick(moments) + random.range(-1, 2)),
        _ => Pinned::No,
    };
    let stored = match random.range(0, 100) {
        0..30 => Some(start + random.range(0, 3 * HOUR)),
        30..36 => Some(start - HOUR + random.range(-1, 2)),
        _ => None,
    };
    let (complete, verified) = (random.percent(complete), random.percent(10));
    Backup { id, start, complete, tags, pin, verified, stored, previous: None }
}

/// Lets the clock go wrong for some runs in a row, up to twice. In the order of the runs.
fn jump(random: &mut Random, backups: &mut [Backup]) {
    let count = i64::try_from(backups.len()).unwrap();
    for _ in 0..random.pick(&[0, 0, 0, 1, 2, 2]) {
        // Often among the newest ones, which matter most.
        let reach = if random.percent(50) { 8 } else { count };
        let first = usize::try_from((count - random.range(0, reach + 1)).max(0)).unwrap();
        let runs = random.pick(&[1, 1, 2, 5, 100]);
        let by = random.pick(&[-400 * DAY, -3 * DAY, -DAY, DAY, 5 * DAY, 20 * DAY, 60 * DAY, 400 * DAY]);
        backups.iter_mut().skip(first).take(runs).for_each(|one| one.start += by);
    }
}

/// Lets each say which complete one was the newest, up to its own start, when it was made. In some histories some say
/// something else: others lay between that were dropped since, an older program said nothing.
fn chain(random: &mut Random, backups: &mut [Backup]) {
    backups.sort_by_key(|one| (one.start, one.id));
    jump(random, backups);
    let wrong = random.pick(&[0, 5, 30]);
    let mut complete: Vec<i64> = Vec::new();
    for one in backups {
        one.previous = complete.iter().copied().filter(|start| *start <= one.start).max();
        if random.percent(wrong) {
            let distances = [HOUR, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 8 * DAY, 40 * DAY, 400 * DAY, 0, -DAY];
            let distance = random.pick(&distances) + random.range(-1, 2);
            one.previous = random.percent(80).then_some(one.start - distance);
        }
        complete.extend(one.complete.then_some(one.start));
    }
}

fn rules(random: &mut Random) -> Map<String, Value> {
    let mut keep = Map::new();
    let many = random.pick(&[1, 1, 2, 3, 6, 13]);
    while keep.len() < many {
        let rule = random.pick(&Keep::RULES);
        let value = match rule {
            "tags" => random.pick(&[json!(["x"]), json!(["y", "x"]), json!(["z", "x", "z"])]),
            _ if rule.starts_with("within") => random.pick(&SPANS).into(),
            _ => match random.range(0, 10) {
                0 => "all".into(),
                1 => u32::MAX.into(),
                2 => random.range(12, 60).into(),
                _ => random.range(1, 12).into(),
            },
        };
        keep.insert(rule.to_owned(), value);
    }
    keep
}

/// Where the window of a span begins, nearly: a start to put on its edge.
fn edge(from: i64, span: &str, zone: &TimeZone) -> Option<i64> {
    let span: jiff::Span = span.parse().ok()?;
    let from = Instant::from_second(from).ok()?.to_zoned(zone.clone());
    let edge = from.checked_sub(span).ok()?.timestamp().as_second();
    (edge > 0).then_some(edge)
}

fn history(seed: u64) -> History {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let random = &mut random;
    let zone = random.pick(&ZONES);
    let known = TimeZone::get(zone).unwrap();
    let newest = anchor(random, zone, &known);
    let keep = rules(random);
    let mut starts = starts(random, newest);
    for span in keep.values().filter_map(Value::as_str).filter(|span| *span != "all") {
        if random.percent(50) && !starts.is_empty() {
            let from = random.pick(&starts[..starts.len().min(4)]);
            starts.extend(edge(from, span, &known).map(|edge| edge + random.range(-1, 2)));
        }
    }
    let moments: Vec<i64> = starts.iter().copied().chain([newest, newest - 30 * DAY]).collect();
    let now = match random.range(0, 10) {
        // Some are dated in the future then.
        0..3 => random.pick(&moments) - 300 + random.range(-1, 2),
        3 => random.pick(&moments),
        _ => newest + random.pick(&[0, 60, HOUR, DAY, 7 * DAY, 400 * DAY]),
    };
    let complete = random.pick(&[100, 100, 85, 85, 85, 50, 10, 0]);
    let mut backups: Vec<Backup> = starts.iter().map(|start| backup(random, *start, complete, &moments)).collect();
    for (at, one) in backups.iter_mut().enumerate() {
        one.id[30..].copy_from_slice(&u16::try_from(at).unwrap().to_be_bytes());
    }
    chain(random, &mut backups);
    for at in (1..backups.len()).rev() {
        backups.swap(at, usize::try_from(random.range(0, i64::try_from(at).unwrap() + 1)).unwrap());
    }
    let max_age = random.percent(35).then(|| {
        let age = [HOUR, 26 * HOUR, 30 * DAY, now - newest, now - random.pick(&moments)];
        (random.pick(&age) + random.range(-1, 2)).max(0)
    });
    let (floor, even_if_overdue) = (random.pick(&[0, 1, 1, 2, 3, 3, 3, 10]), random.percent(25));
    History { now, zone, keep, floor, max_age, even_if_overdue, backups }
}

// Where they differ.

fn differs(histories: &[History]) -> Option<usize> {
    let said = independent(histories);
    histories.iter().zip(said).position(|(history, said)| history.decided() != said)
}

/// Every history that is a little simpler, those with the most left out first.
fn simpler(history: &History) -> Vec<History> {
    let mut simpler = Vec::new();
    let mut add = |change: &dyn Fn(&mut History)| {
        let mut changed = history.clone();
        change(&mut changed);
        simpler.push(changed);
    };
    let count = history.backups.len();
    let mut part = count / 2;
    while part > 0 {
        for from in (0..count).step_by(part) {
            add(&|history| drop(history.backups.drain(from..(from + part).min(count))));
        }
        part /= 2;
    }
    if history.keep.len() > 1 {
        for rule in history.keep.keys() {
            add(&|history| drop(history.keep.remove(rule)));
        }
    }
    if history.max_age.is_some() {
        add(&|history| history.max_age = None);
    }
    if history.zone != "UTC" {
        add(&|history| history.zone = "UTC");
    }
    if history.floor > 1 {
        add(&|history| history.floor -= 1);
    }
    for (at, one) in history.backups.iter().enumerate() {
        if one.previous.is_some() {
            add(&|history| history.backups[at].previous = None);
        }
        if one.stored.is_some() {
            add(&|history| history.backups[at].stored = None);
        }
        if one.pin != Pinned::No {
            add(&|history| history.backups[at].pin = Pinned::No);
        }
        if !one.tags.is_empty() {
            add(&|history| history.backups[at].tags.clear());
        }
        if one.verified {
            add(&|history| history.backups[at].verified = false);
        }
    }
    simpler
}

fn smallest(mut history: History) -> History {
    loop {
        let simpler = simpler(&history);
        match differs(&simpler) {
            Some(at) => history = simpler[at].clone(),
            None => return history,
        }
    }
}

/// `daily 3 of 30` as `daily`, `tag x` as `tag`: which kinds of reasons there were.
fn kinds(result: &Value, seen: &mut BTreeSet<String>) {
    seen.insert(format!("held: {}", result["held"]));
    seen.extend(result["dropped"].as_array().unwrap().first().map(|_| "dropped".to_owned()));
    for reason in result["kept"].as_object().unwrap().values().flat_map(|reasons| reasons.as_array().unwrap()) {
        let reason = reason.as_str().unwrap();
        let counted = reason.split(' ').nth(1).is_some_and(|word| word.parse::<u32>().is_ok());
        let kind = if counted || reason.starts_with("tag ") { reason.split(' ').next().unwrap() } else { reason };
        seen.insert(kind.to_owned());
    }
}

/// Every kind of reason that there is.
fn all_kinds() -> BTreeSet<String> {
    let mut kinds: BTreeSet<String> =
        ["future", "pinned", "tag", "newest", "verified", "gap", "floor", "held", "dropped"].map(String::from).into();
    kinds.extend(["null", "\"no-complete\"", "\"only-future\"", "\"overdue\""].map(|held| format!("held: {held}")));
    for rule in Keep::RULES.into_iter().filter(|rule| *rule != "tags") {
        kinds.insert(rule.to_owned());
        if rule != "within" {
            kinds.insert(format!("{rule} incomplete"));
        }
        if rule != "last" && !rule.starts_with("within") {
            kinds.insert(format!("oldest {rule}"));
        }
    }
    kinds
}

#[test]
fn what_stays_is_what_an_independent_implementation_says() {
    let many: u64 = if std::env::var_os("BK_TORTURE").is_some() { 100_000 } else { 1500 };
    let mut seen = BTreeSet::new();
    let seeds: Vec<u64> = (0..many).collect();
    for batch in seeds.chunks(2500) {
        let histories: Vec<History> = batch.iter().map(|seed| history(*seed)).collect();
        for ((seed, history), said) in batch.iter().zip(&histories).zip(independent(&histories)) {
            kinds(&said, &mut seen);
            if history.decided() != said {
                let least = smallest(history.clone());
                let said = &independent(std::slice::from_ref(&least))[0];
                let (case, decided) = (least.to_json(), least.decided());
                panic!("history {seed}:\n{case:#}\nbk:          {decided}\nindependent: {said}");
            }
        }
    }
    assert_eq!(seen, all_kinds(), "the histories show every reason there is");
}

#[test]
fn a_history_follows_from_its_seed() {
    assert_eq!(history(7).to_json(), history(7).to_json());
    assert_ne!(history(7).to_json(), history(8).to_json());
}
