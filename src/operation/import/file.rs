//! Reads contents from the source and stores them in the target, cut anew.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crossbeam_channel::Receiver;

use super::shared::{Batch, Done, Entry, FileCount, FileTask, Shared, Slot};
use crate::chunk::Class;
use crate::format::DecodeError;
use crate::format::node::{Content, LinkGroup, Node, NodeKind, Xattr, XattrValue};
use crate::format::tree::MAX_INLINE_XATTR_LEN;
use crate::operation::cut::Cutter;
use crate::operation::promise::Promise;
use crate::repository::{Blob, BlobReader, ContentCursor, RepositoryError};
use crate::source::sqlite;

/// What one thread reads and stores with.
pub(super) struct Carrier<'a> {
    shared: &'a Shared<'a>,
    pub(super) reader: BlobReader<'a>,
    cutter: Cutter<'a>,
}

/// Why a content was not carried.
enum Trouble {
    /// It cannot be read.
    Source(RepositoryError),
    /// It cannot be stored, or the run ends; the run ends.
    Target(RepositoryError),
}

impl From<RepositoryError> for Trouble {
    fn from(error: RepositoryError) -> Self {
        Self::Target(error)
    }
}

/// Reads batches until there are no more.
pub(super) fn read_batches(shared: &Shared<'_>, batches: &Receiver<Batch>) {
    let mut carrier = match Carrier::new(shared) {
        Ok(carrier) => carrier,
        Err(error) => {
            shared.writer.fail(error);
            // Whoever fills the queue must not wait for ever.
            batches.iter().for_each(drop);
            return;
        }
    };
    for batch in batches {
        let mut entries = Vec::with_capacity(batch.slots.len());
        for slot in batch.slots {
            if shared.should_stop() {
                break;
            }
            match slot {
                Slot::Ready(entry) => entries.push(Some(entry)),
                Slot::Read(task) => match carrier.file(*task) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => carrier.fail(error),
                },
            }
        }
        let _ = batch.done.send(entries);
    }
    carrier.end();
}

/// The bytes of a content of the source.
struct Bytes {
    cursor: ContentCursor,
    blob: Option<(Blob, usize)>,
}

impl Bytes {
    fn new(content: Content) -> Self {
        Self { cursor: ContentCursor::new(content), blob: None }
    }

    /// What is left of the blob at hand; the next one is fetched when nothing is.
    fn ahead(&mut self, reader: &mut BlobReader<'_>) -> Result<&[u8], RepositoryError> {
        while self.blob.as_ref().is_none_or(|(blob, at)| *at >= blob.len()) {
            let Some(part) = self.cursor.next(reader)? else { return Ok(&[]) };
            let blob = reader.data(&part.id)?;
            if blob.len() as u64 != part.length {
                let source = DecodeError { what: "it has another length than the reference to it", at: 0 };
                return Err(RepositoryError::Malformed { name: format!("blob {}", part.id), source });
            }
            self.blob = Some((blob, 0));
        }
        Ok(self.blob.as_ref().and_then(|(blob, at)| blob.get(*at..)).unwrap_or_default())
    }

    fn read(&mut self, reader: &mut BlobReader<'_>, buffer: &mut [u8]) -> Result<usize, RepositoryError> {
        let ahead = self.ahead(reader)?;
        let length = ahead.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), ahead.get(..length)) {
            to.copy_from_slice(from);
        }
        if let Some((_, at)) = &mut self.blob {
            *at += length;
        }
        Ok(length)
    }
}

/// The class that a backup would choose for a content that begins with `first_bytes`.
fn class_of(first_bytes: &[u8], size: u64) -> Class {
    sqlite::page_size(first_bytes).map_or(Class::Coarse, |page_size| Class::for_database(page_size, size))
}

impl<'a> Carrier<'a> {
    /// Carries with the repositories of `shared`.
    pub(super) fn new(shared: &'a Shared<'a>) -> Result<Self, RepositoryError> {
        Ok(Self {
            shared,
            reader: BlobReader::new(shared.from, shared.source)?,
            cutter: Cutter::new(shared.to, shared.writer, shared.chunker),
        })
    }

    /// The user wants it to end: what was stored so far is still indexed. Anything else ends the run as what it is.
    pub(super) fn fail(&self, error: RepositoryError) {
        let is_stop = matches!(error, RepositoryError::Stopped) && self.shared.cancel.load(Ordering::Relaxed);
        if !is_stop {
            self.shared.writer.fail(error);
        }
    }

