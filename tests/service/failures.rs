//! Every way in which a dump fails (R7): none of them is a good backup, the files are kept all the same.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::servers::{MariaDb, Postgres, Redis, postgres_program};
use super::trees::{self, Mounted, Said};
use super::{MARK, Machine, processes, signal, summary, wait_for};

/// Tables of some 30 MB as a dump, and small ones.
const POSTGRES_TABLES: &str = "
    CREATE TABLE first AS SELECT i, repeat(md5(i::text), 4) AS text FROM generate_series(1, 500) i;
    CREATE TABLE last AS SELECT i, md5(i::text) AS text FROM generate_series(1, 500) i;
    CREATE TABLE nothing (x int);";
const POSTGRES_BIG: &str =
    "CREATE TABLE big AS SELECT i, repeat(md5(i::text), 30) AS text FROM generate_series(1, 30000) i;";
const MARIADB_TABLES: &str = "
    CREATE TABLE first (i INT PRIMARY KEY, text TEXT); INSERT INTO first SELECT seq, MD5(seq) FROM seq_1_to_500;
    CREATE TABLE last (i INT PRIMARY KEY, text TEXT); INSERT INTO last SELECT seq, MD5(seq) FROM seq_1_to_500;
    CREATE TABLE nothing (x INT);";
const MARIADB_BIG: &str = "CREATE TABLE big (i INT PRIMARY KEY, text TEXT); INSERT INTO big SELECT seq, REPEAT(MD5(seq), 30) FROM seq_1_to_30000;";

/// A machine with a complete snapshot of the database `shop`.
fn with_database(settings: &str, more: &str) -> Machine {
    let machine = Machine::new(&entry(settings, more));
    machine.backs_up();
    machine
}

fn entry(settings: &str, more: &str) -> String {
    format!("[[profile.shop.database]]\n{settings}{more}\n")
}

