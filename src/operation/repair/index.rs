//! `bk repair index`: the index is a cache, and is made again from the packs.
//!
//! Of a pack three pieces are fetched: header, trailer, table. Segments are not, so that a repository far away costs a
//! thousandth of its size; what is in them is the matter of `bk repair packs`.

use std::collections::{BTreeMap, HashSet};

use super::quarantine::take_out;
use super::survey::Survey;
use super::{Damaged, RepairError, Tools, is_lost, is_of_other_epoch, reason, twice};
use crate::format::index_file::{IndexFile, IndexedPack, PackName};
use crate::id::{BlobId, RunId};
use crate::operation::prune::RUN_LIVES;
use crate::repository::{BLOBS_PER_OBJECT, Repository, RepositoryError, Snapshots, describe_pack, put_index_object};
use crate::store::ObjectName;

/// What is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// What is damaged or missing.
    #[default]
    Missing,
    /// All of it, whatever it says.
    Everything,
}

/// What a repair of the index will do.
pub struct IndexPlan {
    /// Index objects that cannot be read, which are taken out.
    pub damaged: Vec<Damaged>,
    /// Index objects that are replaced although they can be read.
    pub replaced: u64,
    /// Packs that are indexed again, with their lengths in bytes.
    pub packs: Vec<(PackName, u64)>,
    /// Blobs in them.
    pub blobs: u64,
    /// Packs that cannot be indexed.
    pub unreadable: Vec<Damaged>,
    /// Marked packs that stay without an index object: other packs hold all that they do.
    pub left_marked: u64,
    /// Index objects of runs without a snapshot that may still go on, which are left as they are.
    pub left_unfinished: u64,
    /// Packs that the index describes and the store does not list: what is said of them stays.
    pub gone: u64,
    /// By the run that the new index objects name; none for a run of their own.
    groups: BTreeMap<Option<RunId>, Vec<IndexedPack>>,
    retired: Vec<(ObjectName, String)>,
}

/// What a repair of the index has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexStats {
    /// Index objects put.
    pub new_objects: u64,
    /// Packs that they describe.
    pub packs: u64,
    /// Blobs in those.
    pub blobs: u64,
    /// Index objects taken out.
    pub taken_out: u64,
}

impl IndexPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.retired.is_empty() && self.groups.is_empty()
    }
}

/// Looks and decides; changes nothing.
///
/// # Errors
/// [`RepairError`]; packs that cannot be indexed are in the plan.
pub fn plan(repository: &Repository, extent: Extent, tools: &Tools<'_>) -> Result<IndexPlan, RepairError> {
    let survey = Survey::of(repository, tools)?;
    of_survey(repository, &survey, extent, tools)
}

pub(super) fn of_survey(
    repository: &Repository,
    survey: &Survey,
    extent: Extent,
    tools: &Tools<'_>,
) -> Result<IndexPlan, RepairError> {
    let mut plan = IndexPlan {
        damaged: Vec::new(),
        replaced: 0,
        packs: Vec::new(),
        blobs: 0,
        unreadable: Vec::new(),
        left_marked: 0,
        left_unfinished: 0,
        gone: survey.described.keys().filter(|name| !survey.stored.contains_key(name)).count() as u64,
        groups: BTreeMap::new(),
        retired: Vec::new(),
    };
    for broken in &survey.broken {
        plan.damaged.push(Damaged { name: broken.name.to_string(), reason: broken.reason.clone() });
        plan.retired.push((broken.name, format!("{}; what it said was indexed anew", broken.reason)));
    }
    let mut strays = Vec::new();
    let wanted: Vec<_> = survey.strays().collect();
    tools.progress.phase("reading the tables of packs", None);
    tools.progress.total(wanted.len() as u64, 0);
    for (name, size) in wanted {
        tools.go_on()?;
        match twice(|| describe_pack(repository, &name, size)) {
            Ok(pack) => strays.push(pack),
            Err(RepositoryError::Store(error)) if error.is_missing() => {}
            Err(error) if is_lost(&error) || is_of_other_epoch(&error) => {
                plan.unreadable.push(damaged(&name, reason(&error)));
            }
            Err(error) => return Err(error.into()),
        }
        tools.progress.advance(1, 0);
    }
    let needed = needed_strays(survey, strays, &mut plan.left_marked);
    for pack in needed {
        plan.add(None, pack);
    }
    if extent == Extent::Everything {
        plan.rebuild(repository, survey, tools)?;
    }
    Ok(plan)
}

fn damaged(name: &PackName, reason: String) -> Damaged {
    Damaged { name: ObjectName::Pack(*name).to_string(), reason }
}

