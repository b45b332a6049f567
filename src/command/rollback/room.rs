//! Whether the files fit: what they will need beyond what lies at their places now.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::check::Obstacle;
use super::plan::{Planned, path_of};
use crate::format::node::NodeKind;
use crate::job::examine::free_bytes;
use crate::operation::list::{Located, Step, walk};
use crate::repository::{BlobReader, RepositoryError};
use crate::size::ByteSize;
use crate::ui::Failure;
use crate::ui::text::path_text;

/// What a file system must still hold, in bytes.
struct Place {
    path: PathBuf,
    growth: u64,
    /// The longest file: it is written beside the one that it replaces.
    longest: u64,
}

/// What goes back.
#[derive(Default)]
pub(super) struct Need {
    pub files: u64,
    pub bytes: u64,
    places: BTreeMap<u64, Place>,
}

impl Need {
    /// Where it does not fit.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let short = self.places.values().filter_map(|place| {
            let free = free_bytes(&place.path).ok()?;
            let needed = place.growth.saturating_add(place.longest);
            (needed > free).then(|| {
                let shown = path_text(place.path.as_os_str().as_encoded_bytes());
                let problem =
                    format!("{shown} has room for {}, and {} more are needed", ByteSize(free), ByteSize(needed));
                Obstacle::new(problem, "make room there")
            })
        });
        short.collect()
    }
}

/// Counts the files and what each file system needs for them.
///
/// # Errors
/// When the snapshot cannot be read.
pub(super) fn need(reader: &mut BlobReader<'_>, planned: &Planned<'_>, cancel: &AtomicBool) -> Result<Need, Failure> {
    let mut need = Need::default();
    for root in &planned.selected {
        let path = path_of(&root.original);
        let above = path.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"));
        let device = std::fs::metadata(above).map_or(0, |found| found.dev());
        let above = above.to_owned();
        let start =
            Located { path: root.original.clone(), restore_path: root.original.clone(), node: root.node.clone() };
        let mut count = |_: &mut BlobReader<'_>, entry: &Located| -> Result<Step, RepositoryError> {
            if let NodeKind::File { size, .. } = &entry.node.kind {
                let now = std::fs::symlink_metadata(path_of(&entry.path)).map_or(0, |found| found.len());
                let place =
                    need.places.entry(device).or_insert_with(|| Place { path: above.clone(), growth: 0, longest: 0 });
                place.growth = place.growth.saturating_add(size.saturating_sub(now));
                place.longest = place.longest.max(*size);
                need.files += 1;
                need.bytes = need.bytes.saturating_add(*size);
            }
            Ok(Step::Into)
        };
        walk(reader, start, cancel, &mut count)?;
    }
    Ok(need)
}
