//! One snapshot of a source.
//!
//! Four kinds of threads, joined by bounded queues: one walks the source and compares it with the parent, some read,
//! cut and hash files, the writer's compress and seal, and this one builds the trees in order. Memory is the queues.

mod anomaly;
mod assemble;
mod estimate;
mod file;
mod options;
mod problems;
mod scan;
mod shared;
mod siblings;
mod tables;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::bounded;

pub use options::{
    AfterStreams, BackupOptions, Found, HookResults, Origin, SourceRules, Stream, Substitute, WhenBroken,
};
pub use problems::Problems;
pub use siblings::{Sibling, SiblingStats, backup_with_siblings};
pub use tables::{absent_table, empty_table, is_table};

use crate::chunk::{CLASS_RULE, Chunker};
use crate::clock::{Clock, Stopwatch};
use crate::format::node::Timestamp;
use crate::format::snapshot::{Outcome, Root, Snapshot, Statistics};
use crate::id::{RunId, SnapshotId};
use crate::progress::Progress;
use crate::repository::{
    Commit, Follower, Index, Purpose, Repository, RepositoryError, SnapshotInfo, Snapshots, Writer,
};
use crate::source::metadata::Names;
use shared::{Compared, Shared};

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The repository.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// None of the paths exists.
    #[error("none of the paths to back up can be read: {0}")]
    NoSource(String),
    /// The program whose output was to be kept failed, or a stream broke off.
    #[error("{name} could not be read to its end, so there is no snapshot")]
    Stream {
        /// Name of the stream.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is nothing to keep, because no dump succeeded.
    #[error("there is no dump and no file to keep: {0}")]
    NoDump(String),
    /// What the run needs from the system failed.
    #[error("a thread of the run ended without a result")]
    Thread,
}

/// What a run made.
#[derive(Debug)]
pub struct BackupStats {
    /// The snapshot, unless nothing had changed or it was a dry run.
    pub snapshot: Option<SnapshotInfo>,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// What was counted.
    pub statistics: Statistics,
    /// Whether everything is in it.
    pub outcome: Outcome,
    /// What is not.
    pub problems: Problems,
    /// When the run began and ended.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// How long dumps and other streams took, in seconds.
    pub streams_seconds: f64,
    /// In what it was unlike those before it.
    pub anomalies: Vec<String>,
}

/// How often a run is made again when packs it relied on were deleted meanwhile.
const ATTEMPTS: usize = 3;

/// Backs up what `options` say and puts a snapshot.
///
/// # Errors
/// [`BackupError`]: there is no snapshot then, and what was stored is used by the next run. Entries that could not be
/// read are no error but [`BackupStats::problems`].
pub fn backup(
    repository: &Repository,
    options: &BackupOptions<'_>,
    streams: Vec<Stream<'_>>,
    clock: &dyn Clock,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<BackupStats, BackupError> {
    let id = RunId(crate::crypto::random().map_err(RepositoryError::from)?);
    Run { repository, options, id, followers: &[], clock, progress, cancel }.make(streams)
}

/// One run into one repository, and who follows it.
struct Run<'a> {
    repository: &'a Repository,
    options: &'a BackupOptions<'a>,
    id: RunId,
    followers: &'a [Follower],
    clock: &'a dyn Clock,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
}

/// The snapshots of the same machine, profile and roots, newest first.
fn before<'a>(snapshots: &'a Snapshots, options: &BackupOptions<'_>) -> impl Iterator<Item = &'a SnapshotInfo> {
    let paths: Vec<_> = options.roots.iter().map(|root| root.as_os_str().as_encoded_bytes().to_vec()).collect();
    let (host, profile) = (options.origin.host.clone(), options.origin.profile.clone());
    let same = move |snapshot: &Snapshot| {
        snapshot.host == host
            && snapshot.profile == profile
            && (snapshot.profile.is_some() || snapshot.roots.iter().any(|root| paths.contains(&root.path)))
    };
    snapshots.all.iter().rev().filter(move |info| same(&info.snapshot))
}

