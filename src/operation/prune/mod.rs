//! Taking away what no snapshot needs, beside backups, restores and other prunes, without locks.
//! bk-repository(7), "PRUNING".
//!
//! Twice in two runs: the first copies what is still needed out of packs that are mostly waste, and *marks* what is
//! then unused; a later one, a day or more after, looks at everything again and deletes what was marked. A mark is
//! never taken back: what turns out to be needed after all is copied out of the marked pack.

mod act;
mod ages;
mod live;
mod plan;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};

pub use act::{PruneStats, apply};
pub use ages::{GRACE, RUN_LIVES};
pub use plan::{Amount, PrunePlan, Requests, plan};

use view::StoredMark;

use crate::format::mark::Mark;
use crate::id::{BlobId, IdPrefix, SnapshotId};
use crate::repository::{RepositoryError, Snapshots};

/// How much waste may stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Waste {
    /// So many bytes.
    Bytes(u64),
    /// So much of what is stored, from 0 to 1.
    Share(f64),
    /// Any: nothing is copied.
    Unlimited,
}

/// Whether others may be at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Others {
    /// They may: packs are marked, and deleted a day later.
    #[default]
    MayWork,
    /// Somebody swore that nobody else writes: packs are deleted at once.
    None,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions<'a> {
    /// Waste that may stay.
    pub max_unused: Waste,
    /// At most so many bytes are copied, before compression; `None` for any.
    pub max_repack_bytes: Option<u64>,
    /// Whether packs may be deleted at once.
    pub others: Others,
    /// Damaged snapshots by their objects, or lost ones by their ids, that are given up.
    pub ignore_damaged: Vec<IdPrefix>,
    /// Go on although a backup was unlike those before it and nobody has accepted that.
    pub despite_anomalies: bool,
    /// Threads that compress.
    pub threads: usize,
    /// Set to stop.
    pub interrupted: &'a AtomicBool,
}

/// Why nothing is pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Anything else.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// A blob is nowhere.
    #[error(
        "nothing is deleted: {blobs} blobs that {} are in no pack, blob {} is one of them",
        .snapshot.map_or_else(|| "snapshots need".to_owned(), |id| format!("snapshot {} needs", id.short())),
        .blob.short()
    )]
    Missing {
        /// One of them.
        blob: BlobId,
        /// How many there are at least.
        blobs: u64,
        /// The snapshot that was looked at.
        snapshot: Option<SnapshotId>,
    },
    /// A tree cannot be read.
    #[error("nothing is deleted: what snapshot {} needs cannot be found out: {source}", .snapshot.short())]
    Unreadable {
        /// Whose tree it is.
        snapshot: SnapshotId,
        /// Why not.
        source: RepositoryError,
    },
    /// What a snapshot needs is not known.
    #[error("nothing is deleted: {name} is damaged, and what that snapshot needs is not known: {reason}")]
    DamagedSnapshot {
        /// Its object.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// What an index object listed is not known.
    #[error("nothing is deleted: {name} is damaged, and what it listed is not known: {reason}")]
    DamagedIndex {
        /// The object.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A list lacks a snapshot.
    #[error("nothing is deleted: snapshot {} was there at an earlier prune, was never forgotten, and is not listed now", .0.short())]
    Vanished(SnapshotId),
    /// A list was not whole.
    #[error("nothing is deleted: the list of snapshots changed in a way that only a list with gaps explains")]
    Unsteady,
    /// A backup was unlike those before it.
    #[error("nothing is deleted: the backup {} of {subject} was unlike those before it: {anomaly}", .snapshot.short())]
    Paused {
        /// Which.
        snapshot: SnapshotId,
        /// Its profile, or its host.
        subject: String,
        /// In what.
        anomaly: String,
    },
}

impl From<crate::store::StoreError> for PruneError {
    fn from(error: crate::store::StoreError) -> Self {
        RepositoryError::from(error).into()
    }
}

impl PruneError {
    /// The next step for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Repository(error) | Self::Unreadable { source: error, .. } => error.hint().to_owned(),
            Self::Missing { .. } => {
                "run `bk check` to see which files are affected; a new backup stores what is still at its source"
                    .to_owned()
            }
            Self::DamagedSnapshot { name, .. } => {
                let id: String = name.rsplit('/').next().unwrap_or_default().chars().take(12).collect();
                format!("run `bk repair snapshots`, or give it up with `bk prune --ignore-damaged {id}`")
            }
            Self::DamagedIndex { .. } => "run `bk repair index`; backups and restores go on meanwhile".to_owned(),
            Self::Vanished(id) => format!(
                "run `bk check`; if the snapshot is really lost, give it up with `bk prune --ignore-damaged {}`",
                id.short()
            ),
            Self::Unsteady => "run the command again; if it stays, check the store".to_owned(),
            Self::Paused { snapshot, .. } => {
                format!("look at it with `bk snapshots {0}`; if it was right, `bk accept {0}`", snapshot.short())
            }
        }
    }

    /// Whether the same may succeed with a new look: something moved while it was looked at.
    const fn may_have_moved(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Unreadable { source, .. } => source.is_absence(),
            _ => false,
        }
    }
}

impl PruneOptions<'_> {
    fn go_on(&self) -> Result<(), PruneError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted.into()) } else { Ok(()) }
    }

    /// Refuses what cannot be trusted: damaged snapshots, snapshots that a list lost, and backups that nobody accepted.
    fn accept(&self, snapshots: &Snapshots, marks: &[StoredMark]) -> Result<(), PruneError> {
        let is_given_up = |hash: &[u8; 32]| self.ignore_damaged.iter().any(|prefix| prefix.matches(hash));
        for (name, reason) in &snapshots.damaged {
            let hash = name.strip_prefix("snapshots/").and_then(crate::id::from_hex::<32>);
            if hash.is_some_and(|hash| !is_given_up(&hash)) {
                return Err(PruneError::DamagedSnapshot { name: name.clone(), reason: reason.clone() });
            }
        }
        let is_explained =
            |id: &SnapshotId| snapshots.knows(id) || snapshots.facts.is_set_aside(id) || is_given_up(&id.0);
        let lost = |mark: &Mark| mark.snapshots.iter().copied().find(|id| !is_explained(id));
        if let Some(id) = marks.iter().find_map(|mark| lost(&mark.mark)) {
            return Err(PruneError::Vanished(id));
        }
        let strange = snapshots.all.iter().find(|info| snapshots.needs_acceptance(info));
        match strange.filter(|_| !self.despite_anomalies) {
            Some(info) => Err(PruneError::Paused {
                snapshot: info.id,
                subject: info.snapshot.profile.clone().unwrap_or_else(|| info.snapshot.host.clone()),
                anomaly: info.snapshot.anomalies.first().cloned().unwrap_or_default(),
            }),
            None => Ok(()),
        }
    }
}
