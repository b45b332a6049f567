//! A repository with a past: copies of a real snapshot under older dates, and objects that were stored long ago.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bk::clock::{Clock as _, SystemClock};
use bk::crypto::KeyFile;
use bk::format::Kind;
use bk::format::key_slot::Credential;
use bk::format::mark::Mark;
use bk::format::node::Timestamp;
use bk::format::snapshot::Snapshot;
use bk::id::{RunId, SnapshotId};
use bk::repository::{Repository, Snapshots, marks};
use bk::store::{Area, LocalStore, ObjectName, Store};

pub(super) const DAY: u64 = 24 * 3600;

pub(super) struct Past {
    repository: Repository,
    store: LocalStore,
    folder: PathBuf,
}

fn earlier(time: Timestamp, seconds: u64) -> Timestamp {
    Timestamp { seconds: time.seconds - seconds as i64, nanos: 0 }
}

impl Past {
    pub(super) fn of(folder: &Path, key: &Path) -> Self {
        let key = KeyFile::parse(&std::fs::read_to_string(key).unwrap()).unwrap();
        let store = LocalStore::open(folder).unwrap();
        let repository = Repository::open(Arc::new(store.clone()), &Credential::KeyFile(key)).unwrap();
        Self { repository, store, folder: folder.to_owned() }
    }

    pub(super) fn snapshots(&self) -> Snapshots {
        Snapshots::load(&self.repository).unwrap()
    }

    /// Ids of what is there, oldest first.
    pub(super) fn ids(&self) -> Vec<String> {
        self.snapshots().all.iter().map(|info| info.id.to_string()).collect()
    }

    /// Puts the newest snapshot once more, as if it had been made so many seconds ago; `change` makes the rest other.
    pub(super) fn put(&self, seconds_ago: u64, change: impl FnOnce(&mut Snapshot)) -> SnapshotId {
        let snapshots = self.snapshots();
        let mut snapshot = snapshots.all.last().unwrap().snapshot.clone();
        snapshot.start = earlier(SystemClock.wall(), seconds_ago);
        snapshot.end = Timestamp { seconds: snapshot.start.seconds + 5, nanos: 0 };
        snapshot.run = RunId(rand());
        change(&mut snapshot);
        let of_group = |other: &&Snapshot| {
            (&other.host, &other.profile) == (&snapshot.host, &snapshot.profile) && other.start < snapshot.start
        };
        snapshot.previous = snapshots.all.iter().map(|info| &info.snapshot).filter(of_group).map(|one| one.start).max();
        let (name, _) = self.repository.write_object(Kind::Snapshot, &snapshot.encode()).unwrap();
        let snapshots = self.snapshots();
        snapshots.all.iter().find(|info| info.name == name).unwrap().id
    }

    /// Gives the newest snapshot another date, as if it had been made so many seconds ago.
    pub(super) fn redate(&self, seconds_ago: u64, change: impl FnOnce(&mut Snapshot)) -> SnapshotId {
        let newest = self.snapshots().all.last().unwrap().clone();
        let run = newest.snapshot.run;
        let id = self.put(seconds_ago, |snapshot| {
            snapshot.run = run;
            change(snapshot);
        });
        self.store.delete(&newest.name).unwrap();
        id
    }

    /// One snapshot a day: so many, the newest an hour and a day ago.
    pub(super) fn nightly(&self, days: u64) {
        for day in (1..=days).rev() {
            self.put(day * DAY + 3600, |_| {});
        }
    }

    /// Makes what is stored, and what marks say of themselves, so much older. Snapshots have the dates they were given.
    pub(super) fn age(&self, by: Duration) {
        for (name, mark) in marks(&self.repository).unwrap() {
            let mark = Mark { time: earlier(mark.time, by.as_secs()), ..mark };
            let listed = self.store.list(Area::Marks).unwrap().into_iter().find(|listed| listed.name == name).unwrap();
            let (new, _) = self.repository.write_object(Kind::Mark, &mark.encode()).unwrap();
            self.store.delete(&name).unwrap();
            self.store_at(&new, listed.time);
        }
        for area in Area::ALL.into_iter().filter(|area| *area != Area::Snapshots) {
            for listed in self.store.list(area).unwrap() {
                self.store_at(&listed.name, earlier(listed.time, by.as_secs()));
            }
        }
    }

    fn store_at(&self, name: &ObjectName, time: Timestamp) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
        let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, self.folder.join(name.to_string()), &times, AtFlags::empty()).unwrap();
    }
}

fn rand() -> [u8; 16] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    now.to_le_bytes()
}
