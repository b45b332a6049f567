//! Check: is the repository whole?
//!
//! Nothing is written. What is found never ends the check. Other operations may go on meanwhile: whatever seems to be
//! missing is looked for once more in new lists before it is called damage, because a prune may have moved it.

mod contents;
mod names;
mod packs;
mod report;
mod subset;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

pub use names::check_names;
pub use packs::will_read;
pub use report::{AffectedSnapshot, CheckReport, Counts, Depth, Finding, Severity};
pub use subset::{Subset, SubsetError};

use contents::{Contents, Misfit};
use packs::{BadPack, PacksRead};
use report::{NOTHING_LOST, REPLACE_PACK, STORE_ANEW, UNREAD};
use walk::Walked;

use crate::format::index_file::PackName;
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
    let checker = Checker { repository, options, progress };
    let mut contents = Contents::load(&checker)?;
    let stored: Vec<_> = contents.stored.iter().map(|(name, size)| (*name, *size)).collect();
    let stored_packs = stored.len();
    let chosen = packs::chosen(options.read, stored)?;
    let depth = match options.read {
        ReadData::Nothing => Depth::Structure,
        _ if chosen.len() == stored_packs => Depth::AllContents,
        _ => Depth::SomeContents,
    };
    let read = packs::read(&checker, &contents, &chosen)?;
    let mut bad = bad_packs(&contents, &read);
    let mut walked = walk::walk(&checker, &contents, &bad)?;
    let mut read_bytes = read.bytes + contents.read_bytes + walked.read_bytes;
    let may_have_moved = |walked: &Walked, contents: &Contents| {
        read.vanished || !walked.is_clean() || contents.misfits().next().is_some()
    };
    if may_have_moved(&walked, &contents) {
        contents = Contents::load(&checker)?;
        bad = bad_packs(&contents, &read);
        walked = walk::walk(&checker, &contents, &bad)?;
        read_bytes += contents.read_bytes + walked.read_bytes;
    }
    let mut report = CheckReport::new(repository.location(), depth);
    report.read_bytes = read_bytes;
    report.counts = contents.counts;
    report.counts.read_packs = read.packs;
    report.counts.trees = walked.trees;
    report.counts.entries = walked.entries;
    tell(&mut report, contents, bad, walked);
    Ok(report)
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
                STORE_ANEW,
            )),
        };
        finding.snapshots = touched.snapshots;
        finding.entries = touched.entries;
    }
    let malformed = walked.malformed.into_iter().map(|(id, reason)| {
        let hint = "it was stored like this; run `bk backup` again and report it";
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
        report.notes.push(format!("{gone} packs of the index are gone; no snapshot needs anything of them"));
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
