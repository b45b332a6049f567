//! Groups, holds and simulations on a real repository.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::clock::SystemClock;
use crate::format::Kind;
use crate::format::fact;
use crate::format::node::Timestamp;
use crate::format::snapshot::Snapshot;
use crate::operation::bench::{Bench, file, folder};
use crate::repository::Snapshots;
use crate::retention::{Held, Keep, Value};
use crate::store::Area;

const HOUR: i64 = 3600;

fn keep(rule: &str, value: &str) -> Keep {
    let mut keep = Keep::default();
    keep.set(rule, Value::Text(value)).unwrap();
    keep
}

/// `count` snapshots, an hour apart, each changed by `change`.
fn bench(count: u8, change: impl Fn(u8, &mut Snapshot)) -> Bench {
    let bench = Bench::new();
    for number in 0..count {
        bench.snapshot_with(vec![("/mnt", folder("x", vec![file("f", &[number])]))], |snapshot| {
            snapshot.previous = (number > 0).then_some(Timestamp { seconds: snapshot.start.seconds - HOUR, nanos: 0 });
            change(number, snapshot);
        });
    }
    bench
}

struct Asked {
    keep: Keep,
    max_age: Option<Duration>,
    despite_anomalies: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { keep: keep("last", "4"), max_age: None, despite_anomalies: false }
    }
}

/// What becomes of each group: its profile or path, how many are forgotten, why none is.
fn planned(bench: &Bench, asked: &Asked) -> Vec<(String, usize, Option<Hold>)> {
    let snapshots = Snapshots::load(&bench.repository).unwrap();
    let policy = |_: &Group| Some(Policy { keep: asked.keep.clone(), max_age: asked.max_age });
    let now = snapshots.all.last().unwrap().snapshot.start;
    let options = ForgetOptions {
        policy: &policy,
        zone: &TimeZone::UTC,
        now: Timestamp { seconds: now.seconds + HOUR, nanos: 0 },
        even_if_overdue: false,
        despite_anomalies: asked.despite_anomalies,
    };
    let plans = plan(&snapshots, &options);
    let name = |group: &Group| {
        let path = || String::from_utf8(group.paths.concat()).unwrap();
        format!("{} on {}", group.profile.clone().unwrap_or_else(path), group.host)
    };
    plans.iter().map(|plan| (name(&plan.group), plan.forgotten().count(), plan.hold.clone())).collect()
}

#[test]
fn every_host_and_profile_is_decided_by_itself_and_without_a_profile_the_paths_count() {
    let bench = bench(24, |number, snapshot| match number % 4 {
        0 => snapshot.profile = None,
        1 => snapshot.host = "beta".into(),
        2 => snapshot.profile = Some("wiki".into()),
        _ => {}
    });
    let expected = ["/mnt/x on alpha", "plex on alpha", "wiki on alpha", "plex on beta"];
    let planned = planned(&bench, &Asked::default());
    assert_eq!(planned, expected.map(|name| (name.to_owned(), 2, None)));
}

#[test]
fn what_is_forgotten_is_gone_for_everybody_and_leaves_a_note() {
    let bench = bench(6, |_, _| {});
    let snapshots = Snapshots::load(&bench.repository).unwrap();
    forget(&bench.repository, &[&snapshots.all[0], &snapshots.all[2]], "alpha", &SystemClock).unwrap();
    let after = Snapshots::load(&bench.repository).unwrap();
    assert_eq!(after.all.len(), 4);
    assert!(after.facts.is_forgotten(&snapshots.all[0].id) && after.facts.is_forgotten(&snapshots.all[2].id));
    assert_eq!(bench.repository.store().list(Area::Snapshots).unwrap().len(), 4);
}

#[test]
fn a_backup_unlike_those_before_it_holds_its_group_until_it_is_accepted() {
    let bench = bench(6, |number, snapshot| {
        if number == 5 {
            snapshot.anomalies = vec!["90 % of the files changed".into()];
        }
    });
    let (_, gone, hold) = planned(&bench, &Asked::default()).remove(0);
    let hold = hold.unwrap();
    assert_eq!((gone, hold.code()), (0, "anomaly"));
    assert!(hold.to_string().contains("90 % of the files changed") && hold.hint().contains("bk accept"));
    let despite = Asked { despite_anomalies: true, ..Asked::default() };
    assert_eq!(planned(&bench, &despite)[0].1, 2);
}

#[test]
fn nothing_is_forgotten_while_pins_may_be_in_what_cannot_be_read() {
    let bench = bench(6, |_, _| {});
    let (name, _) = bench.repository.write_object(Kind::Facts, &fact::encode(&[])).unwrap();
    let path = bench.path().join("repository").join(name.to_string());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[70] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let (_, gone, hold) = planned(&bench, &Asked::default()).remove(0);
    assert_eq!(gone, 0);
    assert_eq!(hold, Some(Hold::DamagedFacts { name: name.to_string() }));
}

#[test]
fn an_overdue_group_is_held() {
    let bench = bench(6, |_, _| {});
    let asked = Asked { max_age: Some(Duration::from_secs(600)), ..Asked::default() };
    let (_, gone, hold) = planned(&bench, &asked).remove(0);
    assert_eq!(gone, 0);
    assert!(matches!(hold, Some(Hold::Rules(Held::Overdue { .. }))), "{hold:?}");
}

#[test]
fn tags_that_no_snapshot_has_are_found() {
    let bench = bench(2, |_, snapshot| snapshot.tags = vec!["deploy".into()]);
    let snapshots = Snapshots::load(&bench.repository).unwrap();
    assert_eq!(unknown_tags(&keep("tags", "deploy"), &snapshots), [""; 0]);
    assert_eq!(unknown_tags(&keep("tags", "deplyo"), &snapshots), ["deplyo"]);
}

#[test]
fn a_simulation_goes_on_as_the_runs_did_and_changes_nothing() {
    let bench = bench(6, |_, _| {});
    let snapshots = Snapshots::load(&bench.repository).unwrap();
    let policy = |_: &Group| Some(Policy { keep: keep("daily", "7"), max_age: None });
    let now = snapshots.all.last().unwrap().snapshot.start;
    let options =
        ForgetOptions { policy: &policy, zone: &TimeZone::UTC, now, even_if_overdue: false, despite_anomalies: false };
    let plans = plan(&snapshots, &options);
    let simulated = simulate(&snapshots, &plans[0], &TimeZone::UTC, now, 100 * 24 * HOUR);
    assert_eq!(simulated.every_seconds, HOUR);
    assert_eq!(simulated.runs, 2400);
    // Seven days, and the newest three.
    assert!((7..=10).contains(&simulated.left.len()), "{:?}", simulated.left);
    assert!(simulated.left.iter().all(|(id, _, reasons)| id.is_none() && !reasons.is_empty()));
    assert_eq!(Snapshots::load(&bench.repository).unwrap().all.len(), 6);
}
