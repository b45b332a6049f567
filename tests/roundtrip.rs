//! Whatever a tree holds, each of its snapshots restores to what was there when it was made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "support/trees.rs"]
mod trees;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bk::clock::{Clock as _, SystemClock};
use bk::crypto::{KeyFile, Keys};
use bk::destination::{Destination, OwnerPolicy};
use bk::format::key_slot::Credential;
use bk::format::snapshot::Snapshot;
use bk::operation::backup::{BackupOptions, BackupStats, Origin, SourceRules, backup};
use bk::operation::restore::{Placement, RestoreOptions, RestoreStats, restore, select, verify};
use bk::progress::Silent;
use bk::repository::{BlobReader, Index, Purpose, Repository, note};
use bk::store::LocalStore;
use proptest::prelude::*;
use trees::{difference, is_root, look, noise, set_mtime};

/// What a file is filled with.
#[derive(Debug, Clone, Copy)]
enum Filling {
    Noise,
    Text,
    /// The same block again and again.
    Repeated,
    /// Zeros that were written.
    Zeros,
    /// Data at both ends and a hole between.
    Sparse,
    /// Nothing but a hole.
    Hole,
}

#[derive(Debug, Clone)]
enum Thing {
    Folder,
    File {
        size: usize,
        filling: Filling,
        seed: u64,
    },
    Link(Vec<u8>),
    /// Another name of a file that exists, chosen by number.
    HardLink(usize),
    Pipe,
}

/// An entry to be made: in the folder of this number, with these attributes.
#[derive(Debug, Clone)]
struct Entry {
    folder: usize,
    name: Vec<u8>,
    thing: Thing,
    mode: u32,
    mtime: (i64, i64),
    xattr: Option<(String, Vec<u8>)>,
}

