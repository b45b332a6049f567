//! A machine with several repositories and one profile, and the real program.

#![allow(dead_code, reason = "each test uses a part of it")]

#[path = "s3_server.rs"]
pub mod s3_server;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use s3_server::{KEY_ID, S3Server, SECRET};
use serde_json::Value;

/// A source, and a configuration with the repositories `ssd`, `usb` and, where wanted, `far` in a bucket.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub server: Option<S3Server>,
}

pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Bench {
    pub fn new(with_bucket: bool) -> Self {
        Self::of_files(with_bucket, 300_000)
    }

    /// With 20 files of so many bytes.
    pub fn of_files(with_bucket: bool, length: usize) -> Self {
        // In memory where that is possible: everything is synced.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let bench = Self { folder, server: with_bucket.then(S3Server::start) };
        std::fs::create_dir_all(bench.path("source/sub")).unwrap();
        for number in 0..20 {
            std::fs::write(bench.path(&format!("source/sub/{number}")), bytes(number, length)).unwrap();
        }
        std::fs::write(bench.path("source/text"), b"line\n".repeat(9000)).unwrap();
        let credentials = format!("AWS_ACCESS_KEY_ID={KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET}\n");
        std::fs::write(bench.path("credentials"), credentials).unwrap();
        bench.configure("");
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn server(&self) -> &S3Server {
        self.server.as_ref().unwrap()
    }

    /// Keys of the repository in the bucket, where there is one, and then whole sections.
    pub fn configure(&self, more: &str) {
        let mut text = "[family]\nkey-file = \"HERE/key\"\n[repository.ssd]\nlocation = \"HERE/ssd\"\n\
            [repository.usb]\nlocation = \"HERE/usb\"\n[profile.wiki]\nroot = \"HERE/source\"\n"
            .to_owned();
        if let Some(server) = &self.server {
            text += &format!(
                "[repository.far]\nlocation = \"s3://backups/host1\"\nendpoint = \"{}\"\n\
                 credentials-file = \"HERE/credentials\"\n",
                server.endpoint()
            );
        }
        text += more;
        std::fs::write(self.path("bk.toml"), text.replace("HERE", self.folder.path().to_str().unwrap())).unwrap();
    }

    pub fn bk(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.folder.path());
        command.env("BK_CONFIG", self.path("bk.toml")).env("BK_DATA_DIR", self.path("data"));
        command.env("BK_HOOKS_DIR", self.path("hooks"));
        command.stdin(Stdio::null()).current_dir(self.folder.path()).args(arguments);
        command
    }

    /// Runs, expects an exit code; gives what was said.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.bk(arguments).output().unwrap();
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{said}");
        assert!(!said.contains("canary"), "a secret in {said}");
        said
    }

    pub fn json(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let said = self.expect(code, &[&["--json"], arguments].concat());
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The ids in a repository, oldest first.
    pub fn ids(&self, repository: &str) -> Vec<String> {
        let lists = self.json(0, &["--repo", repository, "snapshots"]);
        let list = lists.into_iter().find(|value| value["snapshots"].is_array() || value.is_array()).unwrap();
        let all = list.as_array().or_else(|| list["snapshots"].as_array()).unwrap().clone();
        all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The bytes that packs take in a repository of a folder.
    pub fn packed(&self, repository: &str) -> u64 {
        files(&self.path(repository).join("packs")).values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Every one of these has the newest snapshot, which is the source, and all of it can be read.
    pub fn is_whole(&self, repositories: &[&str]) {
        for repository in repositories {
            self.restores(repository);
            self.expect(0, &["--repo", repository, "check", "--read-data"]);
        }
    }

    /// What the repositories are and what this machine knows of them, to go back to. The source stays as it is: a file
    /// that is copied has changed.
    pub fn aside(&self) -> tempfile::TempDir {
        let aside = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        self.places().iter().for_each(|(name, place)| copy(place, &aside.path().join(name)));
        aside
    }

    /// All of it as it was then.
    pub fn go_back(&self, aside: &tempfile::TempDir) {
        self.places().iter().for_each(|(name, place)| copy(&aside.path().join(name), place));
    }

    fn places(&self) -> Vec<(&'static str, PathBuf)> {
        let mut places: Vec<_> = ["ssd", "usb", "data"].map(|name| (name, self.path(name))).into();
        places.extend(self.server.as_ref().map(|server| ("far", server.object(""))));
        places
    }

    /// Starts with `--json`; what it says can be waited for.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.bk(&[&["--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = serde_json::from_str(&line).map(|line| tell.send(line));
            }
        });
        Running { child, lines }
    }

    /// Restores the newest snapshot of a repository and compares it with the source, byte by byte.
    pub fn restores(&self, repository: &str) {
        let to = self.path(&format!("restored-{repository}"));
        let _ = std::fs::remove_dir_all(&to);
        self.expect(0, &["--repo", repository, "restore", "wiki", "--to", to.to_str().unwrap()]);
        let copy = to.join("wiki").join(self.path("source").strip_prefix("/").unwrap());
        assert_eq!(files(&copy), files(&self.path("source")), "{repository}");
    }
}

/// Makes the contents of one folder those of another.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(to).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    assert!(Command::new("cp").arg("-a").args([&from.join("."), to]).status().unwrap().success());
}

/// A program that goes on.
pub struct Running {
    child: Child,
    lines: Receiver<Value>,
}

impl Running {
    /// The next line of this type.
    #[track_caller]
    pub fn says(&self, message_type: &str) -> Value {
        let begin = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line `{message_type}` came"));
            if line["message_type"] == message_type {
                return line;
            }
        }
    }

    pub fn is_silent(&self) -> bool {
        self.lines.try_iter().all(|line| line["message_type"] == "status")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, or nothing when it still runs.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().unwrap().map(|status| status.code())
    }

    /// Its exit code, soon.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        wait_for("its end", || self.ended())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `there` gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(&here).unwrap_or_else(|error| panic!("{}: {error}", here.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    all
}
