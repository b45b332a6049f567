//! What the store holds and what every process remembers, in 62 bytes; and when two such states are the same.
//!
//! Objects live in slots. A pack that is gone and that nobody counts as present has no effect any more (names are never
//! used twice), so its slot is freed, and entries and marks that name it forget it: a small number of slots stands for
//! runs of any length. States that differ only in which slot an object has are one state.

/// Packs, index objects or blobs: one bit each.
pub type Set = u8;

pub const PACKS: usize = 8;
pub const INDEXES: usize = 8;
pub const MARKS: usize = 4;
pub const BLOBS: usize = 2;
/// [`Pruner::mark`] when somebody else has deleted the mark that is being swept.
pub const MARK_GONE: u8 = u8::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriterAt {
    Off,
    Start,
    MarksListed,
    PacksListed,
    ToPutPack,
    ToPutIndex,
    ToValidate,
    ToListPacksAgain,
    Validated,
    Committed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writer {
    pub at: WriterAt,
    /// After the list of marks: the marked packs. After that of packs: those it may rely on. Later: those it relies on.
    pub packs: Set,
    /// Packs that the validation found marked.
    pub bad: Set,
    /// Blobs for the next pack.
    pub upload: Set,
    /// The pack that is put and not yet indexed.
    pub fresh: Set,
    pub since_listing: u8,
    pub since_validation: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PrunerAt {
    Off,
    Idle,
    MarksListed,
    PacksListed,
    IndexListed,
    IndexRead,
    ToPutCopy,
    ToIndexCopy,
    ToPutMark,
    ToPutIndex,
    DeletingIndex,
    DeletingPacks,
    ToDeleteMark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pruner {
    pub at: PrunerAt,
    /// 0 while it plans; else the slot of the mark that it sweeps, plus one.
    pub mark: u8,
    /// Packs to mark, or to delete.
    pub target: Set,
    /// After the list of marks: the marked packs. After that of packs: those present and not marked.
    pub good: Set,
    /// Index objects listed; once they are read, those to delete.
    pub listed: Set,
    /// Packs that the index objects it read have entries for.
    pub entries: Set,
    /// Blobs for the next pack; before a sweep reads the snapshots, the blobs that have a home.
    pub blobs: Set,
    /// The pack that is put and not yet indexed.
    pub fresh: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// 0: no such mark; else the time since it was put, plus one.
    pub age: u8,
    pub packs: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Packs in the store.
    pub present: Set,
    /// Per blob, the packs that hold it.
    pub holds: [Set; BLOBS],
    /// Per pack, the time since it was put; 0 where the protocol does not ask.
    pub age: [u8; PACKS],
    /// Index objects in the store.
    pub indexes: Set,
    /// Per index object, the packs it has entries for: it names every blob of such a pack.
    pub index: [Set; INDEXES],
    pub marks: [Mark; MARKS],
    /// Marks deleted so far, where their number is limited.
    pub spent_marks: u8,
    /// The snapshots of the beginning that are not forgotten: one bit each.
    pub existing: Set,
    pub writers: [Writer; 2],
    pub pruners: [Pruner; 2],
}

/// The members of a set.
pub fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..8).filter(move |at| set & (1 << at) != 0)
}

impl Writer {
    pub const fn new(at: WriterAt) -> Self {
        Self { at, packs: 0, bad: 0, upload: 0, fresh: 0, since_listing: 0, since_validation: 0 }
    }

    fn counts_as_present(&self) -> Set {
        if self.at == WriterAt::MarksListed { self.bad } else { self.packs | self.bad }
    }

    fn pack_sets(&mut self) -> [&mut Set; 3] {
        [&mut self.packs, &mut self.bad, &mut self.fresh]
    }
}

impl Pruner {
    pub const fn new(at: PrunerAt) -> Self {
        Self { at, mark: 0, target: 0, good: 0, listed: 0, entries: 0, blobs: 0, fresh: 0 }
    }

    fn counts_as_present(&self) -> Set {
        if self.at == PrunerAt::MarksListed { 0 } else { self.good }
    }

    fn pack_sets(&mut self) -> [&mut Set; 4] {
        [&mut self.target, &mut self.good, &mut self.entries, &mut self.fresh]
    }

    fn shape(&self) -> (PrunerAt, u8, [u32; 5], u8) {
        let sets = [self.target, self.good, self.listed, self.entries, self.fresh].map(u8::count_ones);
        (self.at, self.mark, sets, self.blobs)
    }
}

/// Which slot went where: `packs[new] = old`, and so on.
#[derive(Clone, Copy, Debug)]
pub struct Renaming {
    pub packs: [u8; PACKS],
    pub indexes: [u8; INDEXES],
    pub marks: [u8; MARKS],
    pub writers: [u8; 2],
    pub pruners: [u8; 2],
}

impl Renaming {
    pub const NONE: Self =
        Self { packs: IDENTITY, indexes: IDENTITY, marks: [0, 1, 2, 3], writers: [0, 1], pruners: [0, 1] };
}

const IDENTITY: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// `order[new] = old` that sorts `keys`, the largest first; equal ones stay in place.
fn sorted<const N: usize>(keys: &mut [u32; N]) -> [u8; N] {
    let mut order = std::array::from_fn(|at| at as u8);
    for end in 1..N {
        let mut at = end;
        while at > 0 && keys[at - 1] < keys[at] {
            keys.swap(at - 1, at);
            order.swap(at - 1, at);
            at -= 1;
        }
    }
    order
}

/// Turns a square of 8 by 8 bits: rows become columns.
const fn turned_square(mut square: u64) -> u64 {
    let swap = (square ^ (square >> 7)) & 0x00aa_00aa_00aa_00aa;
    square ^= swap ^ (swap << 7);
    let swap = (square ^ (square >> 14)) & 0x0000_cccc_0000_cccc;
    square ^= swap ^ (swap << 14);
    let swap = (square ^ (square >> 28)) & 0x0000_0000_f0f0_f0f0;
    square ^ swap ^ (swap << 28)
}

/// 32 sets of 8 members to 8 members of 32 sets.
fn turned(sets: &[u8; 32]) -> [u32; 8] {
    let squares: [[u8; 8]; 4] = std::array::from_fn(|part| {
        turned_square(u64::from_le_bytes(std::array::from_fn(|row| sets[part * 8 + row]))).to_le_bytes()
    });
    std::array::from_fn(|column| u32::from_be_bytes(std::array::from_fn(|part| squares[part][column])))
}

fn turned_back(keys: &[u32; 8]) -> [u8; 32] {
    let mut sets = [0; 32];
    for (part, sets) in sets.chunks_exact_mut(8).enumerate() {
        let square = u64::from_le_bytes(std::array::from_fn(|column| keys[column].to_be_bytes()[part]));
        sets.copy_from_slice(&turned_square(square).to_le_bytes());
    }
    sets
}

fn renamed(set: Set, order: &[u8]) -> Set {
    order.iter().enumerate().fold(0, |result, (new, old)| result | ((set >> old & 1) << new))
}

fn is_identity(order: &[u8]) -> bool {
    order == &IDENTITY[..order.len()]
}

impl State {
    /// All packs that some mark names.
    pub fn marked(&self) -> Set {
        self.marks.iter().fold(0, |all, mark| all | mark.packs)
    }

    /// All packs that these index objects have entries for, as far as the objects are still there.
    pub fn indexed_by(&self, objects: Set) -> Set {
        members(objects & self.indexes).fold(0, |all, at| all | self.index[at])
    }

    /// The blobs that these packs hold.
    pub fn blobs_of(&self, packs: Set) -> Set {
        (0..BLOBS).fold(0, |all, blob| if self.holds[blob] & packs == 0 { all } else { all | 1 << blob })
    }

    /// Puts a pack into a free slot.
    pub fn put_pack(&mut self, blobs: Set, slots: usize) -> Option<Set> {
        let used = self.present | self.remembered();
        let at = (0..slots).find(|at| used & (1 << at) == 0)?;
        self.present |= 1 << at;
        members(blobs).for_each(|blob| self.holds[blob] |= 1 << at);
        Some(1 << at)
    }

    /// Puts an index object into a free slot.
    pub fn put_index(&mut self, packs: Set, slots: usize) -> Option<()> {
        let at = (0..slots).find(|at| self.indexes & (1 << at) == 0)?;
        self.indexes |= 1 << at;
        self.index[at] = packs;
        Some(())
    }

    /// Puts a mark, if there are not so many already.
    pub fn put_mark(&mut self, packs: Set, slots: usize) -> Option<()> {
        let there = self.marks.iter().filter(|mark| mark.age > 0).count();
        let at = self.marks.iter().position(|mark| mark.age == 0)?;
        if there + usize::from(self.spent_marks) >= slots {
            return None;
        }
        self.marks[at] = Mark { age: 1, packs };
        Some(())
    }

    pub fn delete_indexes(&mut self, objects: Set) {
        self.indexes &= !objects;
        members(objects).for_each(|at| self.index[at] = 0);
        self.pruners.iter_mut().for_each(|pruner| pruner.listed &= !objects);
    }

    pub fn delete_mark(&mut self, slot: usize) {
        self.marks[slot] = Mark { age: 0, packs: 0 };
        let sweeping = self.pruners.iter_mut().filter(|pruner| pruner.mark == slot as u8 + 1);
        sweeping.for_each(|pruner| pruner.mark = MARK_GONE);
    }

    /// Packs that some process counts as present.
    fn remembered(&self) -> Set {
        let writers = self.writers.iter().fold(0, |all, writer| all | writer.counts_as_present());
        self.pruners.iter().fold(writers, |all, pruner| all | pruner.counts_as_present())
    }

    /// Every set of packs there is.
    fn for_each_pack_set(&mut self, mut change: impl FnMut(&mut Set)) {
        change(&mut self.present);
        self.holds.iter_mut().for_each(&mut change);
        self.index.iter_mut().for_each(&mut change);
        self.marks.iter_mut().for_each(|mark| change(&mut mark.packs));
        self.writers.iter_mut().flat_map(Writer::pack_sets).for_each(&mut change);
        self.pruners.iter_mut().flat_map(Pruner::pack_sets).for_each(&mut change);
    }

    /// Forgets what has no effect any more, and skips deletions of what is gone.
    pub fn tidy(&mut self) {
        let used = self.present | self.remembered();
        self.for_each_pack_set(|set| *set &= used);
        let empty = members(self.indexes).filter(|at| self.index[*at] == 0).fold(0, |all, at| all | 1 << at);
        self.delete_indexes(empty);
        for pruner in &mut self.pruners {
            if pruner.at == PrunerAt::DeletingIndex && pruner.listed == 0 {
                pruner.at = PrunerAt::DeletingPacks;
            }
            if pruner.at == PrunerAt::DeletingPacks {
                pruner.target &= self.present;
                if pruner.target == 0 {
                    pruner.at = PrunerAt::ToDeleteMark;
                }
            }
            if pruner.at == PrunerAt::ToDeleteMark && pruner.mark == MARK_GONE {
                *pruner = Pruner::new(PrunerAt::Idle);
            }
        }
    }

    /// Sorts slots and processes, so that states that differ only in names become one, as far as sorting tells. Any
    /// renaming is sound: at worst a state is visited under two names.
    pub fn sort(&mut self, twins: bool) -> Renaming {
        let mut renaming = Renaming::NONE;
        if self.pruners[1].shape() > self.pruners[0].shape() {
            self.pruners.swap(0, 1);
            renaming.pruners = [1, 0];
        }
        let shape = |writer: &Writer| (writer.at, writer.packs.count_ones(), writer.since_listing, writer.upload);
        if twins && shape(&self.writers[1]) > shape(&self.writers[0]) {
            self.writers.swap(0, 1);
            renaming.writers = [1, 0];
        }
        for _ in 0..3 {
            self.sort_indexes(&mut renaming);
            self.sort_marks(&mut renaming);
            if !self.sort_packs(&mut renaming) {
                break;
            }
        }
        renaming
    }

    /// A pack's key is which sets it is in, in order; sorted keys are the sets again.
    fn sort_packs(&mut self, renaming: &mut Renaming) -> bool {
        let mut sets = [0_u8; 32];
        let mut at = 0;
        self.for_each_pack_set(|set| {
            sets[at] = *set;
            at += 1;
        });
        let mut keys = turned(&sets);
        let order = sorted(&mut keys);
        if is_identity(&order) {
            return false;
        }
        let sets = turned_back(&keys);
        at = 0;
        self.for_each_pack_set(|set| {
            *set = sets[at];
            at += 1;
        });
        self.age = order.map(|old| self.age[usize::from(old)]);
        renaming.packs = order.map(|old| renaming.packs[usize::from(old)]);
        true
    }

    fn sort_indexes(&mut self, renaming: &mut Renaming) {
        let mut keys: [u32; INDEXES] = std::array::from_fn(|at| {
            let bit = |set: Set| u32::from(set >> at & 1);
            let lists = self.pruners.iter().fold(bit(self.indexes), |key, pruner| key << 1 | bit(pruner.listed));
            lists << 8 | u32::from(self.index[at])
        });
        let order = sorted(&mut keys);
        if !is_identity(&order) {
            self.indexes = renamed(self.indexes, &order);
            self.index = order.map(|old| self.index[usize::from(old)]);
            self.pruners.iter_mut().for_each(|pruner| pruner.listed = renamed(pruner.listed, &order));
            renaming.indexes = order.map(|old| renaming.indexes[usize::from(old)]);
        }
    }

    fn sort_marks(&mut self, renaming: &mut Renaming) {
        let swept = |at: usize| {
            self.pruners.iter().fold(0_u32, |key, pruner| key << 1 | u32::from(pruner.mark == at as u8 + 1))
        };
        let mut keys = std::array::from_fn(|at| {
            let mark = self.marks[at];
            u32::from(mark.age) << 16 | swept(at) << 8 | u32::from(mark.packs)
        });
        let order: [u8; MARKS] = sorted(&mut keys);
        if !is_identity(&order) {
            self.marks = order.map(|old| self.marks[usize::from(old)]);
            for pruner in &mut self.pruners {
                if let Some(new) = order.iter().position(|old| *old + 1 == pruner.mark) {
                    pruner.mark = new as u8 + 1;
                }
            }
            renaming.marks = order.map(|old| renaming.marks[usize::from(old)]);
        }
    }
}
