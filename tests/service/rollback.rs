//! A whole service back in place: an application whose rows name its files, so that one without the other shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::servers::{MariaDb, Postgres, postgres_program};
use super::trees::Said;
use super::{MARK, Machine, processes, signal, wait_for};

const SYSTEMCTL: &str = include_str!("programs/systemctl");
const QUIESCE: &str = "[profile.shop.quiesce]\nhow = \"stop\"\nunits = [\"shop\"]\n";
const ROLL_BACK: [&str; 4] = ["--json", "restore", "", "--in-place"];

/// A server with the database `shop` of the application.
trait Server {
    fn sql(&self, statements: &str) -> String;
    fn settings(&self) -> String;
    fn make(&self, statements: &str);
}

impl Server for Postgres {
    fn sql(&self, statements: &str) -> String {
        self.sql("shop", statements)
    }
    fn settings(&self) -> String {
        self.settings()
    }
    fn make(&self, statements: &str) {
        self.make("shop", statements);
    }
}

impl Server for MariaDb {
    fn sql(&self, statements: &str) -> String {
        self.sql("shop", statements)
    }
    fn settings(&self) -> String {
        self.settings()
    }
    fn make(&self, statements: &str) {
        self.make("shop", statements);
    }
}

/// The application: each row of `items` names a file and says what is in it.
struct App<S> {
    machine: Machine,
    server: S,
    state: PathBuf,
}

impl<S: Server> App<S> {
    fn new(server: S, more: &str) -> Self {
        server.make("CREATE TABLE items (name VARCHAR(50) PRIMARY KEY, content TEXT);");
        let mut machine = Machine::new("");
        let state = machine.stand_in(&["systemctl"], SYSTEMCTL);
        std::fs::create_dir(state.join("units")).unwrap();
        std::fs::write(state.join("units/shop.service"), "active\n").unwrap();
        let database = format!("[[profile.shop.database]]\n{}name = \"shop\"\n", server.settings());
        machine.configure(&format!("exclude = [\"cache/**\"]\n{more}{database}{QUIESCE}"));
        let app = Self { machine, server, state };
        app.put("first", "1");
        app.put("second", "2");
        app.machine.bench.file("files/cache/thumbnail", "old");
        app
    }

    /// The application writes.
    fn put(&self, name: &str, content: &str) {
        self.machine.bench.file(&format!("files/items/{name}"), content);
        self.server.sql(&format!(
            "DELETE FROM items WHERE name = '{name}'; INSERT INTO items VALUES ('{name}', '{content}');"
        ));
    }

    /// The application deletes.
    fn drop(&self, name: &str) {
        std::fs::remove_file(self.machine.bench.path(&format!("files/items/{name}"))).unwrap();
        self.server.sql(&format!("DELETE FROM items WHERE name = '{name}';"));
    }

    /// What is there, when files and rows agree about it.
    #[track_caller]
    fn agreed(&self) -> BTreeMap<String, String> {
        let (files, rows) = (self.files(), self.rows());
        assert_eq!(files, rows, "files and rows disagree");
        files
    }

    fn files(&self) -> BTreeMap<String, String> {
        let tree = tree(&self.machine.bench.path("files/items"));
        tree.into_iter().map(|(path, content)| (path.display().to_string(), content)).collect()
    }

    fn rows(&self) -> BTreeMap<String, String> {
        let text = self.server.sql("SELECT name, content FROM items ORDER BY name");
        let pairs = text.lines().filter_map(|line| line.split_once(['|', '\t']));
        pairs.map(|(name, content)| (name.to_owned(), content.to_owned())).collect()
    }

    /// Backs up, and gives the snapshot with what was there.
    #[track_caller]
    fn snapshot(&self) -> (String, BTreeMap<String, String>) {
        let said = self.machine.run(&["--json", "backup", "shop"]).exits(0);
        (super::summary(&said)["snapshot_id"].as_str().unwrap().to_owned(), self.agreed())
    }

