//! `bk repair packs`: what damaged and lost packs held, from wherever it can still be had.
//!
//! In this order: the whole pack from a sibling, byte for byte; what of the damaged pack still authenticates; single blobs
//! from a sibling. What is stored anew is indexed and read back, and only then the damaged pack is taken out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::mend::{Holdings, Mender};
use super::quarantine::take_out;
use super::sibling::Sibling;
use super::snapshots::affected_now;
use super::survey::{Survey, read_marks};
use super::{Affected, RepairError, Tools, index, is_lost, is_of_other_epoch, reason};
use crate::compress::Decoder;
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::node::Part;
use crate::format::pack::PackKind;
use crate::id::{BlobId, IdPrefix, RunId};
use crate::repository::{
    BlobReader, Index, Repository, RepositoryError, SegmentBuilder, Snapshots, Writer, read_pack, salvage,
};
use crate::store::ObjectName;

/// What is wrong with a pack, and what becomes of what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackCase {
    /// Which.
    pub name: PackName,
    /// Length of the stored object, in bytes; `None` when it is gone.
    pub stored_bytes: Option<u64>,
    /// What is wrong.
    pub reason: String,
    /// Which sibling gives the whole of it.
    pub whole_from: Option<usize>,
    /// Blobs that sound packs of this repository hold too.
    pub elsewhere: u64,
    /// Blobs that are still whole in it.
    pub salvaged: u64,
    /// Blobs that are fetched one by one.
    pub fetched: u64,
    /// Blobs that nobody has.
    pub lost: u64,
}

/// Who gives a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    /// A pack of this repository that a prune has marked.
    Marked,
    /// A sibling.
    Sibling(usize),
}

/// What a repair of packs will do.
pub struct PacksPlan {
    /// Packs that are damaged, and lost ones of which something is needed.
    pub cases: Vec<PackCase>,
    /// Packs read.
    pub read_packs: u64,
    /// Their length, in bytes.
    pub read_bytes: u64,
    /// Snapshots of which something will still be lost.
    pub affected: Vec<Affected>,
    /// Blobs that are fetched one by one and were in none of the packs above.
    pub more_blobs: u64,
    fetch: BTreeMap<BlobId, (PackKind, Giver)>,
    survey: Survey,
    good: Index,
    marked: Index,
}

/// What a repair of packs has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacksStats {
    /// Packs that came whole from a sibling.
    pub whole_packs: u64,
    /// New packs, those included.
    pub new_packs: u64,
    /// Bytes put into the store.
    pub stored_bytes: u64,
    /// Blobs in new packs.
    pub blobs: u64,
    /// Packs taken out.
    pub taken_out: u64,
    /// Snapshots of which something is lost now.
    pub affected: Vec<Affected>,
}

impl PacksPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Of a pack that is gone and that nobody has, nothing can be had.
        let can_be_had = |case: &PackCase| case.stored_bytes.is_some() || case.whole_from.is_some() || case.fetched > 0;
        self.fetch.is_empty() && !self.cases.iter().any(can_be_had)
    }
}

/// What damaged packs still hold.
#[derive(Default)]
struct Salvaged {
    data: HashSet<BlobId>,
    trees: HashMap<BlobId, Vec<u8>>,
}

impl Salvaged {
    fn has(&self, id: &BlobId, kind: PackKind) -> bool {
        match kind {
            PackKind::Data => self.data.contains(id),
            PackKind::Tree => self.trees.contains_key(id),
        }
    }
}

