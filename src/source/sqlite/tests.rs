use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;

const WAL: &str = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;";
const CHILD_PATH: &str = "SQLITE_TEST_PATH";

struct Bench {
    dir: TempDir,
    scratch: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), scratch: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A database of 1000 rows in `t`, made under `setup`, and its connection.
    fn database(&self, name: &str, setup: &str) -> (PathBuf, Connection) {
        let path = self.path(name);
        let database = Connection::open(&path).unwrap();
        database.execute_batch(setup).unwrap();
        database.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);").unwrap();
        fill(&database, 1000);
        (path, database)
    }

    /// Copies, and checks that the scratch directory is empty afterwards, however it ended.
    fn copy(&self, path: &Path) -> Result<DatabaseCopy, SqliteError> {
        let options = CopyOptions { busy: Duration::from_millis(300), ..CopyOptions::default() };
        let result = copy(path, self.scratch.path(), &options);
        assert_eq!(fs::read_dir(self.scratch.path()).unwrap().count(), 0);
        result
    }

    /// The content of a copy as a database of its own.
    fn reopen(&self, mut copy: DatabaseCopy) -> Connection {
        let path = self.path("restored");
        let mut bytes = Vec::new();
        copy.file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, copy.length);
        fs::write(&path, bytes).unwrap();
        Connection::open(path).unwrap()
    }
}

fn fill(database: &Connection, rows: u32) {
    let sql = "INSERT INTO t (text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               SELECT printf('%0200d', i) FROM n";
    database.execute(sql, [rows]).unwrap();
}

fn rows_of(copy: &DatabaseCopy, table: &str) -> Option<u64> {
    copy.rows.iter().find(|counted| counted.table == table).map(|counted| counted.rows)
}

fn is_whole(database: &Connection) -> bool {
    database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap() == "ok"
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn spawn_child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", &format!("source::sqlite::tests::{test}")]);
    command.env(CHILD_PATH, path).stdin(Stdio::null());
    command
}

/// Runs this test binary's `child_writer` on `path` until it is dropped.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Self {
        let mut child = spawn_child("child_writer", path).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("writing")));
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "run as a process of its own"]
fn child_writer() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let database = Connection::open(path).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("PRAGMA synchronous = OFF;").unwrap();
    // Pairs: a copy taken inside a transaction would show an odd number of rows.
    for at in 0.. {
        let pair = "BEGIN IMMEDIATE; INSERT INTO t (text) VALUES ('a'); INSERT INTO t (text) VALUES ('b'); COMMIT;";
        database.execute_batch(pair).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        if at == 5 {
            writeln!(io::stdout(), "\nwriting").unwrap();
        }
    }
}

#[test]
fn a_database_is_known_by_its_first_bytes() {
    let bench = Bench::new();
    for size in [512_u32, 4096, 65_536] {
        let (path, _) = bench.database(&format!("{size}.db"), &format!("PRAGMA page_size = {size};"));
        let bytes = fs::read(path).unwrap();
        assert!(looks_like_database(&bytes[..16]));
        assert_eq!(page_size(&bytes[..18]), Some(size));
    }
    let header = |high, low| [&MAGIC[..], &[high, low]].concat();
    assert!(!looks_like_database(b"SQLite format 3") && !looks_like_database(b""));
    assert!([header(0, 0), header(1, 0), header(3, 0), MAGIC.to_vec()].iter().all(|bytes| page_size(bytes).is_none()));
}

#[test]
fn files_beside_a_database_are_known_by_name() {
    assert_eq!(is_sidecar(b"app.db-wal"), Some(&b"app.db"[..]));
    assert_eq!(is_sidecar(b"\xff-shm"), Some(&b"\xff"[..]));
    assert_eq!(is_sidecar(b"x-journal"), Some(&b"x"[..]));
    assert!([&b"-wal"[..], b"app.db", b"wal", b"x-wal2"].iter().all(|name| is_sidecar(name).is_none()));
}

