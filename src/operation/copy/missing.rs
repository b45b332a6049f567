//! Which snapshots a sibling should have and has not.

use std::collections::HashSet;

use super::super::forget::{ForgetOptions, plan};
use crate::id::SnapshotId;
use crate::repository::{Facts, SnapshotInfo, Snapshots};
use crate::retention::Pin;

/// The snapshots of `from` that `to` neither has nor ever let go of, and would not let go of at its next forget: newest
/// first, the newest matters most. `options` are those of `to`.
#[must_use]
pub fn missing(from: &Snapshots, to: &Snapshots, options: &ForgetOptions<'_>) -> Vec<SnapshotInfo> {
    let lacking: Vec<_> = from.all.iter().filter(|info| !to.knows(&info.id)).cloned().collect();
    kept(&lacking, &from.facts, to, options)
}

/// Of the snapshots that `to` lacks, those that it would not let go of at its next forget: newest first. What `facts`
/// says is pinned stays in any case.
#[must_use]
pub fn kept(lacking: &[SnapshotInfo], facts: &Facts, to: &Snapshots, options: &ForgetOptions<'_>) -> Vec<SnapshotInfo> {
    if lacking.is_empty() {
        return Vec::new();
    }
    let ids: HashSet<SnapshotId> = lacking.iter().map(|info| info.id).collect();
    let mut together = to.clone();
    // When its store took them counts, which for these will be now.
    together.all.extend(lacking.iter().map(|info| SnapshotInfo { stored: None, ..info.clone() }));
    together.all.sort_by_key(|info| (info.snapshot.start, info.snapshot.end, info.id));
    let mut missing: Vec<SnapshotInfo> = Vec::new();
    for group in plan(&together, options) {
        let kept = group.snapshots.into_iter().filter(|(info, verdict)| {
            ids.contains(&info.id) && (verdict.is_kept() || facts.pin(&info.id) != Pin::None)
        });
        missing.extend(kept.map(|(info, _)| info.clone()));
    }
    missing.sort_by_key(|info| std::cmp::Reverse((info.snapshot.start, info.snapshot.end, info.id)));
    missing
}
