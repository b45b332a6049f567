//! Trees shaped like those of well-known services, with the real engines underneath, backed up by the built-in
//! profiles and compared after a restore.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use super::Machine;
use super::servers::{MariaDb, Postgres, done};
use super::trees::{self, Said, difference, look};

const PASSWORD: &str = "p'a\"s `x` $w#rd";

/// A machine with the built-in profile `service` for the folder `root`, called `mine`.
struct Shape {
    machine: Machine,
    root: PathBuf,
}

impl Shape {
    fn new(service: &str) -> Self {
        let machine = Machine::new("");
        let root = machine.bench.folder("root");
        machine.bench.file("bk.toml", format!("[profile.mine]\nuse = \"{service}\"\nroot = \"{}\"\n", root.display()));
        Self { machine, root }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.machine.bench.file(&format!("root/{name}"), content)
    }

    fn backup(&self) -> Said {
        self.machine.run(&["backup", "mine"])
    }

    /// Where the root is after a restore, and the text of the note.
    #[track_caller]
    fn restored(&self) -> (PathBuf, String) {
        let to = self.machine.bench.path("restored");
        trees::clean(&to);
        self.machine.run(&["restore", "mine", "--to", to.to_str().unwrap()]).exits(0);
        let note = std::fs::read_to_string(to.join("mine/.bk/RESTORE.txt")).unwrap();
        (to.join("mine").join(self.root.strip_prefix("/").unwrap()), note)
    }

    /// Demands that all came back but what is below the names `left_out`, which did not.
    #[track_caller]
    fn came_back(&self, copy: &Path, left_out: &[&str], databases: &[&str]) {
        for name in left_out {
            assert!(self.root.join(name).exists() && !copy.join(name).exists(), "{name} is in the backup");
        }
        let plain = |path: &[u8]| {
            let path = String::from_utf8_lossy(path);
            let kept = |name: &&&str| path.as_ref() == **name || path.starts_with(&format!("{name}/"));
            // A log that is in the database already is not restored, and the database has its content.
            let database = |name: &&&str| path.starts_with(**name);
            !left_out.iter().any(|name| kept(&name)) && !databases.iter().any(|name| database(&name))
        };
        let mut trees = [look(&self.root), look(copy)];
        for tree in &mut trees {
            tree.retain(|path, _| plain(path));
            // Folders have the times of what was put into them; their modes and owners count.
            tree.values_mut().filter(|seen| seen.kind == "folder").for_each(|seen| seen.mtime = (0, 0));
        }
        assert!(trees[0].len() > 3);
        assert_eq!(difference(&trees[0], &trees[1]), None);
    }

    /// Demands that the password of the application is in nothing that bk says or keeps about the snapshot.
    #[track_caller]
    fn hides(&self, said: &Said, secret: &str) {
        let shown = self.machine.run(&["--json", "snapshots", "latest"]).exits(0);
        for text in [said.text(), shown.text()] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(std::fs::read_dir(self.machine.bench.path("data/scratch")).unwrap().count(), 0);
    }
}

