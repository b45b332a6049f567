//! What a store can do, tried out: an object is put, read back, listed, looked at and taken away again.
//!
//! It lies in [`Area::Temporary`], where no reader of the repository looks: one that cannot be taken away, since the
//! store refuses that, is in nobody's way.

use std::time::Duration;

use bytes::Bytes;

use super::{Area, ObjectName, Store, StoreError};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::crypto;
use crate::id::ObjectId;

/// Length of the object, in bytes.
const PROBE_BYTES: usize = 256;

/// Length of the object that the speed is measured with, in bytes.
pub const SPEED_BYTES: usize = 8 << 20;

/// How often the object is looked at: the middle one counts.
const LOOKS: usize = 5;

/// An object that lies there for longer has lost whoever put it, in seconds.
const ABANDONED_SECONDS: i64 = 24 * 3600;

/// Something that a store has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Keeping an object.
    Write,
    /// Giving back the same bytes.
    Read,
    /// Listing it with its length.
    List,
    /// Saying how long it is.
    Size,
    /// Taking it away.
    Delete,
    /// Not having it after that.
    Gone,
}

/// A store did not do a [`Step`].
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It says so itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was put is not what is there.
    #[error("{name} came back from {location} with other bytes than were put there")]
    OtherBytes {
        /// The object's name.
        name: ObjectName,
        /// The store.
        location: String,
    },
    /// A list is not complete.
    #[error("{name} was put to {location} and is not listed there")]
    NotListed {
        /// The object's name.
        name: ObjectName,
        /// The store.
        location: String,
    },
    /// A length is wrong.
    #[error("{location} says that {name} has {size} bytes, and {put_bytes} were put there")]
    OtherSize {
        /// The object's name.
        name: ObjectName,
        /// The store.
        location: String,
        /// What it says, in bytes.
        size: u64,
        /// What is right, in bytes.
        put_bytes: u64,
    },
    /// It says that it deleted.
    #[error("{name} was deleted and is still in {location}")]
    StillThere {
        /// The object's name.
        name: ObjectName,
        /// The store.
        location: String,
    },
}

impl ProbeError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Store(error) => error.hint(),
            Self::OtherBytes { .. } => {
                "keep no backups there before it is known why; `bk check --read-data` finds more"
            }
            Self::NotListed { .. } | Self::OtherSize { .. } => {
                "keep no backups there: a store must show what it has as soon as it has it"
            }
            Self::StillThere { .. } => "see whether somebody else may delete there; `bk prune` frees nothing as it is",
        }
    }
}

/// How far the clock of a store is from that of this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockDifference {
    /// The store's time less ours, half of the way there and back taken off. Negative when it is behind.
    pub ahead_seconds: f64,
    /// Half of that way: so much it may be more or less.
    pub uncertain_seconds: f64,
}

/// What [`probe`] found.
#[derive(Debug)]
pub struct ProbeReport {
    /// The object that it was tried with.
    pub name: String,
    /// Each step that was taken, in this order. What depends on one that failed was not tried.
    pub steps: Vec<(Step, Result<(), ProbeError>)>,
    /// When the object was listed.
    pub clock: Option<ClockDifference>,
    /// How long an answer takes: the middle one of several, when all of them came.
    pub answer_time: Option<Duration>,
    /// Whether what is deleted stays as an older version, where that can be found out.
    pub keeps_deleted: Option<bool>,
}

impl ProbeReport {
    /// How a step went, when it was taken.
    #[must_use]
    pub fn step(&self, wanted: Step) -> Option<&Result<(), ProbeError>> {
        self.steps.iter().find(|(step, _)| *step == wanted).map(|(_, result)| result)
    }

    /// Whether all went well but for deleting, which the store does not allow: that is enough for backups and restores.
    #[must_use]
    pub fn is_delete_refused(&self) -> bool {
        matches!(self.step(Step::Delete), Some(Err(ProbeError::Store(error))) if error.is_refused())
    }

    /// Whether the object is still there.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let is_still_there = matches!(self.step(Step::Gone), Some(Err(ProbeError::StillThere { .. })));
        is_still_there || matches!(self.step(Step::Delete), Some(Err(_)))
    }

    /// Whether every step went well.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.steps.iter().all(|(_, result)| result.is_ok())
    }

    /// Whether the object was there and then was not.
    fn is_lost(&self) -> bool {
        matches!(self.step(Step::Read), Some(Err(ProbeError::Store(error))) if error.is_missing())
    }
}

/// Bytes per second, each way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// To the store.
    pub put_bytes_per_second: u64,
    /// From it.
    pub got_bytes_per_second: u64,
}

/// An object of its own, and its bytes.
fn object(length: usize) -> Result<(ObjectName, Vec<u8>), StoreError> {
    let folder = Area::Temporary.folder();
    let seed: [u8; 32] = crypto::random()
        .map_err(|error| StoreError::from_io("make", folder, "this machine", std::io::Error::other(error)))?;
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut bytes);
    Ok((ObjectName::Plain(Area::Temporary, ObjectId(*blake3::hash(&bytes).as_bytes())), bytes))
}

/// Tries out what a store can do, with one small object that is taken away again.
#[must_use]
pub fn probe(store: &dyn Store, clock: &dyn Clock) -> ProbeReport {
    let report = probe_once(store, clock);
    // A run that begins at this moment takes away what it finds among what is on its way.
    if report.is_lost() { probe_once(store, clock) } else { report }
}