/// Reads packs, those whose names begin with one of `wanted` or all, and decides; changes nothing.
///
/// # Errors
/// [`RepairError`]; [`RepairError::IndexFirst`] when something that seems lost may only not be indexed.
pub fn plan(
    repository: &Repository,
    wanted: &[IdPrefix],
    siblings: &[Sibling],
    tools: &Tools<'_>,
) -> Result<PacksPlan, RepairError> {
    // Before the index: what a snapshot needs was indexed before it.
    let snapshots = Snapshots::load(repository)?;
    let survey = Survey::of(repository, tools)?;
    if let Some(broken) = survey.broken.first() {
        return Err(RepairError::IndexFirst(format!("{} is damaged", broken.name)));
    }
    let is_wanted = |name: &PackName| wanted.is_empty() || wanted.iter().any(|prefix| prefix.matches(&name.id.0));
    let chosen: Vec<_> =
        survey.stored.iter().map(|(name, size)| (*name, *size)).filter(|(name, _)| is_wanted(name)).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|prefix| !survey.stored.keys().chain(survey.described.keys()).any(|name| prefix.matches(&name.id.0)))
    {
        let message = format!("no pack of {} begins with {unknown}", repository.location());
        return Err(RepairError::NoSuch { message, hint: "see `bk check --read-data` for the names of damaged packs" });
    }
    let bad = judge_all(repository, &survey, &chosen, tools)?;
    let is_good = |name: &PackName| survey.is_present(name) && !bad.contains_key(name);
    let of = |marked: bool| {
        let packs = survey.described.values().filter(|pack| is_good(&pack.name));
        Index::of_packs(packs.filter(|pack| survey.marked.contains(&pack.name) == marked).cloned())
    };
    let (good, marked) = (of(false), of(true));
    let salvaged = salvage_all(repository, &survey, bad.keys(), tools)?;
    let holdings = Everywhere::new(repository, [&good, &marked], &salvaged, siblings)?;
    let (affected, lost, mut everywhere) = walk(repository, holdings, &snapshots, tools)?;
    if !lost.is_empty() && index::of_survey(repository, &survey, index::Extent::Missing, tools)?.brings(&lost) {
        return Err(RepairError::IndexFirst("packs that no index object describes hold what seems lost".to_owned()));
    }
    let needed: HashSet<BlobId> = everywhere.fetch.keys().copied().chain(lost).collect();
    let cases = cases(&survey, &bad, is_wanted, &needed, &mut everywhere);
    let fetch = std::mem::take(&mut everywhere.fetch);
    let told: u64 = cases.iter().map(|case| case.fetched).sum();
    drop(everywhere);
    Ok(PacksPlan {
        more_blobs: (fetch.len() as u64).saturating_sub(told),
        cases,
        read_packs: chosen.len() as u64,
        read_bytes: chosen.iter().map(|(_, size)| size).sum(),
        affected,
        fetch,
        survey,
        good,
        marked,
    })
}

/// What damaged packs still hold.
fn salvage_all<'p>(
    repository: &Repository,
    survey: &Survey,
    bad: impl Iterator<Item = &'p PackName>,
    tools: &Tools<'_>,
) -> Result<Salvaged, RepositoryError> {
    let mut salvaged = Salvaged::default();
    let mut decoder = Decoder::new()?;
    for name in bad {
        tools.go_on()?;
        salvage(repository, name, survey.described.get(name), &mut decoder, &mut |kind, id, blob| {
            match kind {
                PackKind::Data => drop(salvaged.data.insert(id)),
                PackKind::Tree => drop(salvaged.trees.insert(id, blob.to_vec())),
            }
            Ok(())
        })?;
    }
    Ok(salvaged)
}

type Walked<'a> = (Vec<Affected>, HashSet<BlobId>, Everywhere<'a>);

/// What of all snapshots nobody has.
fn walk<'a>(
    repository: &Repository,
    holdings: Everywhere<'a>,
    snapshots: &Snapshots,
    tools: &Tools<'_>,
) -> Result<Walked<'a>, RepairError> {
    tools.progress.phase("finding what snapshots need", None);
    tools.progress.total(snapshots.all.len() as u64, 0);
    let identifier = repository.keys().identifier();
    let mut mender = Mender::new(identifier, holdings);
    let mut affected = Vec::new();
    for info in &snapshots.all {
        tools.go_on()?;
        let mended = mender.snapshot(&info.snapshot, &mut |blob| Ok(identifier.tree(blob)))?;
        if !mended.lost.is_empty() {
            affected.push(Affected { id: info.id, lost: mended.lost });
        }
        tools.progress.advance(1, 0);
    }
    Ok((affected, mender.lost_blobs, mender.holdings))
}

