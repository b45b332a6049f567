//! Room: in a repository, and for temporary files.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Finding, Level};
use crate::format::snapshot::Statistics;
use crate::job::Plan;
use crate::size::ByteSize;

/// Hooks and small databases need so much, in bytes.
const LEAST: u64 = 256 << 20;

/// What is free for this user where `path` is, or will be made.
///
/// # Errors
/// As the system says.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let place = existing(path);
    let found = rustix::fs::statvfs(place)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn existing(path: &Path) -> &Path {
    path.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/"))
}

/// Whether the next backup fits into the repository; `last` are the numbers of the newest snapshot.
#[must_use]
pub fn repository_room(free: u64, min_free: u64, last: Option<&Statistics>) -> Finding {
    let size = |bytes| ByteSize(bytes).to_string();
    let usable = free.saturating_sub(min_free);
    let kept = if min_free > 0 { format!(" above the min-free of {}", size(min_free)) } else { String::new() };
    let hint = "make room on that file system, or forget and prune snapshots";
    if free < min_free || usable == 0 {
        let message = format!("{} free, less than the min-free of {}: nothing is stored", size(free), size(min_free));
        return Finding::new(Level::Problem, "room", message, hint);
    }
    match last {
        Some(last) if usable < last.stored_bytes => {
            let message =
                format!("{} free{kept}; the last snapshot alone took {}", size(usable), size(last.stored_bytes));
            Finding::new(Level::Warning, "room", message, hint)
        }
        Some(last) if usable < last.total_bytes => {
            let message = format!(
                "{} free{kept}: enough for changes, too little for all {} of the last snapshot anew",
                size(usable),
                size(last.total_bytes)
            );
            Finding::new(Level::Note, "room", message, "nothing now; think of it when much of the data changes")
        }
        _ => Finding::ok("room", format!("{} free{kept}", size(usable))),
    }
}

/// Whether the temporary folder can be used, and takes a copy of the largest database.
#[must_use]
pub fn scratch(folder: &Path, plans: &[(String, Plan)]) -> Finding {
    let subject = "temporary folder";
    let hint = "choose another one: `scratch` in [defaults]";
    let shown = folder.display();
    let place = existing(folder);
    if folder.exists() && !folder.is_dir() {
        return Finding::new(Level::Problem, subject, format!("{shown} is no folder"), hint);
    }
    if accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return Finding::new(Level::Problem, subject, format!("{shown} cannot be written by this user"), hint);
    }
    let free = match free_bytes(folder) {
        Ok(free) => free,
        Err(error) => {
            return Finding::new(Level::Warning, subject, format!("{shown} cannot be looked at: {error}"), hint);
        }
    };
    let files = plans.iter().flat_map(|(_, plan)| plan.sqlite_files.iter().flat_map(|(_, found)| found));
    let sized = files.filter_map(|path| Some((std::fs::metadata(path).ok()?.len(), path)));
    let largest = sized.max();
    let size = |bytes| ByteSize(bytes).to_string();
    match largest {
        Some((bytes, path)) if free < bytes => {
            let message =
                format!("{shown} has {} free, and a copy of {} needs {}", size(free), path.display(), size(bytes));
            Finding::new(Level::Problem, subject, message, hint)
        }
        _ if free < LEAST => {
            let message = format!("{shown} has only {} free", size(free));
            Finding::new(Level::Warning, subject, message, hint)
        }
        _ => Finding::ok(subject, format!("{shown}, {} free", size(free))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_compared_with_what_is_to_stay_free_and_with_the_last_snapshot() {
        let last = Statistics { stored_bytes: 100, total_bytes: 1000, ..Statistics::default() };
        let level = |free, min_free| repository_room(free, min_free, Some(&last)).level;
        assert_eq!(level(5000, 0), Level::Ok);
        assert_eq!(level(500, 0), Level::Note);
        assert_eq!(level(5000, 4500), Level::Note);
        assert_eq!(level(50, 0), Level::Warning);
        assert_eq!(level(5000, 6000), Level::Problem);
        assert_eq!(level(0, 0), Level::Problem);
        assert_eq!(repository_room(1 << 30, 0, None).message, "1 GiB free");
    }

    #[test]
    fn a_temporary_folder_that_will_be_made_is_well_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let found = scratch(&folder.path().join("a/b"), &[]);
        assert!(found.level <= Level::Warning, "{found:?}");
        assert!(!folder.path().join("a").exists(), "looking makes nothing");
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(scratch(&folder.path().join("file"), &[]).level, Level::Problem);
    }
}
