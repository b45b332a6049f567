//! Damage of every kind to every kind of object is named by `check`, and never makes wrong bytes of right ones.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot run fails")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bk::clock::{Clock, SystemClock};
use bk::crypto::{KeyFile, Keys};
use bk::format::Kind;
use bk::format::content::fold;
use bk::format::fact::{self, Fact, FactKind};
use bk::format::index_file::PackName;
use bk::format::key_slot::Credential;
use bk::format::mark::Mark;
use bk::format::node::{Content, Metadata, Node, NodeKind, Part, Xattr, XattrValue};
use bk::format::pack::PackKind;
use bk::format::snapshot::{Outcome, Root, Snapshot, Statistics};
use bk::format::tree::{TreeWriter, encode_node};
use bk::id::{BlobId, RunId, SnapshotId};
use bk::operation::check::{CheckOptions, CheckReport, Depth, ReadData, Severity, Subset, check, check_names};
use bk::progress::Silent;
use bk::repository::{
    BlobReader, Commit, Index, Purpose, Repository, RepositoryError, SegmentBuilder, Writer, add_slot, note,
};
use bk::store::{Area, LocalStore, ObjectName, Store};

/// Bytes that do not compress and differ by `seed`.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Blobs by what a pack holds and by id.
type Blobs = HashMap<BlobId, Vec<u8>>;

/// A small repository with one object of every kind at least, and what is in it.
struct Bench {
    folder: tempfile::TempDir,
    credentials: [Credential; 2],
    data: Blobs,
    trees: Blobs,
}

struct Filler<'a> {
    bench: &'a mut Bench,
    repository: &'a Repository,
    writer: &'a Writer<'a>,
    data: SegmentBuilder<'a>,
    trees: SegmentBuilder<'a>,
}

impl Filler<'_> {
    fn data(&mut self, bytes: Vec<u8>) -> Part {
        let id = self.repository.keys().identifier().data(&bytes);
        if self.writer.claim(&id) {
            self.data.add(id, &bytes).unwrap();
        }
        let length = bytes.len() as u64;
        self.bench.data.insert(id, bytes);
        Part { id, length }
    }

    fn tree(&mut self, bytes: Vec<u8>) -> BlobId {
        let id = self.repository.keys().identifier().tree(&bytes);
        if self.writer.claim(&id) {
            self.trees.add(id, &bytes).unwrap();
        }
        self.bench.trees.insert(id, bytes);
        id
    }

    fn file(&mut self, name: &str, parts: Vec<Part>) -> Node {
        let content = fold(parts, |list| Ok::<_, RepositoryError>(self.tree(list))).unwrap();
        let size = content.length().unwrap();
        let kind = NodeKind::File { size, content, holes: Vec::new(), class: 1, rows: Vec::new() };
        Node { name: name.into(), metadata: Metadata { mode: 0o644, ..Metadata::default() }, links: None, kind }
    }

    fn folder(&mut self, name: &str, nodes: &[Node]) -> Node {
        let repository = self.repository;
        let mut writer = TreeWriter::new(repository.keys().identifier());
        let mut store = |blob| Ok::<_, RepositoryError>(self.tree(blob));
        for node in nodes {
            writer.push(&node.name, &encode_node(node), &mut store).unwrap();
        }
        let tree = writer.finish(&mut store).unwrap();
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        Node { name: name.into(), metadata, links: None, kind: NodeKind::Directory { tree } }
    }
}

