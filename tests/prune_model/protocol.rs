//! The rules that can be weakened, the size of the world, and what every state must keep.

use crate::state::{
    BLOBS, INDEXES, MARKS, Mark, PACKS, Pruner, PrunerAt, Renaming, Set, State, Writer, WriterAt, members,
};

/// What a writer looks at again before it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Every pack that the snapshot needs, the run's own uploads among them.
    All,
    /// Only packs that the index named at the start.
    NotOwnPacks,
    Nothing,
}

/// What a writer does about a marked pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// Copies what it needs into a new pack.
    CopyForward,
    /// Puts the pack again under the name that it had.
    SameName,
    /// Commits all the same.
    Ignore,
}

/// What a sweep does about a live blob that has no home but in marked packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    CopyForward,
    /// Deletes the mark.
    TakeMarkBack,
    /// Does not look at the snapshots again.
    NotAsked,
}

/// How a sweep renews the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Puts the new object, then deletes the objects it read. It drops the entries of packs that it sweeps, no others.
    Exact,
    /// Deletes every older object, those too that it did not read.
    DeletesUnread,
    /// Drops entries of packs that its list lacked.
    DropsUnlisted,
    /// Deletes, then puts.
    DeletesFirst,
}

/// What a sweep deletes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    PacksThenMark,
    MarkThenPacks,
}

/// How a prune comes to a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planning {
    /// Lists marks and packs, reads index and snapshots, marks what has no use; sparse packs are copied forward first.
    InSteps,
    /// Marks anything at any time. Every plan, however stale, is one of these; what it copies forward, a writer that
    /// crashes has stored as well. So what is safe here is safe with any plan.
    Anything,
}

/// The protocol. Times are in ticks of the clock.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// G: a mark is swept when it is at least so old.
    pub grace: u8,
    /// The age that a sweep really asks for; G, or less where deletion is instant.
    pub sweep_after: u8,
    /// L: a snapshot is put at most so long after the validation began.
    pub commit_within: Option<u8>,
    /// A first listing older than this is made again: G / 2.
    pub listing_serves: u8,
    /// Packs younger than this are not marked. No need of safety: 0 allows prune the most.
    pub spare_younger: u8,
    pub planning: Planning,
    pub validation: Validation,
    pub rescue: Rescue,
    pub needed: Needed,
    pub compaction: Compaction,
    pub deletes: Deletes,
}

impl Protocol {
    /// What `bk` does, with the shortest times that it may have, and with prune allowed to mark packs of any age.
    pub const REAL: Self = Self {
        grace: 2,
        sweep_after: 2,
        commit_within: Some(1),
        listing_serves: 1,
        spare_younger: 0,
        planning: Planning::Anything,
        validation: Validation::All,
        rescue: Rescue::CopyForward,
        needed: Needed::CopyForward,
        compaction: Compaction::Exact,
        deletes: Deletes::PacksThenMark,
    };
}

/// A snapshot that is there at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Existing {
    pub blobs: Set,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// At any time, or never.
    MayBeForgotten,
}

/// How often a writer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Every writer once, and as many marks in all as there are slots.
    Once,
    /// Writers begin again for ever, their snapshots being forgotten in between, and marks' slots are used again.
    Endless,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Packs at the beginning, by their blobs; each has an index object.
    pub stored: &'static [Set],
    /// Snapshots at the beginning.
    pub existing: &'static [Existing],
    /// What each writer backs up. Its snapshot may be forgotten at any time.
    pub writers: &'static [Set],
    pub pruners: usize,
    /// Slots: an action that needs one more waits.
    pub packs: usize,
    pub indexes: usize,
    pub marks: usize,
    /// Packs that one mark names, at most.
    pub packs_per_mark: u32,
    pub runs: Runs,
}

/// Whether states that differ only in names are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetry {
    Used,
    Ignored,
}

/// A protocol in a world.
pub struct Model {
    pub protocol: Protocol,
    pub world: World,
    pub symmetry: Symmetry,
}

/// What a process does. Which step is its next follows from where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Step,
    Crash,
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    Forget(usize),
    Writer(usize, Does),
    Pruner(usize, Does),
}

/// How a state breaks the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A blob of a snapshot is in no pack that is there.
    Pack,
    /// It is, but no index object names such a pack.
    Index,
}

pub type Steps = Vec<(Action, State)>;