/// A marked pack is left out unless it holds what no other pack does.
fn needed_strays(survey: &Survey, strays: Vec<IndexedPack>, left: &mut u64) -> Vec<IndexedPack> {
    let (marked, mut needed): (Vec<_>, Vec<_>) =
        strays.into_iter().partition(|pack| survey.marked.contains(&pack.name));
    if marked.is_empty() {
        return needed;
    }
    let is_sound = |pack: &&IndexedPack| survey.is_present(&pack.name) && !survey.marked.contains(&pack.name);
    let ids = |pack: &IndexedPack| -> Vec<BlobId> {
        pack.segments.iter().flat_map(|segment| segment.blobs.iter().map(|(id, _)| *id)).collect()
    };
    let held: HashSet<BlobId> = survey.described.values().filter(is_sound).chain(&needed).flat_map(ids).collect();
    for pack in marked {
        if ids(&pack).iter().all(|id| held.contains(id)) {
            *left += 1;
        } else {
            needed.push(pack);
        }
    }
    needed
}

impl IndexPlan {
    /// Whether a pack that will be indexed holds one of `blobs`.
    pub(super) fn brings(&self, blobs: &HashSet<BlobId>) -> bool {
        let packs = self.groups.values().flatten();
        packs.flat_map(|pack| &pack.segments).flat_map(|segment| &segment.blobs).any(|(id, _)| blobs.contains(id))
    }

    fn add(&mut self, run: Option<RunId>, pack: IndexedPack) {
        self.packs.push((pack.name, pack.size));
        self.blobs += pack.segments.iter().map(|segment| segment.blobs.len() as u64).sum::<u64>();
        self.groups.entry(run).or_default().push(pack);
    }

    /// Makes everything again that a prune might join, too. What cannot be read from a pack, or is gone, stays as it was said; so do the runs, by which
    /// a prune knows what is unfinished.
    fn rebuild(&mut self, repository: &Repository, survey: &Survey, tools: &Tools<'_>) -> Result<(), RepairError> {
        let snapshots = Snapshots::load(repository)?;
        let mut finished: HashSet<RunId> = snapshots.all.iter().map(|info| info.snapshot.run).collect();
        finished.extend(snapshots.facts.forgotten_runs());
        finished.insert(RunId([0; 16]));
        let old = tools.clock.wall().seconds.saturating_sub(RUN_LIVES.as_secs().cast_signed());
        let mut runs: BTreeMap<PackName, RunId> = BTreeMap::new();
        for object in &survey.objects {
            // Its writer may just be looking whether it is there.
            if !finished.contains(&object.run) && object.time.seconds > old {
                self.left_unfinished += 1;
                continue;
            }
            runs.extend(object.packs.iter().map(|name| (*name, object.run)));
            self.retired.push((object.name, "the whole index was made anew".to_owned()));
            self.replaced += 1;
        }
        tools.progress.total(survey.described.len() as u64, 0);
        for (name, known) in survey.described.iter().filter(|(name, _)| runs.contains_key(name)) {
            tools.go_on()?;
            let own = match survey.stored.get(name) {
                Some(size) => match twice(|| describe_pack(repository, name, *size)) {
                    Ok(own) if own == *known => own,
                    Ok(_) => {
                        let reason = "its own table says something else of it than the index does".to_owned();
                        self.unreadable.push(damaged(name, reason));
                        known.clone()
                    }
                    Err(RepositoryError::Store(error)) if error.is_missing() => known.clone(),
                    Err(error) if is_lost(&error) || is_of_other_epoch(&error) => {
                        self.unreadable.push(damaged(name, reason(&error)));
                        known.clone()
                    }
                    Err(error) => return Err(error.into()),
                },
                None => known.clone(),
            };
            self.add(runs.get(name).copied(), own);
            tools.progress.advance(1, 0);
        }
        Ok(())
    }
}

/// Does what the plan says: the new index objects are put and read back, then the old ones are taken out.
///
/// # Errors
/// As they come. What was done until then stays done, and the next repair goes on from there.
pub fn apply(repository: &Repository, plan: IndexPlan, tools: &Tools<'_>) -> Result<IndexStats, RepairError> {
    let mut stats = IndexStats::default();
    if plan.is_empty() {
        return Ok(stats);
    }
    repository.check_writable()?;
    repository.store().clean()?;
    tools.progress.phase("writing the index", None);
    let own = RunId(crate::crypto::random().map_err(RepositoryError::from)?);
    for (run, packs) in plan.groups {
        let mut file = IndexFile { run: run.unwrap_or(own), time: tools.clock.wall(), packs: Vec::new() };
        let mut blobs = 0;
        let mut packs = packs.into_iter().peekable();
        while let Some(pack) = packs.next() {
            blobs += pack.segments.iter().map(|segment| segment.blobs.len()).sum::<usize>();
            file.packs.push(pack);
            if blobs >= BLOBS_PER_OBJECT || packs.peek().is_none() {
                tools.go_on()?;
                put_index_object(repository, &file)?;
                stats.new_objects += 1;
                stats.packs += file.packs.len() as u64;
                stats.blobs += blobs as u64;
                file.packs.clear();
                blobs = 0;
            }
        }
    }
    tools.progress.phase("taking out what was damaged", None);
    for (name, reason) in plan.retired {
        stats.taken_out += u64::from(take_out(repository, &name, &reason, tools.clock)?);
    }
    Ok(stats)
}
