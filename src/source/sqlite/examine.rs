//! A restored database, looked at where nobody else has it: its pages, its rows, and what queries bring.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;
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
    /// Why not all of it was looked at: then what is in it is not known.
    pub unfinished: Option<String>,
}

/// What is known of the pages.
#[derive(Debug, Default)]
struct Pages {
    problems: Vec<String>,
    is_partial: Option<String>,
    unfinished: Option<String>,
}

impl Pages {
    /// What an error that ended the check says of them, when it says something; else the error.
    fn of(error: rusqlite::Error) -> Result<Self, rusqlite::Error> {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                Ok(Self { unfinished: Some("it took too long".into()), ..Self::default() })
            }
            _ if is_damage(&error) => Ok(Self { problems: vec![error.to_string()], ..Self::default() }),
            _ => Err(error),
        }
    }
}

/// Looks at the database in the file `path`, which nobody writes to; at most `most_rows` are taken of each query. Once
/// `stop` is set it ends soon.
///
/// # Errors
/// When it cannot be opened.
pub fn examine(path: &Path, queries: &[&str], most_rows: usize, stop: &AtomicBool) -> rusqlite::Result<Examined> {
    let database = open(path)?;
    let pages = rows::within(&database, PAGES_LIMIT, stop, integrity);
    let counted = rows::count(&database, QUERY_LIMIT, stop);
    let ask = |query: &&str| {
        rows::within(&database, QUERY_LIMIT, stop, |database| answer(database, query, most_rows))
            .map_err(|error| error.to_string())
    };
    let answers = queries.iter().map(ask).collect();
    Ok(Examined {
        version: rusqlite::version(),
        integrity: pages.problems,
        counted: counted.rows,
        uncounted: counted.uncounted,
        answers,
        is_partial: pages.is_partial,
        unfinished: pages.unfinished.or_else(|| counted.is_stopped.then(|| "counting its rows took too long".into())),
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
fn integrity(database: &Connection) -> Pages {
    let whole = |problems| Pages { problems, ..Pages::default() };
    let error = match check(database, &format!("integrity_check({MOST_PROBLEMS})"))
        .map_or_else(Pages::of, |all| Ok(whole(all)))
    {
        Ok(pages) => return pages,
        Err(error) => error,
    };
    // A collation that is not here keeps SQLite from the whole check. With any order in its place the pages can still
    // be looked at, though not whether an index is in that order.
    let stands_in = database.collation_needed(|database, name| database.create_collation(name, |a, b| a.cmp(b)));
    let quick = stands_in.and_then(|()| check(database, &format!("quick_check({MOST_PROBLEMS})")));
    let mut pages = quick.map_or_else(Pages::of, |all| Ok(whole(all))).unwrap_or_else(|_| each_table(database));
    pages.is_partial = Some(error.to_string());
    pages
}

/// Where a virtual table keeps SQLite from looking at the pages of all, those of each ordinary one.
fn each_table(database: &Connection) -> Pages {
    let mut pages = Pages::default();
    for name in rows::tables(database).unwrap_or_default() {
        let name = String::from_utf8_lossy(&name).into_owned();
        let checked = check(database, &format!("quick_check(\"{}\")", name.replace('"', "\"\"")));
        // Of one that cannot be checked the rows are counted all the same.
        if let Ok(of_table) = checked.map_or_else(Pages::of, |problems| Ok(Pages { problems, ..Pages::default() })) {
            pages.problems.extend(of_table.problems);
            pages.unfinished = pages.unfinished.or(of_table.unfinished);
        }
    }
    pages.problems.truncate(MOST_PROBLEMS as usize);
    pages
}

fn check(database: &Connection, pragma: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(&format!("PRAGMA {pragma}"))?;
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

    static NEVER: AtomicBool = AtomicBool::new(false);

    const SHOP: &str = "PRAGMA journal_mode = WAL; CREATE TABLE shop (id INTEGER PRIMARY KEY, name TEXT, data BLOB);
        CREATE INDEX by_name ON shop (name);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
        INSERT INTO shop SELECT i, 'name ' || i, x'00ff' FROM n;";

    #[test]
    fn a_whole_database_is_counted_and_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), SHOP);
        let queries = ["SELECT id, name, data, NULL, 1.5 FROM shop ORDER BY id", "SELECT nothing", "ATTACH 'x' AS y"];
        let found = examine(&path, &queries, 2, &NEVER).unwrap();
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
        let found = examine(&path, &[], 1, &NEVER).unwrap();
        assert!(!found.integrity.is_empty());
    }

    #[test]
    fn a_collation_of_the_application_keeps_nothing_from_being_counted_and_damage_from_being_seen() {
        let folder = tempfile::tempdir().unwrap();
        let strange = SHOP.replace("(name);", "(name COLLATE ICU);");
        let path = database(folder.path(), &strange);
        let found = examine(&path, &["SELECT count(*) FROM shop"], 1, &NEVER).unwrap();
        assert!(found.integrity.is_empty(), "{found:?}");
        assert!(found.is_partial.is_some_and(|why| why.contains("ICU")));
        assert_eq!(found.counted[0].rows, 500);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192..12_288].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let found = examine(&path, &[], 1, &NEVER).unwrap();
        assert!(!found.integrity.is_empty() || !found.uncounted.is_empty(), "{found:?}");
    }

    #[test]
    fn a_virtual_table_that_only_its_application_can_read_keeps_no_damage_from_being_seen() {
        let folder = tempfile::tempdir().unwrap();
        let strange = "CREATE VIRTUAL TABLE words USING fts4(text); INSERT INTO words VALUES ('a'), ('b');
            PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE words USING fts4(text, tokenize=theirs)' WHERE name = 'words';";
        let path = database(folder.path(), &format!("{SHOP}{strange}"));
        let found = examine(&path, &[], 1, &NEVER).unwrap();
        assert!(found.integrity.is_empty() && found.unfinished.is_none(), "{found:?}");
        assert!(found.counted.iter().any(|table| table.table == "shop" && table.rows == 500));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8192..12_288].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let found = examine(&path, &[], 1, &NEVER).unwrap();
        assert!(!found.integrity.is_empty(), "{found:?}");
    }

    #[test]
    fn what_has_no_end_is_stopped_with_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), SHOP);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let found = examine(&path, &[endless], 1, &AtomicBool::new(true)).unwrap();
        assert!(found.answers[0].is_err());
    }
}
