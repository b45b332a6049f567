//! Snapshots of a repository with other keys, or of another format, into one of ours: read, cut anew, stored.
//!
//! One thread walks the source in the order of trees, others read what is not known yet, one builds the trees of the
//! target; the queues between them are bounded, so that memory is, too, whatever the size of a file.
//!
//! A snapshot is walked beside the newest of the same machine and paths that was brought before. A folder whose tree is
//! the same becomes what it became then, and nothing of it is read; a file whose content is the same likewise. What was
//! brought says whence it is, so that it is known again.
//!
//! What is damaged in the source is left out and noted, and the snapshot is incomplete: see [`Presence::Lossy`] and
//! [`is_mended`] for how that is made good later.

mod assemble;
mod file;
mod known;
mod mended;
mod recognise;
mod shared;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::bounded;

pub use mended::is_mended;
pub use recognise::{Pair, Presence, origin, recognise};

use crate::chunk::{CLASS_RULE, Chunker};
use crate::clock::{Clock, Stopwatch};
use crate::format::snapshot::{Imported, MAX_PROBLEMS, Outcome, Problem, Root, Snapshot, Statistics};
use crate::id::{RunId, SnapshotId};
use crate::operation::backup::Problems;
use crate::operation::copy::carry_facts;
use crate::progress::Progress;
use crate::repository::{
    Commit, Index, Purpose, Repository, RepositoryError, SnapshotInfo, Snapshots, Writer, WriterStats,
};
use known::Known;
use shared::Shared;

/// A run is made again so often when packs it relied on were deleted meanwhile.
const ATTEMPTS: usize = 3;

/// Why an import ended early. What was brought until then is whole, and the next one goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Either repository.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// Both have the same keys.
    #[error("{from} is a sibling of {to}: they have the same keys")]
    Siblings {
        /// Whence.
        from: String,
        /// Where to.
        to: String,
    },
}

impl ImportError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Repository(error) => error.hint(),
            Self::Siblings { .. } => "use `bk copy`: it takes packs as they are",
        }
    }
}

/// A snapshot to be brought.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// In the source.
    pub info: SnapshotInfo,
    /// The profile that it will be of.
    pub profile: Option<String>,
}

/// What became of a snapshot.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Its id in the source.
    pub source: SnapshotId,
    /// In the target; `None` when nothing of it could be read.
    pub target: Option<SnapshotInfo>,
    /// What was counted.
    pub statistics: Statistics,
    /// The first entries that could not be read.
    pub lost: Vec<Problem>,
    /// All of them.
    pub lost_count: u64,
    /// Bytes fetched from the source, trees included.
    pub fetched_bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// How and where to.
pub struct Import<'a> {
    /// Whence.
    pub from: &'a Repository,
    /// Where to.
    pub to: &'a Repository,
    /// Threads that read, and as many that seal; at least one.
    pub threads: usize,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Hears how it goes.
    pub progress: &'a dyn Progress,
    /// Set when the user wants it to end.
    pub cancel: &'a AtomicBool,
}

/// What all snapshots of a run share.
struct Run<'a> {
    import: &'a Import<'a>,
    index: &'a Index,
    source: &'a Index,
    writer: &'a Writer<'a>,
    chunker: &'a Chunker,
    known: &'a Known,
}

/// What was gathered for a snapshot.
struct Gathered {
    roots: Vec<Root>,
    statistics: Statistics,
    problems: Problems,
    fetched_bytes: u64,
}