    /// Goes on after a snapshot: something new, something changed, something gone.
    fn later(&self) -> BTreeMap<String, String> {
        self.put("second", "changed");
        self.put("third", "3");
        self.drop("first");
        self.machine.note("later");
        self.machine.bench.file("files/cache/thumbnail", "new");
        self.machine.bench.file("files/new folder/file", "new");
        self.agreed()
    }

    fn roll_back(&self, snapshot: &str, more: &[&str]) -> Said {
        let mut arguments = ROLL_BACK;
        arguments[2] = snapshot;
        self.machine.run(&[&arguments[..], more].concat())
    }

    /// Everything that a rollback could change.
    fn everything(&self) -> (BTreeMap<PathBuf, String>, BTreeMap<String, String>, usize, String) {
        let unit = std::fs::read_to_string(self.state.join("units/shop.service")).unwrap();
        (tree(&self.machine.bench.path("files")), self.rows(), self.machine.snapshots().len(), unit)
    }

    fn runs(&self) -> bool {
        std::fs::read_to_string(self.state.join("units/shop.service")).unwrap().trim() == "active"
    }
}

fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    fn add(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                found.insert(path.strip_prefix(root).unwrap().join(""), String::new());
                add(root, &path, found);
            } else {
                let text = std::fs::read(&path).unwrap();
                found.insert(path.strip_prefix(root).unwrap().to_owned(), String::from_utf8_lossy(&text).into_owned());
            }
        }
    }
    let mut found = BTreeMap::new();
    add(folder, folder, &mut found);
    found
}

/// Back, and back again from there: what both servers must do alike.
fn goes_back_and_forth<S: Server>(app: &App<S>) {
    let (id, then) = app.snapshot();
    let now = app.later();
    assert_ne!(then, now);
    app.machine.called("");
    let said = app.roll_back(&id, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), then);
    let path = |name: &str| app.machine.bench.path("files").join(name);
    assert_eq!(std::fs::read_to_string(path("note")).unwrap(), "first");
    assert_eq!(std::fs::read_to_string(path("cache/thumbnail")).unwrap(), "new", "what is excluded is not touched");
    assert!(!path("new folder").exists(), "what the snapshot does not have is gone");
    let calls = app.machine.called("systemctl st");
    assert_eq!(calls, ["systemctl stop -- shop", "systemctl start -- shop"], "once, around all of it");
    let json = said.json();
    assert_eq!((&json["message_type"], &json["databases"].as_array().unwrap().len()), (&"rollback".into(), &1));
    // The way back from the rollback.
    let before = json["before_id"].as_str().unwrap().to_owned();
    let snapshots = app.machine.snapshots();
    let kept = snapshots.iter().find(|one| one["id"] == before.as_str()).unwrap();
    assert_eq!(kept["tags"], Value::from(vec!["before-rollback"]), "{kept}");
    app.roll_back(&before, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), now);
    assert_eq!(std::fs::read_to_string(path("new folder/file")).unwrap(), "new");
    assert!(
        app.runs()
            && !app
                .machine
                .bench
                .path("data/rollback")
                .read_dir()
                .unwrap()
                .flatten()
                .any(|file| { file.path().extension().is_some_and(|ending| ending == "json") })
    );
}

#[test]
fn with_postgresql_rows_and_files_go_back_together_and_forth_again() {
    goes_back_and_forth(&App::new(Postgres::start(), ""));
}

#[test]
fn with_mariadb_rows_and_files_go_back_together_and_forth_again() {
    goes_back_and_forth(&App::new(MariaDb::start(), ""));
}