fn probe_once(store: &dyn Store, clock: &dyn Clock) -> ProbeReport {
    let folder = Area::Temporary.folder().to_owned();
    let mut report =
        ProbeReport { name: folder, steps: Vec::new(), clock: None, answer_time: None, keeps_deleted: None };
    let (name, bytes) = match object(PROBE_BYTES) {
        Ok(made) => made,
        Err(error) => {
            report.steps.push((Step::Write, Err(error.into())));
            return report;
        }
    };
    report.name = name.to_string();
    let begin = clock.wall();
    let watch = Stopwatch::start();
    if let Err(error) = store.put_new(&name, &bytes) {
        // Perhaps only the answer was lost.
        if !error.is_refused() {
            let _ = store.delete(&name);
        }
        report.steps.push((Step::Write, Err(error.into())));
        return report;
    }
    let took = watch.elapsed();
    report.steps.push((Step::Write, Ok(())));
    report.steps.push((Step::Read, read(store, &name, &bytes)));
    let listed = list(store, &name, bytes.len() as u64);
    report.clock = listed.as_ref().ok().map(|time| difference(*time, begin, took));
    report.steps.push((Step::List, listed.map(drop)));
    let looked = look(store, &name, bytes.len() as u64);
    report.answer_time = looked.as_ref().ok().copied();
    report.steps.push((Step::Size, looked.map(drop)));
    let deleted = store.delete(&name).map_err(ProbeError::from);
    let is_deleted = deleted.is_ok();
    report.steps.push((Step::Delete, deleted));
    if is_deleted {
        report.steps.push((Step::Gone, gone(store, &name)));
        report.keeps_deleted = store.keeps_deleted(&name);
    }
    report
}

fn read(store: &dyn Store, name: &ObjectName, bytes: &[u8]) -> Result<(), ProbeError> {
    if store.get(name)? == bytes {
        return Ok(());
    }
    Err(ProbeError::OtherBytes { name: *name, location: store.location() })
}

fn check_size(store: &dyn Store, name: &ObjectName, size: u64, put_bytes: u64) -> Result<(), ProbeError> {
    if size == put_bytes {
        return Ok(());
    }
    Err(ProbeError::OtherSize { name: *name, location: store.location(), size, put_bytes })
}

/// Finds the object in a list, and when the store took it. What earlier ones could not take away goes with this one.
fn list(store: &dyn Store, name: &ObjectName, put_bytes: u64) -> Result<Timestamp, ProbeError> {
    let listed = store.list(Area::Temporary)?;
    let Some(own) = listed.iter().find(|listed| listed.name == *name) else {
        return Err(ProbeError::NotListed { name: *name, location: store.location() });
    };
    check_size(store, name, own.size, put_bytes)?;
    let is_left = |time: Timestamp| time.seconds < own.time.seconds.saturating_sub(ABANDONED_SECONDS);
    for left in listed.iter().filter(|listed| is_left(listed.time)) {
        if store.delete(&left.name).is_err() {
            break;
        }
    }
    Ok(own.time)
}

/// Looks at the object again and again, and gives how long it takes.
fn look(store: &dyn Store, name: &ObjectName, put_bytes: u64) -> Result<Duration, ProbeError> {
    let mut times = Vec::new();
    for _ in 0..LOOKS {
        let watch = Stopwatch::start();
        let size = store.stat(name)?;
        times.push(watch.elapsed());
        let missing = || StoreError::Missing { name: name.to_string(), location: store.location() };
        check_size(store, name, size.ok_or_else(missing)?, put_bytes)?;
    }
    times.sort_unstable();
    Ok(times.get(LOOKS / 2).copied().unwrap_or_default())
}

fn gone(store: &dyn Store, name: &ObjectName) -> Result<(), ProbeError> {
    match store.stat(name)? {
        None => Ok(()),
        Some(_) => Err(ProbeError::StillThere { name: *name, location: store.location() }),
    }
}

fn difference(taken: Timestamp, begin: Timestamp, took: Duration) -> ClockDifference {
    let between = (taken.seconds.saturating_sub(begin.seconds)) as f64;
    let between = between + (f64::from(taken.nanos) - f64::from(begin.nanos)) / 1e9;
    let uncertain_seconds = took.as_secs_f64() / 2.0;
    ClockDifference { ahead_seconds: between - uncertain_seconds, uncertain_seconds }
}

/// Measures how fast a store takes and gives [`SPEED_BYTES`], in one object that is taken away again.
///
/// # Errors
/// The step that failed, and why.
pub fn measure(store: &dyn Store) -> Result<Rates, (Step, ProbeError)> {
    let (name, bytes) = object(SPEED_BYTES).map_err(|error| (Step::Write, error.into()))?;
    let rate = |took: Duration| (SPEED_BYTES as f64 / took.as_secs_f64().max(1e-6)) as u64;
    let bytes = Bytes::from(bytes);
    let watch = Stopwatch::start();
    let put = store.put_bytes(&name, bytes.clone());
    let put_took = watch.elapsed();
    let watch = Stopwatch::start();
    let result = match put {
        Ok(()) => read(store, &name, &bytes).map_err(|error| (Step::Read, error)),
        Err(error) => Err((Step::Write, error.into())),
    };
    let got_took = watch.elapsed();
    let deleted = store.delete(&name);
    result?;
    deleted.map_err(|error| (Step::Delete, error.into()))?;
    Ok(Rates { put_bytes_per_second: rate(put_took), got_bytes_per_second: rate(got_took) })
}
