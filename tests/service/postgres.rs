//! PostgreSQL.

use super::Machine;
use super::servers::{Postgres, done};
use super::writer::{TABLES, Writer, accounts_after, moves_after, transaction};
use super::{trees, unseen};

/// A table that nobody writes to, with what is hard to dump.
const QUIET: &str = r"
CREATE SCHEMA odd;
CREATE TABLE odd.quiet (id int PRIMARY KEY, text text, bytes bytea, number numeric, moment timestamptz, list int[]);
INSERT INTO odd.quiet SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN E'tab\t, back\\slash, line\nend'
        WHEN 2 THEN 'ünïcödé 🐘' ELSE repeat(md5(i::text), 20) END,
    decode(md5(i::text), 'hex'), i / 7.0, 'epoch'::timestamptz + i * interval '1 day', ARRAY[i, -i]
    FROM generate_series(1, 20000) i;
CREATE VIEW odd.few AS SELECT * FROM odd.quiet WHERE id < 10;
CREATE SEQUENCE odd.numbers START 77; SELECT nextval('odd.numbers');
";

const QUIET_ROWS: &str = "SELECT * FROM odd.quiet ORDER BY id";
const ACCOUNTS: &str = "SELECT id, balance FROM accounts ORDER BY id";
const MOVES: &str = "SELECT * FROM moves ORDER BY id";

fn fill(server: &Postgres, database: &str) {
    let accounts = "INSERT INTO accounts SELECT i, 1000 FROM generate_series(0, 99) i;";
    server.make(database, &format!("{TABLES}{accounts}{QUIET}"));
}

fn database(server: &Postgres, more: &str) -> String {
    format!("[[profile.shop.database]]\n{}{more}\n", server.settings())
}

#[test]
fn a_database_that_is_written_to_comes_back_as_it_was_at_one_moment() {
    let server = Postgres::start();
    fill(&server, "shop");
    for format in ["custom", "plain"] {
        let machine = Machine::new(&database(&server, &format!("name = \"shop\"\nformat = \"{format}\"")));
        server.sql("shop", "TRUNCATE moves; UPDATE accounts SET balance = 1000; UPDATE counter SET n = 0;");
        let writer = Writer::start(server.client("shop"), transaction);
        super::wait_for("a transaction", || (server.sql("shop", "SELECT n > 50 FROM counter") == "t").then_some(()));
        machine.backs_up();
        let committed = writer.stop();
        let rows = machine.loads("shop", &server.url(&format!("again_{format}")));
        let again = |query: &str| server.sql(&format!("again_{format}"), query);
        let moves: u64 = again("SELECT n FROM counter").parse().unwrap();
        assert!(50 < moves && moves < committed, "{moves} of {committed}: the load was not meanwhile");
        // Every row, against what so many transactions must have left.
        assert_eq!(again(MOVES), moves_after(moves, '|'));
        assert_eq!(again(ACCOUNTS), accounts_after(moves, '|'));
        assert_eq!(again("SELECT sum(balance) FROM accounts"), "100000");
        assert_eq!(rows["public.moves"], moves);
        assert_eq!(rows["odd.quiet"], 20000);
        assert!(again(QUIET_ROWS) == server.sql("shop", QUIET_ROWS), "a row of the quiet table differs");
        assert_eq!(again("SELECT count(*) FROM odd.few"), "9");
        assert_eq!(again("SELECT nextval('odd.numbers')"), "78");
    }
}

#[test]
fn a_database_with_something_in_it_is_refused_until_it_may_be_lost() {
    let server = Postgres::start();
    fill(&server, "shop");
    let machine = Machine::new(&database(&server, "name = \"shop\""));
    machine.backs_up();
    server.make("other", "CREATE TABLE mine (x int); INSERT INTO mine VALUES (7);");
    let to = server.url("other");
    let arguments = ["restore", "shop", "--database", "shop", "--to", &to];
    machine.run(&arguments).exits(4).says("not empty").says("--replace");
    assert_eq!(server.sql("other", "SELECT x FROM mine"), "7");
    assert_eq!(server.sql("other", "SELECT to_regclass('accounts') IS NULL"), "t");
    // One that is there and empty is taken without a word.
    server.sql("postgres", "CREATE DATABASE blank;");
    machine.loads("shop", &server.url("blank"));
    machine.run(&[&arguments[..], &["--replace"]].concat()).exits(0);
    assert_eq!(server.sql("other", "SELECT to_regclass('mine') IS NULL"), "t");
    assert!(server.sql("other", QUIET_ROWS) == server.sql("shop", QUIET_ROWS));
    // A dry run loads nothing.
    machine.run(&["restore", "shop", "--database", "shop", "--to", &server.url("dry"), "--dry-run"]).exits(0);
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'dry'"), "0");
    machine.run(&["restore", "shop", "--database", "none", "--to", &to]).exits(2).says("it holds:").says("shop");
}

