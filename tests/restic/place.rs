//! A folder with sources, repositories of both formats, and the three programs, each in an environment of its own.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::trees::{self, Bench, Said};

/// Of every restic repository here.
pub const PASSWORD: &str = "canary-Rp5-restic-password";

/// Variables of these programs that must not come from whoever runs the tests.
const FOREIGN: [&str; 4] = ["RESTIC_", "RUSTIC_", "AWS_", "B2_"];

/// How a repository is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// By restic, version 1: nothing is compressed.
    V1,
    /// By restic, version 2, with this compression.
    V2(&'static str),
    /// By rustic.
    Rustic,
}

impl Made {
    /// Those that hold the large tree every day, or all of them.
    pub fn with_much() -> Vec<Self> {
        if is_torture() { [Self::with_little(), vec![Self::V2("auto")]].concat() } else { vec![Self::V2("auto")] }
    }

    /// The others, that hold a small one every day.
    pub fn with_little() -> Vec<Self> {
        let off = is_torture().then_some(Self::V2("off"));
        [Self::V1, Self::V2("max"), Self::Rustic].into_iter().chain(off).collect()
    }
}

pub fn is_torture() -> bool {
    std::env::var_os("BK_TORTURE").is_some()
}

pub struct Place {
    pub bench: Bench,
    /// rustic keeps nothing of the folder that it was given but its entries.
    top_is_lost: Cell<bool>,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { bench: Bench::new(), top_is_lost: Cell::new(false) };
        std::fs::write(place.path("password"), PASSWORD).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    /// A path in the place as an argument.
    pub fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A restic repository in the place as bk names it.
    pub fn location(&self, name: &str) -> String {
        format!("restic:{}", self.name(name))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.bench.command(program);
        for (name, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
    }

    /// The program that is tested, which finds the password of restic in its environment.
    pub fn bk_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(trees::program());
        command.args(arguments).env("RESTIC_PASSWORD", PASSWORD);
        command
    }

    pub fn bk(&self, arguments: &[&str]) -> Said {
        Said::by(&mut self.bk_command(arguments))
    }

