//! What rustic_core reads an export from: entries and bytes that come over channels.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustic_core::repofile::Node as ResticNode;
use rustic_core::{ReadSource, ReadSourceEntry, ReadSourceOpen, RusticResult};

use crate::format::node::{Content, Hole};
use crate::repository::Blob;

/// Blobs of a file on their way to rustic_core.
const PIECES: usize = 4;
/// A hole is handed over as zeros, at most so many bytes at a time.
pub(super) const MAX_ZEROS: usize = 64 << 10;

static ZEROS: [u8; MAX_ZEROS] = [0; MAX_ZEROS];

/// What was asked for, and where it goes.
pub(super) type Asked = (Box<Wanted>, Sender<io::Result<Piece>>);

/// An entry on its way.
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) node: ResticNode,
    pub(super) open: Option<Open>,
}

/// A file that rustic_core may want to read.
pub(super) struct Open {
    pub(super) file: Box<Wanted>,
    pub(super) wanted: Sender<Asked>,
}

/// What is to be read.
pub(super) struct Wanted {
    pub(super) path: Vec<u8>,
    pub(super) content: Content,
    pub(super) holes: Vec<Hole>,
    pub(super) size: u64,
}

/// Bytes of a file.
pub(super) enum Piece {
    /// As they are stored.
    Data(Blob),
    /// So many zeros, at most [`MAX_ZEROS`].
    Zeros(usize),
    /// There are no more: a channel that ends without this had a sender that died.
    End,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Data(blob) => blob,
            Self::Zeros(length) => ZEROS.get(..*length).unwrap_or(&ZEROS),
            Self::End => &[],
        }
    }
}

impl ReadSourceOpen for Open {
    type Reader = Pieces;

    fn open(self) -> RusticResult<Pieces> {
        let (sender, pieces) = bounded(PIECES);
        // When nobody takes it, the run is being ended; the reader sees a channel without a sender, and says so.
        let _ = self.wanted.send((self.file, sender));
        Ok(Pieces { pieces, piece: None, at: 0, is_over: false })
    }
}

/// A file as rustic_core reads it.
pub(super) struct Pieces {
    pieces: Receiver<io::Result<Piece>>,
    piece: Option<Piece>,
    at: usize,
    is_over: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(piece) = &self.piece {
                let rest = piece.bytes().get(self.at..).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                if length > 0 {
                    buffer
                        .get_mut(..length)
                        .unwrap_or_default()
                        .copy_from_slice(rest.get(..length).unwrap_or_default());
                    self.at += length;
                    return Ok(length);
                }
            }
            if self.is_over || buffer.is_empty() {
                return Ok(0);
            }
            match self.pieces.recv() {
                Ok(Ok(Piece::End)) => (self.is_over, self.piece) = (true, None),
                Ok(Ok(piece)) => (self.piece, self.at) = (Some(piece), 0),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("the reader of this file has ended")),
            }
        }
    }
}

/// What rustic_core takes entries from; it asks once.
pub(super) struct Source(Mutex<Option<Receiver<Item>>>);

impl Source {
    /// Takes them from a channel.
    pub(super) const fn new(items: Receiver<Item>) -> Self {
        Self(Mutex::new(Some(items)))
    }
}

/// Entries as they come.
pub(super) struct Entries(Option<Receiver<Item>>);

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Open>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Item { path, node, open } = self.0.as_ref()?.recv().ok()?;
        Some(Ok(ReadSourceEntry { path, node, open }))
    }
}

impl ReadSource for Source {
    type Open = Open;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries(self.0.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}