#[test]
fn an_sqlite_database_goes_back_with_the_files_and_without_its_later_log() {
    let machine = Machine::new("");
    let path = machine.bench.path("files/app.db");
    let open = || rusqlite::Connection::open(&path).unwrap();
    let create = "PRAGMA journal_mode = WAL; CREATE TABLE items (name TEXT); INSERT INTO items VALUES ('first');";
    open().execute_batch(create).unwrap();
    machine.backs_up();
    // Left as by a service that was killed: its log holds a row, and stays.
    let writing = open();
    writing.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO items VALUES ('later');").unwrap();
    let names = ["app.db", "app.db-wal", "app.db-shm"].map(|name| machine.bench.path("files").join(name));
    let kept = names.each_ref().map(|path| std::fs::read(path).unwrap());
    drop(writing);
    for (path, bytes) in names.iter().zip(kept) {
        std::fs::write(path, bytes).unwrap();
    }
    machine.configure("exclude = [\"*.db-wal\", \"*.db-shm\"]");
    machine.run(&["restore", "shop", "--in-place", "--yes"]).exits(0);
    assert!(!names[1].exists(), "an old log would be played into the database, also one that is left out of backups");
    let connection = open();
    let all: String = connection.query_row("SELECT group_concat(name) FROM items", [], |row| row.get(0)).unwrap();
    assert_eq!(all, "first");
}

#[test]
fn a_server_that_is_down_is_said_before_anything_changes() {
    for stopping in [true, false] {
        let mut app = App::new(Postgres::start(), "");
        let (id, _) = app.snapshot();
        app.later();
        let (files, _, snapshots, unit) = app.everything();
        app.machine.called("");
        app.server.kill();
        let more: &[&str] = if stopping { &["--yes"] } else { &["--dry-run"] };
        app.roll_back(&id, more).exits(4).says("nothing was changed").says("cannot log in");
        assert_eq!(tree(&app.machine.bench.path("files")), files);
        assert_eq!(app.machine.snapshots().len(), snapshots);
        assert!(app.machine.called("systemctl st").is_empty(), "nothing was stopped");
        assert_eq!(std::fs::read_to_string(app.state.join("units/shop.service")).unwrap(), unit);
    }
}

#[test]
fn a_snapshot_without_a_whole_dump_is_refused() {
    let app = App::new(Postgres::start(), "");
    app.machine.hook(
        "postgres",
        "[ \"$1\" != dump ] || exit 9\n[ \"$1\" = probe ] || exit 75\necho '{\"stream\": \"shop.dump\"}' >&3",
    );
    let said = app.machine.run(&["--json", "backup", "shop"]).exits(4);
    let id = super::summary(&said)["snapshot_id"].as_str().unwrap().to_owned();
    std::fs::remove_file(app.machine.bench.path("hooks/postgres")).unwrap();
    app.later();
    let before = app.everything();
    app.roll_back(&id, &["--yes"]).exits(1).says("is incomplete").says("nothing was changed");
    assert_eq!(app.everything(), before);
}

#[test]
fn a_dry_run_says_each_step_and_changes_nothing() {
    let app = App::new(MariaDb::start(), "");
    let (id, _) = app.snapshot();
    app.later();
    let before = app.everything();
    let said = app.machine.run(&["restore", &id, "--in-place", "--dry-run"]).exits(0);
    for words in [
        "1. stop the units shop",
        "make a snapshot",
        "put back 3 files",
        "take away 2 files",
        "replace the database mariadb:///shop",
        "mariadb/shop.sql (2 rows)",
        "set going again",
    ] {
        assert!(said.stdout.contains(words), "`{words}` is not in: {}", said.text());
    }
    let json = app.roll_back(&id, &["-n"]).exits(0).json();
    assert_eq!((json["files_deleted"].as_u64(), json["files"].as_u64()), (Some(2), Some(3)), "{json}");
    assert_eq!(app.everything(), before);
}

#[test]
fn without_a_terminal_it_wants_yes_and_with_one_it_asks() {
    let app = App::new(Postgres::start(), "");
    let (id, then) = app.snapshot();
    app.later();
    let before = app.everything();
    app.roll_back(&id, &[]).exits(2).says("--yes");
    assert_eq!(app.everything(), before);
    let program = super::trees::program();
    let line = format!("{} restore {id} --in-place", Path::new(&program).display());
    let typed = |answer: &str| {
        let mut shell = app.machine.bk(&[]);
        let mut command = std::process::Command::new("script");
        for (name, value) in shell.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        shell = command;
        let folder = app.machine.bench.path("");
        shell.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir(folder);
        let mut child = shell.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, format!("{answer}\n").as_bytes()).unwrap();
        let said = super::quiesce::finished(child);
        drop(input);
        said
    };
    typed("yes").exits(2).says("Type `shop`").says("not confirmed");
    assert_eq!(app.everything(), before);
    typed("shop").exits(0);
    assert_eq!(app.agreed(), then);
}

