//! Packs of a store that is far away, fetched before they are needed: only what is wanted of each, in few requests, and
//! each stretch once.
//!
//! What will be read is said beforehand, in about the order in which it will be read. A few threads
//! fetch in that order, as far ahead as there is room; whoever wants a pack that is not here yet waits for it, or
//! fetches it. The packs lie, sealed as they are, in files without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Entry, Index, Repository, RepositoryError};
use crate::format::pack::PackKind;

/// Room for packs that are fetched and not used up, in bytes.
const ROOM: u64 = 1 << 30;
/// Stretches this near to each other are fetched as one: a request costs more than these bytes.
const GAP: u64 = 256 << 10;
/// At most so much at a time, in bytes: memory is this times the requests on their way.
const STRETCH: u64 = 16 << 20;
/// Requests on their way at once.
const LANES: usize = 3;

/// What is wanted of a pack.
#[derive(Debug, Default)]
struct Wanted {
    /// Offset and end of each segment, in bytes, ascending once all is known.
    segments: Vec<(u64, u64)>,
    /// What is fetched: the segments, and what lies between near ones.
    stretches: Vec<(u64, u64)>,
}

impl Wanted {
    fn arrange(&mut self) {
        self.segments.sort_unstable();
        self.segments.dedup();
        self.stretches.clear();
        for (start, end) in &self.segments {
            match self.stretches.last_mut() {
                Some((from, to)) if *start <= *to + GAP && end - *from <= STRETCH => *to = (*to).max(*end),
                _ => self.stretches.push((*start, *end)),
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.stretches.iter().map(|(start, end)| end - start).sum()
    }

    /// Where in the file a stretch of the pack lies.
    fn place(&self, start: u64, end: u64) -> Option<u64> {
        let mut at = 0;
        for (from, to) in &self.stretches {
            if start >= *from && end <= *to {
                return Some(at + start - from);
            }
            at += to - from;
        }
        None
    }
}

enum State {
    Fetching,
    Here {
        file: Arc<File>,
        /// Segments that nobody has read yet.
        unread: Vec<u64>,
    },
    /// It could not be fetched ahead; whoever wants it asks for it.
    Failed,
    /// Everything was read once.
    UsedUp,
}

#[derive(Default)]
struct Spool {
    packs: HashMap<u32, State>,
    bytes: u64,
    /// Of [`ReadAhead::order`].
    next: usize,
    over: bool,
}

/// What is fetched ahead.
pub struct ReadAhead<'a> {
    repository: &'a Repository,
    index: &'a Index,
    folder: PathBuf,
    wanted: HashMap<u32, Wanted>,
    order: Vec<u32>,
    spool: Mutex<Spool>,
    changed: Condvar,
}

impl<'a> ReadAhead<'a> {
    /// Nothing wanted yet. What is fetched lies in `folder`.
    #[must_use]
    pub fn new(repository: &'a Repository, index: &'a Index, folder: PathBuf) -> Self {
        let (wanted, order) = (HashMap::new(), Vec::new());
        Self { repository, index, folder, wanted, order, spool: Mutex::default(), changed: Condvar::new() }
    }

    /// The data blob at `entry` will be read, after those that were said before.
    pub fn want(&mut self, entry: &Entry) {
        let place = self.index.place(entry);
        if self.index.pack_kind(place.pack) != Some(PackKind::Data) {
            return;
        }
        let order = &mut self.order;
        let wanted = self.wanted.entry(place.pack).or_insert_with(|| {
            order.push(place.pack);
            Wanted::default()
        });
        let segment = (place.offset, place.offset + place.stored_len);
        // Blobs of one segment mostly follow each other.
        if wanted.segments.last() != Some(&segment) {
            wanted.segments.push(segment);
        }
    }

