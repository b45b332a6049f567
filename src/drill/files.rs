//! Database against files: is everything that a row names in the snapshot, with the size and the hash that the row says?

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use sha1::Digest as _;

use super::{Asked, SHOWN};
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::id::to_hex;
use crate::operation::dump::{self, DumpError};
use crate::operation::list::{Located, join, lookup};
use crate::profile::Question;
use crate::repository::{BlobReader, RepositoryError};

/// What the files that a question names came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileCheck {
    /// Rows whose file was looked for.
    pub looked: u64,
    /// What is wrong, the first of them named.
    pub problems: Vec<String>,
}

/// Looks for the files of every row.
///
/// # Errors
/// When a tree of the snapshot cannot be read, or the user stops it.
pub fn check_files(
    reader: &mut BlobReader<'_>,
    snapshot: &Snapshot,
    asked: &Asked,
    interrupted: &AtomicBool,
) -> Result<FileCheck, RepositoryError> {
    let mut check = FileCheck::default();
    let mut wrong = 0_usize;
    if let Some(problem) = asked.rows.first().and_then(|row| missing_column(&asked.question, row)) {
        check.problems.push(format!("{}: {problem}", asked.question.name));
        return Ok(check);
    }
    for row in &asked.rows {
        let paths = asked.question.paths(row);
        // NULL: this row has no file.
        let Some(first) = paths.first() else { continue };
        check.looked += 1;
        let problem = match find(reader, snapshot, &paths)? {
            None => Some(format!("{first} is not in the snapshot")),
            Some(found) => differs(reader, &asked.question, row, &found, interrupted)?,
        };
        let Some(problem) = problem else { continue };
        wrong += 1;
        if wrong <= SHOWN {
            check.problems.push(format!("{}: {problem}", asked.question.name));
        }
    }
    if wrong > SHOWN {
        check.problems.push(format!(
            "{}: {} more files of {} are wrong",
            asked.question.name,
            wrong - SHOWN,
            check.looked
        ));
    }
    Ok(check)
}

/// A column that the question compares by and its answer does not have: without it nothing would be compared.
fn missing_column(question: &Question, row: &[Option<String>]) -> Option<String> {
    let highest = question.highest_column();
    (highest > row.len()).then(|| format!("its answer has no column {highest}, only {}", row.len()))
}

