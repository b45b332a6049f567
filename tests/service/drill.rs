//! `bk verify` drills dumps of real servers in throw-away ones: what is whole passes, and nothing else does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Machine;
use super::servers::{MariaDb, Postgres, Redis};
use super::trees::Said;

/// What a verification said of one database.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub outcome: String,
    /// Problems, or why it was not tried, with the next step; and warnings.
    pub words: String,
    pub server: String,
}

/// What a verification said of each database, by its name without the ending.
pub(super) fn verdicts(said: &Said) -> BTreeMap<String, Verdict> {
    let lines = said.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_database = lines.filter(|line| line["message_type"] == "database");
    let verdict = |line: Value| {
        let name = line["database"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let name = name.rsplit_once('.').map_or(name.clone(), |(name, _)| name.to_owned());
        let words = ["problems", "why", "hint", "warnings"].map(|key| line[key].to_string()).join(" ");
        let outcome = line["outcome"].as_str().unwrap().to_owned();
        (name, Verdict { outcome, words, server: line["server"].to_string() })
    };
    of_database.map(verdict).collect()
}

impl Machine {
    /// Puts a hook of the machine's own before the shipped one: `edit` writes what becomes of the dump in `$f`, with the
    /// name of the database in `$name`. What is noted and counted of it stays true, and nothing proves it.
    pub(super) fn edits_dumps(&self, engine: &str, edit: &str) {
        let hook = match engine {
            "postgres" => include_str!("../../hooks/postgres"),
            "mariadb" => include_str!("../../hooks/mariadb"),
            _ => include_str!("../../hooks/redis"),
        };
        let shipped = format!("{}\n{hook}", include_str!("../../hooks/prelude.sh"));
        let shipped = self.bench.file("shipped", shipped);
        let shipped = format!("/bin/sh '{}'", shipped.display());
        let script = format!(
            "case $1 in\ndump)\nf=$BK_SCRATCH/edited\nname=${{2%.*}}\n{shipped} \"$@\" >\"$f\" || exit\n\
             half=$(($(wc -c <\"$f\") / 2))\n{edit}\n;;\nprove) exec cat >/dev/null ;;\n*) exec {shipped} \"$@\" ;;\nesac"
        );
        self.hook(engine, &script);
    }

    /// From here on the shipped hooks are used.
    pub(super) fn edits_no_more(&self) {
        std::fs::remove_dir_all(self.bench.path("hooks")).unwrap();
    }

    #[track_caller]
    pub(super) fn verifies(&self, code: i32) -> Said {
        self.run(&["--json", "verify", "shop", "--files", "none"]).exits(code)
    }

    /// Backs up and verifies; gives what was said of each database. What is not whole is called verified nowhere.
    #[track_caller]
    pub(super) fn judges(&self, code: i32) -> BTreeMap<String, Verdict> {
        self.backs_up();
        if self.bench.path("hooks").exists() {
            self.edits_no_more();
        }
        let said = self.verifies(code);
        let proved = self.snapshots().last().unwrap()["verification"].clone();
        let shown = self.run(&["snapshots"]).exits(0).stdout;
        let shown = shown.lines().rev().nth(1).unwrap().to_owned();
        match code {
            0 => assert_eq!(proved["not-run"], 0, "{proved}"),
            8 => assert!(proved["full"] != true && !shown.contains(", verified just"), "{proved} {shown}"),
            _ => assert!(proved.is_null() && !shown.contains("verified"), "{proved} {shown}"),
        }
        assert_eq!(left(self), [""; 0]);
        verdicts(&said)
    }
}

/// What drills have left in the scratch folder.
pub(super) fn left(machine: &Machine) -> Vec<String> {
    let entries = std::fs::read_dir(machine.bench.path("data/scratch")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[track_caller]
pub(super) fn fails(all: &BTreeMap<String, Verdict>, name: &str, words: &str) {
    let verdict = &all[name];
    assert!(verdict.outcome == "failed" && verdict.words.contains(words), "{name}: {verdict:?}");
}

#[track_caller]
pub(super) fn passes(all: &BTreeMap<String, Verdict>, name: &str) {
    assert_eq!(all[name].outcome, "passed", "{name}: {:?}", all[name]);
}

/// Cuts that every text dump must not survive.
const CUTS: &str = "half) head -c \"$half\" \"$f\" ;;\nbyte) head -c -1 \"$f\" ;;\nvoid) ;;\n";

const POSTGRES: &str = "
    CREATE TABLE first AS SELECT i, 'word ' || i AS text FROM generate_series(1, 500) i;
    CREATE TABLE last AS SELECT i, 'word ' || i AS text FROM generate_series(1, 500) i;
    CREATE TABLE nothing (x int);";

/// What is hard to load where nobody is: roles that own, may and are named in policies.
const POSTGRES_ROLES: &str = "
    ALTER TABLE first OWNER TO \"the keeper\"; GRANT SELECT ON last TO reader; REVOKE ALL ON nothing FROM PUBLIC;
    ALTER TABLE last ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON last FOR SELECT TO reader USING (i > 3);
    ALTER DEFAULT PRIVILEGES FOR ROLE \"the keeper\" GRANT SELECT ON TABLES TO reader;
    CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT x * 2';
    ALTER FUNCTION twice OWNER TO \"the keeper\"; COMMENT ON TABLE first IS E'-- PostgreSQL database dump complete\\n--\\n\\n';
    CREATE TABLE ends (line text); INSERT INTO ends VALUES (E'\\\\.'), ('ALTER TABLE x OWNER TO y;'), ('GRANT ALL TO z;');";

#[test]
fn only_whole_dumps_of_postgres_pass() {
    let server = Postgres::start();
    server.sql("postgres", "CREATE ROLE \"the keeper\" LOGIN; CREATE ROLE reader;");
    server.make("good", &format!("{POSTGRES}{POSTGRES_ROLES}"));
    for name in ["half", "byte", "void", "trailer", "lost", "gone", "mangled"] {
        server.make(name, POSTGRES);
    }
    for (format, kind, bad) in [
        ("custom", "-Fc -Z0", ["half", "byte", "lost", "mangled"]),
        ("plain", "-Fp", ["void", "trailer", "gone", "mangled"]),
    ] {
        let names = format!("names = [\"good\", \"{}\"]", bad.join("\", \""));
        let machine = Machine::new("");
        let entry = format!("[[profile.shop.database]]\n{}format = \"{format}\"\n{names}\n", server.settings());
        machine.configure(&entry);
        let again = format!("pg_dump -h '{}' -U postgres {kind} \"$name\"", server.socket());
        let cut = if format == "plain" { "sed '/ database dump complete$/,$d' \"$f\"" } else { "head -c -9 \"$f\"" };
        machine.edits_dumps(
            "postgres",
            &format!(
                "case $name in\n{CUTS}trailer) {cut} ;;\nlost) {again} --exclude-table-data=last ;;\ngone) {again} -T last ;;\n\
                 mangled) LC_ALL=C sed 's/word 77$/w\\xffrd 77/' \"$f\" ;;\n*) cat \"$f\" ;; esac"
            ),
        );
        let all = machine.judges(6);
        assert_eq!(all.len(), 5);
        passes(&all, "good");
        assert!(all["good"].server.contains("PostgreSQL 1") && all["good"].words.contains("[]"), "{:?}", all["good"]);
        for name in bad {
            let words = match name {
                "lost" => "table public.last: 500 rows when it was backed up, 0 restored",
                "gone" => "table public.last: 500 rows when it was backed up, and no such table restored",
                "mangled" => "invalid byte sequence for encoding",
                _ => "",
            };
            fails(&all, name, words);
        }
        // Rows are data: no message repeats them.
        assert!(!all["mangled"].words.contains("rd 77"), "{:?}", all["mangled"]);
    }
}

#[test]
fn an_extension_that_is_not_here_is_no_reason_to_pass_or_to_fail() {
    let server = Postgres::start();
    server.make("shop", "CREATE EXTENSION citext; CREATE TABLE t (x citext); INSERT INTO t VALUES ('a');");
    for format in ["custom", "plain"] {
        let entry = format!("[[profile.shop.database]]\n{}format = \"{format}\"\nname = \"shop\"\n", server.settings());
        let machine = Machine::new(&entry);
        machine.edits_dumps("postgres", "LC_ALL=C sed 's/citext/nowher/g' \"$f\"");
        let all = machine.judges(8);
        assert_eq!(all["shop"].outcome, "not-run", "{all:?}");
        assert!(all["shop"].words.contains("nowher") && all["shop"].words.contains("install the extension"), "{all:?}");
        if format == "plain" {
            continue;
        }
        // With the files it is verified in part, which is said.
        machine.run(&["verify", "shop"]).exits(8).says("was NOT TRIED").says("NOT ALL");
        machine.run(&["snapshots"]).exits(0).says("verified in part");
        passes(&machine.judges(0), "shop");
    }
}

const MARIADB: &str = "
    CREATE TABLE first (i INT PRIMARY KEY, text TEXT); INSERT INTO first SELECT seq, CONCAT('word ', seq) FROM seq_1_to_500;
    CREATE TABLE last (i INT PRIMARY KEY, text TEXT); INSERT INTO last SELECT seq, CONCAT('word ', seq) FROM seq_1_to_500;
    CREATE TABLE blank (i INT);";

#[test]
fn only_whole_dumps_of_mariadb_pass() {
    let server = MariaDb::start();
    server.make(
        "good",
        &format!(
            "{MARIADB} CREATE USER keeper@localhost IDENTIFIED BY 'a word'; GRANT ALL ON good.* TO keeper@localhost;
             CREATE DEFINER = keeper@localhost VIEW few AS SELECT * FROM first WHERE i < 10;
             CREATE DEFINER = keeper@localhost PROCEDURE twice(IN x INT) SELECT x * 2;
             CREATE EVENT later ON SCHEDULE EVERY 1 SECOND DO INSERT INTO blank VALUES (1);"
        ),
    );
    for name in ["half", "trailer", "lost", "mangled"] {
        server.make(name, MARIADB);
    }
    let machine = Machine::new(&format!("[[profile.shop.database]]\n{}", server.settings()));
    let again = format!("mariadb-dump --no-defaults --user=root --socket='{}'", server.socket());
    machine.edits_dumps(
        "mariadb",
        &format!(
            "case $name in\n{CUTS}trailer) sed '/^-- Dump completed/d' \"$f\" ;;\nlost) {again} lost --where='i < 250' ;;\n\
             mangled) LC_ALL=C sed 's/word 77\\b/w\\xffrd 77/' \"$f\" ;;\n*) cat \"$f\" ;; esac"
        ),
    );
    let all = machine.judges(6);
    assert_eq!(all.len(), 5);
    passes(&all, "good");
    fails(&all, "half", "");
    fails(&all, "trailer", "its last line is missing");
    fails(&all, "lost", "table last: 500 rows when it was backed up, 249 restored");
    fails(&all, "mangled", "");
    assert!(!all["mangled"].words.contains("word 78"), "{:?}", all["mangled"]);
    // The server is as it was: nothing was loaded there.
    assert_eq!(server.sql("good", "SELECT COUNT(*) FROM first; SELECT COUNT(*) FROM last;"), "500\n500");
}

#[test]
fn only_whole_dumps_of_redis_pass() {
    let server = Redis::start(&[]);
    server.run("DEBUG POPULATE 2000 key 100\nSELECT 3\nSET leaves soon PX 400\nSET stays here");
    let machine = Machine::new(&format!("[[profile.shop.database]]\n{}", server.settings()));
    passes(&machine.judges(0), "dump");
    for edit in ["head -c \"$half\" \"$f\"", "head -c -1 \"$f\"", "head -c -9 \"$f\"", ":", "printf x; cat \"$f\""] {
        machine.edits_dumps("redis", edit);
        fails(&machine.judges(6), "dump", "does not load");
    }
    machine.edits_dumps("redis", "LC_ALL=C sed 's/stays/stops/' \"$f\"");
    fails(&machine.judges(6), "dump", "does not load");
    let other = Redis::start(&[]);
    other.run("DEBUG POPULATE 1999 key 100\nSELECT 3\nSET stays here");
    machine.edits_dumps("redis", &format!("redis-cli -s '{}' --rdb - 2>/dev/null | head -c -40", other.socket()));
    fails(&machine.judges(6), "dump", "table db0: 2000 rows when it was backed up, 1999 restored");
    assert_eq!(server.run("DBSIZE"), "2000");
}

#[test]
fn a_drill_needs_no_server_that_runs_and_touches_none() {
    let mut server = Postgres::start();
    server.make("shop", POSTGRES);
    let machine = Machine::new(&format!(
        "[[profile.shop.database]]\n{}name = \"shop\"\n[[profile.shop.drill]]\nname = \"rows\"\nquery = \"SELECT i FROM first\"\n",
        server.settings()
    ));
    machine.backs_up();
    let seen = "SELECT oid, datname FROM pg_database ORDER BY oid; SELECT rolname FROM pg_roles ORDER BY 1;
        SELECT relname, n_tup_ins FROM pg_stat_user_tables ORDER BY 1; SELECT pg_current_wal_insert_lsn();";
    server.sql("shop", "CHECKPOINT");
    let before = server.sql("shop", seen);
    passes(&verdicts(&machine.verifies(0)), "shop");
    assert_eq!(server.sql("shop", seen), before);
    // What would lead there is not followed.
    server.kill();
    let mut command = machine.bk(&["--json", "verify", "shop", "--files", "none"]);
    command
        .env("PGHOST", server.socket())
        .env("PGDATABASE", "postgres")
        .env("PGSERVICE", "x")
        .env("PGOPTIONS", "-c x=y");
    passes(&verdicts(&Said::by(&mut command).exits(0)), "shop");
    let said = machine.run(&["verify", "shop"]).exits(0).says("is whole").says("3 tables, 1,000 rows");
    said.says("1 question answered well").says("restores; verified in");
    machine.run(&["snapshots"]).exits(0).says("verified just now");
}
