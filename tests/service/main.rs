//! Services with real servers underneath: backed up while they are written to, restored, compared row by row; and
//! every way in which a dump can fail, none of which may look like a good backup (R7).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/trees.rs"]
mod trees;

mod applications;
mod btrfs;
mod containers;
mod drill;
mod drill_hooks;
mod drill_places;
mod drill_questions;
mod failures;
mod libvirt;
mod mariadb;
mod postgres;
mod prometheus;
mod quiesce;
mod redis;
mod rollback;
mod servers;
mod shapes;
mod snapshots;
mod sqlite;
mod tour;
mod units;
mod writer;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use trees::{Bench, Said};

/// A machine with one profile, `shop`, that has some files and what a test adds.
struct Machine {
    bench: Bench,
    /// Folders in front of PATH.
    path: Vec<PathBuf>,
}

impl Machine {
    /// The profile `shop`: the folder `files` with a file `note`, and `more` lines.
    fn new(more: &str) -> Self {
        let machine = Self { bench: Bench::new(), path: Vec::new() };
        machine.note("first");
        machine.configure(more);
        machine
    }

    fn configure(&self, more: &str) {
        let files = self.bench.path("files");
        self.bench.file("bk.toml", format!("[profile.shop]\npaths = [\"{}\"]\n{more}", files.display()));
    }

    fn note(&self, text: &str) {
        self.bench.file("files/note", text);
    }

    /// A password in a file of its own; gives the path.
    fn password(&self, text: &str) -> String {
        self.bench.file("password", format!("{text}\n")).display().to_string()
    }

    fn bk(&self, arguments: &[&str]) -> Command {
        let mut command = self.bench.bk();
        let rest = std::env::var_os("PATH").unwrap();
        let all = self.path.iter().cloned().chain(std::env::split_paths(&rest));
        command.env("PATH", std::env::join_paths(all).unwrap()).env("BK_HOOKS_DIR", self.bench.path("hooks"));
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::by(&mut self.bk(arguments))
    }

    #[track_caller]
    fn backs_up(&self) -> Said {
        self.run(&["backup", "shop"]).exits(0)
    }

    /// A program of one's own that is found before others.
    fn program(&mut self, name: &str, script: &str) {
        let folder = self.bench.folder("programs");
        executable(&folder.join(name), script);
        if !self.path.contains(&folder) {
            self.path.insert(0, folder);
        }
    }

    /// Programs that stand in for those of a service: `text` under each of the names. Gives the folder of what they
    /// know, in which they write every call down.
    fn stand_in(&mut self, names: &[&str], text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let state = self.bench.folder("state");
        std::fs::write(state.join("calls"), "").unwrap();
        // Other users run them, too.
        for (path, mode) in [(&state, 0o777), (&state.join("calls"), 0o666)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        for name in names {
            self.program(name, &format!("state='{}'\n{text}", state.display()));
        }
        state
    }

    /// The calls of stand-ins that hold `words`, without the words before it; they are forgotten.
    fn called(&self, words: &str) -> Vec<String> {
        let path = self.bench.path("state/calls");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, "").unwrap();
        text.lines().filter_map(|line| line.find(words).map(|at| line[at..].to_owned())).collect()
    }

    /// A hook of one's own.
    fn hook(&self, name: &str, script: &str) {
        executable(&self.bench.folder("hooks").join(name), script);
    }

    /// Restores the files of a snapshot; gives the folder.
    #[track_caller]
    fn restored(&self, snapshot: &str) -> PathBuf {
        let to = self.bench.path("restored");
        trees::clean(&to);
        self.run(&["restore", snapshot, "--to", to.to_str().unwrap()]).exits(0);
        to.join("shop")
    }

    /// What the note says in a snapshot.
    #[track_caller]
    fn note_of(&self, snapshot: &str) -> String {
        let path = self.bench.path("files/note");
        self.run(&["dump", snapshot, path.to_str().unwrap()]).exits(0).stdout
    }

    /// All snapshots, newest last.
    fn snapshots(&self) -> Vec<Value> {
        let said = self.run(&["--json", "snapshots"]).exits(0);
        said.json().as_array().unwrap().clone()
    }

