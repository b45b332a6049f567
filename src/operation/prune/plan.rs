//! What a prune will do, decided before anything is done.

use std::collections::HashSet;

use super::ages::Due;
use super::view::{PackUse, State, View};
use super::{Others, PruneError, PruneOptions, Waste};
use crate::clock::Clock;
use crate::format::index_file::PackName;
use crate::format::node::Timestamp;
use crate::format::pack::PackKind;
use crate::progress::Progress;
use crate::repository::{Repository, target_len};

/// Packs of less than a quarter of the usual length are joined when there are so many of a kind.
const SMALL_PACKS: usize = 32;
/// Likewise index objects.
const SMALL_OBJECTS: usize = 16;
/// A shorter index object is a small one, in bytes.
const SMALL_OBJECT_LEN: u64 = 1 << 20;
/// Tries to get a view in which nothing moves.
const LOOKS: usize = 3;

/// Some packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub packs: u64,
    /// Their length as stored, in bytes.
    pub bytes: u64,
}

impl Amount {
    const fn add(&mut self, bytes: u64) {
        self.packs += 1;
        self.bytes += bytes;
    }
}

impl FromIterator<u64> for Amount {
    fn from_iter<T: IntoIterator<Item = u64>>(all: T) -> Self {
        let mut amount = Self::default();
        all.into_iter().for_each(|bytes| amount.add(bytes));
        amount
    }
}

/// Requests to the store that the plan costs, besides those that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// Reads of segments to be copied, and of index objects that are read back.
    pub reads: u64,
    /// Objects put.
    pub puts: u64,
    /// Objects deleted.
    pub deletes: u64,
}

/// What a prune will do.
pub struct PrunePlan {
    /// Packs that stay as they are.
    pub kept: Amount,
    /// What of them nobody needs, in bytes.
    pub kept_unused_bytes: u64,
    /// Packs marked long enough ago, which are deleted now.
    pub deleted: Amount,
    /// Packs that wait to be deleted.
    pub waiting: Amount,
    /// When the next of them may be; `None` when none waits, or when the clock has to be made sure of first.
    pub waiting_until: Option<Timestamp>,
    /// The store was silent for long: marks wait until something stored now is a day old.
    pub unsure: bool,
    /// Packs out of which is copied what is needed; they are then marked.
    pub repacked: Amount,
    /// Bytes that are copied, before compression.
    pub copied_bytes: u64,
    /// Marked packs of which something turned out to be needed, which is copied first.
    pub rescued: Amount,
    /// Packs that are marked now, those copied from included.
    pub marked: Amount,
    /// Unused packs younger than a day, left for a later prune.
    pub young: Amount,
    /// Unused packs of a run that may still go on or be taken up again.
    pub unfinished: Amount,
    /// Index objects that are joined or rewritten.
    pub index_objects: u64,
    /// Whether packs are deleted at once.
    pub others: Others,
    /// What it costs.
    pub requests: Requests,
    pub(super) view: View,
    /// Numbers of packs to copy from.
    pub(super) copy: Vec<u32>,
    /// Names of packs that are deleted now.
    pub(super) drop: HashSet<PackName>,
    /// Marks that are done with, by their place in the view.
    pub(super) done_marks: Vec<usize>,
    /// Names of packs to be marked.
    pub(super) mark: Vec<PackName>,
    /// Index objects to be replaced, by their place in the catalog.
    pub(super) rewrite: Vec<usize>,
}

impl PrunePlan {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { copy, drop, done_marks, mark, rewrite, unsure, .. } = self;
        copy.is_empty() && drop.is_empty() && done_marks.is_empty() && mark.is_empty() && rewrite.is_empty() && !unsure
    }

    /// What will be free in the end, in bytes: what is deleted now or later, less what is copied (before compression).
    #[must_use]
    pub const fn freed_bytes(&self) -> u64 {
        let gone = match self.others {
            Others::MayWork => self.deleted.bytes + self.marked.bytes,
            Others::None => self.deleted.bytes,
        };
        gone.saturating_sub(self.copied_bytes)
    }
}

/// Looks and decides; changes nothing.
///
/// # Errors
/// [`PruneError`]; whatever cannot be explained means that nothing is deleted.
pub fn plan(
    repository: &Repository,
    options: &PruneOptions<'_>,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<PrunePlan, PruneError> {
    repository.check_prunable()?;
    let mut looks = 0;
    let view = loop {
        looks += 1;
        match View::load(repository, options, clock, progress) {
            Err(error) if error.may_have_moved() && looks < LOOKS => {}
            view => break view?,
        }
    };
    Ok(decide(view, options))
}

