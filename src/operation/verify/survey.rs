//! What there is to verify in a snapshot, and a sample of it.
//!
//! The sample is drawn anew each time: every file has a random number, and those with the smallest are taken until they
//! are enough. A file that is large for the sample counts, and is read, only in part, so that one film does not take
//! the place of all else and none is too large to be looked at.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::operation::list::{Located, Step, roots, walk};
use crate::repository::{BlobReader, RepositoryError};

/// A larger file has a part of this share of the sample.
const PARTS: u64 = 16;
/// A part is at least so long, in bytes.
const MIN_PART_LEN: u64 = 1 << 20;
/// More files are not in a sample.
const MOST_FILES: usize = 20_000;

/// What is wanted of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// About so many bytes of files; 0: no sample.
    pub sample_bytes: u64,
    /// Draws the sample.
    pub seed: [u8; 32],
    /// Whether databases are looked at by themselves, and so are no part of the sample.
    pub without_databases: bool,
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Regular files.
    pub files: u64,
    /// Their sizes, summed.
    pub bytes: u64,
    /// SQLite databases among them, and dumps.
    pub databases: Vec<Located>,
    /// Files of the sample that are read whole, by path.
    pub whole: Vec<Located>,
    /// Files of the sample that are read in part: where that begins, in bytes.
    pub parts: Vec<(Located, u64)>,
    /// How long a part is, in bytes.
    pub part_len: u64,
}

impl Survey {
    /// About how many bytes the sample has.
    #[must_use]
    pub fn sample_bytes(&self) -> u64 {
        let whole: u64 = self.whole.iter().map(size).sum();
        whole + self.parts.len() as u64 * self.part_len
    }
}

pub(super) fn size(located: &Located) -> u64 {
    match located.node.kind {
        NodeKind::File { size, .. } => size,
        _ => 0,
    }
}

/// A number that a path has for this sample.
fn number(seed: &[u8; 32], path: &[u8]) -> u64 {
    let hash = blake3::keyed_hash(seed, path);
    hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Walks all of a snapshot.
///
/// # Errors
/// When a tree cannot be read, or the user stops it.
pub fn survey(
    reader: &mut BlobReader<'_>,
    snapshot: &Snapshot,
    wanted: Wanted,
    interrupted: &AtomicBool,
) -> Result<Survey, RepositoryError> {
    let part_len = (wanted.sample_bytes / PARTS).max(MIN_PART_LEN);
    let mut survey = Survey { part_len, ..Survey::default() };
    // By number; of the sample there is never more than was asked for, and one file.
    let mut drawn: BTreeMap<(u64, Vec<u8>), Located> = BTreeMap::new();
    let mut drawn_bytes = 0;
    let cost = |located: &Located| size(located).min(part_len);
    for root in roots(snapshot) {
        walk(reader, root, interrupted, &mut |_: &mut BlobReader<'_>,
                                              at: &Located|
         -> Result<Step, RepositoryError> {
            let NodeKind::File { size, rows, .. } = &at.node.kind else { return Ok(Step::Into) };
            survey.files += 1;
            survey.bytes = survey.bytes.saturating_add(*size);
            // What was streamed has no place on the machine.
            let is_database = !rows.is_empty() || !at.path.starts_with(b"/");
            if is_database {
                survey.databases.push(at.clone());
            }
            if wanted.sample_bytes == 0 || (is_database && wanted.without_databases) {
                return Ok(Step::Into);
            }
            let key = (number(&wanted.seed, &at.path), at.path.clone());
            let is_full = drawn_bytes >= wanted.sample_bytes || drawn.len() >= MOST_FILES;
            if is_full && drawn.last_key_value().is_some_and(|(last, _)| *last < key) {
                return Ok(Step::Into);
            }
            drawn_bytes += cost(at);
            drawn.insert(key, at.clone());
            while let Some(last) = drawn.last_entry() {
                let without = drawn_bytes - cost(last.get());
                if without < wanted.sample_bytes && drawn.len() <= MOST_FILES {
                    break;
                }
                drawn_bytes = without;
                drawn.pop_last();
            }
            Ok(Step::Into)
        })?;
    }
    for ((number, _), located) in drawn {
        match size(&located).checked_sub(part_len) {
            None | Some(0) => survey.whole.push(located),
            Some(room) => survey.parts.push((located, number % (room + 1))),
        }
    }
    survey.whole.sort_by(|a, b| a.path.cmp(&b.path));
    survey.parts.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::format::node::TableRows;
    use crate::operation::bench::{Bench, RUNNING, file, folder, sparse};

    fn surveyed(bench: &Bench, snapshot: &Snapshot, sample_bytes: u64, seed: u8) -> Survey {
        let wanted = Wanted { sample_bytes, seed: [seed; 32], without_databases: true };
        bench.read(|reader| survey(reader, snapshot, wanted, &RUNNING)).unwrap()
    }

    #[test]
    fn a_sample_is_about_as_large_as_asked_for_and_in_time_every_file_is_in_one() {
        let bench = Bench::new();
        let files = (0..100).map(|at| file(&format!("f{at:02}"), &[7; 50])).collect();
        let snapshot = bench.snapshot(vec![("/srv", folder("x", files))]).snapshot;
        let mut seen = HashSet::new();
        for seed in 0..100 {
            let survey = surveyed(&bench, &snapshot, 500, seed);
            assert_eq!((survey.files, survey.bytes, survey.whole.len()), (100, 5000, 10));
            seen.extend(survey.whole.into_iter().map(|located| located.path));
        }
        assert_eq!(seen.len(), 100);
        assert_eq!(surveyed(&bench, &snapshot, 1 << 40, 0).whole.len(), 100);
        assert_eq!(surveyed(&bench, &snapshot, 0, 0).whole.len(), 0);
    }

    #[test]
    fn databases_are_no_part_of_a_sample_and_large_files_only_in_part() {
        let bench = Bench::new();
        let database = file("app.db", b"SQLite format 3").with(|node| {
            let NodeKind::File { rows, .. } = &mut node.kind else { return };
            rows.push(TableRows { table: "t".into(), rows: 1 });
        });
        let large = sparse("film", b"ab", &[(2, 5 << 20)]);
        let tree = folder("x", vec![database, large, file("small", b"1")]);
        let snapshot = bench.snapshot(vec![("/srv", tree)]).snapshot;
        let survey = surveyed(&bench, &snapshot, 4 << 20, 1);
        let names = |all: &[Located]| -> Vec<String> {
            all.iter().map(|one| String::from_utf8_lossy(&one.node.name).into_owned()).collect()
        };
        assert_eq!(names(&survey.databases), ["app.db"]);
        assert_eq!(names(&survey.whole), ["small"]);
        assert_eq!(survey.part_len, 1 << 20);
        let (film, from) = &survey.parts[0];
        assert!(film.node.name == b"film" && from + survey.part_len <= size(film));
    }
}