/// What happens between two backups, each to the entry of a number.
#[derive(Debug, Clone)]
enum Mutation {
    Add(Entry),
    Remove(usize),
    Rename(usize, Vec<u8>),
    Append(usize, usize),
    Cut(usize, u64),
    /// Changes one byte and puts the time of modification back.
    Forge(usize, u64),
    /// Inserts bytes near the beginning, so that everything moves.
    Shift(usize),
    Mode(usize, u32),
    Touch(usize, (i64, i64)),
    Xattr(usize, Vec<u8>),
    /// Another file takes its name.
    Replace(usize, u64),
    /// Something of another kind takes its name.
    Turn(usize),
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let any_byte = prop::collection::vec(any::<u8>(), 1..12);
    let one_of = |names: &[&[u8]]| prop::sample::select(names.iter().map(|name| name.to_vec()).collect::<Vec<_>>());
    let odd = one_of(&[b"\xff\xfe", b"line\nbreak", b"-rf", b"...", b" ", b"a\\b", b"caf\xc3\xa9", b"cafe\xcc\x81"]);
    let plain = "[a-z]{1,6}".prop_map(String::into_bytes);
    let long = any::<u8>().prop_map(|byte| vec![byte; 255]);
    let usable = |name: &Vec<u8>| !matches!(&name[..], b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
    prop_oneof![4 => plain, 3 => any_byte, 2 => odd, 1 => long].prop_filter("not a name", usable)
}

/// Lengths where a chunk, a segment or a buffer could end.
fn size() -> impl Strategy<Value = usize> {
    let around = |edge: usize| prop::sample::select(vec![edge - 1, edge, edge + 1]);
    prop_oneof![
        3 => prop::sample::select(vec![0, 1]),
        4 => around(4 * KIB),
        6 => 0..64 * KIB,
        3 => around(64 * KIB),
        2 => around(512 * KIB),
        2 => around(MIB),
        1 => around(4 * MIB),
        1 => Just(9 * MIB),
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    let filling = prop_oneof![
        3 => Just(Filling::Noise),
        2 => Just(Filling::Text),
        2 => Just(Filling::Repeated),
        1 => Just(Filling::Zeros),
        1 => Just(Filling::Sparse),
        1 => Just(Filling::Hole),
    ];
    // Few seeds, so that files share contents.
    let file = (size(), filling, 0..6_u64).prop_map(|(size, filling, seed)| Thing::File { size, filling, seed });
    prop_oneof![
        3 => Just(Thing::Folder),
        10 => file,
        2 => prop_oneof![Just(b"../x".to_vec()), Just(b"/".to_vec()), Just(b"\xff".to_vec()), Just(vec![b'l'; 4000])]
            .prop_map(Thing::Link),
        2 => any::<usize>().prop_map(Thing::HardLink),
        1 => Just(Thing::Pipe),
    ]
}

fn mtime() -> impl Strategy<Value = (i64, i64)> {
    // What every file system keeps, ext4 with small inodes too.
    let seconds = prop_oneof![Just(-1), Just(0), -2_000_000_000..2_000_000_000_i64];
    (seconds, 0..1_000_000_000_i64)
}

fn mode() -> impl Strategy<Value = u32> {
    // Without power, what one may not read cannot be compared.
    let least = if is_root() { 0 } else { 0o700 };
    prop_oneof![Just(0o644), Just(0o755), 0..0o10000_u32].prop_map(move |mode| mode | least)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..300)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let xattr = prop::option::weighted(0.2, ("user[.][a-z]{1,8}", value()));
    (any::<usize>(), name(), thing(), mode(), mtime(), xattr)
        .prop_map(|(folder, name, thing, mode, mtime, xattr)| Entry { folder, name, thing, mode, mtime, xattr })
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    prop_oneof![
        3 => entry().prop_map(Mutation::Add),
        2 => at().prop_map(Mutation::Remove),
        1 => (at(), name()).prop_map(|(at, name)| Mutation::Rename(at, name)),
        2 => (at(), 1..100_000_usize).prop_map(|(at, length)| Mutation::Append(at, length)),
        1 => (at(), any::<u64>()).prop_map(|(at, length)| Mutation::Cut(at, length)),
        3 => (at(), any::<u64>()).prop_map(|(at, offset)| Mutation::Forge(at, offset)),
        1 => at().prop_map(Mutation::Shift),
        1 => (at(), mode()).prop_map(|(at, mode)| Mutation::Mode(at, mode)),
        1 => (at(), mtime()).prop_map(|(at, mtime)| Mutation::Touch(at, mtime)),
        1 => (at(), value()).prop_map(|(at, value)| Mutation::Xattr(at, value)),
        1 => (at(), 0..6_u64).prop_map(|(at, seed)| Mutation::Replace(at, seed)),
        1 => at().prop_map(Mutation::Turn),
    ]
}

fn fill(path: &Path, size: usize, filling: Filling, seed: u64) {
    let bytes = match filling {
        Filling::Noise => noise(seed, size),
        Filling::Text => {
            b"the same words in another order ".iter().copied().cycle().skip(seed as usize).take(size).collect()
        }
        Filling::Repeated => noise(seed, 96 * KIB).into_iter().cycle().take(size).collect(),
        Filling::Zeros => vec![0; size],
        Filling::Sparse | Filling::Hole => {
            let file = std::fs::File::create(path).unwrap();
            file.set_len(size as u64 * 3).unwrap();
            if matches!(filling, Filling::Sparse) && size > 0 {
                file.write_all_at(&noise(seed, size.min(5000)), 0).unwrap();
                file.write_all_at(&noise(seed, 1), size as u64 * 3 - 1).unwrap();
            }
            return;
        }
    };
    std::fs::write(path, bytes).unwrap();
}

/// Where things are, in the order they were made; what is gone is skipped when it is chosen.
struct Tree {
    root: PathBuf,
    folders: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

impl Tree {
    fn new(root: &Path) -> Self {
        std::fs::create_dir(root).unwrap();
        Self { root: root.to_owned(), folders: vec![root.to_owned()], others: Vec::new() }
    }

    fn is_file(path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
    }

    fn file(&self, at: usize) -> Option<&PathBuf> {
        let files: Vec<_> = self.others.iter().filter(|path| Self::is_file(path)).collect();
        files.get(at.checked_rem(files.len())?).copied()
    }

    fn any(&self, at: usize) -> Option<PathBuf> {
        let exists = |path: &&PathBuf| std::fs::symlink_metadata(path).is_ok() && **path != self.root;
        let all: Vec<_> = self.folders.iter().chain(&self.others).filter(exists).collect();
        all.get(at.checked_rem(all.len())?).map(|path| (*path).clone())
    }

