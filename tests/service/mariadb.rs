//! MariaDB.

use super::Machine;
use super::servers::{MariaDb, done};
use super::unseen;
use super::writer::{TABLES, Writer, accounts_after, moves_after, transaction};

/// A table that nobody writes to, with what is hard to dump.
const QUIET: &str = r"
CREATE TABLE quiet (id INT PRIMARY KEY, text TEXT, bytes BLOB, number DECIMAL(20, 6), moment DATETIME);
INSERT INTO quiet SELECT seq, CASE seq MOD 4 WHEN 0 THEN NULL WHEN 1 THEN 'tab\t, back\\slash, \'quote\', line\nend'
        WHEN 2 THEN 'ünïcödé 🐘' ELSE REPEAT(MD5(seq), 20) END,
    UNHEX(MD5(seq)), seq / 7, '2001-01-01' + INTERVAL seq HOUR FROM seq_1_to_20000;
CREATE VIEW few AS SELECT * FROM quiet WHERE id < 10;
CREATE PROCEDURE twice(IN x INT) SELECT x * 2;
CREATE TRIGGER checked BEFORE INSERT ON quiet FOR EACH ROW SET NEW.number = COALESCE(NEW.number, 42);
CREATE EVENT later ON SCHEDULE EVERY 1 YEAR DO SELECT 1;
";

const QUIET_ROWS: &str = "SELECT id, HEX(text), HEX(bytes), number, moment FROM quiet ORDER BY id";

fn fill(server: &MariaDb, database: &str) {
    let accounts = "INSERT INTO accounts SELECT seq, 1000 FROM seq_0_to_99;";
    server.make(database, &format!("{TABLES}{accounts}{QUIET}"));
}

fn database(server: &MariaDb, more: &str) -> String {
    format!("[[profile.shop.database]]\n{}{more}\n", server.settings())
}

#[test]
fn a_database_that_is_written_to_comes_back_as_it_was_at_one_moment() {
    let server = MariaDb::start();
    fill(&server, "shop");
    let machine = Machine::new(&database(&server, "name = \"shop\""));
    let writer = Writer::start(server.client("shop"), transaction);
    super::wait_for("a transaction", || (server.sql("shop", "SELECT n > 50 FROM counter") == "1").then_some(()));
    machine.backs_up();
    let committed = writer.stop();
    let to = server.url("again");
    let said = machine.run(&["--json", "restore", "shop", "--database", "shop", "--to", &to]).exits(0);
    let json = said.json();
    // A table that grew while it was dumped was not counted; the others were.
    assert_eq!(json["verified"], true, "{json}");
    assert_eq!((&json["rows_expected"]["quiet"], &json["rows"]["quiet"]), (&20000.into(), &20000.into()));
    let again = |query: &str| server.sql("again", query);
    let moves: u64 = again("SELECT n FROM counter").parse().unwrap();
    assert!(50 < moves && moves < committed, "{moves} of {committed}: the load was not meanwhile");
    assert_eq!(again("SELECT * FROM moves ORDER BY id"), moves_after(moves, '\t'));
    assert_eq!(again("SELECT * FROM accounts ORDER BY id"), accounts_after(moves, '\t'));
    assert_eq!(again("SELECT SUM(balance) FROM accounts"), "100000");
    assert!(again(QUIET_ROWS) == server.sql("shop", QUIET_ROWS), "a row of the quiet table differs");
    assert_eq!(again("SELECT COUNT(*) FROM few; CALL twice(21);"), "9\n42");
    let extras = "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'again';
        SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'again';";
    assert_eq!(again(extras), "1\n1");
}

#[test]
fn tables_without_transactions_are_warned_of() {
    let server = MariaDb::start();
    server.make("shop", "CREATE TABLE old (i INT) ENGINE = MyISAM; INSERT INTO old VALUES (1), (2);");
    let machine = Machine::new(&database(&server, "name = \"shop\""));
    machine.backs_up().says("tables without transactions").says("old (MyISAM)");
    assert_eq!(machine.loads("shop", &server.url("again"))["old"], 2);
}

#[test]
fn a_database_with_something_in_it_is_refused_until_it_may_be_lost() {
    let server = MariaDb::start();
    fill(&server, "shop");
    let machine = Machine::new(&database(&server, "name = \"shop\""));
    machine.backs_up();
    server.make("other", "CREATE TABLE mine (x INT); INSERT INTO mine VALUES (7);");
    let to = server.url("other");
    let arguments = ["restore", "shop", "--database", "shop", "--to", &to];
    machine.run(&arguments).exits(4).says("not empty").says("--replace");
    assert_eq!(server.sql("other", "SHOW TABLES; SELECT x FROM mine"), "mine\n7");
    server.sql("mysql", "CREATE DATABASE blank");
    machine.loads("shop", &server.url("blank"));
    machine.run(&[&arguments[..], &["--replace"]].concat()).exits(0);
    assert!(!server.sql("other", "SHOW TABLES").contains("mine"));
    assert!(server.sql("other", QUIET_ROWS) == server.sql("shop", QUIET_ROWS));
}

