//! Throw-away servers: each with its data in a folder of its own, reached by a socket there, and gone with its value,
//! also when a test fails. What Debian's packages may have started is never used.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::text;
use super::trees::is_root;

/// How long a server may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A system user; whoever runs the tests when that is not root.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    fn of(name: &str) -> Self {
        if !is_root() {
            return Self { ids: None };
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.split(':').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("there is no user {name}; `tests/run` installs what the tests need"));
        let number = |at| line.split(':').nth(at).and_then(|text| text.parse().ok()).unwrap();
        Self { ids: Some((number(2), number(3))) }
    }

    /// A program as this user, killed when the thread that started it ends in any way.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some((user, group)) = self.ids {
            command.args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--init-groups"]);
        }
        command.arg("--").arg(program).stdin(Stdio::null()).current_dir("/");
        command
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.ids {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    fn folder(&self, path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        self.own(path);
    }
}

/// A server that runs, with its folder.
struct Running {
    child: Child,
    /// Asks it to end at once.
    last_word: rustix::process::Signal,
    folder: tempfile::TempDir,
}

impl Running {
    fn start(mut command: Command, folder: tempfile::TempDir, mut answers: impl FnMut() -> bool) -> Self {
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut running = Self { child, last_word: rustix::process::Signal::KILL, folder };
        let start = Instant::now();
        while !answers() {
            let ended = running.child.try_wait().unwrap();
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "the server ended: {}", said());
            assert!(start.elapsed() < START_LIMIT, "the server does not answer: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        super::signal(self.child.id() as i32, self.last_word);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        // A PostgreSQL that was killed leaves shared memory behind, which outlives its folder.
        let state = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(id) = state.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let _ = Command::new("ipcrm").args(["-m", id]).output();
        }
    }
}

/// All users may pass through, and the path is short: that of a socket has 107 bytes at most.
fn new_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("bk-s-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// A copy of what `make` made in an empty folder; it is made once and kept for the next run of the tests.
fn copy_of_new(what: &str, account: Account, target: &Path, make: impl FnOnce(&Path)) {
    static MAKING: Mutex<()> = Mutex::new(());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}-{}", std::process::id()));
    let guard = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let kept = match newest(what) {
        Some(known) => known,
        None => {
            let folder = new_folder();
            let data = folder.path().join("data");
            account.folder(&data);
            make(&data);
            done(Command::new("cp").arg("-a").arg(&data).arg(kept.with_extension("new")));
            std::fs::rename(kept.with_extension("new"), &kept).unwrap();
            kept
        }
    };
    drop(guard);
    done(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&kept).arg(target));
}

fn newest(what: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(env!("CARGO_TARGET_TMPDIR")).ok()?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_none())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{what}-"))))
        .collect();
    found.sort();
    found.pop()
}

/// Runs a command to its end and gives what it printed.
#[track_caller]
pub fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program with `input`, and gives what it printed.
#[track_caller]
fn fed(mut command: Command, input: &str) -> String {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
}

/// A PostgreSQL with the superuser `postgres` by its socket, without a password; the role `keeper`, when it is made,
/// needs one. The database `vault` lets `postgres` in only as the system user of that name.
pub struct Postgres {
    running: Running,
    pub account: Account,
}

