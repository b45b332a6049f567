//! How many rows each table of a copy holds, to be compared after a restore: an integrity check cannot see
//! that the newest rows are missing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, InterruptHandle};

use crate::format::node::TableRows;

/// How often a count that went over its time is told to stop.
const INTERRUPT_EVERY: Duration = Duration::from_millis(100);

/// Ordinary tables only: virtual ones have no root page, and views have no rows of their own.
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 \
     AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name";

/// What could be counted, and what could not.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) rows: Vec<TableRows>,
    pub(super) uncounted: Vec<String>,
    /// Those of them whose pages are damaged.
    pub(super) damaged: Vec<String>,
    /// Whether it was stopped before its end.
    pub(super) is_stopped: bool,
}

impl Counted {
    fn failed(&mut self, table: String, error: &rusqlite::Error) {
        if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            self.damaged.push(table.clone());
        }
        self.is_stopped |= error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
        self.uncounted.push(table);
    }
}

/// Counts the rows of every ordinary table of `database` within `limit`, or until `stop` is set.
///
/// Tables are walked without their indexes, so that collations and tokenizers of the program that owns the
/// database are not needed; only the primary key of a `WITHOUT ROWID` table cannot be avoided.
/// The time is bounded because damaged or hostile pages can make a walk endless.
pub(super) fn count(database: &Connection, limit: Duration, stop: &AtomicBool) -> Counted {
    within(database, limit, stop, count_all)
}

/// Does `work`, whose statements are told to stop once `limit` is over or `stop` is set.
pub(super) fn within<T>(
    database: &Connection,
    limit: Duration,
    stop: &AtomicBool,
    work: impl FnOnce(&Connection) -> T,
) -> T {
    let (done, waiter) = mpsc::channel::<()>();
    let handle = database.get_interrupt_handle();
    thread::scope(|scope| {
        let guard = thread::Builder::new()
            .name("bk-sqlite-limit".into())
            .spawn_scoped(scope, move || interrupt_after(limit, stop, &handle, &waiter));
        if guard.is_err() {
            // Without somebody to watch the time nothing is begun that may have no end.
            database.get_interrupt_handle().interrupt();
        }
        let result = work(database);
        drop(done);
        result
    })
}

fn interrupt_after(limit: Duration, stop: &AtomicBool, handle: &InterruptHandle, done: &mpsc::Receiver<()>) {
    let mut left = limit;
    let mut wait = left.min(INTERRUPT_EVERY);
    while done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        left = left.saturating_sub(wait);
        wait = left.min(INTERRUPT_EVERY);
        if left.is_zero() || stop.load(Ordering::Relaxed) {
            handle.interrupt();
            wait = INTERRUPT_EVERY;
        }
    }
}

fn count_all(database: &Connection) -> Counted {
    let mut counted = Counted::default();
    let tables = match tables(database) {
        Ok(tables) => tables,
        Err(error) => {
            counted.failed("sqlite_schema".into(), &error);
            return counted;
        }
    };
    for name in tables {
        match String::from_utf8(name) {
            Ok(table) => match count_one(database, &table) {
                Ok(rows) => counted.rows.push(TableRows { table, rows }),
                Err(error) => counted.failed(table, &error),
            },
            Err(error) => counted.uncounted.push(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        }
    }
    counted
}

/// The ordinary tables, by name.
pub(super) fn tables(database: &Connection) -> rusqlite::Result<Vec<Vec<u8>>> {
    // One malformed table definition must not hide the other tables; the connection is read-only anyway.
    database.execute_batch("PRAGMA writable_schema = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    let mut statement = database.prepare(TABLES)?;
    let names = statement.query_map([], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec()))?;
    names.collect()
}

fn count_one(database: &Connection, table: &str) -> rusqlite::Result<u64> {
    let quoted = table.replace('"', "\"\"");
    let sql = format!("SELECT count(*) FROM main.\"{quoted}\" NOT INDEXED");
    let rows: i64 = database.query_row(&sql, [], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}