impl Import<'_> {
    /// Brings `wanted`, one after the other; the oldest should be first. `pairs` is what was brought before, and
    /// `told` hears of each.
    ///
    /// # Errors
    /// [`ImportError`]. What `told` heard of is there.
    pub fn run(
        &self,
        wanted: &[Wanted],
        mut pairs: Vec<Pair>,
        told: &mut dyn FnMut(&Brought),
    ) -> Result<(), ImportError> {
        self.to.check_writable()?;
        if !self.from.is_foreign() && self.from.keys().family() == self.to.keys().family() {
            return Err(ImportError::Siblings { from: self.from.location(), to: self.to.location() });
        }
        self.to.store().clean().map_err(RepositoryError::from)?;
        let mut done = 0;
        for attempt in 1.. {
            let left = wanted.get(done..).unwrap_or_default();
            let made = self.once(left, &mut pairs, &mut |brought| {
                done += 1;
                told(brought);
            });
            match made {
                Err(RepositoryError::Lost { .. }) if attempt < ATTEMPTS => {
                    self.progress.warn("packs that this run relied on were deleted meanwhile; it goes on anew");
                }
                made => return Ok(made?),
            }
        }
        Ok(())
    }

    fn once(
        &self,
        wanted: &[Wanted],
        pairs: &mut Vec<Pair>,
        told: &mut dyn FnMut(&Brought),
    ) -> Result<(), RepositoryError> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.progress.phase("reading the index", None);
        let index = Index::load(self.to, Purpose::Write, self.clock)?;
        let source = Index::load(self.from, Purpose::Read, self.clock)?;
        let facts = Snapshots::load(self.from)?.facts;
        let mut here = Snapshots::load(self.to)?;
        // No snapshot will have this run, so that a prune takes nothing of it for two weeks. One writer for all of them:
        // what a snapshot needs of those before it is validated with it.
        let run = RunId(crate::crypto::random()?);
        let writer = Writer::new(self.to, &index, run, self.clock, self.threads)?;
        let (chunker, known) = (Chunker::new(self.to.keys().chunk()), Known::new());
        let run =
            Run { import: self, index: &index, source: &source, writer: &writer, chunker: &chunker, known: &known };
        for one in wanted {
            let watch = Stopwatch::start();
            let base = recognise::base(pairs, &one.info.snapshot).cloned();
            let before = Stored::of(writer.stats());
            let mut gathered = run.gather(&one.info.snapshot, base.as_ref())?;
            before.count(writer.stats(), &mut gathered.statistics);
            let target = run.put(one, base.as_ref(), &gathered, &here)?;
            if let Some(target) = &target {
                carry_facts(self.to, &one.info.id, target, &facts, self.clock)?;
                here.all.push(target.clone());
                if gathered.problems.is_empty() {
                    pairs.push(Pair { source: one.info.clone(), target: target.clone() });
                }
            }
            told(&Brought {
                source: one.info.id,
                target,
                statistics: gathered.statistics,
                lost: gathered.problems.first(),
                lost_count: gathered.problems.count(),
                fetched_bytes: gathered.fetched_bytes,
                seconds: watch.elapsed().as_secs_f64(),
            });
        }
        Ok(())
    }
}

/// What a writer had stored at some time.
struct Stored {
    blobs: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

impl Stored {
    fn of(stats: &WriterStats) -> Self {
        Self { blobs: stats.new_blobs(), raw_bytes: stats.new_bytes(), stored_bytes: stats.stored_bytes() }
    }

    /// Counts what was stored since.
    fn count(&self, stats: &WriterStats, statistics: &mut Statistics) {
        statistics.new_blobs = stats.new_blobs() - self.blobs;
        statistics.new_bytes = stats.new_bytes() - self.raw_bytes;
        statistics.stored_bytes = stats.stored_bytes() - self.stored_bytes;
    }
}

impl Run<'_> {
    /// Stores all that a snapshot of the source needs.
    fn gather(&self, snapshot: &Snapshot, base: Option<&Pair>) -> Result<Gathered, RepositoryError> {
        let Import { from, to, threads, progress, cancel, .. } = *self.import;
        progress.phase("importing", None);
        progress.total(snapshot.statistics.entries(), snapshot.statistics.total_bytes);
        let (problems, fetched_bytes) = (Problems::default(), AtomicU64::new(0));
        let shared = Shared {
            from,
            source: self.source,
            to,
            index: self.index,
            writer: self.writer,
            chunker: self.chunker,
            base: base.map(|pair| [&pair.source, &pair.target]),
            known: self.known,
            problems: &problems,
            progress,
            cancel,
            links: Mutex::new(HashMap::new()),
            fetched_bytes: &fetched_bytes,
        };
        let threads = threads.max(1);
        // A checkpoint even when it was stopped: what is stored will be found by the next run.
        let walked = self.writer.while_sealing(threads, || carry(&shared, snapshot, threads));
        drop(shared);
        if cancel.load(Ordering::Relaxed) {
            return Err(RepositoryError::Interrupted);
        }
        let (roots, statistics) = walked?;
        Ok(Gathered { roots, statistics, problems, fetched_bytes: fetched_bytes.into_inner() })
    }