fn decide(view: View, options: &PruneOptions<'_>) -> PrunePlan {
    let at_once = options.others == Others::None;
    let mut plan = PrunePlan {
        kept: Amount::default(),
        kept_unused_bytes: 0,
        deleted: Amount::default(),
        waiting: Amount::default(),
        waiting_until: None,
        unsure: false,
        repacked: Amount::default(),
        copied_bytes: 0,
        rescued: Amount::default(),
        marked: Amount::default(),
        young: Amount::default(),
        unfinished: Amount::default(),
        index_objects: 0,
        others: options.others,
        requests: Requests::default(),
        copy: Vec::new(),
        drop: HashSet::new(),
        done_marks: Vec::new(),
        mark: Vec::new(),
        rewrite: Vec::new(),
        view,
    };
    plan.choose_marks(at_once);
    plan.choose_packs(options, at_once);
    plan.choose_index_objects(at_once);
    plan.count_requests();
    plan
}

impl PrunePlan {
    /// Which marks are due, and what has to be copied out of marked packs.
    fn choose_marks(&mut self, at_once: bool) {
        for (number, stored) in self.view.marks.iter().enumerate() {
            let due = if at_once { Due::Now } else { self.view.ages.due(stored.mark.time, stored.stored) };
            let packs = stored.mark.packs.iter();
            match due {
                Due::Now => {
                    self.done_marks.push(number);
                    self.drop.extend(packs);
                    continue;
                }
                Due::NotBefore(time) => {
                    self.waiting_until = Some(self.waiting_until.map_or(time, |until| until.min(time)));
                }
                Due::Unsure => self.unsure = true,
            }
            let sizes = packs.filter_map(|name| self.view.catalog.stored.get(name)).map(|pack| pack.size);
            let waiting: Amount = sizes.collect();
            self.waiting.packs += waiting.packs;
            self.waiting.bytes += waiting.bytes;
        }
        self.deleted =
            self.drop.iter().filter_map(|name| self.view.catalog.stored.get(name)).map(|pack| pack.size).collect();
        for (number, pack) in (0..).zip(&self.view.packs) {
            if pack.state == State::Marked && pack.live_bytes > 0 {
                self.copy.push(number);
                self.rescued.add(pack.size);
                self.copied_bytes += pack.live_bytes;
            }
        }
    }

    /// Which packs are unused, and which are copied out of because too much of them is.
    fn choose_packs(&mut self, options: &PruneOptions<'_>, at_once: bool) {
        let mut unused = Vec::new();
        let mut wasteful = Vec::new();
        for (number, pack) in (0_u32..).zip(&self.view.packs) {
            match pack.state {
                _ if pack.is_marked => {}
                // Gone and broken ones hold nothing that is needed, or there would be no plan.
                _ if pack.live_bytes == 0 => {
                    if pack.is_unfinished && !at_once {
                        self.unfinished.add(pack.size);
                    } else if pack.is_young && !at_once {
                        self.young.add(pack.size);
                    } else {
                        unused.push((pack.name, pack.size));
                    }
                }
                State::Sound => {
                    self.kept.add(pack.size);
                    self.kept_unused_bytes += pack.unused_bytes();
                    if at_once || !(pack.is_young || pack.is_unfinished) {
                        wasteful.push(number);
                    }
                }
                State::Marked | State::Broken | State::Gone => {}
            }
        }
        for (name, size, is_young) in &self.view.strays {
            if *is_young && !at_once {
                self.young.add(*size);
            } else {
                unused.push((*name, *size));
            }
        }
        let chosen = self.wasteful(&wasteful, options);
        for number in chosen {
            let pack = self.view.packs[number as usize];
            self.copy.push(number);
            self.repacked.add(pack.size);
            self.copied_bytes += pack.live_bytes;
            self.kept.packs -= 1;
            self.kept.bytes -= pack.size;
            self.kept_unused_bytes -= pack.unused_bytes();
            unused.push((pack.name, pack.size));
        }
        if at_once {
            for (name, size) in unused {
                self.drop.insert(name);
                self.deleted.add(size);
            }
        } else {
            self.marked = unused.iter().map(|(_, size)| *size).collect();
            self.mark = unused.into_iter().map(|(name, _)| name).collect();
        }
    }