impl Bench {
    /// Two snapshots from two runs, two key slots, facts, and a mark on a pack that is still needed.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let credentials = [(); 2].map(|()| Credential::KeyFile(KeyFile::generate().unwrap()));
        let mut bench = Self { folder, credentials, data: Blobs::new(), trees: Blobs::new() };
        let store = Arc::new(LocalStore::create(&bench.path()).unwrap());
        let note = note("test", SystemClock.wall(), "host");
        let keys = Keys::generate().unwrap();
        let repository = Repository::create(store, keys, &bench.credentials[0], &note).unwrap();
        add_slot(repository.store(), repository.keys(), &bench.credentials[1], &note).unwrap();
        let first = bench.back_up(&repository, 1, None);
        bench.back_up(&repository, 2, Some(first));
        let fact = |kind| Fact {
            kind,
            time: SystemClock.wall(),
            host: "host".into(),
            snapshot: Some(first),
            pack: None,
            detail: None,
        };
        for kind in [FactKind::Verified, FactKind::Pinned] {
            repository.write_object(Kind::Facts, &fact::encode(&[fact(kind)])).unwrap();
        }
        for at in 0..2 {
            let ObjectName::Pack(pack) = bench.names(Area::Packs)[at] else { unreachable!() };
            let mark = Mark { time: SystemClock.wall(), packs: vec![pack], run: RunId([9; 16]), snapshots: Vec::new() };
            repository.write_object(Kind::Mark, &mark.encode()).unwrap();
        }
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn back_up(&mut self, repository: &Repository, seed: u64, parent: Option<SnapshotId>) -> SnapshotId {
        let index = Index::load(repository, Purpose::Write, &SystemClock).unwrap();
        let run = RunId([seed as u8; 16]);
        let writer = Writer::new(repository, &index, run, &SystemClock, 1).unwrap();
        let node = std::thread::scope(|scope| {
            let sealing = scope.spawn(|| writer.seal_segments());
            scope.spawn(|| writer.finish_packs());
            let mut filler = Filler {
                bench: self,
                repository,
                writer: &writer,
                data: writer.segment_builder(PackKind::Data),
                trees: writer.segment_builder(PackKind::Tree),
            };
            let node = fill(&mut filler, seed);
            filler.data.flush().unwrap();
            filler.trees.flush().unwrap();
            writer.close_queue(1);
            sealing.join().unwrap();
            writer.close_packs(1);
            node
        });
        writer.finish().unwrap();
        let snapshot = snapshot(run, node, parent);
        Commit { repository, index: &index, clock: &SystemClock }.put(&writer, &snapshot).unwrap().id
    }

    fn store(&self) -> Arc<LocalStore> {
        Arc::new(LocalStore::open(&self.path()).unwrap())
    }

    fn open(&self, with: usize) -> Result<Repository, RepositoryError> {
        Repository::open(self.store(), &self.credentials[with])
    }

    fn names(&self, area: Area) -> Vec<ObjectName> {
        let mut names: Vec<_> = self.store().list(area).unwrap().into_iter().map(|listed| listed.name).collect();
        names.sort_unstable();
        names
    }

    fn file(&self, name: &ObjectName) -> PathBuf {
        self.path().join(name.to_string())
    }

    /// Everything that is named as damaged, by whatever means are left to open the repository.
    fn named(&self) -> Vec<String> {
        let mut named = Vec::new();
        for with in [0, 1] {
            match self.open(with) {
                Ok(repository) => {
                    named.extend(objects(&full_check(&repository)));
                    break;
                }
                Err(error) => named.push(error.to_string()),
            }
        }
        named
    }

    /// No reader gives other bytes than were stored.
    fn assert_no_wrong_bytes(&self) {
        let Ok(repository) = self.open(0).or_else(|_| self.open(1)) else { return };
        let Ok(index) = Index::load(&repository, Purpose::Read, &SystemClock) else { return };
        let mut reader = BlobReader::new(&repository, &index).unwrap();
        // Of the many small blobs a few stand for all.
        for (id, bytes) in self.data.iter().filter(|(id, bytes)| bytes.len() > 100 || id.0[0] < 8) {
            assert!(reader.data(id).map_or(true, |found| *found == bytes[..]), "data blob {id}");
        }
        for (id, bytes) in &self.trees {
            assert!(reader.tree(id).map_or(true, |found| *found == bytes[..]), "tree blob {id}");
        }
    }
}

/// A folder with a small file, one of many blobs, one with a large attribute, and a folder below.
fn fill(filler: &mut Filler<'_>, seed: u64) -> Node {
    let many = (0..1100).map(|at| filler.data(noise(seed * 10_000 + at, 16))).collect();
    let many = filler.file("many", many);
    let small = vec![filler.data(noise(seed * 10_000 + 5000, 20_000)), filler.data(b"text ".repeat(2000))];
    let small = filler.file("small", small);
    let value = Content { level: 0, parts: vec![filler.data(noise(seed * 10_000 + 6000, 5000))] };
    let mut attributed = filler.file("attributed", Vec::new());
    attributed.metadata.xattrs = vec![Xattr { name: b"user.large".to_vec(), value: XattrValue::Stored(value) }];
    let below = filler.folder("below", std::slice::from_ref(&small));
    filler.folder("root", &[attributed, below, many, small])
}