    /// All has been said. Gives how many bytes will be fetched, out of how many packs.
    pub fn arrange(&mut self) -> (u64, u64) {
        self.wanted.values_mut().for_each(Wanted::arrange);
        (self.wanted.values().map(Wanted::bytes).sum(), self.wanted.len() as u64)
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, spool: MutexGuard<'s, Spool>) -> MutexGuard<'s, Spool> {
        self.changed.wait(spool).unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches while `work` goes on; does just the work when there is nothing to be fetched ahead.
    pub fn while_working<T>(ahead: Option<&Self>, work: impl FnOnce() -> T) -> T {
        let Some(ahead) = ahead else { return work() };
        std::thread::scope(|scope| {
            // Also when the work panics: the threads would wait for ever.
            let _stop = Stop(ahead);
            (0..LANES).for_each(|_| drop(scope.spawn(|| ahead.run())));
            work()
        })
    }

    fn run(&self) {
        let mut spool = self.spool();
        loop {
            let Some(pack) = self.order.get(spool.next).copied().filter(|_| !spool.over) else { return };
            let bytes = self.wanted.get(&pack).map_or(0, Wanted::bytes);
            if spool.packs.contains_key(&pack) {
                spool.next += 1;
            } else if spool.bytes > 0 && spool.bytes + bytes > ROOM {
                spool = self.wait(spool);
            } else {
                spool.next += 1;
                spool = self.fetch(spool, pack);
            }
        }
    }

    fn fetch<'s>(&'s self, mut spool: MutexGuard<'s, Spool>, pack: u32) -> MutexGuard<'s, Spool> {
        let Some(wanted) = self.wanted.get(&pack) else { return spool };
        spool.packs.insert(pack, State::Fetching);
        spool.bytes += wanted.bytes();
        drop(spool);
        let fetched = self.fetch_stretches(pack, wanted);
        let mut spool = self.spool();
        let state = match fetched {
            Ok(file) => {
                let unread = wanted.segments.iter().map(|(start, _)| *start).collect();
                State::Here { file: Arc::new(file), unread }
            }
            // Whoever wants it will meet the same error, and say which file it concerns.
            Err(_) => {
                spool.bytes -= wanted.bytes();
                State::Failed
            }
        };
        spool.packs.insert(pack, state);
        self.changed.notify_all();
        spool
    }

    fn fetch_stretches(&self, pack: u32, wanted: &Wanted) -> Result<File, RepositoryError> {
        let failed = |error| {
            let folder = self.folder.display().to_string();
            RepositoryError::Store(crate::store::StoreError::from_io("write", "(fetched ahead)", &folder, error))
        };
        let mut file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
        let name = self.index.object_name(pack);
        let mut bytes = Vec::new();
        for (start, end) in &wanted.stretches {
            self.repository.store().get_range(&name, *start, end - start, &mut bytes)?;
            file.write_all(&bytes).map_err(failed)?;
        }
        Ok(file)
    }

    /// Puts a segment into `into`, when it was wanted and could be fetched.
    pub(super) fn read(&self, pack: u32, offset: u64, length: u64, into: &mut Vec<u8>) -> bool {
        let Some(wanted) = self.wanted.get(&pack) else { return false };
        let Some(place) = wanted.place(offset, offset + length) else { return false };
        let mut spool = self.spool();
        let file = loop {
            match spool.packs.get(&pack) {
                Some(State::Fetching) => spool = self.wait(spool),
                Some(State::Here { file, .. }) => break Arc::clone(file),
                Some(State::Failed | State::UsedUp) => return false,
                None => spool = self.fetch(spool, pack),
            }
        };
        drop(spool);
        into.clear();
        into.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        let is_read = file.read_exact_at(into, place).is_ok();
        self.note_read(pack, offset, wanted.bytes());
        is_read
    }

    /// A pack of which everything was read makes room.
    fn note_read(&self, pack: u32, offset: u64, bytes: u64) {
        let mut spool = self.spool();
        let Some(State::Here { unread, .. }) = spool.packs.get_mut(&pack) else { return };
        unread.retain(|segment| *segment != offset);
        if unread.is_empty() {
            spool.packs.insert(pack, State::UsedUp);
            spool.bytes -= bytes;
            self.changed.notify_all();
        }
    }
}

struct Stop<'s, 'a>(&'s ReadAhead<'a>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.spool().over = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_segments_are_fetched_as_one_stretch_and_far_ones_alone() {
        let far = 40 << 20;
        let mut wanted = Wanted {
            segments: vec![(far, far + 10), (100, 200), (0, 100), (GAP + 100, GAP + 300), (100, 200)],
            stretches: Vec::new(),
        };
        wanted.arrange();
        assert_eq!(wanted.stretches, [(0, GAP + 300), (far, far + 10)]);
        assert_eq!(wanted.bytes(), GAP + 310);
        assert_eq!(wanted.place(100, 200), Some(100));
        assert_eq!(wanted.place(far, far + 10), Some(GAP + 300));
        assert_eq!(wanted.place(far, far + 11), None);
        let mut long = Wanted { segments: (0..40).map(|at| (at << 20, (at + 1) << 20)).collect(), stretches: vec![] };
        long.arrange();
        assert!(long.stretches.iter().all(|(start, end)| end - start <= STRETCH), "{:?}", long.stretches);
        assert_eq!(long.stretches.len(), 3);
    }
}