    /// Of `candidates`, those to be copied out of: the most wasteful until the rest is allowed, and small ones when
    /// there are many.
    fn wasteful(&self, candidates: &[u32], options: &PruneOptions<'_>) -> Vec<u32> {
        let pack = |number: &u32| -> &PackUse { &self.view.packs[*number as usize] };
        let mut chosen = HashSet::new();
        let mut copied = 0_u64;
        let mut take = |number: &u32, chosen: &mut HashSet<u32>| {
            let would = copied.saturating_add(pack(number).live_bytes);
            let fits = options.max_repack_bytes.is_none_or(|most| would <= most);
            if fits && chosen.insert(*number) {
                copied = would;
            }
            fits
        };
        let used = self.kept.bytes.saturating_sub(self.kept_unused_bytes);
        let allowed = match options.max_unused {
            Waste::Bytes(bytes) => Some(bytes),
            Waste::Share(share) => Some((used as f64 * share.clamp(0.0, 1.0)) as u64),
            Waste::Unlimited => None,
        };
        if let Some(allowed) = allowed {
            let mut left = self.kept_unused_bytes;
            let mut worst: Vec<_> = candidates.iter().filter(|at| pack(at).live_bytes < pack(at).raw_bytes).collect();
            let share = |at: &u32| pack(at).live_bytes as f64 / pack(at).raw_bytes.max(1) as f64;
            worst.sort_by(|a, b| share(a).total_cmp(&share(b)));
            for number in worst {
                if left <= allowed {
                    break;
                }
                if take(number, &mut chosen) {
                    left -= pack(number).unused_bytes();
                }
            }
            for kind in [PackKind::Data, PackKind::Tree] {
                let is_small = |at: &&u32| pack(at).kind == kind && pack(at).size < target_len(kind) / 4;
                let small: Vec<_> = candidates.iter().filter(is_small).collect();
                if small.len() >= SMALL_PACKS {
                    for number in small {
                        take(number, &mut chosen);
                    }
                }
            }
        }
        let mut chosen: Vec<_> = chosen.into_iter().collect();
        chosen.sort_unstable();
        chosen
    }

    /// Which index objects are replaced: those that describe deleted packs, and small ones when there are many. Those
    /// of unfinished runs stay as they are.
    fn choose_index_objects(&mut self, at_once: bool) {
        let objects = &self.view.catalog.objects;
        let may_change = |at: &usize| at_once || !self.view.unfinished[*at];
        let drops = |at: &usize| {
            objects[*at].packs.iter().any(|pack| self.drop.contains(&self.view.packs[*pack as usize].name))
        };
        let small: Vec<_> =
            (0..objects.len()).filter(|at| objects[*at].size < SMALL_OBJECT_LEN).filter(may_change).collect();
        let joins = small.len() >= SMALL_OBJECTS;
        let chosen = (0..objects.len()).filter(may_change);
        self.rewrite = chosen.filter(|at| drops(at) || (joins && objects[*at].size < SMALL_OBJECT_LEN)).collect();
        self.index_objects = self.rewrite.len() as u64;
    }

    fn count_requests(&mut self) {
        let segments: u64 = self
            .copy
            .iter()
            .map(|number| {
                let index = &self.view.catalog.index;
                let homes = index.numbers_of(*number).filter(|at| self.view.home.has(*at));
                let mut segments: Vec<_> = homes.map(|at| index.entry(at).segment()).collect();
                segments.dedup();
                segments.len() as u64
            })
            .sum();
        let copied = |kind| -> u64 {
            let packs = self.copy.iter().map(|number| &self.view.packs[*number as usize]);
            packs.filter(|pack| pack.kind == kind).map(|pack| pack.live_bytes).sum::<u64>().div_ceil(target_len(kind))
        };
        let new_packs = copied(PackKind::Data) + copied(PackKind::Tree);
        let rewritten = self.rewrite.iter().flat_map(|at| &self.view.catalog.objects[*at].packs);
        let stays = |pack: &u32| !self.drop.contains(&self.view.packs[*pack as usize].name);
        let rewritten = u64::from(rewritten.into_iter().any(stays));
        let new_objects = rewritten + u64::from(new_packs > 0);
        self.requests = Requests {
            reads: segments + rewritten,
            puts: new_packs + new_objects + u64::from(!self.mark.is_empty()),
            deletes: self.deleted.packs + self.index_objects + self.done_marks.len() as u64,
        };
    }
}