    /// Makes an entry, unless its name is taken or too long with everything above it.
    fn add(&mut self, entry: &Entry) {
        let folders: Vec<_> = self.folders.iter().filter(|path| path.is_dir()).collect();
        let path = folders[entry.folder % folders.len()].join(OsStr::from_bytes(&entry.name));
        if path.as_os_str().len() > 3500 || std::fs::symlink_metadata(&path).is_ok() {
            return;
        }
        match &entry.thing {
            Thing::Folder => {
                std::fs::create_dir(&path).unwrap();
                self.folders.push(path.clone());
            }
            Thing::File { size, filling, seed } => fill(&path, *size, *filling, *seed),
            Thing::Link(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Thing::HardLink(at) => {
                let Some(file) = self.file(*at) else { return };
                std::fs::hard_link(file, &path).unwrap();
            }
            Thing::Pipe => {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
        }
        if !matches!(entry.thing, Thing::Folder) {
            self.others.push(path.clone());
        }
        if !matches!(entry.thing, Thing::Link(_)) {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(entry.mode)).unwrap();
        }
        if let (Some((name, value)), Thing::File { .. } | Thing::Folder) = (&entry.xattr, &entry.thing) {
            set_xattr(&path, name, value);
        }
        set_mtime(&path, entry.mtime.0, entry.mtime.1);
    }

    fn change(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::Add(entry) => self.add(entry),
            Mutation::Remove(at) => {
                if let Some(path) = self.any(*at) {
                    remove(&path);
                }
            }
            Mutation::Rename(at, name) => {
                if let Some(path) = self.any(*at)
                    && let to = path.with_file_name(OsStr::from_bytes(name))
                    && std::fs::symlink_metadata(&to).is_err()
                {
                    std::fs::rename(&path, &to).unwrap();
                    let list = if to.is_dir() && !to.is_symlink() { &mut self.folders } else { &mut self.others };
                    list.push(to);
                }
            }
            Mutation::Append(at, length) => self.with_file(*at, |path, _| {
                let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
                file.write_all(&noise(9, *length)).unwrap();
            }),
            Mutation::Cut(at, length) => self.with_file(*at, |path, size| {
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(length % (size + 1)).unwrap();
            }),
            Mutation::Forge(at, offset) => self.with_file(*at, |path, size| forge(path, size, *offset)),
            Mutation::Shift(at) => self.with_file(*at, |path, _| {
                let mut bytes = std::fs::read(path).unwrap();
                bytes.splice(0..bytes.len().min(1), *b"moved on");
                std::fs::write(path, bytes).unwrap();
            }),
            Mutation::Mode(at, mode) => {
                if let Some(path) = self.any(*at).filter(|path| !path.is_symlink()) {
                    std::fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
                }
            }
            Mutation::Touch(at, mtime) => {
                if let Some(path) = self.any(*at) {
                    set_mtime(&path, mtime.0, mtime.1);
                }
            }
            Mutation::Xattr(at, value) => self.with_file(*at, |path, _| set_xattr(path, "user.changed", value)),
            Mutation::Replace(at, seed) => self.with_file(*at, |path, _| {
                let beside = path.with_file_name("replacement");
                fill(&beside, 3000, Filling::Noise, *seed);
                std::fs::rename(&beside, path).unwrap();
            }),
            Mutation::Turn(at) => {
                let Some(path) = self.any(*at) else { return };
                let was_folder = std::fs::symlink_metadata(&path).unwrap().is_dir();
                remove(&path);
                if was_folder {
                    std::fs::write(&path, b"a file now").unwrap();
                    self.others.push(path);
                } else {
                    std::fs::create_dir(&path).unwrap();
                    self.folders.push(path);
                }
            }
        }
    }