#[test]
fn a_database_that_somebody_uses_is_refused_when_nothing_stops_the_service() {
    let app = App::new(Postgres::start(), "");
    let (id, then) = app.snapshot();
    app.later();
    let database = format!("[[profile.shop.database]]\n{}name = \"shop\"\n", app.server.settings());
    app.machine.configure(&database);
    let mut session = app.server.client("shop");
    let session = session.args(["-c", "SELECT pg_sleep(300)"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut session = session.spawn().unwrap();
    wait_for("a session", || {
        let count = Server::sql(
            &app.server,
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(300)'  AND pid <> pg_backend_pid()",
        );
        (count == "1").then_some(())
    });
    let before = app.everything();
    app.roll_back(&id, &["--yes"]).exits(4).says("is in use").says("nothing was changed");
    assert_eq!(app.everything(), before);
    // A server does not notice that a client is gone while it sleeps.
    app.server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'");
    session.wait().unwrap();
    app.roll_back(&id, &["--yes"]).exits(0);
    assert_eq!(app.files(), then);
    assert_eq!(app.rows(), then);
}

#[test]
fn without_a_whole_snapshot_of_the_present_state_it_is_refused_unless_told_so() {
    let app = App::new(Postgres::start(), "");
    let (id, then) = app.snapshot();
    app.later();
    let wanting =
        format!("[[profile.shop.database]]\n{}name = \"shop\"\ntables = [\"none\"]\n{QUIESCE}", app.server.settings());
    app.machine.configure(&wanting);
    let (files, rows, ..) = app.everything();
    app.roll_back(&id, &["--yes"]).exits(4).says("nothing was changed").says("--no-backup-first");
    let (files_now, rows_now, ..) = app.everything();
    assert_eq!((files, rows), (files_now, rows_now));
    assert!(app.runs(), "what was stopped goes on");
    let count = app.machine.snapshots().len();
    app.roll_back(&id, &["--yes", "--no-backup-first"]).exits(0);
    assert_eq!((app.agreed(), app.machine.snapshots().len()), (then, count));
}

#[test]
fn owners_and_settings_of_a_database_are_what_they_were() {
    let app = App::new(Postgres::start(), "");
    app.server.sql(
        "shop",
        "CREATE ROLE app LOGIN; ALTER TABLE items OWNER TO app; ALTER DATABASE shop OWNER TO app; \
        ALTER DATABASE shop SET search_path TO public, pg_catalog; ALTER DATABASE shop SET work_mem TO '8MB';",
    );
    let (id, then) = app.snapshot();
    app.later();
    app.roll_back(&id, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), then);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'items'";
    assert_eq!(Server::sql(&app.server, owner), "app");
    assert_eq!(
        Server::sql(&app.server, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'"),
        "app"
    );
    assert_eq!(Server::sql(&app.server, "SHOW search_path; SHOW work_mem"), "public, pg_catalog\n8MB");
    assert_eq!(Server::sql(&app.server, "SELECT count(*) FROM pg_database WHERE datname LIKE 'bk-new%'"), "0");
}

#[test]
fn a_dump_that_does_not_load_leaves_the_database_as_it_was_and_says_how_to_go_on() {
    let app = App::new(Postgres::start(), "");
    app.server.sql("shop", "CREATE ROLE app LOGIN; ALTER TABLE items OWNER TO app;");
    let (id, then) = app.snapshot();
    let now = app.later();
    app.server.sql("shop", "ALTER TABLE items OWNER TO postgres; DROP ROLE app;");
    let said = app.roll_back(&id, &["--yes"]).exits(4);
    let said =
        said.says("half done").says("postgres/shop.dump is not").says("complete it: `bk restore").says("or go back");
    assert_eq!((app.files(), app.rows()), (then.clone(), now.clone()), "{}", said.text());
    assert!(app.runs());
    // Back: what is half-way is worth no snapshot.
    let count = app.machine.snapshots().len();
    let snapshots = app.machine.snapshots();
    let before = snapshots.last().unwrap()["id"].as_str().unwrap();
    app.roll_back(before, &["--yes"]).exits(0).says("did not end");
    assert_eq!((app.agreed(), app.machine.snapshots().len()), (now, count));
    // Forth, once the cause is gone.
    app.server.sql("shop", "CREATE ROLE app LOGIN;");
    app.roll_back(&id, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), then);
}

#[test]
fn killed_between_files_and_database_it_is_completed_by_the_same_command() {
    let mut app = App::new(Postgres::start(), "");
    let (id, then) = app.snapshot();
    let now = app.later();
    let (stuck, reached) = (app.machine.bench.file("stuck", ""), app.machine.bench.path("reached"));
    let real = postgres_program("pg_restore");
    app.machine.program(
        "pg_restore",
        &format!(
            "case \"$*\" in *--exit-on-error*) if [ -e {} ]; then touch {}; sleep 300; fi ;; esac\nexec {} \"$@\"",
            stuck.display(),
            reached.display(),
            real.display()
        ),
    );
    let mark = format!("rollback-{}", std::process::id());
    let mut command = app.machine.bk(&["restore", "shop", "--in-place", "--yes"]);
    let mut child = command.env(MARK, &mark).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the database", || reached.exists().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    for (id, _) in processes(&format!("{MARK}={mark}")) {
        signal(id, Signal::KILL);
    }
    std::fs::remove_file(stuck).unwrap();
    assert_eq!((app.files(), app.rows()), (then.clone(), now.clone()), "between the two");
    assert!(!app.runs(), "nobody started it");
    let count = app.machine.snapshots().len();
    app.machine.called("");
    let said = app.roll_back("shop", &["--yes"]).exits(0).says("did not end");
    assert_eq!(said.json()["snapshot_id"].as_str(), Some(id.as_str()), "the same command means the same snapshot");
    assert_eq!((app.agreed(), app.machine.snapshots().len()), (then, count), "{}", said.text());
    let calls = app.machine.called("systemctl start");
    assert_eq!(calls, ["systemctl start -- shop"], "started once, at the end");
    assert!(app.runs());
    // The way back leads to before both.
    let before = said.json()["before_id"].as_str().unwrap().to_owned();
    app.roll_back(&before, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), now);
}

