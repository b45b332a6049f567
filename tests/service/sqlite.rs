//! SQLite: databases among the files, copied as a whole while they are written to.

use rusqlite::Connection;

use super::Machine;
use super::trees::meanwhile;
use super::writer::{TABLES, accounts_after, moves_after, transaction};

pub(super) fn rows(path: &std::path::Path, query: &str) -> String {
    let database = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = database.prepare(query).unwrap();
    let columns = statement.column_count();
    let line = |row: &rusqlite::Row<'_>| {
        let value = |at| row.get::<_, i64>(at).unwrap().to_string();
        Ok((0..columns).map(value).collect::<Vec<_>>().join("|"))
    };
    statement.query_map([], line).unwrap().map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

/// A database with the accounts of the writer, in a folder.
pub(super) fn made(folder: &std::path::Path) -> Connection {
    let database = Connection::open(folder.join("shop.db")).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    let accounts = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
        INSERT INTO accounts SELECT i, 1000 FROM n;";
    database.execute_batch(&format!("{TABLES}{accounts}")).unwrap();
    database
}

#[test]
fn a_database_that_is_written_to_comes_back_as_it_was_at_one_moment() {
    let machine = Machine::new("");
    machine.configure("[[profile.shop.database]]\nengine = \"sqlite\"\npath = \"shop.db\"\n");
    let database = made(&machine.bench.path("files"));
    for number in 0..100 {
        database.execute_batch(&transaction(number)).unwrap();
    }
    let (database, mut number) = (std::sync::Mutex::new(database), 100);
    let write = || {
        database.lock().unwrap().execute_batch(&transaction(number)).unwrap();
        number += 1;
        std::thread::sleep(std::time::Duration::from_micros(300));
    };
    meanwhile(write, || machine.backs_up());
    let copy = machine.bench.path("copy.db");
    let to = format!("sqlite:{}", copy.display());
    machine.loads("shop.db", &to);
    let moves: u64 = rows(&copy, "SELECT n FROM counter").parse().unwrap();
    assert!(100 <= moves && moves < number, "{moves} of {number}");
    assert_eq!(rows(&copy, "SELECT * FROM moves ORDER BY id"), moves_after(moves, '|'));
    assert_eq!(rows(&copy, "SELECT * FROM accounts ORDER BY id"), accounts_after(moves, '|'));
    // It is there, so it is refused; with --replace its old log goes too, or it would be played into the new one.
    machine.run(&["restore", "shop", "--database", "shop.db", "--to", &to]).exits(2).says("--replace");
    std::fs::write(machine.bench.path("copy.db-wal"), "old").unwrap();
    machine.run(&["restore", "shop", "--database", "shop.db", "--to", &to, "--replace"]).exits(0);
    assert!(!machine.bench.path("copy.db-wal").exists());
    assert_eq!(rows(&copy, "SELECT * FROM accounts ORDER BY id"), accounts_after(moves, '|'));
    // Its log is no file of the snapshot: what was in it is in the copy.
    let log = machine.bench.path("files/shop.db-wal");
    assert!(log.exists());
    machine.run(&["dump", "shop", log.to_str().unwrap()]).exits(1);
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let machine = Machine::new("");
    drop(made(&machine.bench.path("files")));
    let entry = |path: &str, more: &str| {
        machine.configure(&format!("[[profile.shop.database]]\nengine = \"sqlite\"\npath = \"{path}\"\n{more}"));
    };
    entry("shop.db", "tables = [\"accounts\", \"counter\"]\n");
    machine.backs_up();
    entry("other.db", "");
    machine.run(&["backup", "shop"]).exits(3).says("other.db").says("in none of the data folders");
    entry("other.db", "optional = true\n");
    machine.backs_up();
}

#[test]
fn a_table_that_must_have_rows_is_looked_for_also_in_a_file_that_did_not_change() {
    let machine = Machine::new("");
    drop(made(&machine.bench.path("files")));
    let database = Connection::open(machine.bench.path("files/shop.db")).unwrap();
    database
        .execute_batch("CREATE TABLE blank (x); CREATE TABLE last_words (x); INSERT INTO last_words VALUES (1);")
        .unwrap();
    drop(database);
    let tables = |names: &str| {
        let entry = "[[profile.shop.database]]\nengine = \"sqlite\"\npath = \"shop.db\"\n";
        machine.configure(&format!("{entry}tables = [{names}]\n"));
    };
    tables("\"blank\"");
    machine.run(&["backup", "shop"]).exits(4).says("table blank is empty").says("shop.db");
    // From here on the times of the file can be trusted, so that it is not read again.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    tables("\"accounts\", \"ACCOUNTS\", \"last*\"");
    machine.backs_up();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    machine.backs_up();
    tables("\"accounts\", \"blank\"");
    machine.fails("table blank is empty");
    tables("\"gone\"");
    machine.fails("there is no table gone");
    machine.configure(
        "sqlite = false\n[[profile.shop.database]]\nengine = \"sqlite\"\npath = \"shop.db\"\ntables = [\"gone\"]\n",
    );
    machine.backs_up();
    std::fs::write(machine.bench.path("files/shop.db"), "no database").unwrap();
    tables("\"accounts\"");
    machine.fails("no database that SQLite can read");
}
