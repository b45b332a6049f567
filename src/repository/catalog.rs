//! Reading the index objects, beside what the store lists: for a reader, for a writer, for a prune.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::index::Index;
use super::{Repository, RepositoryError};
use crate::clock::Clock;
use crate::format::Kind;
use crate::format::index_file::{IndexFile, PackName};
use crate::format::mark::Mark;
use crate::format::node::Timestamp;
use crate::id::RunId;
use crate::store::{Area, ObjectName};

/// What an index is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reading: marked packs serve as long as they are there, and no list of packs is made.
    Read,
    /// Writing: packs that are marked, missing or of the wrong size count as absent.
    Write,
}

/// What the store held when a writer began: bk-repository(7), "Start".
#[derive(Debug)]
pub struct Listing {
    /// Boot time before the first list.
    pub started: Duration,
    /// Packs that a prune has marked.
    pub marked: HashSet<PackName>,
}

/// A pack as the store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPack {
    /// Length, in bytes.
    pub size: u64,
    /// When the store took it, by its own clock.
    pub time: Timestamp,
}

/// One index object, as a prune sees it.
#[derive(Debug, Clone)]
pub struct IndexObject {
    /// Its name.
    pub name: ObjectName,
    /// Length, in bytes.
    pub size: u64,
    /// When the store took it, by its own clock.
    pub stored: Timestamp,
    /// The run that wrote it; zeros when a prune did.
    pub run: RunId,
    /// Numbers of the packs that it describes.
    pub packs: Vec<u32>,
}

/// All index objects with what each of them describes, and every stored pack.
pub struct Catalog {
    /// The union of them.
    pub index: Index,
    /// Each of them.
    pub objects: Vec<IndexObject>,
    /// Every stored pack.
    pub stored: HashMap<PackName, StoredPack>,
}

impl Index {
    /// Reads every index object. For a writer, lists the marks, then the packs, then the index, in this order.
    ///
    /// An object that is damaged does not hide the others: what only it knew counts as not stored, so that a writer
    /// stores it again. [`Self::damaged`] names it; a prune must not go on then.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub fn load(repository: &Repository, purpose: Purpose, clock: &dyn Clock) -> Result<Self, RepositoryError> {
        let started = clock.boottime();
        let mut present = None;
        let mut listing = None;
        if purpose == Purpose::Write {
            let marked = read_marks(repository)?;
            present = Some(list_packs(repository)?);
            listing = Some(Listing { started, marked });
        }
        let (mut index, _) = read_index(repository, false)?;
        if let (Some(present), Some(listing)) = (present, &listing) {
            rely_only_on(&mut index, &present, &listing.marked);
        }
        index.listing = listing;
        Ok(index)
    }

    /// Reads every index object once more, for a reader that missed a pack.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub(super) fn reload(repository: &Repository) -> Result<Self, RepositoryError> {
        read_index(repository, false).map(|(index, _)| index)
    }
}

impl Catalog {
    /// Reads every index object, then lists the packs: what is described was stored before, so that a pack that is
    /// not in the list is gone. Packs in `marked`, missing ones and those of the wrong size are not usable.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub fn load(repository: &Repository, marked: &HashSet<PackName>) -> Result<Self, RepositoryError> {
        let (mut index, objects) = read_index(repository, true)?;
        let stored = list_packs(repository)?;
        rely_only_on(&mut index, &stored, marked);
        Ok(Self { index, objects, stored })
    }
}

fn rely_only_on(index: &mut Index, present: &HashMap<PackName, StoredPack>, marked: &HashSet<PackName>) {
    let sound = |(name, size): (PackName, u64)| {
        present.get(&name).is_some_and(|pack| pack.size == size) && !marked.contains(&name)
    };
    let usable: Vec<bool> = index.packs().map(|(name, size, ..)| sound((name, size))).collect();
    for (number, usable) in (0..).zip(usable) {
        index.set_usable(number, usable);
    }
}

