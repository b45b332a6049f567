//! The verb `drill` of the hooks: dumps of real servers are loaded into servers of their own. A dump that is not good
//! never passes, one that cannot be tried is told apart, and nothing stays behind.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bk::hook::{BUILT_IN, Call, Facts, Finished, Hook, HookError};
use bk::source::command::Input;
use rustix::process::{Pid, Signal, kill_process_group};

use super::containers::{PLAIN, Podman};
use super::servers::{MariaDb, Postgres, Redis, postgres_program};
use super::trees::{is_root, meanwhile, skipped};
use super::{processes, text, wait_for};

/// A dump with what was found out about it.
#[derive(Clone)]
struct Dump {
    engine: &'static str,
    stream: String,
    bytes: Vec<u8>,
    facts: Facts,
}

/// One drill of a dump, in a folder as bk makes it.
struct Drill {
    call: Call,
    stream: String,
    folder: tempfile::TempDir,
    _scratch: tempfile::TempDir,
}

/// What a hook is told of how to reach a server.
type Settings<'a> = [(&'a str, &'a str)];

fn call(engine: &str, settings: &Settings<'_>) -> (Call, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let call = Call {
        hook: Hook::find(engine, Path::new("/nonexistent")).unwrap(),
        variables: settings.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        time_limit: Some(Duration::from_secs(60)),
        folder: scratch.path().to_owned(),
        cancel: None,
    };
    (call, scratch)
}

#[track_caller]
fn dump(engine: &'static str, stream: &str, settings: &Settings<'_>) -> Dump {
    let (call, _scratch) = call(engine, settings);
    let mut started = call.start("dump", Some(stream), Input::Nothing, |_| ()).unwrap();
    let mut bytes = Vec::new();
    started.running().read_to_end(&mut bytes).unwrap();
    let facts = started.finish().unwrap().facts;
    assert_eq!(facts.warnings, [""; 0]);
    Dump { engine, stream: stream.to_owned(), bytes, facts }
}

impl Dump {
    /// With other bytes.
    fn with(&self, bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..self.clone() }
    }

    /// With a part, which must be there, in place of another.
    #[track_caller]
    fn replaced(&self, old: &[u8], new: &[u8]) -> Self {
        let at = self.bytes.windows(old.len()).position(|part| part == old).expect("the part is in the dump");
        self.with(&[self.bytes.get(..at).unwrap(), new, self.bytes.get(at + old.len()..).unwrap()].concat())
    }

    /// Without the last `count` bytes.
    fn cut(&self, count: usize) -> Self {
        self.with(self.bytes.get(..self.bytes.len() - count).unwrap())
    }

    /// With another note; `None` takes it away.
    fn noting(&self, key: &str, value: Option<&str>) -> Self {
        let mut dump = self.clone();
        dump.facts.notes.remove(key);
        dump.facts.notes.extend(value.map(|value| (key.to_owned(), value.to_owned())));
        dump
    }

    fn prepare(&self, questions: &[&str], more: &Settings<'_>) -> Drill {
        let (mut call, scratch) = call(self.engine, more);
        let folder = tempfile::Builder::new().prefix("bk-d-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mut tell = |name: String, value: &str| call.variables.push((name.into(), value.into()));
        tell("BK_DRILL".to_owned(), folder.path().to_str().unwrap());
        tell("BK_QUERIES".to_owned(), &questions.len().to_string());
        for (number, question) in (1..).zip(questions) {
            tell(format!("BK_QUERY_{number}"), question);
        }
        for (key, value) in &self.facts.notes {
            tell(format!("BK_NOTE_{}", key.to_uppercase().replace('-', "_")), value);
        }
        Drill { call, stream: self.stream.clone(), folder, _scratch: scratch }
    }

    fn drill(&self, questions: &[&str], more: &Settings<'_>) -> Result<Finished, HookError> {
        let drill = self.prepare(questions, more);
        let end = drill.run(&self.bytes);
        let left = std::fs::read_dir(drill.folder.path()).unwrap().count();
        assert_eq!((left, processes(drill.mark())), (0, Vec::new()), "something is left of the drill");
        end
    }

    /// Loads, and holds the rows that were counted.
    #[track_caller]
    fn passes(&self, questions: &[&str]) -> Facts {
        let facts = self.loads(questions);
        assert_eq!(facts.rows, self.facts.rows);
        facts
    }

    #[track_caller]
    fn loads(&self, questions: &[&str]) -> Facts {
        let finished = self.drill(questions, &[]).unwrap_or_else(|error| panic!("{}", error.in_one_line()));
        assert!(!finished.skipped);
        finished.facts
    }

    /// Is found out not to be good.
    #[track_caller]
    fn fails(&self, words: &str) {
        let error = self.drill(&[], &[]).expect_err("the dump passes");
        let said = error.in_one_line();
        assert!(!error.is_unavailable() && said.contains(words), "{said}");
        assert!(!error.hint().is_empty());
    }

    /// Cannot be tried.
    #[track_caller]
    fn is_not_tried(&self, words: &str, hint: &str, more: &Settings<'_>) {
        let error = self.drill(&[], more).expect_err("the dump passes");
        let said = error.in_one_line();
        assert!(
            error.is_unavailable() && said.contains(words) && error.hint().contains(hint),
            "{said}; {}",
            error.hint()
        );
    }
}

