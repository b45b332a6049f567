//! Puts a snapshot, or part of it, back on a file system. The repository is taken to be hostile: everything is done
//! by descriptors below the destination's root, and every blob is checked against its id before it is written.

mod fetch;
mod guard;
mod layout;
mod surplus;
mod verify;
mod walk;
mod write;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use fetch::wanted;
pub use layout::{Placement, Plan, Selected, select};
pub use surplus::{Act, Spared, Surplus, surplus};
pub use verify::verify;

use crate::destination::{Destination, DestinationError, MetadataProblem, Overwrite};
use crate::progress::Progress;
use crate::repository::{Index, ReadAhead, Repository, RepositoryError};

/// What to do with what is there already, and what else.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestoreOptions {
    /// What happens to entries that exist.
    pub overwrite: Overwrite,
    /// Take away what the snapshot does not have, inside the directories that are restored.
    pub delete: bool,
    /// Threads that write.
    pub threads: usize,
}

/// Something that was not restored as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreProblem {
    /// Where.
    pub path: String,
    /// What.
    pub message: String,
    /// Whether the repository is to blame.
    pub damage: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct RestoreStats {
    /// Regular files whose content is right now.
    pub files: AtomicU64,
    /// Directories.
    pub directories: AtomicU64,
    /// Links, devices, pipes, sockets.
    pub others: AtomicU64,
    /// Entries left alone because of the overwrite policy.
    pub skipped: AtomicU64,
    /// Entries taken away because of `delete`.
    pub deleted: AtomicU64,
    /// Bytes written.
    pub written_bytes: AtomicU64,
    /// Bytes that were right already.
    pub kept_bytes: AtomicU64,
    problems: Mutex<Vec<RestoreProblem>>,
}

impl RestoreStats {
    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    fn problem(&self, path: String, message: String, damage: bool) {
        let problem = RestoreProblem { path, message, damage };
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    fn metadata_problems(&self, problems: Vec<MetadataProblem>) {
        for problem in problems {
            self.problem(problem.path.clone(), problem.to_string(), false);
        }
    }

    /// What was not restored as it should be, sorted by path.
    #[must_use]
    pub fn problems(&self) -> Vec<RestoreProblem> {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        problems.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
        problems
    }
}

/// Why a restore ended early. What was restored until then is right; running it again completes it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The repository.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// The destination.
    #[error("{0}")]
    Destination(#[from] DestinationError),
    /// The snapshot has no such path.
    #[error("the snapshot has no `{0}`")]
    NoSuchPath(String),
    /// There is not enough room.
    #[error(
        "{path} has room for {free_bytes} bytes and {free_inodes} entries; {bytes} bytes in {entries} entries are to be restored"
    )]
    NoRoom {
        /// Where.
        path: String,
        /// Free.
        free_bytes: u64,
        /// Free.
        free_inodes: u64,
        /// Needed.
        bytes: u64,
        /// Needed.
        entries: u64,
    },
    /// The user wants it to end.
    #[error("interrupted")]
    Interrupted,
    /// A thread ended without a result.
    #[error("a thread of the restore ended without a result")]
    Thread,
}

/// Everything that one restore consists of.
struct Run<'a> {
    repository: &'a Repository,
    index: &'a Index,
    ahead: Option<&'a ReadAhead<'a>>,
    destination: &'a Destination,
    options: RestoreOptions,
    stats: &'a RestoreStats,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    failure: Mutex<Option<RestoreError>>,
    stopped: AtomicBool,
}

impl Run<'_> {
    /// Keeps the first error that ends the restore.
    fn fail(&self, error: RestoreError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn should_stop(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || self.stopped.load(Ordering::Relaxed)
    }

    /// Notes an error that concerns one entry, or ends the restore when it concerns all.
    fn note(&self, path: impl FnOnce() -> String, error: RestoreError) {
        match error {
            RestoreError::Repository(error) if error.is_damage() => {
                let path = path();
                self.progress.warn(&format!("{path}: {error}"));
                self.stats.problem(path, error.to_string(), true);
            }
            RestoreError::Destination(error) if !ends_everything(&error) => {
                let path = path();
                self.progress.warn(&error.to_string());
                self.stats.problem(path, error.to_string(), false);
            }
            error => self.fail(error),
        }
    }
}

fn ends_everything(error: &DestinationError) -> bool {
    use rustix::io::Errno;
    matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::MFILE | Errno::NFILE))
}

/// Restores `selected` below the destination; with `ahead`, what it was told of is fetched before it is needed.
///
/// # Errors
/// [`RestoreError`] when it could not go on; entries that could not be restored are in [`RestoreStats::problems`].
#[expect(clippy::too_many_arguments, reason = "where from, what, where to, how, and who watches")]
pub fn restore(
    repository: &Repository,
    index: &Index,
    ahead: Option<&ReadAhead<'_>>,
    selected: &[Selected],
    destination: &Destination,
    options: RestoreOptions,
    stats: &RestoreStats,
    progress: &dyn Progress,
    cancel: &AtomicBool,
) -> Result<(), RestoreError> {
    let run = Run {
        repository,
        index,
        ahead,
        destination,
        options,
        stats,
        progress,
        cancel,
        failure: Mutex::new(None),
        stopped: AtomicBool::new(false),
    };
    let threads = options.threads.max(1);
    let (tasks, taken) = crossbeam_channel::bounded(4 * threads);
    let work = || {
        std::thread::scope(|scope| {
            let run = &run;
            let writing: Vec<_> = (0..threads)
                .map(|_| {
                    let taken = taken.clone();
                    scope.spawn(move || write::write_files(run, &taken))
                })
                .collect();
            drop(taken);
            if let Err(error) = walk::walk(run, selected, tasks) {
                run.fail(error);
            }
            writing.into_iter().fold(true, |sound, thread| sound & thread.join().is_ok())
        })
    };
    let sound = ReadAhead::while_working(ahead, work);
    if let Some(error) = run.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(RestoreError::Interrupted);
    }
    if !sound {
        return Err(RestoreError::Thread);
    }
    Ok(destination.sync()?)
}
