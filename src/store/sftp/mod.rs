//! A repository in a folder behind SSH, our own because durability is the point: write under a temporary name, fsync,
//! name without replacing. Nothing has to be installed at the other end but an SSH server that offers SFTP.
//!
//! The store is synchronous; a small runtime of its own waits for the network, for as many threads as ask at once.
//! Each asks over the same connection, which is opened again when it was lost. What is asked may then be done twice:
//! reading anyway, and a put begins again under a new temporary name.

mod line;
mod pieces;
mod requests;
mod restic;
mod ssh;
mod trouble;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Runtime;

pub use trouble::SshTrouble;

use super::gathered::Gathered;
use super::location::Remote;
use super::remote::Settings;
use super::{Area, Listed, ObjectName, ResticArea, Stop, Store, StoreError, Upload};
use crate::format::node::Timestamp;
use crate::id::to_hex;
use line::Line;
use requests::Found;
use ssh::{Address, Connection};
use trouble::Failure;

/// Folder of what is being written, and of files that ask for the time.
const TEMPORARY: &str = Area::Temporary.folder();

/// What is left under [`TEMPORARY`] for longer has lost its writer, in seconds.
const ABANDONED_SECONDS: i64 = 24 * 3600;

/// A repository in a folder behind SSH. Clones share the connection.
#[derive(Clone)]
pub struct SftpStore {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    line: Line,
    location: String,
    /// The folder at the server.
    root: String,
    syncs: AtomicBool,
    /// Whether there was a configuration in restic's format when it was opened: without one nothing is known.
    holds_restic: AtomicBool,
    stop: Stop,
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStore").field("location", &self.inner.location).finish_non_exhaustive()
    }
}

/// The path that a server understands: absolute, or from the folder that a login begins in.
fn root(path: &str) -> String {
    match path.strip_prefix('~') {
        Some("") => ".".to_owned(),
        Some(below) if below.starts_with('/') => below.trim_start_matches('/').to_owned(),
        _ => format!("/{path}"),
    }
}

fn pack_folders() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|first| format!("{}/{}", Area::Packs.folder(), to_hex(&[first])))
}

impl Inner {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// Does one thing with the server, and waits for it.
    fn ask<T, F>(
        &self,
        action: &'static str,
        name: &str,
        request: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let answer = self.runtime.block_on(self.stop.wait(self.line.ask(request)));
        let answer = answer.ok_or_else(|| self.stopped(action, name))?;
        answer.map_err(|failure| failure.of(action, name, &self.location))
    }

    fn stopped(&self, action: &'static str, name: &str) -> StoreError {
        StoreError::Stopped { action, name: name.to_owned(), location: self.location.clone() }
    }

    fn temporary(&self) -> Result<String, StoreError> {
        let random: [u8; 12] = crate::crypto::random()
            .map_err(|error| StoreError::from_io("write", TEMPORARY, &self.location, io::Error::other(error)))?;
        Ok(format!("{TEMPORARY}/{}", to_hex(&random)))
    }

    /// Puts an object, whole or not at all.
    fn publish(&self, name: &ObjectName, bytes: &Bytes) -> Result<(), StoreError> {
        let path = name.to_string();
        let stem = self.temporary()?;
        let folder = path.rsplit_once('/').map(|(folder, _)| self.path(folder));
        let put = Put {
            path: self.path(&path),
            folders: match name.area() {
                Area::Packs | Area::Quarantine => folder.into_iter().collect(),
                Area::Restic(_) => std::iter::once(self.path(TEMPORARY)).chain(folder).collect(),
                _ => Vec::new(),
            },
            config: self.holds_restic.load(Ordering::Relaxed).then(|| self.path(&ResticArea::CONFIG.to_string())),
            stem: self.path(&stem),
            bytes,
            tries: Mutex::new(0),
            named: AtomicBool::new(false),
        };
        let work = async {
            let result = self.line.ask(|connection| put.once(connection)).await;
            // What did not get its name is in nobody's way, but takes room.
            if matches!(&result, Err(failure) if !matches!(failure, Failure::Broken(..))) {
                let last = put.last();
                let removed = self.line.try_once(|connection| {
                    let last = last.as_str();
                    async move { connection.remove(last).await }
                });
                let _ = removed.await;
            }
            result
        };
        let result = self.runtime.block_on(self.stop.wait(work)).ok_or_else(|| self.stopped("write", &path))?;
        result.map_err(|failure| failure.of("write", &path, &self.location))
    }