fn count(path: &Path, query: &str) -> i64 {
    let database = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

fn sqlite(path: &Path, statements: &str) -> Connection {
    let database = Connection::open(path).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch(statements).unwrap();
    database
}

#[test]
fn a_gitea_is_backed_up_with_the_database_that_its_app_ini_names() {
    let server = Postgres::start();
    let quoted = PASSWORD.replace('\'', "''");
    server.sql(
        "postgres",
        &format!("CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{quoted}'; CREATE DATABASE forge OWNER keeper;"),
    );
    let tables = "SET ROLE keeper; CREATE TABLE repository AS SELECT i AS id, 'repo' || i AS name FROM generate_series(1, 50) i;";
    server.sql("forge", tables);
    let shape = Shape::new("gitea");
    let ini = |secret: &str| {
        // Gitea quotes with backticks what holds `#` or quotes; a backtick itself it cannot hold then.
        format!(
            "APP_NAME = mine\n[database]\nDB_TYPE = postgres\nHOST = {}\nNAME = forge\nUSER = keeper\nPASSWD = \"\"\"{PASSWORD}\"\"\"\n\n[security]\n{secret}\n",
            server.socket()
        )
    };
    let ini = |secret: &str| ini(secret).replace("\"\"\"", "\"");
    shape.file("gitea/conf/app.ini", ini("SECRET_KEY = abc"));
    shape.file("gitea/log/gitea.log", "noise");
    shape.file("gitea/attachments/a/b/file", trees::noise(1, 5000));
    shape.file("ssh/ssh_host_ed25519_key", "key");
    let repository = shape.root.join("git/repositories/me/log.git");
    done(Command::new("git").args(["init", "--quiet", "--bare"]).arg(&repository));
    let said = shape.backup().exits(0);
    shape.hides(&said, PASSWORD);
    let (copy, note) = shape.restored();
    shape.came_back(&copy, &["gitea/log/gitea.log"], &[]);
    done(Command::new("git").arg("-C").arg(copy.join("git/repositories/me/log.git")).args(["fsck", "--strict"]));
    assert!(note.contains("STEPS for Gitea") && note.contains("50 rows"), "{note}");
    let file = shape.machine.password(PASSWORD);
    // The note knows the server that only app.ini names, and no password.
    let line = note.lines().find(|line| line.contains("--database forge")).unwrap().trim();
    assert!(line.contains("postgres:///forge?user=keeper") && !note.contains(PASSWORD), "{note}");
    assert!(note.contains("&password-file=/its/path"), "{note}");
    let line =
        line.replace("keeper", "keeper&password-file=").replace("password-file=", &format!("password-file={file}"));
    shape.machine.types(&line).exits(4).says("not empty");
    shape.machine.types(&format!("{line} --replace")).exits(0).says("50 rows");
    let to = format!("postgres:///again?user=keeper&socket={}&password-file={file}", server.socket());
    shape.machine.run(&["restore", "mine", "--database", "forge", "--to", &to]).exits(0).says("50 rows");
    let all = "SELECT * FROM repository ORDER BY id";
    assert_eq!(server.sql("again", all), server.sql("forge", all));
    // Without the key second factors are lost: this is said.
    shape.file("gitea/conf/app.ini", ini("SECRET = abc"));
    shape.backup().exits(0).says("not in this backup").says("SECRET_KEY decrypts");
    // A database that lost all its repositories is no good backup.
    shape.file("gitea/conf/app.ini", ini("SECRET_KEY = abc"));
    server.sql("forge", "DELETE FROM repository");
    shape.backup().exits(4).says("table repository is empty");
}

#[test]
fn a_nextcloud_is_backed_up_with_the_database_that_its_config_php_names() {
    let server = MariaDb::start();
    let (sql, php) = (PASSWORD.replace('\'', "''"), PASSWORD.replace('\'', "\\'"));
    server.make("cloud", &format!(
        "CREATE USER keeper IDENTIFIED BY '{sql}'; GRANT ALL ON *.* TO keeper;
         CREATE TABLE oc_users (uid VARCHAR(64) PRIMARY KEY); INSERT INTO oc_users VALUES ('admin'), ('ünï');
         CREATE TABLE oc_filecache (fileid INT PRIMARY KEY, path TEXT); INSERT INTO oc_filecache SELECT seq, CONCAT('files/', seq) FROM seq_1_to_300;"
    ));
    let shape = Shape::new("nextcloud");
    shape.file("config/config.php", format!(
        "<?php\n$CONFIG = array (\n  'instanceid' => 'oc1',\n  'passwordsalt' => 'salt',\n  'secret' => 'hush',\n  \
         'dbtype' => 'mysql',\n  'dbname' => 'cloud',\n  'dbhost' => 'localhost:{}',\n  'dbuser' => 'keeper',\n  'dbpassword' => '{php}',\n);\n",
        server.socket()
    ));
    shape.file("data/admin/files/photo", trees::noise(2, 9000));
    shape.file("data/admin/files/cache/mine", "a folder of the user's own");
    shape.file("data/appdata_oc1/preview/1/2.png", "thumbnail");
    shape.file("data/nextcloud.log", "noise");
    let said = shape.backup().exits(0);
    shape.hides(&said, PASSWORD);
    let (copy, note) = shape.restored();
    shape.came_back(&copy, &["data/nextcloud.log", "data/appdata_oc1/preview/1"], &[]);
    assert!(note.contains("STEPS for Nextcloud"), "{note}");
    let said =
        shape.machine.run(&["--json", "restore", "mine", "--database", "cloud", "--to", &server.url("again")]).exits(0);
    assert_eq!(said.json()["verified"], true);
    for all in ["SELECT HEX(uid) FROM oc_users ORDER BY uid", "SELECT * FROM oc_filecache ORDER BY fileid"] {
        assert_eq!(server.sql("again", all), server.sql("cloud", all));
    }
    // The password of the application is wrong: so are all its backups.
    server.sql("mysql", "ALTER USER keeper IDENTIFIED BY 'another'");
    shape.backup().exits(4).says("cannot log in");
}

#[test]
fn a_vaultwarden_is_backed_up_with_what_is_only_in_the_log_of_its_database() {
    let shape = Shape::new("vaultwarden");
    let path = shape.root.join("db.sqlite3");
    let database =
        sqlite(&path, "CREATE TABLE users (id TEXT); INSERT INTO users VALUES ('a'); PRAGMA wal_checkpoint(TRUNCATE);");
    // From here on everything is in the log only.
    database
        .execute_batch(
            "PRAGMA wal_autocheckpoint = 0; INSERT INTO users VALUES ('b'); CREATE TABLE attachments (id TEXT);",
        )
        .unwrap();
    for number in 0..20 {
        let id = format!("cipher{}/{number}", number % 3);
        shape.file(&format!("attachments/{id}"), trees::noise(number, 3000));
        database.execute("INSERT INTO attachments VALUES (?)", [id]).unwrap();
    }
    shape.file("rsa_key.pem", "key");
    shape.file("config.json", "{}");
    shape.file("icon_cache/example.org.png", "icon");
    shape.backup().exits(0);
    let (copy, note) = shape.restored();
    shape.came_back(&copy, &["icon_cache/example.org.png"], &["db.sqlite3"]);
    assert!(note.contains("STEPS for Vaultwarden"), "{note}");
    let restored = copy.join("db.sqlite3");
    assert!(!copy.join("db.sqlite3-wal").exists());
    assert_eq!(count(&restored, "SELECT count(*) FROM users"), 2);
    let again = Connection::open(&restored).unwrap();
    let mut statement = again.prepare("SELECT id FROM attachments").unwrap();
    let ids: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| copy.join("attachments").join(id).exists()), "an attachment of a row is missing");
    // Put to its place.
    let place = shape.machine.bench.path("place.sqlite3");
    let to = format!("sqlite:{}", place.display());
    shape.machine.run(&["restore", "mine", "--database", "db.sqlite3", "--to", &to]).exits(0).says("as many as");
    assert_eq!(count(&place, "SELECT count(*) FROM attachments"), 20);
    // Without the key everybody is logged out.
    std::fs::remove_file(shape.root.join("rsa_key.pem")).unwrap();
    shape.backup().exits(0).says("not in this backup").says("rsa_key.pem");
    drop(database);
    for name in ["db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"] {
        let _ = std::fs::remove_file(shape.root.join(name));
    }
    shape.backup().exits(3).says("in none of the data folders");
}

