//! The machine: what is backed up, two repositories, somebody who hears of it, and the program at a time of the test.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

#[path = "../support/s3_server.rs"]
pub mod s3_server;

use s3_server::{KEY_ID, S3Server, SECRET};

/// Relative path, hash and length of every file.
pub type Tree = BTreeMap<PathBuf, (blake3::Hash, u64)>;

/// Files of `wiki`.
const PAGES: u64 = 30;

/// What a process said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub all: String,
}

impl Said {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all);
        self
    }

    /// The line of JSON that has this type.
    #[track_caller]
    pub fn json(&self, message_type: &str) -> Value {
        let mut lines = self.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .find(|line| line["message_type"] == message_type)
            .unwrap_or_else(|| panic!("no line of {message_type}: {}", self.all))
    }

    /// The list of JSON that it printed.
    #[track_caller]
    pub fn list(&self) -> Vec<Value> {
        let mut lines = self.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let list = lines.find_map(|line| line.as_array().cloned());
        list.unwrap_or_else(|| panic!("no list: {}", self.all))
    }
}

pub struct Machine {
    folder: tempfile::TempDir,
    pub server: S3Server,
    pings: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let pings = Arc::default();
        let machine = Self { folder, server: S3Server::start(), pings };
        for name in ["wiki", "shop", "textfile", "home"] {
            std::fs::create_dir(machine.path(name)).unwrap();
        }
        let credentials = format!("AWS_ACCESS_KEY_ID={KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET}\n");
        std::fs::write(machine.path("credentials"), credentials).unwrap();
        machine.script("tell", "cat >>HERE/told");
        machine.script("ready", "[ ! -e HERE/refused ]");
        machine.script("dump", "[ ! -e HERE/dump-fails ] && cat HERE/orders.sql");
        machine.configure();
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn here(&self, text: &str) -> String {
        text.replace("HERE", self.folder.path().to_str().unwrap())
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, self.here(&format!("#!/bin/sh\n{text}\n"))).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn configure(&self) {
        let text = r#"
            [family]
            key-file = "HERE/key"
            [repository.ssd]
            location = "HERE/ssd"
            [repository.b2]
            location = "s3://backups/host1"
            endpoint = "ENDPOINT"
            credentials-file = "HERE/credentials"
            retry-for = "1s"
            [defaults]
            to = ["ssd", "b2"]
            max-age = "26h"
            [schedule]
            run = "30 2 * * *"
            check = "0 5 * * 0"
            nice = 0
            io = "normal"
            [metrics]
            textfile = "HERE/textfile/bk.prom"
            [profile.wiki]
            root = "HERE/wiki"
            [profile.shop]
            root = "HERE/shop"
            [[profile.shop.before]]
            run = ["HERE/ready"]
            [[profile.shop.hook]]
            run = "command"
            settings = { name = "orders.sql", command = ["HERE/dump"] }
            [notify.phone]
            kind = "program"
            command = ["HERE/tell"]
            on = ["failed", "damage", "incomplete", "anomaly", "overdue", "behind", "recovered", "complete", "digest"]
            digest = "0 8 * * 1"
            [notify.watch]
            kind = "ping"
            url = "PINGED/watch"
        "#;
        let text = text.replace("ENDPOINT", self.server.endpoint()).replace("PINGED", &listen(&self.pings));
        std::fs::write(self.path("bk.toml"), self.here(&text)).unwrap();
    }

    /// The program at a time, in seconds since 1970; also the servers take that for now.
    pub fn bk(&self, at: i64, arguments: &[&str]) -> Said {
        self.server.take_at(u64::try_from(at).unwrap());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "as_bk", "--nocapture", "--test-threads=1"]).env_clear();
        command.env("BK_AT", at.to_string()).env("BK_ARGUMENTS", serde_json::to_string(arguments).unwrap());
        command.env("TZ", "Europe/Berlin").env("PATH", "/usr/bin:/bin").env("HOME", self.path("home"));
        command.env("BK_CONFIG", self.path("bk.toml")).env("BK_DATA_DIR", self.path("data"));
        command.env("BK_CACHE_DIR", self.path("cache")).env("BK_HOOKS_DIR", self.path("hooks"));
        let output = command.stdin(Stdio::null()).current_dir(self.folder.path()).output().unwrap();
        let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        // What comes before is of the test's harness.
        let out = out.split_once("test as_bk ... ").map_or(out.clone(), |(_, out)| out.to_owned());
        let all = format!("bk {arguments:?} at {at} ended with {}\n{out}{error}", output.status);
        Said { code: output.status.code().unwrap(), out, all }
    }

    /// The notices since the last call, oldest first.
    pub fn told(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("told")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("told"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The pings since the last call: what is behind the name of the check.
    pub fn pinged(&self) -> Vec<String> {
        std::mem::take(&mut self.pings.lock().unwrap())
    }

    /// Makes a file that a script looks for, or takes it away.
    pub fn set(&self, name: &str, is_there: bool) {
        match is_there {
            true => std::fs::write(self.path(name), "").unwrap(),
            false => drop(std::fs::remove_file(self.path(name))),
        }
    }

    /// What happens to the data on the day before a night. Gives both trees as they are then.
    pub fn work(&self, night: u64, until: i64, all_at_once: bool) -> BTreeMap<&'static str, Tree> {
        let write = |path: PathBuf, bytes: Vec<u8>| {
            std::fs::write(&path, bytes).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(until.unsigned_abs() - 3600)).unwrap();
        };
        let pages: Vec<u64> = match (night, all_at_once) {
            (1, _) => (0..PAGES).collect(),
            (_, true) => (0..PAGES * 9 / 10).collect(),
            _ => (0..2 + night % 3).map(|page| (night * 7 + page * 11) % PAGES).collect(),
        };
        for page in pages {
            write(self.path(&format!("wiki/{page}.md")), noise(night * 1000 + page, 12_000 + page as usize * 100));
        }
        for file in 0..3 {
            if night % 3 == file || night == 1 {
                write(self.path(&format!("shop/{file}.dat")), noise(night * 1000 + 500 + file, 4000));
            }
        }
        std::fs::write(self.path("orders.sql"), orders(night)).unwrap();
        ["wiki", "shop"].map(|profile| (profile, tree(&self.path(profile)))).into()
    }

    /// Bytes of the packs in a repository.
    pub fn packed(&self, repository: &str) -> u64 {
        let folder = match repository {
            "ssd" => self.path("ssd/packs"),
            _ => self.server.object("host1/packs"),
        };
        files(&folder).iter().map(|path| path.metadata().unwrap().len()).sum()
    }
}

/// What the dump of the shop is on a night.
pub fn orders(night: u64) -> Vec<u8> {
    (0..200).flat_map(|order| format!("INSERT INTO orders VALUES ({order}, {night});\n").into_bytes()).collect()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Every file below a folder.
pub fn tree(folder: &Path) -> Tree {
    let hashed = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path.strip_prefix(folder).unwrap().to_owned(), (blake3::hash(&bytes), bytes.len() as u64))
    };
    files(folder).into_iter().map(hashed).collect()
}

/// A check that counts; gives its URL. It ends with the test.
fn listen(pings: &Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let pings = Arc::clone(pings);
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let _ = answer(socket, &pings);
        }
    });
    format!("http://{address}")
}

fn answer(socket: TcpStream, pings: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    pings.lock().unwrap().push(path.trim_start_matches("/watch").to_owned());
    (&socket).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
}