/// Starts bk, waits until the program `name` of it has written a megabyte, stops it there for `act`, and lets it go on.
fn in_the_middle(mut command: Command, name: &str, act: impl FnOnce(i32)) -> Said {
    let mark = format!("{MARK}={}", std::process::id() as u64 * 1_000_000 + u64::from(rand()));
    let (variable, value) = mark.split_once('=').unwrap();
    let child = command.env(variable, value).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = wait_for("the program that dumps", || {
        let all = processes(&mark);
        all.iter().find(|(id, found)| found == name && written(*id) > 1 << 20).map(|(id, _)| *id)
    });
    signal(id, Signal::STOP);
    assert!(Path::new(&format!("/proc/{id}")).exists());
    act(id);
    signal(id, Signal::CONT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(processes(&mark), [], "something is left running");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn rand() -> u32 {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Bytes that a process has written.
fn written(id: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/io")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

/// The problems of a run, by the names of the dumps.
fn problems(said: &Said) -> Vec<String> {
    let all = summary(said)["problems"].clone();
    let name = |one: &Value| one["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let mut names: Vec<String> = all.as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

/// The names of the dumps in a snapshot.
fn dumps(machine: &Machine, said: &Said, engine: &str) -> Vec<String> {
    let folder = machine.restored(summary(said)["snapshot_id"].as_str().unwrap()).join(".bk/dumps").join(engine);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder with the programs of this machine but those called like one of `without`, to be all of PATH.
pub(super) fn programs_without(machine: &Machine, without: &[&str]) -> std::path::PathBuf {
    let folder = machine.bench.folder(&format!("without-{}", without.join("-")));
    for place in ["/bin", "/usr/bin"] {
        for entry in std::fs::read_dir(place).unwrap().flatten() {
            let name = entry.file_name();
            if !without.iter().any(|word| name.to_string_lossy().starts_with(word)) {
                let _ = std::os::unix::fs::symlink(entry.path(), folder.join(name));
            }
        }
    }
    folder
}

fn fails_without(machine: &Machine, without: &[&str], words: &str) {
    let folder = programs_without(machine, without);
    machine.fails_while(words, |mut command| Said::by(command.env("PATH", folder)));
}

/// Points at which a dump is cut, as `head -c` takes them.
const CUTS: [&str; 9] = ["0", "1", "5", "700", "5000", "20000", "-700", "-40", "-1"];

#[test]
fn a_postgres_dump_cut_short_at_any_point_is_left_out() {
    let server = Postgres::start();
    server.make("good", POSTGRES_TABLES);
    for cut in CUTS {
        server.sql("postgres", &format!("CREATE DATABASE \"cut{cut}\" TEMPLATE good"));
    }
    for (format, suffix) in [("custom", "dump"), ("plain", "sql")] {
        let mut machine = with_database(&server.settings(), &format!("format = \"{format}\""));
        let real = postgres_program("pg_dump");
        let real = real.display();
        machine.program(
            "pg_dump",
            &format!("case $PGDATABASE in cut*) {real} \"$@\" | head -c \"${{PGDATABASE#cut}}\" ;; *) exec {real} \"$@\" ;; esac"),
        );
        let said = machine.fails("is not whole");
        let mut cut: Vec<String> = CUTS.iter().map(|cut| format!("cut{cut}.{suffix}")).collect();
        cut.sort();
        assert_eq!(problems(&said), cut);
        let kept = ["globals.sql".to_owned(), format!("good.{suffix}"), format!("postgres.{suffix}")];
        assert_eq!(dumps(&machine, &said, "postgres"), kept);
    }
}

#[test]
fn a_mariadb_dump_cut_short_at_any_point_is_left_out() {
    let server = MariaDb::start();
    server.make("good", MARIADB_TABLES);
    for cut in CUTS {
        server.make(&format!("cut{cut}"), MARIADB_TABLES);
    }
    let mut machine = with_database(&server.settings(), "");
    machine.program(
        "mariadb-dump",
        "for last; do :; done\ncase $last in cut*) /usr/bin/mariadb-dump \"$@\" | head -c \"${last#cut}\" ;;\n\
         *) exec /usr/bin/mariadb-dump \"$@\" ;; esac",
    );
    let said = machine.fails("is not whole");
    let mut cut: Vec<String> = CUTS.iter().map(|cut| format!("cut{cut}.sql")).collect();
    cut.sort();
    assert_eq!(problems(&said), cut);
    assert_eq!(dumps(&machine, &said, "mariadb"), ["good.sql", "users.sql"]);
    // The accounts too.
    machine.program(
        "mariadb-dump",
        "case \" $* \" in *--system=users*) /usr/bin/mariadb-dump \"$@\" | head -c -1 ;; *) exec /usr/bin/mariadb-dump \"$@\" ;; esac",
    );
    assert_eq!(problems(&machine.fails("is not whole")), ["users.sql"]);
}

#[test]
fn a_redis_dump_cut_short_at_any_point_is_left_out() {
    let server = Redis::start(&[]);
    server.run("DEBUG POPULATE 2000 key 100");
    let mut machine = with_database(&server.settings(), "");
    for cut in ["0", "1", "9", "5000", "50000", "-1000", "-60", "-48", "-9", "-8", "-1"] {
        let script = "case \"$*\" in *--rdb*) /usr/bin/redis-cli \"$@\" | head -c";
        machine.program("redis-cli", &format!("{script} {cut} ;; *) exec /usr/bin/redis-cli \"$@\" ;; esac"));
        let said = machine.fails("dump.rdb is not whole");
        assert_eq!(dumps(&machine, &said, "redis"), [""; 0], "{cut}");
    }
}

#[test]
fn a_postgres_dump_that_is_interrupted_is_no_dump() {
    let mut server = Postgres::start();
    server.make("shop", POSTGRES_BIG);
    let machine = with_database(&server.settings(), "name = \"shop\"");
    let copying = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY public.big %'";
    let kill = |id| signal(id, Signal::KILL);
    let said =
        machine.fails_while("did not finish the database shop", |command| in_the_middle(command, "pg_dump", kill));
    assert_eq!(dumps(&machine, &said, "postgres"), ["globals.sql"]);
    machine.fails_while("did not finish", |command| {
        in_the_middle(command, "pg_dump", |_| {
            server.sql("shop", &format!("SELECT pg_terminate_backend(pid) FROM ({copying}) AS it"));
        })
    });
    machine.fails_while("did not finish", |command| {
        in_the_middle(command, "pg_dump", |_| kill(server.sql("shop", copying).parse().unwrap()))
    });
    wait_for("the server", || server.client("shop").args(["-c", ""]).output().unwrap().status.success().then_some(()));
    machine.backs_up();
    machine.fails_while("did not finish", |command| in_the_middle(command, "pg_dump", |_| server.kill()));
    machine.fails("cannot log in to PostgreSQL");
}

#[test]
fn a_mariadb_dump_that_is_interrupted_is_no_dump() {
    let mut server = MariaDb::start();
    server.make("shop", MARIADB_BIG);
    let machine = with_database(&server.settings(), "name = \"shop\"");
    let said = machine.fails_while("did not finish the database shop", |command| {
        in_the_middle(command, "mariadb-dump", |id| signal(id, Signal::KILL))
    });
    assert_eq!(dumps(&machine, &said, "mariadb"), ["users.sql"]);
    machine.fails_while("did not finish", |command| {
        in_the_middle(command, "mariadb-dump", |_| {
            let query = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%FROM `big`%' AND ID <> CONNECTION_ID()";
            let id = server.sql("shop", query);
            server.sql("shop", &format!("KILL CONNECTION {id}"));
        })
    });
    machine.backs_up();
    machine.fails_while("did not finish", |command| in_the_middle(command, "mariadb-dump", |_| server.kill()));
    machine.fails("cannot log in to the server");
}

#[test]
fn a_redis_dump_that_is_interrupted_is_no_dump() {
    let mut server = Redis::start(&[]);
    server.run("DEBUG POPULATE 40000 key 1000");
    let machine = with_database(&server.settings(), "");
    machine.fails_while("redis-cli did not finish", |command| {
        in_the_middle(command, "redis-cli", |id| signal(id, Signal::KILL))
    });
    machine.fails_while("dump.rdb", |command| {
        in_the_middle(command, "redis-cli", |_| drop(server.run("CLIENT KILL TYPE replica")))
    });
    machine.backs_up();
    machine.fails_while("dump.rdb", |command| in_the_middle(command, "redis-cli", |_| server.kill()));
    machine.fails("cannot log in to the server");
}

#[test]
fn a_program_that_hangs_is_ended_with_all_it_started() {
    let server = Postgres::start();
    server.make("shop", POSTGRES_TABLES);
    let mut machine = with_database(&server.settings(), "name = \"shop\"\ntime-limit = \"2s\"");
    let real = postgres_program("pg_dump");
    let real = real.display();
    let hangs = [
        "sleep 300".to_owned(),
        format!("{real} \"$@\" | head -c 3000; sleep 300"),
        format!("trap '' TERM INT HUP; {real} \"$@\" | head -c 3000; sleep 300 & sleep 301"),
    ];
    for (number, hang) in hangs.iter().enumerate() {
        machine.program("pg_dump", &format!("[ \"$1\" != --version ] || exec {real} \"$@\"\n{hang}"));
        let mark = format!("{MARK}=hang-{number}-{}", std::process::id());
        let started = std::time::Instant::now();
        machine.fails_while("2 s", |mut command| Said::by(command.env(MARK, mark.split_once('=').unwrap().1)));
        assert!(started.elapsed().as_secs() < 60, "{hang}");
        assert_eq!(processes(&mark), [], "{hang}");
    }
}

#[test]
fn a_program_that_says_all_and_ends_badly_has_failed() {
    let server = Postgres::start();
    server.make("shop", POSTGRES_TABLES);
    let mut machine = with_database(&server.settings(), "name = \"shop\"");
    let real = postgres_program("pg_dump");
    for end in ["exit 1", "kill -9 $$", "exit 75"] {
        machine.program("pg_dump", &format!("{} \"$@\" && {end}", real.display()));
        let said = machine.fails("pg_dump");
        assert_eq!(dumps(&machine, &said, "postgres"), ["globals.sql"]);
    }
}

#[test]
fn a_server_that_cannot_be_used_is_named_with_the_next_step() {
    let server = Postgres::start();
    server.make("shop", &format!("{POSTGRES_TABLES}; CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'right'"));
    let machine = with_database(&server.settings(), "name = \"shop\"");
    let wrong = machine.password("wrong");
    let keeper = format!("engine = \"postgres\"\nuser = \"keeper\"\nsocket = \"{}\"\n", server.socket());
    let cases = [
        (keeper.clone(), format!("password-file = \"{wrong}\""), "cannot log in"),
        (keeper, "password-file = \"/no/such/file\"".to_owned(), "cannot read the password file"),
        (server.settings(), "name = \"nowhere\"".to_owned(), "cannot log in"),
        (
            "engine = \"postgres\"\nuser = \"postgres\"\nsocket = \"/no/where\"\n".to_owned(),
            String::new(),
            "cannot log in",
        ),
        ("engine = \"unheard\"\n".to_owned(), String::new(), "no hook called `unheard`"),
    ];
    for (settings, more, words) in cases {
        machine.configure(&entry(&settings, &more));
        let said = machine.fails(words);
        assert!(!said.text().contains("wrong\n") && !said.text().contains("'wrong'"), "{}", said.text());
    }
    machine.configure(&entry(&server.settings(), "name = \"shop\""));
    fails_without(&machine, &["pg_dump"], "there is no pg_dump");
    machine.backs_up();
}

#[test]
fn a_mariadb_that_cannot_be_used_is_named_with_the_next_step() {
    let server = MariaDb::start();
    server.make(
        "shop",
        &format!("{MARIADB_TABLES}; CREATE USER keeper IDENTIFIED BY 'right'; GRANT ALL ON *.* TO keeper;"),
    );
    let machine = with_database(&server.settings(), "name = \"shop\"");
    let wrong = machine.password("wrong");
    let keeper = format!("engine = \"mariadb\"\nuser = \"keeper\"\nsocket = \"{}\"\n", server.socket());
    let cases = [
        (keeper, format!("password-file = \"{wrong}\""), "cannot log in"),
        (server.settings(), "name = \"nowhere\"".to_owned(), "nowhere"),
        ("engine = \"mariadb\"\nuser = \"root\"\nsocket = \"/no/where\"\n".to_owned(), String::new(), "cannot log in"),
    ];
    for (settings, more, words) in cases {
        machine.configure(&entry(&settings, &more));
        machine.fails(words);
    }
    machine.configure(&entry(&server.settings(), "name = \"shop\""));
    fails_without(&machine, &["mariadb-dump", "mysqldump"], "there is no mariadb-dump (or mysqldump)");
    machine.backs_up();
}

#[test]
fn a_redis_that_cannot_be_used_is_named_with_the_next_step() {
    let server = Redis::start(&["--requirepass", "right"]);
    let machine = Machine::new("");
    let right = machine.password("right");
    machine.configure(&entry(&server.settings(), &format!("password-file = \"{right}\"")));
    machine.backs_up();
    machine.configure(&entry(&server.settings(), ""));
    machine.fails("cannot log in");
    machine.password("wrong");
    machine.configure(&entry(&server.settings(), &format!("password-file = \"{right}\"")));
    machine.fails("cannot log in");
    machine.password("right");
    fails_without(
        &machine,
        &["redis-check-rdb", "valkey-check-rdb"],
        "there is no redis-check-rdb (or valkey-check-rdb)",
    );
    fails_without(&machine, &["redis-cli", "valkey-cli"], "there is no redis-cli (or valkey-cli)");
    fails_without(&machine, &["redis-cli", "valkey-cli"], "Debian: redis-tools");
    machine.backs_up();
}

#[test]
fn a_dump_of_less_than_half_is_not_believed_until_the_user_says_so() {
    let server = Postgres::start();
    server.make("shop", POSTGRES_BIG);
    let machine = with_database(&server.settings(), "name = \"shop\"");
    server.sql("shop", "DELETE FROM big WHERE i > 10000");
    machine.fails("set `min-size`");
    // The small one is not what the next is measured with; nor is a run without any dump.
    machine.fails("set `min-size`");
    machine.configure(&entry(&server.settings(), "name = \"nowhere\""));
    machine.fails("cannot log in");
    machine.configure(&entry(&server.settings(), "name = \"shop\""));
    machine.fails("set `min-size`");
    machine.configure(&entry(&server.settings(), "name = \"shop\"\nmin-size = \"1GiB\""));
    machine.fails("at least 1 GiB are expected");
    machine.configure(&entry(&server.settings(), "name = \"shop\"\nmin-size = \"1MiB\""));
    machine.backs_up();
    machine.configure(&entry(&server.settings(), "name = \"shop\""));
    machine.backs_up();
}

#[test]
fn a_table_that_must_have_rows_and_has_none_is_named() {
    let postgres = Postgres::start();
    postgres.make("shop", POSTGRES_TABLES);
    let mariadb = MariaDb::start();
    mariadb.make("shop", MARIADB_TABLES);
    for settings in [postgres.settings(), mariadb.settings()] {
        let machine = with_database(&settings, "name = \"shop\"\ntables = [\"first\", \"last\"]");
        machine.configure(&entry(&settings, "name = \"shop\"\ntables = [\"first\", \"nothing\"]"));
        machine.fails("table nothing is empty");
        machine.configure(&entry(&settings, "name = \"shop\"\ntables = [\"first\", \"gone\"]"));
        machine.fails("there is no table gone");
    }
}

#[test]
fn a_table_need_be_in_one_of_several_databases_only_and_need_not_be_counted() {
    let postgres = Postgres::start();
    let mariadb = MariaDb::start();
    for (name, tables) in [
        ("a", "CREATE TABLE apples (i INT); INSERT INTO apples VALUES (1);"),
        ("b", "CREATE TABLE bread (i INT); INSERT INTO bread VALUES (1);"),
    ] {
        postgres.make(name, tables);
        mariadb.make(name, tables);
    }
    postgres.sql("a", "CREATE TABLE parts (i INT) PARTITION BY RANGE (i)");
    let names = "names = [\"a\", \"b\"]\n";
    for (settings, more) in
        [(postgres.settings(), ""), (mariadb.settings(), ""), (mariadb.settings(), "settings = { rows = \"no\" }\n")]
    {
        let machine = with_database(&settings, &format!("{names}tables = [\"apples\", \"bread\"]\n{more}"));
        machine.configure(&entry(&settings, &format!("{names}tables = [\"apples\", \"cake\"]\n{more}")));
        let said = machine.fails("there is no table cake");
        assert_eq!(problems(&said).len(), 1, "it is told once");
    }
    with_database(&postgres.settings(), "name = \"a\"\ntables = [\"parts\"]");
}

#[test]
fn a_hook_that_does_not_say_its_tables_is_believed_with_a_warning() {
    let machine = Machine::new("");
    machine.hook("own", "case $1 in probe) echo '{\"stream\": \"a.txt\"}' >&3 ;; dump) echo x; echo '{\"rows\": {\"a\": 1}}' >&3 ;; *) exit 75 ;; esac");
    machine.configure(&entry("engine = \"own\"\n", "tables = [\"a\", \"b\"]"));
    let said = machine.backs_up().says("does not say whether there is a table b");
    assert!(!said.text().contains("table a"), "{}", said.text());
}

/// Starts a backup, waits for a program that does `sleep 301`, and sends one signal to bk; gives how it ended.
fn interrupted(machine: &Machine, sent: Signal) -> Said {
    let mark = format!("{MARK}={}", std::process::id() as u64 * 1_000_000 + u64::from(rand()));
    let (variable, value) = mark.split_once('=').unwrap();
    let mut command = machine.bk(&["backup", "shop"]);
    let child = command.env(variable, value).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the program that sleeps", || processes(&mark).iter().any(|(_, name)| name == "sleep").then_some(()));
    signal(i32::try_from(child.id()).unwrap(), sent);
    let started = std::time::Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(started.elapsed().as_secs() < 30, "it ran on for {} s", started.elapsed().as_secs());
    assert_eq!(processes(&mark), [], "something is left running");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn one_signal_ends_a_hook_that_begins_and_what_it_began_is_ended() {
    // The second one does not listen, and has a child.
    for (sent, hang) in [(Signal::INT, "sleep 301"), (Signal::TERM, "trap '' TERM INT; sleep 301 & sleep 301")] {
        let machine = Machine::new("");
        let log = machine.bench.path("log");
        let log = log.display();
        machine.hook(
            "service",
            &format!(
                "case $1 in begin) echo '{{\"state\": \"app\"}}' >&3; echo begin >>{log}; {hang} ;;\n\
                 end) echo \"end $BK_STATE\" >>{log} ;; *) exit 75 ;; esac"
            ),
        );
        machine.hook("container", &format!("echo \"container $1\" >>{log}"));
        machine.configure("[profile.shop.quiesce]\nhow = \"stop\"\nunits = [\"app\"]\ncontainers = [\"db\"]\n");
        interrupted(&machine, sent).exits(130);
        let told = std::fs::read_to_string(machine.bench.path("log")).unwrap();
        assert_eq!(told, "begin\nend app\n", "nothing else was begun");
        assert_eq!(std::fs::read_dir(machine.bench.path("data/quiesced")).unwrap().count(), 0);
    }
}

#[test]
fn one_signal_ends_a_command_of_the_user_and_those_that_clean_up_still_run() {
    for moment in ["before", "after"] {
        let machine = Machine::new("");
        let log = machine.bench.path("log");
        let command = |name: &str, script: &str| {
            format!("[[profile.shop.{name}]]\nrun = [\"sh\", \"-c\", \"{script}\"]\non-failure = \"ignore\"\n")
        };
        let cleans = format!("echo $BK_MOMENT $BK_OUTCOME >>{}; sleep 1; echo done >>{0}", log.display());
        machine.configure(&format!("{}{}", command(moment, "sleep 301; true"), command("finally", &cleans)));
        interrupted(&machine, Signal::INT).exits(if moment == "before" { 130 } else { 4 });
        let outcome = if moment == "before" { "failed" } else { "complete" };
        assert_eq!(std::fs::read_to_string(log).unwrap(), format!("finally {outcome}\ndone\n"));
    }
}

#[test]
fn a_full_disk_under_the_work_of_a_hook_makes_no_good_backup() {
    if !trees::is_root() {
        return trees::skipped("a full scratch folder", "only root can mount one");
    }
    let postgres = Postgres::start();
    postgres.make("shop", &format!("{POSTGRES_TABLES}; CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'right'"));
    let mariadb = MariaDb::start();
    mariadb.make(
        "shop",
        &format!("{MARIADB_TABLES}; CREATE USER keeper IDENTIFIED BY 'right'; GRANT ALL ON *.* TO keeper;"),
    );
    let redis = Redis::start(&[]);
    redis.run("SET key value");
    let machine = Machine::new("");
    let options = ["-t", "tmpfs", "-o", "size=64k,mode=755", "bk-test"].map(std::ffi::OsStr::new);
    let small = match Mounted::new(machine.bench.path("small"), &options) {
        Ok(small) => small,
        Err(reason) => return trees::skipped("a full scratch folder", reason),
    };
    let right = machine.password("right");
    let login = |server: &str| {
        format!("engine = \"{server}\"\nuser = \"keeper\"\npassword-file = \"{right}\"\nname = \"shop\"\n")
    };
    for settings in [
        format!("{}name = \"shop\"\n", postgres.settings()),
        format!("{}socket = \"{}\"\n", login("mariadb"), mariadb.socket()),
        format!("{}name = \"shop\"\n", mariadb.settings()),
        redis.settings(),
    ] {
        let scratch = format!("[defaults]\nscratch = \"{}\"\n", small.point().display());
        let configuration = format!("{}{scratch}", entry(&settings, ""));
        machine.configure(&configuration);
        let filler = small.point().join("filler");
        let _ = std::fs::remove_file(&filler);
        machine.backs_up();
        while std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&filler)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 512]))
            .is_ok()
        {}
        machine.fails("");
    }
}