impl Model {
    /// The repository before anything happens.
    pub fn start(&self) -> State {
        let mut state = State {
            present: 0,
            holds: [0; BLOBS],
            age: [0; PACKS],
            indexes: 0,
            index: [0; INDEXES],
            marks: [Mark { age: 0, packs: 0 }; MARKS],
            spent_marks: 0,
            existing: 0,
            writers: [Writer::new(WriterAt::Off); 2],
            pruners: [Pruner::new(PrunerAt::Off); 2],
        };
        for blobs in self.world.stored {
            let pack = state.put_pack(*blobs, self.world.packs).expect("room for what is stored");
            state.put_index(pack, self.world.indexes).expect("room for what is stored");
        }
        (0..self.world.existing.len()).for_each(|at| state.existing |= 1 << at);
        self.world.writers.iter().zip(&mut state.writers).for_each(|(_, writer)| writer.at = WriterAt::Start);
        state.pruners.iter_mut().take(self.world.pruners).for_each(|pruner| pruner.at = PrunerAt::Idle);
        state
    }

    /// The one state that stands for all that differ only in names.
    pub fn canonical(&self, state: &mut State) -> Renaming {
        let twins = matches!(self.world.writers, [a, b] if a == b);
        state.tidy();
        if self.symmetry == Symmetry::Used { state.sort(twins) } else { Renaming::NONE }
    }

    /// Everything that can happen next.
    pub fn steps(&self, state: &State, steps: &mut Steps) {
        self.tick(state, steps);
        self.forget(state, steps);
        (0..2).for_each(|number| self.writer_steps(state, number, steps));
        (0..2).for_each(|number| self.pruner_steps(state, number, steps));
    }

    fn tick(&self, state: &State, steps: &mut Steps) {
        let mut after = *state;
        let older = |age: &mut u8, most: u8| *age = most.min(*age + 1);
        for mark in after.marks.iter_mut().filter(|mark| mark.age > 0) {
            older(&mut mark.age, self.protocol.sweep_after + 1);
        }
        for pack in members(state.present) {
            older(&mut after.age[pack], self.protocol.spare_younger);
        }
        for writer in &mut after.writers {
            if (WriterAt::MarksListed..=WriterAt::Validated).contains(&writer.at) {
                older(&mut writer.since_listing, self.protocol.listing_serves + 1);
            }
            if let (WriterAt::ToListPacksAgain | WriterAt::Validated, Some(most), 0) =
                (writer.at, self.protocol.commit_within, writer.bad)
            {
                older(&mut writer.since_validation, most + 1);
            }
        }
        if after != *state {
            steps.push((Action::Tick, after));
        }
    }

    /// Forget puts a tombstone and then deletes the snapshot. From the tombstone on nobody counts it, so this is one step.
    fn forget(&self, state: &State, steps: &mut Steps) {
        for (at, snapshot) in self.world.existing.iter().enumerate() {
            if snapshot.fate == Fate::MayBeForgotten && state.existing & 1 << at != 0 {
                let mut after = *state;
                after.existing &= !(1 << at);
                steps.push((Action::Forget(at), after));
            }
        }
    }

    /// The blobs of each snapshot that is there and has no tombstone.
    fn snapshots<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Set> + 'a {
        let existing = members(state.existing).map(|at| self.world.existing[at].blobs);
        let written = self.world.writers.iter().zip(state.writers);
        existing.chain(written.filter(|(_, writer)| writer.at == WriterAt::Committed).map(|(blobs, _)| *blobs))
    }

    /// What a list of the snapshots and tombstones says is needed.
    pub fn live(&self, state: &State) -> Set {
        self.snapshots(state).fold(0, |all, blobs| all | blobs)
    }

    /// The promise. Every blob of every snapshot that is there and not forgotten is in a pack that is there, and an
    /// index object that is there names that pack for it.
    ///
    /// A reader lists the index objects, reads those, and fetches packs; when an object is gone meanwhile, it begins
    /// again. In every state some object leads to the blob, so a reader fails only if a prune deletes the object or the
    /// pack between its list and its fetch, which takes a whole sweep each time: looking again ends.
    pub fn loss(&self, state: &State) -> Option<Loss> {
        let live = self.live(state);
        let indexed = state.indexed_by(state.indexes);
        if members(live).any(|blob| state.holds[blob] & state.present == 0) {
            Some(Loss::Pack)
        } else if members(live).any(|blob| state.holds[blob] & state.present & indexed == 0) {
            Some(Loss::Index)
        } else {
            None
        }
    }
}
