//! Check: is the repository whole?
//!
//! Nothing is written but which packs were read ([`check_and_note`]). What is found never ends the check. Other operations may go on meanwhile: whatever seems to be
//! missing is looked for once more in new lists before it is called damage, because a prune may have moved it.

mod contents;
mod names;
mod noting;
mod packs;
mod report;
mod subset;
mod turn;
mod walk;

#[cfg(test)]
mod properties;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

pub use names::check_names;
pub use noting::{Noting, Stretch, Turn};
pub use packs::will_read;
pub use report::{AffectedSnapshot, CheckReport, Counts, Depth, Finding, Severity};
pub use subset::{Subset, SubsetError};
pub use turn::{Budget, BudgetError, GRACE, Kept, Promise, Standing};

use contents::{Contents, Misfit};
use noting::Notes;
use packs::{BadPack, PacksRead};
use report::{NOTHING_LOST, REMAKE_INDEX, REPLACE_PACK, STORE_ANEW, UNREAD};
use turn::Done;
use walk::Walked;

use crate::format::index_file::PackName;
use crate::format::node::Timestamp;
use crate::progress::Progress;
use crate::repository::{Repository, RepositoryError};
use crate::size::ByteSize;
use crate::store::{Area, ObjectName};

/// Which packs are read from end to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadData {
    /// None; their presence and size are compared with the index.
    Nothing,
    /// All of them.
    All,
    /// A part of them.
    Subset(Subset),
}

/// How a repository is to be checked.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Which packs are read.
    pub read: ReadData,
    /// Threads that read packs.
    pub threads: usize,
    /// Affected paths that are told of each snapshot; the rest are counted.
    pub shown_paths: usize,
    /// Set when the user wants it to end.
    pub interrupted: &'a AtomicBool,
}

impl CheckOptions<'_> {
    fn go_on(&self) -> Result<(), RepositoryError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }
}

/// What every part of a check needs.
struct Checker<'a> {
    repository: &'a Repository,
    options: &'a CheckOptions<'a>,
    progress: &'a dyn Progress,
}

impl Checker<'_> {
    fn go_on(&self) -> Result<(), RepositoryError> {
        self.options.go_on()
    }
}

/// Checks an open repository.
///
/// # Errors
/// When the store cannot be listed, or the user stops it. Damage is no error but in the report.
pub fn check(
    repository: &Repository,
    options: &CheckOptions<'_>,
    progress: &dyn Progress,
) -> Result<CheckReport, RepositoryError> {
    run(&Checker { repository, options, progress }, None)
}

/// Checks an open repository, and notes in it which packs were read, also when it is stopped before its end.
///
/// # Errors
/// As [`check`]. What cannot be noted is no error but in the report.
pub fn check_and_note(
    repository: &Repository,
    options: &CheckOptions<'_>,
    noting: &Noting<'_>,
    progress: &dyn Progress,
) -> Result<CheckReport, RepositoryError> {
    run(&Checker { repository, options, progress }, Some(noting))
}

fn run(checker: &Checker<'_>, noting: Option<&Noting<'_>>) -> Result<CheckReport, RepositoryError> {
    let mut contents = Contents::load(checker)?;
    let now = noting.map(|noting| noting.clock.wall());
    let chosen = choose(checker, &contents, noting.zip(now))?;
    let notes = noting.map(|noting| Notes::new(checker.repository, noting));
    let read = packs::read(checker, &contents, &chosen.packs, notes.as_ref());
    let trouble = notes.and_then(|notes| notes.finish());
    let read = read?;
    let depth = match read.tried {
        0 if checker.options.read == ReadData::Nothing => Depth::Structure,
        tried if tried == contents.stored.len() => Depth::AllContents,
        _ => Depth::SomeContents,
    };
    let mut bad = bad_packs(&contents, &read);
    let mut walked = walk::walk(checker, &contents, &bad)?;
    let mut read_bytes = read.bytes + contents.read_bytes + walked.read_bytes;
    let may_have_moved = |walked: &Walked, contents: &Contents| {
        read.vanished || !walked.is_clean() || contents.misfits().next().is_some()
    };
    if may_have_moved(&walked, &contents) {
        contents = Contents::load(checker)?;
        bad = bad_packs(&contents, &read);
        walked = walk::walk(checker, &contents, &bad)?;
        read_bytes += contents.read_bytes + walked.read_bytes;
    }
    let mut report = CheckReport::new(checker.repository.location(), depth);
    report.read_bytes = read_bytes;
    report.counts = contents.counts;
    report.counts.read_packs = read.packs;
    report.counts.trees = walked.trees;
    report.counts.entries = walked.entries;
    report.standing = now.map(|now| standing(&contents, &read, &chosen, now));
    tell(&mut report, contents, bad, walked);
    if let Some(trouble) = trouble {
        report.notes.push(format!(
            "which packs were read cannot be noted in the repository ({trouble}): the next check begins anew"
        ));
    }
    Ok(report)
}

