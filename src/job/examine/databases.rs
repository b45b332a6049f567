//! SQLite databases: there, readable, kept, and as long as they say they are.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Finding, Level, is_kept};
use crate::job::Plan;
use crate::profile::Profile;
use crate::source::sqlite;

const SUBJECT: &str = "database";

/// Length of the header of a database, in bytes.
const HEADER_LEN: usize = 100;

pub(super) fn databases(profile: &Profile, plan: &Plan, findings: &mut Vec<Finding>) {
    for (file, found) in &plan.sqlite_files {
        for path in found {
            if !is_kept(plan, path) && !file.optional {
                let message = format!("{} is left out by the patterns", path.display());
                let hint = "take the pattern that matches it out of `exclude`, or back with `!`";
                findings.push(Finding::new(Level::Problem, SUBJECT, message, hint));
            } else {
                findings.push(database(path));
            }
        }
    }
    for problem in &plan.problems {
        let message = format!("{}: {}", String::from_utf8_lossy(&problem.path), problem.message);
        let hint = format!("see that its data folder is right: `bk profile show {}`", profile.name);
        findings.push(Finding::new(Level::Problem, SUBJECT, message, hint));
    }
    if !profile.sqlite {
        let message = "`sqlite = false`: live databases are read like other files and may be torn";
        findings.push(Finding::new(Level::Warning, SUBJECT, message, "remove `sqlite = false`, or stop the service"));
    }
}

/// What the header alone tells: a look into the pages would be a backup.
fn database(path: &Path) -> Finding {
    let shown = path.display();
    let mut header = Vec::with_capacity(HEADER_LEN);
    let read = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        file.take(HEADER_LEN as u64).read_to_end(&mut header)?;
        Ok(length)
    });
    let length = match read {
        Ok(length) => length,
        Err(error) => {
            let message = format!("{shown} cannot be read: {error}");
            let hint = "run bk as root, or as the user whose files these are";
            return Finding::new(Level::Problem, SUBJECT, message, hint);
        }
    };
    if length == 0 {
        let hint = "see whether the service has ever run with it";
        return Finding::new(Level::Warning, SUBJECT, format!("{shown} is an empty file"), hint);
    }
    let Some(page_size) = sqlite::page_size(&header) else {
        let message = format!("{shown} is no SQLite database, or an encrypted one");
        let hint = "an encrypted one is copied like other files: stop the service meanwhile, `quiesce`";
        return Finding::new(Level::Warning, SUBJECT, message, hint);
    };
    match pages(&header) {
        Some(pages) if length < u64::from(pages) * u64::from(page_size) => {
            let message = format!("{shown} ends before its last page: it is cut off");
            let hint = "restore it from an earlier snapshot, or run `PRAGMA integrity_check`";
            // With a log beside it, it may be just growing.
            let growing = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
            Finding::new(if growing { Level::Warning } else { Level::Problem }, SUBJECT, message, hint)
        }
        _ => Finding::ok(SUBJECT, shown.to_string()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// How many pages it has; `None` when an old program wrote it, which does not keep that number
/// (<https://www.sqlite.org/fileformat2.html>, 1.3.7).
fn pages(header: &[u8]) -> Option<u32> {
    let word = |at: usize| header.get(at..at + 4)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    (word(24)? == word(92)?).then(|| word(28)).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{plan, profile};
    use super::*;
    use crate::profile::SqliteFile;

    fn make(path: &Path) {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(20000));").unwrap();
    }

    #[test]
    fn a_database_is_well_when_it_is_as_long_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        make(&path);
        assert_eq!(database(&path).level, Level::Ok);
        let length = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 4096).unwrap();
        let found = database(&path);
        assert!(found.level == Level::Problem && found.message.ends_with("cut off"), "{found:?}");
        std::fs::write(beside(&path, "-wal"), "log").unwrap();
        assert_eq!(database(&path).level, Level::Warning);
    }

    #[test]
    fn what_is_empty_or_no_database_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        assert_eq!(database(&path).level, Level::Problem);
        for (content, told) in [("", "is an empty file"), ("<html>", "is no SQLite database, or an encrypted one")] {
            std::fs::write(&path, content).unwrap();
            let found = database(&path);
            assert!(found.level == Level::Warning && found.message.ends_with(told), "{found:?}");
        }
    }

    #[test]
    fn a_database_that_must_be_kept_and_is_not_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        make(&path);
        let mut plan = plan(folder.path());
        plan.exclude = vec!["*.db".to_owned()];
        let file = SqliteFile { path: "a.db".into(), optional: false, tables: Vec::new(), when: None };
        plan.sqlite_files.push((file, vec![path]));
        let mut findings = Vec::new();
        databases(&profile(&[folder.path()]), &plan, &mut findings);
        assert!(findings.len() == 1 && findings[0].message.ends_with("left out by the patterns"), "{findings:?}");
    }
}