#[test]
fn the_copy_of_an_idle_database_has_the_same_bytes_but_for_three_counters() {
    for size in [512, 1024, 4096, 65_536] {
        let bench = Bench::new();
        let (path, database) = bench.database("a.db", &format!("PRAGMA page_size = {size}; PRAGMA auto_vacuum = 1;"));
        database.execute_batch("DELETE FROM t WHERE id % 3 = 0; PRAGMA user_version = 7;").unwrap();
        drop(database);
        let before = fs::read(&path).unwrap();
        let mut copy = bench.copy(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 1);
        assert_eq!((copy.page_size, copy.length), (size, before.len() as u64));
        let mut after = Vec::new();
        copy.file.read_to_end(&mut after).unwrap();
        let differing = (0..before.len()).filter(|at| before[*at] != after[*at]);
        // Change counter, schema cookie, version-valid-for and library version.
        let counters = |at: &usize| [24..28, 40..44, 92..100].iter().any(|range| range.contains(at));
        assert_eq!(differing.filter(|at| !counters(at)).collect::<Vec<_>>(), [0; 0]);
    }
}

#[test]
fn two_copies_of_an_unchanged_database_are_equal() {
    let bench = Bench::new();
    let (path, _database) = bench.database("a.db", WAL);
    let bytes = || {
        let mut bytes = Vec::new();
        bench.copy(&path).unwrap().file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn rows_that_are_only_in_the_write_ahead_log_are_copied_and_the_log_stays_as_it_was() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", WAL);
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    fill(&database, 500);
    let (main, log) = (fs::read(&path).unwrap(), fs::read(beside(&path, "-wal")).unwrap());
    assert!(!log.is_empty());
    let copy = bench.copy(&path).unwrap();
    assert_eq!(rows_of(&copy, "t"), Some(1500));
    assert_eq!((fs::read(&path).unwrap(), fs::read(beside(&path, "-wal")).unwrap()), (main, log));
    let restored = bench.reopen(copy);
    assert!(is_whole(&restored));
    let mode: String = restored.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn the_log_of_a_killed_program_is_read_but_neither_played_back_nor_removed() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", WAL);
    drop(Writer::start(&path));
    std::mem::forget(database);
    let dead = bench.path("dead.db");
    fs::copy(&path, &dead).unwrap();
    fs::copy(beside(&path, "-wal"), beside(&dead, "-wal")).unwrap();
    let (main, log) = (fs::read(&dead).unwrap(), fs::read(beside(&dead, "-wal")).unwrap());
    let copy = bench.copy(&dead).unwrap();
    assert!(rows_of(&copy, "t") >= Some(1010));
    assert_eq!((fs::read(&dead).unwrap(), fs::read(beside(&dead, "-wal")).unwrap()), (main, log));
}

#[test]
fn copies_beside_a_live_writer_are_consistent_in_both_modes() {
    for setup in ["PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;", "PRAGMA journal_mode = DELETE;"] {
        let bench = Bench::new();
        let (path, database) = bench.database("a.db", setup);
        drop(database);
        let _writer = Writer::start(&path);
        let options = CopyOptions::default();
        let mut last = 0;
        for _ in 0..5 {
            let copy = copy(&path, bench.scratch.path(), &options).unwrap();
            let rows = rows_of(&copy, "t").unwrap();
            assert!(rows >= last && rows.is_multiple_of(2), "{rows} after {last}");
            last = rows;
            assert!(is_whole(&bench.reopen(copy)));
        }
    }
}

#[test]
fn an_uncommitted_change_is_not_copied() {
    let bench = Bench::new();
    for setup in [WAL, "PRAGMA journal_mode = DELETE;"] {
        let (path, database) = bench.database(&format!("{}.db", setup.len()), setup);
        database.execute_batch("BEGIN; INSERT INTO t (text) VALUES ('not yet');").unwrap();
        assert_eq!(rows_of(&bench.copy(&path).unwrap(), "t"), Some(1000));
        database.execute_batch("COMMIT;").unwrap();
        assert_eq!(rows_of(&bench.copy(&path).unwrap(), "t"), Some(1001));
    }
}

#[test]
fn a_database_that_stays_locked_is_named_after_the_waiting_time() {
    let bench = Bench::new();
    for setup in ["", "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"] {
        let (path, database) = bench.database(&format!("locked{}.db", setup.len()), setup);
        database.execute_batch("BEGIN EXCLUSIVE;").unwrap();
        let error = bench.copy(&path).unwrap_err();
        assert!(matches!(&error, SqliteError::Locked { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("database `{}` stayed locked by another program for 0.3 s", path.display())
        );
    }
}

#[test]
fn a_damaged_page_is_copied_as_it_is_and_its_table_is_reported() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", "CREATE TABLE other (x); INSERT INTO other VALUES (1), (2);");
    let root: u64 = database
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 't'", [], |row| row.get::<_, i64>(0))
        .unwrap() as u64;
    drop(database);
    File::options().write(true).open(&path).unwrap().write_all_at(&[0xee; 4096], (root - 1) * 4096).unwrap();
    let copy = bench.copy(&path).unwrap();
    assert_eq!(rows_of(&copy, "other"), Some(2));
    assert_eq!(copy.uncounted, ["t"]);
}

#[test]
fn damage_foreign_formats_and_empty_files_are_told_apart() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", "");
    drop(database);
    let bytes = fs::read(&path).unwrap();
    let written = |name: &str, content: &[u8]| {
        fs::write(bench.path(name), content).unwrap();
        bench.copy(&bench.path(name)).unwrap_err()
    };
    let truncated = written("truncated", &bytes[..bytes.len() / 2]);
    assert!(matches!(truncated, SqliteError::Corrupt { .. }), "{truncated:?}");
    let encrypted: Vec<u8> = (0..8192_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for content in [&encrypted[..], b"text", &[&MAGIC[..], &[0; 84]].concat()] {
        let error = written("foreign", content);
        assert!(matches!(error, SqliteError::NotADatabase { .. }), "{error:?}");
    }
    assert!(matches!(written("empty", b""), SqliteError::Empty { .. }));
    let short = written("header only", &bytes[..100]);
    assert!(matches!(short, SqliteError::NotADatabase { .. } | SqliteError::Corrupt { .. }), "{short:?}");
}

#[test]
fn nothing_is_created_where_no_database_is_and_links_are_not_followed() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", "");
    drop(database);
    symlink(&path, bench.path("link")).unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    let missing = bench.copy(&bench.path("missing"));
    assert!(matches!(missing, Err(SqliteError::Missing { .. })), "{missing:?}");
    for name in ["link", "folder", "folder/.."] {
        let error = bench.copy(&bench.path(name)).unwrap_err();
        assert!(matches!(error, SqliteError::NotAFile { .. }), "{error:?}");
    }
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 3);
    // A link among the parents is followed.
    symlink(bench.dir.path(), bench.path("parent")).unwrap();
    assert!(bench.copy(&bench.path("parent/a.db")).is_ok());
}

