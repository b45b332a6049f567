//! An SQLite database, opened where nobody else looks: pages, rows, questions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::answers::{judge, queries};
use super::{Drilled, Outcome, compare_rows};
use crate::format::node::TableRows;
use crate::hook::Answer;
use crate::profile::{MOST_ROWS, Question};
use crate::source::sqlite::{Examined, Value, examine};

/// Looks at the database in the file `path`, which nobody else has; it is not changed. Once `stop` is set it ends soon,
/// and nothing is known.
#[must_use]
pub fn drill_sqlite(path: &Path, rows: &[TableRows], questions: &[Question], stop: &AtomicBool) -> Drilled {
    let most_rows = usize::try_from(MOST_ROWS).unwrap_or(usize::MAX);
    let examined = match examine(path, &queries(questions), most_rows, stop) {
        Ok(examined) => examined,
        Err(error) => return Drilled::failed(format!("it cannot be opened: {error}")),
    };
    let Examined { version, integrity, counted, uncounted, answers, is_partial, unfinished } = examined;
    if let (Some(why), true) = (unfinished, integrity.is_empty()) {
        return Drilled::not_run(
            why,
            "restore it where there is more time, and run `PRAGMA integrity_check` of sqlite3",
        );
    }
    let found: BTreeMap<String, u64> = counted.into_iter().map(|table| (table.table, table.rows)).collect();
    let answers: Vec<Answer> = (1..).zip(answers).flat_map(|(number, answer)| rows_of(number, answer)).collect();
    let judged = judge(questions, &answers);
    let mut drilled = Drilled {
        server: Some(format!("SQLite {version}")),
        tables: found.len() as u64,
        rows: found.values().sum(),
        warnings: judged.warnings,
        asked: judged.asked,
        unanswered: judged.unanswered,
        ..Drilled::of(Outcome::Passed)
    };
    for asked in drilled.asked.iter().filter(|asked| asked.rows.len() == most_rows) {
        drilled.warnings.push(format!("{}: only the first {MOST_ROWS} rows were looked at", asked.question.name));
    }
    if let Some(why) = is_partial {
        drilled.warnings.push(format!("its indexes could not be compared with its tables: {why}"));
    }
    // A table that cannot be counted here could not be when it was backed up either: it has no rows to compare.
    let lost = uncounted.iter().filter(|table| rows.iter().any(|row| row.table == **table));
    drilled.fail(lost.map(|table| format!("table {table} cannot be read")).collect());
    drilled.fail(integrity);
    let missing: Vec<TableRows> = rows.iter().filter(|row| !uncounted.contains(&row.table)).cloned().collect();
    drilled.fail(compare_rows(&missing, &found));
    drilled.fail(judged.problems);
    drilled
}

fn rows_of(number: u64, answer: Result<Vec<Vec<Value>>, String>) -> Vec<Answer> {
    match answer {
        Ok(rows) => rows.into_iter().map(|row| Answer { number, row, error: None }).collect(),
        Err(error) => vec![Answer { number, row: Vec::new(), error: Some(error) }],
    }
}