    /// What is in a folder of an area.
    fn found(&self, action: &'static str, folder: &str) -> Result<Vec<Found>, StoreError> {
        let path = self.path(folder);
        let name = if folder.is_empty() { "the folder" } else { folder };
        self.ask(action, name, |connection| {
            let path = path.as_str();
            async move { connection.list(path).await }
        })
    }

    /// What is in many folders, with the name of each.
    fn found_in_all(&self, folders: &[String]) -> Result<Vec<(String, Found)>, StoreError> {
        self.ask("list", Area::Packs.folder(), |connection| async move {
            let mut all = Vec::new();
            let work = |folder: &String| {
                let (path, folder, connection) = (self.path(folder), folder.clone(), Arc::clone(&connection));
                async move { connection.list(&path).await.map(|found| (folder, found)) }
            };
            let take = |(folder, found): (String, Vec<Found>)| {
                all.extend(found.into_iter().map(|one| (folder.clone(), one)));
                Ok(())
            };
            pieces::at_once(folders, work, take).await.map(|()| all)
        })
    }

    /// Makes the folder of the repository, and then those in it, group by group.
    fn make_all(&self, groups: [Vec<String>; 2]) -> Result<(), StoreError> {
        self.ask("make", &self.root, |connection| async move { connection.make_folders(&self.root).await })?;
        for folders in groups {
            self.ask("make", "its folders", |connection| {
                let folders = folders.iter().map(|folder| self.path(folder)).collect::<Vec<_>>();
                async move {
                    let work = |folder: String| {
                        let connection = Arc::clone(&connection);
                        async move { connection.make_folder(&folder).await }
                    };
                    pieces::at_once(folders, work, Ok).await
                }
            })?;
        }
        Ok(())
    }

    /// What there is under a name; a link is not followed.
    fn look_at(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let path = self.path(name);
        self.ask("look at", name, |connection| {
            let path = path.as_str();
            async move { connection.look(path).await }
        })
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        self.ask("delete", name, |connection| {
            let path = path.as_str();
            async move { connection.remove(path).await }
        })
    }

    /// Every object in the folder of an area, or in those below it. What lies elsewhere under a name of one is none.
    fn list_area(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        let found = self.found("list", area.folder())?;
        let deep: Vec<String> = match area {
            Area::Packs => pack_folders().collect(),
            Area::Restic(restic @ ResticArea::Data) => restic.folders().collect(),
            _ => Vec::new(),
        };
        let found: Vec<(String, Found)> = if deep.is_empty() {
            found.into_iter().map(|one| (area.folder().to_owned(), one)).collect()
        } else {
            let folders = found.into_iter().filter(|one| !one.is_file);
            let folders: BTreeSet<_> = folders.map(|one| format!("{}/{}", area.folder(), one.name)).collect();
            let known: Vec<_> = deep.into_iter().filter(|folder| folders.contains(folder)).collect();
            self.found_in_all(&known)?
        };
        let listed = found.into_iter().filter(|(_, one)| one.is_file).filter_map(|(folder, one)| {
            let name = ObjectName::parse(area, &one.name)?;
            let is_own = name.to_string() == format!("{folder}/{}", one.name);
            is_own.then(|| one.listed(name))
        });
        Ok(listed.collect())
    }

    /// Whether there is nothing but folders in a folder, and nothing in those.
    fn holds_empty_folders(&self, above: &str) -> Result<bool, StoreError> {
        let folders = self.found("look at", above)?;
        if folders.iter().any(|one| one.is_file) {
            return Ok(false);
        }
        let folders: Vec<_> = folders.into_iter().map(|one| format!("{above}/{}", one.name)).collect();
        Ok(self.found_in_all(&folders)?.is_empty())
    }

