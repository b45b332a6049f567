//! Counts what a first run has to read, so that somebody who watches learns how long it takes.
//!
//! An estimate: it walks beside the run, passes over whatever it cannot read, and knows neither hard links nor holes.
//! A run with a parent needs none, because the parent was counted.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::shared::Shared;
use crate::source::exclude::{Matcher, Verdict};

/// Entries and bytes.
#[derive(Default)]
struct Count {
    entries: u64,
    bytes: u64,
}

/// Tells the progress how much there is; gives up silently once the run itself is `over`.
pub(super) fn tell_total(shared: &Shared<'_>, over: &AtomicBool) {
    let mut count = Count::default();
    for root in &shared.options.roots {
        let matcher = shared.options.rules.exclude.for_root(root.as_os_str().as_bytes());
        if !add(shared, over, root, &matcher, &mut count) {
            return;
        }
    }
    shared.progress.total(count.entries, count.bytes);
}

/// Counts what is below `root`; false when the run ended meanwhile.
fn add(shared: &Shared<'_>, over: &AtomicBool, root: &Path, matcher: &Matcher, count: &mut Count) -> bool {
    let rules = &shared.options.rules;
    let Ok(metadata) = std::fs::metadata(root) else { return true };
    count.entries += 1;
    if !metadata.is_dir() {
        count.bytes += metadata.len();
        return true;
    }
    let device = metadata.dev();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if over.load(Ordering::Relaxed) || shared.should_stop() {
                return false;
            }
            let path = entry.path();
            let (Ok(metadata), Ok(relative)) = (entry.metadata(), path.strip_prefix(root)) else { continue };
            if matcher.verdict(relative.as_os_str().as_bytes(), metadata.is_dir()) == Verdict::Skip {
                continue;
            }
            count.entries += 1;
            if metadata.is_dir() && !(rules.one_file_system && metadata.dev() != device) {
                folders.push(path);
            } else if metadata.is_file() && rules.exclude_larger_than.is_none_or(|most| metadata.len() <= most) {
                count.bytes += metadata.len();
            }
        }
    }
    true
}
