//! Dumps that the application compressed itself: each is new data in every backup, since compressed bytes do not repeat.

use std::path::{Path, PathBuf};

use super::{Finding, Level, is_kept};
use crate::job::Plan;
use crate::size::ByteSize;

/// Smaller ones do not matter, in bytes.
const LARGE: u64 = 100 << 20;

const ENDINGS: [&str; 12] = [
    ".sql.gz", ".sql.bz2", ".sql.xz", ".sql.zst", ".dump.gz", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".zip", ".7z",
    ".rar",
];

/// Folders in which applications keep such things, in lower case.
const FOLDERS: [&str; 6] = ["backup", "backups", "dump", "dumps", "scheduled", "manual"];

/// Folders of such names are entered so deep.
const DEPTH: usize = 3;

pub(super) fn compressed(plan: &Plan, findings: &mut Vec<Finding>) {
    for start in plan.anchors.iter().chain(&plan.roots) {
        let mut found = Vec::new();
        look(start, DEPTH, &mut found);
        found.retain(|(path, _)| is_kept(plan, path));
        let Some((largest, _)) = found.iter().max_by_key(|(_, bytes)| *bytes) else { continue };
        let total: u64 = found.iter().map(|(_, bytes)| bytes).sum();
        let message = format!(
            "{} below {} hold {}, such as {}: compressed data does not deduplicate",
            if found.len() == 1 { "1 compressed file".to_owned() } else { format!("{} compressed files", found.len()) },
            start.display(),
            ByteSize(total),
            largest.strip_prefix(start).unwrap_or(largest).display(),
        );
        let hint = "let the application keep fewer or none, or `exclude` them: bk backs up the data itself";
        findings.push(Finding::new(Level::Note, "compressed dumps", message, hint));
    }
}

fn look(folder: &Path, depth: usize, found: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if metadata.is_dir() && depth > 0 && FOLDERS.contains(&name.as_str()) {
            look(&entry.path(), depth - 1, found);
        } else if metadata.is_file() && metadata.len() > LARGE && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            found.push((entry.path(), metadata.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn large_archives_at_the_top_and_in_folders_of_backups_are_told_unless_they_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, bytes: u64| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
        };
        make("small.zip", 1000);
        make("large.bin", LARGE + 1);
        make("photos/large.zip", LARGE + 1);
        let mut plan = plan(folder.path());
        let mut findings = Vec::new();
        compressed(&plan, &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
        make("Backups/scheduled/a.ZIP", LARGE + 1);
        make("db.sql.gz", LARGE * 2);
        compressed(&plan, &mut findings);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.starts_with("2 compressed files") && findings[0].message.contains("db.sql.gz"));
        plan.exclude = vec!["Backups/**".to_owned(), "*.gz".to_owned()];
        findings.clear();
        compressed(&plan, &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
    }
}