    /// Runs it and expects an exit code; gives everything it said on one line.
    #[track_caller]
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let said = self.bk(arguments);
        let text = words(&said.text());
        assert_eq!(said.status.code(), Some(code), "bk {arguments:?}: {}", said.text());
        assert!(!text.contains(PASSWORD), "the password is shown: {text}");
        text
    }

    /// The repository of bk that is there without a configuration, made when it is not there yet.
    #[track_caller]
    pub fn init(&self) {
        if !self.path("data/repository").exists() {
            self.expect(0, &["init"]);
        }
    }

    /// The snapshots that bk lists, oldest first.
    #[track_caller]
    pub fn snapshots(&self, more: &[&str]) -> Vec<Value> {
        let said = self.bk(&[&["--json"], more, &["snapshots"]].concat()).exits(0);
        let list: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.text()));
        list.as_array().or_else(|| list["snapshots"].as_array()).unwrap_or_else(|| panic!("{list}")).clone()
    }

    /// Restores a snapshot with bk and compares what was `source` in it with what it is.
    #[track_caller]
    pub fn bk_restores(&self, more: &[&str], snapshot: &str, source: &Path) {
        let to = self.empty("restored-by-bk");
        self.bk(&[more, &["restore", snapshot, "--to", to.to_str().unwrap()]].concat()).exits(0);
        // Below the name of the profile, or of the folder.
        let below = std::fs::read_dir(&to).unwrap().next().unwrap().unwrap().path();
        let copy = below.join(source.strip_prefix("/").unwrap());
        if self.top_is_lost.get() {
            let top = std::fs::metadata(source).unwrap();
            std::fs::set_permissions(&copy, top.permissions()).unwrap();
            trees::set_mtime(&copy, top.mtime(), top.mtime_nsec());
        }
        trees::same(&self.bench, source, &copy);
        trees::clean(&to);
    }

    pub fn restic_command(&self, repository: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("restic");
        command.args(["-r", repository, "--no-cache"]).args(arguments).env("RESTIC_PASSWORD", PASSWORD);
        command
    }

    /// The real restic, which has to succeed.
    #[track_caller]
    pub fn restic(&self, repository: &str, arguments: &[&str]) -> Said {
        let said = Said::by(&mut self.restic_command(repository, arguments));
        assert!(said.status.success(), "restic {arguments:?} (`tests/run` installs it): {}", said.text());
        said
    }

    /// The snapshots that restic lists, oldest first.
    #[track_caller]
    pub fn restic_snapshots(&self, repository: &str) -> Vec<Value> {
        let mut all: Vec<Value> =
            serde_json::from_str(&self.restic(repository, &["snapshots", "--json"]).stdout).unwrap();
        all.sort_by_key(|one| nanos(&one["time"]));
        all
    }

    #[track_caller]
    pub fn restic_restores(&self, repository: &str, snapshot: &str, source: &Path) {
        let to = self.empty("restored-by-restic");
        self.restic(repository, &["restore", snapshot, "--target", to.to_str().unwrap()]);
        trees::same(&self.bench, source, &to.join(source.strip_prefix("/").unwrap()));
        trees::clean(&to);
    }

    /// Every blob is there and whole, as restic sees it.
    #[track_caller]
    pub fn restic_checks(&self, repository: &str) {
        self.restic(repository, &["check", "--read-data"]);
    }

    /// The real rustic, which has to succeed.
    #[track_caller]
    pub fn rustic(&self, repository: &str, arguments: &[&str]) -> Said {
        let mut command = self.command(rustic_program());
        command.args(["-r", repository, "--no-cache", "--no-progress"]).args(arguments);
        let said = Said::by(command.env("RUSTIC_PASSWORD", PASSWORD));
        assert!(said.status.success(), "rustic {arguments:?}: {}", said.text());
        said
    }

    #[track_caller]
    pub fn rustic_restores(&self, repository: &str, snapshot: &str, source: &Path) {
        let to = self.empty("restored-by-rustic");
        self.rustic(repository, &["restore", "--numeric-id", snapshot, to.to_str().unwrap()]);
        trees::same(&self.bench, source, &to.join(source.strip_prefix("/").unwrap()));
        trees::clean(&to);
    }

    /// A repository by one of the programs, with one snapshot of `source` by host `there` with two tags.
    pub fn make(&self, made: Made, name: &str, source: &Path) {
        self.make_empty(made, name);
        self.back_up(made, name, source);
    }

    pub fn make_empty(&self, made: Made, name: &str) {
        let repository = &self.name(name);
        self.top_is_lost.set(made == Made::Rustic);
        match made {
            Made::V1 => self.restic(repository, &["init", "--repository-version", "1"]),
            Made::V2(_) => self.restic(repository, &["init", "--repository-version", "2"]),
            Made::Rustic => self.rustic(repository, &["init"]),
        };
    }

    /// One more snapshot, by whoever made the repository.
    pub fn back_up(&self, made: Made, name: &str, source: &Path) {
        let repository = &self.name(name);
        let arguments = ["backup", "--host", "there", "--tag", "first,second", source.to_str().unwrap()];
        match made {
            Made::V1 => self.restic(repository, &arguments),
            Made::V2(compression) => {
                self.restic(repository, &[&["--compression", compression], &arguments[..]].concat())
            }
            Made::Rustic => self.rustic(repository, &arguments),
        };
    }

    /// The large tree with everything that restic can carry, or with what it loses too.
    pub fn large_tree(&self, name: &str, more: bool) -> PathBuf {
        let path = self.path(name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restic/tree.py");
        let mut command = self.bench.command("python3");
        command.arg(script).arg(&path).args(more.then_some("--more"));
        let said = Said::by(&mut command);
        eprint!("{}", said.stderr);
        said.exits(0);
        path
    }

    /// A small one: files, one of several chunks, a name that is no UTF-8, a link, two names for a file.
    pub fn small_tree(&self, name: &str) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let path = self.bench.folder(name);
        self.bench.file(&format!("{name}/sub/page"), b"page\n".repeat(400));
        self.bench.file(&format!("{name}/film"), trees::noise(1, 3_000_000));
        std::fs::write(path.join(std::ffi::OsStr::from_bytes(b"\xff\n\"\\")), "odd").unwrap();
        std::os::unix::fs::symlink("sub/page", path.join("link")).unwrap();
        std::fs::hard_link(path.join("sub/page"), path.join("second name")).unwrap();
        path
    }

    /// A folder of this name that is not there yet.
    pub fn empty(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        if path.exists() {
            trees::clean(&path);
        }
        path
    }

    /// The files of a repository with their lengths, but for its locks.
    pub fn objects(&self, name: &str) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.clone(), path.metadata().map_or(0, |metadata| metadata.len()));
                }
            }
        }
        let locks = self.path(name).join("locks");
        found.retain(|path, _| !path.starts_with(&locks));
        found
    }

    /// Bytes that a repository takes.
    pub fn size(&self, name: &str) -> u64 {
        self.objects(name).values().sum()
    }

    /// The locks in a restic repository.
    pub fn locks(&self, name: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path(name).join("locks"));
        entries.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
    }
}

/// `tests/run` installs it.
fn rustic_program() -> PathBuf {
    if let Some(program) = std::env::var_os("BK_RUSTIC") {
        return program.into();
    }
    // Beside the folder of the program that is tested.
    let built = Path::new(env!("CARGO_BIN_EXE_bk")).ancestors().nth(2).unwrap().join("rustic/bin/rustic");
    assert!(built.is_file(), "run the tests by tests/run, which installs rustic");
    built
}

/// On one line, however it was filled.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Nanoseconds since 1970 of a time as these programs print it.
#[track_caller]
pub fn nanos(time: &Value) -> i128 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    time.as_nanosecond()
}

/// Host, tags, paths and time of a snapshot as bk lists it.
pub fn said_by_bk(snapshot: &Value) -> (String, Vec<String>, Vec<String>, i128) {
    let paths = snapshot["roots"].as_array().unwrap().iter().map(|root| text(&root["path"])).collect();
    (text(&snapshot["host"]), sorted(&snapshot["tags"]), paths, nanos(&snapshot["time"]))
}

/// The same as restic lists it.
pub fn said_by_restic(snapshot: &Value) -> (String, Vec<String>, Vec<String>, i128) {
    let paths = snapshot["paths"].as_array().unwrap().iter().map(text).collect();
    (text(&snapshot["hostname"]), sorted(&snapshot["tags"]), paths, nanos(&snapshot["time"]))
}

fn sorted(tags: &Value) -> Vec<String> {
    let mut tags: Vec<String> = tags.as_array().into_iter().flatten().map(text).collect();
    tags.sort();
    tags
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
