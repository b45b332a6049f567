//! Contents into chunks: cut, hash, and hand on what the repository does not have.

use crate::chunk::{Chunker, Class, MAX_CHUNK_LEN};
use crate::format::content;
use crate::format::node::{Content, Part};
use crate::format::pack::PackKind;
use crate::id::BlobId;
use crate::repository::{Repository, RepositoryError, SegmentBuilder, Writer};

/// Bytes read ahead of the cuts.
const WINDOW: usize = 2 * MAX_CHUNK_LEN;

/// Keeps a tree or list blob and gives its id.
pub(super) fn store_tree(
    repository: &Repository,
    writer: &Writer<'_>,
    builder: &mut SegmentBuilder<'_>,
    blob: &[u8],
) -> Result<BlobId, RepositoryError> {
    let id = repository.keys().identifier().tree(blob);
    if writer.claim(&id) {
        builder.add(id, blob)?;
    }
    Ok(id)
}

/// Stores the contents that one thread reads.
pub(super) struct Cutter<'a> {
    repository: &'a Repository,
    writer: &'a Writer<'a>,
    chunker: &'a Chunker,
    data: SegmentBuilder<'a>,
    lists: SegmentBuilder<'a>,
    window: Vec<u8>,
}

impl<'a> Cutter<'a> {
    /// Stores what `repository` does not have through `writer`.
    pub(super) fn new(repository: &'a Repository, writer: &'a Writer<'a>, chunker: &'a Chunker) -> Self {
        let (data, lists) = (writer.segment_builder(PackKind::Data), writer.segment_builder(PackKind::Tree));
        Self { repository, writer, chunker, data, lists, window: Vec::new() }
    }

    /// Room for the beginning of a content, to be looked at before it is cut.
    pub(super) fn window(&mut self) -> &mut [u8] {
        if self.window.is_empty() {
            self.window.resize(WINDOW, 0);
        }
        &mut self.window
    }

    /// Cuts and stores the first `filled` bytes of the window and whatever `read` gives until it gives nothing. Gives the
    /// content and its length in bytes.
    ///
    /// # Errors
    /// What `read` returns, and those of the writer.
    pub(super) fn store<E: From<RepositoryError>>(
        &mut self,
        class: Class,
        filled: usize,
        read: &mut dyn FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(Content, u64), E> {
        let mut parts = Vec::new();
        let (mut start, mut end, mut total, mut at_end) = (0, filled, filled as u64, false);
        self.window();
        loop {
            while !at_end && end - start < class.max_len() {
                if self.window.len() - end < class.max_len() {
                    self.window.copy_within(start..end, 0);
                    (start, end) = (0, end - start);
                }
                let length = read(self.window.get_mut(end..).unwrap_or_default())?;
                at_end = length == 0;
                end += length;
                total += length as u64;
            }
            let filled = self.window.get(start..end).unwrap_or_default();
            if filled.is_empty() {
                break;
            }
            let length = self.chunker.cut(class, filled).clamp(1, filled.len());
            let chunk = filled.get(..length).unwrap_or_default();
            let id = self.repository.keys().identifier().data(chunk);
            if self.writer.claim(&id) {
                self.data.add(id, chunk)?;
            }
            parts.push(Part { id, length: length as u64 });
            start += length;
        }
        let Self { repository, writer, lists, .. } = self;
        let content = content::fold(parts, |blob| store_tree(repository, writer, lists, &blob))?;
        Ok((content, total))
    }

    /// Stores a value that is in memory.
    ///
    /// # Errors
    /// Those of the writer.
    pub(super) fn store_value(&mut self, mut value: &[u8]) -> Result<Content, RepositoryError> {
        let mut read =
            |buffer: &mut [u8]| std::io::Read::read(&mut value, buffer).map_err(|_| RepositoryError::Stopped);
        self.store(Class::Coarse, 0, &mut read).map(|(content, _)| content)
    }

    /// Sends what was gathered to be sealed.
    ///
    /// # Errors
    /// [`RepositoryError::Stopped`] when the writer has failed.
    pub(super) fn flush(&mut self) -> Result<(), RepositoryError> {
        self.data.flush()?;
        self.lists.flush()
    }
}
