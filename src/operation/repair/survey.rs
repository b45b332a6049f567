//! What a repair sees of the index and the packs. The marks are listed first, then the index objects, then the packs:
//! what an index object describes was stored before it.

use std::collections::{BTreeMap, HashSet};

use super::{RepairError, Tools, is_lost, reason, twice};
use crate::format::Kind;
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::mark::Mark;
use crate::format::node::Timestamp;
use crate::id::RunId;
use crate::repository::{Repository, RepositoryError, read_index_object};
use crate::store::{Area, ObjectName};

/// An index object that can be read.
pub(super) struct Object {
    pub(super) name: ObjectName,
    pub(super) run: RunId,
    /// When it was written, by the clock of the machine that did.
    pub(super) time: Timestamp,
    pub(super) packs: Vec<PackName>,
}

/// An object that cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub(super) name: ObjectName,
    pub(super) reason: String,
}

/// Marks, index, packs.
pub(super) struct Survey {
    /// Packs that a prune has marked.
    pub(super) marked: HashSet<PackName>,
    /// The marks themselves.
    pub(super) marks: Vec<Mark>,
    pub(super) objects: Vec<Object>,
    pub(super) broken: Vec<Broken>,
    /// Every pack that an index object describes; of several the first one counts.
    pub(super) described: BTreeMap<PackName, IndexedPack>,
    /// Every stored pack with its length in bytes.
    pub(super) stored: BTreeMap<PackName, u64>,
}

/// Every mark.
pub(super) fn read_marks(repository: &Repository) -> Result<Vec<Mark>, RepairError> {
    let mut marks = Vec::new();
    for listed in repository.store().list(Area::Marks)? {
        let read = twice(|| {
            let payload = repository.read_object(Kind::Mark, &listed.name)?;
            Mark::decode(&payload)
                .map_err(|source| RepositoryError::Malformed { name: listed.name.to_string(), source })
        });
        match read {
            Ok(mark) => marks.push(mark),
            Err(RepositoryError::Store(error)) if error.is_missing() => {}
            Err(error) if is_lost(&error) => {
                return Err(RepairError::DamagedMark { name: listed.name.to_string(), reason: reason(&error) });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(marks)
}

impl Survey {
    /// Looks.
    pub(super) fn of(repository: &Repository, tools: &Tools<'_>) -> Result<Self, RepairError> {
        tools.progress.phase("reading the index", None);
        let marks = read_marks(repository)?;
        let marked = marks.iter().flat_map(|mark| mark.packs.iter().copied()).collect();
        let mut survey = Self {
            marked,
            marks,
            objects: Vec::new(),
            broken: Vec::new(),
            described: BTreeMap::new(),
            stored: BTreeMap::new(),
        };
        for listed in repository.store().list(Area::Index)? {
            tools.go_on()?;
            match twice(|| read_index_object(repository, &listed.name)) {
                Ok(file) => {
                    let packs = file.packs.iter().map(|pack| pack.name).collect();
                    survey.objects.push(Object { name: listed.name, run: file.run, time: file.time, packs });
                    for pack in file.packs {
                        survey.described.entry(pack.name).or_insert(pack);
                    }
                }
                // Compacted since the list was made.
                Err(RepositoryError::Store(error)) if error.is_missing() => {}
                Err(error) if is_lost(&error) => {
                    survey.broken.push(Broken { name: listed.name, reason: reason(&error) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        for listed in repository.store().list(Area::Packs)? {
            if let ObjectName::Pack(name) = listed.name {
                survey.stored.insert(name, listed.size);
            }
        }
        Ok(survey)
    }

    /// Packs that no index object describes.
    pub(super) fn strays(&self) -> impl Iterator<Item = (PackName, u64)> + '_ {
        self.stored.iter().filter(|(name, _)| !self.described.contains_key(name)).map(|(name, size)| (*name, *size))
    }

    /// Whether a pack is there with the length that the index says.
    pub(super) fn is_present(&self, name: &PackName) -> bool {
        self.described.get(name).is_some_and(|pack| self.stored.get(name) == Some(&pack.size))
    }
}