#[test]
fn what_no_running_server_takes_and_what_is_elsewhere_by_now_is_refused() {
    let app = App::new(Postgres::start(), "");
    let (id, _) = app.snapshot();
    app.later();
    let before = app.everything();
    let database = app.server.settings().replace("user", "port = 5433\nuser");
    app.machine.configure(&format!("[[profile.shop.database]]\n{database}name = \"shop\"\n"));
    app.roll_back(&id, &["--yes"]).exits(1).says("but the profile names").says("port=5433");
    assert_eq!(app.everything(), before);
    // Neither is a dump of a hook that cannot load.
    app.machine.dumper("");
    app.machine.configure(super::quiesce::DUMPED);
    let (said, count) = (app.machine.run(&["--json", "backup", "shop"]).exits(0), app.machine.snapshots().len());
    let id = super::summary(&said)["snapshot_id"].as_str().unwrap().to_owned();
    app.roll_back(&id, &["--yes"]).exits(1).says("own/own.txt").says("--files-only");
    assert_eq!(app.machine.snapshots().len(), count);
    // Files alone go back, and no dump lands anywhere.
    app.machine.run(&["restore", &id, "--in-place", "--files-only"]).exits(0);
    assert!(!Path::new("/.bk/dumps").exists());
}

#[test]
fn what_no_backup_holds_is_not_taken_away() {
    let machine = Machine::new("exclude = [\"then/**\"]");
    machine.bench.file("files/then/x", "then");
    machine.backs_up();
    machine.configure(
        "exclude = [\"now/**\", \"**/*.tmp\"]\nexclude-larger-than = \"1KiB\"\nexclude-caches = true\nexclude-if-present = [\".nobackup\"]\n",
    );
    let stays =
        ["now/x", "then/x", "deep/er/x.tmp", "large", "cache/x", "marked/x", "marked/.nobackup", "cache/CACHEDIR.TAG"];
    for name in stays {
        let content = match name {
            "large" => "x".repeat(2000),
            "cache/CACHEDIR.TAG" => "Signature: 8a477f597d28d172789f06886806bc55".to_owned(),
            _ => "now".to_owned(),
        };
        machine.bench.file(&format!("files/{name}"), content);
    }
    let goes = ["deep/er/y", "deep/other/y", "plain"];
    for name in goes {
        machine.bench.file(&format!("files/{name}"), "now");
    }
    machine.note("later");
    machine.run(&["restore", "shop", "--in-place", "--yes"]).exits(0).says("3 files taken away");
    let found = tree(&machine.bench.path("files"));
    for name in stays {
        assert!(found.contains_key(Path::new(name)), "{name} is gone");
    }
    for name in goes {
        assert!(!found.contains_key(Path::new(name)), "{name} is still there");
    }
    assert!(!found.keys().any(|path| path.starts_with("deep/other")), "nor its folder");
    assert_eq!(found[Path::new("note")], "first");
}