#[test]
fn a_plex_is_backed_up_though_its_collations_are_unknown_and_its_folder_lies_deeper() {
    let shape = Shape::new("plex");
    let data = "Library/Application Support/Plex Media Server";
    let databases = format!("{data}/Plug-in Support/Databases");
    shape.file(&format!("{data}/Preferences.xml"), "<Preferences MachineIdentifier=\"x\"/>");
    for left_out in ["Cache/a/b", "Logs/log", "Codecs/c"] {
        shape.file(&format!("{data}/{left_out}"), "made again");
    }
    shape.file(&format!("{data}/Metadata/Movies/poster"), trees::noise(3, 4000));
    // Only what lies in the data folder is Plex's own cache.
    shape.file("Cache/mine", "kept");
    let folder = shape.root.join(&databases);
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("com.plexapp.plugins.library.db");
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
        db.create_collation('icu_root', lambda a, b: (a > b) - (a < b))\n\
        db.execute('CREATE TABLE metadata_items (id INTEGER PRIMARY KEY, title TEXT COLLATE icu_root)')\n\
        db.execute('CREATE INDEX by_title ON metadata_items (title COLLATE icu_root)')\n\
        db.executemany('INSERT INTO metadata_items (title) VALUES (?)', [(str(i * 7919 % 1000),) for i in range(1000)])\ndb.commit()";
    done(Command::new("python3").args(["-c", script]).arg(&library));
    drop(sqlite(
        &folder.join("com.plexapp.plugins.library.blobs.db"),
        "CREATE TABLE blobs (id INTEGER, data BLOB); INSERT INTO blobs VALUES (1, x'00');",
    ));
    shape.file(&format!("{databases}/com.plexapp.plugins.library.db-2026-01-01"), "a copy of Plex's own");
    shape.backup().exits(0);
    let (copy, note) = shape.restored();
    let left_out =
        ["Cache/a", "Logs/log", "Codecs/c", "Plug-in Support/Databases/com.plexapp.plugins.library.db-2026-01-01"];
    let left_out = left_out.map(|name| format!("{data}/{name}"));
    let left_out: Vec<&str> = left_out.iter().map(String::as_str).collect();
    shape.came_back(&copy, &left_out, &[&format!("{databases}/com.plexapp")]);
    assert!(note.contains("Plex SQLite"), "{note}");
    let all = "SELECT sum(id * 1000 + CAST(title AS INTEGER)) FROM metadata_items";
    let restored = copy.join(&databases).join("com.plexapp.plugins.library.db");
    assert_eq!(count(&restored, all), count(&library, all));
    assert_eq!(count(&restored, "SELECT count(*) FROM metadata_items"), 1000);
    std::fs::remove_file(shape.root.join(data).join("Preferences.xml")).unwrap();
    shape.backup().exits(0).says("not in this backup").says("identity of the server");
}