    /// Loads a dump and demands that the hook counted what was counted at the backup; gives the rows.
    #[track_caller]
    fn loads(&self, database: &str, to: &str) -> serde_json::Map<String, Value> {
        let said = self.run(&["--json", "restore", "shop", "--database", database, "--to", to]).exits(0);
        let json = said.json();
        assert_eq!(json["verified"], true, "{json}");
        assert_eq!(json["rows"], json["rows_expected"], "{json}");
        json["rows"].as_object().unwrap().clone()
    }

    /// Runs every command that the RESTORE.txt of a restore names, as a shell reads it.
    #[track_caller]
    fn commands_of_note(&self, snapshot: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.restored(snapshot).join(".bk/RESTORE.txt")).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("bk restore"));
        lines.map(str::to_owned).collect()
    }

    /// Runs a line that a user would type.
    fn types(&self, line: &str) -> Said {
        let folder = self.bench.folder("typed");
        let link = folder.join("bk");
        if !link.exists() {
            std::os::unix::fs::symlink(trees::program(), link).unwrap();
        }
        let mut command = self.bk(&[]);
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap();
        let path = format!("{}:{}", folder.display(), path.to_string_lossy());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        command = shell;
        Said::by(command.env("PATH", path).stdin(std::process::Stdio::null()))
    }

    /// A run that must not count as a backup: exit code 4, an incomplete snapshot with the files and a named problem,
    /// and the complete one stays the one that `latest` and the profile mean.
    #[track_caller]
    fn fails(&self, words: &str) -> Said {
        self.fails_while(words, |mut command| Said::by(&mut command))
    }

    #[track_caller]
    fn fails_while(&self, words: &str, run: impl FnOnce(Command) -> Said) -> Said {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let note = format!("changed {}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.note(&note);
        let said = run(self.bk(&["--json", "backup", "shop"]));
        assert_eq!(said.status.code(), Some(4), "{words}: {}", said.text());
        let summary = summary(&said);
        assert_eq!(summary["outcome"], "incomplete", "{summary}");
        let problems = summary["problems"].as_array().unwrap();
        let says = |one: &Value| one["kind"] == "dump" && one["message"].as_str().unwrap().contains(words);
        assert!(problems.iter().any(says), "no problem says `{words}`: {problems:?}");
        assert_eq!(self.note_of(summary["snapshot_id"].as_str().unwrap()), note, "the files are kept all the same");
        for complete in ["latest", "shop"] {
            assert_ne!(self.note_of(complete), note, "`{complete}` means the complete snapshot");
        }
        said
    }
}

fn executable(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    // Written beside and renamed: a program that is open for writing anywhere cannot be started.
    let new = path.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// The summary among the JSON lines that a backup printed.
#[track_caller]
fn summary(said: &Said) -> Value {
    let lines = said.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut all: Vec<Value> = lines.filter(|line| line["message_type"] == "summary").collect();
    all.pop().unwrap_or_else(|| panic!("no summary: {}", said.text()))
}

fn text(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{out}{error}", output.status)
}

/// A variable that programs hand on to those they start, so that [`processes`] finds all of one run.
const MARK: &str = "SERVICE_TEST_MARK";

/// Waits until `there` gives something.
#[track_caller]
fn wait_for<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes whose arguments or environment name `mark`: those of one test, whatever else runs.
fn processes(mark: &str) -> Vec<(i32, String)> {
    let named = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if named(entry.path().join("cmdline")) || named(entry.path().join("environ")) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((id, name.trim().to_owned()));
        }
    }
    found
}

fn signal(id: i32, signal: rustix::process::Signal) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal);
}

/// Looks at the arguments of every process while `work` runs, and demands that none shows `secret`.
#[track_caller]
fn unseen<T>(secret: &str, work: impl FnOnce() -> T) -> T {
    let (looks, seen) = (AtomicU64::new(0), AtomicBool::new(false));
    let look = || {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if arguments.windows(secret.len()).any(|part| part == secret.as_bytes()) {
                seen.store(true, Ordering::Relaxed);
            }
        }
        looks.fetch_add(1, Ordering::Relaxed);
    };
    let result = trees::meanwhile(look, work);
    assert!(looks.load(Ordering::Relaxed) > 20, "looked too seldom to see anything");
    assert!(!seen.load(Ordering::Relaxed), "a password was in the arguments of a program");
    result
}
