//! Adding blobs: segments are filled by whoever has blobs, compressed and sealed by threads of the writer,
//! appended to packs, and indexed once their pack is durable.
//!
//! Memory is bounded by the queue: so many segments of at most 4 MiB each, plus one per thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use hashbrown::HashTable;

use super::follower::Follower;
use super::index::{Index, hash_of};
use super::packer::{EncodedSegment, MAX_BLOBS, OpenPack, seal, target_len};
use super::{Repository, RepositoryError};
use crate::clock::Clock;
use crate::compress::{Encoder, Encoding};
use crate::crypto::{PREFIX_LEN, Sealer};
use crate::format::Kind;
use crate::format::index_file::{IndexFile, IndexedPack, PackName};
use crate::format::pack::PackKind;
use crate::id::{BlobId, RunId};

/// Data blobs are joined up to this length, in bytes; a longer blob is a segment of its own.
const DATA_SEGMENT_LEN: usize = 1 << 20;
/// Tree blobs likewise, in bytes.
const TREE_SEGMENT_LEN: usize = 128 << 10;
/// An index object is written after so many packs, so that an interrupted run need not store them again.
const PACKS_PER_INDEX: usize = 16;
/// Or after so many blobs: an object is built in memory, several times its length.
const BLOBS_PER_INDEX: usize = 1 << 16;
/// Or after so long.
const INDEX_EVERY: Duration = Duration::from_secs(300);

const fn segment_len(kind: PackKind) -> usize {
    match kind {
        PackKind::Data => DATA_SEGMENT_LEN,
        PackKind::Tree => TREE_SEGMENT_LEN,
    }
}

/// A lock whose holder cannot leave broken state behind: a panic elsewhere ends the run anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blobs that this run adds: ids in blocks that never move, 37 to 42 bytes each.
#[derive(Default)]
pub struct AddedBlobs {
    blocks: Vec<Vec<BlobId>>,
    table: HashTable<u32>,
}

impl AddedBlobs {
    const BLOCK: usize = 4096;

    fn get(blocks: &[Vec<BlobId>], at: u32) -> &BlobId {
        &blocks[at as usize / Self::BLOCK][at as usize % Self::BLOCK]
    }

    /// Whether `id` is among them.
    #[must_use]
    pub fn contains(&self, id: &BlobId) -> bool {
        self.table.find(hash_of(id), |at| Self::get(&self.blocks, *at) == id).is_some()
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &BlobId> {
        self.blocks.iter().flatten()
    }

    /// Whether `id` was not among them before.
    pub fn insert(&mut self, id: BlobId) -> bool {
        let Self { blocks, table } = self;
        if table.find(hash_of(&id), |at| *Self::get(blocks, *at) == id).is_some() {
            return false;
        }
        if blocks.last().is_none_or(|block| block.len() == Self::BLOCK) {
            blocks.push(Vec::with_capacity(Self::BLOCK));
        }
        let base = (blocks.len() - 1) * Self::BLOCK;
        if let Some(block) = blocks.last_mut() {
            block.push(id);
            let at = (base + block.len() - 1) as u32;
            let blocks = &*blocks;
            table.insert_unique(hash_of(&id), at, |at| hash_of(Self::get(blocks, *at)));
        }
        true
    }
}

/// What a writer has done so far.
#[derive(Debug, Default)]
pub struct WriterStats {
    blobs: AtomicU64,
    raw_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    packs: AtomicU64,
}

impl WriterStats {
    /// Blobs the repository did not have.
    #[must_use]
    pub fn new_blobs(&self) -> u64 {
        self.blobs.load(Ordering::Relaxed)
    }

    /// Their length before compression, in bytes.
    #[must_use]
    pub fn new_bytes(&self) -> u64 {
        self.raw_bytes.load(Ordering::Relaxed)
    }

    /// Bytes put into the store.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes.load(Ordering::Relaxed)
    }

    /// Packs put into the store.
    #[must_use]
    pub fn packs(&self) -> u64 {
        self.packs.load(Ordering::Relaxed)
    }
}

