//! A bench for tests that back up and restore real trees: the program with a repository of its own, the torture tree,
//! the comparer, and a look at a tree that shares nothing with bk.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the user that tests without power run as.
pub const NOBODY: u32 = 65_534;

/// Whether the test may do what only root can.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says on the test's output why a claim was not tried.
pub fn skipped(what: &str, why: impl std::fmt::Display) {
    eprintln!("skipped: {what}: {why}");
}

/// A file of `tests/support`.
pub fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Runs a command to its end.
    pub fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Everything it said.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Demands an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.text());
        self
    }

    /// Demands words in what it said.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.text().contains(words), "`{words}` is not in: {}", self.text());
        self
    }

    /// The JSON object on the last line of standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub seconds: f64,
    pub peak_bytes: u64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s, {} MiB at the peak", self.seconds, self.peak_bytes >> 20)
    }
}

/// A scratch folder with a repository of its own beside it.
pub struct Bench {
    folder: tempfile::TempDir,
    pub as_user: Option<u32>,
}

impl Bench {
    /// In the machine's folder for temporary files.
    pub fn new() -> Self {
        Self::at(&std::env::temp_dir())
    }

    /// Below `parent`. All users may pass through, so that a program without power reaches it.
    pub fn at(parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("bk-test-").tempdir_in(parent).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { folder, as_user: None }
    }

    /// One whose programs run as an unprivileged user, who owns the folder.
    pub fn of_user(user: u32) -> Self {
        let mut bench = Self::new();
        std::os::unix::fs::chown(bench.folder.path(), Some(user), Some(user)).unwrap();
        bench.as_user = Some(user);
        bench
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder in it, made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A file in it, made with its folders.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command that knows nothing of this machine's configuration, run as the bench's user.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.as_user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                let user = user.to_string();
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.as_bytes().starts_with(b"BK_") {
                command.env_remove(name);
            }
        }
        command.env("BK_DATA_DIR", self.path("data")).env("BK_CONFIG", self.config()).env("HOME", self.path("home"));
        command.env("TMPDIR", self.folder.path()).stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    fn config(&self) -> PathBuf {
        let path = self.path("bk.toml");
        if !path.exists() {
            std::fs::write(&path, "").unwrap();
        }
        path
    }

    /// The program that is tested, with the embedded repository of this bench.
    pub fn bk(&self) -> Command {
        self.command(program())
    }

    /// Runs the program.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Said {
        Said::by(self.bk().args(arguments))
    }

    /// Runs the program with so many bytes of memory at most; one that wants more is aborted.
    pub fn run_within<A: AsRef<OsStr>>(&self, bytes: u64, arguments: impl IntoIterator<Item = A>) -> Said {
        let mut command = self.command("prlimit");
        command.arg(format!("--data={bytes}")).arg(program()).args(arguments);
        Said::by(&mut command)
    }

    /// Runs the program, and says how long it took and how much memory at its peak.
    pub fn measured<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> (Said, Measured) {
        let script = "import resource, subprocess, sys\ncode = subprocess.call(sys.argv[2:])\n\
            open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n\
            sys.exit(code if code >= 0 else 128 - code)";
        let peak = self.path("peak");
        let mut command = self.command("python3");
        command.args(["-c", script]).arg(&peak).arg(program()).args(arguments);
        let started = std::time::Instant::now();
        let said = Said::by(&mut command);
        let seconds = started.elapsed().as_secs_f64();
        let peak_kib: u64 = std::fs::read_to_string(peak).unwrap().parse().unwrap();
        (said, Measured { seconds, peak_bytes: peak_kib << 10 })
    }

    /// Backs up paths and demands a complete snapshot.
    #[track_caller]
    pub fn backs_up(&self, paths: &[&Path]) -> Said {
        self.run([OsStr::new("backup")].into_iter().chain(paths.iter().map(|path| path.as_os_str()))).exits(0)
    }

    /// Restores `snapshot` into the folder `name`, and gives where `source` is in it.
    #[track_caller]
    pub fn restores(&self, snapshot: &str, name: &str, source: &Path) -> PathBuf {
        let to = self.path(name);
        let said = self.run([OsStr::new("restore"), OsStr::new(snapshot), OsStr::new("--to"), to.as_os_str()]);
        said.exits(0);
        restored(&to, source)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Immutable entries and paths over PATH_MAX would stay.
        clean(self.folder.path());
    }
}

/// The program that is tested; `BK_TEST_PROGRAM` names another build of it.
pub fn program() -> OsString {
    std::env::var_os("BK_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_bk").into())
}

/// Where the only root `source` of a snapshot is after a restore to `to`.
pub fn restored(to: &Path, source: &Path) -> PathBuf {
    to.join(source.file_name().unwrap_or(OsStr::new("@root"))).join(source.strip_prefix("/").unwrap())
}

/// Removes a tree with whatever is in it.
pub fn clean(path: &Path) {
    if std::fs::remove_dir_all(path).is_err() {
        let _ = Command::new("bash").arg(support("torture.sh")).arg("clean").arg(path).status();
    }
}

/// Builds the torture tree at `path`; what the file system cannot hold is printed.
pub fn torture(bench: &Bench, path: &Path, arguments: &[&str]) {
    let mut command = bench.command("bash");
    command.arg(support("torture.sh")).arg("make").arg(path).args(arguments);
    let said = Said::by(&mut command);
    eprint!("{}", said.stderr);
    said.exits(0);
}

