//! One reading of the source into several sibling repositories.
//!
//! The first takes the run as if it were alone. Every pack that it gets is put into the others as it is, while the run
//! goes on; once it has its snapshot, they get what they still lack out of its packs, and then the same snapshot. They
//! are opened and filled on threads of their own: one that is slow or away holds nobody back, and is brought up to
//! date from its siblings by the next run, or by `bk copy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded};

use super::{BackupError, BackupOptions, BackupStats, Run, Stream};
use crate::clock::{Clock, Stopwatch};
use crate::id::{RunId, SnapshotId};
use crate::operation::copy::transfer::{LANES, Transfer};
use crate::operation::copy::{CopyError, CopyStats, copy};
use crate::progress::Progress;
use crate::repository::{Commit, Follower, Index, Purpose, Repository, RepositoryError, SnapshotInfo, Snapshots};
use crate::store::{Store, StoreError};

/// A sibling that gets the same snapshot.
pub struct Sibling<'a> {
    /// What it is called.
    pub name: String,
    /// Opens its store.
    pub open: Box<dyn FnOnce() -> Result<Arc<dyn Store>, StoreError> + Send + 'a>,
    /// Which of the snapshots of the first, beside that of this run, it should have too.
    pub missing: Missing<'a>,
}

/// Chooses among the snapshots of one repository those that another lacks.
pub type Missing<'a> = Box<dyn FnOnce(&Snapshots, &Snapshots) -> Vec<SnapshotInfo> + Send + 'a>;

/// What became of a sibling.
#[derive(Debug)]
pub struct SiblingStats {
    /// What it is called.
    pub name: String,
    /// The snapshot of this run, once it is there.
    pub snapshot: Option<SnapshotId>,
    /// Packs put for it.
    pub packs: u64,
    /// Bytes put for it.
    pub stored_bytes: u64,
    /// What it lacked of earlier runs.
    pub caught_up: CopyStats,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it is behind; what was stored is used by the next run.
    pub behind: Option<CopyError>,
}

/// What the run of the first came to.
#[derive(Clone)]
enum Conclusion {
    /// This snapshot.
    Snapshot(Box<SnapshotInfo>),
    /// Nothing had changed.
    Unchanged,
    /// No snapshot.
    Failed,
}

/// Backs up into `repository`, and what it stores into each sibling. `first_done` hears of the run of `repository` as
/// soon as it is over: from then on the source is not needed.
///
/// # Errors
/// As [`super::backup`], of `repository` alone; what became of each sibling is in its [`SiblingStats`].
#[expect(clippy::too_many_arguments, reason = "those of a backup, and the siblings")]
pub fn backup_with_siblings(
    repository: &Repository,
    siblings: Vec<Sibling<'_>>,
    options: &BackupOptions<'_>,
    streams: Vec<Stream<'_>>,
    clock: &dyn Clock,
    progress: &dyn Progress,
    cancel: &AtomicBool,
    first_done: impl FnOnce(&Result<BackupStats, BackupError>),
) -> (Result<BackupStats, BackupError>, Vec<SiblingStats>) {
    let run = match crate::crypto::random() {
        Ok(run) => RunId(run),
        Err(error) => return (Err(RepositoryError::from(error).into()), Vec::new()),
    };
    let followers: Vec<Follower> = siblings.iter().map(|_| Follower::default()).collect();
    let watch = Watch { progress, is_on: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        let following: Vec<_> = siblings
            .into_iter()
            .zip(&followers)
            .map(|(sibling, follower)| {
                let (tell, told) = bounded(1);
                let following = Following { first: repository, follower, run, clock, progress: &watch, cancel };
                let name = sibling.name.clone();
                let watch = Stopwatch::start();
                let follow = move || {
                    let stats = following.follow(sibling, &told);
                    SiblingStats { seconds: watch.elapsed().as_secs_f64(), ..stats }
                };
                (tell, name, scope.spawn(follow))
            })
            .collect();
        let first = Run { repository, options, id: run, followers: &followers, clock, progress, cancel };
        let result = first.make(streams);
        let conclusion = match &result {
            Ok(BackupStats { snapshot: Some(info), .. }) => Conclusion::Snapshot(Box::new(info.clone())),
            Ok(_) => Conclusion::Unchanged,
            Err(_) => Conclusion::Failed,
        };
        followers.iter().for_each(Follower::close);
        first_done(&result);
        watch.is_on.store(true, Ordering::Relaxed);
        progress.phase("bringing the others up to date", None);
        following.iter().for_each(|(tell, ..)| drop(tell.send(conclusion.clone())));
        let died = |name| SiblingStats { behind: Some(RepositoryError::Stopped.into()), ..SiblingStats::of(name) };
        let stats = following.into_iter().map(|(_, name, thread)| thread.join().unwrap_or_else(|_| died(name)));
        (result, stats.collect())
    })
}