    /// Puts what was gathered as a snapshot; nothing when there is nothing but damage.
    fn put(
        &self,
        wanted: &Wanted,
        base: Option<&Pair>,
        gathered: &Gathered,
        here: &Snapshots,
    ) -> Result<Option<SnapshotInfo>, RepositoryError> {
        let Import { from, to, clock, progress, .. } = *self.import;
        let counted = &gathered.statistics;
        let is_void = gathered.roots.is_empty() || counted.files + counted.others == 0;
        if is_void && !gathered.problems.is_empty() {
            return Ok(None);
        }
        progress.phase("putting the snapshot", None);
        let mut snapshot = describe(wanted, base, gathered, origin(from, &wanted.info));
        if from.is_foreign() {
            // As a backup would have noted it.
            let earlier = |info: &&SnapshotInfo| {
                let other = &info.snapshot;
                other.outcome == Outcome::Complete
                    && other.start < snapshot.start
                    && (&other.host, &other.profile) == (&snapshot.host, &snapshot.profile)
                    && (other.profile.is_some() || other.roots.iter().any(|root| has_root(&snapshot, &root.path)))
            };
            snapshot.previous = here.all.iter().filter(earlier).map(|info| info.snapshot.start).max();
        }
        // One that was forgotten does not come back under its old id: nobody would see it.
        if here.knows(&to.keys().identifier().snapshot(&snapshot.encode())) {
            snapshot.run = RunId(crate::crypto::random()?);
        }
        Commit { repository: to, index: self.index, clock }.put(self.writer, &snapshot).map(Some)
    }
}

fn has_root(snapshot: &Snapshot, path: &[u8]) -> bool {
    snapshot.roots.iter().any(|root| root.path == path)
}

/// What the target says of a snapshot: as the source does, but for what became of it on the way.
fn describe(wanted: &Wanted, base: Option<&Pair>, gathered: &Gathered, origin: Imported) -> Snapshot {
    let old = &wanted.info.snapshot;
    let problems: Vec<_> = gathered.problems.first().into_iter().chain(old.problems.iter().cloned()).collect();
    let is_whole = old.outcome == Outcome::Complete && gathered.problems.is_empty();
    Snapshot {
        profile: wanted.profile.clone(),
        roots: gathered.roots.clone(),
        statistics: gathered.statistics,
        outcome: if is_whole { Outcome::Complete } else { Outcome::Incomplete },
        problems: problems.into_iter().take(MAX_PROBLEMS).collect(),
        problem_count: old.problem_count + gathered.problems.count(),
        parent: base.map(|pair| pair.target.id),
        class_rule: CLASS_RULE,
        run: recognise::run_of(&origin),
        imported: Some(origin),
        ..old.clone()
    }
}

/// Walks a snapshot and reads what is new, with threads of its own.
fn carry(shared: &Shared<'_>, snapshot: &Snapshot, threads: usize) -> Result<(Vec<Root>, Statistics), RepositoryError> {
    let (items, received) = bounded(64);
    let (tasks, taken) = bounded(2 * threads);
    std::thread::scope(|scope| {
        let reading: Vec<_> = (0..threads)
            .map(|_| {
                let taken = taken.clone();
                scope.spawn(move || file::read_batches(shared, &taken))
            })
            .collect();
        drop(taken);
        let walking = scope.spawn(move || walk::walk(shared, snapshot, items, tasks));
        let assembled = assemble::assemble(shared, &received);
        // Whoever still sends must not wait for ever.
        received.iter().for_each(drop);
        let mut sound = walking.join().is_ok();
        for thread in reading {
            sound &= thread.join().is_ok();
        }
        if sound { assembled } else { Err(RepositoryError::Stopped) }
    })
}
