//! A sample, restored to a disk, read from it again, and compared.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::original::Original;
use super::survey::size;
use super::{Verifier, VerifyStats};
use crate::destination::{Destination, Overwrite, OwnerPolicy};
use crate::format::node::Node;
use crate::operation::list::Located;
use crate::operation::restore::{RestoreError, RestoreOptions, RestoreStats, Selected, restore, verify};
use crate::progress::Progress;
use crate::repository::{Index, ReadAhead};

/// The folder of the sample, below the one that it is given.
const FOLDER: &str = "restored";

/// Restores `files` below `folder`, which nobody else may enter, and compares them.
///
/// # Errors
/// When it could not go on: no room, a store that does not answer. What cannot be restored as it was is in the result.
pub fn restore_sample(
    verifier: &mut Verifier<'_, '_>,
    (index, ahead): (&Index, Option<&ReadAhead<'_>>),
    files: &[Located],
    folder: &Path,
    threads: usize,
) -> Result<VerifyStats, RestoreError> {
    let mut stats = VerifyStats::default();
    if files.is_empty() {
        return Ok(stats);
    }
    let destination = Destination::create_private(folder, FOLDER, OwnerPolicy::Keep)?;
    let selected: Vec<Selected> = files.iter().map(selected).collect();
    let options = RestoreOptions { overwrite: Overwrite::Always, delete: false, threads };
    let done = RestoreStats::default();
    let repository = verifier.reader.repository();
    let interrupted = verifier.interrupted;
    // What goes wrong is told at the end, by the names that the files have on their machine.
    let quiet = Unwarned(verifier.progress);
    restore(repository, index, ahead, &selected, &destination, options, &done, &quiet, interrupted)?;
    let problems = done.problems();
    let originals: HashMap<String, &[u8]> =
        selected.iter().filter_map(|one| Some((shown(&destination, one)?, one.original.as_slice()))).collect();
    let wrong: HashSet<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let is_wrong = |one: &&Selected| shown(&destination, one).is_some_and(|path| wrong.contains(path.as_str()));
    let whole: Vec<Selected> = selected.iter().filter(|one| !is_wrong(one)).cloned().collect();
    let differing = verify(verifier.reader, &whole, &destination, &quiet)?;
    for problem in problems.iter().chain(&differing) {
        let path = originals.get(&problem.path).copied().unwrap_or(problem.path.as_bytes());
        stats.wrong(path, problem.message.clone());
    }
    let lost: HashSet<Vec<u8>> = stats.problems.iter().map(|problem| problem.path.clone()).collect();
    for one in files.iter().filter(|one| !lost.contains(&one.path)) {
        stats.files += 1;
        stats.bytes += size(one);
        let Some(original) = verifier.is_own.then(|| Original::find(one)).flatten() else { continue };
        let restored = folder.join(FOLDER).join(OsStr::from_bytes(&one.restore_path));
        // One that was not restored was told of above.
        let Ok(mut restored) = File::open(restored) else { continue };
        match original.compare(&mut restored) {
            Ok(compared) => stats.compared(&one.path, compared),
            Err(error) => stats.wrong(&one.path, format!("what was restored cannot be read again: {error}")),
        }
    }
    Ok(stats)
}

/// As the restore names it; none when its folder is not there.
fn shown(destination: &Destination, one: &Selected) -> Option<String> {
    let mut above = one.above.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let folder = above.try_fold(destination.root(), |folder, name| folder.enter(name)).ok()?;
    Some(folder.shown_below(&one.node.name))
}

/// Hands on everything but warnings.
struct Unwarned<'a>(&'a dyn Progress);

impl Progress for Unwarned<'_> {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.0.phase(name, total_bytes);
    }

    fn total(&self, items: u64, bytes: u64) {
        self.0.total(items, bytes);
    }

    fn advance(&self, items: u64, bytes: u64) {
        self.0.advance(items, bytes);
    }

    fn current(&self, path: &[u8]) {
        self.0.current(path);
    }

    fn warn(&self, _message: &str) {}

    fn finish(&self) {
        self.0.finish();
    }
}

fn selected(located: &Located) -> Selected {
    let at = located.restore_path.iter().rposition(|byte| *byte == b'/');
    let (above, name) = match at {
        Some(at) => (located.restore_path.get(..at), located.restore_path.get(at + 1..)),
        None => (None, Some(located.restore_path.as_slice())),
    };
    let mut node = Node { name: name.unwrap_or_default().to_vec(), ..located.node.clone() };
    // What only a root with all its rights may set says nothing about the repository; and what cannot be changed could
    // not be taken away again.
    node.metadata.flags = 0;
    node.metadata.mode &= 0o1777;
    // It is read again to compare it, which its owner need not be allowed to.
    node.metadata.mode |= 0o600;
    node.metadata.xattrs.retain(|xattr| xattr.name.starts_with(b"user."));
    // A name that it shares with a file outside of the sample leads nowhere.
    node.links = None;
    Selected { above: above.unwrap_or_default().to_vec(), node, original: located.path.clone() }
}