impl Postgres {
    pub fn start() -> Self {
        let account = Account::of("postgres");
        let folder = new_folder();
        let data = folder.path().join("data");
        let user = if account.ids.is_some() { "postgres" } else { "self" };
        copy_of_new(&format!("postgres-{user}"), account, &data, |data| {
            let mut command = account.command(postgres_program("initdb"));
            command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
            done(command.args(["--wal-segsize=1", "--pgdata"]).arg(data));
            let rules = "local vault postgres peer\nlocal all keeper scram-sha-256\nlocal all all trust\n";
            std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        });
        let socket = folder.path().join("run");
        account.folder(&socket);
        let mut command = account.command(postgres_program("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&socket);
        for option in ["listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_connections=30"] {
            command.args(["-c", option]);
        }
        let answers = || {
            let mut ready = Command::new(postgres_program("psql"));
            ready.args(["-X", "-q", "-U", "postgres", "-c", "", "-h"]).arg(&socket).arg("postgres");
            ready.output().unwrap().status.success()
        };
        let mut running = Running::start(command, folder, answers);
        running.last_word = rustix::process::Signal::QUIT;
        Self { running, account }
    }

    /// The folder of the socket.
    pub fn socket(&self) -> String {
        self.running.folder.path().join("run").display().to_string()
    }

    /// `psql`, which stops at the first error.
    pub fn client(&self, database: &str) -> Command {
        let mut command = Command::new(postgres_program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &self.socket()]);
        command.env("PGDATABASE", database).stdin(Stdio::null());
        command
    }

    /// Runs statements and gives what they print.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        fed(self.client(database), statements)
    }

    /// The same in more than one piece, one after the other.
    #[track_caller]
    pub fn make(&self, database: &str, statements: &str) {
        self.sql("postgres", &format!("CREATE DATABASE \"{}\";", database.replace('"', "\"\"")));
        self.sql(database, statements);
    }

    /// What `--to` takes.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?user=postgres&socket={}", self.socket())
    }

    /// The lines of `[[profile.X.database]]` that reach it.
    pub fn settings(&self) -> String {
        format!("engine = \"postgres\"\nuser = \"postgres\"\nsocket = \"{}\"\n", self.socket())
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }
}

/// The programs of the newest server that is installed; not Debian's wrappers, which may lead elsewhere.
pub fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.exists());
    let version = |path: &PathBuf| path.iter().nth(4).and_then(|name| name.to_str()?.parse::<u32>().ok());
    found.max_by_key(version).unwrap_or_else(|| PathBuf::from(name))
}

/// A MariaDB with the account `root` by its socket, without a password.
pub struct MariaDb {
    running: Running,
}

impl MariaDb {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(options: &[&str]) -> Self {
        let account = Account::of("mysql");
        let folder = new_folder();
        let data = folder.path().join("data");
        let user = if account.ids.is_some() { "mysql" } else { "self" };
        let small = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M"];
        copy_of_new(&format!("mariadb-{user}"), account, &data, |data| {
            let mut command = account.command("mariadb-install-db");
            command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]).args(small);
            done(command.arg(format!("--datadir={}", data.display())).env("PATH", server_path()));
        });
        let socket = folder.path().join("run/sql");
        account.folder(&folder.path().join("run"));
        let mut command = account.command("mariadbd");
        command.arg("--no-defaults").args(small).args(["--skip-networking", "--innodb-flush-log-at-trx-commit=0"]);
        command.args(["--character-set-server=utf8mb4", "--max-allowed-packet=64M"]).args(options);
        for (option, path) in [("datadir", &data), ("socket", &socket), ("tmpdir", &folder.path().join("run"))] {
            command.arg(format!("--{option}={}", path.display()));
        }
        command.arg(format!("--pid-file={}", folder.path().join("run/pid").display())).env("PATH", server_path());
        let answers = || {
            let mut ready = Command::new("mariadb-admin");
            ready.args(["--no-defaults", "--user=root", "ping"]).arg(format!("--socket={}", socket.display()));
            ready.output().unwrap().status.success()
        };
        Self { running: Running::start(command, folder, answers) }
    }

    /// The path of the socket.
    pub fn socket(&self) -> String {
        self.running.folder.path().join("run/sql").display().to_string()
    }

    pub fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4", "--batch", "--raw"]);
        command.args(["--skip-column-names", &format!("--socket={}", self.socket()), "--", database]);
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        fed(self.client(database), statements)
    }

    #[track_caller]
    pub fn make(&self, database: &str, statements: &str) {
        self.sql("mysql", &format!("CREATE DATABASE `{}`;", database.replace('`', "``")));
        self.sql(database, statements);
    }

    pub fn url(&self, database: &str) -> String {
        format!("mariadb:///{database}?user=root&socket={}", self.socket())
    }

    pub fn settings(&self) -> String {
        format!("engine = \"mariadb\"\nuser = \"root\"\nsocket = \"{}\"\n", self.socket())
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }
}