/// The packs that a check reads, in their order, and what was due.
struct Chosen {
    packs: Vec<(PackName, u64)>,
    /// Bytes of what was due, also beyond the budget.
    due_bytes: u64,
    late: u64,
    promise: Option<Promise>,
}

fn choose(
    checker: &Checker<'_>,
    contents: &Contents,
    noting: Option<(&Noting<'_>, Timestamp)>,
) -> Result<Chosen, RepositoryError> {
    let of_options = || {
        let stored = contents.stored.iter().map(|(name, size)| (*name, *size)).collect();
        packs::chosen(checker.options.read, stored)
    };
    let Some((noting, now)) = noting else {
        return Ok(Chosen { packs: of_options()?, due_bytes: 0, late: 0, promise: None });
    };
    let (mut late, mut due_bytes, mut promised) = (0, 0, None);
    let unread = match noting.turn {
        Turn::OfOptions => None,
        Turn::LongestFirst => Some(turn::longest_first(contents.ages(now))),
        Turn::Due(promise) => {
            let ages = contents.ages(now);
            late = turn::late(&ages, &promise, now);
            promised = Some(promise);
            let due = turn::due(ages, &promise, now);
            due_bytes = due.iter().map(|pack| pack.size).sum();
            Some(due)
        }
    };
    let packs: Vec<(PackName, u64)> = match unread {
        None => of_options()?,
        Some(unread) => turn::within(noting.budget, unread).iter().map(|pack| (pack.name, pack.size)).collect(),
    };
    if !packs.is_empty() {
        (noting.announce)(packs.len() as u64, packs.iter().map(|(_, size)| size).sum());
    }
    Ok(Chosen { packs, due_bytes, late, promise: promised })
}

/// How things stand once `read` has been read. A damaged pack was read as well: that it is damaged is said elsewhere.
fn standing(contents: &Contents, read: &PacksRead, chosen: &Chosen, now: Timestamp) -> Standing {
    let is_read = |name: &PackName| {
        read.whole.contains(name) || read.bad.get(name).is_some_and(|bad| bad.severity == Severity::Damage)
    };
    let mut packs = contents.ages(now);
    for pack in packs.iter_mut().filter(|pack| is_read(&pack.name)) {
        pack.read = Some(now);
    }
    let due = chosen.packs.iter().filter(|(name, _)| is_read(name) || !contents.stored.contains_key(name));
    let done_bytes = due.map(|(_, size)| size).sum();
    let left_bytes = chosen.due_bytes.saturating_sub(done_bytes);
    let done = Done { began: now, late: chosen.late, left_bytes, read_bytes: read.bytes };
    turn::standing(&packs, chosen.promise.as_ref(), &done)
}

/// Packs that do not serve: what reading has shown, and what the index says that the store does not hold.
fn bad_packs(contents: &Contents, read: &PacksRead) -> HashMap<PackName, BadPack> {
    let is_stored = |name: &PackName| contents.stored.contains_key(name);
    let mut bad: HashMap<_, _> =
        read.bad.iter().filter(|(name, _)| is_stored(name)).map(|(name, bad)| (*name, bad.clone())).collect();
    for (name, misfit) in contents.misfits() {
        let reason = match misfit {
            Misfit::Gone => "it is gone".to_owned(),
            Misfit::Size { stored, described } => format!("it has {stored} bytes where the index says {described}"),
        };
        bad.insert(name, BadPack { severity: Severity::Damage, reason, lost: HashSet::new() });
    }
    bad
}

/// Puts everything that was found into the report.
fn tell(report: &mut CheckReport, contents: Contents, bad: HashMap<PackName, BadPack>, mut walked: Walked) {
    notes(report, &contents, &bad, &walked);
    let misfits: HashMap<_, _> = contents.misfits().collect();
    let mut packs: BTreeMap<PackName, Finding> = BTreeMap::new();
    for (name, pack) in bad {
        let is_missed = walked.touched.contains_key(&Some(name));
        let misfit = misfits.get(&name);
        if misfit == Some(&Misfit::Gone) && !is_missed {
            continue;
        }
        let hint = match (pack.severity, is_missed, misfit.is_some()) {
            (Severity::Unread, ..) => UNREAD,
            (Severity::Damage, false, _) => NOTHING_LOST,
            (Severity::Damage, true, true) => STORE_ANEW,
            (Severity::Damage, true, false) => REPLACE_PACK,
        };
        packs.insert(name, Finding::new(ObjectName::Pack(name).to_string(), pack.severity, pack.reason, hint));
    }
    for (name, (severity, reason)) in std::mem::take(&mut walked.tree_packs) {
        let hint = if severity == Severity::Damage { REPLACE_PACK } else { UNREAD };
        packs.entry(name).or_insert_with(|| Finding::new(ObjectName::Pack(name).to_string(), severity, reason, hint));
    }
    // Packs that nothing describes may hold what no index object lists.
    let is_undescribed = contents.stored.keys().any(|name| !contents.described.contains_key(name));
    let mut index = None;
    for (culprit, touched) in walked.touched {
        let finding = match culprit {
            Some(name) => packs.entry(name).or_insert_with(|| {
                let reason = "the index gives blobs in it another length than the snapshots do".to_owned();
                Finding::new(ObjectName::Pack(name).to_string(), Severity::Damage, reason, REPLACE_PACK)
            }),
            None => index.insert(Finding::new(
                Area::Index.folder(),
                Severity::Damage,
                format!("{} blobs that snapshots need are in no index object", walked.missing_blobs),
                if is_undescribed { REMAKE_INDEX } else { STORE_ANEW },
            )),
        };
        finding.snapshots = touched.snapshots;
        finding.entries = touched.entries;
    }
    let malformed = walked.malformed.into_iter().map(|(id, reason)| {
        let hint = "it was stored like this: report it; `bk repair snapshots` (it plans first) leaves out what it held";
        Finding::new(format!("tree {id}"), Severity::Damage, reason, hint)
    });
    report.findings = contents.findings;
    report.findings.extend(packs.into_values().chain(index).chain(malformed));
    report.affected = walked.affected;
}

/// What is no damage but worth knowing.
fn notes(report: &mut CheckReport, contents: &Contents, bad: &HashMap<PackName, BadPack>, walked: &Walked) {
    let unknown: Vec<_> = contents.stored.iter().filter(|(name, _)| !contents.described.contains_key(name)).collect();
    if !unknown.is_empty() {
        let bytes = unknown.iter().map(|(_, size)| **size).sum();
        let index_damaged = contents.findings.iter().any(|finding| finding.object.starts_with(Area::Index.folder()));
        report.notes.push(format!(
            "{} packs ({}) are in no index object: {}",
            unknown.len(),
            ByteSize(bytes),
            if index_damaged {
                "a damaged one may have listed them"
            } else {
                "not indexed yet, or left by an interrupted run"
            },
        ));
    }
    let gone = bad.keys().filter(|name| !contents.stored.contains_key(name));
    let gone = gone.filter(|name| !walked.touched.contains_key(&Some(**name))).count();
    if gone > 0 {
        let packs = if gone == 1 { "pack of the index is" } else { "packs of the index are" };
        report.notes.push(format!("{gone} {packs} gone; no snapshot needs anything of it"));
    }
    let here: HashSet<_> = contents.snapshots.iter().map(|info| info.id).collect();
    let parents = contents.snapshots.iter().filter_map(|info| info.snapshot.parent);
    let missing = parents.filter(|id| !here.contains(id) && !contents.forgotten.contains(id)).count();
    if missing > 0 {
        report.notes.push(format!(
            "{missing} snapshots name a parent that is neither here nor noted as forgotten; they do not need it"
        ));
    }
}
