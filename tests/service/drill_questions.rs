//! What is asked of a database that was restored, and whether it fits the files: questions of one's own, and those of the
//! built-in profiles to databases with the tables of the real applications.

use rusqlite::Connection;
use sha1::Digest as _;

use super::Machine;
use super::drill::verdicts;
use super::servers::{MariaDb, Postgres, done};
use super::trees::{self, Said};

/// Rows with a path, a size, a SHA-1 and a SHA-256 of a file; the last has no file.
fn stored(machine: &Machine) -> String {
    let mut rows = Vec::new();
    for number in 0..4_u64 {
        let content = trees::noise(number, 1000 + number as usize);
        machine.bench.file(&format!("files/data/{number}.bin"), &content);
        let sha1 = hex(&sha1::Sha1::digest(&content));
        let sha256 = hex(&sha2::Sha256::digest(&content));
        rows.push(format!("({number}, 'data/{number}.bin', {}, '{sha1}', '{sha256}')", content.len()));
    }
    rows.push("(9, NULL, NULL, NULL, NULL)".to_owned());
    format!(
        "CREATE TABLE stored (id INT, path VARCHAR(99), size INT, sha1 VARCHAR(99), sha256 VARCHAR(99));
         INSERT INTO stored VALUES {};",
        rows.join(", ")
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const QUESTIONS: &str = r#"
[[profile.shop.drill]]
name = "there are rows"
query = "SELECT id FROM stored;"
at-least = 5
[[profile.shop.drill]]
name = "as many as there must be"
query = "SELECT count(*) FROM renamed"
or-query = "SELECT count(*) FROM stored WHERE path IS NOT NULL"
equals = "4"
[[profile.shop.drill]]
name = "later versions have this"
query = "SELECT x FROM later"
optional = true
[[profile.shop.drill]]
name = "files are there"
query = "SELECT path, size, sha1, sha256 FROM stored ORDER BY id"
files = ["elsewhere/{1}", "{1}"]
size = 2
hash = 3
[[profile.shop.drill]]
name = "by the longer hash"
query = "SELECT id, sha256 FROM stored WHERE id < 4"
files = ["data/{1}.bin"]
hash = 2
"#;

/// `change` runs statements where the database is.
fn questions_are_asked(entry: &str, engine: &str, machine: &Machine, change: &dyn Fn(&str)) {
    change(&stored(machine));
    let with = |more: &str| machine.configure(&format!("{entry}{more}"));
    let asks = |code: i32| -> String {
        machine.backs_up();
        let said = machine.verifies(code);
        let all = verdicts(&said);
        let of_shop = all.iter().find(|(name, _)| name.as_str() == "shop").unwrap().1;
        assert_eq!(of_shop.outcome, if code == 0 { "passed" } else { "failed" }, "{said:?}");
        of_shop.words.clone()
    };
    with(QUESTIONS);
    let words = asks(0);
    assert!(words.contains("later versions have this: it cannot be asked"), "only a warning: {words}");
    // All that can be wrong, each for itself: a question that changes something, or compares by columns that are not
    // there or by what is no file, is none that is answered well.
    change("UPDATE stored SET size = 7 WHERE id = 1; DELETE FROM stored WHERE id = 9;");
    machine.bench.file("files/data/2.bin", trees::noise(99, 1002));
    std::fs::remove_file(machine.bench.path("files/data/3.bin")).unwrap();
    let odd = |lines: &str| format!("[[profile.shop.drill]]\nname = \"odd\"\n{lines}\n");
    let more = [
        "query = \"SELECT x FROM nowhere\"",
        "query = \"DELETE FROM stored\"",
        "query = \"SELECT path FROM stored WHERE id = 2\"\nfiles = [\"{2}\"]",
        "query = \"SELECT path FROM stored WHERE id = 2\"\nfiles = [\"{1}\"]\nhash = 3",
        "query = \"SELECT 'data', 7\"\nfiles = [\"{1}\"]\nsize = 2",
        "query = \"SELECT count(*) FROM stored\"\nequals = \"3\"",
    ];
    with(&format!("{QUESTIONS}{}", more.map(odd).concat()));
    let words = asks(6);
    for wrong in [
        "data/1.bin has 1001 bytes, the database says 7",
        "files are there: ",
        "data/2.bin has the hash ",
        "by the longer hash: ",
        "data/3.bin is not in the snapshot",
        "there are rows: 4 rows came, at least 5 must",
        "nowhere",
        "odd: its answer has no column 2, only 1",
        "odd: its answer has no column 3, only 1",
        "data is no file, so neither size nor hash can be compared",
        "odd: `4` came, `3` must",
    ] {
        assert!(words.contains(wrong), "{wrong} is not in {words}");
    }
    assert_eq!(words.matches("odd: it cannot be asked: ").count(), 2, "{words}");
    // One for another engine is not asked of this one; one that no database was asked is told.
    let other = if engine == "sqlite" { "redis" } else { "sqlite" };
    with(&format!(
        "{}{}",
        odd(&format!("query = \"SELECT x\"\nwhen = \"{other}\"\ndatabase = \"x\"")),
        odd("query = \"SELECT x\"\ndatabase = \"shpo\"")
    ));
    let said = machine.run(&["verify", "shop"]).exits(0).says("`odd` was asked of no database: none is called `shpo`");
    assert_eq!(said.text().matches("`odd`").count(), 1, "{said:?}");
}

#[test]
fn questions_are_asked_of_postgres() {
    let server = Postgres::start();
    server.make("shop", "");
    let machine = Machine::new("");
    let entry = format!("[[profile.shop.database]]\n{}name = \"shop\"\n", server.settings());
    questions_are_asked(&entry, "postgres", &machine, &|statements| drop(server.sql("shop", statements)));
}

#[test]
fn questions_are_asked_of_mariadb() {
    let server = MariaDb::start();
    server.make("shop", "");
    let machine = Machine::new("");
    let entry = format!("[[profile.shop.database]]\n{}name = \"shop\"\n", server.settings());
    questions_are_asked(&entry, "mariadb", &machine, &|statements| drop(server.sql("shop", statements)));
}

#[test]
fn questions_are_asked_of_sqlite() {
    let machine = Machine::new("");
    let database = Connection::open(machine.bench.path("files/shop.db")).unwrap();
    let entry = "[[profile.shop.database]]\nengine = \"sqlite\"\npath = \"shop.db\"\n";
    questions_are_asked(entry, "sqlite", &machine, &|statements| database.execute_batch(statements).unwrap());
}

#[test]
fn a_question_need_not_be_answered_by_databases_that_it_is_not_about() {
    let machine = Machine::new("");
    let database = Connection::open(machine.bench.path("files/shop.db")).unwrap();
    database.execute_batch("CREATE TABLE users (id INT); INSERT INTO users VALUES (1);").unwrap();
    let other = Connection::open(machine.bench.path("files/somebody's own.db")).unwrap();
    other.execute_batch("CREATE TABLE notes (id INT); INSERT INTO notes VALUES (1);").unwrap();
    machine.configure("[[profile.shop.drill]]\nname = \"there are users\"\nquery = \"SELECT id FROM users\"\n");
    machine.backs_up();
    machine.run(&["verify", "shop"]).exits(0).says("1 question answered well");
    // One of them must.
    database.execute_batch("DROP TABLE users; CREATE TABLE x (id INT); INSERT INTO x VALUES (1);").unwrap();
    machine.backs_up();
    machine.run(&["verify", "shop"]).exits(6).says("there are users: it cannot be asked: no such table: users");
}

#[test]
fn a_dump_whose_hook_has_no_drill_is_read_and_no_more_is_claimed() {
    let machine = Machine::new(
        "[[profile.shop.hook]]\nrun = \"command\"\nsettings = { name = \"orders.sql\", command = [\"echo\", \"orders\"], prove = [\"true\"] }\n",
    );
    machine.backs_up();
    let said =
        machine.run(&["verify", "shop"]).exits(0).says("can be read; its hook has no drill, so nothing more is known");
    assert!(!said.text().contains("is whole"), "{said:?}");
    let said = machine.verifies(0);
    assert_eq!(verdicts(&said)["orders"].outcome, "no-drill");
    assert_eq!(machine.snapshots()[0]["verification"]["databases"], 0, "none was proved whole");
}

/// The profile `mine` of a built-in service.
struct Mine {
    machine: Machine,
}

impl Mine {
    fn of(service: &str) -> Self {
        let machine = Machine::new("");
        let root = machine.bench.folder("root");
        machine.bench.file("bk.toml", format!("[profile.mine]\nuse = \"{service}\"\nroot = \"{}\"\n", root.display()));
        Self { machine }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        self.machine.bench.file(&format!("root/{name}"), content);
    }

    fn sqlite(&self, name: &str, statements: &str) -> Connection {
        let path = self.machine.bench.path(&format!("root/{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let database = Connection::open(path).unwrap();
        database.execute_batch(&format!("PRAGMA journal_mode = WAL; {statements}")).unwrap();
        database
    }

    #[track_caller]
    fn verifies(&self, code: i32) -> Said {
        self.machine.run(&["backup", "mine"]).exits(0);
        self.machine.run(&["verify", "mine"]).exits(code)
    }

    /// All is well; then the file is lost before the next backup, which is named.
    #[track_caller]
    fn misses(&self, questions: usize, file: &str) {
        let word = if questions == 1 { "question" } else { "questions" };
        let said = self.verifies(0).says(&format!("{questions} {word} answered well"));
        assert!(!said.text().contains("warning"), "{said:?}");
        let path = self.machine.bench.path("root").join(file);
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.unwrap();
        let said = self.verifies(6).says("DOES NOT RESTORE");
        let name = file.rsplit('/').next().unwrap();
        said.says(name).says("is not in the snapshot");
    }
}

const GITEA: &str = "CREATE TABLE repository (id INT, owner_name VARCHAR(255), lower_name VARCHAR(255));
    INSERT INTO repository VALUES (1, 'Me', 'log'), (2, 'Org', 'wiki');
    CREATE TABLE attachment (id INT, uuid VARCHAR(40), name VARCHAR(255), size BIGINT);
    INSERT INTO attachment VALUES (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'x.png', 5000);";

fn gitea(mine: &Mine, database: &str) {
    mine.file("gitea/conf/app.ini", format!("[database]\n{database}\n[security]\nSECRET_KEY = abc\n"));
    mine.file("gitea/attachments/a/0/a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", trees::noise(1, 5000));
    mine.file("ssh/ssh_host_ed25519_key", "key");
    for repository in ["me/log", "org/wiki"] {
        let path = mine.machine.bench.folder(&format!("root/git/repositories/{repository}.git"));
        done(std::process::Command::new("git").args(["init", "--quiet", "--bare"]).arg(path));
    }
}

#[test]
fn a_gitea_of_sqlite_must_have_its_attachments() {
    let mine = Mine::of("gitea");
    let _database = mine.sqlite("gitea/gitea.db", GITEA);
    gitea(&mine, "DB_TYPE = sqlite3");
    mine.misses(2, "gitea/attachments/a/0/a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
}

#[test]
fn a_gitea_of_postgres_must_have_its_repositories() {
    let server = Postgres::start();
    server.make("forge", GITEA);
    let mine = Mine::of("gitea");
    gitea(&mine, &format!("DB_TYPE = postgres\nHOST = {}\nNAME = forge\nUSER = postgres", server.socket()));
    mine.misses(2, "git/repositories/org/wiki.git");
}

#[test]
fn a_nextcloud_must_have_the_files_of_its_list() {
    let server = MariaDb::start();
    server.make(
        "cloud",
        "CREATE TABLE oc_users (uid VARCHAR(64)); INSERT INTO oc_users VALUES ('ann');
         CREATE TABLE oc_storages (numeric_id BIGINT, id VARCHAR(64)); INSERT INTO oc_storages VALUES (1, 'home::ann'), (2, 'local::/x');
         CREATE TABLE oc_mimetypes (id BIGINT, mimetype VARCHAR(255)); INSERT INTO oc_mimetypes VALUES (2, 'httpd/unix-directory'), (5, 'image/jpeg');
         CREATE TABLE oc_filecache (fileid BIGINT, storage BIGINT, path VARCHAR(4000), mimetype BIGINT, size BIGINT, encrypted INT);
         INSERT INTO oc_filecache VALUES (1, 1, 'files', 2, 9, 0), (2, 1, 'files/a phöto.jpg', 5, 9000, 0), (3, 1, 'cache/x', 5, 7, 0),
             (4, 2, 'files/far', 5, 7, 0), (5, 1, 'files/sealed', 5, 7, 1);",
    );
    let mine = Mine::of("nextcloud");
    let socket = server.socket();
    let php = format!(
        "<?php $CONFIG = ['instanceid' => 'oc1', 'passwordsalt' => 's', 'secret' => 'h', 'dbtype' => 'mysql', 'dbname' => 'cloud', 'dbhost' => 'localhost:{socket}', 'dbuser' => 'root'];"
    );
    mine.file("config/config.php", php);
    mine.file("data/ann/files/a phöto.jpg", trees::noise(1, 9000));
    mine.file("data/ann/files/other", "x");
    mine.misses(2, "data/ann/files/a phöto.jpg");
}

#[test]
fn a_vaultwarden_must_have_its_attachments() {
    let mine = Mine::of("vaultwarden");
    let _database = mine.sqlite(
        "db.sqlite3",
        "CREATE TABLE users (uuid TEXT); INSERT INTO users VALUES ('u');
         CREATE TABLE attachments (id TEXT, cipher_uuid TEXT); INSERT INTO attachments VALUES ('one', 'c1'), ('two', 'c1');",
    );
    mine.file("rsa_key.pem", "key");
    mine.file("attachments/c1/one", "sealed");
    mine.file("attachments/c1/two", "sealed");
    mine.misses(1, "attachments/c1/two");
}

#[test]
fn an_immich_must_have_its_photos_with_their_checksums() {
    let server = Postgres::start();
    let photo = |number: u64| trees::noise(number, 4000);
    let hash = |number: u64| hex(&sha1::Sha1::digest(photo(number)));
    server.make(
        "immich",
        &format!(
            "CREATE TABLE \"user\" (id uuid); INSERT INTO \"user\" VALUES (gen_random_uuid());
             CREATE TABLE asset (\"originalPath\" varchar, checksum bytea, \"isExternal\" bool, \"deletedAt\" timestamptz);
             INSERT INTO asset VALUES ('/data/upload/u/1.jpg', '\\x{}', false, NULL), ('/data/upload/u/2.jpg', '\\x{}', false, NULL),
                 ('/elsewhere/3.jpg', '\\x00', true, NULL), ('/data/upload/u/4.jpg', '\\x00', false, now());",
            hash(1),
            hash(2)
        ),
    );
    let mine = Mine::of("immich");
    let socket = server.socket();
    mine.file(".env", format!("DB_HOSTNAME={socket}\nDB_USERNAME=postgres\nDB_DATABASE_NAME=immich\n"));
    mine.file("upload/u/1.jpg", photo(1));
    mine.file("upload/u/2.jpg", photo(2));
    mine.verifies(0);
    mine.file("upload/u/1.jpg", photo(7));
    mine.verifies(6).says("upload/u/1.jpg has the hash").says("the database says");
    mine.file("upload/u/1.jpg", photo(1));
    mine.misses(2, "upload/u/2.jpg");
}