#[test]
fn databases_of_any_name_and_accounts_come_back_by_the_commands_of_the_note() {
    let server = MariaDb::start();
    let names = ["plain", "it's \"odd\" = $(id) ünï; --", "-rf", "a/b", "50%2Foff", "users", "A b", "back`tick"];
    for (number, name) in names.iter().enumerate() {
        server.make(name, &format!("CREATE TABLE t (i INT); INSERT INTO t SELECT {number} FROM seq_1_to_3;"));
    }
    server.sql(
        "plain",
        "CREATE USER keeper@localhost IDENTIFIED BY 'a word'; GRANT SELECT ON plain.* TO keeper@localhost;",
    );
    let machine = Machine::new(&database(&server, ""));
    machine.backs_up();
    let dumps = std::fs::read_dir(machine.restored("shop").join(".bk/dumps/mariadb")).unwrap().count();
    assert_eq!(dumps, names.len() + 1, "one for each, and users.sql");
    server.sql("mysql", "DROP USER keeper@localhost;");
    for name in names {
        server.sql("mysql", &format!("DROP DATABASE `{}`;", name.replace('`', "``")));
    }
    let commands = machine.commands_of_note("shop");
    assert_eq!(commands.len(), dumps);
    for line in &commands {
        machine.types(line).exits(0);
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(server.sql(name, "SELECT COUNT(*), MIN(i), MAX(i) FROM t"), format!("3\t{number}\t{number}"));
    }
    let mut login = std::process::Command::new("mariadb");
    login.args(["--no-defaults", "--user=keeper", "-N", "-e", "SELECT COUNT(*) FROM plain.t"]);
    login.arg(format!("--socket={}", server.socket())).env("MYSQL_PWD", "a word");
    assert_eq!(done(&mut login).trim(), "3");
}

#[test]
fn a_password_is_read_from_its_file_and_shown_to_nobody() {
    let server = MariaDb::start();
    let secret = "s3cret 'word' \\ : \"x\" #";
    let quoted = secret.replace('\\', "\\\\").replace('\'', "''");
    server.make(
        "shop",
        &format!(
            "CREATE USER keeper IDENTIFIED BY '{quoted}'; GRANT ALL ON *.* TO keeper;
         CREATE TABLE t (i INT); INSERT INTO t SELECT seq FROM seq_1_to_100000;"
        ),
    );
    let machine = Machine::new("");
    let file = machine.password(secret);
    let settings =
        format!("engine = \"mariadb\"\nname = \"shop\"\nuser = \"keeper\"\nsocket = \"{}\"\n", server.socket());
    machine.configure(&format!("[[profile.shop.database]]\n{settings}password-file = \"{file}\"\n"));
    let to = format!("mariadb:///again?user=keeper&socket={}&password-file={file}", server.socket());
    let said = unseen(secret, || {
        let said = machine.backs_up();
        machine.loads("shop", &to);
        said
    });
    assert!(!said.text().contains(secret));
    assert_eq!(server.sql("again", "SELECT COUNT(*), SUM(i) FROM t"), "100000\t5000050000");
    machine.configure(&format!("[[profile.shop.database]]\n{settings}"));
    machine.fails("cannot log in");
}

#[test]
fn accounts_of_named_hosts_do_not_keep_the_others_from_being_dumped() {
    let server = MariaDb::start_with(&["--skip-name-resolve"]);
    server.make("shop", "CREATE TABLE t (i INT); INSERT INTO t VALUES (1);");
    server.sql(
        "shop",
        "CREATE USER far@'some.host' IDENTIFIED BY 'far'; CREATE USER near@localhost IDENTIFIED BY 'a word';
         GRANT SELECT ON shop.* TO near@localhost; CREATE USER net@'10.0.0.%' IDENTIFIED BY 'x';
         FLUSH PRIVILEGES;",
    );
    let machine = Machine::new(&database(&server, ""));
    machine.backs_up().says("skip-name-resolve").says("'far'@'some.host'");
    server.sql("mysql", "DROP USER near@localhost; DROP USER net@'10.0.0.%';");
    let to = server.url("");
    machine.run(&["restore", "shop", "--database", "users.sql", "--to", &to]).exits(0);
    let accounts = "SELECT User FROM user WHERE User IN ('near', 'net') ORDER BY User";
    assert_eq!(server.sql("mysql", accounts), "near\nnet");
    assert!(server.sql("mysql", "SHOW GRANTS FOR near@localhost").contains("GRANT SELECT ON `shop`"));
}