/// Reads packs on several threads; those that are not whole, with what is wrong.
fn judge_all(
    repository: &Repository,
    survey: &Survey,
    packs: &[(PackName, u64)],
    tools: &Tools<'_>,
) -> Result<BTreeMap<PackName, String>, RepairError> {
    let bytes = packs.iter().map(|(_, size)| size).sum();
    tools.progress.phase("reading packs", Some(bytes));
    tools.progress.total(packs.len() as u64, bytes);
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        let work = || -> Result<(), RepositoryError> {
            let mut decoder = Decoder::new()?;
            while let Some((name, size)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                tools.go_on()?;
                let known = survey.described.get(name);
                let mut judged = judge(repository, name, *size, known, &mut decoder)?;
                if judged.is_some() {
                    judged = judge(repository, name, *size, known, &mut decoder)?;
                }
                if let Some(reason) = judged {
                    bad.lock().unwrap_or_else(PoisonError::into_inner).insert(*name, reason);
                }
                tools.progress.advance(1, *size);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..tools.threads.clamp(1, packs.len().max(1))).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(RepositoryError::Stopped)));
        joined.collect::<Result<(), _>>()
    })?;
    Ok(bad.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What is wrong with a pack; `None` when nothing is, and when it vanished, as by a prune.
fn judge(
    repository: &Repository,
    name: &PackName,
    size: u64,
    known: Option<&IndexedPack>,
    decoder: &mut Decoder,
) -> Result<Option<String>, RepositoryError> {
    if size > u64::from(u32::MAX) {
        return Ok(Some(format!("it has {size} bytes, more than any pack may have")));
    }
    let contents = match read_pack(repository, name, decoder) {
        Ok(contents) => contents,
        Err(RepositoryError::Store(error)) if error.is_missing() => return Ok(None),
        Err(error) if is_lost(&error) => return Ok(Some(reason(&error))),
        Err(error) if is_of_other_epoch(&error) => return judge_name(repository, name),
        Err(error) => return Err(error),
    };
    Ok(match (contents.problems.first(), known) {
        (Some(problem), _) => Some(problem.clone()),
        _ if !contents.wrong_blobs.is_empty() => Some("it holds blobs that are not what their ids say".to_owned()),
        (_, Some(known)) if *known != contents.pack => {
            Some("its own table says something else of it than the index does".to_owned())
        }
        _ => None,
    })
}

/// Of a pack that says it is sealed under another key epoch only the name can be compared with the bytes.
fn judge_name(repository: &Repository, name: &PackName) -> Result<Option<String>, RepositoryError> {
    let bytes = repository.store().get(&ObjectName::Pack(*name))?;
    let fits = *blake3::hash(&bytes).as_bytes() == name.id.0;
    Ok((!fits).then(|| "its bytes do not match its name".to_owned()))
}

/// What becomes of each pack that is damaged, or gone and needed.
fn cases(
    survey: &Survey,
    bad: &BTreeMap<PackName, String>,
    is_wanted: impl Fn(&PackName) -> bool,
    needed: &HashSet<BlobId>,
    everywhere: &mut Everywhere<'_>,
) -> Vec<PackCase> {
    let mut cases = Vec::new();
    let gone = survey.described.keys().filter(|name| !survey.stored.contains_key(name) && is_wanted(name));
    let gone = gone.map(|name| (*name, "it is gone".to_owned()));
    for (name, reason) in bad.iter().map(|(name, reason)| (*name, reason.clone())).chain(gone) {
        let stored_bytes = survey.stored.get(&name).copied();
        let mut case =
            PackCase { name, stored_bytes, reason, whole_from: None, elsewhere: 0, salvaged: 0, fetched: 0, lost: 0 };
        let known = survey.described.get(&name);
        let (mut wanted, mut all) = (0_u64, 0_u64);
        for (id, kind, length) in known.into_iter().flat_map(blobs) {
            all += u64::from(length);
            // Of a pack that is gone, a prune has deleted what nobody needs.
            if stored_bytes.is_none() && !needed.contains(&id) {
                continue;
            }
            match everywhere.seek(&id, kind) {
                Place::Good => case.elsewhere += 1,
                Place::Salvaged => case.salvaged += 1,
                Place::Given => {
                    wanted += u64::from(length);
                    case.fetched += 1;
                }
                Place::Nowhere => case.lost += 1,
            }
        }
        if stored_bytes.is_none() && case.fetched == 0 && case.lost == 0 {
            continue;
        }
        let is_worth = case.fetched + case.lost > 0 && (stored_bytes.is_some() || wanted * 2 >= all);
        case.whole_from = if is_worth { everywhere.whole(&name) } else { None };
        cases.push(case);
    }
    cases
}

fn blobs(pack: &IndexedPack) -> impl Iterator<Item = (BlobId, PackKind, u32)> + '_ {
    let kind = pack.kind();
    pack.segments.iter().flat_map(|segment| &segment.blobs).map(move |(id, length)| (*id, kind, *length))
}

/// Where a blob is.
enum Place {
    Good,
    Salvaged,
    Given,
    Nowhere,
}

