//! What a prune sees: marks, snapshots, index, packs; which pack is the home of each blob that is needed.

use std::collections::{HashMap, HashSet};

use super::ages::{Ages, GRACE, RUN_LIVES};
use super::live::live;
use super::{PruneError, PruneOptions};
use crate::clock::Clock;
use crate::format::index_file::PackName;
use crate::format::mark::Mark;
use crate::format::node::Timestamp;
use crate::format::pack::PackKind;
use crate::id::{BlobId, RunId};
use crate::progress::Progress;
use crate::repository::{Catalog, Repository, Snapshots, marks};
use crate::store::{Area, ObjectName};

/// One bit for each number.
#[derive(Debug, Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// None of `count` is set.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// Sets one; whether it was not set before.
    pub(super) fn set(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Whether one is set.
    pub(super) fn has(&self, number: u32) -> bool {
        self.0[number as usize / 64] & (1 << (number % 64)) != 0
    }
}

/// The run that a prune gives to what it writes: it belongs to none.
pub(super) const NO_RUN: RunId = RunId([0; 16]);

/// What may be done with a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is there and not marked.
    Sound,
    /// It is marked, and still there.
    Marked,
    /// Its size is not what the index says.
    Broken,
    /// The store does not list it.
    Gone,
}

/// A pack of the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackUse {
    pub(super) name: PackName,
    pub(super) kind: PackKind,
    /// Length of the stored object, in bytes; 0 when it is gone.
    pub(super) size: u64,
    pub(super) state: State,
    /// Before compression, of all blobs in it.
    pub(super) raw_bytes: u64,
    /// Before compression, of those that it is the home of.
    pub(super) live_bytes: u64,
    /// A running or resumable run has stored it.
    pub(super) is_unfinished: bool,
    /// It is younger than [`GRACE`].
    pub(super) is_young: bool,
    /// An earlier prune has marked it, whether or not it is there.
    pub(super) is_marked: bool,
}

impl PackUse {
    /// What of the stored bytes nobody needs, about.
    pub(super) fn unused_bytes(&self) -> u64 {
        let live = u128::from(self.size) * u128::from(self.live_bytes) / u128::from(self.raw_bytes.max(1));
        self.size.saturating_sub(u64::try_from(live).unwrap_or(u64::MAX))
    }
}

/// A mark of an earlier prune.
#[derive(Debug, Clone)]
pub(super) struct StoredMark {
    pub(super) name: ObjectName,
    pub(super) mark: Mark,
    pub(super) stored: Timestamp,
}

/// What a prune sees.
pub(super) struct View {
    pub(super) catalog: Catalog,
    pub(super) snapshots: Snapshots,
    pub(super) marks: Vec<StoredMark>,
    pub(super) ages: Ages,
    /// By number.
    pub(super) packs: Vec<PackUse>,
    /// Entries that are the home of a blob which snapshots need.
    pub(super) home: Bits,
    /// Packs that no index object describes.
    pub(super) strays: Vec<(PackName, u64, bool)>,
    /// For each index object, whether its run may still go on.
    pub(super) unfinished: Vec<bool>,
}

impl View {
    /// Looks. The order of the lists matters: what a snapshot needs was indexed before it, what an index object
    /// describes was stored before it.
    pub(super) fn load(
        repository: &Repository,
        options: &PruneOptions<'_>,
        clock: &dyn Clock,
        progress: &dyn Progress,
    ) -> Result<Self, PruneError> {
        progress.phase("reading the index", None);
        let store = repository.store();
        let now = store.time()?;
        let mut times = Vec::new();
        let mut time_of = HashMap::new();
        for listed in store.list(Area::Marks)? {
            times.push(listed.time);
            time_of.insert(listed.name, listed.time);
        }
        let marks: Vec<_> = marks(repository)?
            .into_iter()
            .map(|(name, mark)| StoredMark { stored: time_of.get(&name).copied().unwrap_or(now), name, mark })
            .collect();
        times.extend(store.list(Area::Snapshots)?.iter().map(|listed| listed.time));
        let snapshots = Snapshots::load(repository)?;
        options.accept(&snapshots, &marks)?;
        let marked: HashSet<_> = marks.iter().flat_map(|mark| mark.mark.packs.iter().copied()).collect();
        let catalog = Catalog::load(repository, &marked)?;
        if let Some((name, reason)) = catalog.index.damaged().first() {
            return Err(PruneError::DamagedIndex { name: name.clone(), reason: reason.clone() });
        }
        times.extend(catalog.objects.iter().map(|object| object.stored));
        times.extend(catalog.stored.values().map(|pack| pack.time));
        let live = live(repository, &catalog.index, &snapshots.all, options, progress)?;
        let ages = Ages::new(now, clock.wall(), times);
        let mut view = Self {
            home: Bits::new(catalog.index.len()),
            packs: Vec::new(),
            strays: Vec::new(),
            unfinished: Vec::new(),
            catalog,
            snapshots,
            marks,
            ages,
        };
        view.see_runs();
        view.see_packs(&marked);
        view.find_homes(&live)?;
        Ok(view)
    }