struct RawSegment {
    kind: PackKind,
    blobs: Vec<(BlobId, u32)>,
    /// [`PREFIX_LEN`] bytes of room, then the blobs.
    buffer: Vec<u8>,
}

/// A pack that takes segments. It is closed when it is full and nothing that was reserved is still on its way.
struct Slot {
    pack: Option<OpenPack>,
    in_flight: usize,
    closing: bool,
}

/// The packs of one kind.
struct Slots {
    open: Vec<Arc<Mutex<Slot>>>,
    random: u64,
}

impl Slots {
    /// SplitMix64: spreads segments over packs; secrecy rests on the sealing, not on this.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Room for one segment in a pack.
struct Reserved {
    slot: Arc<Mutex<Slot>>,
    number: u32,
    sealer: Arc<Sealer>,
}

struct PendingIndex {
    packs: Vec<IndexedPack>,
    blobs: usize,
    last: Duration,
}

/// Adds blobs to a repository. All methods may be called from several threads.
pub struct Writer<'a> {
    repository: &'a Repository,
    index: &'a Index,
    clock: &'a dyn Clock,
    run: RunId,
    added: Vec<Mutex<AddedBlobs>>,
    data: Mutex<Slots>,
    tree: Mutex<Slots>,
    queue: Sender<Option<RawSegment>>,
    queued: Receiver<Option<RawSegment>>,
    full: Sender<Option<OpenPack>>,
    filled: Receiver<Option<OpenPack>>,
    pending: Mutex<PendingIndex>,
    written: Mutex<Vec<(PackName, u64)>>,
    error: Mutex<Option<RepositoryError>>,
    failed: AtomicBool,
    buffers: Mutex<Vec<Vec<u8>>>,
    stats: WriterStats,
    followers: &'a [Follower],
}

impl<'a> Writer<'a> {
    /// A writer that adds what `index` does not have.
    ///
    /// # Errors
    /// [`RepositoryError::Random`] when the kernel has no random bytes.
    pub fn new(
        repository: &'a Repository,
        index: &'a Index,
        run: RunId,
        clock: &'a dyn Clock,
        threads: usize,
    ) -> Result<Self, RepositoryError> {
        let (queue, queued) = bounded(threads + 1);
        let (full, filled) = bounded(2);
        let random = || crate::crypto::random().map(u64::from_le_bytes);
        let slots = |random| Mutex::new(Slots { open: Vec::new(), random });
        Ok(Self {
            repository,
            index,
            clock,
            run,
            added: (0..16).map(|_| Mutex::default()).collect(),
            data: slots(random()?),
            tree: slots(random()?),
            queue,
            queued,
            full,
            filled,
            pending: Mutex::new(PendingIndex { packs: Vec::new(), blobs: 0, last: clock.boottime() }),
            written: Mutex::default(),
            error: Mutex::new(None),
            failed: AtomicBool::new(false),
            buffers: Mutex::new(Vec::new()),
            stats: WriterStats::default(),
            followers: &[],
        })
    }

    /// The same writer, which tells `followers` what it does.
    #[must_use]
    pub const fn followed_by(mut self, followers: &'a [Follower]) -> Self {
        self.followers = followers;
        self
    }

