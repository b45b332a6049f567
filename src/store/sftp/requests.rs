//! What is asked of the server, each a few requests of SFTP. Paths are whole.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;

use bytes::Bytes;
use futures_core::Stream as _;
use openssh_sftp_client::metadata::MetaData;

use super::pieces;
use super::ssh::{ANSWER_TIMEOUT, BODY_TIMEOUT, Connection, limit};
use super::trouble::Failure;
use crate::format::node::Timestamp;
use crate::store::{Listed, ObjectName};

/// Folders are the owner's only.
const FOLDER_MODE: u16 = 0o700;

/// What a server that says only "failure" must have free for a disk that is not full.
const ROOM_BYTES: u64 = 1 << 20;

/// A file as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub name: String,
    pub is_file: bool,
    pub size: u64,
    /// In seconds since 1970.
    pub modified: u32,
}

impl Found {
    fn new(name: &str, metadata: &MetaData) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            is_file: metadata.file_type()?.is_file(),
            size: metadata.len()?,
            modified: metadata.modified()?.into_raw(),
        })
    }

    /// As the object of that name.
    pub fn listed(&self, name: ObjectName) -> Listed {
        Listed { name, size: self.size, time: Timestamp { seconds: i64::from(self.modified), nanos: 0 } }
    }
}