#[test]
fn a_sonarr_is_backed_up_without_its_logs_and_with_the_engine_of_its_config_xml() {
    let shape = Shape::new("sonarr");
    let xml = |more: &str| format!("<Config>\n  <ApiKey>key</ApiKey>\n{more}</Config>\n");
    shape.file("config.xml", xml(""));
    shape.file("asp/key.xml", "<key/>");
    shape.file("logs/sonarr.txt", "noise");
    shape.file("MediaCover/1/poster.jpg", "poster");
    let series =
        "CREATE TABLE Series (Id INTEGER PRIMARY KEY, Title TEXT); INSERT INTO Series (Title) VALUES ('a'), ('b');";
    let database = sqlite(&shape.root.join("sonarr.db"), series);
    drop(sqlite(&shape.root.join("logs.db"), "CREATE TABLE Logs (Id INTEGER);"));
    shape.backup().exits(0);
    let (copy, _) = shape.restored();
    shape.came_back(&copy, &["logs/sonarr.txt", "logs.db", "MediaCover/1"], &["sonarr.db"]);
    assert_eq!(count(&copy.join("sonarr.db"), "SELECT count(*) FROM Series"), 2);
    drop(database);
    // With a server in config.xml the file is not what counts.
    let server = Postgres::start();
    server.make("tv-main", "CREATE TABLE \"Series\" AS SELECT i AS \"Id\" FROM generate_series(1, 9) i;");
    shape.file("config.xml", xml(&format!(
        "  <PostgresHost>{}</PostgresHost>\n  <PostgresUser>postgres</PostgresUser>\n  <PostgresMainDb>tv-main</PostgresMainDb>\n",
        server.socket()
    )));
    shape.backup().exits(0);
    assert_eq!(
        shape
            .machine
            .run(&["--json", "restore", "mine", "--database", "tv-main", "--to", &server.url("again")])
            .exits(0)
            .json()["verified"],
        true
    );
    assert_eq!(server.sql("again", "SELECT count(*) FROM \"Series\""), "9");
}

#[test]
fn a_service_that_keeps_nothing_succeeds_doing_nothing() {
    let machine = Machine::new("");
    machine.run(&["backup", "flaresolverr"]).exits(0).says("keeps nothing");
    assert!(!machine.bench.path("data/repository").exists(), "no repository is made for nothing");
}

#[test]
fn a_service_that_is_not_on_this_machine_is_refused() {
    let machine = Machine::new("");
    // Nor is a dump of its database alone a backup of it.
    for service in ["uptime-kuma", "navidrome", "immich", "mattermost"] {
        let said = machine.run(&["backup", service]).exits(2);
        said.says("keeps its data in none of the places that bk knows").says("looked in:").says("root = ");
    }
    machine.run(&["backup", "no-such-service"]).exits(2).says("bk profile list");
}

/// What `podman inspect` says of a container with these folders and this environment.
fn described(machine: &mut Machine, mounts: &[(&Path, &str)], environment: &[String]) {
    let mount = |(here, inside): &(&Path, &str)| serde_json::json!({ "Source": here, "Destination": inside });
    let mounts: Vec<_> = mounts.iter().map(mount).collect();
    let all = serde_json::json!([{ "Mounts": mounts, "Config": { "Env": environment } }]);
    let file = machine.bench.file("inspected", all.to_string());
    machine.program("podman", &format!("exec cat {}", file.display()));
}

