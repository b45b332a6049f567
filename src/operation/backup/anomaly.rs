//! Is this run like those before it? A profile that suddenly lost, changed or grew much was perhaps encrypted by
//! somebody else, emptied, or not mounted: until a person has accepted it, nothing old is forgotten.
//!
//! Measured are the shares of files that went, changed and came, and the sizes, each against the run before. The usual band
//! is what the last runs did, times three; below a floor nothing is strange. New profiles have no band yet: only what
//! is strange for anybody is told of them.

use crate::format::snapshot::{Outcome, Snapshot};
use crate::size::ByteSize;

/// Runs that make up the usual band.
const HISTORY: usize = 20;
/// With fewer measured runs there is no band.
const LEAST: usize = 4;
/// What is this many times the largest of the history is unusual.
const TIMES: f64 = 3.0;
/// Fewer files than this are too few for shares.
const FEW_FILES: u64 = 20;
/// Growth below this is never strange, in bytes.
const SMALL_GROWTH: u64 = 1 << 30;
/// Nor are so many more files.
const FEW_NEW_FILES: u64 = 10_000;

/// What is measured of a run against the one before it; each from 0 on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measure {
    /// Share of the files before that are gone.
    deleted: f64,
    /// Share of the files before that are there and changed.
    changed: f64,
    /// Share of the bytes before that are gone.
    shrunk: f64,
    /// New bytes as a multiple of the bytes before.
    grown: f64,
    /// More files as a multiple of the files before.
    multiplied: f64,
}

fn measure(before: &Snapshot, run: &Snapshot) -> Option<Measure> {
    let (old, new) = (&before.statistics, &run.statistics);
    if old.files == 0 {
        return None;
    }
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let still = new.changed_files.saturating_add(new.unchanged_files);
    Some(Measure {
        deleted: share(old.files.saturating_sub(still), old.files),
        changed: share(new.changed_files, old.files),
        shrunk: share(old.total_bytes.saturating_sub(new.total_bytes), old.total_bytes),
        grown: share(new.total_bytes.saturating_sub(old.total_bytes), old.total_bytes),
        multiplied: share(new.files.saturating_sub(old.files), old.files),
    })
}

