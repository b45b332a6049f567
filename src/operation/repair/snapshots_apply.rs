//! Doing what was planned for snapshots: first what replaces something is stored and read back, then the old is taken out.

use super::mend::{Lost, Mended, Mender};
use super::quarantine::take_out;
use super::sibling::Sibling;
use super::snapshots::{SnapshotsPlan, Stored};
use super::survey::Survey;
use super::{RepairError, Tools};
use crate::format::fact::{Fact, FactKind};
use crate::format::pack::PackKind;
use crate::format::snapshot::{MAX_PROBLEMS, Outcome, Problem, Snapshot};
use crate::id::{RunId, SnapshotId};
use crate::operation::copy::{CopyError, CopyStats, copy};
use crate::repository::{
    Commit, Facts, Index, Purpose, Repository, RepositoryError, SnapshotInfo, Snapshots, Writer, add_facts,
    until_detail,
};
use crate::retention::Pin;

/// What a repair of snapshots has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotsStats {
    /// Snapshots that came from siblings.
    pub returned: Vec<SnapshotId>,
    /// Each snapshot that was replaced, and what stands for it.
    pub replaced: Vec<(SnapshotId, Option<SnapshotId>)>,
    /// Entries that are lost in them, counted in each.
    pub lost_entries: u64,
    /// Objects taken out.
    pub taken_out: u64,
}

/// Does what the plan says.
///
/// # Errors
/// As they come. What was done until then stays done, and the next repair goes on from there.
pub fn apply(
    repository: &Repository,
    plan: &SnapshotsPlan,
    siblings: &[Sibling],
    tools: &Tools<'_>,
) -> Result<SnapshotsStats, RepairError> {
    let mut stats = SnapshotsStats::default();
    if plan.is_empty() {
        return Ok(stats);
    }
    repository.check_prunable()?;
    repository.store().clean()?;
    bring_back(repository, plan, siblings, tools, &mut stats)?;
    if !plan.changes.is_empty() {
        replace(repository, plan, tools, &mut stats)?;
    }
    let here = Snapshots::load(repository)?;
    let given_up: Vec<_> = plan.given_up.iter().filter(|id| !here.knows(id)).collect();
    if !given_up.is_empty() {
        let facts: Vec<_> = given_up.into_iter().map(|id| set_aside(*id, None, "", tools)).collect();
        add_facts(repository, &facts)?;
    }
    for (name, reason) in &plan.objects {
        stats.taken_out += u64::from(take_out(repository, name, reason, tools.clock)?);
    }
    Ok(stats)
}

