//! What `ls`, `find`, `diff`, `dump` and `stats` share: naming a snapshot and a path in it, and saying what is not there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::select::{FilterArgs, Selector};
use super::{Opened, Session};
use crate::format::node::Node;
use crate::operation::list::{Place, locate};
use crate::operation::restore::wanted;
use crate::progress::Progress;
use crate::repository::{BlobReader, Index, ReadAhead, SnapshotInfo, Snapshots};
use crate::size::ByteSize;
use crate::ui::screen::Verbosity;
use crate::ui::{Exit, Failure, text};

/// A repository, open for looking into its snapshots.
pub struct Looking {
    /// The repository.
    pub opened: Opened,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// Its index.
    pub index: Index,
}

impl Looking {
    /// Opens the repository that reading commands use.
    ///
    /// # Errors
    /// As they come.
    pub fn open(session: &Session) -> Result<Self, Failure> {
        let (opened, snapshots) = session.open_for_reading()?;
        let index = session.index(&opened)?;
        Ok(Self { opened, snapshots, index })
    }

    /// Something to read with.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn reader(&self) -> Result<BlobReader<'_>, Failure> {
        Ok(BlobReader::new(&self.opened.repository, &self.index)?)
    }

    /// The snapshot that `word` names.
    ///
    /// # Errors
    /// When there is none.
    pub fn snapshot(&self, word: &str, filter: &FilterArgs) -> Result<&SnapshotInfo, Failure> {
        Selector::parse(word)?.find(&self.snapshots, filter)
    }
}

/// What entries need, to be fetched ahead into `folder` when the repository is far away; says how much it is.
///
/// # Errors
/// When the user wants it to end.
pub fn read_ahead<'a, 'n>(
    session: &Session,
    opened: &'a Opened,
    index: &'a Index,
    entries: impl IntoIterator<Item = &'n Node>,
    folder: &Path,
) -> Result<Option<ReadAhead<'a>>, Failure> {
    if !opened.repository.store().is_far() {
        return Ok(None);
    }
    let shown = progress(session, "finding what to fetch");
    let ahead = wanted(&opened.repository, index, entries, folder.to_owned(), session.interrupted());
    shown.finish();
    let mut ahead = ahead?;
    let (bytes, packs) = ahead.arrange();
    let (size, packs) = (ByteSize(bytes), text::count(packs, "pack", "packs"));
    session.screen.note(&format!("{size} will be fetched from {}, out of {packs}", opened.name));
    Ok(Some(ahead))
}

/// Shows the progress of a command whose standard output is one document or a stream: no status may come between.
#[must_use]
pub fn progress(session: &Session, what: &str) -> Arc<dyn Progress> {
    let mut screen = session.screen.clone();
    if screen.json {
        screen.verbosity = Verbosity::Quiet;
    }
    screen.progress(what)
}

/// A snapshot in a message.
#[must_use]
pub fn described(info: &SnapshotInfo) -> String {
    format!("snapshot {} of {}", info.id.short(), text::time_text(info.snapshot.start))
}

/// What `path` stands for in a snapshot.
///
/// # Errors
/// When a tree cannot be read, or nothing is there; the hint names the nearest folder that is.
pub fn place(reader: &mut BlobReader<'_>, info: &SnapshotInfo, path: &OsStr) -> Result<Place, Failure> {
    match locate(reader, &info.snapshot, path.as_bytes())? {
        Place::Missing { nearest } => Err(missing(info, path.as_bytes(), nearest.as_deref())),
        place => Ok(place),
    }
}

/// That `path` is not in a snapshot, and what is.
#[must_use]
pub fn missing(info: &SnapshotInfo, path: &[u8], nearest: Option<&[u8]>) -> Failure {
    let id = info.id.short();
    let hint = match nearest {
        Some(nearest) => {
            let nearest = text::path_text(nearest);
            format!(
                "the nearest that is there is {nearest}; see `bk ls {id} '{nearest}'`, or `bk find` for other snapshots"
            )
        }
        None if info.snapshot.roots.is_empty() => "the snapshot is empty".to_owned(),
        None => {
            let roots = info.snapshot.roots.iter().map(|root| root.path.as_slice());
            format!("it holds {}; see `bk ls {id}`", text::paths_text(roots, 5))
        }
    };
    Failure::new(Exit::Failed, format!("there is no {} in {}", text::path_text(path), described(info)), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, file, folder};

    #[test]
    fn a_missing_path_names_the_snapshot_and_the_nearest_folder_or_else_the_roots() {
        let bench = Bench::new();
        let info = bench.snapshot(vec![("/mnt", folder("x", vec![file("f", b"1")]))]);
        let hint = |path: &str| {
            let failure = bench.read(|reader| place(reader, &info, OsStr::new(path))).unwrap_err();
            assert!(failure.message.contains(&info.id.short()) && failure.message.contains(path));
            failure.hint.unwrap()
        };
        assert!(hint("/mnt/x/y/z").contains("nearest that is there is /mnt/x;"));
        assert!(hint("/srv").contains("it holds /mnt/x;"));
    }
}
