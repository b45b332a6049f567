//! A restored database, looked at where nobody else has it: its pages, its rows, and what queries bring.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::rows;
use crate::format::node::TableRows;

/// How long the pages of a database may take.
const PAGES_LIMIT: Duration = Duration::from_secs(3600);
/// How long one query may take, and the counting of all rows.
const QUERY_LIMIT: Duration = Duration::from_secs(300);
/// Problems that SQLite is asked for.
const MOST_PROBLEMS: u32 = 10;

/// A value of a row as text; `None` for NULL. Bytes are hexadecimal.
pub type Value = Option<String>;

/// What there is in a database.
#[derive(Debug)]
pub struct Examined {
    /// Of SQLite.
    pub version: &'static str,
    /// What is wrong with its pages; nothing when it is whole.
    pub integrity: Vec<String>,
    /// Rows of every ordinary table.
    pub counted: Vec<TableRows>,
    /// Tables that could not be counted.
    pub uncounted: Vec<String>,
    /// For each query its rows, or why it could not be asked.
    pub answers: Vec<Result<Vec<Vec<Value>>, String>>,
    /// Why indexes were not compared with tables: a collation or tokenizer that only the application has.
    pub is_partial: Option<String>,
}

/// Looks at the database in the file `path`, which nobody writes to; at most `most_rows` are taken of each query.
///
/// # Errors
/// When it cannot be opened.
pub fn examine(path: &Path, queries: &[&str], most_rows: usize) -> rusqlite::Result<Examined> {
    let database = open(path)?;
    let (integrity, is_partial) = rows::within(&database, PAGES_LIMIT, integrity);
    let counted = rows::count(&database, QUERY_LIMIT);
    let ask = |query: &&str| {
        rows::within(&database, QUERY_LIMIT, |database| answer(database, query, most_rows))
            .map_err(|error| error.to_string())
    };
    let answers = queries.iter().map(ask).collect();
    Ok(Examined {
        version: rusqlite::version(),
        integrity,
        counted: counted.rows,
        uncounted: counted.uncounted,
        answers,
        is_partial,
    })
}

/// Immutable: a database in WAL mode is read without the files that would come to lie beside it.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"/-._~".contains(byte);
        if plain { uri.push(char::from(*byte)) } else { uri.push_str(&format!("%{byte:02x}")) }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(uri, flags)?;
    // What the database says, and what is asked, reaches no other file.
    database.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    database.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(database)
}

/// What is wrong with the pages; and why only a part could be looked at.
fn integrity(database: &Connection) -> (Vec<String>, Option<String>) {
    let error = match check(database, "integrity_check") {
        Ok(problems) => return (problems, None),
        Err(error) => error,
    };
    if is_damage(&error) {
        return (vec![error.to_string()], None);
    }
    // A collation that is not here keeps SQLite from the whole check. With any order in its place the pages can still
    // be looked at, though not whether an index is in that order.
    let stands_in = database.collation_needed(|database, name| database.create_collation(name, |a, b| a.cmp(b)));
    match stands_in.and_then(|()| check(database, "quick_check")) {
        Ok(problems) => (problems, Some(error.to_string())),
        Err(again) if is_damage(&again) => (vec![again.to_string()], None),
        Err(again) => (Vec::new(), Some(again.to_string())),
    }
}

fn check(database: &Connection, pragma: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(&format!("PRAGMA {pragma}({MOST_PROBLEMS})"))?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure)
    )
}

fn answer(database: &Connection, query: &str, most_rows: usize) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = database.prepare(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        if answer.len() == most_rows {
            break;
        }
        answer.push((0..columns).map(|at| row.get_ref(at).map(text)).collect::<Result<_, _>>()?);
    }
    Ok(answer)
}

fn text(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Some(crate::id::to_hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(folder: &Path, statements: &str) -> std::path::PathBuf {
        let path = folder.join("a b?c%.db");
        let database = Connection::open(&path).unwrap();
        database.create_collation("ICU", |a: &str, b: &str| b.cmp(a)).unwrap();
        database.execute_batch(statements).unwrap();
        path
    }

    const SHOP: &str = "PRAGMA journal_mode = WAL; CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT, data BLOB);
        CREATE INDEX by_name ON shop (name);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
        INSERT INTO shop SELECT i, 'name ' || i, x'00ff' FROM n;";

    #[test]
    fn a_whole_database_is_counted_and_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), SHOP);
        let queries = ["SELECT id, name, data, NULL, 1.5 FROM shop ORDER BY id", "SELECT nothing", "ATTACH 'x' AS y"];
        let found = examine(&path, &queries, 2).unwrap();
        assert!(found.integrity.is_empty() && found.is_partial.is_none(), "{found:?}");
        assert_eq!(found.counted, [TableRows { table: "shop".into(), rows: 500 }]);
        let first = found.answers[0].as_ref().unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(first.len(), 2);
        assert_eq!(first[0], [text("1"), text("name 1"), text("00ff"), None, text("1.5")]);
        assert!(found.answers[1].as_ref().unwrap_err().contains("nothing"));
        assert!(found.answers[2].is_err());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing may come to lie beside it");
    }

    #[test]
    fn a_page_of_zeros_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), SHOP);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192..12_288].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let found = examine(&path, &[], 1).unwrap();
        assert!(!found.integrity.is_empty());
    }

    #[test]
    fn a_collation_of_the_application_keeps_nothing_from_being_counted_and_damage_from_being_seen() {
        let folder = tempfile::tempdir().unwrap();
        let strange = SHOP.replace("(name);", "(name COLLATE ICU);");
        let path = database(folder.path(), &strange);
        let found = examine(&path, &["SELECT count(*) FROM shop"], 1).unwrap();
        assert!(found.integrity.is_empty(), "{found:?}");
        assert!(found.is_partial.is_some_and(|why| why.contains("ICU")));
        assert_eq!(found.counted[0].rows, 500);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192..12_288].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let found = examine(&path, &[], 1).unwrap();
        assert!(!found.integrity.is_empty() || !found.uncounted.is_empty(), "{found:?}");
    }
}