impl Run<'_> {
    /// Makes the run, and makes it again when packs that it relied on were deleted meanwhile.
    fn make(&self, streams: Vec<Stream<'_>>) -> Result<BackupStats, BackupError> {
        self.repository.check_writable()?;
        self.repository.store().clean().map_err(RepositoryError::from)?;
        // What a program said once cannot be read again.
        let attempts = if streams.is_empty() { ATTEMPTS } else { 1 };
        for _ in 1..attempts {
            match self.once(Vec::new()) {
                Err(BackupError::Repository(RepositoryError::Lost { .. })) => {
                    self.progress.warn("packs that this run relied on were deleted meanwhile; it is made again");
                }
                result => return result,
            }
        }
        self.once(streams)
    }

    fn once(&self, streams: Vec<Stream<'_>>) -> Result<BackupStats, BackupError> {
        let Self { repository, options, followers, clock, progress, cancel, .. } = *self;
        progress.phase("reading the index", None);
        let start = clock.wall();
        let index = Index::load(repository, Purpose::Write, clock)?;
        for (_, reason) in index.damaged() {
            progress.warn(&format!("{reason}; what only it knows is stored again"));
        }
        let snapshots = Snapshots::load(repository)?;
        let parent = before(&snapshots, options).next().filter(|_| !options.ignore_parent).cloned();
        let complete = before(&snapshots, options).find(|info| info.snapshot.outcome == Outcome::Complete).cloned();
        let writer = Writer::new(repository, &index, self.id, clock, options.threads)?.followed_by(followers);
        let problems = Problems::default();
        for known in &options.known_problems {
            problems.add(&known.kind, &known.path, known.message.clone());
        }
        progress.phase("backing up", None);
        if let Some(parent) = &parent {
            let counted = parent.snapshot.statistics;
            progress.total(counted.entries(), counted.total_bytes);
        }
        let compared = Compared::default();
        let (roots, mut statistics, streams_seconds) =
            self.gather(&index, &writer, streams, [&parent, &complete], &problems, &compared)?;
        // Measured with what was whole: an empty mount must not become the measure of the next night.
        if statistics.files == 0 && complete.as_ref().is_some_and(|complete| complete.snapshot.statistics.files > 0) {
            let path = roots.first().map(|root| root.path.clone()).unwrap_or_default();
            problems.add("missing", &path, "there is not one file, where the last complete snapshot has some");
        }
        statistics.new_blobs = writer.stats().new_blobs();
        statistics.new_bytes = writer.stats().new_bytes();
        statistics.stored_bytes = writer.stats().stored_bytes();
        let outcome = if problems.is_empty() { Outcome::Complete } else { Outcome::Incomplete };
        let end = clock.wall();
        let mut stats = BackupStats {
            snapshot: None,
            // What could not be read was compared with nothing.
            parent: parent.as_ref().map(|parent| parent.id).filter(|_| !compared.in_part.load(Ordering::Relaxed)),
            statistics,
            outcome,
            problems,
            start,
            end,
            streams_seconds,
            anomalies: Vec::new(),
        };
        if cancel.load(Ordering::Relaxed) {
            return Err(RepositoryError::Interrupted.into());
        }
        let unchanged = parent.as_ref().is_some_and(|parent| parent.snapshot.roots == roots);
        if options.dry_run || (options.skip_if_unchanged && unchanged && outcome == Outcome::Complete) {
            return Ok(stats);
        }
        progress.phase("putting the snapshot", None);
        let mut snapshot = describe(options, &stats, roots, self.id);
        // What is dated after this run was made by a clock that was wrong.
        let earlier =
            |info: &&SnapshotInfo| info.snapshot.outcome == Outcome::Complete && info.snapshot.start <= stats.start;
        snapshot.previous = before(&snapshots, options).find(earlier).map(|info| info.snapshot.start);
        let history: Vec<_> = before(&snapshots, options).map(|info| &info.snapshot).collect();
        snapshot.anomalies = anomaly::anomalies(&snapshot, compared.touched.load(Ordering::Relaxed), &history);
        stats.anomalies.clone_from(&snapshot.anomalies);
        stats.snapshot = Some(Commit { repository, index: &index, clock }.put(&writer, &snapshot)?);
        Ok(stats)
    }

    /// Reads the source and stores what is new; gives the roots of the snapshot, what was counted, and how many seconds
    /// the streams took.
    fn gather(
        &self,
        index: &Index,
        writer: &Writer<'_>,
        streams: Vec<Stream<'_>>,
        [parent, complete]: [&Option<SnapshotInfo>; 2],
        problems: &Problems,
        compared: &Compared,
    ) -> Result<(Vec<Root>, Statistics, f64), BackupError> {
        let Self { repository, options, clock, progress, cancel, .. } = *self;
        let threads = options.threads.max(1);
        let names = Names::of_this_machine();
        let chunker = Chunker::new(repository.keys().chunk());
        let shared = Shared {
            repository,
            index,
            writer,
            options,
            parent: parent.as_ref(),
            complete: complete.as_ref(),
            names: &names,
            chunker: &chunker,
            problems,
            progress,
            clock,
            cancel,
            compared,
            links: std::sync::Mutex::new(HashMap::new()),
        };
        const FINISHERS: usize = 2;
        let gathered = std::thread::scope(|scope| {
            let sealing: Vec<_> = (0..threads).map(|_| scope.spawn(|| writer.seal_segments())).collect();
            let finishing: Vec<_> = (0..FINISHERS).map(|_| scope.spawn(|| writer.finish_packs())).collect();
            // What programs print comes first: a dump must never refer to files that were read before it.
            let (any, watch) = (!streams.is_empty(), Stopwatch::start());
            let gathered = file::read_streams(&shared, streams).and_then(|streamed| {
                let seconds = if any { watch.elapsed().as_secs_f64() } else { 0.0 };
                let (substitutes, wrong) = options.after_streams.map(|after| after()).unwrap_or_default();
                for problem in wrong {
                    problems.add(&problem.kind, &problem.path, problem.message);
                }
                let (mut roots, mut statistics) = walk(&shared, &substitutes)?;
                for (root, size) in streamed {
                    statistics.files += 1;
                    statistics.new_files += 1;
                    statistics.total_bytes += size;
                    statistics.read_bytes += size;
                    roots.push(root);
                }
                Ok((roots, statistics, seconds))
            });
            writer.close_queue(threads);
            let mut sound = true;
            for thread in sealing {
                sound &= thread.join().is_ok();
            }
            writer.close_packs(FINISHERS);
            for thread in finishing {
                sound &= thread.join().is_ok();
            }
            if sound { gathered } else { Err(BackupError::Thread) }
        });
        // A checkpoint even when the run failed or was stopped: what is stored will be found by the next one.
        let finished = writer.finish();
        let gathered = match (gathered, finished) {
            (Err(BackupError::Repository(RepositoryError::Stopped)) | Ok(_), Err(error)) => Err(error.into()),
            (gathered, _) => gathered,
        };
        if cancel.load(Ordering::Relaxed) {
            return Err(RepositoryError::Interrupted.into());
        }
        let (roots, statistics, seconds) = gathered?;
        if roots.is_empty() && problems.has("dump") {
            return Err(BackupError::NoDump(problems.describe_roots()));
        }
        if roots.is_empty() {
            return Err(BackupError::NoSource(problems.describe_roots()));
        }
        Ok((roots, statistics, seconds))
    }
}

