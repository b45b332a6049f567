//! The snapshots of a repository, and how a user names one.

use std::collections::HashMap;

use super::{Facts, ForeignSnapshots, Repository, RepositoryError};
use crate::format::Kind;
use crate::format::node::Timestamp;
use crate::format::snapshot::{Outcome, Snapshot};
use crate::id::{IdPrefix, SnapshotId, from_hex};
use crate::store::{ObjectName, ResticArea};

/// A snapshot with its id and the name of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// As users see it; equal in all siblings.
    pub id: SnapshotId,
    /// Its object.
    pub name: ObjectName,
    /// What it says.
    pub snapshot: Snapshot,
    /// When the store took it, by its own clock, where it tells.
    pub stored: Option<Timestamp>,
}

/// All snapshots that are not forgotten, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Snapshots {
    /// Those that can be read.
    pub all: Vec<SnapshotInfo>,
    /// Objects of snapshots and facts that cannot, with the reason.
    pub damaged: Vec<(String, String)>,
    /// In a repository of another format: of those that bk wrote there, the id of the snapshot that each was made from.
    pub originals: HashMap<SnapshotId, SnapshotId>,
    /// What became known of them.
    pub facts: Facts,
    /// Objects of snapshots that are forgotten already, and were not deleted.
    pub leftover: Vec<ObjectName>,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this machine.
    pub host: Option<String>,
    /// Of this profile.
    pub profile: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Begun at or before this time.
    pub before: Option<Timestamp>,
}

impl Filter {
    /// Whether `snapshot` is meant.
    #[must_use]
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        self.host.as_ref().is_none_or(|host| *host == snapshot.host)
            && (self.profile.is_none() || self.profile == snapshot.profile)
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
            && self.before.is_none_or(|before| snapshot.start <= before)
    }
}

impl Snapshots {
    /// Reads them all. A damaged object does not hide the others.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub fn load(repository: &Repository) -> Result<Self, RepositoryError> {
        if let Some(foreign) = repository.foreign() {
            let ForeignSnapshots { all, originals, damaged } = foreign.snapshots()?;
            let name = |id: &SnapshotId| ResticArea::Snapshots.object(id.0);
            let all =
                all.into_iter().map(|(id, snapshot)| SnapshotInfo { id, name: name(&id), snapshot, stored: None });
            let mut snapshots = Self { all: all.collect(), originals, damaged, ..Self::default() };
            snapshots.sort();
            return Ok(snapshots);
        }
        let facts = Facts::load(repository)?;
        let mut snapshots = Self { damaged: facts.damaged.clone(), facts, ..Self::default() };
        for listed in repository.store().list(crate::store::Area::Snapshots)? {
            let read = || -> Result<SnapshotInfo, RepositoryError> {
                let payload = repository.read_object(Kind::Snapshot, &listed.name)?;
                let snapshot = Snapshot::decode(&payload)
                    .map_err(|source| RepositoryError::Malformed { name: listed.name.to_string(), source })?;
                let id = repository.keys().identifier().snapshot(&payload);
                let stored = (listed.time != Timestamp::default()).then_some(listed.time);
                Ok(SnapshotInfo { id, name: listed.name, snapshot, stored })
            };
            match read() {
                Ok(info) if snapshots.facts.is_forgotten(&info.id) => snapshots.leftover.push(info.name),
                Ok(info) => snapshots.all.push(info),
                Err(RepositoryError::Store(error)) if error.is_missing() => {}
                Err(error) if error.is_damage() => snapshots.damaged.push((listed.name.to_string(), error.to_string())),
                Err(error) => return Err(error),
            }
        }
        snapshots.sort();
        Ok(snapshots)
    }

    fn sort(&mut self) {
        self.all.sort_by_key(|info| (info.snapshot.start, info.snapshot.end, info.id));
    }

    /// Whether a snapshot is listed or noted as forgotten.
    #[must_use]
    pub fn knows(&self, id: &SnapshotId) -> bool {
        self.facts.is_forgotten(id) || self.all.iter().any(|info| info.id == *id)
    }

    /// Whether a snapshot was unlike those before it, and nobody has accepted that.
    #[must_use]
    pub fn needs_acceptance(&self, info: &SnapshotInfo) -> bool {
        !info.snapshot.anomalies.is_empty() && !self.facts.is_acknowledged(&info.id)
    }

    /// The snapshot whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`RepositoryError::NoSnapshot`] when there is none, or more than one.
    pub fn by_id(&self, prefix: &IdPrefix) -> Result<&SnapshotInfo, RepositoryError> {
        let mut matching = self.all.iter().filter(|info| prefix.matches(&info.id.0));
        match (matching.next(), matching.next()) {
            (Some(info), None) => Ok(info),
            (None, _) => Err(self.damaged_one(prefix)),
            _ => Err(RepositoryError::NoSnapshot(format!(
                "more than one snapshot begins with {prefix}; type more digits"
            ))),
        }
    }

    /// Why no snapshot that can be read begins with `prefix`. In another format the objects of snapshots have their ids.
    fn damaged_one(&self, prefix: &IdPrefix) -> RepositoryError {
        let is_meant = |name: &str| {
            let folder = ResticArea::Snapshots.folder();
            let id = name.strip_prefix(folder).and_then(|name| from_hex(name.strip_prefix('/')?));
            id.is_some_and(|id| prefix.matches(&id))
        };
        match self.damaged.iter().find(|(name, _)| is_meant(name)) {
            Some((object, reason)) => {
                RepositoryError::DamagedSnapshot { object: object.clone(), reason: reason.clone() }
            }
            None => RepositoryError::NoSnapshot(format!("there is no snapshot {prefix}")),
        }
    }

    /// The newest snapshot that `filter` means, or the one `back` steps before it; complete ones only unless
    /// there is none.
    ///
    /// # Errors
    /// [`RepositoryError::NoSnapshot`] when there are not so many.
    pub fn latest(&self, filter: &Filter, back: usize) -> Result<&SnapshotInfo, RepositoryError> {
        let meant = |outcome: Option<Outcome>| {
            let matches = move |info: &&SnapshotInfo| {
                filter.matches(&info.snapshot) && outcome.is_none_or(|outcome| info.snapshot.outcome == outcome)
            };
            self.all.iter().rev().filter(matches).nth(back)
        };
        let found = if back == 0 { meant(Some(Outcome::Complete)).or_else(|| meant(None)) } else { meant(None) };
        found.ok_or_else(|| {
            RepositoryError::NoSnapshot(describe_missing(
                self.all.iter().any(|info| filter.matches(&info.snapshot)),
                back,
            ))
        })
    }
}

fn describe_missing(any: bool, back: usize) -> String {
    if any { format!("there is no snapshot {back} before the latest") } else { "there is no snapshot that fits".into() }
}