#[test]
fn the_journal_of_a_crashed_program_is_not_played_back() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", "PRAGMA cache_size = 1;");
    database.execute_batch("BEGIN; UPDATE t SET text = 'changed';").unwrap();
    let crashed = bench.path("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(beside(&path, "-journal"), beside(&crashed, "-journal")).unwrap();
    let before = fs::read(&crashed).unwrap();
    let error = bench.copy(&crashed).unwrap_err();
    assert!(matches!(error, SqliteError::UnfinishedChange { .. }), "{error:?}");
    assert_eq!(fs::read(&crashed).unwrap(), before);
    assert!(beside(&crashed, "-journal").exists());
}

#[test]
fn collations_and_tokenizers_we_lack_do_not_matter() {
    let bench = Bench::new();
    let setup = "CREATE TABLE media (name TEXT COLLATE NOCASE); CREATE INDEX by_name ON media(name);
        CREATE TABLE tags (name TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
        CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE VIRTUAL TABLE words USING fts5(body);
        CREATE VIRTUAL TABLE old_words USING fts4(body);
        CREATE VIEW seen AS SELECT * FROM media;
        INSERT INTO media VALUES ('a'), ('B'), ('c'); INSERT INTO tags VALUES ('x'); INSERT INTO pairs VALUES (1, 2);
        INSERT INTO words VALUES ('one two'); INSERT INTO old_words VALUES ('three');";
    let (path, database) = bench.database("plex.db", setup);
    database
        .execute_batch(
            "ANALYZE; PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'icu_root');
             UPDATE sqlite_schema SET sql = replace(sql, 'fts5(body)', 'fts5(body, tokenize=plex)');
             UPDATE sqlite_schema SET sql = replace(sql, 'fts4(body)', 'unheard_of(body)');",
        )
        .unwrap();
    drop(database);
    let copy = bench.copy(&path).unwrap();
    assert_eq!(rows_of(&copy, "media"), Some(3));
    assert_eq!(rows_of(&copy, "pairs"), Some(1));
    assert_eq!(rows_of(&copy, "words_content"), Some(1));
    assert!(["words", "old_words", "seen", "sqlite_stat1"].iter().all(|name| rows_of(&copy, name).is_none()));
    assert_eq!(copy.uncounted, ["tags"]);
}

#[test]
fn a_malformed_definition_hides_no_other_table() {
    let bench = Bench::new();
    let (path, database) = bench.database("a.db", "CREATE TABLE bad (x);");
    let damage = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE (((' WHERE name = 'bad';";
    database.execute_batch(damage).unwrap();
    drop(database);
    let copy = bench.copy(&path).unwrap();
    assert_eq!((rows_of(&copy, "t"), copy.uncounted), (Some(1000), vec!["bad".to_owned()]));
}

#[test]
fn odd_table_names_and_encodings_are_counted() {
    let bench = Bench::new();
    let setup =
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE \"a\"\"b; 'ü%\n\" (x); INSERT INTO \"a\"\"b; 'ü%\n\" VALUES (1);
        CREATE TABLE sqlitex (x); CREATE TABLE auto (x INTEGER PRIMARY KEY AUTOINCREMENT);";
    let (path, _database) = bench.database("a.db", setup);
    let copy = bench.copy(&path).unwrap();
    let names: Vec<&str> = copy.rows.iter().map(|counted| counted.table.as_str()).collect();
    assert_eq!(names, ["a\"b; 'ü%\n", "auto", "sqlitex", "t"]);
    assert_eq!(rows_of(&copy, "a\"b; 'ü%\n"), Some(1));
}

#[test]
fn counting_ends_in_time_and_the_copy_is_still_good() {
    let bench = Bench::new();
    let (path, _database) = bench.database("a.db", "");
    // Each level of this tree names the same child 300 times: walking all paths would take for ever.
    let hostile = bench.path("hostile.db");
    fs::write(&hostile, endless_tree()).unwrap();
    let options = CopyOptions { counting: Duration::from_millis(200), ..CopyOptions::default() };
    let copied = copy(&hostile, bench.scratch.path(), &options).unwrap();
    assert_eq!(copied.uncounted, ["t"]);
    assert_eq!(rows_of(&bench.copy(&path).unwrap(), "t"), Some(1000));
}

/// A database whose table has 15 levels of interior pages that all point to the next level 300 times.
fn endless_tree() -> Vec<u8> {
    let bench = Bench::new();
    let path = bench.path("a.db");
    let database = Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE t (x);").unwrap();
    drop(database);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(4096);
    const LEVELS: u32 = 15;
    for level in 0..LEVELS {
        let child = 3 + level;
        let mut page = vec![0; 4096];
        if level == LEVELS - 1 {
            // A leaf with one row: NULL under the number 1.
            page[..10].copy_from_slice(&[13, 0, 0, 0, 1, 15, 160, 0, 15, 160]);
            page[4000..4004].copy_from_slice(&[2, 1, 2, 0]);
        } else {
            page[0] = 5;
            page[3..5].copy_from_slice(&300_u16.to_be_bytes());
            page[5..7].copy_from_slice(&2000_u16.to_be_bytes());
            page[8..12].copy_from_slice(&child.to_be_bytes());
            for cell in 0..300_usize {
                let at = 2000 + cell * 5;
                page[12 + cell * 2..][..2].copy_from_slice(&(at as u16).to_be_bytes());
                page[at..at + 4].copy_from_slice(&child.to_be_bytes());
                page[at + 4] = 1;
            }
        }
        bytes.extend(page);
    }
    bytes[28..32].copy_from_slice(&(1 + LEVELS).to_be_bytes());
    bytes
}

#[test]
fn odd_file_names_are_opened_with_their_write_ahead_log() {
    let bench = Bench::new();
    let names: [&[u8]; 8] =
        [b"a b", b"a'\"b", b"100%41", b"a?mode=rwc", b"a#b", b"a\nb", b"\xff\xfe.db", b"file:x?immutable=1"];
    for name in names {
        let path = bench.dir.path().join(std::ffi::OsString::from_vec(name.to_vec()));
        let database = Connection::open(&path).unwrap();
        database.execute_batch(WAL).unwrap();
        database.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);").unwrap();
        fill(&database, 10);
        assert_eq!(rows_of(&bench.copy(&path).unwrap(), "t"), Some(10), "{path:?}");
        drop(database);
        let original = |dir: &File| {
            let original = Original::find(dir.as_fd(), name, &path).unwrap();
            original
                .open(Access::Unlocked, Duration::ZERO)
                .and_then(|database| database.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)))
        };
        assert_eq!(original(&File::open(bench.dir.path()).unwrap()).unwrap(), 10, "{path:?}");
    }
}

#[test]
fn a_deep_directory_is_reached_by_its_descriptor_up_to_the_limit_of_sqlite() {
    let bench = Bench::new();
    let mut deep = fs::canonicalize(bench.dir.path()).unwrap();
    while deep.as_os_str().len() < MAX_PATH_LEN - 60 {
        deep.push("x".repeat(30));
    }
    fs::create_dir_all(&deep).unwrap();
    let room = MAX_PATH_LEN - deep.as_os_str().len() - 1;
    let (longest, too_long) = ("n".repeat(room), "n".repeat(room + 1));
    fs::copy(bench.database("a.db", "").0, deep.join(&longest)).unwrap();
    fs::copy(deep.join(&longest), deep.join(&too_long)).unwrap();
    let dir = File::open(&deep).unwrap();
    let copy_of = |name: &str| {
        let display = Path::new("shown");
        copy_at(dir.as_fd(), name.as_bytes(), display, bench.scratch.path(), &CopyOptions::default())
    };
    assert_eq!(rows_of(&copy_of(&longest).unwrap(), "t"), Some(1000));
    let error = copy_of(&too_long).unwrap_err();
    assert!(matches!(error, SqliteError::PathTooLong { .. }), "{error:?}");
    assert!(error.to_string().contains("`shown`"));
    assert!(matches!(copy_of("a/b"), Err(SqliteError::NotAFile { .. })));
}

#[test]
fn a_directory_that_was_moved_is_still_the_same_directory() {
    let bench = Bench::new();
    fs::create_dir(bench.path("old")).unwrap();
    drop(bench.database("old/a.db", ""));
    let dir = File::open(bench.path("old")).unwrap();
    fs::rename(bench.path("old"), bench.path("new")).unwrap();
    let copied = copy_at(dir.as_fd(), b"a.db", Path::new("a.db"), bench.scratch.path(), &CopyOptions::default());
    assert_eq!(rows_of(&copied.unwrap(), "t"), Some(1000));
    fs::remove_dir_all(bench.path("new")).unwrap();
    let gone = copy_at(dir.as_fd(), b"a.db", Path::new("a.db"), bench.scratch.path(), &CopyOptions::default());
    assert!(matches!(gone, Err(SqliteError::Missing { .. })), "{gone:?}");
}

#[test]
fn the_copy_is_private_nameless_and_at_its_beginning() {
    let bench = Bench::new();
    let (path, _database) = bench.database("a.db", "");
    let mut copy = bench.copy(&path).unwrap();
    let metadata = copy.file.metadata().unwrap();
    assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (0, 0o600));
    assert_eq!(copy.file.stream_position().unwrap(), 0);
}

