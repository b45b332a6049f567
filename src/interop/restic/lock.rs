//! Locks of restic: objects that say who works with the repository, and whether alone. rustic_core neither heeds nor makes
//! them; without one, a `restic prune` deletes what a writer is about to refer to.
//!
//! Look, put the lock, wait a moment, look again: of two that meet, at least one sees the other. Whoever lives renews
//! its lock every five minutes; one of half an hour ago, or of a process of this machine that is gone, is dead.
//! Source: restic's design document, "Locks", and its `restic unlock`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp as Moment;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::backend::Backend;
use super::error::ResticError;
use super::seal::Seal;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::store::{Area, ObjectName, ResticArea, StoreError};

/// A lock that was not renewed for so long is dead.
const STALE: Duration = Duration::from_secs(30 * 60);
/// A lock is renewed so often.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);
/// When renewing failed, it is tried again after this.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// A run whose lock is older than this writes no snapshot any more: well before others may take it for dead.
const LOST: Duration = Duration::from_secs(22 * 60);
/// Between putting the lock and looking for others: restic's own time.
const SETTLE: Duration = Duration::from_millis(200);

/// What a run is about to do with the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read. Where no lock can be written, it goes on without one.
    Read,
    /// Add to it, beside others who do.
    Write,
    /// Take away from it, alone.
    Exclusive,
}

/// What a lock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    time: Moment,
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

impl Holder {
    fn this(exclusive: bool) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let uid = rustix::process::geteuid().as_raw();
        let user = crate::source::metadata::Names::of_this_machine().user(uid);
        Self {
            time: now(),
            exclusive,
            hostname: host,
            username: user.map_or_else(String::new, |name| name.to_string()),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            uid,
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// Whether its process is one of this machine that is gone.
    fn has_ended(&self, this: &Self) -> bool {
        self.hostname == this.hostname
            && Pid::from_raw(self.pid).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }

    fn is_stale(&self, this: &Self) -> bool {
        let age = this.time.duration_since(self.time);
        age > jiff::SignedDuration::try_from(STALE).unwrap_or(jiff::SignedDuration::MAX) || self.has_ended(this)
    }

    fn describe(&self) -> String {
        let Self { hostname, username, pid, time, .. } = self;
        let how = if self.exclusive { ", which must be alone," } else { "" };
        let since = time.round(jiff::Unit::Second).unwrap_or(*time);
        format!("process {pid} of {username} on {hostname}{how} since {since}")
    }
}

fn now() -> Moment {
    let Timestamp { seconds, nanos } = SystemClock.wall();
    Moment::new(seconds, nanos.cast_signed()).unwrap_or_default()
}

/// A lock that is held. Dropped, it is taken away.
pub(super) struct Lock {
    inner: Arc<Inner>,
    renewing: Option<JoinHandle<()>>,
}

struct Inner {
    backend: Arc<Backend>,
    seal: Seal,
    exclusive: bool,
    state: Mutex<State>,
    changed: Condvar,
    clock: Box<dyn Clock>,
}

struct State {
    name: ObjectName,
    /// When it was last written, by the clock that goes on while the machine sleeps.
    renewed: Duration,
    over: bool,
    /// It was not renewed in time: others may have taken it for dead, whatever is renewed later.
    lost: bool,
    trouble: Option<String>,
}

/// Locks of others.
#[derive(Default)]
struct Others {
    /// Each with its object.
    living: Vec<Holder>,
    ended: Vec<ObjectName>,
    stale: Vec<String>,
}

impl Inner {
    fn others(&self, own: Option<&ObjectName>, this: &Holder) -> Result<Others, StoreError> {
        let store = self.backend.store();
        let mut others = Others::default();
        for listed in store.list(Area::Restic(ResticArea::Locks))? {
            if Some(&listed.name) == own {
                continue;
            }
            let sealed = match store.get(&listed.name) {
                // Taken away since the list was made.
                Err(error) if error.is_missing() => continue,
                sealed => sealed?,
            };
            let holder = self.seal.open(&sealed).and_then(|text| serde_json::from_slice::<Holder>(&text).ok());
            // Half written by one that died, or of another key: restic passes it over, too.
            let Some(holder) = holder else { continue };
            if holder.has_ended(this) {
                others.ended.push(listed.name);
            } else if holder.is_stale(this) {
                others.stale.push(holder.describe());
            } else {
                others.living.push(holder);
            }
        }
        Ok(others)
    }

