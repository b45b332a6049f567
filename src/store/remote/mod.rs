//! A repository on another machine, through OpenDAL: S3 and what speaks it, Backblaze B2, WebDAV, restic's REST servers.
//!
//! The store is synchronous; a small runtime of its own waits for the network, for as many threads as ask at once.
//! Where a service can publish under a name in one act (S3), one request puts an object. Elsewhere the bytes go under
//! a temporary name first and are renamed, so that nobody ever sees half of an object.

mod credentials;
mod pace;
mod rest;
mod restic;
mod service;
mod transport;
mod trouble;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use opendal::options::{ListOptions, WriteOptions};
use opendal::{Buffer, EntryMode, Error, ErrorKind, Operator};
use tokio::runtime::Runtime;

pub use credentials::{Credentials, CredentialsError};
pub use service::Settings;
pub(crate) use service::http_client;
pub(crate) use transport::asked_wait;
pub use trouble::Trouble;

use super::gathered::Gathered;
use super::location::Remote;
use super::{Area, Listed, ObjectName, ResticArea, Stop, Store, StoreError, Traffic, Upload};
use crate::format::node::Timestamp;
use crate::id::to_hex;

/// Folder of what is being written, and of objects that ask for the time.
const TEMPORARY: &str = "tmp/";

/// Larger objects go in parts of this many bytes where a service knows parts: services take at most 5 GiB at once, and a failed part is sent again.
/// A pack fits into one, and one request is what it costs.
const PART_BYTES: usize = 64 << 20;

/// What is left under [`TEMPORARY`] for longer has lost its writer, in seconds.
const ABANDONED_SECONDS: i64 = 24 * 3600;

/// A repository on another machine. Clones share the connections.
#[derive(Clone)]
pub struct RemoteStore {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    /// Gives up soon: what does not answer the first request has probably been misspelt.
    first: Operator,
    /// Waits for a server that is away for minutes.
    patient: Operator,
    reached: AtomicBool,
    stop: Stop,
    /// What was listed to see whether there is a repository: whoever asks next need not ask again.
    configs: Mutex<Option<Vec<Listed>>>,
    counted: Arc<transport::Counted>,
    location: String,
    credentials: Option<Credentials>,
    /// Objects appear in one act under their names, and there are no folders.
    is_object_store: bool,
    /// A server that knows neither times nor any objects but those of restic.
    is_rest: bool,
    /// Whether there was a configuration in restic's format when it was opened: without one nothing is known.
    holds_restic: AtomicBool,
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore").field("location", &self.inner.location).finish_non_exhaustive()
    }
}

/// An object of a list: its length in bytes, and when the server took it.
type Found = (ObjectName, u64, Option<opendal::raw::Timestamp>);

fn timestamp(time: opendal::raw::Timestamp) -> Timestamp {
    let time = time.into_inner();
    Timestamp { seconds: time.as_second(), nanos: u32::try_from(time.subsec_nanosecond()).unwrap_or(0) }
}

fn folder(area: Area) -> String {
    format!("{}/", area.folder())
}

impl Inner {
    fn error(&self, action: &'static str, name: &str, error: &Error) -> StoreError {
        trouble::store_error(action, name, &self.location, self.credentials.as_ref(), error)
    }