/// The first of the paths that is there: below any of the data folders, or where it says itself.
fn find(
    reader: &mut BlobReader<'_>,
    snapshot: &Snapshot,
    paths: &[String],
) -> Result<Option<Located>, RepositoryError> {
    for path in paths {
        let below = snapshot.roots.iter().map(|root| join(&root.path, path.trim_start_matches('/').as_bytes()));
        let said = path.starts_with('/').then(|| path.as_bytes().to_vec());
        for place in said.into_iter().chain(below.collect::<Vec<_>>()) {
            if let Some(found) = lookup(reader, snapshot, &place)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn differs(
    reader: &mut BlobReader<'_>,
    question: &Question,
    row: &[Option<String>],
    found: &Located,
    interrupted: &AtomicBool,
) -> Result<Option<String>, RepositoryError> {
    let path = String::from_utf8_lossy(&found.path);
    let NodeKind::File { size, .. } = &found.node.kind else {
        let is_compared = question.size.is_some() || question.hash.is_some();
        return Ok(is_compared.then(|| format!("{path} is no file, so neither size nor hash can be compared")));
    };
    let column = |column: Option<usize>| row.get(column?.checked_sub(1)?)?.as_deref();
    if let Some(expected) = column(question.size)
        && expected.parse() != Ok(*size)
    {
        return Ok(Some(format!("{path} has {size} bytes, the database says {expected}")));
    }
    let Some(expected) = column(question.hash) else { return Ok(None) };
    let expected = expected.trim_start_matches("\\x").to_lowercase();
    let mut hash = match expected.len() {
        40 => Hash::Sha1(sha1::Sha1::new()),
        64 => Hash::Sha256(sha2::Sha256::new()),
        length => {
            return Ok(Some(format!(
                "the database gives {path} a hash of {length} digits, which is neither SHA-1 nor SHA-256"
            )));
        }
    };
    match dump::file(reader, &found.node, &mut hash, interrupted) {
        Ok(_) => {}
        Err(DumpError::Repository(error)) if error.is_damage() => {
            return Ok(Some(format!("{path} cannot be restored: {error}")));
        }
        Err(DumpError::Repository(error)) => return Err(error),
        // Hashing cannot fail.
        Err(DumpError::Output(_)) => {}
    }
    let is = hash.finish();
    Ok((is != expected).then(|| format!("{path} has the hash {is}, the database says {expected}")))
}

enum Hash {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Hash {
    fn finish(self) -> String {
        match self {
            Self::Sha1(hash) => to_hex(&hash.finalize()),
            Self::Sha256(hash) => to_hex(&hash.finalize()),
        }
    }
}

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, file, folder};

    fn question(files: &[&str], size: Option<usize>, hash: Option<usize>) -> Question {
        Question {
            name: "q".into(),
            when: None,
            database: None,
            queries: vec![String::new()],
            at_least: 0,
            equals: None,
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            size,
            hash,
            optional: false,
        }
    }

    fn row(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect()
    }

    #[test]
    fn files_are_found_below_a_root_and_compared_by_size_and_hash() {
        let bench = Bench::new();
        let tree = folder("app", vec![folder("data", vec![file("a", b"abc"), file("b", b"")])]);
        let info = bench.snapshot(vec![("/srv", tree)]);
        let never = AtomicBool::new(false);
        let check = |question: Question, rows: &[&[&str]]| {
            let rows = rows.iter().map(|values| row(values)).collect();
            let asked = Asked { question, rows };
            bench.read(|reader| check_files(reader, &info.snapshot, &asked, &never)).unwrap()
        };
        let found = check(question(&["old/{1}", "data/{1}"], None, None), &[&["a"], &["b"], &["NULL"]]);
        assert_eq!(found, FileCheck { looked: 2, problems: Vec::new() });
        let found = check(question(&["data/{1}"], None, None), &[&["a"], &["c"], &["../app/data/a"]]);
        assert_eq!(found.problems.len(), 2, "{found:?}");
        assert!(found.problems[0].contains("data/c is not in the snapshot"));
        let found = check(question(&["data/{1}"], Some(2), None), &[&["a", "3"], &["b", "1"]]);
        assert_eq!(found.problems, ["q: /srv/app/data/b has 0 bytes, the database says 1"]);
        let sha1 = "\\xA9993E364706816ABA3E25717850C26C9CD0D89D";
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let found = check(question(&["data/{1}"], None, Some(2)), &[&["a", sha1], &["a", sha256], &["b", sha256]]);
        assert_eq!(found.problems.len(), 1, "{found:?}");
        assert!(found.problems[0].contains("/srv/app/data/b has the hash"));
        // What cannot be compared is not right.
        let found = check(question(&["{1}"], Some(2), None), &[&["data", "7"]]);
        assert_eq!(found.problems.len(), 1, "{found:?}");
        assert!(found.problems[0].contains("/srv/app/data is no file"), "{found:?}");
        for question in [question(&["{3}"], None, None), question(&["{1}"], Some(3), None)] {
            let found = check(question, &[&["data/a", "3"]]);
            assert_eq!(found.problems, ["q: its answer has no column 3, only 2"]);
        }
        let many: Vec<Vec<String>> = (0..9).map(|at| vec![format!("x{at}")]).collect();
        let many: Vec<Vec<&str>> = many.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        let rows: Vec<&[&str]> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(
            check(question(&["{1}"], None, None), &rows).problems.last().unwrap(),
            "q: 4 more files of 9 are wrong"
        );
    }
}