impl Drill {
    fn start(&self) -> bk::hook::Started {
        self.call.start("drill", Some(&self.stream), Input::Piped, |_| ()).unwrap()
    }

    fn run(&self, bytes: &[u8]) -> Result<Finished, HookError> {
        let mut started = self.start();
        let mut input = started.running().take_input().unwrap();
        std::thread::scope(|scope| {
            // Who knows enough reads no further.
            scope.spawn(move || drop(input.write_all(bytes)));
            let _ = std::io::copy(started.running(), &mut std::io::sink());
            started.finish()
        })
    }

    /// What every process of it has in its environment or arguments.
    fn mark(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn server(&self, name: &str) -> Option<i32> {
        processes(self.mark()).into_iter().find(|(_, found)| found == name).map(|(id, _)| id)
    }

    #[track_caller]
    fn leaves_nothing(self) {
        wait_for("the end", || processes(self.mark()).is_empty().then_some(()));
        let path = self.folder.path().to_owned();
        self.folder.close().unwrap();
        assert!(!path.exists());
    }
}

fn rows(facts: &Facts, number: u64) -> Vec<Vec<Option<&str>>> {
    let answers = facts.answers.iter().filter(|answer| answer.number == number);
    answers.map(|answer| answer.row.iter().map(Option::as_deref).collect()).collect()
}

#[track_caller]
fn error(facts: &Facts, number: u64) -> &str {
    facts.answers.iter().find(|answer| answer.number == number).and_then(|answer| answer.error.as_deref()).unwrap()
}

/// What is hard to hand on; the same in SQL.
const ODD: &str = "tab\t, \"quote\", back\\slash, line\nend \\N \u{b} 'ünï' 🐘";

const POSTGRES: &str = r#"
CREATE ROLE keeper; CREATE ROLE seer;
CREATE TABLE t (id int PRIMARY KEY, text text, bytes bytea);
INSERT INTO t VALUES (1, E'tab\t, "quote", back\\slash, line\nend \\N \013 ''ünï'' 🐘', '\x00ff5c'), (2, NULL, NULL), (3, '', '');
INSERT INTO t SELECT i, repeat(md5(i::text), 20), decode(md5(i::text), 'hex') FROM generate_series(4, 2000) i;
ALTER TABLE t OWNER TO keeper; GRANT SELECT ON t TO seer;
ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO seer USING (true);
CREATE TABLE "odd "" name" AS SELECT 1 AS x;
CREATE TABLE acts (what text);
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO acts VALUES ('row'); RETURN NEW; END $$;
CREATE TRIGGER act BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION act();
CREATE FUNCTION act_too() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.acts VALUES ('event'); END $$;
CREATE EVENT TRIGGER act ON ddl_command_end EXECUTE FUNCTION act_too();
"#;

fn of_postgres(server: &Postgres, stream: &str) -> Dump {
    dump("postgres", stream, &[("BK_SET_USER", "postgres"), ("BK_SET_SOCKET", &server.socket())])
}

/// Looks while `work` runs at each server of a drill that is called `name`: it must have a network of its own, with
/// nothing in it.
#[track_caller]
fn apart<T>(name: &str, mark: &str, work: impl FnOnce() -> T) -> T {
    let (seen, reachable) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let look = || {
        std::thread::sleep(Duration::from_millis(10));
        for (id, found) in processes(mark) {
            let Ok(network) = std::fs::read_link(format!("/proc/{id}/ns/net")) else { continue };
            let sockets = std::fs::read_to_string(format!("/proc/{id}/net/tcp")).unwrap_or_default();
            // The same program also tells its version, and is no server then.
            let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            if found == name && arguments.windows(mark.len()).any(|part| part == mark.as_bytes()) {
                let alone = network != own && sockets.lines().count() <= 1;
                (if alone { &seen } else { &reachable }).fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let result = meanwhile(look, work);
    assert!(seen.load(Ordering::Relaxed) > 0, "the server was not seen");
    assert_eq!(reachable.load(Ordering::Relaxed), 0, "the server can be reached");
    result
}

#[test]
fn a_dump_of_postgres_is_loaded_into_a_server_of_its_own_which_answers() {
    let server = Postgres::start();
    server.make("my shop", POSTGRES);
    let questions = [
        "SELECT id, text, bytes FROM t WHERE id < 4 ORDER BY id; ",
        "SELECT count(*) FROM nothing",
        "SELECT what FROM acts",
        "SELECT current_database(), '100%' AS \":'x'\" -- the end",
        "DELETE FROM t RETURNING id",
        "SELECT i FROM generate_series(1, 10001) i",
        "SELECT 1; DROP TABLE t",
    ];
    let dumps = ["my shop.dump", "my shop.sql"].map(|stream| of_postgres(&server, stream));
    server.sql("postgres", "ALTER SYSTEM SET log_connections = on; SELECT pg_reload_conf();");
    let log = Path::new(&server.socket()).with_file_name("log");
    let connections = || std::fs::read_to_string(&log).unwrap().matches("connection received").count();
    wait_for("the log", || {
        server.sql("postgres", "SELECT 1");
        (connections() > 0).then_some(())
    });
    let before = connections();
    for dump in dumps {
        assert_eq!(dump.facts.rows.len(), 3, "{:?}", dump.facts);
        let version = dump.facts.notes["version"].clone();
        let facts = dump.passes(&questions);
        let place = facts.server.as_deref().unwrap();
        assert!(place.starts_with(&format!("PostgreSQL {version}.")) && place.ends_with(" of this machine"), "{place}");
        let expected =
            [[Some("1"), Some(ODD), Some("\\x00ff5c")], [Some("2"), None, None], [Some("3"), Some(""), Some("\\x")]];
        assert_eq!(rows(&facts, 1), expected);
        assert!(error(&facts, 2).contains("\"nothing\" does not exist"), "{facts:?}");
        assert_eq!(rows(&facts, 3), Vec::<Vec<_>>::new(), "a trigger of the dump has fired");
        assert_eq!(rows(&facts, 4), [[Some("my shop"), Some("100%")]]);
        assert!(error(&facts, 5).contains("read-only"), "{facts:?}");
        assert_eq!(rows(&facts, 6).len(), 10_000);
        assert!(error(&facts, 7).contains("syntax error"), "{facts:?}");
        assert_eq!(facts.warnings, ["question 6 has more rows than are kept"]);
    }
    assert_eq!(connections(), before, "the live server was asked");
}

#[test]
fn a_dump_of_postgres_that_is_not_good_never_passes() {
    let server = Postgres::start();
    server.make("shop", POSTGRES);
    for stream in ["shop.dump", "shop.sql"] {
        let good = of_postgres(&server, stream);
        good.cut(1).fails("");
        good.cut(good.bytes.len() / 2).fails("");
        good.with(b"").fails("");
        // UTF-8 with bytes that are none.
        let word = "'ünï'".as_bytes();
        good.replaced(word, b"'\xfcn\xefxx'").fails("invalid byte sequence");
    }
    let plain = of_postgres(&server, "shop.sql");
    // A second row with one key.
    plain.replaced(b"\n3\t", b"\n2\t").fails("could not create unique index");
    let body = std::str::from_utf8(&plain.bytes).unwrap();
    let trailer = body.find("-- PostgreSQL database dump complete").unwrap();
    plain.with(&body.as_bytes()[..trailer]).fails("its last line is missing");
    // Rows that are gone: it loads, and the count tells.
    let fewer: String =
        body.lines().filter(|line| !line.starts_with("17")).fold(String::new(), |all, line| all + line + "\n");
    let lost = body.lines().filter(|line| line.starts_with("17")).count() as u64;
    assert!(lost > 100);
    let facts = plain.with(fewer.as_bytes()).loads(&["SELECT count(*) FROM t"]);
    assert_eq!(facts.rows["public.t"], plain.facts.rows["public.t"] - lost);
    assert_eq!(rows(&facts, 1), [[Some((2000 - lost).to_string().as_str())]]);
}

#[test]
fn a_dump_of_postgres_that_cannot_be_tried_here_is_neither_good_nor_bad() {
    let server = Postgres::start();
    server.make("shop", &format!("{POSTGRES} CREATE EXTENSION pg_trgm;"));
    let good = of_postgres(&server, "shop.dump");
    // The longer name stands in the dump with its length; this one is as long.
    let mut foreign = good.bytes.clone();
    while let Some(at) = foreign.windows(7).position(|part| part == b"pg_trgm") {
        foreign[at..at + 7].copy_from_slice(b"pg_none");
    }
    good.with(&foreign).is_not_tried("extension \"pg_none\" is not available", "install the extension", &[]);
    good.noting("version", Some("99")).is_not_tried("PostgreSQL 99", "postgresql-99", &[]);
    let image = "docker.io/library/postgres@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    good.noting("version", Some("99")).noting("image", Some(image)).is_not_tried(
        "",
        &format!("podman pull {image}"),
        &[],
    );
    good.noting("roles", None).is_not_tried("role \"seer\" does not exist", "globals.sql", &[]);
    // The roles come from the dump of the accounts when that is there, and from nowhere else.
    let globals = of_postgres(&server, "globals.sql");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &globals.bytes).unwrap();
    let before = [("BK_BEFORE", file.path().to_str().unwrap())];
    assert_eq!(good.noting("roles", None).drill(&[], &before).unwrap().facts.rows, good.facts.rows);
    // A library that nothing needs, and a locale that is not here, are only told.
    let odd = good.noting("preload", Some("no_such_library, pg_stat_statements")).noting("ctype", Some("xx_XX.UTF-8"));
    let facts = odd.passes(&["SHOW_nothing", "SELECT current_setting('shared_preload_libraries')"]);
    assert_eq!(rows(&facts, 2), [[Some("pg_stat_statements")]]);
    assert!(facts.warnings[0].contains("the locale"), "{:?}", facts.warnings);
}

#[test]
fn accounts_are_loaded_into_a_server_of_their_own() {
    let server = Postgres::start();
    let space = Path::new(&server.socket()).with_file_name("data").join("space");
    let prepare =
        "CREATE ROLE keeper LOGIN PASSWORD 'a word'; CREATE ROLE many; GRANT many TO keeper WITH ADMIN OPTION;";
    server.sql("postgres", prepare);
    let globals = of_postgres(&server, "globals.sql");
    let place = globals.with(&[&globals.bytes[..globals.bytes.len() - 60], b""].concat());
    place.fails("its last line is missing");
    let question = "SELECT rolname FROM pg_roles WHERE rolname IN ('keeper', 'many') ORDER BY 1";
    assert_eq!(rows(&globals.passes(&[question]), 1), [[Some("keeper")], [Some("many")]]);
    globals.replaced(b"CREATE ROLE many", b"CREATE ROLES man").fails("syntax error");
    // A tablespace is made in the server that is thrown away, and not where it was.
    let line = format!("CREATE TABLESPACE far OWNER postgres LOCATION '{}';\nCREATE ROLE many", space.display());
    let facts = globals
        .replaced(b"CREATE ROLE many", line.as_bytes())
        .passes(&["SELECT spcname FROM pg_tablespace WHERE spcname = 'far'"]);
    assert_eq!(rows(&facts, 1), [[Some("far")]]);
    assert!(!space.exists());
    let server = MariaDb::start();
    server.make(
        "shop",
        "CREATE TABLE t (i INT); CREATE USER keeper@'%' IDENTIFIED BY 'a word'; GRANT SELECT ON shop.t TO keeper@'%';",
    );
    let users = dump("mariadb", "users.sql", &[("BK_SET_USER", "root"), ("BK_SET_SOCKET", &server.socket())]);
    let facts = users.passes(&["SELECT User FROM user WHERE User = 'keeper'"]);
    assert_eq!(rows(&facts, 1), [[Some("keeper")]]);
    users.cut(1).fails("its last line is missing");
    users.replaced(b"GRANT ALL", b"GRANT NON").fails("ERROR 1064");
}

const MARIADB: &str = r#"
CREATE USER nobody@nowhere; GRANT SELECT ON shop.* TO nobody@nowhere;
CREATE TABLE t (id INT PRIMARY KEY, text TEXT, bytes VARBINARY(99), short VARCHAR(4)) CHARACTER SET utf8mb4;
INSERT INTO t VALUES (1, 'tab\t, "quote", back\\slash, line\nend \\N  ''ünï'' 🐘', x'00ff5c', 'NULL'), (2, NULL, NULL, NULL), (3, '', '', '<&>');
INSERT INTO t SELECT seq, REPEAT(MD5(seq), 20), UNHEX(MD5(seq)), 'abc' FROM seq_4_to_2000;
CREATE TABLE acts (what TEXT);
CREATE TRIGGER act BEFORE INSERT ON t FOR EACH ROW INSERT INTO acts VALUES ('row');
CREATE DEFINER = nobody@nowhere VIEW few AS SELECT id FROM t WHERE id < 3;
CREATE EVENT act ON SCHEDULE EVERY 1 SECOND DO INSERT INTO acts VALUES ('event');
"#;

fn of_mariadb(server: &MariaDb) -> Dump {
    dump("mariadb", "shop.sql", &[("BK_SET_USER", "root"), ("BK_SET_SOCKET", &server.socket())])
}

#[test]
fn a_dump_of_mariadb_is_loaded_into_a_server_of_its_own_which_answers() {
    let server = MariaDb::start();
    server.make("shop", MARIADB);
    let good = of_mariadb(&server);
    let asked = server.sql("", "SHOW GLOBAL STATUS LIKE 'Connections'");
    let questions = [
        "SELECT id, text, HEX(bytes), short FROM t WHERE id < 4 ORDER BY id; ",
        "SELECT COUNT(*) FROM nothing",
        "SELECT SLEEP(1.5), @@event_scheduler",
        "SELECT what FROM acts -- the end",
        "DELETE FROM t",
        "SELECT COUNT(*) FROM few",
    ];
    let drill = good.prepare(&questions, &[]);
    let run = || drill.run(&good.bytes);
    let facts = if is_root() { apart("mariadbd", drill.mark(), run) } else { run() }.unwrap().facts;
    drill.leaves_nothing();
    assert_eq!((&facts.rows, facts.rows["t"]), (&good.facts.rows, 2000));
    let odd = ODD.replace('\u{b}', "");
    let expected = [
        [Some("1"), Some(odd.as_str()), Some("00FF5C"), Some("NULL")],
        [Some("2"), None, None, None],
        [Some("3"), Some(""), Some(""), Some("<&>")],
    ];
    assert_eq!(rows(&facts, 1), expected);
    assert!(error(&facts, 2).contains("doesn't exist"), "{facts:?}");
    assert_eq!(rows(&facts, 3), [[Some("0"), Some("OFF")]]);
    assert_eq!(rows(&facts, 4), Vec::<Vec<_>>::new(), "an event or trigger of the dump has acted");
    assert!(error(&facts, 5).contains("READ ONLY"), "{facts:?}");
    assert!(error(&facts, 6).contains("definer"), "{facts:?}");
    let number = |text: &str| text.split_whitespace().last().and_then(|word| word.parse::<u64>().ok()).unwrap();
    let now = server.sql("", "SHOW GLOBAL STATUS LIKE 'Connections'");
    assert_eq!(number(&now), number(&asked) + 1, "the live server was asked");
    // The accounts of the snapshot make views work.
    let users = dump("mariadb", "users.sql", &[("BK_SET_USER", "root"), ("BK_SET_SOCKET", &server.socket())]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &users.bytes).unwrap();
    let facts = good.drill(&questions[5..], &[("BK_BEFORE", file.path().to_str().unwrap())]).unwrap().facts;
    assert_eq!(rows(&facts, 1), [[Some("2")]]);
}

#[test]
fn a_dump_of_mariadb_that_is_not_good_never_passes() {
    let server = MariaDb::start();
    server.make("shop", MARIADB);
    let good = of_mariadb(&server);
    good.cut(1).fails("its last line is missing");
    good.cut(good.bytes.len() / 2).fails("ERROR 1064");
    good.with(b"").fails("its last line is missing");
    let body = std::str::from_utf8(&good.bytes).unwrap();
    good.with(&body.as_bytes()[..body.find("-- Dump completed").unwrap()]).fails("its last line is missing");
    // What the server only warns of, as it keeps something else.
    good.replaced("ünï".as_bytes(), b"\xfcn\xefxx").fails("Incorrect string value");
    good.replaced(b"'NULL'", b"'NULLs'").fails("Data truncated");
    good.replaced(b"\n(3,", b"\n(2,").fails("does not load");
    let fewer: String =
        body.lines().filter(|line| !line.starts_with("(17")).fold(String::new(), |all, line| all + line + "\n");
    let lost = body.lines().filter(|line| line.starts_with("(17")).count() as u64;
    assert!(lost > 100);
    assert_eq!(good.with(fewer.as_bytes()).loads(&[]).rows["t"], 2000 - lost);
    good.noting("version", Some("99.1")).is_not_tried("MariaDB 99.1", "install a server", &[]);
    good.noting("product", Some("mysql")).is_not_tried("MySQL", "by hand", &[]);
    let engine = good.replaced(b"ENGINE=InnoDB", b"ENGINE=Stranger").loads(&[]);
    assert!(engine.warnings[0].contains("'Stranger'"), "{:?}", engine.warnings);
    let path = without(&["mariadb-install", "mysql_install", "postgres"]);
    good.is_not_tried("there is no MariaDB server here", "mariadb-server", &[("PATH", path.path().to_str().unwrap())]);
}

/// A folder with the programs of this machine but those called like one of `names`, to be all of PATH.
fn without(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for place in ["/bin", "/usr/bin", "/usr/sbin"] {
        for entry in std::fs::read_dir(place).unwrap().flatten() {
            let name = entry.file_name();
            if !names.iter().any(|word| name.to_string_lossy().starts_with(word)) {
                let _ = std::os::unix::fs::symlink(entry.path(), folder.path().join(name));
            }
        }
    }
    folder
}

#[test]
fn a_dump_of_redis_is_loaded_with_the_keys_that_have_expired_since() {
    let server = Redis::start(&[]);
    server.run("DEBUG POPULATE 2000 quiet 50\nSET odd \"tab\\t, \\\"quote\\\" \\\\ ü\"\nSELECT 3\nSET stays 1\nSET leaves soon PX 5000");
    let good = dump("redis", "dump.rdb", &[("BK_SET_SOCKET", &server.socket())]);
    let expected = BTreeMap::from([("db0".to_owned(), 2001), ("db3".to_owned(), 2)]);
    assert_eq!(good.facts.rows, expected);
    std::thread::sleep(Duration::from_millis(5100));
    let facts = good.passes(&["DBSIZE", "GET odd", "GET nothing", "SET x y", "NONSENSE"]);
    assert_eq!(rows(&facts, 1), [[Some("2001")]]);
    assert_eq!(rows(&facts, 2), [[Some("tab\t, \"quote\" \\ ü")]]);
    assert_eq!(rows(&facts, 3), [[None]]);
    assert!(error(&facts, 4).contains("READONLY") && error(&facts, 5).contains("unknown command"), "{facts:?}");
    for bad in [good.cut(1), good.cut(good.bytes.len() / 2), good.with(b"")] {
        bad.fails("Unexpected EOF");
    }
    good.replaced(b"leaves", b"Leaves").fails("CRC");
    let mut newer = good.bytes.clone();
    newer[5..9].copy_from_slice(b"0099");
    good.with(&newer).is_not_tried("RDB format version 99", "newer Redis", &[]);
    let path = without(&["redis-server", "valkey-server"]);
    good.is_not_tried("there is no Redis server here", "redis-server", &[("PATH", path.path().to_str().unwrap())]);
}

#[test]
fn a_drill_that_is_stopped_leaves_no_server_behind() {
    let postgres = Postgres::start();
    postgres.make("shop", POSTGRES);
    let mariadb = MariaDb::start();
    mariadb.make("shop", MARIADB);
    for (dump, name) in [(of_postgres(&postgres, "shop.dump"), "postgres"), (of_mariadb(&mariadb), "mariadbd")] {
        let half = &dump.bytes[..dump.bytes.len() / 2];
        // At its time limit, in the middle of the dump.
        let mut drill = dump.prepare(&[], &[]);
        drill.call.time_limit = Some(Duration::from_secs(5));
        let mut started = drill.start();
        let mut input = started.running().take_input().unwrap();
        let _ = input.write_all(half);
        std::io::copy(started.running(), &mut std::io::sink()).unwrap_err();
        let said = started.finish().unwrap_err().in_one_line();
        assert!(said.contains("time limit"), "{said}");
        drill.leaves_nothing();
        // When all that bk started is killed at once.
        let drill = dump.prepare(&[], &[]);
        let mut started = drill.start();
        let mut input = started.running().take_input().unwrap();
        input.write_all(half).unwrap();
        wait_for("the server", || drill.server(name));
        std::thread::sleep(Duration::from_millis(500));
        let leader = |id: &i32| {
            rustix::process::getpgid(Pid::from_raw(*id)).is_ok_and(|group| group.as_raw_nonzero().get() == *id)
        };
        let all = processes(drill.mark());
        let group = all.iter().filter(|(_, name)| name == "sh").map(|(id, _)| *id).find(leader).unwrap();
        kill_process_group(Pid::from_raw(group).unwrap(), Signal::KILL).unwrap();
        std::io::copy(started.running(), &mut std::io::sink()).unwrap_err();
        started.finish().unwrap_err();
        drill.leaves_nothing();
    }
}

#[test]
fn nobody_can_reach_the_server_of_a_drill_of_postgres() {
    if !is_root() {
        return skipped("a network of its own", "only root can see those of others");
    }
    let server = Postgres::start();
    server.make("shop", POSTGRES);
    let dump = of_postgres(&server, "shop.dump");
    let drill = dump.prepare(&["SELECT pg_sleep(1)"], &[]);
    let socket = drill.folder.path().join("server");
    apart("postgres", drill.mark(), || {
        let end = drill.run(&dump.bytes);
        assert!(end.is_ok());
    });
    assert!(!socket.exists());
    // Without a server: the folder of Debian's is hidden from the hook.
    let folder = tempfile::tempdir().unwrap();
    let (_, script) = BUILT_IN.iter().find(|(name, _)| *name == "postgres").unwrap();
    std::fs::write(folder.path().join("script"), script).unwrap();
    let mut command = Command::new("unshare");
    let line = "mount -t tmpfs none /usr/lib/postgresql && exec sh \"$1\" drill shop.dump 3>\"$2\" 4</dev/null";
    command
        .args(["--mount", "sh", "-c", line, "sh"])
        .arg(folder.path().join("script"))
        .arg(folder.path().join("facts"));
    command.env("BK_SCRATCH", folder.path()).env("BK_DRILL", folder.path()).env("BK_NOTE_VERSION", "15");
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    let facts = std::fs::read_to_string(folder.path().join("facts")).unwrap();
    assert!(facts.contains("no PostgreSQL server here") && facts.contains("postgresql-15"), "{facts}");
}

/// The programs of PostgreSQL and what they read.
fn image_of_postgres(podman: &Podman) {
    let programs = ["initdb", "postgres", "psql", "pg_dump", "pg_restore"].map(postgres_program);
    let version = programs[0].ancestors().nth(2).unwrap();
    let number = version.file_name().unwrap().to_str().unwrap();
    let share = PathBuf::from("/usr/share/postgresql").join(number);
    let lib = version.join("lib");
    podman.image(
        "bk-postgres",
        &programs,
        &[share.as_path(), &lib, Path::new("/usr/share/zoneinfo")].map(|path| path.to_str().unwrap()),
    );
}

#[test]
fn a_dump_of_a_container_is_loaded_in_its_image_and_not_in_the_container() {
    let Some(podman) = Podman::new() else { return };
    if !postgres_program("initdb").starts_with("/usr/lib/postgresql") {
        return skipped("an image of PostgreSQL", "it is not laid out as Debian's");
    }
    image_of_postgres(&podman);
    let machine = &podman.machine;
    let start = "initdb -D /tmp/data -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null && exec postgres -D /tmp/data -k /tmp -c listen_addresses= -c fsync=off";
    let run =
        [&["run", "--detach", "--name", "live", "--user", "postgres", "--env", "PGHOST=/tmp"][..], &PLAIN].concat();
    podman.must(&[&run[..], &["bk-postgres", "/bin/sh", "-c", start]].concat());
    let mut client = Command::new(machine.bench.path("programs/podman"));
    client.args(["exec", "-i", "live", "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]);
    wait_for("the server", || {
        podman.podman(&["exec", "live", "psql", "-U", "postgres", "-c", ""]).status.success().then_some(())
    });
    let mut child = client.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("CREATE DATABASE shop;\n\\c shop\n{POSTGRES}").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let path = format!("{}:{}", machine.bench.path("programs").display(), std::env::var("PATH").unwrap());
    let settings = [("PATH", path.as_str()), ("BK_CONTAINER", "live"), ("BK_SET_USER", "postgres")];
    let good = dump("postgres", "shop.dump", &settings);
    let image = good.facts.notes["image"].clone();
    assert!(image.starts_with("localhost/bk-postgres@sha256:"), "{image}");
    let log_of_live = || podman.must(&["exec", "live", "cat", "/proc/1/stat"]).len();
    assert!(log_of_live() > 0);
    machine.called("podman ");
    // A drill that was killed long ago.
    podman.must(
        &[
            &["run", "--detach", "--network", "none", "--name", "bk-drill-1.999999999", "--label", "bk.drill"][..],
            &["bk-test", "/bin/sleep", "600"],
        ]
        .concat(),
    );
    let finished = good
        .drill(&["SELECT id, text, bytes FROM t WHERE id = 1"], &settings)
        .unwrap_or_else(|error| panic!("{}", error.in_one_line()));
    let facts = finished.facts;
    assert_eq!((&facts.rows, facts.rows["public.t"]), (&good.facts.rows, 2000));
    assert_eq!(rows(&facts, 1), [[Some("1"), Some(ODD), Some("\\x00ff5c")]]);
    assert!(facts.server.as_deref().unwrap().ends_with(&format!("in a container of {image}")), "{facts:?}");
    let calls = machine.called("podman ");
    let started: Vec<&String> = calls.iter().filter(|call| call.starts_with("podman run --rm")).collect();
    assert!(started.len() == 1 && started[0].contains("--network none") && started[0].contains(&image), "{calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("podman exec") && call.contains(" live ")), "{calls:?}");
    // podman may fail to list a container that goes at this moment.
    let all = || {
        let output = podman.podman(&["ps", "--all", "--format", "{{.Names}}"]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(all().as_deref(), Some("live"), "a container of a drill is left");
    assert!(good.cut(1).drill(&[], &settings).is_err_and(|error| !error.is_unavailable()));
    // Killed in the middle.
    let drill = good.prepare(&[], &settings);
    let mut started = drill.start();
    let mut input = started.running().take_input().unwrap();
    input.write_all(&good.bytes[..good.bytes.len() / 2]).unwrap();
    wait_for("the container", || all()?.contains("bk-drill-").then_some(()));
    drop(started);
    wait_for("the end of the container", || (all()? == "live").then_some(()));
    drill.leaves_nothing();
    // An image that is not here is not fetched, and not needed where the server is.
    let other = good.noting("image", Some("localhost/none@sha256:1")).noting("image-id", None);
    let facts = other.drill(&[], &settings).unwrap().facts;
    assert!(facts.server.unwrap().ends_with("of this machine"));
    // Redis in the same way.
    podman.must(
        &[
            &["run", "--detach", "--name", "store"][..],
            &PLAIN,
            &["bk-test", "/usr/bin/redis-server", "--save", "", "--dir", "/tmp"],
        ]
        .concat(),
    );
    wait_for("redis", || {
        podman.podman(&["exec", "store", "/usr/bin/redis-cli", "SET", "a", "b"]).stdout.starts_with(b"OK").then_some(())
    });
    let settings = [("PATH", path.as_str()), ("BK_CONTAINER", "store")];
    let good = dump("redis", "dump.rdb", &settings);
    let facts = good.drill(&["GET a"], &settings).unwrap_or_else(|error| panic!("{}", error.in_one_line())).facts;
    assert_eq!((&facts.rows, rows(&facts, 1)), (&good.facts.rows, vec![vec![Some("b")]]));
    assert!(facts.server.unwrap().contains("in a container of localhost/bk-test@sha256:"));
}
