//! Blobs of one repository into a sibling. A pack of which at least half is wanted goes as it is, byte for byte: nothing
//! is opened, compressed or sealed. Of the others the wanted blobs are packed anew.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::bounded;

use crate::clock::Clock;
use crate::format::index_file::IndexedPack;
use crate::format::pack::PackKind;
use crate::id::{BlobId, RunId};
use crate::progress::Progress;
use crate::repository::{AddedBlobs, BlobReader, Index, Purpose, Repository, RepositoryError, Writer};
use crate::store::ObjectName;

/// Packs on their way at once: while one waits for an answer, the others fill the line.
pub(crate) const LANES: usize = 2;

/// From one repository into another.
pub(crate) struct Transfer<'a> {
    from: &'a Repository,
    to: &'a Repository,
    /// Adds to the other repository.
    pub(crate) writer: Writer<'a>,
    clock: &'a dyn Clock,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
}

impl<'a> Transfer<'a> {
    /// Adds what `index`, that of `to`, does not have. Packs of another family could not be read there.
    pub(crate) fn new(
        [from, to]: [&'a Repository; 2],
        index: &'a Index,
        run: RunId,
        clock: &'a dyn Clock,
        progress: &'a dyn Progress,
        cancel: &'a AtomicBool,
    ) -> Result<Self, RepositoryError> {
        if from.keys().family() != to.keys().family() {
            return Err(RepositoryError::NotSibling { location: to.location(), other: from.location() });
        }
        let writer = Writer::new(to, index, run, clock, LANES)?;
        Ok(Self { from, to, writer, clock, progress, cancel })
    }

    fn go_on(&self) -> Result<(), RepositoryError> {
        if self.cancel.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    /// Puts a whole pack, when at least half of what is in it is wanted. One that is gone or
    /// damaged is left to [`Self::fetch`], which brings what can be read.
    pub(crate) fn offer(
        &self,
        pack: &IndexedPack,
        bytes: Option<Bytes>,
        is_wanted: impl Fn(&BlobId) -> bool,
    ) -> Result<(), RepositoryError> {
        self.go_on()?;
        let (mut wanted, mut all) = (0, 0);
        for (id, length) in pack.segments.iter().flat_map(|segment| &segment.blobs) {
            all += u64::from(*length);
            if is_wanted(id) {
                wanted += u64::from(*length);
            }
        }
        if wanted == 0 || wanted < all - wanted {
            return Ok(());
        }
        let bytes = match bytes.map_or_else(|| self.from.store().get(&ObjectName::Pack(pack.name)).map(Bytes::from), Ok)
        {
            // A prune moved what was in it.
            Err(error) if error.is_missing() => return Ok(()),
            bytes => bytes?,
        };
        match self.to.put_pack(pack, bytes) {
            Ok(put) => {
                self.progress.advance(0, put.size);
                self.writer.adopt(put)
            }
            Err(RepositoryError::Damaged { name }) => {
                self.progress.warn(&format!("{name} is damaged in {}; run `bk check` there", self.from.location()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Brings the blobs of `wanted` that have not come yet, and ends all packs.
    pub(crate) fn fetch(&self, wanted: &AddedBlobs) -> Result<(), RepositoryError> {
        if wanted.iter().next().is_none() {
            return self.writer.finish();
        }
        let index = Index::load(self.from, Purpose::Read, self.clock)?;
        self.fetch_packs(&index, wanted)?;
        let left = wanted.iter().filter(|id| !self.writer.has_added(id));
        let mut places: Vec<_> = left.map(|id| (*id, index.find(id).next())).collect();
        places.sort_by_key(|(_, entry)| entry.map(|entry| (index.pack_number(&entry), entry.segment(), entry.offset)));
        self.writer.while_sealing(LANES, || self.fetch_blobs(&index, places.into_iter().map(|(id, _)| id)))
    }

    /// Whole packs, several at a time.
    fn fetch_packs(&self, index: &Index, wanted: &AddedBlobs) -> Result<(), RepositoryError> {
        let mut packs: Vec<u32> =
            wanted.iter().filter_map(|id| index.find(id).next()).map(|entry| index.pack_number(&entry)).collect();
        packs.sort_unstable();
        packs.dedup();
        self.progress.phase("copying packs", None);
        self.progress.total(packs.len() as u64, 0);
        let (give, take) = bounded(0);
        std::thread::scope(|scope| {
            for _ in 0..LANES {
                let take = take.clone();
                scope.spawn(move || {
                    for pack in take {
                        // Of a blob in several packs, one brings it.
                        let is_wanted = |id: &BlobId| wanted.contains(id) && !self.writer.has_added(id);
                        let done = match index.described(pack) {
                            Some(pack) if !self.writer.has_failed() => self.offer(&pack, None, is_wanted),
                            _ => Ok(()),
                        };
                        self.progress.advance(1, 0);
                        if let Err(error) = done {
                            self.writer.fail(error);
                        }
                    }
                });
            }
            drop(take);
            packs.into_iter().try_for_each(|pack| give.send(pack)).map_err(|_| RepositoryError::Stopped)?;
            drop(give);
            Ok::<(), RepositoryError>(())
        })?;
        if self.writer.has_failed() { self.writer.finish() } else { Ok(()) }
    }

    /// Single blobs, in the order in which they are stored.
    fn fetch_blobs(&self, index: &Index, wanted: impl Iterator<Item = BlobId>) -> Result<(), RepositoryError> {
        self.progress.phase("copying what is left", None);
        let mut reader = BlobReader::new(self.from, index)?;
        let mut data = self.writer.segment_builder(PackKind::Data);
        let mut trees = self.writer.segment_builder(PackKind::Tree);
        for id in wanted {
            self.go_on()?;
            if !self.writer.claim(&id) {
                continue;
            }
            let place = index.find(&id).next().ok_or(RepositoryError::NotIndexed { id })?;
            let is_tree = index.kind(&place) == Some(PackKind::Tree);
            let blob = if is_tree { reader.tree(&id)? } else { reader.data(&id)? };
            if is_tree {
                trees.add(id, &blob)?
            } else {
                data.add(id, &blob)?
            }
            self.progress.advance(0, blob.len() as u64);
        }
        trees.flush()?;
        data.flush()
    }
}