    fn with_file(&self, at: usize, act: impl FnOnce(&Path, u64)) {
        if let Some(path) = self.file(at) {
            act(path, std::fs::metadata(path).unwrap().len());
        }
    }
}

fn remove(path: &Path) {
    let removed = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
    removed.unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

/// Changes a byte in a way that only the time of change tells.
fn forge(path: &Path, size: u64, offset: u64) {
    use std::os::unix::fs::MetadataExt as _;
    if size == 0 {
        return;
    }
    let found = std::fs::metadata(path).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset % size).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset % size).unwrap();
    drop(file);
    set_mtime(path, found.mtime(), found.mtime_nsec());
}

/// One repository for all cases: what earlier ones stored must not disturb later ones.
struct Bench {
    folder: tempfile::TempDir,
    repository: Repository,
    restores: std::cell::Cell<usize>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::create(&folder.path().join("repository")).unwrap());
        let credential = Credential::KeyFile(KeyFile::generate().unwrap());
        let note = note("test", SystemClock.wall(), "here");
        let repository = Repository::create(store, Keys::generate().unwrap(), &credential, &note).unwrap();
        Self { folder, repository, restores: std::cell::Cell::new(0) }
    }

    fn back_up(&self, source: &Path) -> BackupStats {
        let options = BackupOptions {
            origin: Origin { host: "here".into(), user: "me".into(), profile: None },
            roots: vec![source.to_owned()],
            rules: SourceRules::default(),
            tags: Vec::new(),
            description: None,
            definition: String::new(),
            configuration: String::new(),
            scratch: self.folder.path().to_owned(),
            skip_if_unchanged: false,
            dry_run: false,
            ignore_parent: false,
            threads: 2,
            ..BackupOptions::default()
        };
        let never = AtomicBool::new(false);
        backup(&self.repository, &options, Vec::new(), &SystemClock, &Silent, &never).unwrap()
    }

    fn index(&self) -> Index {
        Index::load(&self.repository, Purpose::Read, &SystemClock).unwrap()
    }

    /// Restores into `to`, has bk verify it, and gives where `source` is there.
    fn restore(&self, snapshot: &Snapshot, to: &str, source: &Path, delete: bool) -> PathBuf {
        self.restores.set(self.restores.get() + 1);
        let index = self.index();
        let mut reader = BlobReader::new(&self.repository, &index).unwrap();
        let selected = select(&mut reader, snapshot, &[], Placement::Below).unwrap();
        let destination = Destination::create_private(self.folder.path(), to, OwnerPolicy::Numeric).unwrap();
        let options = RestoreOptions { threads: 2, delete, ..RestoreOptions::default() };
        let (stats, never) = (RestoreStats::default(), AtomicBool::new(false));
        restore(&self.repository, &index, None, &selected, &destination, options, &stats, &Silent, &never).unwrap();
        assert_eq!(stats.problems(), []);
        assert_eq!(verify(&mut reader, &selected, &destination, &Silent).unwrap(), []);
        self.folder.path().join(to).join(source.strip_prefix("/").unwrap())
    }

    fn check(&self, entries: &[Entry], mutations: &[Mutation]) -> Result<(), TestCaseError> {
        let source = self.folder.path().join("source");
        let mut tree = Tree::new(&source);
        entries.iter().for_each(|entry| tree.add(entry));
        let first = look(&source);
        let before = self.back_up(&source);
        mutations.iter().for_each(|mutation| tree.change(mutation));
        let second = look(&source);
        let after = self.back_up(&source);
        for stats in [&before, &after] {
            // Not one file is suspicious where the snapshot before had some.
            let expected = if stats.statistics.files == 0 { &["missing"][..] } else { &[] };
            let kinds: Vec<_> = stats.problems.first().into_iter().map(|problem| problem.kind).collect();
            prop_assert!(kinds.is_empty() || kinds == expected, "{:?}", stats.problems.first());
        }
        // The newer one first, so that the older one is also restored over something else.
        let mut failed = None;
        for (stats, tree, to) in [(&after, &second, "copy"), (&before, &first, "copy"), (&after, &second, "fresh")] {
            let snapshot = &stats.snapshot.as_ref().unwrap().snapshot;
            let copy = self.restore(snapshot, to, &source, true);
            failed = failed.or(difference(tree, &look(&copy)));
        }
        for name in ["source", "copy", "fresh"] {
            trees::clean(&self.folder.path().join(name));
        }
        match failed {
            Some(difference) => Err(TestCaseError::fail(difference)),
            None => Ok(()),
        }
    }
}

/// Cases of an everyday run; BK_TORTURE says another number.
fn cases() -> u32 {
    std::env::var("BK_TORTURE").ok().map_or(60, |text| text.parse().unwrap_or(2000))
}

#[test]
fn every_snapshot_of_a_changing_tree_restores_to_what_was_there() {
    let bench = Bench::new();
    let config =
        ProptestConfig { cases: cases(), max_shrink_iters: 300, failure_persistence: None, ..Default::default() };
    let inputs = (prop::collection::vec(entry(), 0..25), prop::collection::vec(mutation(), 0..12));
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&inputs, |(entries, mutations)| {
        // Also after a case that panicked.
        for name in ["source", "copy", "fresh"] {
            trees::clean(&bench.folder.path().join(name));
        }
        bench.check(&entries, &mutations)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    eprintln!("{} restores compared", bench.restores.get());
}

#[test]
fn repeated_contents_are_stored_once() {
    let bench = Bench::new();
    let source = bench.folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let block = noise(1, 5 * MIB);
    for number in 0..6 {
        std::fs::write(source.join(number.to_string()), &block).unwrap();
    }
    std::fs::write(source.join("shifted"), [b"in front", &block[..]].concat()).unwrap();
    std::fs::write(source.join("twice"), [&block[..], &block[..]].concat()).unwrap();
    let stats = bench.back_up(&source);
    assert_eq!(stats.statistics.total_bytes, 9 * block.len() as u64 + 8);
    // The block, and what lies before the first common cut in the three that have it elsewhere.
    assert!(stats.statistics.new_bytes < 2 * block.len() as u64 + (12 << 20), "{:?}", stats.statistics);
    let copy = bench.restore(&stats.snapshot.unwrap().snapshot, "copy", &source, false);
    assert_eq!(difference(&look(&source), &look(&copy)), None);
    let again = bench.back_up(&source);
    assert!(again.statistics.new_bytes < 10_000, "{:?}", again.statistics);
}
