//! Drills: is what was backed up of a database a database again, with everything in it?
//!
//! A dump is loaded by its hook into a server that lives for this only; an SQLite database is opened where nobody else
//! looks. Rows are compared with those counted when it was backed up, and the questions of the profile are asked. What
//! cannot be tried here was *not run*: it never passes.

mod answers;
mod dump;
mod files;
mod place;
mod sqlite;

pub use answers::Asked;
pub use dump::{DumpDrill, drill_dump};
pub use files::{FileCheck, check_files};
pub use place::{Place, PlaceError};
pub use sqlite::drill_sqlite;

use std::collections::BTreeMap;

use crate::format::node::TableRows;
use crate::profile::Question;

/// Tables, problems or files that are named; the rest are counted.
const SHOWN: usize = 5;

/// How a drill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is whole, and all questions were answered well.
    Passed,
    /// It is not, for these reasons.
    Failed(Vec<String>),
    /// Nobody knows how: its hook has no drill.
    NoDrill,
    /// It could not be tried here.
    NotRun {
        /// What is missing.
        why: String,
        /// The next step.
        hint: String,
    },
}

/// What a drill of one database came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// How it ended.
    pub outcome: Outcome,
    /// What it was loaded into.
    pub server: Option<String>,
    /// Tables whose rows were counted.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// What should be known, though nothing failed.
    pub warnings: Vec<String>,
    /// What was asked, and what came; the files that it names are not looked at yet.
    pub asked: Vec<Asked>,
    /// Questions that cannot be asked of it, and why. Wrong only when no other database answers them.
    pub unanswered: Vec<(Question, String)>,
}

impl Drilled {
    /// One that could not be tried.
    #[must_use]
    pub fn not_run(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::of(Outcome::NotRun { why: why.into(), hint: hint.into() })
    }

    /// One that failed before anything could be counted.
    #[must_use]
    pub fn failed(problem: impl Into<String>) -> Self {
        Self::of(Outcome::Failed(vec![problem.into()]))
    }

    const fn of(outcome: Outcome) -> Self {
        let server = None;
        Self { outcome, server, tables: 0, rows: 0, warnings: Vec::new(), asked: Vec::new(), unanswered: Vec::new() }
    }

    /// Adds a reason why it is not whole.
    pub fn fail(&mut self, problems: Vec<String>) {
        match &mut self.outcome {
            Outcome::Failed(known) => known.extend(problems),
            // What was not run proves nothing, whatever else is said.
            Outcome::NotRun { .. } | Outcome::NoDrill => {}
            Outcome::Passed if problems.is_empty() => {}
            Outcome::Passed => self.outcome = Outcome::Failed(problems),
        }
    }
}

/// What differs between the rows counted at the backup and those in what was restored.
fn compare_rows(expected: &[TableRows], found: &BTreeMap<String, u64>) -> Vec<String> {
    let differing: Vec<_> = expected.iter().filter(|table| found.get(&table.table) != Some(&table.rows)).collect();
    let mut problems: Vec<String> = differing
        .iter()
        .take(SHOWN)
        .map(|table| match found.get(&table.table) {
            Some(now) => format!("table {}: {} rows when it was backed up, {now} restored", table.table, table.rows),
            None => {
                format!("table {}: {} rows when it was backed up, and no such table restored", table.table, table.rows)
            }
        })
        .collect();
    if differing.len() > SHOWN {
        problems.push(format!("{} more tables differ in their rows", differing.len() - SHOWN));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(table: &str, rows: u64) -> TableRows {
        TableRows { table: table.to_owned(), rows }
    }

    #[test]
    fn lost_and_added_rows_and_missing_tables_are_named_and_many_are_counted() {
        let found = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]);
        assert!(compare_rows(&[rows("a", 3), rows("b", 2)], &found).is_empty());
        let problems = compare_rows(&[rows("a", 4), rows("b", 1), rows("c", 0)], &found);
        assert_eq!(problems.len(), 3);
        assert!(problems[0].contains("table a: 4 rows") && problems[0].contains("3 restored"), "{problems:?}");
        assert!(problems[2].contains("no such table"), "{problems:?}");
        let many: Vec<_> = (0..9).map(|at| rows(&format!("t{at}"), 1)).collect();
        let problems = compare_rows(&many, &found);
        assert_eq!(problems.last().unwrap(), "4 more tables differ in their rows");
    }

    #[test]
    fn what_was_not_run_does_not_become_passed_or_failed() {
        let mut drilled = Drilled::not_run("no initdb", "install it");
        drilled.fail(vec!["x".into()]);
        assert!(matches!(drilled.outcome, Outcome::NotRun { .. }));
        let mut drilled = Drilled::of(Outcome::Passed);
        drilled.fail(Vec::new());
        assert_eq!(drilled.outcome, Outcome::Passed);
        drilled.fail(vec!["x".into()]);
        drilled.fail(vec!["y".into()]);
        assert_eq!(drilled.outcome, Outcome::Failed(vec!["x".into(), "y".into()]));
    }
}
