//! Files, read from the repository without a disk to put them on: each blob's id is computed again as it comes.

use std::io::{self, Write};

use super::original::Original;
use super::survey::size;
use super::{Verifier, VerifyStats, damage_or};
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::operation::dump::{self, DumpError};
use crate::operation::list::{Located, Step, roots, walk};
use crate::repository::{ContentCursor, RepositoryError};

/// Goes nowhere.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads every file of a snapshot but those that `leave_out` says.
///
/// # Errors
/// When the store does not answer, or the user stops it. Damage is in the result.
pub fn stream_all(
    verifier: &mut Verifier<'_, '_>,
    snapshot: &Snapshot,
    leave_out: &dyn Fn(&Located) -> bool,
) -> Result<VerifyStats, RepositoryError> {
    let mut stats = VerifyStats::default();
    let Verifier { reader, is_own, progress, interrupted } = verifier;
    for root in roots(snapshot) {
        let top = root.path.clone();
        let walked = walk(reader, root, interrupted, &mut |reader, at: &Located| -> Result<Step, RepositoryError> {
            if !leave_out(at) && matches!(at.node.kind, NodeKind::File { .. }) {
                let mut one = Verifier { reader, is_own: *is_own, progress: *progress, interrupted };
                stream(&mut one, at, &mut stats)?;
            }
            Ok(Step::Into)
        });
        if let Err(error) = walked {
            // A folder that cannot be read hides how much is below it.
            let message = damage_or(error)?;
            stats.wrong(&top, format!("a folder in it cannot be read, so not all of it was looked at: {message}"));
        }
    }
    Ok(stats)
}

/// Reads `files`.
///
/// # Errors
/// As [`stream_all`].
pub fn stream_files(verifier: &mut Verifier<'_, '_>, files: &[Located]) -> Result<VerifyStats, RepositoryError> {
    let mut stats = VerifyStats::default();
    for one in files {
        crate::operation::list::check_interrupted(verifier.interrupted)?;
        stream(verifier, one, &mut stats)?;
    }
    Ok(stats)
}

fn stream(verifier: &mut Verifier<'_, '_>, at: &Located, stats: &mut VerifyStats) -> Result<(), RepositoryError> {
    verifier.progress.current(&at.path);
    let mut original = verifier.is_own.then(|| Original::find(at)).flatten();
    let read = match &mut original {
        Some(original) => dump::file(verifier.reader, &at.node, original, verifier.interrupted),
        None => dump::file(verifier.reader, &at.node, &mut Nowhere, verifier.interrupted),
    };
    match read {
        Ok(_) => {
            stats.files += 1;
            stats.bytes += size(at);
            if let Some(original) = original {
                stats.compared(&at.path, original.finish());
            }
        }
        Err(DumpError::Repository(error)) => stats.wrong(&at.path, damage_or(error)?),
        // Neither of the two outputs fails.
        Err(DumpError::Output(error)) => stats.wrong(&at.path, error.to_string()),
    }
    verifier.progress.advance(1, size(at));
    Ok(())
}

/// Reads a part of a file: every blob that has a byte of it.
///
/// # Errors
/// As [`stream_all`].
pub fn stream_part(
    verifier: &mut Verifier<'_, '_>,
    at: &Located,
    from: u64,
    length: u64,
    stats: &mut VerifyStats,
) -> Result<(), RepositoryError> {
    let NodeKind::File { content, holes, .. } = &at.node.kind else { return Ok(()) };
    verifier.progress.current(&at.path);
    // Where holes are, what is stored begins further ahead than in the file.
    let before: u64 = holes.iter().take_while(|hole| hole.offset < from).map(|hole| hole.length).sum();
    let from = from.saturating_sub(before);
    let mut cursor = ContentCursor::new(content.clone());
    let mut offset = 0_u64;
    let mut read = || -> Result<u64, RepositoryError> {
        let mut bytes = 0;
        while let Some(part) = cursor.next(verifier.reader)? {
            crate::operation::list::check_interrupted(verifier.interrupted)?;
            let end = offset.saturating_add(part.length);
            if end > from {
                verifier.reader.data(&part.id)?;
                bytes += part.length;
            }
            offset = end;
            if end >= from.saturating_add(length) {
                break;
            }
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            stats.parts += 1;
            stats.bytes += bytes;
        }
        Err(error) => stats.wrong(&at.path, damage_or(error)?),
    }
    verifier.progress.advance(1, length);
    Ok(())
}