fn describe(options: &BackupOptions<'_>, stats: &BackupStats, roots: Vec<Root>, run: RunId) -> Snapshot {
    let origin = &options.origin;
    let mut tags = options.tags.clone();
    tags.sort();
    tags.dedup();
    Snapshot {
        start: stats.start,
        end: stats.end,
        host: origin.host.clone(),
        profile: origin.profile.clone(),
        tags,
        roots,
        statistics: stats.statistics,
        outcome: stats.outcome,
        problems: stats.problems.first(),
        problem_count: stats.problems.count(),
        hooks: options.hook_results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
        parent: stats.parent,
        definition: options.definition.clone(),
        configuration: options.configuration.clone(),
        program: concat!("bk ", env!("CARGO_PKG_VERSION")).into(),
        user: origin.user.clone(),
        class_rule: CLASS_RULE,
        run,
        description: options.description.clone(),
        anomalies: Vec::new(),
        previous: None,
        imported: None,
    }
}

/// Walks the roots and reads what is new, with threads of its own.
fn walk(shared: &Shared<'_>, substitutes: &[Substitute]) -> Result<(Vec<Root>, Statistics), BackupError> {
    let threads = shared.options.threads.max(1);
    let (items, received) = bounded(64);
    let (tasks, taken) = bounded(2 * threads);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading: Vec<_> = (0..threads)
            .map(|_| {
                let taken = taken.clone();
                scope.spawn(move || file::read_batches(shared, &taken))
            })
            .collect();
        drop(taken);
        let scanning = scope.spawn(move || scan::scan(shared, substitutes, items, tasks));
        if shared.parent.is_none() && shared.progress.wants_total() {
            scope.spawn(|| estimate::tell_total(shared, &over));
        }
        let assembled = assemble::assemble(shared, &received);
        over.store(true, Ordering::Relaxed);
        // Whoever still sends must not wait for ever.
        let leftover = received.iter().count();
        debug_assert!(leftover == 0 || assembled.is_err());
        let mut sound = scanning.join().is_ok();
        for thread in reading {
            sound &= thread.join().is_ok();
        }
        if sound { Ok(assembled?) } else { Err(BackupError::Thread) }
    })
}