#[test]
fn a_nextcloud_in_a_container_is_backed_up_with_the_database_that_its_environment_names() {
    let server = MariaDb::start();
    server.make(
        "cloud",
        "CREATE USER keeper IDENTIFIED BY 'a word'; GRANT ALL ON *.* TO keeper;
         CREATE TABLE nc_users (uid INT); INSERT INTO nc_users VALUES (1);
         CREATE TABLE nc_filecache (fileid INT); INSERT INTO nc_filecache VALUES (1), (2);",
    );
    let mut machine = Machine::new("");
    let secrets = machine.bench.folder("secrets");
    machine.bench.file("secrets/db", "a word\n");
    let html = machine.bench.folder("html");
    machine.bench.file("html/data/ann/files/photo", "photo");
    machine.bench.file("html/data/nextcloud.log", "noise");
    let environment = [
        format!("MYSQL_HOST=localhost:{}", server.socket()),
        "MYSQL_DATABASE=cloud".to_owned(),
        "MYSQL_USER=keeper".to_owned(),
        "MYSQL_PASSWORD_FILE=/run/secrets/db".to_owned(),
    ];
    described(&mut machine, &[(&html, "/var/www/html"), (&secrets, "/run/secrets")], &environment);
    machine.bench.file("bk.toml", "[profile.mine]\nuse = \"nextcloud\"\ncontainer = { name = \"cloud\" }\n");
    let shown = machine.run(&["profile", "show", "mine"]).exits(0);
    shown.says("mariadb, as the environment of its container says").says("user keeper").says("with the password");
    machine.run(&["backup", "mine"]).exits(0);
    let loaded =
        machine.run(&["--json", "restore", "mine", "--database", "cloud", "--to", &server.url("again")]).exits(0);
    assert_eq!((&loaded.json()["verified"], &loaded.json()["rows"]["nc_filecache"]), (&true.into(), &2.into()));
    // Its own configuration, once there is one, is what counts.
    let php = format!(
        "<?php $CONFIG = ['dbtype' => 'mysql', 'dbname' => 'gone', 'dbhost' => 'localhost:{}', 'dbuser' => 'keeper', 'dbpassword' => 'a word'];",
        server.socket()
    );
    machine.bench.file("html/config/config.php", php);
    machine.run(&["backup", "mine"]).exits(4).says("gone");
}

#[test]
fn a_database_that_the_application_keeps_at_a_place_of_its_own_is_found_or_missed() {
    let shape = Shape::new("gitea");
    let elsewhere = shape.machine.bench.folder("elsewhere").join("x.db");
    let repositories = "CREATE TABLE repository (id INT); INSERT INTO repository VALUES (1);";
    drop(sqlite(&shape.root.join("mine.db"), repositories));
    drop(sqlite(&elsewhere, repositories));
    let ini =
        |path: &Path| format!("[database]\nDB_TYPE = sqlite3\nPATH = {}\n[security]\nSECRET_KEY = x\n", path.display());
    shape.file("gitea/conf/app.ini", ini(&shape.root.join("mine.db")));
    shape.backup().exits(0);
    shape.file("gitea/conf/app.ini", ini(&elsewhere));
    shape.backup().exits(3).says("x.db").says("in none of the data folders");
    // What is there is looked into as the one at the usual place is.
    shape.file("gitea/conf/app.ini", ini(&shape.root.join("mine.db")));
    Connection::open(shape.root.join("mine.db")).unwrap().execute_batch("DELETE FROM repository").unwrap();
    shape.backup().exits(4).says("table repository is empty");
}

#[test]
fn a_pattern_that_was_taken_over_from_those_of_the_service_means_what_it_means_there() {
    let shape = Shape::new("plex");
    let data = "Library/Application Support/Plex Media Server";
    shape.file(&format!("{data}/Preferences.xml"), "<Preferences/>");
    let plex = bk::profile::Service::find("plex").unwrap();
    let (left_out, _) = plex.exclude.iter().find(|(pattern, _)| *pattern == "Cache/**").unwrap();
    let (optional, _) = plex.optional_exclude.iter().find(|(pattern, _)| pattern.ends_with(".bif")).unwrap();
    let preview = "Media/localhost/a/b/x.bif";
    for name in ["Cache/x", preview] {
        shape.file(&format!("{data}/{name}"), "x");
        shape.file(name, "the user's own");
    }
    let databases = shape.root.join(data).join("Plug-in Support/Databases");
    std::fs::create_dir_all(&databases).unwrap();
    for name in ["library", "library.blobs"] {
        let path = databases.join(format!("com.plexapp.plugins.{name}.db"));
        drop(sqlite(&path, "CREATE TABLE metadata_items (x INT); INSERT INTO metadata_items VALUES (1);"));
    }
    let root = shape.root.display();
    let text =
        format!("[profile.mine]\nuse = \"plex\"\nroot = \"{root}\"\nexclude = [\"!{left_out}\", \"{optional}\"]\n");
    shape.machine.bench.file("bk.toml", text);
    shape.backup().exits(0);
    let (copy, _) = shape.restored();
    assert!(copy.join(data).join("Cache/x").exists(), "it was taken back");
    assert!(!copy.join(data).join(preview).exists(), "it was left out");
}
