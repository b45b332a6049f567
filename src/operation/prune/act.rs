//! Doing what was planned: copy, replace index objects, delete, mark. Stopped anywhere, nothing that is needed is lost.

use std::collections::HashSet;

use super::plan::PrunePlan;
use super::view::NO_RUN;
use super::{Others, PruneError, PruneOptions};
use crate::clock::Clock;
use crate::format::Kind;
use crate::format::mark::Mark;
use crate::format::pack::PackKind;
use crate::progress::Progress;
use crate::repository::{BlobReader, Repository, RepositoryError, Writer, join_facts, replace_index};
use crate::store::{Area, ObjectName, StoreError};

/// Facts are joined when there are so many objects of them.
const MANY_FACTS: usize = 32;

/// What a prune has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneStats {
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Their length, in bytes.
    pub deleted_bytes: u64,
    /// Blobs copied into new packs.
    pub copied_blobs: u64,
    /// Bytes written for that.
    pub copied_bytes: u64,
    /// Packs that hold them now.
    pub new_packs: u64,
    /// Packs marked.
    pub marked_packs: u64,
    /// Index objects replaced.
    pub replaced_objects: u64,
    /// There was no room to copy or to write an index: only what needs no room was deleted.
    pub without_room: bool,
}

/// Does what `plan` says.
///
/// # Errors
/// As they come. What was done until then stays done, and the next prune goes on from there.
pub fn apply(
    repository: &Repository,
    mut plan: PrunePlan,
    options: &PruneOptions<'_>,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<PruneStats, PruneError> {
    let mut stats = PruneStats::default();
    repository.store().clean()?;
    let mut full = None;
    match copy(repository, &plan, options, clock, progress, &mut stats) {
        // What is copied out of a pack cannot be: the pack stays. The rest needs no room.
        Err(error) if is_full(&error) => {
            full = Some(error);
            stats.without_room = true;
            leave_copied(&mut plan);
        }
        copied => copied?,
    }
    options.go_on()?;
    sweep(repository, &plan, options, clock, progress, &mut stats)?;
    match mark(repository, &plan, clock, &mut stats) {
        // Room was made; what comes next is for the next prune.
        Err(error) if is_full(&error) && stats.deleted_packs > 0 => stats.without_room = true,
        marked => marked?,
    }
    match full {
        Some(error) if stats.deleted_packs == 0 && stats.marked_packs == 0 => return Err(error.into()),
        _ => {}
    }
    if plan.view.snapshots.facts.objects.len() >= MANY_FACTS && !stats.without_room {
        join_facts(repository, &plan.view.snapshots.facts.objects, clock.wall())?;
    }
    for name in &plan.view.snapshots.leftover {
        repository.store().delete(name)?;
    }
    Ok(stats)
}

const fn is_full(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Store(StoreError::Full { .. } | StoreError::MinFree { .. }))
}

/// Copies what is needed out of the packs of the plan into new ones, and indexes those.
fn copy(
    repository: &Repository,
    plan: &PrunePlan,
    options: &PruneOptions<'_>,
    clock: &dyn Clock,
    progress: &dyn Progress,
    stats: &mut PruneStats,
) -> Result<(), RepositoryError> {
    if plan.copy.is_empty() {
        return Ok(());
    }
    progress.phase("copying what is needed", Some(plan.copied_bytes));
    let view = &plan.view;
    let index = &view.catalog.index;
    let writer = Writer::new(repository, index, NO_RUN, clock, options.threads)?;
    writer.while_sealing(options.threads, || {
        let mut reader = BlobReader::new(repository, index)?;
        for kind in [PackKind::Data, PackKind::Tree] {
            let mut builder = writer.segment_builder(kind);
            for number in plan.copy.iter().filter(|number| view.packs[**number as usize].kind == kind) {
                for at in index.numbers_of(*number).filter(|at| view.home.has(*at)) {
                    options.go_on().map_err(|_| RepositoryError::Interrupted)?;
                    let id = index.entry(at).id();
                    let blob = if kind == PackKind::Data { reader.data(&id)? } else { reader.tree(&id)? };
                    builder.add(id, &blob)?;
                    progress.advance(1, blob.len() as u64);
                }
            }
            builder.flush()?;
        }
        Ok(())
    })?;
    stats.copied_blobs = writer.stats().new_blobs();
    stats.copied_bytes = writer.stats().stored_bytes();
    stats.new_packs = writer.stats().packs();
    Ok(())
}