#[test]
fn roles_come_back_on_another_server_with_their_passwords() {
    let server = Postgres::start();
    server.make(
        "shop",
        "CREATE ROLE keeper LOGIN PASSWORD 'a word';CREATE TABLE t (x int);ALTER TABLE t OWNER TO keeper;",
    );
    let machine = Machine::new(&database(&server, ""));
    machine.backs_up();
    let other = Postgres::start();
    let url = other.url("");
    machine.run(&["restore", "shop", "--database", "globals.sql", "--to", &url]).exits(0);
    let to = format!("{}&owners=keep", other.url("shop"));
    machine.run(&["restore", "shop", "--database", "shop", "--to", &to]).exits(0);
    assert_eq!(other.sql("shop", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "keeper");
    let mut login = other.client("shop");
    let login = login.args(["-U", "keeper", "-w", "-c", "SELECT count(*) FROM t"]);
    assert_eq!(done(login.env("PGPASSWORD", "a word")).trim(), "0");
    assert!(!login.env("PGPASSWORD", "another").output().unwrap().status.success());
}

#[test]
fn databases_of_any_name_are_dumped_and_the_note_names_the_commands_that_load_them() {
    let server = Postgres::start();
    let names = [
        "plain",
        "it's \"odd\" = \\ $(id) `id`; -- ünï",
        "-rf",
        "a/b",
        "50%2Foff",
        "globals",
        "globals_too",
        "dbname=x",
        "*",
        "A b",
    ];
    for (number, name) in names.iter().enumerate() {
        server.make(
            name,
            &format!("CREATE TABLE t AS SELECT i, '{number}' AS mine FROM generate_series(1, {number}) i;"),
        );
    }
    let machine = Machine::new(&database(&server, ""));
    machine.backs_up();
    let restored = machine.restored("shop");
    let dumps = std::fs::read_dir(restored.join(".bk/dumps/postgres")).unwrap().count();
    assert_eq!(dumps, names.len() + 2, "one for each, and `postgres`, and globals.sql");
    for name in names {
        server.sql("postgres", &format!("DROP DATABASE \"{}\"", name.replace('"', "\"\"")));
    }
    let commands = machine.commands_of_note("shop");
    assert_eq!(commands.len(), dumps);
    for line in &commands {
        machine.types(line).exits(0);
    }
    let there =
        server.sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'");
    let (mut there, mut expected): (Vec<_>, Vec<_>) = (there.lines().collect(), names.to_vec());
    there.sort_unstable();
    expected.sort_unstable();
    assert_eq!(there, expected);
    for (number, name) in names.iter().enumerate() {
        let all = server.sql(name, "SELECT count(*), coalesce(min(mine), '0'), coalesce(max(mine), '0') FROM t");
        let mine = if number == 0 { "0".to_owned() } else { number.to_string() };
        assert_eq!(all, format!("{number}|{mine}|{mine}"), "{name}");
    }
}

#[test]
fn two_servers_with_databases_of_one_name_are_told_apart_in_the_note() {
    let servers = [Postgres::start(), Postgres::start()];
    for (server, word) in servers.iter().zip(["one", "two"]) {
        server.make("shop", &format!("CREATE TABLE t AS SELECT '{word}' AS word;"));
    }
    let both: String = servers.iter().map(|server| database(server, "name = \"shop\"\nformat = \"plain\"")).collect();
    let machine = Machine::new(&both);
    machine.backs_up();
    for server in &servers {
        server.sql("postgres", "DROP DATABASE shop");
    }
    for line in machine.commands_of_note("shop").iter().filter(|line| !line.contains("globals")) {
        machine.types(line).exits(0);
    }
    for (server, word) in servers.iter().zip(["one", "two"]) {
        assert_eq!(server.sql("shop", "SELECT word FROM t"), word);
    }
}

#[test]
fn a_password_is_read_from_its_file_and_shown_to_nobody() {
    let server = Postgres::start();
    let secret = "s3cret 'word' \\ : \"x\" #";
    let quoted = secret.replace('\'', "''");
    server.make(
        "shop",
        &format!(
            "SET standard_conforming_strings = on; CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{quoted}'; \
         CREATE TABLE t AS SELECT i FROM generate_series(1, 100000) i; ALTER TABLE t OWNER TO keeper;"
        ),
    );
    let machine = Machine::new("");
    let file = machine.password(secret);
    machine.configure(&format!(
        "[[profile.shop.database]]\nengine = \"postgres\"\nname = \"shop\"\nuser = \"keeper\"\nsocket = \"{}\"\npassword-file = \"{file}\"\n",
        server.socket()
    ));
    let to = format!("postgres:///again?user=keeper&socket={}&password-file={file}", server.socket());
    let said = unseen(secret, || {
        let said = machine.backs_up();
        machine.loads("shop", &to);
        said
    });
    assert!(!said.text().contains(secret));
    assert_eq!(server.sql("again", "SELECT count(*), sum(i) FROM t"), "100000|5000050000");
    // Without the file nobody gets in.
    machine.configure(&format!(
        "[[profile.shop.database]]\nengine = \"postgres\"\nname = \"shop\"\nuser = \"keeper\"\nsocket = \"{}\"\n",
        server.socket()
    ));
    machine.fails("cannot log in");
}

#[test]
fn the_system_user_of_the_server_is_used_where_only_he_may_log_in() {
    if !trees::is_root() {
        return trees::skipped("programs of another system user", "only root can run them");
    }
    let server = Postgres::start();
    server.sql("postgres", "CREATE DATABASE vault;");
    let mut inside = server.account.command(super::servers::postgres_program("psql"));
    let create = "CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i";
    done(inside.args(["-X", "-h", &server.socket(), "-d", "vault", "-c", create]));
    let entry = |more: &str| {
        format!(
            "[[profile.shop.database]]\nengine = \"postgres\"\nname = \"vault\"\nsocket = \"{}\"\n{more}",
            server.socket()
        )
    };
    let machine = Machine::new(&entry(""));
    machine.backs_up();
    let rows = machine.loads("vault", &format!("postgres:///copy?socket={}", server.socket()));
    assert_eq!(rows["public.t"], 10);
    // Whoever names a role runs the programs himself, which this database does not let in.
    machine.configure(&entry("user = \"postgres\"\n"));
    machine.fails("cannot log in");
}