    /// Sends what was gathered to be sealed.
    pub(super) fn end(mut self) {
        self.shared.fetched_bytes.fetch_add(self.reader.fetched_bytes(), Ordering::Relaxed);
        if let Err(error) = self.cutter.flush() {
            self.fail(error);
        }
    }

    /// Carries a file; `None` when it cannot be read, which is noted.
    fn file(&mut self, task: FileTask) -> Result<Done, RepositoryError> {
        let FileTask { mut node, path, freshness } = task;
        self.shared.progress.current(&path);
        let NodeKind::File { size, content, class, .. } = &mut node.kind else { return Ok(None) };
        let size = *size;
        let (stored, number, read_bytes) = match self.once_per_inode(content, *class, size, node.links) {
            Ok(stored) => stored,
            Err(Trouble::Target(error)) => return Err(error),
            Err(Trouble::Source(error)) => return self.shared.lose(&path, error).map(|()| None),
        };
        (*content, *class) = (stored, number);
        let whole = self.xattrs(&mut node, &path)?;
        self.shared.progress.advance(1, size);
        Ok(Some(Entry { node, file: Some(FileCount { size, freshness, read_bytes }), whole }))
    }

    /// Of the names of one inode the first is read; the others wait for it. A thread that waits holds nothing that another
    /// could wait for.
    fn once_per_inode(
        &mut self,
        content: &Content,
        class: u8,
        size: u64,
        links: Option<LinkGroup>,
    ) -> Result<(Content, u8, u64), Trouble> {
        let Some(group) = links else { return self.content(content, class, size) };
        let (promise, is_mine) = {
            let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
            match links.get(&group) {
                Some(promise) => (Arc::clone(promise), false),
                None => {
                    let promise = Arc::new(Promise::new());
                    links.insert(group, Arc::clone(&promise));
                    (promise, true)
                }
            }
        };
        if !is_mine
            && let Some((source, target, class)) = promise.wait()
            && source == *content
        {
            return Ok((target, class, 0));
        }
        let read = self.content(content, class, size);
        promise.give(read.as_ref().ok().map(|(target, class, _)| (content.clone(), target.clone(), *class)));
        read
    }

    /// Carries a content; gives what it became, the number of its class, and how many bytes were read.
    fn content(&mut self, content: &Content, class: u8, size: u64) -> Result<(Content, u8, u64), Trouble> {
        let Self { shared, reader, cutter } = self;
        let mut bytes = Bytes::new(content.clone());
        let class = match Class::of_number(class) {
            Some(class) => class,
            None => class_of(bytes.ahead(reader).map_err(Trouble::Source)?, size),
        };
        let (stored, length) = cutter.store(class, 0, &mut |buffer| {
            if shared.should_stop() {
                return Err(Trouble::Target(RepositoryError::Stopped));
            }
            bytes.read(reader, buffer).map_err(Trouble::Source)
        })?;
        Ok((stored, class.number(), length))
    }

    /// Carries the extended attributes of an entry. One that cannot be read is left out, which is noted; gives whether
    /// all are there.
    pub(super) fn xattrs(&mut self, node: &mut Node, path: &[u8]) -> Result<bool, RepositoryError> {
        let count = node.metadata.xattrs.len();
        let mut carried = Vec::with_capacity(count);
        for Xattr { name, value } in std::mem::take(&mut node.metadata.xattrs) {
            let value = match value {
                XattrValue::Inline(value) if value.len() > MAX_INLINE_XATTR_LEN => {
                    XattrValue::Stored(self.cutter.store_value(&value)?)
                }
                XattrValue::Inline(value) => XattrValue::Inline(value),
                XattrValue::Stored(content) => match self.content(&content, Class::Coarse.number(), 0) {
                    Ok((content, ..)) => XattrValue::Stored(content),
                    Err(Trouble::Target(error)) => return Err(error),
                    Err(Trouble::Source(error)) => {
                        self.shared.lose(path, error)?;
                        continue;
                    }
                },
            };
            carried.push(Xattr { name, value });
        }
        node.metadata.xattrs = carried;
        Ok(node.metadata.xattrs.len() == count)
    }
}