#[test]
fn a_copy_has_no_name_from_before_its_first_byte_so_that_a_kill_leaves_nothing() {
    let bench = Bench::new();
    let (path, _database) = bench.database("a.db", WAL);
    let mut stage = Stage::new(bench.scratch.path()).ok().unwrap();
    assert_eq!(fs::read_dir(bench.scratch.path()).unwrap().count(), 0);
    copy_pages(&Connection::open(&path).unwrap(), &mut stage.writer).unwrap();
    assert_eq!(fs::read_dir(bench.scratch.path()).unwrap().count(), 0);
    assert_ne!(stage.file.metadata().unwrap().len(), 0);
}

#[test]
fn a_scratch_directory_that_is_missing_is_named() {
    let bench = Bench::new();
    let (path, _database) = bench.database("a.db", "");
    let error = copy(&path, Path::new("/no/such/scratch"), &CopyOptions::default()).unwrap_err();
    assert!(matches!(error, SqliteError::Scratch { .. }), "{error:?}");
    assert!(error.to_string().contains("/no/such/scratch"));
}

#[test]
#[ignore = "run as an ordinary user by the next tests"]
fn child_copies() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let scratch = TempDir::new().unwrap();
    let result = copy(Path::new(&path), scratch.path(), &CopyOptions::default());
    let text = match &result {
        Ok(copy) => format!("rows {}", rows_of(copy, "t").unwrap()),
        Err(error) => format!("{error:?}"),
    };
    writeln!(io::stdout(), "\nresult: {text}").unwrap();
}