/// Takes out of the plan everything that only copying would have made possible.
fn leave_copied(plan: &mut PrunePlan) {
    let names: HashSet<_> = plan.copy.iter().map(|number| plan.view.packs[*number as usize].name).collect();
    let keeps = |mark: &Mark| mark.packs.iter().any(|name| names.contains(name));
    let view = &plan.view;
    plan.done_marks.retain(|number| !keeps(&view.marks[*number].mark));
    plan.drop.retain(|name| !names.contains(name));
    plan.mark.retain(|name| !names.contains(name));
    plan.copy.clear();
}

/// Deletes the packs of due marks: first the index forgets them, last the marks go.
fn sweep(
    repository: &Repository,
    plan: &PrunePlan,
    options: &PruneOptions<'_>,
    clock: &dyn Clock,
    progress: &dyn Progress,
    stats: &mut PruneStats,
) -> Result<(), PruneError> {
    let view = &plan.view;
    look_again(repository, plan)?;
    if !plan.rewrite.is_empty() {
        progress.phase("writing the index", None);
        let objects: Vec<_> = plan.rewrite.iter().map(|at| &view.catalog.objects[*at]).collect();
        match replace_index(repository, &view.catalog.index, &objects, &plan.drop, NO_RUN, clock) {
            Ok(()) => stats.replaced_objects = objects.len() as u64,
            // An index object may name packs that are gone; a later prune tidies up.
            Err(error) if is_full(&error) => stats.without_room = true,
            Err(error) => return Err(error.into()),
        }
    }
    progress.phase("deleting", None);
    progress.total(plan.drop.len() as u64, plan.deleted.bytes);
    let mut names: Vec<_> = plan.drop.iter().collect();
    names.sort_unstable();
    for name in names {
        options.go_on()?;
        let Some(pack) = view.catalog.stored.get(name) else { continue };
        repository.store().delete(&ObjectName::Pack(*name))?;
        stats.deleted_packs += 1;
        stats.deleted_bytes += pack.size;
        progress.advance(1, pack.size);
    }
    for number in &plan.done_marks {
        repository.store().delete(&view.marks[*number].name)?;
    }
    Ok(())
}

/// The list of snapshots once more, right before anything is deleted: an older one that was not in the first list, or
/// one that is gone without a note, shows that a list has gaps.
fn look_again(repository: &Repository, plan: &PrunePlan) -> Result<(), PruneError> {
    if plan.drop.is_empty() {
        return Ok(());
    }
    let snapshots = &plan.view.snapshots;
    let before: HashSet<_> = snapshots.all.iter().map(|info| info.name).collect();
    let known = |name: &ObjectName| {
        before.contains(name)
            || snapshots.leftover.contains(name)
            || snapshots.damaged.iter().any(|(damaged, _)| *damaged == name.to_string())
    };
    let listed = repository.store().list(Area::Snapshots)?;
    for new in listed.iter().filter(|listed| !known(&listed.name)) {
        let dues = plan.done_marks.iter().map(|number| plan.view.marks[*number].stored);
        if plan.others == Others::None || dues.into_iter().any(|stored| new.time <= stored) {
            return Err(PruneError::Unsteady);
        }
    }
    let after: HashSet<_> = listed.iter().map(|listed| listed.name).collect();
    if before.iter().all(|name| after.contains(name)) {
        return Ok(());
    }
    // Forgotten meanwhile, or missing from the list?
    let facts = crate::repository::Facts::load(repository)?;
    let gone = snapshots.all.iter().filter(|info| !after.contains(&info.name));
    match gone.into_iter().find(|info| !facts.is_forgotten(&info.id) && !facts.is_set_aside(&info.id)) {
        Some(info) => Err(PruneError::Vanished(info.id)),
        None => Ok(()),
    }
}

/// Announces what is deleted next time. When the clock of the store has to be made sure of, even an empty mark.
fn mark(
    repository: &Repository,
    plan: &PrunePlan,
    clock: &dyn Clock,
    stats: &mut PruneStats,
) -> Result<(), RepositoryError> {
    if plan.mark.is_empty() && !plan.unsure {
        return Ok(());
    }
    let run = crate::id::RunId(crate::crypto::random()?);
    let snapshots = plan.view.snapshots.all.iter().map(|info| info.id).collect();
    let mark = Mark { time: clock.wall(), packs: plan.mark.clone(), run, snapshots };
    repository.write_object(Kind::Mark, &mark.encode())?;
    stats.marked_packs = plan.mark.len() as u64;
    Ok(())
}