    /// Does one thing with the server, and waits for it.
    fn ask<T, F>(&self, action: &'static str, name: &str, request: impl FnOnce(Operator) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let reached = self.reached.load(Ordering::Relaxed);
        let operator = if reached { &self.patient } else { &self.first };
        let answer = self.runtime.block_on(self.stop.wait(request(operator.clone())));
        let Some(answer) = answer else {
            return Err(StoreError::Stopped { action, name: name.to_owned(), location: self.location.clone() });
        };
        // A missing object is an answer as good as another.
        if answer.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::NotFound) {
            self.reached.store(true, Ordering::Relaxed);
        }
        answer.map_err(|error| self.error(action, name, &error))
    }

    fn temporary(&self) -> Result<String, StoreError> {
        let random: [u8; 12] = crate::crypto::random()
            .map_err(|error| StoreError::from_io("write", TEMPORARY, &self.location, std::io::Error::other(error)))?;
        Ok(format!("{TEMPORARY}{}", to_hex(&random)))
    }

    fn write(&self, name: &str, bytes: Buffer) -> Result<(), StoreError> {
        self.ask("write", name, |operator| async move {
            let chunk = operator.info().capability().write_can_multi.then_some(PART_BYTES);
            let options = WriteOptions { chunk, ..WriteOptions::default() };
            operator.write_options(name, bytes, options).await.map(drop)
        })
    }

    /// What was listed is no more what is there.
    fn forget_configs(&self, changed: &ObjectName) {
        if changed.area() != Area::Config {
            return;
        }
        drop(self.configs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Puts an object, whole or not at all.
    fn publish(&self, name: &ObjectName, bytes: Buffer) -> Result<(), StoreError> {
        self.forget_configs(name);
        let name = name.to_string();
        if self.is_object_store {
            return self.write(&name, bytes);
        }
        let length = bytes.len() as u64;
        if self.length(&name)?.is_some() {
            return Err(StoreError::Exists { name, location: self.location.clone() });
        }
        let temporary = self.temporary()?;
        let put = || {
            self.write(&temporary, bytes)?;
            // What a server cut short and took all the same must not get the name.
            match self.length(&temporary)? {
                Some(size) if size == length => {}
                size => {
                    let (name, location) = (temporary.clone(), self.location.clone());
                    return Err(StoreError::Short { name, location, size: size.unwrap_or(0), end: length });
                }
            }
            let (from, to) = (temporary.as_str(), name.as_str());
            self.ask("write", &name, |operator| async move { operator.rename(from, to).await })
        };
        let result = put();
        if result.is_err() {
            let _ = self.remove(&temporary);
        }
        result
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.ask("look at", name, |operator| async move { operator.stat(name).await }) {
            Ok(metadata) => Ok(Some(metadata.content_length())),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.ask("delete", name, |operator| async move { operator.delete(name).await }) {
            Err(StoreError::Missing { .. }) => Ok(()),
            result => result,
        }
    }

    /// Every object below a folder, with what `keep` makes of its path, its length and its time.
    fn list<T>(
        &self,
        folder: &str,
        keep: impl Fn(&str, u64, Option<opendal::raw::Timestamp>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let entries =
            self.ask("list", folder, |operator| async move { operator.list_options(folder, options).await })?;
        let files =
            entries.into_iter().map(opendal::Entry::into_parts).filter(|(_, data)| data.mode() == EntryMode::FILE);
        Ok(files.filter_map(|(path, data)| keep(&path, data.content_length(), data.last_modified())).collect())
    }

    /// Every object of an area. What lies elsewhere under a name of one is none.
    fn list_area(&self, area: Area) -> Result<Vec<Found>, StoreError> {
        self.list(&folder(area), |path, size, time| {
            let name = ObjectName::parse(area, path.rsplit_once('/').map_or(path, |(_, name)| name))?;
            (name.to_string() == path).then_some((name, size, time))
        })
    }

    /// With its time, where the list did not say it.
    fn timed(&self, (name, size, time): Found) -> Result<Listed, StoreError> {
        let time = match time {
            Some(time) => time,
            None => self.time_of(&name.to_string())?,
        };
        Ok(Listed { name, size, time: timestamp(time) })
    }

    fn short(&self, name: &str, size: u64, end: u64) -> StoreError {
        StoreError::Short { name: name.to_owned(), location: self.location.clone(), size, end }
    }
}

impl RemoteStore {
    fn connect(remote: &Remote, settings: &Settings, credentials: Option<Credentials>) -> Result<Self, StoreError> {
        let location = remote.to_string();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bk-remote")
            .enable_all()
            .build()
            .map_err(|error| StoreError::from_io("open", "connections", &location, error))?;
        let operators = {
            let _inside = runtime.enter();
            service::operators(remote, settings, credentials.as_ref())?
        };
        let inner = Inner {
            runtime,
            first: operators.first,
            patient: operators.patient,
            reached: AtomicBool::new(false),
            stop: settings.stop.clone(),
            configs: Mutex::new(None),
            counted: operators.counted,
            location,
            credentials,
            is_object_store: remote.service.has_buckets() || remote.service.is_rest(),
            is_rest: remote.service.is_rest(),
            holds_restic: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the place of a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when there is none; [`StoreError::Remote`] with the reason when it cannot be used.
    pub fn open(remote: &Remote, settings: &Settings, credentials: Option<Credentials>) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings, credentials)?;
        let configs = match store.list(Area::Config) {
            Err(StoreError::Missing { .. }) => Vec::new(),
            configs => configs?,
        };
        if configs.is_empty() {
            return Err(StoreError::NoRepository { location: store.location() });
        }
        *store.inner.configs.lock().unwrap_or_else(PoisonError::into_inner) = Some(configs);
        Ok(store)
    }

    /// Prepares a place for a new repository. It may hold what an interrupted call of this left.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] when anything else is there; others as they come.
    pub fn create(remote: &Remote, settings: &Settings, credentials: Option<Credentials>) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings, credentials)?;
        let keys = folder(Area::Keys);
        let is_strange = |path: &str| !path.starts_with(&keys) && !path.starts_with(TEMPORARY);
        let strange = match store.inner.list("", |path, _, _| is_strange(path).then_some(())) {
            Err(StoreError::Missing { .. }) => Vec::new(),
            strange => strange?,
        };
        if !strange.is_empty() {
            return Err(StoreError::NotEmpty { location: store.location() });
        }
        if !store.inner.is_object_store {
            for name in Area::ALL.map(folder).iter().map(String::as_str).chain([TEMPORARY]) {
                store.inner.ask("make", name, |operator| async move { operator.create_dir(name).await })?;
            }
        }
        Ok(store)
    }
}

impl Store for RemoteStore {
    fn location(&self) -> String {
        self.inner.location.clone()
    }

    fn is_far(&self) -> bool {
        true
    }

    fn keeps_deleted(&self, name: &ObjectName) -> Option<bool> {
        if !self.inner.is_object_store {
            return None;
        }
        let (name, options) = (name.to_string(), ListOptions { versions: true, ..ListOptions::default() });
        let path = name.as_str();
        // Not every service knows versions, and some do not let everybody see them.
        let versions =
            self.inner.ask("list", path, |operator| async move { operator.list_options(path, options).await });
        versions.ok().map(|versions| versions.iter().any(|version| version.path() == path))
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let name = name.to_string();
        let path = name.as_str();
        self.inner.ask("read", path, |operator| async move { operator.read(path).await }).map(|bytes| bytes.to_vec())
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        let name = name.to_string();
        let path = name.as_str();
        let end = offset.saturating_add(length);
        let read =
            match length {
                // Nothing is no range that could be asked for.
                0 => None,
                _ => Some(
                    self.inner
                        .ask("read", path, |operator| async move { operator.read_with(path).range(offset..end).await }),
                ),
            };
        match read {
            Some(Ok(bytes)) if bytes.len() as u64 == length => {
                for part in bytes {
                    into.extend_from_slice(&part);
                }
                Ok(())
            }
            Some(Ok(bytes)) => Err(self.inner.short(path, offset.saturating_add(bytes.len() as u64), end)),
            Some(Err(error @ (StoreError::Missing { .. } | StoreError::Remote { .. }))) => Err(error),
            // A range that goes beyond the end is refused in many ways; the length tells.
            other => match self.inner.length(path)? {
                None => Err(StoreError::Missing { name, location: self.location() }),
                Some(size) if size < end => Err(self.inner.short(path, size, end)),
                Some(_) => other.map_or(Ok(()), |read| read.map(drop)),
            },
        }
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.publish(name, Buffer::from(bytes.to_vec()))
    }

    fn put_bytes(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.publish(name, Buffer::from(bytes))
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Gathered::begin(self.clone()))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        if area == Area::Config
            && let Some(configs) = self.inner.configs.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Ok(configs);
        }
        if let Area::Restic(area) = area {
            return self.inner.list_restic(area);
        }
        let folder = folder(area);
        let listed = self.inner.list_area(area);
        let listed = match listed {
            // Made with the first object that is put there.
            Err(StoreError::Missing { .. }) if area == Area::Quarantine => return Ok(Vec::new()),
            listed => listed?,
        };
        if listed.is_empty() && area == Area::Quarantine {
            return Ok(Vec::new());
        }
        // Without its folder nothing is known: the disk behind the server may be away.
        if listed.is_empty() && !self.inner.is_object_store && self.inner.length(&folder)?.is_none() {
            return Err(StoreError::Missing { name: folder, location: self.location() });
        }
        listed.into_iter().map(|one| self.inner.timed(one)).collect()
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        self.inner.length(&name.to_string())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.inner.forget_configs(name);
        self.inner.remove(&name.to_string())
    }

    /// An empty object is put, looked at and deleted; where deleting is refused it stays. A REST server takes no such
    /// objects, and says the time with each answer.
    fn time(&self) -> Result<Timestamp, StoreError> {
        if self.inner.is_rest {
            return self.inner.time_of(&ResticArea::CONFIG.to_string()).map(timestamp);
        }
        let probe = self.inner.temporary()?;
        self.inner.write(&probe, Buffer::new())?;
        let time = self.inner.time_of(&probe);
        let _ = self.inner.remove(&probe);
        time.map(timestamp)
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.inner.counted.traffic())
    }

    /// Where objects appear in one act, nothing but an empty object of [`Store::time`] can be left, which is not worth
    /// a request in every run.
    fn clean(&self) -> Result<(), StoreError> {
        if self.inner.is_object_store {
            return Ok(());
        }
        let left = match self.inner.list(TEMPORARY, |path, _, time| Some((path.to_owned(), time?))) {
            Err(StoreError::Missing { .. }) => return Ok(()),
            left => left?,
        };
        if left.is_empty() {
            return Ok(());
        }
        let now = self.time()?.seconds;
        for (path, time) in left {
            if timestamp(time).seconds < now.saturating_sub(ABANDONED_SECONDS) {
                // Where deleting is refused it stays; it costs next to nothing.
                let _ = self.inner.remove(&path);
            }
        }
        Ok(())
    }
}

impl Inner {
    fn time_of(&self, name: &str) -> Result<opendal::raw::Timestamp, StoreError> {
        let metadata = self.ask("look at", name, |operator| async move { operator.stat(name).await })?;
        metadata.last_modified().ok_or_else(|| {
            let error = std::io::Error::other("the server does not say when it took the object");
            StoreError::from_io("look at", name, &self.location, error)
        })
    }
}