impl SiblingStats {
    fn of(name: String) -> Self {
        Self {
            name,
            snapshot: None,
            packs: 0,
            stored_bytes: 0,
            caught_up: CopyStats::default(),
            seconds: 0.0,
            behind: None,
        }
    }
}

/// What it takes to keep a sibling at the heels of a run.
struct Following<'a> {
    first: &'a Repository,
    follower: &'a Follower,
    run: RunId,
    clock: &'a dyn Clock,
    progress: &'a Watch<'a>,
    cancel: &'a AtomicBool,
}

impl Following<'_> {
    fn follow(&self, sibling: Sibling<'_>, told: &Receiver<Conclusion>) -> SiblingStats {
        let mut stats = SiblingStats::of(sibling.name.clone());
        stats.behind = self.fill(sibling, told, &mut stats).err();
        self.follower.leave();
        stats
    }

    fn fill(
        &self,
        sibling: Sibling<'_>,
        told: &Receiver<Conclusion>,
        stats: &mut SiblingStats,
    ) -> Result<(), CopyError> {
        let store = (sibling.open)().map_err(RepositoryError::from)?;
        let repository = self.first.open_sibling(store)?;
        repository.check_writable()?;
        repository.store().clean().map_err(RepositoryError::from)?;
        let index = self.follower.know(Index::load(&repository, Purpose::Write, self.clock)?);
        let both = [self.first, &repository];
        let transfer = Transfer::new(both, index, self.run, self.clock, self.progress, self.cancel)?;
        self.take_packs(&transfer);
        let conclusion = told.recv().unwrap_or(Conclusion::Failed);
        let put = match &conclusion {
            Conclusion::Snapshot(info) => self.put(&transfer, &repository, index, info).map(Some),
            // What came is noted, so that the next run finds it.
            Conclusion::Unchanged | Conclusion::Failed => transfer.writer.finish().map(|()| None),
        };
        stats.packs = transfer.writer.stats().packs();
        stats.stored_bytes = transfer.writer.stats().stored_bytes();
        match (put, &conclusion) {
            (Ok(put), _) => stats.snapshot = put,
            // Of packs that a prune took meanwhile, and of blobs that only a try that failed had asked for.
            (Err(RepositoryError::Lost { .. } | RepositoryError::NotIndexed { .. }), Conclusion::Snapshot(info)) => {
                let mut done = CopyStats::default();
                let info = std::slice::from_ref(&**info);
                let copied = copy(both, info, self.clock, self.progress, self.cancel, &mut done);
                stats.packs += done.packs;
                stats.stored_bytes += done.stored_bytes;
                stats.snapshot = done.snapshots.first().copied();
                copied?;
            }
            (Err(error), _) => return Err(error.into()),
        }
        if matches!(conclusion, Conclusion::Failed) {
            return Ok(());
        }
        let missing = (sibling.missing)(&Snapshots::load(self.first)?, &Snapshots::load(&repository)?);
        copy(both, &missing, self.clock, self.progress, self.cancel, &mut stats.caught_up)
    }

    /// Puts packs while the run goes on.
    fn take_packs(&self, transfer: &Transfer<'_>) {
        std::thread::scope(|scope| {
            for _ in 0..LANES {
                scope.spawn(|| {
                    for new in self.follower.packs() {
                        if !transfer.writer.has_failed()
                            && let Err(error) = transfer.offer(&new.pack, new.bytes, |id| self.follower.lacks(id))
                        {
                            transfer.writer.fail(error);
                            self.follower.leave();
                        }
                    }
                });
            }
        });
    }

    fn put(
        &self,
        transfer: &Transfer<'_>,
        repository: &Repository,
        index: &Index,
        info: &SnapshotInfo,
    ) -> Result<SnapshotId, RepositoryError> {
        if transfer.writer.has_failed() {
            transfer.writer.finish()?;
        }
        transfer.fetch(&self.follower.lacking(|id| transfer.writer.has_added(id)))?;
        let put = Commit { repository, index, clock: self.clock }.put(&transfer.writer, &info.snapshot)?;
        Ok(put.id)
    }
}

/// Tells of the siblings only when the first has nothing more to tell.
struct Watch<'a> {
    progress: &'a dyn Progress,
    is_on: AtomicBool,
}

impl Progress for Watch<'_> {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}

    fn total(&self, _items: u64, _bytes: u64) {}

    fn advance(&self, _items: u64, bytes: u64) {
        if self.is_on.load(Ordering::Relaxed) {
            self.progress.advance(0, bytes);
        }
    }

    fn current(&self, _path: &[u8]) {}

    fn warn(&self, message: &str) {
        self.progress.warn(message);
    }

    fn finish(&self) {}
}