/// Everybody who may have a blob.
struct Everywhere<'a> {
    good: &'a Index,
    marked: &'a Index,
    salvaged: &'a Salvaged,
    siblings: &'a [Sibling],
    readers: [BlobReader<'a>; 2],
    far: Vec<BlobReader<'a>>,
    fetch: BTreeMap<BlobId, (PackKind, Giver)>,
}

impl<'a> Everywhere<'a> {
    fn new(
        repository: &'a Repository,
        [good, marked]: [&'a Index; 2],
        salvaged: &'a Salvaged,
        siblings: &'a [Sibling],
    ) -> Result<Self, RepositoryError> {
        let reader = |index| BlobReader::new(repository, index).map(BlobReader::without_reload);
        let readers = [reader(good)?, reader(marked)?];
        let far = siblings.iter().map(Sibling::reader).collect::<Result<_, _>>()?;
        Ok(Self { good, marked, salvaged, siblings, readers, far, fetch: BTreeMap::new() })
    }

    /// Where a blob is; notes who gives it when it has to be fetched.
    fn seek(&mut self, id: &BlobId, kind: PackKind) -> Place {
        let is_in = |index: &Index| index.find(id).any(|entry| index.kind(&entry) == Some(kind));
        if is_in(self.good) {
            return Place::Good;
        }
        if self.salvaged.has(id, kind) {
            return Place::Salvaged;
        }
        let giver = match is_in(self.marked) {
            true => Some(Giver::Marked),
            false => self.siblings.iter().position(|sibling| sibling.has(id, kind)).map(Giver::Sibling),
        };
        match giver {
            Some(giver) => {
                self.fetch.insert(*id, (kind, giver));
                Place::Given
            }
            None => Place::Nowhere,
        }
    }

    fn whole(&self, name: &PackName) -> Option<usize> {
        self.siblings.iter().position(|sibling| sibling.pack(&name.id).is_some())
    }
}

impl Holdings for Everywhere<'_> {
    fn tree(&mut self, id: &BlobId) -> Result<Option<Vec<u8>>, RepositoryError> {
        match self.readers[0].tree(id) {
            Ok(blob) => return Ok(Some(blob.to_vec())),
            Err(error) if !is_lost(&error) => return Err(error),
            Err(_) => {}
        }
        match self.seek(id, PackKind::Tree) {
            Place::Good | Place::Nowhere => Ok(None),
            Place::Salvaged => Ok(self.salvaged.trees.get(id).cloned()),
            Place::Given => {
                let reader = match self.fetch.get(id) {
                    Some((_, Giver::Sibling(at))) => self.far.get_mut(*at),
                    _ => self.readers.get_mut(1),
                };
                match reader.map(|reader| reader.tree(id)) {
                    Some(Ok(blob)) => return Ok(Some(blob.to_vec())),
                    Some(Err(error)) if !is_lost(&error) => return Err(error),
                    _ => {}
                }
                self.fetch.remove(id);
                Ok(None)
            }
        }
    }

    fn has(&mut self, part: &Part) -> Result<bool, RepositoryError> {
        Ok(!matches!(self.seek(&part.id, PackKind::Data), Place::Nowhere))
    }
}

