//! Letting go of snapshots. What only they needed stays until a prune takes it away.

mod plan;
mod simulate;
#[cfg(test)]
mod tests;

pub use plan::{ForgetOptions, Group, GroupPlan, Hold, Policy, plan, unknown_tags};
pub use simulate::{Simulated, simulate};

use crate::clock::Clock;
use crate::format::fact::{Fact, FactKind};
use crate::repository::{Repository, RepositoryError, SnapshotInfo, add_facts, run_detail};

/// Notes that `snapshots` are forgotten, in one object, then deletes theirs. From the note on they are gone for
/// everybody; what a run that dies in between leaves is taken away by the next prune.
///
/// # Errors
/// As they come.
pub fn forget(
    repository: &Repository,
    snapshots: &[&SnapshotInfo],
    host: &str,
    clock: &dyn Clock,
) -> Result<(), RepositoryError> {
    if snapshots.is_empty() {
        return Ok(());
    }
    repository.check_prunable()?;
    let fact = |info: &&SnapshotInfo| Fact {
        kind: FactKind::Forgotten,
        time: clock.wall(),
        host: host.to_owned(),
        snapshot: Some(info.id),
        pack: None,
        detail: Some(run_detail(info.snapshot.run)),
    };
    add_facts(repository, &snapshots.iter().map(fact).collect::<Vec<_>>())?;
    for info in snapshots {
        repository.store().delete(&info.name)?;
    }
    Ok(())
}