    /// The packs that were put, each with its size in bytes.
    #[must_use]
    pub fn written(&self) -> Vec<(PackName, u64)> {
        lock(&self.written).clone()
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> &WriterStats {
        &self.stats
    }

    /// The run that its index objects name.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// Whether some thread has failed; the others should stop.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the blob is in the repository, or on its way by this run.
    #[must_use]
    pub fn has(&self, id: &BlobId) -> bool {
        let has = self.index.rely_on(id);
        if has {
            self.followers.iter().for_each(|follower| follower.ask(id));
        }
        has
    }

    /// Whether this run itself has added the blob, or is about to.
    #[must_use]
    pub fn has_added(&self, id: &BlobId) -> bool {
        self.added.get(usize::from(id.0[31]) % 16).is_some_and(|shard| lock(shard).contains(id))
    }

    /// Notes that the caller is about to add the blob; `false` when it is there or somebody else adds it.
    #[must_use]
    pub fn claim(&self, id: &BlobId) -> bool {
        self.followers.iter().for_each(|follower| follower.ask(id));
        if self.index.rely_on(id) {
            return false;
        }
        let shard = self.added.get(usize::from(id.0[31]) % 16);
        shard.is_some_and(|shard| lock(shard).insert(*id))
    }

    /// Something to gather blobs in; one per thread and kind.
    #[must_use]
    pub const fn segment_builder(&'a self, kind: PackKind) -> SegmentBuilder<'a> {
        SegmentBuilder { writer: self, kind, buffer: Vec::new(), blobs: Vec::new() }
    }

    /// Keeps the first error; the rest follow from it.
    pub fn fail(&self, error: RepositoryError) {
        let mut first = lock(&self.error);
        if first.is_none() || matches!(*first, Some(RepositoryError::Stopped)) {
            *first = Some(error);
        }
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Compresses and seals queued segments until the queue is closed by [`Self::close_queue`]. Run it on several
    /// threads.
    pub fn seal_segments(&self) {
        let mut encoder = match Encoder::new() {
            Ok(encoder) => encoder,
            Err(error) => {
                self.fail(error.into());
                // Whoever fills the queue must not wait for ever.
                self.queued.iter().take_while(Option::is_some).for_each(drop);
                return;
            }
        };
        let mut spare = Vec::new();
        for segment in &self.queued {
            let Some(segment) = segment else { return };
            if !self.has_failed()
                && let Err(error) = self.seal_segment(segment, &mut encoder, &mut spare)
            {
                self.fail(error);
            }
        }
    }

    fn seal_segment(
        &self,
        segment: RawSegment,
        encoder: &mut Encoder,
        spare: &mut Vec<u8>,
    ) -> Result<(), RepositoryError> {
        let raw = segment.buffer.get(PREFIX_LEN..).unwrap_or_default();
        let encoding = encoder.encode(raw, PREFIX_LEN, spare)?;
        let mut buffer = segment.buffer;
        if encoding == Encoding::Zstd {
            std::mem::swap(&mut buffer, spare);
        }
        let reserved = self.reserve(segment.kind)?;
        let encoded = EncodedSegment { encoding, blobs: segment.blobs, buffer };
        let sealed = seal(&reserved.sealer, reserved.number, encoded)?;
        self.append(&reserved, sealed)
    }

    const fn slots(&self, kind: PackKind) -> (&Mutex<Slots>, u64) {
        match kind {
            PackKind::Data => (&self.data, 2),
            PackKind::Tree => (&self.tree, 1),
        }
    }

    /// Room in a pack chosen at random among the open ones; a pack is made when there are too few.
    fn reserve(&self, kind: PackKind) -> Result<Reserved, RepositoryError> {
        let (slots, wanted) = self.slots(kind);
        let mut slots = lock(slots);
        loop {
            slots.open.retain(|slot| !lock(slot).closing);
            let at = (slots.next_random() % wanted) as usize;
            let slot = match slots.open.get(at) {
                Some(slot) => Arc::clone(slot),
                None => {
                    let pack = Some(OpenPack::begin(self.repository, kind)?);
                    let slot = Arc::new(Mutex::new(Slot { pack, in_flight: 0, closing: false }));
                    slots.open.push(Arc::clone(&slot));
                    slot
                }
            };
            let mut state = lock(&slot);
            // A thread that appended since the look above may have closed it.
            let Some((number, sealer)) = state.pack.as_mut().map(OpenPack::reserve) else { continue };
            state.in_flight += 1;
            drop(state);
            return Ok(Reserved { slot, number, sealer });
        }
    }

    fn append(&self, reserved: &Reserved, mut segment: EncodedSegment) -> Result<(), RepositoryError> {
        let mut state = lock(&reserved.slot);
        let pack = state.pack.as_mut().ok_or(RepositoryError::Stopped)?;
        let buffer = pack.append(reserved.number, &mut segment)?;
        let is_full = pack.is_full();
        state.closing |= is_full;
        state.in_flight -= 1;
        let closed = if state.closing && state.in_flight == 0 { state.pack.take() } else { None };
        drop(state);
        self.give_back(buffer);
        match closed {
            Some(pack) => self.full.send(Some(pack)).map_err(|_| RepositoryError::Stopped),
            None => Ok(()),
        }
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut buffers = lock(&self.buffers);
        if buffers.len() < 8 && buffer.capacity() <= 2 * DATA_SEGMENT_LEN {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Makes full packs durable and indexes them until [`Self::close_packs`]. Run it on one or two threads.
    pub fn finish_packs(&self) {
        for pack in &self.filled {
            let Some(pack) = pack else { return };
            if !self.has_failed()
                && let Err(error) = self.finish_pack(pack)
            {
                self.fail(error);
            }
        }
    }

    fn finish_pack(&self, pack: OpenPack) -> Result<(), RepositoryError> {
        let (indexed, bytes) = pack.finish(self.repository)?;
        self.followers.iter().for_each(|follower| follower.put(&indexed, bytes.as_ref()));
        drop(bytes);
        self.note(indexed)
    }

    /// Takes up a pack that somebody else has put whole: what is in it is there.
    ///
    /// # Errors
    /// When it was time to put an index object, and that failed.
    pub fn adopt(&self, indexed: IndexedPack) -> Result<(), RepositoryError> {
        for (id, length) in indexed.segments.iter().flat_map(|segment| &segment.blobs) {
            if self.claim(id) {
                self.stats.blobs.fetch_add(1, Ordering::Relaxed);
                self.stats.raw_bytes.fetch_add(u64::from(*length), Ordering::Relaxed);
            }
        }
        self.note(indexed)
    }

    fn note(&self, indexed: IndexedPack) -> Result<(), RepositoryError> {
        self.stats.packs.fetch_add(1, Ordering::Relaxed);
        self.stats.stored_bytes.fetch_add(indexed.size, Ordering::Relaxed);
        lock(&self.written).push((indexed.name, indexed.size));
        let mut pending = lock(&self.pending);
        pending.blobs += indexed.segments.iter().map(|segment| segment.blobs.len()).sum::<usize>();
        pending.packs.push(indexed);
        let now = self.clock.boottime();
        let is_small = pending.packs.len() < PACKS_PER_INDEX && pending.blobs < BLOBS_PER_INDEX;
        if is_small && now.saturating_sub(pending.last) < INDEX_EVERY {
            return Ok(());
        }
        pending.blobs = 0;
        pending.last = now;
        let packs = std::mem::take(&mut pending.packs);
        drop(pending);
        self.put_index(packs)
    }

    fn put_index(&self, packs: Vec<IndexedPack>) -> Result<(), RepositoryError> {
        if packs.is_empty() {
            return Ok(());
        }
        let file = IndexFile { run: self.run, time: self.clock.wall(), packs };
        let (_, stored) = self.repository.write_object(Kind::Index, &file.encode())?;
        self.stats.stored_bytes.fetch_add(stored, Ordering::Relaxed);
        Ok(())
    }

    /// Lets `work` add blobs while `threads` threads compress and seal, then ends all packs and indexes them.
    ///
    /// # Errors
    /// Of `work`, or the first of any thread.
    pub fn while_sealing<T>(
        &self,
        threads: usize,
        work: impl FnOnce() -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let worked = std::thread::scope(|scope| {
            let sealing: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(|| self.seal_segments())).collect();
            let finishing = scope.spawn(|| self.finish_packs());
            let worked = work();
            self.close_queue(sealing.len());
            let mut sound = true;
            for thread in sealing {
                sound &= thread.join().is_ok();
            }
            self.close_packs(1);
            sound &= finishing.join().is_ok();
            if sound { worked } else { Err(RepositoryError::Stopped) }
        });
        match (worked, self.finish()) {
            (Err(RepositoryError::Stopped) | Ok(_), Err(error)) => Err(error),
            (worked, _) => worked,
        }
    }

    /// Tells so many threads of [`Self::seal_segments`] that nothing comes after what is queued.
    pub fn close_queue(&self, threads: usize) {
        for _ in 0..threads {
            let _ = self.queue.send(None);
        }
    }

    /// Tells so many threads of [`Self::finish_packs`] likewise.
    pub fn close_packs(&self, threads: usize) {
        for _ in 0..threads {
            let _ = self.full.send(None);
        }
    }

    /// Ends all packs and indexes them: a checkpoint. All threads must have ended, all builders be flushed.
    ///
    /// # Errors
    /// The first error of any thread.
    pub fn finish(&self) -> Result<(), RepositoryError> {
        let finished = match lock(&self.error).take() {
            Some(error) => Err(error),
            None => self.finish_open_packs(),
        };
        if finished.is_err() {
            // What is durable shall be found by the next run, if the store still takes an index object. The open
            // packs are dropped first: they may hold the last room there is.
            lock(&self.data).open.clear();
            lock(&self.tree).open.clear();
        }
        let packs = std::mem::take(&mut lock(&self.pending).packs);
        finished.and(self.put_index(packs))
    }

    fn finish_open_packs(&self) -> Result<(), RepositoryError> {
        for kind in [PackKind::Data, PackKind::Tree] {
            let slots = std::mem::take(&mut lock(self.slots(kind).0).open);
            let mut rest: Vec<_> = slots.iter().filter_map(|slot| lock(slot).pack.take()).collect();
            rest.sort_by_key(OpenPack::length);
            let fit_in_one = rest.iter().map(OpenPack::length).sum::<u64>() <= target_len(kind)
                && rest.iter().map(OpenPack::blobs).sum::<usize>() <= MAX_BLOBS;
            if fit_in_one && let Some(mut most) = rest.pop() {
                for pack in rest.drain(..) {
                    pack.merge_into(&mut most)?;
                }
                rest.push(most);
            }
            for pack in rest {
                self.finish_pack(pack)?;
            }
        }
        Ok(())
    }
}

/// Gathers the blobs of one thread into segments.
pub struct SegmentBuilder<'a> {
    writer: &'a Writer<'a>,
    kind: PackKind,
    buffer: Vec<u8>,
    blobs: Vec<(BlobId, u32)>,
}

impl SegmentBuilder<'_> {
    /// Adds a blob that [`Writer::claim`] answered `true` for.
    ///
    /// # Errors
    /// [`RepositoryError::Stopped`] when the writer has failed.
    pub fn add(&mut self, id: BlobId, bytes: &[u8]) -> Result<(), RepositoryError> {
        let limit = segment_len(self.kind) + PREFIX_LEN;
        if !self.blobs.is_empty() && self.buffer.len() + bytes.len() > limit {
            self.flush()?;
        }
        if self.buffer.is_empty() {
            self.buffer = lock(&self.writer.buffers).pop().unwrap_or_default();
            self.buffer.reserve(limit.max(bytes.len() + PREFIX_LEN));
            self.buffer.extend_from_slice(&[0; PREFIX_LEN]);
        }
        self.buffer.extend_from_slice(bytes);
        self.blobs.push((id, bytes.len() as u32));
        self.writer.stats.blobs.fetch_add(1, Ordering::Relaxed);
        self.writer.stats.raw_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.buffer.len() >= limit { self.flush() } else { Ok(()) }
    }

    /// Sends what was gathered to be sealed.
    ///
    /// # Errors
    /// [`RepositoryError::Stopped`] when the writer has failed.
    pub fn flush(&mut self) -> Result<(), RepositoryError> {
        if self.blobs.is_empty() {
            return Ok(());
        }
        if self.writer.has_failed() {
            return Err(RepositoryError::Stopped);
        }
        let segment = RawSegment {
            kind: self.kind,
            blobs: std::mem::take(&mut self.blobs),
            buffer: std::mem::take(&mut self.buffer),
        };
        self.writer.queue.send(Some(segment)).map_err(|_| RepositoryError::Stopped)
    }
}
