//! `bk verify` of SQLite databases: what a page, a row or a table was lost of does not pass.

use bk::format::node::{NodeKind, TableRows};
use bk::format::snapshot::Snapshot;

use super::Bench;
use super::verify::ONE;

const SHOP: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE first (i INTEGER PRIMARY KEY, text TEXT); CREATE INDEX by_text ON first (text);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO first SELECT i, 'word ' || i FROM n;
    CREATE TABLE last AS SELECT * FROM first; CREATE TABLE blank (x);";

const CONFIG: &str = "paths = [\"HERE/shop.db\"]";

/// A profile of one file that is a database, backed up.
fn bench() -> Bench {
    let bench = Bench::configured(&ONE.replace("paths = [\"HERE/source\"]", CONFIG));
    rusqlite::Connection::open(bench.path("shop.db")).unwrap().execute_batch(SHOP).unwrap();
    bench.with(0, &["backup", "wiki"]);
    bench
}

/// Puts a snapshot in which the database is what `change` makes of it.
fn put(bench: &Bench, change: impl FnOnce(&mut Vec<TableRows>)) {
    // Each is newer than all before it.
    let later = std::fs::read_dir(bench.path("ssd/snapshots")).unwrap().count();
    bench.past("ssd").put(0, |snapshot: &mut Snapshot| {
        let NodeKind::File { rows, .. } = &mut snapshot.roots[0].node.kind else { panic!() };
        change(rows);
        snapshot.start.seconds += i64::try_from(later).unwrap();
    });
}

#[test]
fn a_whole_database_passes_also_with_a_log_that_was_not_written_back() {
    let bench = bench();
    let said = bench.verify(0, &["wiki"]);
    assert!(said.contains("shop.db is whole: 3 tables, 1,000 rows"), "{said}");
    assert!(said.contains("SQLite 3.") && said.contains("wiki restores; verified in"), "{said}");
    let open = rusqlite::Connection::open(bench.path("shop.db")).unwrap();
    open.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO blank VALUES (1), (2), (3);").unwrap();
    bench.with(0, &["backup", "wiki"]);
    let said = bench.verify(0, &["wiki"]);
    assert!(said.contains("shop.db is whole: 3 tables, 1,003 rows"), "{said}");
    // All of it is one: the file itself was never compared with what changes under it.
    assert!(!said.contains("warning"), "{said}");
    let json = bench.lines(0, &["verify", "wiki", "--only", "databases"]);
    let database = json.iter().find(|line| line["message_type"] == "database").unwrap();
    assert_eq!((&database["outcome"], &database["rows"]), (&"passed".into(), &1003.into()));
}

#[test]
fn rows_and_tables_that_were_lost_are_named() {
    let bench = bench();
    put(&bench, |rows| rows.iter_mut().find(|table| table.table == "last").unwrap().rows = 501);
    let said = bench.verify(6, &["wiki"]);
    assert!(said.contains("table last: 501 rows when it was backed up, 500 restored"), "{said}");
    put(&bench, |rows| rows.push(TableRows { table: "orders".into(), rows: 0 }));
    let said = bench.verify(6, &["wiki"]);
    assert!(said.contains("table orders: 0 rows when it was backed up, and no such table restored"), "{said}");
    assert!(said.contains("wiki DOES NOT RESTORE"), "{said}");
    assert!(bench.proved().is_null());
}

/// A snapshot of a database as `damage` made it, with the rows that were counted before.
fn damaged(damage: fn(&mut Vec<u8>)) -> Bench {
    let bench = bench();
    let snapshot = bench.past("ssd").snapshots().all.pop().unwrap().snapshot;
    let NodeKind::File { rows: counted, .. } = snapshot.roots[0].node.kind.clone() else { panic!() };
    assert_eq!(counted.len(), 3);
    let mut bytes = std::fs::read(bench.path("shop.db")).unwrap();
    damage(&mut bytes);
    std::fs::write(bench.path("shop.db"), bytes).unwrap();
    // As any other file.
    bench.configure(&ONE.replace("paths = [\"HERE/source\"]", &format!("{CONFIG}\nsqlite = false")));
    bench.with(0, &["backup", "wiki"]);
    put(&bench, |rows| *rows = counted);
    bench
}

#[test]
fn a_page_of_zeros_a_cut_and_no_database_at_all_do_not_pass() {
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[8192..12_288].fill(0),
        |bytes| {
            let end = bytes.len();
            bytes[end - 4096..].fill(0);
        },
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(bytes.len() - 4096),
        |bytes| bytes.truncate(0),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let bench = damaged(damage);
        let said = bench.verify(6, &["wiki"]);
        assert!(said.contains("shop.db DOES NOT RESTORE"), "{at}: {said}");
        assert!(bench.proved().is_null(), "{at}");
    }
}

#[test]
fn a_database_with_a_collation_of_its_application_passes_with_a_warning() {
    let config = ONE.replace("HERE/source", "HERE/shop.db");
    let bench = Bench::configured(&config);
    let database = rusqlite::Connection::open(bench.path("shop.db")).unwrap();
    database.create_collation("icu_root", |a: &str, b: &str| b.cmp(a)).unwrap();
    database.execute_batch(&SHOP.replace("(text);", "(text COLLATE icu_root);")).unwrap();
    drop(database);
    bench.with(0, &["backup", "wiki"]);
    let said = bench.verify(0, &["wiki"]);
    assert!(said.contains("shop.db is whole: 3 tables, 1,000 rows"), "{said}");
    assert!(said.contains("its indexes could not be compared with its tables") && said.contains("icu_root"), "{said}");
}

#[test]
fn a_database_that_there_is_no_room_for_was_not_tried() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can mount");
    }
    let bench = bench();
    let inner = bench.bk(&["-c", "bk.toml", "verify", "wiki"]);
    let mut command = std::process::Command::new("unshare");
    let script = "mount -t tmpfs -o size=16k none scratch && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.current_dir(bench.path("")).output().unwrap();
    let said = super::text(&output.stdout) + &super::text(&output.stderr);
    if said.contains("mount: ") || said.contains("unshare: ") {
        return eprintln!("skipped: {said}");
    }
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("shop.db was NOT TRIED") && said.contains("next: make room there"), "{said}");
}
