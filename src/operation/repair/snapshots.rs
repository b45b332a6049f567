//! `bk repair snapshots`: a damaged snapshot comes back from a sibling; of one that reaches what nobody has any more, all
//! that can be restored whole becomes a snapshot that stands for it, and says so.

use std::collections::HashSet;

use super::mend::{Holdings, Lost, Mended, Mender};
use super::sibling::Sibling;
use super::survey::Survey;
use super::{Affected, Damaged, RepairError, Tools, index, is_lost, is_of_other_epoch, reason, twice};
use crate::format::config::Config;
use crate::format::key_slot::KeySlot;
use crate::format::node::Part;
use crate::format::pack::PackKind;
use crate::format::{Header, Kind, fact, object};
use crate::id::{BlobId, RepositoryId, RunId, SnapshotId};
use crate::operation::reach::Reach;
use crate::repository::{
    BlobReader, Index, Repository, RepositoryError, SegmentBuilder, SnapshotInfo, Snapshots, Writer,
};
use crate::store::{Area, ObjectName};

pub use super::snapshots_apply::{SnapshotsStats, apply};

/// A snapshot of which something is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// It.
    pub info: SnapshotInfo,
    /// What of it is lost.
    pub lost: Vec<Lost>,
    /// Whether anything of it is left for a snapshot that stands for it.
    pub remains: bool,
}

/// A snapshot that comes from a sibling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning {
    /// It.
    pub info: SnapshotInfo,
    /// Which sibling has it.
    pub sibling: usize,
}

/// Something damaged that is not for a program to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForYou {
    /// The object.
    pub damaged: Damaged,
    /// What helps.
    pub hint: &'static str,
}

/// What a repair of snapshots will do.
pub struct SnapshotsPlan {
    /// Snapshots whose objects cannot be read, which are taken out.
    pub damaged: Vec<Damaged>,
    /// Snapshots that siblings have, and that were here.
    pub returning: Vec<Returning>,
    /// Snapshots of which something is lost.
    pub changes: Vec<Change>,
    /// Objects of facts that cannot be read, which are taken out.
    pub facts: Vec<Damaged>,
    /// What stays damaged.
    pub for_you: Vec<ForYou>,
    /// Ids that an earlier prune has seen and that nothing explains but the damaged objects.
    pub(super) given_up: Vec<SnapshotId>,
    pub(super) objects: Vec<(ObjectName, String)>,
}

impl SnapshotsPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.changes.is_empty()
    }
}

/// Looks and decides; changes nothing.
///
/// # Errors
/// [`RepairError`]; [`RepairError::IndexFirst`] and [`RepairError::PacksFirst`] when something that seems lost is not.
pub fn plan(repository: &Repository, siblings: &[Sibling], tools: &Tools<'_>) -> Result<SnapshotsPlan, RepairError> {
    // Before the index: what a snapshot needs was indexed before it.
    let snapshots = Snapshots::load(repository)?;
    let survey = Survey::of(repository, tools)?;
    if let Some(broken) = survey.broken.first() {
        return Err(RepairError::IndexFirst(format!("{} is damaged", broken.name)));
    }
    let mut plan = SnapshotsPlan {
        damaged: Vec::new(),
        returning: Vec::new(),
        changes: Vec::new(),
        facts: Vec::new(),
        for_you: for_you(repository)?,
        given_up: Vec::new(),
        objects: Vec::new(),
    };
    for (area, kind) in [(Area::Snapshots, Kind::Snapshot), (Area::Facts, Kind::Facts)] {
        for (name, damaged) in damaged(repository, &snapshots, area, kind)? {
            plan.objects.push((name, damaged.reason.clone()));
            if area == Area::Snapshots { plan.damaged.push(damaged) } else { plan.facts.push(damaged) }
        }
    }
    if !plan.damaged.is_empty() {
        plan.returning = returning(&survey, &snapshots, siblings, tools)?;
        let named = survey.marks.iter().flat_map(|mark| mark.snapshots.iter().copied());
        let unexplained = named.filter(|id| !snapshots.knows(id) && !snapshots.facts.is_set_aside(id));
        plan.given_up = unexplained.collect();
        plan.given_up.sort_unstable();
        plan.given_up.dedup();
    }
    let (changes, lost) = changes(repository, &survey, &snapshots, tools)?;
    if lost.is_empty() {
        return Ok(plan);
    }
    if index::of_survey(repository, &survey, index::Extent::Missing, tools)?.brings(&lost) {
        return Err(RepairError::IndexFirst("packs that no index object describes hold what seems lost".to_owned()));
    }
    for sibling in siblings {
        let has = |id: &&BlobId| [PackKind::Data, PackKind::Tree].iter().any(|kind| sibling.has(id, *kind));
        let blobs = lost.iter().filter(has).count();
        if blobs > 0 {
            return Err(RepairError::PacksFirst { sibling: sibling.name.clone(), blobs });
        }
    }
    // A prune may have moved it between two lists.
    let (again, lost_again) = self::changes(repository, &Survey::of(repository, tools)?, &snapshots, tools)?;
    plan.changes = if lost_again.len() < lost.len() { again } else { changes };
    Ok(plan)
}