impl Connection {
    /// What there is under a path; a link is not followed.
    pub async fn look(&self, path: &str) -> Result<Option<Found>, Failure> {
        match limit(ANSWER_TIMEOUT, self.sftp().fs().symlink_metadata(path)).await {
            Ok(metadata) => {
                let incomplete = || Failure::Said("the server does not describe its files".to_owned());
                Found::new(path, &metadata).map(Some).ok_or_else(incomplete)
            }
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// A whole file.
    pub async fn read_all(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let mut file = limit(ANSWER_TIMEOUT, self.sftp().open(path)).await?;
        let size = limit(ANSWER_TIMEOUT, file.metadata()).await?.len().unwrap_or(0);
        let length = usize::try_from(size).map_err(|error| Failure::Said(error.to_string()))?;
        match pieces::read(&file, 0, length).await? {
            (bytes, true) => Ok(bytes),
            (_, false) => Err(Failure::Said("the file became shorter while it was read".to_owned())),
        }
    }

    /// A part of a file.
    pub async fn read_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, Failure> {
        let mut file = limit(ANSWER_TIMEOUT, self.sftp().open(path)).await?;
        let (bytes, is_whole) = pieces::read(&file, offset, length).await?;
        let end = offset.saturating_add(length as u64);
        // Of nothing the server cannot say that it lies behind the end.
        if is_whole && length > 0 {
            return Ok(bytes);
        }
        match limit(ANSWER_TIMEOUT, file.metadata()).await?.len() {
            Some(size) if size >= end && is_whole => Ok(bytes),
            Some(size) => Err(Failure::Short { size, end }),
            None => Err(Failure::Said("the server does not say how long the file is".to_owned())),
        }
    }

    /// Everything in a folder that the server describes.
    pub async fn list(&self, folder: &str) -> Result<Vec<Found>, Failure> {
        let directory = limit(ANSWER_TIMEOUT, self.sftp().fs().open_dir(folder)).await?;
        let mut entries = pin!(directory.read_dir());
        let mut found = Vec::new();
        loop {
            let next = async { poll_fn(|context| entries.as_mut().poll_next(context)).await.transpose() };
            let Some(entry) = limit(ANSWER_TIMEOUT, next).await? else { return Ok(found) };
            let Some(name) = entry.filename().to_str().filter(|name| !matches!(*name, "." | "..")) else { continue };
            let one = match Found::new(name, &entry.metadata()) {
                Some(one) => Some(one),
                None => self.look(&format!("{folder}/{name}")).await?.map(|one| Found { name: name.to_owned(), ..one }),
            };
            found.extend(one);
        }
    }

    /// Makes a folder that may exist, in one that does.
    pub async fn make_folder(&self, path: &str) -> Result<(), Failure> {
        let mut fs = self.sftp().fs();
        let made = limit(ANSWER_TIMEOUT, fs.dir_builder().permissions(FOLDER_MODE.into()).create(path)).await;
        match made {
            Err(failure @ (Failure::Said(_) | Failure::Denied(_))) => {
                match limit(ANSWER_TIMEOUT, self.sftp().fs().metadata(path)).await {
                    Ok(there) if there.file_type().is_some_and(|kind| kind.is_dir()) => Ok(()),
                    _ => Err(self.full_or(failure, path, 0).await),
                }
            }
            made => made,
        }
    }

    /// Makes a folder with those above it.
    pub async fn make_folders(&self, path: &str) -> Result<(), Failure> {
        let mut missing = vec![path];
        while let Some(one) = missing.last().copied() {
            match self.make_folder(one).await {
                Ok(()) => missing.truncate(missing.len() - 1),
                Err(Failure::Missing) => match Path::new(one).parent().and_then(Path::to_str) {
                    Some(parent) if !parent.is_empty() => missing.push(parent),
                    _ => return Err(Failure::Missing),
                },
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Takes a file away; one that is gone already is no failure.
    pub async fn remove(&self, path: &str) -> Result<(), Failure> {
        match limit(ANSWER_TIMEOUT, self.sftp().fs().remove_file(path)).await {
            Err(Failure::Missing) => Ok(()),
            removed => removed,
        }
    }

    /// Makes an empty file, and says when the server's clock says that was.
    pub async fn touch(&self, path: &str) -> Result<u32, Failure> {
        let mut options = self.sftp().options();
        let mut file = limit(ANSWER_TIMEOUT, options.read(true).write(true).create_new(true).open(path)).await?;
        let modified = limit(ANSWER_TIMEOUT, file.metadata()).await?.modified();
        limit(ANSWER_TIMEOUT, file.close()).await?;
        modified.map(|time| time.into_raw()).ok_or_else(|| Failure::Said("the server does not say its time".to_owned()))
    }

    /// Writes a new file, makes it durable, and gives it its name, which no other file may have.
    ///
    /// `named` is called before it gets its name, from when on it may have it whatever the answer is.
    pub async fn put(&self, temporary: &str, path: &str, bytes: &Bytes, named: impl FnOnce()) -> Result<(), Failure> {
        match self.write_and_name(temporary, path, bytes, named).await {
            Err(failure @ Failure::Said(_)) => Err(self.full_or(failure, path, bytes.len() as u64).await),
            put => put,
        }
    }

    async fn write_and_name(
        &self,
        temporary: &str,
        path: &str,
        bytes: &Bytes,
        named: impl FnOnce(),
    ) -> Result<(), Failure> {
        let length = bytes.len() as u64;
        let syncs = self.sftp().support_fsync();
        let mut options = self.sftp().options();
        let mut file = limit(ANSWER_TIMEOUT, options.read(true).write(true).create_new(true).open(temporary)).await?;
        pieces::write(&file, bytes).await?;
        // What a server cut short and took all the same must not get the name.
        match limit(ANSWER_TIMEOUT, file.metadata()).await?.len() {
            Some(size) if size == length => {}
            size => return Err(Failure::Short { size: size.unwrap_or(0), end: length }),
        }
        if syncs {
            limit(BODY_TIMEOUT, file.sync_all()).await?;
        }
        named();
        self.name(temporary, path).await?;
        if syncs {
            // A folder cannot be synced over SFTP. A file that has got a new name can be, and common file systems
            // (ext4, XFS, Btrfs) make the name durable with it.
            limit(BODY_TIMEOUT, file.sync_all()).await?;
        }
        limit(ANSWER_TIMEOUT, file.close()).await
    }

    /// Gives a file its final name, never replacing another.
    async fn name(&self, from: &str, to: &str) -> Result<(), Failure> {
        if self.sftp().support_hardlink() {
            match limit(ANSWER_TIMEOUT, self.sftp().fs().hard_link(from, to)).await {
                // It has its name; under the other one it is in nobody's way.
                Ok(()) => return self.remove(from).await.or_else(Failure::if_broken),
                // The file system may have no links, or the name is taken: the server says the same of both.
                Err(Failure::Said(_) | Failure::Denied(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        // Names hold the hash of the bytes or a fresh nonce, so a rename in the moment after this look could only
        // replace an object by an equal one.
        match self.look(to).await? {
            Some(_) => Err(Failure::Exists),
            None => limit(ANSWER_TIMEOUT, self.sftp().fs().rename(from, to)).await,
        }
    }

    /// SFTP has no word for a disk that is full: whether the file system of a path still has `length` bytes tells.
    async fn full_or(&self, failure: Failure, path: &str, length: u64) -> Failure {
        let Failure::Said(words) = &failure else { return failure };
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let space = match self.sftp().support_statvfs() {
            true => limit(ANSWER_TIMEOUT, self.sftp().fs().statvfs(folder)).await.ok(),
            false => None,
        };
        let is_full = space.is_some_and(|space| {
            let free = space.bavail.saturating_mul(space.frsize);
            free < length.saturating_add(ROOM_BYTES) || space.files > 0 && space.favail == 0
        });
        if is_full {
            return Failure::Full;
        }
        Failure::Said(format!("the server says only `{words}`; a quota of the login may be used up"))
    }
}
