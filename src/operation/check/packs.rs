//! Packs, read from end to end: their bytes against their name, their table against the index, every segment opened,
//! every blob's id computed again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::contents::{Contents, Described, digest};
use super::noting::Notes;
use super::report::{Severity, reason, severity};
use super::{Checker, ReadData};
use crate::compress::Decoder;
use crate::format::index_file::PackName;
use crate::id::BlobId;
use crate::repository::{RepositoryError, read_pack};
use crate::store::{Area, ObjectName, Store};

/// Bytes of packs that are in memory at once; a larger pack is alone.
const MEMORY_BYTES: u64 = 96 << 20;
/// A longer pack is not read, in bytes: the index cannot describe it either.
const MAX_PACK_LEN: u64 = u32::MAX as u64;

/// A pack that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadPack {
    pub(super) severity: Severity,
    pub(super) reason: String,
    /// Blobs that are known to be lost; of the others nothing is known.
    pub(super) lost: HashSet<BlobId>,
}

/// What reading packs has shown.
#[derive(Default)]
pub(super) struct PacksRead {
    pub(super) bad: HashMap<PackName, BadPack>,
    /// Listed before, gone when they were to be read.
    pub(super) vanished: bool,
    /// How many were begun.
    pub(super) tried: usize,
    /// Those that are whole.
    pub(super) whole: HashSet<PackName>,
    pub(super) packs: u64,
    pub(super) bytes: u64,
}

/// Room for packs in memory.
pub(super) struct Room {
    free_bytes: Mutex<u64>,
    changed: Condvar,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self { free_bytes: Mutex::new(MEMORY_BYTES), changed: Condvar::new() }
    }

    /// Waits for room for `bytes`, runs `work`, gives the room back.
    fn with<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> T {
        let bytes = bytes.min(MEMORY_BYTES);
        let mut free = lock(&self.free_bytes);
        while *free < bytes {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        drop(free);
        let result = work();
        *lock(&self.free_bytes) += bytes;
        self.changed.notify_all();
        result
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The packs that are to be read.
pub(super) fn chosen(read: ReadData, stored: Vec<(PackName, u64)>) -> Result<Vec<(PackName, u64)>, RepositoryError> {
    let mut packs = match read {
        ReadData::Nothing => Vec::new(),
        ReadData::All => stored,
        ReadData::Subset(subset) => subset.choose(stored)?,
    };
    packs.sort_unstable();
    Ok(packs)
}

/// How many packs a check would read now, and about how many bytes those are: of a store far away it may be paid for.
///
/// # Errors
/// When the store cannot be listed.
pub fn will_read(store: &dyn Store, read: ReadData) -> Result<(u64, u64), RepositoryError> {
    let stored = store.list(Area::Packs)?.into_iter().filter_map(|listed| match listed.name {
        ObjectName::Pack(name) => Some((name, listed.size)),
        _ => None,
    });
    let packs = chosen(read, stored.collect())?;
    Ok((packs.len() as u64, packs.iter().map(|(_, size)| size).sum()))
}

/// Reads `packs` on several threads, in their order, until the time of `notes` is over.
pub(super) fn read(
    checker: &Checker<'_>,
    contents: &Contents,
    packs: &[(PackName, u64)],
    notes: Option<&Notes<'_>>,
) -> Result<PacksRead, RepositoryError> {
    if packs.is_empty() {
        return Ok(PacksRead::default());
    }
    let bytes = packs.iter().map(|(_, size)| size).sum();
    checker.progress.phase("reading packs", Some(bytes));
    checker.progress.total(packs.len() as u64, bytes);
    let (next, room, result) = (AtomicUsize::new(0), Room::new(), Mutex::new(PacksRead::default()));
    let threads = checker.options.threads.clamp(1, packs.len());
    let until = notes.and_then(Notes::until);
    let is_over = || notes.is_some_and(|notes| notes.is_over(until));
    std::thread::scope(|scope| {
        let work = || -> Result<(), RepositoryError> {
            let mut decoder = Decoder::new()?;
            while !is_over()
                && let Some((name, size)) = packs.get(next.fetch_add(1, Ordering::Relaxed))
            {
                checker.go_on()?;
                let described = contents.described.get(name);
                let judged = room.with(*size, || judge(checker, name, *size, described, &mut decoder));
                checker.progress.advance(1, *size);
                if let (Judged::Whole, Some(notes)) = (&judged, notes) {
                    notes.whole(name, *size);
                }
                let mut result = lock(&result);
                result.tried += 1;
                match judged {
                    Judged::Vanished => {
                        result.vanished = true;
                        continue;
                    }
                    Judged::Bad(bad) => drop(result.bad.insert(*name, bad)),
                    Judged::Whole => drop(result.whole.insert(*name)),
                }
                result.packs += 1;
                result.bytes += size;
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(RepositoryError::Stopped)));
        joined.collect::<Result<(), _>>()
    })?;
    Ok(result.into_inner().unwrap_or_else(PoisonError::into_inner))
}

enum Judged {
    Whole,
    Bad(BadPack),
    Vanished,
}

fn judge(
    checker: &Checker<'_>,
    name: &PackName,
    size: u64,
    described: Option<&Described>,
    decoder: &mut Decoder,
) -> Judged {
    let bad = |severity, reason, lost| Judged::Bad(BadPack { severity, reason, lost });
    if size > MAX_PACK_LEN {
        let reason = format!("it has {size} bytes, more than any pack may have");
        return bad(Severity::Damage, reason, HashSet::new());
    }
    let contents = match read_pack(checker.repository, name, decoder) {
        Ok(contents) => contents,
        Err(RepositoryError::Store(error)) if error.is_missing() => return Judged::Vanished,
        Err(error) => return bad(severity(&error), reason(&error), HashSet::new()),
    };
    let mut problems = contents.problems;
    let mut lost = HashSet::new();
    if described.is_some_and(|described| described.digest != digest(&contents.pack)) {
        problems.push("its own table says something else of it than the index does".into());
    } else {
        lost.extend(contents.wrong_blobs.iter().copied());
    }
    if !contents.wrong_blobs.is_empty() {
        problems.push(format!("{} of its blobs cannot be had from it", contents.wrong_blobs.len()));
    }
    if problems.is_empty() { Judged::Whole } else { bad(Severity::Damage, shorten(&problems), lost) }
}

/// The first problems, and how many more there are.
fn shorten(problems: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = problems.get(..SHOWN.min(problems.len())).unwrap_or_default().join("; ");
    match problems.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