/// The union of all index objects and, when wanted, each of them.
fn read_index(repository: &Repository, wanted: bool) -> Result<(Index, Vec<IndexObject>), RepositoryError> {
    let mut index = Index::default();
    let mut objects = Vec::new();
    let mut seen: HashMap<PackName, u32> = HashMap::new();
    for listed in repository.store().list(Area::Index)? {
        let file = match read_index_object(repository, &listed.name) {
            // Compacted since the list was made.
            Err(RepositoryError::Store(error)) if error.is_missing() => continue,
            Err(error) if error.is_damage() => {
                index.damaged.push((listed.name.to_string(), error.to_string()));
                continue;
            }
            file => file?,
        };
        let mut packs = Vec::new();
        for pack in file.packs {
            let name = pack.name;
            let number = *seen.entry(name).or_insert_with(|| index.add_pack(pack, true));
            if wanted {
                packs.push(number);
            }
        }
        if wanted {
            let (name, size, stored) = (listed.name, listed.size, listed.time);
            objects.push(IndexObject { name, size, stored, run: file.run, packs });
        }
    }
    Ok((index, objects))
}

/// Every mark with the name of its object.
///
/// # Errors
/// When one cannot be read: what it names might be deleted at any time.
pub fn marks(repository: &Repository) -> Result<Vec<(ObjectName, Mark)>, RepositoryError> {
    repository.read_all(Kind::Mark, Mark::decode)
}

/// What one index object says.
///
/// # Errors
/// As [`Repository::read_object`]; [`RepositoryError::Malformed`] when it makes no sense.
pub fn read_index_object(repository: &Repository, name: &ObjectName) -> Result<IndexFile, RepositoryError> {
    let payload = repository.read_object(Kind::Index, name)?;
    IndexFile::decode(&payload).map_err(|source| RepositoryError::Malformed { name: name.to_string(), source })
}

/// Puts an index object and reads it back.
///
/// # Errors
/// As they come.
pub fn put_index_object(repository: &Repository, file: &IndexFile) -> Result<ObjectName, RepositoryError> {
    repository.write_and_read_back(Kind::Index, &file.encode())
}

/// Every pack that a prune has marked.
pub(super) fn read_marks(repository: &Repository) -> Result<HashSet<PackName>, RepositoryError> {
    Ok(marks(repository)?.into_iter().flat_map(|(_, mark)| mark.packs).collect())
}

/// Every stored pack.
pub(super) fn list_packs(repository: &Repository) -> Result<HashMap<PackName, StoredPack>, RepositoryError> {
    let listed = repository.store().list(Area::Packs)?;
    Ok(listed
        .into_iter()
        .filter_map(|listed| match listed.name {
            ObjectName::Pack(name) => Some((name, StoredPack { size: listed.size, time: listed.time })),
            _ => None,
        })
        .collect())
}

/// Blobs in one index object; it is about 40 bytes for each of them, and is built in memory.
pub const BLOBS_PER_OBJECT: usize = 1 << 16;

/// Replaces index objects by new ones that describe the same packs, but for those in `without`. What is new is read
/// back before what is old goes, and only the objects named are taken away: whoever adds others meanwhile loses
/// nothing.
///
/// # Errors
/// As they come; all the old objects are there then.
pub fn replace_index(
    repository: &Repository,
    index: &Index,
    objects: &[&IndexObject],
    without: &HashSet<PackName>,
    run: RunId,
    clock: &dyn Clock,
) -> Result<(), RepositoryError> {
    let mut numbers: Vec<u32> = objects.iter().flat_map(|object| object.packs.iter().copied()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut file = IndexFile { run, time: clock.wall(), packs: Vec::new() };
    let mut blobs = 0;
    let put = |file: &mut IndexFile| -> Result<(), RepositoryError> {
        if file.packs.is_empty() {
            return Ok(());
        }
        let payload = file.encode();
        file.packs.clear();
        repository.write_and_read_back(Kind::Index, &payload).map(drop)
    };
    for number in numbers {
        let Some(pack) = index.described(number).filter(|pack| !without.contains(&pack.name)) else { continue };
        blobs += pack.segments.iter().map(|segment| segment.blobs.len()).sum::<usize>();
        file.packs.push(pack);
        if blobs >= BLOBS_PER_OBJECT {
            put(&mut file)?;
            blobs = 0;
        }
    }
    put(&mut file)?;
    for object in objects {
        repository.store().delete(&object.name)?;
    }
    Ok(())
}