fn snapshot(run: RunId, node: Node, parent: Option<SnapshotId>) -> Snapshot {
    let time = SystemClock.wall();
    Snapshot {
        start: time,
        end: time,
        host: "host".into(),
        profile: None,
        tags: Vec::new(),
        roots: vec![Root { path: b"/root".to_vec(), restore_name: b"root".to_vec(), node }],
        statistics: Statistics::default(),
        outcome: Outcome::Complete,
        problems: Vec::new(),
        problem_count: 0,
        hooks: Vec::new(),
        parent,
        definition: String::new(),
        configuration: String::new(),
        program: "test".into(),
        user: "user".into(),
        class_rule: 1,
        run,
        description: None,
        anomalies: Vec::new(),
        previous: None,
        imported: None,
    }
}

fn options(read: ReadData, interrupted: &AtomicBool) -> CheckOptions<'_> {
    CheckOptions { read, threads: 2, shown_paths: 100, interrupted }
}

fn check_with(repository: &Repository, read: ReadData) -> CheckReport {
    check(repository, &options(read, &AtomicBool::new(false)), &Silent).unwrap()
}

fn full_check(repository: &Repository) -> CheckReport {
    check_with(repository, ReadData::All)
}

fn names_check(store: &dyn Store) -> CheckReport {
    check_names(store, &options(ReadData::All, &AtomicBool::new(false)), &Silent).unwrap()
}

fn objects(report: &CheckReport) -> Vec<String> {
    assert_eq!(report.is_damaged(), report.findings.iter().any(|finding| finding.severity == Severity::Damage));
    report.findings.iter().map(|finding| finding.object.clone()).collect()
}

fn is_named(named: &[String], object: &ObjectName) -> bool {
    named.iter().any(|text| text.contains(&object.to_string()))
}

/// Runs `look` with other bytes in a file, then puts the old ones back.
fn with_bytes(file: &Path, bytes: &[u8], look: impl FnOnce()) {
    let before = std::fs::read(file).unwrap();
    std::fs::write(file, bytes).unwrap();
    look();
    std::fs::write(file, before).unwrap();
}

/// Offsets at both ends of an object and spread between them.
fn offsets(length: usize) -> Vec<usize> {
    let ends = [0, 4, 5, 6, 8, 10, 12, 43, 44, 45, 60, 61];
    let mut offsets: Vec<_> = ends.iter().flat_map(|at| [*at, length.saturating_sub(at + 1)]).collect();
    offsets.extend((0..12).map(|at| length * at / 12));
    offsets.retain(|at| *at < length);
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

#[test]
fn a_sound_repository_is_whole_whatever_is_read() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    for (read, depth) in [
        (ReadData::Nothing, Depth::Structure),
        (ReadData::Subset(Subset::Bytes(1)), Depth::SomeContents),
        (ReadData::All, Depth::AllContents),
    ] {
        let report = check_with(&repository, read);
        assert_eq!((report.findings, report.affected, report.notes), (Vec::new(), Vec::new(), Vec::new()));
        assert_eq!(report.depth, depth);
        assert_eq!((report.counts.snapshots, report.counts.packs, report.counts.keys), (2, 4, 2));
    }
    let report = names_check(repository.store());
    assert_eq!((report.findings, report.notes), (Vec::new(), Vec::new()));
}

#[test]
fn a_flipped_bit_anywhere_in_any_object_is_named() {
    let bench = Bench::new();
    for area in Area::ALL {
        for name in bench.names(area) {
            let bytes = std::fs::read(bench.file(&name)).unwrap();
            // Ends and every field of the header, and places between.
            for (count, at) in offsets(bytes.len()).into_iter().enumerate() {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (count % 8);
                with_bytes(&bench.file(&name), &changed, || {
                    assert!(is_named(&bench.named(), &name), "{name} at {at}");
                    assert!(is_named(&objects(&names_check(&*bench.store())), &name), "{name} at {at}, without key");
                    bench.assert_no_wrong_bytes();
                });
            }
        }
    }
}

#[test]
fn an_object_cut_or_grown_to_any_length_is_named() {
    let bench = Bench::new();
    for area in Area::ALL {
        for name in bench.names(area) {
            let bytes = std::fs::read(bench.file(&name)).unwrap();
            let mut lengths = offsets(bytes.len());
            lengths.retain(|length| length % 2 == 0 || *length < 64);
            let cut = lengths.into_iter().map(|length| bytes[..length].to_vec());
            for changed in cut.chain([[&bytes[..], b"x"].concat()]) {
                with_bytes(&bench.file(&name), &changed, || {
                    assert!(is_named(&bench.named(), &name), "{name} of {} bytes", changed.len());
                    assert!(is_named(&objects(&names_check(&*bench.store())), &name), "{name} without key");
                    bench.assert_no_wrong_bytes();
                });
            }
        }
    }
}

