//! What rules would leave in a year, if backups went on as they do.

use jiff::tz::TimeZone;

use super::plan::{GroupPlan, candidate};
use crate::format::node::Timestamp;
use crate::id::SnapshotId;
use crate::repository::Snapshots;
use crate::retention::{Candidate, DEFAULT_FLOOR, Reason, Rules, decide};

/// At most so many runs are played.
const MOST_RUNS: i64 = 20_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// What would be there at the end.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// Seconds between two runs: the usual distance of the last ones, a day when there are none.
    pub every_seconds: i64,
    /// How many runs were played.
    pub runs: u64,
    /// The most snapshots that there were at once.
    pub most: u64,
    /// Every snapshot at the end, oldest first, with why it is kept; those that are not made yet have no id.
    pub left: Vec<(Option<SnapshotId>, Timestamp, Vec<Reason>)>,
}

/// Plays complete runs at their usual distance for so many seconds, each followed by a forget.
#[must_use]
pub fn simulate(
    snapshots: &Snapshots,
    group: &GroupPlan<'_>,
    zone: &TimeZone,
    now: Timestamp,
    seconds: i64,
) -> Simulated {
    let mut all: Vec<Candidate<'_>> = group.snapshots.iter().map(|(info, _)| candidate(snapshots, info)).collect();
    all.retain(|candidate| candidate.start <= now);
    let every_seconds = usual_distance(&all).max(seconds / MOST_RUNS).max(60);
    let mut most = all.len() as u64;
    let mut runs = 0;
    let newest = all.iter().filter(|one| one.complete).map(|one| one.start.seconds).max();
    let mut time = newest.map_or(now.seconds, |newest| newest.saturating_add(every_seconds).max(now.seconds));
    let end = now.seconds.saturating_add(seconds);
    let mut left = Vec::new();
    while time <= end {
        runs += 1;
        let start = Timestamp { seconds: time, nanos: 0 };
        let previous = all.iter().filter(|one| one.complete).map(|one| one.start).max();
        let id = SnapshotId(*blake3::hash(&time.to_le_bytes()).as_bytes());
        let (pin, verified, stored) = (crate::retention::Pin::None, false, None);
        all.push(Candidate { id, start, complete: true, tags: &[], pin, verified, stored, previous });
        most = most.max(all.len() as u64);
        let rules = Rules {
            keep: &group.policy.keep,
            floor: DEFAULT_FLOOR,
            max_age: None,
            even_if_overdue: true,
            zone,
            now: Timestamp { seconds: time.saturating_add(HOUR), nanos: 0 },
        };
        let decision = decide(&all, &rules);
        let mut verdicts = decision.verdicts.into_iter();
        left.clear();
        all.retain(|one| match verdicts.next() {
            Some(verdict) if verdict.is_kept() => {
                left.push((one.id, one.start, verdict.reasons));
                true
            }
            _ => false,
        });
        time = time.saturating_add(every_seconds);
    }
    left.sort_by_key(|(id, start, _)| (*start, *id));
    let known = |id: &SnapshotId| group.snapshots.iter().any(|(info, _)| info.id == *id);
    let left = left.into_iter().map(|(id, start, reasons)| (known(&id).then_some(id), start, reasons)).collect();
    Simulated { every_seconds, runs, most, left }
}

/// The median of the last distances.
fn usual_distance(all: &[Candidate<'_>]) -> i64 {
    let mut complete: Vec<_> = all.iter().filter(|one| one.complete).collect();
    complete.sort_by_key(|one| std::cmp::Reverse(one.start));
    let distance = |one: &&Candidate<'_>| Some(one.start.seconds.saturating_sub(one.previous?.seconds));
    let mut last: Vec<i64> = complete.iter().take(11).filter_map(distance).filter(|distance| *distance > 0).collect();
    last.sort_unstable();
    last.get(last.len().saturating_sub(1) / 2).copied().unwrap_or(DAY)
}