#[test]
fn paths_of_the_command_line_go_back_too_and_never_the_repository_among_them() {
    let machine = Machine::new("");
    let files = machine.bench.path("files");
    let bk = |arguments: &[&str]| Said::by(machine.bk(arguments).env("BK_DATA_DIR", files.join("own")));
    bk(&["backup", files.to_str().unwrap()]).exits(0);
    machine.note("later");
    machine.bench.file("files/new", "new");
    let said = bk(&["restore", "latest", "--in-place", "--yes"]).exits(0);
    assert_eq!(std::fs::read_to_string(files.join("note")).unwrap(), "first");
    assert!(!files.join("new").exists() && files.join("own/repository").exists(), "{}", said.text());
    assert_eq!(bk(&["--json", "snapshots"]).exits(0).json().as_array().unwrap().len(), 2);
    bk(&["check", "--read-data"]).exits(0);
    // A part of it is no whole service.
    let note = files.join("note");
    bk(&["restore", "latest", "--in-place", "--yes", note.to_str().unwrap()]).exits(2).says("--files-only");
}

#[test]
fn a_snapshot_of_another_machine_is_refused() {
    let machine = Machine::new("");
    let script = format!("{} backup shop", Path::new(&super::trees::program()).display());
    let mut other = machine.bk(&[]);
    let mut command = std::process::Command::new("unshare");
    for (name, value) in other.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    other = command;
    let output = other.args(["--uts", "sh", "-c", &format!("hostname elsewhere && {script}")]).output();
    if !output.is_ok_and(|output| output.status.success()) {
        return super::trees::skipped("a snapshot of another machine", "a name of its own cannot be given here");
    }
    machine.note("later");
    machine
        .run(&["restore", "shop", "--in-place", "--yes"])
        .exits(1)
        .says("machine elsewhere")
        .says("--host elsewhere");
    assert_eq!(std::fs::read_to_string(machine.bench.path("files/note")).unwrap(), "later");
    machine.run(&["restore", "shop", "--in-place", "--yes", "--host", "elsewhere"]).exits(0);
    assert_eq!(std::fs::read_to_string(machine.bench.path("files/note")).unwrap(), "first");
}