/// Does what the plan says.
///
/// # Errors
/// [`RepairError`]. Until everything new was read back, nothing is taken out; the next repair goes on from there.
pub fn apply(
    repository: &Repository,
    plan: &PacksPlan,
    siblings: &[Sibling],
    tools: &Tools<'_>,
) -> Result<PacksStats, RepairError> {
    let mut stats = PacksStats::default();
    if plan.is_empty() {
        stats.affected.clone_from(&plan.affected);
        return Ok(stats);
    }
    repository.check_writable()?;
    repository.store().clean()?;
    // No snapshot will have this run, so that a prune takes nothing of it for two weeks.
    let run = RunId(crate::crypto::random().map_err(RepositoryError::from)?);
    let writer = Writer::new(repository, &plan.good, run, tools.clock, tools.threads)?;
    for case in &plan.cases {
        tools.go_on()?;
        if let Some(sibling) = case.whole_from.and_then(|at| siblings.get(at)) {
            stats.whole_packs += u64::from(bring_whole(repository, &writer, sibling, &case.name, tools)?);
        }
    }
    tools.progress.phase("storing anew what is left", None);
    writer.while_sealing(tools.threads, || bring_blobs(repository, &writer, plan, siblings, tools))?;
    tools.progress.phase("reading back what was stored", None);
    let mut decoder = Decoder::new().map_err(RepositoryError::from)?;
    for (name, size) in writer.written() {
        tools.go_on()?;
        if let Some(reason) = judge(repository, &name, size, None, &mut decoder)? {
            return Err(RepairError::ReadBack { name: ObjectName::Pack(name).to_string(), reason });
        }
    }
    stats.new_packs = writer.stats().packs();
    stats.stored_bytes = writer.stats().stored_bytes();
    stats.blobs = writer.stats().new_blobs();
    let marked: HashSet<_> = read_marks(repository)?.into_iter().flat_map(|mark| mark.packs).collect();
    let is_new = |name: &PackName| marked.contains(name) && !plan.survey.marked.contains(name);
    if plan.good.packs().any(|(name, ..)| is_new(&name)) {
        return Err(RepairError::Moved);
    }
    tools.progress.phase("taking out what was damaged", None);
    for case in plan.cases.iter().filter(|case| case.stored_bytes.is_some()) {
        let reason = format!("{}; what could be had of it was stored anew", case.reason);
        stats.taken_out += u64::from(take_out(repository, &ObjectName::Pack(case.name), &reason, tools.clock)?);
    }
    stats.affected = affected_now(repository, tools)?;
    Ok(stats)
}

/// A whole pack of a sibling, byte for byte; `false` when it is not what it was there either.
fn bring_whole(
    repository: &Repository,
    writer: &Writer<'_>,
    sibling: &Sibling,
    name: &PackName,
    tools: &Tools<'_>,
) -> Result<bool, RepairError> {
    let Some(pack) = sibling.pack(&name.id) else { return Ok(false) };
    tools.progress.phase("fetching packs", None);
    let bytes = match sibling.repository.store().get(&ObjectName::Pack(pack.name)) {
        Err(error) if error.is_missing() => return Ok(false),
        bytes => Bytes::from(bytes?),
    };
    match repository.put_pack(&pack, bytes) {
        Ok(put) => {
            tools.progress.advance(1, put.size);
            writer.adopt(put)?;
            Ok(true)
        }
        Err(RepositoryError::Damaged { name }) => {
            tools.progress.warn(&format!("{name} is damaged in {} too; run `bk check` there", sibling.name));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// What damaged packs still hold, then what others have.
fn bring_blobs(
    repository: &Repository,
    writer: &Writer<'_>,
    plan: &PacksPlan,
    siblings: &[Sibling],
    tools: &Tools<'_>,
) -> Result<(), RepositoryError> {
    let mut builders = [writer.segment_builder(PackKind::Data), writer.segment_builder(PackKind::Tree)];
    let mut add = |kind: PackKind, id: BlobId, blob: &[u8]| -> Result<(), RepositoryError> {
        tools.go_on()?;
        let [data, trees] = &mut builders;
        let builder: &mut SegmentBuilder<'_> = if kind == PackKind::Data { data } else { trees };
        if writer.claim(&id) { builder.add(id, blob) } else { Ok(()) }
    };
    let mut decoder = Decoder::new()?;
    for case in plan.cases.iter().filter(|case| case.stored_bytes.is_some()) {
        let known = plan.survey.described.get(&case.name);
        salvage(repository, &case.name, known, &mut decoder, &mut add)?;
    }
    let mut marked = BlobReader::new(repository, &plan.marked)?.without_reload();
    let mut far = siblings.iter().map(Sibling::reader).collect::<Result<Vec<_>, _>>()?;
    for (id, (kind, giver)) in plan.fetch.iter().filter(|(id, _)| !writer.has_added(id)) {
        let reader = match giver {
            Giver::Sibling(at) => far.get_mut(*at),
            Giver::Marked => Some(&mut marked),
        };
        let blob = match (reader, kind) {
            (Some(reader), PackKind::Data) => reader.data(id),
            (Some(reader), PackKind::Tree) => reader.tree(id),
            (None, _) => continue,
        };
        match blob {
            Ok(blob) => add(*kind, *id, &blob)?,
            // It is named among what is lost.
            Err(error) if is_lost(&error) => {
                tools.progress.warn(&format!("blob {} is lost there too: {error}", id.short()))
            }
            Err(error) => return Err(error),
        }
    }
    for builder in &mut builders {
        builder.flush()?;
    }
    Ok(())
}