/// Snapshots of siblings, which were here.
fn bring_back(
    repository: &Repository,
    plan: &SnapshotsPlan,
    siblings: &[Sibling],
    tools: &Tools<'_>,
    stats: &mut SnapshotsStats,
) -> Result<(), RepairError> {
    for (number, sibling) in siblings.iter().enumerate() {
        let of_it = plan.returning.iter().filter(|one| one.sibling == number);
        let wanted: Vec<SnapshotInfo> = of_it.map(|one| one.info.clone()).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut done = CopyStats::default();
        let both = [&sibling.repository, repository];
        let copied = copy(both, &wanted, tools.clock, tools.progress, tools.interrupted, &mut done);
        stats.returned.append(&mut done.snapshots);
        match copied {
            Ok(()) => {}
            // It stays in the sibling; the damaged object is no better for waiting.
            Err(error @ CopyError::Unreadable { .. }) => tools.progress.warn(&error.to_string()),
            Err(CopyError::Repository(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

fn set_aside(id: SnapshotId, by: Option<SnapshotId>, host: &str, tools: &Tools<'_>) -> Fact {
    Fact {
        kind: FactKind::SetAside,
        time: tools.clock.wall(),
        host: host.to_owned(),
        snapshot: Some(id),
        pack: None,
        detail: by.map(|by| format!("by {by}")),
    }
}

/// Puts a snapshot for each that has lost something, then takes the old one out.
fn replace(
    repository: &Repository,
    plan: &SnapshotsPlan,
    tools: &Tools<'_>,
    stats: &mut SnapshotsStats,
) -> Result<(), RepairError> {
    let snapshots = Snapshots::load(repository)?;
    let survey = Survey::of(repository, tools)?;
    let index = Index::load(repository, Purpose::Write, tools.clock)?;
    let run = RunId(crate::crypto::random().map_err(RepositoryError::from)?);
    let writer = Writer::new(repository, &index, run, tools.clock, tools.threads)?;
    let changed: Vec<_> =
        snapshots.all.iter().filter(|info| plan.changes.iter().any(|change| change.info.id == info.id)).collect();
    let mended = writer.while_sealing(tools.threads, || mend(repository, &survey, &index, &writer, &changed, tools))?;
    for (info, mended) in changed.into_iter().zip(mended) {
        tools.go_on()?;
        // Whatever seemed lost is there again.
        if mended.lost.is_empty() {
            continue;
        }
        stats.lost_entries += mended.lost.len() as u64;
        let mut facts = Vec::new();
        let mut by = None;
        if !mended.roots.is_empty() {
            let (new, id) = stand_in(repository, &snapshots, info, &mended);
            // An earlier repair was stopped after it had put it.
            if !snapshots.all.iter().any(|known| known.id == id) {
                Commit { repository, index: &index, clock: tools.clock }.put(&writer, &new)?;
            }
            facts.extend(carried(info, id, &snapshots.facts, tools));
            by = Some(id);
        }
        facts.push(set_aside(info.id, by, &info.snapshot.host, tools));
        add_facts(repository, &facts)?;
        let reason = match by {
            Some(by) => format!("something of it is lost; snapshot {by} stands for it"),
            None => "nothing of it can be restored".to_owned(),
        };
        stats.taken_out += u64::from(take_out(repository, &info.name, &reason, tools.clock)?);
        stats.replaced.push((info.id, by));
    }
    Ok(())
}

fn mend(
    repository: &Repository,
    survey: &Survey,
    index: &Index,
    writer: &Writer<'_>,
    changed: &[&SnapshotInfo],
    tools: &Tools<'_>,
) -> Result<Vec<Mended>, RepositoryError> {
    let identifier = repository.keys().identifier();
    let mut mender = Mender::new(identifier, Stored::new(repository, survey, index, Some(writer))?);
    let mut trees = writer.segment_builder(PackKind::Tree);
    let mut all = Vec::new();
    for info in changed {
        tools.go_on()?;
        let mended = mender.snapshot(&info.snapshot, &mut |blob| {
            let id = identifier.tree(blob);
            if writer.claim(&id) {
                trees.add(id, blob)?;
            }
            Ok(id)
        })?;
        all.push(mended);
    }
    trees.flush()?;
    mender.holdings.flush()?;
    Ok(all)
}

/// The snapshot that stands for one of which something is lost. The same loss gives the same snapshot, so that it is not
/// put twice; but never one that is forgotten, as is noted of one of which the answer was lost.
fn stand_in(
    repository: &Repository,
    snapshots: &Snapshots,
    info: &SnapshotInfo,
    mended: &Mended,
) -> (Snapshot, SnapshotId) {
    let mut new = stands_for(info, mended);
    let description = new.description.clone().unwrap_or_default();
    for attempt in 2_u32.. {
        let id = repository.keys().identifier().snapshot(&new.encode());
        if !snapshots.facts.is_forgotten(&id) {
            return (new, id);
        }
        new.description = Some(format!("{description} ({attempt})"));
    }
    let id = repository.keys().identifier().snapshot(&new.encode());
    (new, id)
}

/// All that is left of a snapshot, as one.
fn stands_for(info: &SnapshotInfo, mended: &Mended) -> Snapshot {
    let old = &info.snapshot;
    let problem = |lost: &Lost| Problem {
        kind: "lost".to_owned(),
        path: lost.path.clone(),
        message: format!("{}: the repository was damaged", lost.loss.words()),
    };
    let problems: Vec<_> = mended.lost.iter().map(problem).chain(old.problems.iter().cloned()).collect();
    let problem_count = old.problem_count.max(old.problems.len() as u64) + mended.lost.len() as u64;
    let entries = if mended.lost.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", mended.lost.len()) };
    let before = old.description.as_ref().map_or_else(String::new, |text| format!("; {text}"));
    let mut statistics = old.statistics;
    statistics.files = statistics.files.saturating_sub(mended.left_out.files);
    statistics.total_bytes = statistics.total_bytes.saturating_sub(mended.left_out.total_bytes);
    Snapshot {
        roots: mended.roots.clone(),
        statistics,
        outcome: Outcome::Incomplete,
        problems: problems.into_iter().take(MAX_PROBLEMS).collect(),
        problem_count,
        description: Some(format!("stands for snapshot {}, of which {entries} were lost{before}", info.id.short())),
        ..old.clone()
    }
}

/// What somebody said of a snapshot holds for the one that stands for it.
fn carried(old: &SnapshotInfo, new: SnapshotId, known: &Facts, tools: &Tools<'_>) -> Vec<Fact> {
    let fact = |kind, detail| Fact {
        kind,
        time: tools.clock.wall(),
        host: old.snapshot.host.clone(),
        snapshot: Some(new),
        pack: None,
        detail,
    };
    let pinned = match known.pin(&old.id) {
        Pin::None => None,
        Pin::Forever => Some(fact(FactKind::Pinned, None)),
        Pin::Until(until) => Some(fact(FactKind::Pinned, Some(until_detail(until)))),
    };
    let accepted = known.is_acknowledged(&old.id).then(|| fact(FactKind::AnomalyAcknowledged, None));
    pinned.into_iter().chain(accepted).collect()
}
