//! Taking snapshots and what only they needed out of a repository in restic's format.

use rustic_core::repofile::SnapshotId as ResticSnapshotId;
use rustic_core::{LimitOption, PruneOptions};

use super::Restic;
use super::backend::id_of;
use super::error::ResticError;
use super::snapshot::{Exported, exported};
use crate::progress::Progress;

/// What a prune did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneStats {
    /// Packs that are needed no more. They are deleted by a prune a day later: rustic heeds no locks, and may rely on them
    /// until then.
    pub marked_packs: u64,
    /// Packs deleted now, which a prune before had found to be needed no more.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Bytes of packs that were written anew, without what is not needed.
    pub repacked_bytes: u64,
    /// Bytes that nobody needs and that are left, as moving what is beside them costs more.
    pub unused_bytes: u64,
}

impl Restic {
    /// What every snapshot says of itself, oldest first; those that cannot be read are told to `warn`.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn exported(&self, warn: &dyn Fn(&str)) -> Result<Vec<Exported>, ResticError> {
        let (files, damaged) = self.files()?;
        for (name, reason) in damaged {
            warn(&format!("{name} of {} cannot be read and is left out: {reason}", self.location()));
        }
        let mut all: Vec<_> = files.iter().map(|(id, file)| exported(*id, file)).collect();
        all.sort_by_key(|one| (one.time, one.id));
        Ok(all)
    }

    /// Takes snapshots away, by the ids that they have there.
    ///
    /// # Errors
    /// As they come; some of them may be gone then.
    pub fn forget(&mut self, ids: &[[u8; 32]]) -> Result<(), ResticError> {
        self.check_lock()?;
        let ids: Vec<_> = ids.iter().map(|id| ResticSnapshotId::from(id_of(*id))).collect();
        self.repository.delete_snapshots(&ids).map_err(self.failed("forget snapshots of"))
    }

    /// Frees what no snapshot needs, in two steps a day apart; needs [`super::Access::Exclusive`].
    ///
    /// # Errors
    /// As they come. Nothing that a snapshot needs is gone then.
    pub fn prune(&mut self, dry_run: bool, progress: &dyn Progress) -> Result<PruneStats, ResticError> {
        self.check_lock()?;
        progress.phase("finding what is needed", None);
        let failed = self.failed("prune");
        let options = PruneOptions::default().max_repack(LimitOption::Unlimited);
        let plan = self.repository.prune_plan(&options).map_err(&failed)?;
        let (sizes, packs) = (plan.stats.size_sum(), &plan.stats.packs);
        let stats = PruneStats {
            marked_packs: packs.unused + packs.repack,
            deleted_packs: plan.stats.packs_to_delete.remove + plan.stats.packs_unref,
            deleted_bytes: plan.stats.size_to_delete.remove + plan.stats.size_unref,
            repacked_bytes: sizes.repack.saturating_sub(sizes.repackrm),
            unused_bytes: sizes.unused_after_prune(),
        };
        if !dry_run {
            self.check_lock()?;
            progress.phase("pruning", None);
            self.repository.prune(&options, plan).map_err(&failed)?;
        }
        Ok(stats)
    }
}