/// Demands that two trees are the same, by the comparer.
#[track_caller]
pub fn same(bench: &Bench, source: &Path, copy: &Path) {
    let mut command = bench.command("bash");
    let said = Said::by(command.arg(support("compare.sh")).arg(source).arg(copy).env("COMPARE_MAX", "20"));
    assert!(said.status.success(), "{} and {} differ:\n{}", source.display(), copy.display(), said.text());
}

/// A mounted file system, taken away with the value, whatever happens.
pub struct Mounted {
    point: PathBuf,
}

impl Mounted {
    /// Mounts at a new folder of the bench; the reason when that is not permitted.
    pub fn new(point: PathBuf, arguments: &[&OsStr]) -> Result<Self, String> {
        std::fs::create_dir_all(&point).unwrap();
        let said = Said::by(Command::new("mount").args(arguments).arg(&point));
        if said.status.success() { Ok(Self { point }) } else { Err(said.stderr.trim().to_owned()) }
    }

    /// A file system in memory.
    pub fn tmpfs(point: PathBuf) -> Result<Self, String> {
        Self::new(point, &["-t", "tmpfs", "-o", "size=2g,mode=755", "bk-test"].map(OsStr::new))
    }

    /// A file system in a file of `bytes` bytes, made by `make`.
    pub fn looped(bench: &Bench, make: &[&str], bytes: u64) -> Result<Self, String> {
        let image = bench.path("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let [program, arguments @ ..] = make else { return Err("no program".into()) };
        let made = bench.command(program).args(arguments).arg(&image).output().map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        Self::new(bench.path("mounted"), &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()])
    }

    pub fn point(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for arguments in [&[][..], &["-l"]] {
            if Command::new("umount").args(arguments).arg(&self.point).status().is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// Does `act` again and again in a thread of its own until `work` is done; gives what `work` gave.
pub fn meanwhile<T>(act: impl FnMut() + Send, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let mut act = act;
    std::thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                act();
            }
        });
        // Also when `work` panics: the thread must end.
        let _stop = Stop(done);
        work()
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `length` bytes that do not compress, the same for the same `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What one entry of a tree is; two trees with equal entries are the same tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub device: u64,
    /// Length in bytes and hash, or what a link says.
    pub content: (u64, Vec<u8>),
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// First path of the same inode, for entries with several names.
    pub first: Option<Vec<u8>>,
    /// Whether at least half of a longer file is holes.
    pub sparse: bool,
}

/// Everything below `path`, by path; the folder itself is the empty path.
pub fn look(path: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut all = BTreeMap::new();
    let mut inodes = HashMap::new();
    let mut waiting = vec![PathBuf::new()];
    // In the order of paths, so that the first name of an inode is the same in both trees.
    while let Some(below) = waiting.pop() {
        let full = if below.as_os_str().is_empty() { path.to_owned() } else { path.join(&below) };
        let found = std::fs::symlink_metadata(&full).unwrap();
        let mut seen = look_at(&full, &found);
        if found.nlink() > 1 && !found.is_dir() {
            let first =
                inodes.entry((found.dev(), found.ino())).or_insert_with(|| below.as_os_str().as_bytes().to_vec());
            seen.first = Some(first.clone());
        }
        if found.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort_by(|a, b| b.cmp(a));
            waiting.extend(names.into_iter().map(|name| below.join(name)));
        }
        all.insert(below.into_os_string().into_vec(), seen);
    }
    all
}

fn look_at(path: &Path, found: &std::fs::Metadata) -> Seen {
    let file_type = found.file_type();
    let (kind, content) = if file_type.is_symlink() {
        ("link", (0, std::fs::read_link(path).unwrap().into_os_string().into_vec()))
    } else if file_type.is_dir() {
        ("folder", (0, Vec::new()))
    } else if file_type.is_file() {
        let mut hasher = blake3::Hasher::new();
        let length = hash_file(path, &mut hasher);
        ("file", (length, hasher.finalize().as_bytes().to_vec()))
    } else if file_type.is_fifo() {
        ("pipe", (0, Vec::new()))
    } else if file_type.is_socket() {
        ("socket", (0, Vec::new()))
    } else {
        ("device", (0, Vec::new()))
    };
    Seen {
        kind,
        mode: found.mode() & 0o7777,
        owner: (found.uid(), found.gid()),
        mtime: (found.mtime(), found.mtime_nsec()),
        device: found.rdev(),
        content,
        xattrs: xattrs(path),
        first: None,
        sparse: found.is_file() && found.len() >= 1 << 20 && found.blocks() * 512 < found.len() / 2,
    }
}

fn hash_file(path: &Path, hasher: &mut blake3::Hasher) -> u64 {
    let file = std::fs::File::open(path).unwrap();
    let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match file.read_at(&mut buffer, at).unwrap() {
            0 => return at,
            length => {
                hasher.update(&buffer[..length]);
                at += length as u64;
            }
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, CString::new(name).unwrap().as_c_str(), &mut value[..]).unwrap();
        all.insert(OsString::from_vec(name.to_vec()), value[..length].to_vec());
    }
    all
}

/// Demands that two looks are equal, and says where they are not.
pub fn difference(left: &BTreeMap<Vec<u8>, Seen>, right: &BTreeMap<Vec<u8>, Seen>) -> Option<String> {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for (path, seen) in left {
        match right.get(path) {
            None => return Some(format!("{:?} is not there", shown(path))),
            Some(other) if other != seen => return Some(format!("{:?}: {seen:?} | {other:?}", shown(path))),
            Some(_) => {}
        }
    }
    right.keys().find(|path| !left.contains_key(*path)).map(|path| format!("{:?} is too much", shown(path)))
}

/// Sets the time of modification of `path`, not through a link.
pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