    /// Which index objects are of runs that may still put their snapshot, or be taken up again.
    fn see_runs(&mut self) {
        let mut finished: HashSet<RunId> = self.snapshots.all.iter().map(|info| info.snapshot.run).collect();
        finished.extend(self.snapshots.facts.forgotten_runs());
        finished.insert(NO_RUN);
        let mut newest: HashMap<RunId, Timestamp> = HashMap::new();
        for object in &self.catalog.objects {
            let time = newest.entry(object.run).or_insert(object.stored);
            *time = (*time).max(object.stored);
        }
        let is_over = |run: &RunId| {
            finished.contains(run) || newest.get(run).is_some_and(|time| self.ages.is_stored_for(*time, RUN_LIVES))
        };
        self.unfinished = self.catalog.objects.iter().map(|object| !is_over(&object.run)).collect();
    }

    fn see_packs(&mut self, marked: &HashSet<PackName>) {
        let Catalog { index, objects, stored } = &self.catalog;
        let mut is_finished = vec![false; index.packs().count()];
        for (object, unfinished) in objects.iter().zip(&self.unfinished) {
            for pack in object.packs.iter().filter(|_| !unfinished) {
                is_finished[*pack as usize] = true;
            }
        }
        let mut known = HashSet::with_capacity(is_finished.len());
        let is_young = |time| !self.ages.is_stored_for(time, GRACE) && self.ages.now.is_some();
        let packs = index.packs().zip(is_finished).map(|((name, size, kind, usable), is_finished)| {
            known.insert(name);
            let found = stored.get(&name);
            let state = match found {
                None => State::Gone,
                Some(_) if usable => State::Sound,
                Some(found) if found.size != size => State::Broken,
                Some(_) => State::Marked,
            };
            PackUse {
                name,
                kind,
                size: found.map_or(0, |found| found.size),
                state,
                raw_bytes: 0,
                live_bytes: 0,
                is_unfinished: !is_finished,
                is_young: found.is_some_and(|found| is_young(found.time)),
                is_marked: marked.contains(&name),
            }
        });
        self.packs = packs.collect();
        let strays = stored.iter().filter(|(name, _)| !known.contains(name) && !marked.contains(name));
        self.strays = strays.map(|(name, pack)| (*name, pack.size, is_young(pack.time))).collect();
        self.strays.sort_unstable();
    }

    /// Gives every blob that is needed one home; of several sound packs the one that is needed most.
    fn find_homes(&mut self, live: &Bits) -> Result<(), PruneError> {
        let index = &self.catalog.index;
        let mut in_several = Vec::new();
        let mut missing: Option<(BlobId, u64)> = None;
        for number in 0..index.len() as u32 {
            let entry = index.entry(number);
            self.packs[index.pack_number(&entry) as usize].raw_bytes += u64::from(entry.length);
            if !live.has(number) {
                continue;
            }
            let state = |at: &u32| self.packs[index.pack_number(&index.entry(*at)) as usize].state;
            let mut sound = index.numbers(&entry.id()).filter(|at| state(at) == State::Sound);
            let home = match (sound.next(), sound.next()) {
                (Some(_), Some(_)) => {
                    in_several.push(number);
                    continue;
                }
                (one, _) => one.or_else(|| index.numbers(&entry.id()).find(|at| state(at) == State::Marked)),
            };
            match home {
                Some(home) => {
                    self.home.set(home);
                    self.packs[index.pack_number(&index.entry(home)) as usize].live_bytes += u64::from(entry.length);
                }
                None => missing = Some((entry.id(), missing.map_or(1, |(_, count)| count + 1))),
            }
        }
        if let Some((blob, blobs)) = missing {
            return Err(PruneError::Missing { blob, blobs, snapshot: None });
        }
        for number in in_several {
            let entry = index.entry(number);
            let pack = |at: u32| index.pack_number(&index.entry(at)) as usize;
            let sound = index.numbers(&entry.id()).filter(|at| self.packs[pack(*at)].state == State::Sound);
            let best = sound.max_by_key(|at| (self.packs[pack(*at)].live_bytes, std::cmp::Reverse(*at)));
            if let Some(best) = best {
                self.home.set(best);
                self.packs[pack(best)].live_bytes += u64::from(entry.length);
            }
        }
        Ok(())
    }
}