/// In what `run` leaves the usual band, for people. `touched` of the files that changed have the content they had: another
/// owner or time, which nobody encrypts. `history` are the snapshots of its profile before it, newest first. An
/// incomplete run is told as such already, and counts for nothing here.
pub(super) fn anomalies(run: &Snapshot, touched: u64, history: &[&Snapshot]) -> Vec<String> {
    // Without a parent that could be read, nobody knows which files changed; how many there are is known all the same.
    let is_compared = run.parent.is_some();
    let complete: Vec<_> =
        history.iter().filter(|snapshot| snapshot.outcome == Outcome::Complete).take(HISTORY).collect();
    // Changes are counted against the parent, which is the newest snapshot; it must be the one measured against.
    let Some(before) = history.first().filter(|_| run.outcome == Outcome::Complete) else {
        return Vec::new();
    };
    // What is dated after this run was made by a clock that was wrong, or by somebody else.
    if before.outcome != Outcome::Complete || before.start > run.start {
        return Vec::new();
    }
    let Some(mut now) = measure(before, run) else { return Vec::new() };
    let changed = run.statistics.changed_files.saturating_sub(touched);
    now.changed = changed as f64 / before.statistics.files as f64;
    let usual: Vec<_> = complete
        .windows(2)
        .filter(|pair| pair[0].anomalies.is_empty() && pair[0].parent.is_some())
        .filter(|pair| pair[0].previous == Some(pair[1].start))
        .filter_map(|pair| measure(pair[1], pair[0]))
        .collect();
    let limit = |of: fn(&Measure) -> f64, floor: f64, floor_without_history: f64| {
        if usual.len() < LEAST {
            return floor_without_history;
        }
        let most = usual.iter().map(of).fold(0.0, f64::max);
        (most * TIMES).max(floor)
    };
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let has_many = is_compared && before.statistics.files >= FEW_FILES;
    let (old, new) = (before.statistics.total_bytes, run.statistics.total_bytes);
    let mut found = Vec::new();
    if has_many && now.deleted > limit(|measure| measure.deleted, 0.2, 0.5) {
        found.push(format!("{} of the files of the run before are gone", percent(now.deleted)));
    }
    if has_many && now.changed > limit(|measure| measure.changed, 0.3, 0.6) {
        found.push(format!("{} of the files changed since the run before", percent(now.changed)));
    }
    if now.shrunk > limit(|measure| measure.shrunk, 0.3, 0.6) && old >= 1 << 20 {
        found.push(format!("it has {}, the run before had {}", ByteSize(new), ByteSize(old)));
    }
    if now.grown > limit(|measure| measure.grown, 1.0, 9.0) && new.saturating_sub(old) > SMALL_GROWTH {
        found.push(format!("it grew from {} to {}", ByteSize(old), ByteSize(new)));
    }
    let (old, new) = (before.statistics.files, run.statistics.files);
    if now.multiplied > limit(|measure| measure.multiplied, 1.0, 9.0) && new.saturating_sub(old) > FEW_NEW_FILES {
        found.push(format!("it has {new} files, the run before had {old}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Timestamp;
    use crate::id::SnapshotId;
    use crate::operation::bench::empty_snapshot;

    /// A run of `files` files of a MiB each, of which so many are changed and so many new.
    fn run(day: i64, files: u64, changed: u64, new: u64) -> Snapshot {
        let mut run = empty_snapshot();
        run.start = Timestamp { seconds: day * 86_400, nanos: 0 };
        run.previous = (day > 0).then_some(Timestamp { seconds: (day - 1) * 86_400, nanos: 0 });
        run.parent = (day > 0).then_some(SnapshotId([1; 32]));
        let of = &mut run.statistics;
        (of.files, of.changed_files, of.new_files) = (files, changed, new);
        of.unchanged_files = files - changed - new;
        of.total_bytes = files << 20;
        run
    }

    /// Ten quiet days, newest first, then `today` of each.
    fn after_quiet_days(today: &Snapshot) -> Vec<String> {
        let quiet: Vec<_> = (0..10).map(|day| run(day, 1000, 5, 0)).rev().collect();
        anomalies(today, 0, &quiet.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_day_like_the_others_is_not_strange() {
        assert_eq!(after_quiet_days(&run(10, 1000, 8, 2)), [""; 0]);
        assert_eq!(after_quiet_days(&run(10, 900, 100, 0)), [""; 0]);
    }

    #[test]
    fn what_ransomware_does_is_strange() {
        // Encrypted in place; encrypted under new names; deleted.
        let found = after_quiet_days(&run(10, 1000, 950, 0));
        assert_eq!(found, ["95 % of the files changed since the run before"]);
        let renamed = after_quiet_days(&run(10, 1000, 0, 950));
        assert_eq!(renamed, ["95 % of the files of the run before are gone"]);
        let deleted = after_quiet_days(&run(10, 100, 0, 0));
        assert_eq!(deleted.len(), 2, "{deleted:?}");
        assert!(deleted[1].contains("it has 100 MiB, the run before had 1000 MiB"), "{deleted:?}");
    }

    #[test]
    fn another_owner_of_all_files_is_not_strange() {
        let quiet: Vec<_> = (0..10).map(|day| run(day, 1000, 5, 0)).rev().collect();
        let quiet: Vec<_> = quiet.iter().collect();
        assert_eq!(anomalies(&run(10, 1000, 1000, 0), 990, &quiet), [""; 0]);
        assert_eq!(anomalies(&run(10, 1000, 1000, 0), 0, &quiet).len(), 1);
    }

    #[test]
    fn a_flood_of_small_files_is_strange() {
        let mut flood = run(10, 20_000, 5, 19_000);
        flood.statistics.total_bytes = (1000 << 20) + 20_000;
        assert_eq!(after_quiet_days(&flood), ["it has 20000 files, the run before had 1000"]);
        flood.statistics.files = 9000;
        assert_eq!(after_quiet_days(&flood), [""; 0]);
    }

    #[test]
    fn without_a_parent_that_could_be_read_only_sizes_are_compared() {
        let mut uncompared = run(10, 1000, 0, 1000);
        uncompared.parent = None;
        assert_eq!(after_quiet_days(&uncompared), [""; 0]);
        let mut emptied = run(10, 10, 0, 10);
        emptied.parent = None;
        assert_eq!(after_quiet_days(&emptied), ["it has 10 MiB, the run before had 1000 MiB"]);
    }

    #[test]
    fn a_profile_that_always_changes_much_has_a_wide_band() {
        let busy: Vec<_> = (0..10).map(|day| run(day, 1000, 400, 100)).rev().collect();
        assert_eq!(anomalies(&run(10, 1000, 900, 50), 0, &busy.iter().collect::<Vec<_>>()), [""; 0]);
    }

    #[test]
    fn a_run_that_was_strange_does_not_widen_the_band_and_one_that_was_incomplete_is_not_measured() {
        let mut days: Vec<_> = (0..10).map(|day| run(day, 1000, 5, 0)).rev().collect();
        days[0].statistics.changed_files = 900;
        days[0].anomalies = vec!["much".into()];
        assert_eq!(anomalies(&run(10, 1000, 900, 0), 0, &days.iter().collect::<Vec<_>>()).len(), 1);
        days[0].anomalies.clear();
        assert_eq!(anomalies(&run(10, 1000, 900, 0), 0, &days.iter().collect::<Vec<_>>()), [""; 0]);
        days[0].outcome = Outcome::Incomplete;
        assert_eq!(anomalies(&run(10, 1000, 900, 0), 0, &days.iter().collect::<Vec<_>>()), [""; 0]);
        days[0].outcome = Outcome::Complete;
        days[0].start.seconds += 100 * 86_400;
        assert_eq!(anomalies(&run(10, 1000, 900, 0), 0, &days.iter().collect::<Vec<_>>()), [""; 0]);
        let mut incomplete = run(10, 1000, 900, 0);
        incomplete.outcome = Outcome::Incomplete;
        assert_eq!(after_quiet_days(&incomplete), [""; 0]);
    }

    #[test]
    fn new_profiles_small_ones_and_dumps_that_change_whole_every_day_are_left_alone() {
        let first = run(0, 1000, 0, 0);
        assert_eq!(anomalies(&run(1, 1000, 500, 100), 0, &[&first]), [""; 0]);
        assert_eq!(anomalies(&run(1, 1000, 950, 0), 0, &[&first]).len(), 1);
        assert_eq!(anomalies(&run(1, 3, 3, 0), 0, &[&run(0, 3, 0, 0)]), [""; 0]);
        assert_eq!(anomalies(&run(0, 3, 0, 0), 0, &[]), [""; 0]);
    }
}
