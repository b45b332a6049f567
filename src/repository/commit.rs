//! The commit: validate, rescue, put the snapshot. bk-repository(7), "Commit".

use std::collections::HashSet;
use std::time::Duration;

use super::catalog::{list_packs, read_marks};
use super::reader::BlobReader;
use super::{Index, Repository, RepositoryError, SnapshotInfo, Writer, add_facts};
use crate::clock::Clock;
use crate::format::Kind;
use crate::format::fact::{Fact, FactKind};
use crate::format::index_file::PackName;
use crate::format::pack::PackKind;
use crate::format::snapshot::Snapshot;
use crate::store::ObjectName;

/// A snapshot is put at most so long after the last look at the marks began.
const COMMIT_WITHIN: Duration = Duration::from_secs(600);
/// A first listing older than this is made again before the commit.
const LISTING_SERVES: Duration = Duration::from_secs(12 * 3600);
/// Rounds of rescue before giving up.
const ROUNDS: usize = 4;

/// What is needed to put a snapshot.
pub struct Commit<'a> {
    /// Where to.
    pub repository: &'a Repository,
    /// What the run relied on.
    pub index: &'a Index,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// What a look at the store found of the packs that a run relies on.
struct Validation {
    started: Duration,
    marked: Vec<PackName>,
    lost: usize,
}

/// How far the put of a snapshot came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Put {
    NotTried,
    /// Nobody knows whether it is there.
    Tried,
    There(ObjectName),
}

impl Commit<'_> {
    fn validate(&self, writer: &Writer<'_>, rescued: &HashSet<PackName>) -> Result<Validation, RepositoryError> {
        let started = self.clock.boottime();
        let marks = read_marks(self.repository)?;
        let listed = self.index.listing().map(|listing| listing.started).unwrap_or_default();
        let present =
            if started.saturating_sub(listed) > LISTING_SERVES { Some(list_packs(self.repository)?) } else { None };
        let mut validation = Validation { started, marked: Vec::new(), lost: 0 };
        let is_absent = |name: &PackName, size: u64| {
            present.as_ref().is_some_and(|present| present.get(name).is_none_or(|pack| pack.size != size))
        };
        for (name, size) in self.index.relied_packs() {
            if rescued.contains(&name) {
                continue;
            }
            if is_absent(&name, size) {
                validation.lost += 1;
            } else if marks.contains(&name) {
                validation.marked.push(name);
            }
        }
        // A run that lasted longer than a prune waits for one without a snapshot lost what it stored itself.
        let own = writer.written();
        validation.lost += own.iter().filter(|(name, size)| is_absent(name, *size) || marks.contains(name)).count();
        Ok(validation)
    }

    /// Copies every blob of the marked packs into new packs. A marked pack stays for a day at least.
    fn rescue(&self, writer: &Writer<'_>, packs: &[PackName]) -> Result<(), RepositoryError> {
        writer.while_sealing(1, || self.copy_blobs(writer, packs))
    }

    fn copy_blobs(&self, writer: &Writer<'_>, packs: &[PackName]) -> Result<(), RepositoryError> {
        let mut reader = BlobReader::new(self.repository, self.index)?;
        for kind in [PackKind::Data, PackKind::Tree] {
            let mut builder = writer.segment_builder(kind);
            for name in packs {
                for entry in self.index.entries_of(name) {
                    let id = entry.id();
                    let blob = match (self.index.pack_kind(self.index.place(&entry).pack), kind) {
                        (Some(PackKind::Data), PackKind::Data) => reader.data(&id)?,
                        (Some(PackKind::Tree), PackKind::Tree) => reader.tree(&id)?,
                        _ => continue,
                    };
                    builder.add(id, &blob)?;
                }
            }
            builder.flush()?;
        }
        Ok(())
    }

    /// Validates what the run relied on, rescues what a prune has marked meanwhile, and puts the snapshot.
    ///
    /// # Errors
    /// [`RepositoryError::Lost`] when packs are gone: the run must be made again; [`RepositoryError::TooLate`] when
    /// the machine slept too long in between too often. No snapshot was put then.
    pub fn put(&self, writer: &Writer<'_>, snapshot: &Snapshot) -> Result<SnapshotInfo, RepositoryError> {
        let payload = snapshot.encode();
        let mut put = Put::NotTried;
        let result = self.put_in_time(writer, snapshot, &payload, &mut put);
        if result.is_err() && put != Put::NotTried {
            self.take_back(snapshot, &payload, &put);
        }
        result
    }

    /// A snapshot that was put too late to be sure of it, or of which the answer was lost: it may be there, or arrive
    /// later, when its packs are gone. The note makes it count for nobody, nor does a prune look for it for ever.
    fn take_back(&self, snapshot: &Snapshot, payload: &[u8], put: &Put) {
        let fact = Fact {
            kind: FactKind::Forgotten,
            time: self.clock.wall(),
            host: snapshot.host.clone(),
            snapshot: Some(self.repository.keys().identifier().snapshot(payload)),
            pack: None,
            detail: None,
        };
        // The run has failed already and says why; what cannot be noted now was most likely not stored either.
        let _ = add_facts(self.repository, &[fact]);
        if let Put::There(name) = put {
            let _ = self.repository.store().delete(name);
        }
    }

    fn put_in_time(
        &self,
        writer: &Writer<'_>,
        snapshot: &Snapshot,
        payload: &[u8],
        tried: &mut Put,
    ) -> Result<SnapshotInfo, RepositoryError> {
        let location = || self.repository.location();
        let mut put = None;
        let mut rescued = HashSet::new();
        for _ in 0..ROUNDS {
            let validation = self.validate(writer, &rescued)?;
            if validation.lost > 0 {
                return Err(RepositoryError::Lost { location: location(), packs: validation.lost });
            }
            if !validation.marked.is_empty() {
                self.rescue(writer, &validation.marked)?;
                rescued.extend(validation.marked);
                continue;
            }
            if let Some(info) = put {
                return Ok(info);
            }
            let is_late = || self.clock.boottime().saturating_sub(validation.started) > COMMIT_WITHIN;
            if is_late() {
                continue;
            }
            *tried = Put::Tried;
            let info = self.put_snapshot(payload, snapshot)?;
            if !is_late() {
                return Ok(info);
            }
            // The put itself took too long: the marks are looked at once more before anybody is told.
            *tried = Put::There(info.name);
            put = Some(info);
        }
        Err(RepositoryError::TooLate { location: location() })
    }

    fn put_snapshot(&self, payload: &[u8], snapshot: &Snapshot) -> Result<SnapshotInfo, RepositoryError> {
        let name = self.repository.write_and_read_back(Kind::Snapshot, payload)?;
        let id = self.repository.keys().identifier().snapshot(payload);
        Ok(SnapshotInfo { id, name, snapshot: snapshot.clone(), stored: None })
    }
}