    /// Whether nothing but key slots and temporary files is there, as when making it was interrupted.
    fn is_unfinished(&self) -> Result<bool, StoreError> {
        let found = match self.found("look at", "") {
            Err(StoreError::Missing { .. }) => return Ok(true),
            found => found?,
        };
        for one in found {
            match Area::ALL.into_iter().find(|area| one.name == area.folder()) {
                Some(Area::Keys) => {}
                None if one.name == TEMPORARY => {}
                None => return Ok(false),
                Some(Area::Packs) if !self.holds_empty_folders(Area::Packs.folder())? => return Ok(false),
                Some(Area::Packs) => {}
                Some(area) if !self.found("look at", area.folder())?.is_empty() => return Ok(false),
                Some(_) => {}
            }
        }
        Ok(true)
    }
}

/// An object on its way to the server, through as many tries as it takes.
struct Put<'a> {
    path: String,
    /// Those that may not be there: of a pack, of what is in quarantine, all in restic's format. That of an area of ours
    /// is never made again: its disk may be away.
    folders: Vec<String>,
    /// What has to be there before any of them is made.
    config: Option<String>,
    /// Beginning of the temporary names, one a try: what an earlier one has left may still be written to.
    stem: String,
    bytes: &'a Bytes,
    tries: Mutex<u32>,
    /// Whether an earlier try may have given it its name.
    named: AtomicBool,
}