#[test]
fn a_file_system_that_is_mounted_below_is_only_touched_where_the_snapshot_knows_it() {
    let machine = Machine::new("");
    let places = ["known", "unknown", "new"].map(|name| machine.bench.folder(&format!("files/{name}")));
    std::fs::remove_dir(&places[2]).unwrap();
    let mount = |place: &Path| {
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "none"]).arg(place).status().is_ok_and(|status| status.success())
    };
    if !mount(&places[0]) {
        return super::trees::skipped("a mounted file system", "nothing can be mounted here");
    }
    let _away = Unmounted(places.clone());
    machine.bench.file("files/known/old", "old");
    machine.backs_up();
    std::fs::create_dir(&places[2]).unwrap();
    assert!(mount(&places[1]) && mount(&places[2]));
    for name in ["known/later", "unknown/later", "new/later"] {
        machine.bench.file(&format!("files/{name}"), "later");
    }
    machine.run(&["restore", "shop", "--in-place", "--yes"]).exits(0).says("1 file taken away");
    let there = |name: &str| machine.bench.path("files").join(name).exists();
    assert!(there("known/old") && !there("known/later"));
    assert!(there("unknown/later") && there("new/later"), "nobody knows whether a backup would have seen it");
}

/// Lets go of what a test has mounted.
struct Unmounted([PathBuf; 3]);

impl Drop for Unmounted {
    fn drop(&mut self) {
        for place in &self.0 {
            let _ = std::process::Command::new("umount").arg(place).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn a_service_that_went_on_after_a_rollback_that_did_not_end_is_kept_again() {
    let app = App::new(Postgres::start(), "");
    app.server.sql("shop", "CREATE ROLE app LOGIN; ALTER TABLE items OWNER TO app;");
    let (id, _) = app.snapshot();
    app.later();
    app.server.sql("shop", "ALTER TABLE items OWNER TO postgres; DROP ROLE app;");
    app.roll_back(&id, &["--yes"]).exits(4).says("half done");
    // Somebody brought it in order by hand, and its backups went on.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for name in app.files().keys() {
        app.put(name, "by hand");
    }
    app.server.sql("shop", "DELETE FROM items WHERE content <> 'by hand'; CREATE ROLE app LOGIN;");
    let (_, now) = app.snapshot();
    let count = app.machine.snapshots().len();
    let said = app.roll_back(&id, &["--yes"]).exits(0);
    assert_eq!(app.machine.snapshots().len(), count + 1, "{}", said.text());
    let before = said.json()["before_id"].as_str().unwrap().to_owned();
    app.roll_back(&before, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), now);
}

/// The database is gone, as after a rollback that was killed in the middle of MariaDB.
fn makes_what_is_gone<S: Server>(app: &App<S>, elsewhere: impl Fn(&str)) {
    let (id, then) = app.snapshot();
    app.later();
    elsewhere("DROP DATABASE shop");
    app.roll_back(&id, &["--yes"]).exits(4).says("nothing was changed");
    let said = app.machine.run(&["restore", &id, "--in-place", "--dry-run"]).exits(0);
    said.says("make the database");
    app.roll_back(&id, &["--yes", "--no-backup-first"]).exits(0);
    assert_eq!(app.agreed(), then);
}

#[test]
fn a_database_that_is_gone_is_made() {
    let app = App::new(Postgres::start(), "");
    makes_what_is_gone(&app, |statement| drop(app.server.sql("postgres", statement)));
    let app = App::new(MariaDb::start(), "");
    makes_what_is_gone(&app, |statement| drop(app.server.sql("mysql", statement)));
}

#[test]
fn a_role_that_may_not_make_databases_is_refused_before_anything_changes() {
    let app = App::new(Postgres::start(), "");
    let role = "CREATE ROLE app LOGIN; ALTER TABLE items OWNER TO app; ALTER DATABASE shop OWNER TO app;";
    app.server.sql("shop", role);
    let settings = app.server.settings().replace("user = \"postgres\"", "user = \"app\"");
    app.machine.configure(&format!("[[profile.shop.database]]\n{settings}name = \"shop\"\n{QUIESCE}"));
    let (id, then) = app.snapshot();
    app.later();
    let before = app.everything();
    app.roll_back(&id, &["--yes"]).exits(4).says("may not make databases").says("CREATEDB");
    assert_eq!(app.everything(), before);
    app.server.sql("shop", "ALTER ROLE app CREATEDB");
    app.roll_back(&id, &["--yes"]).exits(0);
    assert_eq!(app.agreed(), then);
    assert_eq!(Server::sql(&app.server, "SELECT tableowner FROM pg_tables WHERE tablename = 'items'"), "app");
}