    fn put(&self, holder: &Holder) -> Result<ObjectName, ResticError> {
        let text = serde_json::to_vec(holder).unwrap_or_default();
        let sealed = self.seal.seal(&text).map_err(crate::repository::RepositoryError::from)?;
        let name = ResticArea::Locks.object(Sha256::digest(&sealed).into());
        self.backend.store().put_new(&name, &sealed)?;
        Ok(name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was not renewed for too long: it could not be, or the machine slept. No snapshot is written from then on.
    fn is_lost(&self) -> bool {
        let mut state = self.state();
        state.lost |= self.clock.boottime().saturating_sub(state.renewed) > LOST;
        if state.lost {
            self.backend.bar_snapshots(true);
        }
        state.lost
    }

    /// Renews the lock until it is over or lost.
    fn keep(&self) {
        let mut pause = RENEW_EVERY;
        loop {
            let waited = self.changed.wait_timeout_while(self.state(), pause, |state| !state.over);
            let state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.over {
                return;
            }
            let old = state.name;
            drop(state);
            if self.is_lost() {
                return;
            }
            let renewed = self.put(&Holder::this(self.exclusive));
            let mut state = self.state();
            match renewed {
                Ok(name) => {
                    (state.name, state.renewed, state.trouble) = (name, self.clock.boottime(), None);
                    drop(state);
                    let _ = self.backend.store().delete(&old);
                    pause = RENEW_EVERY;
                }
                Err(error) => {
                    state.trouble = Some(error.to_string());
                    pause = RENEW_AGAIN;
                }
            }
        }
    }
}

impl Lock {
    /// Takes the lock that `access` needs; `None` when one is not needed and cannot be had.
    pub(super) fn take(
        backend: &Arc<Backend>,
        seal: Seal,
        access: Access,
        warn: &dyn Fn(&str),
    ) -> Result<Option<Self>, ResticError> {
        Self::take_by(backend, seal, access, warn, Box::new(SystemClock))
    }

    /// As [`Self::take`], by another clock than the machine's.
    fn take_by(
        backend: &Arc<Backend>,
        seal: Seal,
        access: Access,
        warn: &dyn Fn(&str),
        clock: Box<dyn Clock>,
    ) -> Result<Option<Self>, ResticError> {
        let exclusive = access == Access::Exclusive;
        let location = backend.store().location();
        let this = Holder::this(exclusive);
        let state = State {
            name: ResticArea::Config.object([0; 32]),
            renewed: clock.boottime(),
            over: false,
            lost: false,
            trouble: None,
        };
        let (backend, state, changed) = (Arc::clone(backend), Mutex::new(state), Condvar::new());
        let inner = Inner { backend, seal, exclusive, state, changed, clock };
        let refuse = |others: &Others| match others.living.iter().find(|other| exclusive || other.exclusive) {
            Some(other) => Err(ResticError::Locked { location: location.clone(), holder: other.describe() }),
            None => Ok(()),
        };
        let others = inner.others(None, &this)?;
        refuse(&others)?;
        for stale in &others.stale {
            warn(&format!("{location} still has the lock of {stale}; it was not renewed and is passed over"));
        }
        let name = match inner.put(&this) {
            Err(error) if access == Access::Read => {
                let what = "a `restic prune` meanwhile could take away what is being read";
                warn(&format!("{location} cannot be locked, and {what}: {error}"));
                return Ok(None);
            }
            name => name?,
        };
        inner.state().name = name;
        std::thread::sleep(SETTLE);
        let looked = inner.others(Some(&name), &this).map_err(ResticError::from).and_then(|others| refuse(&others));
        if let Err(error) = looked {
            let _ = inner.backend.store().delete(&name);
            return Err(error);
        }
        // As `restic unlock` does; a reader takes nothing away.
        if access != Access::Read {
            for ended in &others.ended {
                let _ = inner.backend.store().delete(ended);
            }
        }
        let inner = Arc::new(inner);
        let keeper = Arc::clone(&inner);
        let renewing = std::thread::Builder::new().name("bk-restic-lock".into()).spawn(move || keeper.keep());
        Ok(Some(Self { inner, renewing: renewing.ok() }))
    }

    /// Whether the lock still holds.
    pub(super) fn check(&self) -> Result<(), ResticError> {
        if !self.inner.is_lost() {
            return Ok(());
        }
        let state = self.inner.state();
        let age = self.inner.clock.boottime().saturating_sub(state.renewed);
        let reason = state.trouble.clone().unwrap_or_else(|| "this machine slept".into());
        let location = self.inner.backend.store().location();
        Err(ResticError::LockLost { location, minutes: age.as_secs() / 60, reason })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.inner.state().over = true;
        self.inner.changed.notify_all();
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.join();
        }
        let name = self.inner.state().name;
        // One that stays is passed over once it is stale.
        let _ = self.inner.backend.store().delete(&name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::Restic;
    use super::*;
    use crate::crypto::Passphrase;
    use crate::store::{LocalStore, Store};

    fn holder(minutes: i64, pid: i32, host: &str) -> Holder {
        let time = now() - jiff::SignedDuration::from_mins(minutes);
        Holder { time, pid, hostname: host.into(), ..Holder::this(false) }
    }

    #[test]
    fn a_lock_is_dead_after_half_an_hour_or_with_its_process() {
        let this = Holder::this(false);
        let gone = i32::MAX;
        assert!(!holder(29, gone, "elsewhere").is_stale(&this));
        assert!(holder(31, gone, "elsewhere").is_stale(&this));
        assert!(holder(0, gone, &this.hostname).is_stale(&this));
        assert!(!holder(0, this.pid, &this.hostname).is_stale(&this));
        assert!(!holder(0, 1, &this.hostname).is_stale(&this), "the first process is of another user, and lives");
    }

    fn locks(store: &Arc<dyn Store>) -> usize {
        store.list(Area::Restic(ResticArea::Locks)).unwrap().len()
    }

    #[test]
    fn who_must_be_alone_keeps_others_away_and_is_kept_away_by_them() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(LocalStore::create_restic(&folder.path().join("r")).unwrap());
        let password = Passphrase::new("x".into());
        let open = |access| Restic::open(Arc::clone(&store), &password, access, &|text| panic!("{text}"));
        let first = Restic::create(Arc::clone(&store), &password).unwrap();
        let second = open(Access::Write).unwrap();
        assert_eq!(locks(&store), 2);
        let refused = open(Access::Exclusive).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(matches!(&refused, ResticError::Locked { holder, .. } if holder.contains(&pid)), "{refused}");
        drop((first, second));
        assert_eq!(locks(&store), 0, "whoever was refused leaves none either");
        let alone = open(Access::Exclusive).unwrap();
        for access in [Access::Read, Access::Write, Access::Exclusive] {
            let refused = open(access).unwrap_err().to_string();
            assert!(refused.contains("which must be alone"), "{refused}");
        }
        drop(alone);
        assert_eq!(locks(&store), 0);
    }

    #[test]
    fn a_lock_that_a_dead_process_left_keeps_nobody_away_and_one_that_cannot_be_read_neither() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(LocalStore::create_restic(&folder.path().join("r")).unwrap());
        let password = Passphrase::new("x".into());
        let alone = {
            let restic = Restic::create(Arc::clone(&store), &password).unwrap();
            let lock = restic.lock.as_ref().unwrap();
            let dead = Holder { pid: i32::MAX, exclusive: true, ..Holder::this(true) };
            lock.inner.put(&dead).unwrap();
            store.put_new(&ResticArea::Locks.object([7; 32]), b"cut short").unwrap();
            restic
        };
        drop(alone);
        assert_eq!(locks(&store), 2);
        drop(Restic::open(Arc::clone(&store), &password, Access::Exclusive, &|_| ()).unwrap());
        assert_eq!(locks(&store), 1, "that of the dead is cleared away, what cannot be read is left alone");
    }

    /// So many minutes after the machine started.
    struct Minutes(Arc<AtomicU64>);

    impl Clock for Minutes {
        fn wall(&self) -> Timestamp {
            SystemClock.wall()
        }

        fn boottime(&self) -> Duration {
            Duration::from_secs(60 * self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_run_whose_machine_slept_too_long_has_lost_its_lock_and_writes_no_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(LocalStore::create_restic(&folder.path().join("r")).unwrap());
        let backend = Arc::new(Backend::new(store));
        let seal = Seal::new(&rustic_core::repofile::MasterKey::new()).unwrap();
        let minutes = Arc::new(AtomicU64::new(5));
        let clock = Box::new(Minutes(Arc::clone(&minutes)));
        let lock = Lock::take_by(&backend, seal, Access::Write, &|_| (), clock).unwrap().unwrap();
        minutes.store(26, Ordering::Relaxed);
        assert!(lock.check().is_ok() && !backend.bars_snapshots());
        minutes.store(28, Ordering::Relaxed);
        let lost = lock.check().unwrap_err().to_string();
        assert!(lost.contains("could not be renewed for 23 minutes: this machine slept"), "{lost}");
        assert!(backend.bars_snapshots());
        minutes.store(5, Ordering::Relaxed);
        assert!(lock.check().is_err(), "what was lost does not come back");
    }

    #[test]
    fn what_restic_writes_is_read() {
        let text =
            r#"{"time":"2026-11-22T04:05:06.123456789+01:00","exclusive":true,"hostname":"h","username":"u","pid":7}"#;
        let holder: Holder = serde_json::from_str(text).unwrap();
        let told = holder.describe();
        assert_eq!(told, "process 7 of u on h, which must be alone, since 2026-11-22T03:05:06Z");
    }
}