fn server_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}

/// A Redis that keeps nothing on disk by itself; with a dump to start from when there is one.
pub struct Redis {
    running: Running,
}

impl Redis {
    pub fn start(options: &[&str]) -> Self {
        Self::start_with(None, options)
    }

    /// Starts with a `dump.rdb`.
    pub fn start_with(dump: Option<&Path>, options: &[&str]) -> Self {
        let account = Account::of("redis");
        let folder = new_folder();
        let data = folder.path().join("data");
        account.folder(&data);
        if let Some(dump) = dump {
            std::fs::copy(dump, data.join("dump.rdb")).unwrap();
            account.own(&data.join("dump.rdb"));
        }
        let socket = data.join("redis");
        let mut command = account.command("redis-server");
        command.args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocketperm", "777"]);
        command.args(["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]).args(options);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(&data);
        let answers = || {
            let mut ping = Command::new("redis-cli");
            let output = ping.arg("-s").arg(&socket).arg("PING").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            said.contains("PONG") || said.contains("NOAUTH")
        };
        Self { running: Running::start(command, folder, answers) }
    }

    pub fn socket(&self) -> String {
        self.running.folder.path().join("data/redis").display().to_string()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.running.folder.path().join("data")
    }

    pub fn client(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-s", &self.socket()]).stdin(Stdio::null());
        command
    }

    /// Runs commands, one a line, and gives the answers.
    #[track_caller]
    pub fn run(&self, commands: &str) -> String {
        fed(self.client(), commands)
    }

    pub fn settings(&self) -> String {
        format!("engine = \"redis\"\nsocket = \"{}\"\n", self.socket())
    }

    pub fn kill(&mut self) {
        self.running.kill();
    }
}

/// A Prometheus that watches itself ten times a second; one that starts from a data folder watches nothing.
pub struct Prometheus {
    running: Running,
    port: u16,
}

impl Prometheus {
    /// Starts with a copy of the data folder `copy`; `admin` lets it make snapshots.
    pub fn start(copy: Option<&Path>, admin: bool) -> Self {
        let account = Account::of("prometheus");
        let folder = new_folder();
        let data = folder.path().join("data");
        if let Some(copy) = copy {
            done(Command::new("cp").arg("-r").arg(copy).arg(&data));
            if let Some((user, group)) = account.ids {
                done(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(&data));
            }
        }
        account.folder(&data);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let watched = if copy.is_some() { String::new() } else { format!("\"127.0.0.1:{port}\"") };
        let config = folder.path().join("prometheus.yml");
        let job = "scrape_configs:\n- job_name: self\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n";
        std::fs::write(&config, format!("{job}  static_configs:\n  - targets: [{watched}]\n")).unwrap();
        let mut command = account.command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()));
        command.args([&format!("--web.listen-address=127.0.0.1:{port}"), "--storage.tsdb.retention.time=10y"]);
        command.args(admin.then_some("--web.enable-admin-api"));
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        let answers = || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--fail", "--output", "/dev/null", &ready]).output().unwrap().status.success()
        };
        Self { running: Running::start(command, folder, answers), port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.running.folder.path().join("data")
    }

    /// The answer to a query of its API.
    #[track_caller]
    pub fn ask(&self, query: &str) -> String {
        let url = format!("{}/api/v1/{query}", self.url());
        done(Command::new("curl").args(["--silent", "--globoff", "--show-error", "--", &url]))
    }
}

#[test]
fn a_server_is_gone_with_its_folder_also_when_the_test_panics() {
    let started = std::thread::spawn(|| {
        let server = Redis::start(&[]);
        std::panic::resume_unwind(Box::new((server.running.child.id(), server.data())));
    });
    let lost = started.join().unwrap_err().downcast::<(u32, PathBuf)>().unwrap();
    assert!(!Path::new(&format!("/proc/{}", lost.0)).exists() && !lost.1.exists());
}