/// Copies as a user who cannot write to the directory; `None` where no such user can be had.
fn copy_without_writing(bench: &Bench, path: &Path) -> Option<String> {
    let set_mode = |mode| fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    let mut command = spawn_child("child_copies", path);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.env("TMPDIR", "/tmp").current_dir("/").output();
    set_mode(0o755);
    let text = String::from_utf8(output.ok()?.stdout).unwrap();
    Some(text.lines().find_map(|line| line.strip_prefix("result: ")).expect(&text).to_owned())
}

#[test]
fn in_a_read_only_directory_an_idle_database_is_copied_and_a_log_is_not_overlooked() {
    let bench = Bench::new();
    let (rollback, database) = bench.database("rollback.db", "");
    drop(database);
    let Some(result) = copy_without_writing(&bench, &rollback) else { return };
    assert_eq!(result, "rows 1000");
    let (idle, database) = bench.database("idle.db", WAL);
    drop(database);
    assert!(!beside(&idle, "-wal").exists());
    assert_eq!(copy_without_writing(&bench, &idle).unwrap(), "rows 1000");
    assert!(!beside(&idle, "-wal").exists());
    let (live, _database) = bench.database("live.db", WAL);
    assert_eq!(copy_without_writing(&bench, &live).unwrap(), "rows 1000");
    // The log alone, as in a snapshot of the file system.
    let dead = bench.path("dead.db");
    fs::copy(&live, &dead).unwrap();
    fs::copy(beside(&live, "-wal"), beside(&dead, "-wal")).unwrap();
    let result = copy_without_writing(&bench, &dead).unwrap();
    assert!(result.starts_with("ReadOnlyDirectory"), "{result}");
}