/// The damaged objects of an area, each looked at twice.
fn damaged(
    repository: &Repository,
    snapshots: &Snapshots,
    area: Area,
    kind: Kind,
) -> Result<Vec<(ObjectName, Damaged)>, RepairError> {
    let mut all = Vec::new();
    let names = snapshots.damaged.iter().filter_map(|(name, reason)| {
        let file_name = name.strip_prefix(area.folder())?.strip_prefix('/')?;
        Some((ObjectName::parse(area, file_name)?, reason))
    });
    for (name, first) in names {
        match repository.read_object(kind, &name) {
            Err(RepositoryError::Store(error)) if error.is_missing() => {}
            Err(error) if is_lost(&error) => {
                all.push((name, Damaged { name: name.to_string(), reason: reason(&error) }));
            }
            Err(RepositoryError::Object { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(payload) => {
                let decoded = match kind {
                    Kind::Facts => fact::decode(&payload).map(drop),
                    _ => crate::format::snapshot::Snapshot::decode(&payload).map(drop),
                };
                if decoded.is_err() {
                    all.push((name, Damaged { name: name.to_string(), reason: first.clone() }));
                }
            }
        }
    }
    Ok(all)
}

/// Configurations and key slots that cannot be read: what they say nobody else knows.
fn for_you(repository: &Repository) -> Result<Vec<ForYou>, RepairError> {
    let mut all = Vec::new();
    for (area, hint) in [
        (Area::Config, "put it back from a copy of the repository; the other generations serve meanwhile"),
        (
            Area::Keys,
            "add the password or key again with `bk key add`, then remove this slot with `bk key remove`, or put it back \
             from a sibling",
        ),
    ] {
        for listed in repository.store().list(area)? {
            let wrong = twice(|| {
                let name = listed.name.to_string();
                let bytes = repository.store().get(&listed.name)?;
                if blake3::hash(&bytes).as_bytes() != listed.name.hash() {
                    return Err(RepositoryError::Damaged { name });
                }
                if area == Area::Keys {
                    let note = KeySlot::decode(&bytes).and_then(|slot| slot.note(repository.keys()));
                    return note.map(drop).map_err(|source| RepositoryError::Slot { name, source });
                }
                let malformed = |source| RepositoryError::Malformed { name: name.clone(), source };
                let scope = RepositoryId(Header::decode(&bytes).map_err(malformed)?.scope.unwrap_or_default());
                let payload = object::decode(repository.keys(), scope, Kind::Config, bytes)
                    .map_err(|source| RepositoryError::Object { name: name.clone(), source })?;
                Config::decode(&payload).map(drop).map_err(malformed)
            });
            match wrong {
                Ok(()) => {}
                Err(RepositoryError::Store(error)) if error.is_missing() => {}
                Err(error) if is_lost(&error) || matches!(error, RepositoryError::Slot { .. }) => {
                    let damaged = Damaged { name: listed.name.to_string(), reason: reason(&error) };
                    all.push(ForYou { damaged, hint });
                }
                Err(error) if is_of_other_epoch(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(all)
}

/// The snapshots of siblings that are unknown here and were here: their run is in an index object, or all that they need
/// is stored.
fn returning(
    survey: &Survey,
    here: &Snapshots,
    siblings: &[Sibling],
    tools: &Tools<'_>,
) -> Result<Vec<Returning>, RepairError> {
    let runs: HashSet<RunId> = survey.objects.iter().map(|object| object.run).collect();
    let known = Index::of_packs(survey.described.values().filter(|pack| survey.is_present(&pack.name)).cloned());
    let mut all: Vec<Returning> = Vec::new();
    for (number, sibling) in siblings.iter().enumerate() {
        for info in Snapshots::load(&sibling.repository)?.all {
            tools.go_on()?;
            if here.knows(&info.id) || all.iter().any(|one| one.info.id == info.id) {
                continue;
            }
            if runs.contains(&info.snapshot.run) || has_all(&known, sibling, &info)? {
                all.push(Returning { info, sibling: number });
            }
        }
    }
    Ok(all)
}

fn has_all(known: &Index, sibling: &Sibling, info: &SnapshotInfo) -> Result<bool, RepositoryError> {
    let mut seen = HashSet::new();
    let told = Reach::new(&sibling.repository, &sibling.index)?.tell(&info.snapshot, &mut |id| match known.knows(id) {
        true => Ok(seen.insert(*id)),
        false => Err(RepositoryError::NotIndexed { id: *id }),
    });
    match told {
        Ok(()) => Ok(true),
        Err(unreadable) if is_lost(&unreadable.source) => Ok(false),
        Err(unreadable) => Err(unreadable.source),
    }
}

/// What is in packs that are there, whether or not a prune has marked them.
pub(super) struct Stored<'a> {
    survey: &'a Survey,
    index: &'a Index,
    reader: BlobReader<'a>,
    adds: Option<Adds<'a>>,
}

/// Copies what only a marked pack has.
pub(super) struct Adds<'a> {
    writer: &'a Writer<'a>,
    data: SegmentBuilder<'a>,
    trees: SegmentBuilder<'a>,
    failed: HashSet<BlobId>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        survey: &'a Survey,
        index: &'a Index,
        writer: Option<&'a Writer<'a>>,
    ) -> Result<Self, RepositoryError> {
        let adds = writer.map(|writer| Adds {
            writer,
            data: writer.segment_builder(PackKind::Data),
            trees: writer.segment_builder(PackKind::Tree),
            failed: HashSet::new(),
        });
        Ok(Self { survey, index, reader: BlobReader::new(repository, index)?.without_reload(), adds })
    }

    /// Sends what was gathered to be sealed.
    pub(super) fn flush(&mut self) -> Result<(), RepositoryError> {
        match &mut self.adds {
            Some(adds) => adds.data.flush().and_then(|()| adds.trees.flush()),
            None => Ok(()),
        }
    }
}

impl Holdings for Stored<'_> {
    fn tree(&mut self, id: &BlobId) -> Result<Option<Vec<u8>>, RepositoryError> {
        let blob = match self.reader.tree(id) {
            Ok(blob) => blob.to_vec(),
            Err(error) if is_lost(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(adds) = &mut self.adds
            && adds.writer.claim(id)
        {
            adds.trees.add(*id, &blob)?;
        }
        Ok(Some(blob))
    }

    fn has(&mut self, part: &Part) -> Result<bool, RepositoryError> {
        let (index, survey) = (self.index, self.survey);
        let is_here = index.find(&part.id).any(|entry| {
            u64::from(entry.length) == part.length
                && index.kind(&entry) == Some(PackKind::Data)
                && survey.is_present(&index.pack_name(&entry))
        });
        let Some(adds) = &mut self.adds else { return Ok(is_here) };
        if !is_here || adds.failed.contains(&part.id) {
            return Ok(false);
        }
        if adds.writer.has(&part.id) || adds.writer.has_added(&part.id) {
            return Ok(true);
        }
        match self.reader.data(&part.id) {
            Ok(blob) => {
                if adds.writer.claim(&part.id) {
                    adds.data.add(part.id, &blob)?;
                }
                Ok(true)
            }
            Err(error) if is_lost(&error) => {
                adds.failed.insert(part.id);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Snapshots of which something is lost, and the blobs that nobody here has.
fn changes(
    repository: &Repository,
    survey: &Survey,
    snapshots: &Snapshots,
    tools: &Tools<'_>,
) -> Result<(Vec<Change>, HashSet<BlobId>), RepairError> {
    let index = Index::of_packs(survey.described.values().filter(|pack| survey.is_present(&pack.name)).cloned());
    let mut mender = Mender::new(repository.keys().identifier(), Stored::new(repository, survey, &index, None)?);
    let mended = mend_all(repository, &mut mender, snapshots, tools)?;
    let changes =
        mended.into_iter().map(|(info, mended)| Change { info, remains: !mended.roots.is_empty(), lost: mended.lost });
    Ok((changes.collect(), mender.lost_blobs))
}

fn mend_all(
    repository: &Repository,
    mender: &mut Mender<'_, Stored<'_>>,
    snapshots: &Snapshots,
    tools: &Tools<'_>,
) -> Result<Vec<(SnapshotInfo, Mended)>, RepositoryError> {
    tools.progress.phase("walking snapshots", None);
    tools.progress.total(snapshots.all.len() as u64, 0);
    let identifier = repository.keys().identifier();
    let mut all = Vec::new();
    for info in &snapshots.all {
        tools.go_on()?;
        let mended = mender.snapshot(&info.snapshot, &mut |blob| Ok(identifier.tree(blob)))?;
        if !mended.lost.is_empty() {
            all.push((info.clone(), mended));
        }
        tools.progress.advance(1, 0);
    }
    Ok(all)
}

/// What of the snapshots of a repository cannot be restored now.
pub(super) fn affected_now(repository: &Repository, tools: &Tools<'_>) -> Result<Vec<Affected>, RepairError> {
    let snapshots = Snapshots::load(repository)?;
    let survey = Survey::of(repository, tools)?;
    let (changes, _) = changes(repository, &survey, &snapshots, tools)?;
    Ok(changes.into_iter().map(|change| Affected { id: change.info.id, lost: change.lost }).collect())
}