#[test]
fn an_object_in_the_place_of_another_is_named_there() {
    let (bench, other) = (Bench::new(), Bench::new());
    for area in Area::ALL {
        let (ours, theirs) = (bench.names(area), other.names(area));
        let mut swaps: Vec<_> = theirs.iter().map(|name| other.file(name)).collect();
        swaps.extend(ours.iter().map(|name| bench.file(name)));
        for name in &ours {
            for swap in swaps.iter().filter(|swap| **swap != bench.file(name)) {
                let bytes = std::fs::read(swap).unwrap();
                with_bytes(&bench.file(name), &bytes, || {
                    assert!(is_named(&bench.named(), name), "{name}");
                    assert!(is_named(&objects(&names_check(&*bench.store())), name), "{name} without key");
                    bench.assert_no_wrong_bytes();
                });
            }
        }
    }
}

#[test]
fn a_foreign_object_under_its_own_name_is_named_by_whoever_has_the_key() {
    let (bench, other) = (Bench::new(), Bench::new());
    for area in Area::ALL {
        for name in other.names(area) {
            std::fs::copy(other.file(&name), bench.file(&name)).unwrap();
            assert!(is_named(&bench.named(), &name), "{name}");
            assert!(!names_check(&*bench.store()).is_damaged(), "{name} without key");
            bench.assert_no_wrong_bytes();
            std::fs::remove_file(bench.file(&name)).unwrap();
        }
    }
    assert!(bench.named().is_empty());
}

#[test]
fn objects_of_another_kind_under_right_names_are_named() {
    let bench = Bench::new();
    for from in Area::ALL {
        let bytes = std::fs::read(bench.file(&bench.names(from)[0])).unwrap();
        let id = bk::id::ObjectId(*bench.names(from)[0].hash());
        for to in Area::ALL.into_iter().filter(|to| *to != from) {
            let name = match to {
                Area::Config => ObjectName::Config(7, id),
                Area::Packs => ObjectName::Pack(PackName { id: bk::id::PackId(id.0), nonce: [7; 8] }),
                area => ObjectName::Plain(area, id),
            };
            std::fs::write(bench.file(&name), &bytes).unwrap();
            assert!(is_named(&bench.named(), &name), "{name}");
            assert!(is_named(&objects(&names_check(&*bench.store())), &name), "{name} without key");
            std::fs::remove_file(bench.file(&name)).unwrap();
        }
    }
}

#[test]
fn a_configuration_under_the_name_of_another_generation_is_named() {
    let bench = Bench::new();
    let ObjectName::Config(0, id) = bench.names(Area::Config)[0] else { unreachable!() };
    let newer = ObjectName::Config(1, id);
    std::fs::copy(bench.file(&ObjectName::Config(0, id)), bench.file(&newer)).unwrap();
    assert!(is_named(&bench.named(), &newer));
}

#[test]
fn a_deleted_pack_is_named_with_the_files_that_need_it_even_when_nothing_is_read() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    for name in bench.names(Area::Packs) {
        let bytes = std::fs::read(bench.file(&name)).unwrap();
        std::fs::remove_file(bench.file(&name)).unwrap();
        let report = check_with(&repository, ReadData::Nothing);
        let finding = report.findings.iter().find(|finding| finding.object == name.to_string()).unwrap();
        assert!(!finding.snapshots.is_empty() && finding.entries > 0, "{report:?}");
        assert!(finding.hint.contains("bk backup"));
        let paths: Vec<_> = report.affected.iter().flat_map(|snapshot| &snapshot.paths).collect();
        assert!(!paths.is_empty() && paths.iter().all(|path| path.starts_with(b"/root/")), "{paths:?}");
        bench.assert_no_wrong_bytes();
        std::fs::write(bench.file(&name), bytes).unwrap();
    }
}

#[test]
fn only_the_files_in_the_damaged_part_of_a_pack_are_affected() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    let mut affected = 0;
    for name in bench.names(Area::Packs) {
        let bytes = std::fs::read(bench.file(&name)).unwrap();
        for at in [0, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // Neither the header's magic nor the trailer is needed by a reader that has the index.
            with_bytes(&bench.file(&name), &changed, || {
                let report = full_check(&repository);
                assert!(is_named(&objects(&report), &name));
                assert!(report.affected.is_empty(), "{report:?}");
            });
        }
        let mut changed = bytes.clone();
        changed[100] ^= 1;
        with_bytes(&bench.file(&name), &changed, || affected += full_check(&repository).affected.len());
    }
    assert!(affected > 0);
}