impl Put<'_> {
    fn name_of_try(&self, number: u32) -> String {
        format!("{}-{number}", self.stem)
    }

    fn last(&self) -> String {
        self.name_of_try(*self.tries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn once(&self, connection: Arc<Connection>) -> Result<(), Failure> {
        let number = {
            let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
            *tries += 1;
            *tries
        };
        if number > 1 {
            let _ = connection.remove(&self.name_of_try(number - 1)).await;
        }
        let before = self.named.load(Ordering::Relaxed);
        // Of an earlier try only the answer was lost.
        if before && self.is_there(&connection).await? {
            return Ok(());
        }
        let temporary = self.name_of_try(number);
        let named = || self.named.store(true, Ordering::Relaxed);
        let mut result = connection.put(&temporary, &self.path, self.bytes, named).await;
        if matches!(result, Err(Failure::Missing)) && !self.folders.is_empty() {
            self.make_folders(&connection).await?;
            connection.remove(&temporary).await?;
            result = connection.put(&temporary, &self.path, self.bytes, named).await;
        }
        match result {
            Err(Failure::Exists) if before && self.is_there(&connection).await? => Ok(()),
            result => result,
        }
    }

    async fn make_folders(&self, connection: &Connection) -> Result<(), Failure> {
        if let Some(config) = &self.config
            && connection.look(config).await?.is_none()
        {
            return Err(Failure::Missing);
        }
        for folder in &self.folders {
            connection.make_folder(folder).await?;
        }
        Ok(())
    }

    async fn is_there(&self, connection: &Connection) -> Result<bool, Failure> {
        let found = connection.look(&self.path).await?;
        Ok(found.is_some_and(|found| found.is_file && found.size == self.bytes.len() as u64))
    }
}

impl SftpStore {
    fn connect(remote: &Remote, settings: &Settings) -> Result<Self, StoreError> {
        let location = remote.to_string();
        if settings.endpoint.is_some() || settings.region.is_some() || settings.storage_class.is_some() {
            let hint = "take `endpoint`, `region` and `storage-class` out of its section";
            return Err(StoreError::Settings { location, problem: "is no bucket", hint });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bk-sftp")
            .enable_all()
            .build()
            .map_err(|error| StoreError::from_io("open", "connections", &location, error))?;
        let line = Line::new(Address::new(remote, &settings.ssh_options));
        let (root, stop) = (root(&remote.path), settings.stop.clone());
        let inner = Inner {
            runtime,
            line,
            location,
            root,
            syncs: AtomicBool::new(false),
            holds_restic: AtomicBool::new(false),
            stop,
        };
        let syncs =
            inner.ask("open", "the repository", |connection| async move { Ok(connection.sftp().support_fsync()) })?;
        inner.syncs.store(syncs, Ordering::Relaxed);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the folder of a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when there is none; [`StoreError::Ssh`] with the reason when it cannot be used.
    pub fn open(remote: &Remote, settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings)?;
        let found = match store.list(Area::Config) {
            Err(StoreError::Missing { .. }) => false,
            configs => !configs?.is_empty(),
        };
        if found { Ok(store) } else { Err(StoreError::NoRepository { location: store.location() }) }
    }

    /// Makes the folders of a new repository. The place may hold what an interrupted call of this left.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] when anything else is there; others as they come.
    pub fn create(remote: &Remote, settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings)?;
        let inner = &store.inner;
        if !inner.is_unfinished()? {
            return Err(StoreError::NotEmpty { location: store.location() });
        }
        let areas = Area::ALL.map(|area| area.folder().to_owned()).into_iter().chain([TEMPORARY.to_owned()]);
        inner.make_all([areas.collect(), pack_folders().collect()])?;
        Ok(store)
    }
}

impl Store for SftpStore {
    fn location(&self) -> String {
        self.inner.location.clone()
    }

    fn is_far(&self) -> bool {
        true
    }

    fn syncs(&self) -> bool {
        self.inner.syncs.load(Ordering::Relaxed)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let name = name.to_string();
        let path = self.inner.path(&name);
        self.inner.ask("read", &name, |connection| {
            let path = path.as_str();
            async move { connection.read_all(path).await }
        })
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        let name = name.to_string();
        let path = self.inner.path(&name);
        let length = usize::try_from(length)
            .map_err(|error| StoreError::from_io("read", &name, &self.location(), io::Error::other(error)))?;
        *into = self.inner.ask("read", &name, |connection| {
            let path = path.as_str();
            async move { connection.read_range(path, offset, length).await }
        })?;
        Ok(())
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.publish(name, &Bytes::copy_from_slice(bytes))
    }

    fn put_bytes(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.publish(name, &bytes)
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Gathered::begin(self.clone()))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        if let Area::Restic(area) = area {
            return self.inner.list_restic(area);
        }
        match self.inner.list_area(area) {
            Err(StoreError::Missing { .. }) if area == Area::Quarantine => Ok(Vec::new()),
            listed => listed,
        }
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.look_at(&name.to_string())?.map(|found| found.size))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.inner.remove(&name.to_string())
    }

    /// An empty file is made, looked at and deleted.
    fn time(&self) -> Result<Timestamp, StoreError> {
        let stem = self.inner.temporary()?;
        let number = std::sync::atomic::AtomicU32::new(0);
        let seconds = self.inner.ask("write", &stem, |connection| {
            let probe = self.inner.path(&format!("{stem}-{}", number.fetch_add(1, Ordering::Relaxed)));
            async move {
                let time = match connection.touch(&probe).await {
                    // restic makes no such folder.
                    Err(Failure::Missing) if self.inner.holds_restic.load(Ordering::Relaxed) => {
                        connection.make_folder(&self.inner.path(TEMPORARY)).await?;
                        connection.touch(&probe).await?
                    }
                    time => time?,
                };
                let _ = connection.remove(&probe).await;
                Ok(time)
            }
        })?;
        Ok(Timestamp { seconds: i64::from(seconds), nanos: 0 })
    }

    fn clean(&self) -> Result<(), StoreError> {
        let left = match self.inner.found("list", TEMPORARY) {
            Err(StoreError::Missing { .. }) => return Ok(()),
            left => left?,
        };
        if left.is_empty() {
            return Ok(());
        }
        let now = self.time()?.seconds;
        for one in left.into_iter().filter(|one| one.is_file) {
            if i64::from(one.modified) < now.saturating_sub(ABANDONED_SECONDS) {
                let _ = self.inner.remove(&format!("{TEMPORARY}/{}", one.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_or_below_the_home_of_the_login() {
        assert_eq!(root("srv/bk"), "/srv/bk");
        assert_eq!(root("~/bk/host1"), "bk/host1");
        assert_eq!(root("~"), ".");
        assert_eq!(root("~me/bk"), "/~me/bk");
    }
}
