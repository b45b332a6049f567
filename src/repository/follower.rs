//! What a sibling lacks of all that a run stores or relies on, found out while the run goes on.
//!
//! A run reads its source once and fills one repository. Whoever brings a sibling up to the same state hears from the
//! writer of every blob that was asked for and of every pack that was put. Nothing here waits, so that a sibling that is
//! slow, or not there yet, holds nobody back; what it did not hear of it finds in the index of the other afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Index;
use super::writer::{AddedBlobs, lock};
use crate::format::index_file::IndexedPack;
use crate::id::BlobId;

/// Packs that wait to be put; more of them are found in the index at the end.
const MAX_WAITING: usize = 128;
/// Of those, so many hold on to their bytes. The others are read again from where they were put.
const MAX_BYTES_WAITING: usize = 2;

/// A pack that was put into the other repository.
#[derive(Debug)]
pub struct NewPack {
    /// What is in it.
    pub pack: IndexedPack,
    /// Its bytes, when they were at hand.
    pub bytes: Option<Bytes>,
}

/// Hears what a writer does, for one sibling.
pub struct Follower {
    index: OnceLock<Index>,
    asked: Vec<Mutex<AddedBlobs>>,
    packs: Mutex<Option<Sender<NewPack>>>,
    waiting: Receiver<NewPack>,
    gone: AtomicBool,
}

impl Default for Follower {
    fn default() -> Self {
        let (packs, waiting) = unbounded();
        let asked = (0..16).map(|_| Mutex::default()).collect();
        Self { index: OnceLock::new(), asked, packs: Mutex::new(Some(packs)), waiting, gone: AtomicBool::new(false) }
    }
}

impl Follower {
    /// Says what the sibling has. Until then everything that is asked for is noted.
    pub fn know(&self, index: Index) -> &Index {
        self.index.get_or_init(|| index)
    }

    /// Nothing more is noted: the sibling cannot be reached.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.close();
        self.waiting.try_iter().for_each(drop);
    }

    /// No more packs will come.
    pub fn close(&self) {
        drop(lock(&self.packs).take());
    }

    /// The packs that were put, until [`Self::close`]. May be taken from several threads.
    #[must_use]
    pub fn packs(&self) -> Receiver<NewPack> {
        self.waiting.clone()
    }

    /// The blob belongs to the snapshot, and is or will be in the other repository.
    pub(super) fn ask(&self, id: &BlobId) {
        let is_there = || self.index.get().is_some_and(|index| index.rely_on(id));
        if !self.gone.load(Ordering::Relaxed)
            && !is_there()
            && let Some(shard) = self.asked.get(usize::from(id.0[31]) % 16)
        {
            lock(shard).insert(*id);
        }
    }

    /// A pack was put into the other repository.
    pub(super) fn put(&self, pack: &IndexedPack, bytes: Option<&Bytes>) {
        let waiting = self.waiting.len();
        if waiting < MAX_WAITING
            && let Some(packs) = &*lock(&self.packs)
        {
            let bytes = bytes.filter(|_| waiting < MAX_BYTES_WAITING).cloned();
            let _ = packs.send(NewPack { pack: pack.clone(), bytes });
        }
    }

    /// Whether the sibling lacks a blob that was asked for.
    #[must_use]
    pub fn lacks(&self, id: &BlobId) -> bool {
        let asked = self.asked.get(usize::from(id.0[31]) % 16).is_some_and(|shard| lock(shard).contains(id));
        asked && !self.index.get().is_some_and(|index| index.rely_on(id))
    }

    /// Everything that was asked for and that the sibling lacks, but for what `is_new` knows.
    #[must_use]
    pub fn lacking(&self, is_new: impl Fn(&BlobId) -> bool) -> AddedBlobs {
        let mut lacking = AddedBlobs::default();
        for shard in &self.asked {
            for id in lock(shard).iter() {
                if !is_new(id) && !self.index.get().is_some_and(|index| index.rely_on(id)) {
                    lacking.insert(*id);
                }
            }
        }
        lacking
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index_file::PackName;
    use crate::format::{Header, Kind};
    use crate::id::PackId;

    fn pack() -> IndexedPack {
        let name = PackName { id: PackId([1; 32]), nonce: [0; 8] };
        IndexedPack { name, size: 9, header: Header::new(Kind::DataPack, 0, [0; 32], None), segments: Vec::new() }
    }

    #[test]
    fn what_is_asked_for_before_the_index_is_known_is_looked_up_later() {
        let follower = Follower::default();
        follower.ask(&BlobId([7; 32]));
        assert!(follower.lacks(&BlobId([7; 32])) && !follower.lacks(&BlobId([8; 32])));
        follower.know(Index::default());
        follower.ask(&BlobId([8; 32]));
        assert_eq!(follower.lacking(|_| false).iter().count(), 2);
        assert_eq!(follower.lacking(|id| id.0[0] == 7).iter().count(), 1);
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_never_waited_for() {
        let follower = Follower::default();
        let bytes = Bytes::from_static(b"123456789");
        (0..2 * MAX_WAITING).for_each(|_| follower.put(&pack(), Some(&bytes)));
        follower.close();
        follower.put(&pack(), None);
        let taken: Vec<_> = follower.packs().iter().collect();
        assert_eq!(taken.len(), MAX_WAITING);
        assert_eq!(taken.iter().filter(|new| new.bytes.is_some()).count(), MAX_BYTES_WAITING);
        follower.leave();
        follower.ask(&BlobId([7; 32]));
        assert_eq!(follower.lacking(|_| false).iter().count(), 0);
    }
}