#[test]
fn a_deleted_index_object_shows_in_what_is_not_found() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    for name in bench.names(Area::Index) {
        let bytes = std::fs::read(bench.file(&name)).unwrap();
        std::fs::remove_file(bench.file(&name)).unwrap();
        let report = check_with(&repository, ReadData::Nothing);
        assert!(report.is_damaged() && !report.affected.is_empty());
        let index = report.findings.iter().find(|finding| finding.object == "index");
        assert!(index.is_some_and(|finding| finding.hint.contains("bk repair index")), "{report:?}");
        assert!(report.notes.iter().any(|note| note.contains("in no index object")), "{report:?}");
        std::fs::write(bench.file(&name), bytes).unwrap();
    }
}

#[test]
fn without_configuration_or_slots_the_error_says_so() {
    let bench = Bench::new();
    let config = bench.names(Area::Config)[0];
    let bytes = std::fs::read(bench.file(&config)).unwrap();
    std::fs::remove_file(bench.file(&config)).unwrap();
    assert!(matches!(bench.open(0), Err(RepositoryError::NoConfig { .. })));
    assert!(objects(&names_check(&*bench.store())).contains(&"config".to_owned()));
    std::fs::write(bench.file(&config), bytes).unwrap();
    for slot in bench.names(Area::Keys) {
        std::fs::remove_file(bench.file(&slot)).unwrap();
    }
    assert!(matches!(bench.open(0), Err(RepositoryError::NoSlots { .. })));
    assert!(objects(&names_check(&*bench.store())).contains(&"keys".to_owned()));
}

/// Nothing refers to these, so their loss cannot be seen; but it must not look like damage to others.
#[test]
fn deleted_snapshots_facts_and_marks_leave_the_rest_whole() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    for area in [Area::Snapshots, Area::Facts, Area::Marks] {
        for name in bench.names(area) {
            let bytes = std::fs::read(bench.file(&name)).unwrap();
            std::fs::remove_file(bench.file(&name)).unwrap();
            assert!(!full_check(&repository).is_damaged(), "{name}");
            std::fs::write(bench.file(&name), bytes).unwrap();
        }
    }
}

#[test]
fn a_parent_that_is_gone_but_not_forgotten_is_noted() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    let noted = bench.names(Area::Snapshots).iter().any(|name| {
        let bytes = std::fs::read(bench.file(name)).unwrap();
        std::fs::remove_file(bench.file(name)).unwrap();
        let report = full_check(&repository);
        std::fs::write(bench.file(name), bytes).unwrap();
        report.notes.iter().any(|note| note.contains("parent"))
    });
    assert!(noted);
}

#[test]
fn packs_without_an_index_entry_are_noted_and_read() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    let ObjectName::Pack(name) = bench.names(Area::Packs)[0] else { unreachable!() };
    let again = ObjectName::Pack(PackName { nonce: [7; 8], ..name });
    std::fs::copy(bench.file(&ObjectName::Pack(name)), bench.file(&again)).unwrap();
    let report = full_check(&repository);
    assert!(!report.is_damaged());
    assert!(report.notes.iter().any(|note| note.starts_with("1 packs")), "{:?}", report.notes);
    assert_eq!(report.counts.read_packs, 5);
}

#[test]
fn many_damages_at_once_are_all_named() {
    let bench = Bench::new();
    let mut damaged = Vec::new();
    for area in [Area::Packs, Area::Index, Area::Snapshots, Area::Facts, Area::Marks] {
        for name in bench.names(area) {
            let mut bytes = std::fs::read(bench.file(&name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::write(bench.file(&name), bytes).unwrap();
            damaged.push(name);
        }
    }
    let named = bench.named();
    for name in damaged {
        assert!(is_named(&named, &name), "{name}");
    }
}

#[test]
fn what_a_new_backup_has_stored_anew_is_whole_again() {
    let mut bench = Bench::new();
    let repository = bench.open(0).unwrap();
    for name in bench.names(Area::Packs) {
        std::fs::remove_file(bench.file(&name)).unwrap();
    }
    assert_eq!(full_check(&repository).affected.len(), 2);
    for seed in [1, 2] {
        bench.back_up(&repository, seed, None);
    }
    let report = full_check(&repository);
    assert!(!report.is_damaged(), "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("are gone")), "{:?}", report.notes);
}

#[test]
fn a_check_that_is_interrupted_ends() {
    let bench = Bench::new();
    let repository = bench.open(0).unwrap();
    let interrupted = AtomicBool::new(true);
    let result = check(&repository, &options(ReadData::All, &interrupted), &Silent);
    assert!(matches!(result, Err(RepositoryError::Interrupted)));
}
