//! Two repositories with other keys, and one that stands for another format.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::clock::{SystemClock, Timestamp};
use crate::format::node::{LinkGroup, Node, NodeKind, Xattr, XattrValue};
use crate::format::pack::PackKind;
use crate::id::BlobId;
use crate::operation::backup::{BackupOptions, Origin, SourceRules, backup};
use crate::operation::bench::{Bench, PIECE, RUNNING, Sample, file, folder, other, sparse, symlink};
use crate::operation::dump;
use crate::operation::forget::forget;
use crate::operation::list::{Step, roots, walk as walk_all};
use crate::progress::Silent;
use crate::repository::{BlobReader, Foreign, ForeignSnapshots};

/// A repository of another format, of which things can be made unreadable.
struct Other {
    repository: Repository,
    blobs: HashMap<BlobId, Vec<u8>>,
    /// Blobs that are damaged.
    broken: Mutex<HashSet<BlobId>>,
    /// Nobody answers after so many data blobs.
    answers: AtomicU64,
    /// Set after so many data blobs.
    stop: AtomicBool,
    stop_after: AtomicU64,
    originals: HashMap<SnapshotId, SnapshotId>,
}

impl Other {
    fn error(&self, id: &BlobId, damage: bool) -> RepositoryError {
        let reason = if damage { "it is damaged" } else { "nobody answers" }.to_owned();
        RepositoryError::Foreign { location: "there".into(), object: format!("blob {id}"), reason, damage }
    }

    fn read(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        if self.broken.lock().unwrap().contains(id) { Err(self.error(id, true)) } else { Ok(self.blobs[id].clone()) }
    }
}

impl Foreign for Other {
    fn location(&self) -> String {
        "there".into()
    }

    fn snapshots(&self) -> Result<ForeignSnapshots, RepositoryError> {
        let mut all = Snapshots::load(&self.repository)?.all;
        for info in &mut all {
            let Imported { tree, .. } = origin(&self.repository, info);
            let (format, repository) = ("restic".to_owned(), "r1".to_owned());
            info.snapshot.imported = Some(Imported { format, repository, snapshot: info.id.0, tree });
        }
        let all = all.into_iter().map(|info| (info.id, info.snapshot)).collect();
        Ok(ForeignSnapshots { all, originals: self.originals.clone(), ..ForeignSnapshots::default() })
    }

    fn data(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        if self.answers.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.answers.store(0, Ordering::Relaxed);
            return Err(self.error(id, false));
        }
        if self.stop_after.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.read(id)
    }

    fn tree(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        self.read(id)
    }
}

fn other_of(bench: &Bench) -> Other {
    let index = bench.index();
    let mut reader = BlobReader::new(&bench.repository, &index).unwrap();
    let read = |(id, kind, _)| match kind {
        PackKind::Data => (id, reader.data(&id).unwrap().to_vec()),
        PackKind::Tree => (id, reader.tree(&id).unwrap().to_vec()),
    };
    Other {
        repository: bench.repository.clone(),
        blobs: index.blobs().map(read).collect(),
        broken: Mutex::default(),
        answers: AtomicU64::new(u64::MAX),
        stop: AtomicBool::new(false),
        stop_after: AtomicU64::new(u64::MAX),
        originals: HashMap::new(),
    }
}

fn foreign(bench: &Bench) -> (Arc<Other>, Repository) {
    let other = Arc::new(other_of(bench));
    let repository = Repository::of_foreign(Arc::clone(&other) as Arc<dyn Foreign>).unwrap();
    (other, repository)
}

/// Brings all that is not there, or lossy and mended; gives what was brought.
fn bring_with(from: &Repository, to: &Bench, cancel: &AtomicBool) -> (Vec<Brought>, Result<(), ImportError>) {
    let [source, target] = [from, &to.repository].map(|one| Snapshots::load(one).unwrap());
    let (found, pairs) = recognise([from, &to.repository], &source, &target);
    let index = Index::load(from, Purpose::Read, &SystemClock).unwrap();
    let mut reader = BlobReader::new(from, &index).unwrap();
    let mut is_wanted = |info: &SnapshotInfo, presence: &Presence| match presence {
        Presence::Missing => true,
        Presence::Here(_) | Presence::Forgotten => false,
        Presence::Lossy(id) => {
            let brought = target.all.iter().find(|one| one.id == *id).unwrap();
            is_mended(&mut reader, &info.snapshot, &brought.snapshot, &RUNNING).unwrap()
        }
    };
    let wanted: Vec<_> = found
        .into_iter()
        .filter(|(info, presence)| is_wanted(info, presence))
        .map(|(info, _)| Wanted { profile: info.snapshot.profile.clone(), info })
        .collect();
    let import = Import { from, to: &to.repository, threads: 3, clock: &SystemClock, progress: &Silent, cancel };
    let mut told = Vec::new();
    let ended = import.run(&wanted, pairs, &mut |one| told.push(one.clone()));
    (told, ended)
}

fn bring(from: &Repository, to: &Bench) -> Vec<Brought> {
    let (told, ended) = bring_with(from, to, &RUNNING);
    ended.unwrap();
    told
}

/// Every entry by its path: all that is said of it but the ids of blobs, and its bytes.
fn listing(repository: &Repository, snapshot: &Snapshot) -> BTreeMap<String, (Node, Vec<u8>)> {
    let index = Index::load(repository, Purpose::Read, &SystemClock).unwrap();
    let mut reader = BlobReader::new(repository, &index).unwrap();
    let mut all = BTreeMap::new();
    for root in roots(snapshot) {
        walk_all(&mut reader, root, &RUNNING, &mut |reader, at| {
            let (mut node, mut bytes) = (at.node.clone(), Vec::new());
            if let NodeKind::File { .. } = node.kind {
                dump::file(reader, &node, &mut bytes, &RUNNING).unwrap();
            }
            match &mut node.kind {
                NodeKind::File { content, class, .. } => (*content, *class) = Default::default(),
                NodeKind::Directory { tree } => *tree = BlobId([0; 32]),
                _ => {}
            }
            for xattr in &mut node.metadata.xattrs {
                if let XattrValue::Stored(content) = &xattr.value {
                    let parts = content.parts.iter().map(|part| reader.data(&part.id).unwrap().to_vec());
                    xattr.value = XattrValue::Inline(parts.collect::<Vec<_>>().concat());
                }
            }
            all.insert(String::from_utf8_lossy(&at.path).into_owned(), (node, bytes));
            Ok::<_, RepositoryError>(Step::Into)
        })
        .unwrap();
    }
    all
}

fn target(brought: &Brought) -> &SnapshotInfo {
    brought.target.as_ref().unwrap()
}

#[track_caller]
fn same(from: &Repository, source: &SnapshotInfo, to: &Bench, brought: &Brought) {
    assert_eq!(brought.source, source.id);
    let [there, here] = [(from, source), (&to.repository, target(brought))]
        .map(|(repository, info)| listing(repository, &info.snapshot));
    assert_eq!(there, here);
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Everything that an entry can be.
fn everything() -> Sample {
    let xattr = |name: &str, length| Xattr { name: name.into(), value: XattrValue::Inline(noise(9, length)) };
    let rich = |node: &mut Node| {
        node.metadata.flags = 3;
        node.metadata.user = Some("root".into());
        node.metadata.ctime = Timestamp { seconds: -7, nanos: 5 };
        node.metadata.xattrs = vec![xattr("user.a", 20), xattr("user.b", 10_000)];
    };
    let many = (0..2000).map(|number| file(&format!("f{number:05}"), &[number as u8; 3])).collect();
    folder(
        "data",
        vec![
            file("empty", b""),
            file("long", &noise(1, 1200 * PIECE)),
            file("rich", b"x").with(rich),
            sparse("sparse", b"head tail", &[(4, 5000)]),
            file("name-1", b"linked").linked(5),
            file("name-2", b"linked").linked(5),
            symlink("link", "../target"),
            other("null", NodeKind::CharDevice { major: 1, minor: 3 }),
            other("disk", NodeKind::BlockDevice { major: 8, minor: 1 }),
            other("fifo", NodeKind::Fifo).with(rich),
            other("socket", NodeKind::Socket),
            folder("many", many),
            folder("none", Vec::new()).with(rich),
        ],
    )
}

#[test]
fn every_kind_of_entry_is_what_it_was_in_a_repository_of_other_keys() {
    let (from, to) = (Bench::new(), Bench::new());
    let change = |snapshot: &mut Snapshot| {
        snapshot.tags = vec!["a".into(), "b".into()];
        snapshot.description = Some("words".into());
    };
    let source = from.snapshot_with(vec![("/srv", everything()), ("/", file("alone", b"1"))], change);
    let brought = bring(&from.repository, &to);
    assert_eq!(brought.len(), 1);
    same(&from.repository, &source, &to, &brought[0]);
    let (old, new) = (&source.snapshot, &target(&brought[0]).snapshot);
    let said = |one: &Snapshot| {
        (one.start, one.end, one.host.clone(), one.profile.clone(), one.tags.clone(), one.description.clone())
    };
    assert_eq!(said(old), said(new));
    let counted = new.statistics;
    assert_eq!((counted.files, counted.directories, counted.others), (2007, 3, 5));
    assert_eq!((counted.new_files, counted.changed_files, counted.unchanged_files), (2007, 0, 0));
    assert_eq!(counted.total_bytes, 1200 * 100 + 1 + 5009 + 6 + 6 + 6000 + 1);
    assert_eq!((new.outcome, new.problem_count), (Outcome::Complete, 0));
}

#[test]
fn a_long_attribute_that_is_inline_in_the_source_is_stored_beside_in_the_target() {
    let (from, to) = (Bench::new(), Bench::new());
    from.snapshot(vec![("/srv", everything())]);
    let brought = bring(&from.repository, &to);
    let index = to.index();
    let mut reader = BlobReader::new(&to.repository, &index).unwrap();
    let mut inline = 0;
    for root in roots(&target(&brought[0]).snapshot) {
        walk_all(&mut reader, root, &RUNNING, &mut |_, at| {
            for xattr in &at.node.metadata.xattrs {
                match &xattr.value {
                    XattrValue::Inline(value) => {
                        inline += 1;
                        assert_eq!(value.len(), 20);
                    }
                    XattrValue::Stored(content) => assert_eq!(content.length(), Some(10_000)),
                }
            }
            Ok::<_, RepositoryError>(Step::Into)
        })
        .unwrap();
    }
    assert_eq!(inline, 3);
}

#[test]
fn what_is_there_is_known_again_and_of_the_next_snapshot_only_what_changed_is_read() {
    let (from, to) = (Bench::new(), Bench::new());
    let tree = |seed| {
        let quiet = folder("quiet", vec![file("big", &noise(1, 300_000)), folder("deep", vec![file("x", b"x")])]);
        let busy = folder("busy", vec![file("log", &noise(seed, 1000)), file("still", &noise(2, 200_000))]);
        vec![("/srv", folder("data", vec![quiet, busy]))]
    };
    let first = from.snapshot(tree(7));
    let (_, there) = foreign(&from);
    let brought = bring(&there, &to);
    assert!(brought[0].fetched_bytes > 500_000, "{}", brought[0].fetched_bytes);
    assert!(bring(&there, &to).is_empty());
    let second = from.snapshot(tree(8));
    let (_, there) = foreign(&from);
    let again = bring(&there, &to);
    assert_eq!(again.len(), 1);
    // The file that changed, and the trees above it, of both snapshots; the lists of the large file are short.
    assert!(again[0].fetched_bytes < 250_000 / 2, "{}", again[0].fetched_bytes);
    assert_eq!(again[0].statistics.read_bytes, 1000);
    same(&there, &first, &to, &brought[0]);
    same(&there, &second, &to, &again[0]);
    let counted = again[0].statistics;
    assert_eq!((counted.files, counted.directories, counted.total_bytes), (4, 4, 501_001));
    assert_eq!((counted.new_files, counted.changed_files, counted.unchanged_files), (0, 1, 3));
    assert_eq!(target(&again[0]).snapshot.parent, Some(target(&brought[0]).id));
    assert_eq!(target(&again[0]).snapshot.previous, Some(first.snapshot.start));
    // A third that is equal to the second is read to its root.
    let third = from.snapshot(tree(8));
    let (_, there) = foreign(&from);
    let last = bring(&there, &to);
    same(&there, &third, &to, &last[0]);
    assert_eq!((last[0].fetched_bytes, last[0].statistics.unchanged_files), (0, 4));
    assert_eq!(last[0].statistics.directories, 4);
}

#[test]
fn several_snapshots_in_one_run_are_each_what_they_were() {
    let (from, to) = (Bench::new(), Bench::new());
    let mut made = Vec::new();
    for day in 0..5_u64 {
        let files = (0..day + 2).map(|number| file(&format!("f{number}"), &noise(number + day % 2, 5000)));
        let moved = folder(&format!("at-{day}"), vec![file("same", &noise(50, 100_000))]);
        let children = files.chain([folder("still", vec![file("y", b"y")]), moved]).collect();
        made.push(from.snapshot(vec![("/srv", folder("data", children))]));
    }
    let (_, there) = foreign(&from);
    let brought = bring(&there, &to);
    assert_eq!(brought.len(), 5);
    for (source, brought) in made.iter().zip(&brought) {
        same(&there, source, &to, brought);
    }
    // A folder that moved is what it became, and not read again.
    assert!(brought[1..].iter().all(|one| one.fetched_bytes < 100_000), "{brought:?}");
}

#[test]
fn names_of_one_file_are_read_once_and_stay_names_of_one_file() {
    let (from, to) = (Bench::new(), Bench::new());
    let bytes = noise(3, 100_000);
    let names = (0..9).map(|name| file(&format!("n{name}"), &bytes).linked(77)).collect();
    let source = from.snapshot(vec![("/srv", folder("data", names))]);
    let (_, there) = foreign(&from);
    let brought = bring(&there, &to);
    same(&there, &source, &to, &brought[0]);
    assert_eq!(brought[0].statistics.read_bytes, 100_000);
    let links: HashSet<Option<LinkGroup>> = listing(&to.repository, &target(&brought[0]).snapshot)
        .into_values()
        .filter(|(node, _)| matches!(node.kind, NodeKind::File { .. }))
        .map(|(node, _)| node.links)
        .collect();
    assert_eq!(links, HashSet::from([Some(LinkGroup { filesystem: 0, inode: 77 })]));
}

/// The first blob of a file, and the tree of the folder it is in.
fn blobs_of(from: &Bench, snapshot: &Snapshot, path: &str) -> BlobId {
    from.read(|reader| {
        let entry = crate::operation::list::lookup(reader, snapshot, path.as_bytes()).unwrap().unwrap();
        match entry.node.kind {
            NodeKind::File { content, .. } => content.parts[0].id,
            NodeKind::Directory { tree } => tree,
            _ => panic!(),
        }
    })
}

#[test]
fn what_is_damaged_is_left_out_and_noted_and_comes_once_it_can_be_read() {
    let (from, to) = (Bench::new(), Bench::new());
    let tree = || {
        let inner = folder("inner", vec![file("bad", &noise(4, 500)), file("good", b"good")]);
        let gone = folder("gone", vec![file("hidden", b"hidden")]);
        vec![("/srv", folder("data", vec![folder("a", vec![inner]), gone, file("whole", b"whole")]))]
    };
    let source = from.snapshot(tree());
    let second = from.snapshot(tree());
    let (other, there) = foreign(&from);
    let broken = ["/srv/data/a/inner/bad", "/srv/data/gone"].map(|path| blobs_of(&from, &source.snapshot, path));
    other.broken.lock().unwrap().extend(broken);
    let brought = bring(&there, &to);
    // What is lost of the first is not taken for what there is in the second.
    for one in &brought {
        assert_eq!(one.lost_count, 2);
        let info = target(one);
        assert_eq!((info.snapshot.outcome, info.snapshot.problem_count), (Outcome::Incomplete, 2));
        let paths: Vec<_> = info.snapshot.problems.iter().map(|one| (one.kind.as_str(), &*one.path)).collect();
        assert_eq!(paths, [("unreadable", &b"/srv/data/a/inner/bad"[..]), ("unreadable", b"/srv/data/gone")]);
        let there = listing(&to.repository, &info.snapshot);
        let names: Vec<_> = there.keys().map(String::as_str).collect();
        let expected = ["", "/a", "/a/inner", "/a/inner/good", "/gone", "/whole"];
        assert_eq!(names, expected.map(|name| format!("/srv/data{name}")));
    }
    // Nothing has changed, so nothing is tried.
    assert!(bring(&there, &to).is_empty());
    other.broken.lock().unwrap().remove(&broken[0]);
    assert!(bring(&there, &to).is_empty());
    other.broken.lock().unwrap().clear();
    let whole = bring(&there, &to);
    assert_eq!(whole.len(), 2);
    for (source, one) in [source, second].iter().zip(&whole) {
        same(&there, source, &to, one);
        assert_eq!((one.lost_count, target(one).snapshot.outcome), (0, Outcome::Complete));
    }
    assert!(bring(&there, &to).is_empty());
}

#[test]
fn of_a_snapshot_that_cannot_be_read_at_all_there_is_none() {
    let (from, to) = (Bench::new(), Bench::new());
    let source = from.snapshot(vec![("/srv", folder("data", vec![file("x", b"x")]))]);
    let (other, there) = foreign(&from);
    other.broken.lock().unwrap().insert(blobs_of(&from, &source.snapshot, "/srv/data"));
    let brought = bring(&there, &to);
    assert!(brought[0].target.is_none() && brought[0].lost_count == 1);
    assert!(Snapshots::load(&to.repository).unwrap().all.is_empty());
}

#[test]
fn trouble_that_is_no_damage_ends_the_run_and_the_next_one_goes_on() {
    let (from, to) = (Bench::new(), Bench::new());
    let first = from.snapshot(vec![("/srv", folder("data", vec![file("x", &noise(1, 1000))]))]);
    let second = from.snapshot(vec![("/srv", folder("data", vec![file("x", &noise(2, 5000))]))]);
    let (other, there) = foreign(&from);
    other.answers.store(30, Ordering::Relaxed);
    let (told, ended) = bring_with(&there, &to, &RUNNING);
    assert!(matches!(ended, Err(ImportError::Repository(RepositoryError::Foreign { damage: false, .. }))));
    assert_eq!(told.len(), 1);
    other.answers.store(u64::MAX, Ordering::Relaxed);
    same(&there, &first, &to, &told[0]);
    let rest = bring(&there, &to);
    assert_eq!(rest.len(), 1);
    same(&there, &second, &to, &rest[0]);
}

#[test]
fn an_import_that_was_stopped_goes_on_and_what_it_stored_is_not_stored_again() {
    let (from, to) = (Bench::new(), Bench::new());
    let files = (0..30).map(|number| file(&format!("f{number:02}"), &noise(number, 100_000))).collect();
    let source = from.snapshot(vec![("/srv", folder("data", files))]);
    let (other, there) = foreign(&from);
    other.stop_after.store(20_000, Ordering::Relaxed);
    let (told, ended) = bring_with(&there, &to, &other.stop);
    assert!(matches!(ended, Err(ImportError::Repository(RepositoryError::Interrupted))), "{ended:?}");
    assert!(told.is_empty() && Snapshots::load(&to.repository).unwrap().all.is_empty());
    let brought = bring(&there, &to);
    same(&there, &source, &to, &brought[0]);
    let stored = brought[0].statistics.new_bytes;
    assert!((100_000..2_500_000).contains(&stored), "{stored}");
}

#[test]
fn what_the_target_has_lost_since_is_read_again_and_not_taken_over() {
    let (from, to) = (Bench::new(), Bench::new());
    let tree = |seed| {
        let quiet = folder("quiet", vec![file("still", &noise(1, 5000))]);
        vec![("/srv", folder("data", vec![quiet, file("log", &noise(seed, 100)), file("same", &noise(2, 3000))]))]
    };
    from.snapshot(tree(3));
    let second = from.snapshot(tree(4));
    let (_, there) = foreign(&from);
    let elsewhere = Bench::new();
    let source = Snapshots::load(&there).unwrap().all;
    let import = Import {
        from: &there,
        to: &elsewhere.repository,
        threads: 2,
        clock: &SystemClock,
        progress: &Silent,
        cancel: &RUNNING,
    };
    let wanted = |info: &SnapshotInfo| [Wanted { info: info.clone(), profile: None }];
    let mut made = Vec::new();
    import.run(&wanted(&source[0]), Vec::new(), &mut |one| made.push(one.clone())).unwrap();
    // A pair that names trees and contents which this target does not have.
    let pair = Pair { source: source[0].clone(), target: target(&made[0]).clone() };
    let import = Import { to: &to.repository, ..import };
    import.run(&wanted(&source[1]), vec![pair], &mut |one| made.push(one.clone())).unwrap();
    same(&there, &second, &to, &made[1]);
    assert_eq!(made[1].statistics.read_bytes, 8100);
}

#[test]
fn a_snapshot_is_known_by_its_tree_by_what_it_was_made_from_and_when_it_was_forgotten() {
    let (from, to) = (Bench::new(), Bench::new());
    let tree = |data: &str| vec![("/srv", folder("data", vec![file("x", data.as_bytes())]))];
    let source = from.snapshot(tree("one"));
    let (_, there) = foreign(&from);
    let brought = bring(&there, &to);
    let here = target(&brought[0]).id;
    // The same, tagged anew, has another id.
    let tagged = from.snapshot_with(tree("one"), |snapshot| {
        snapshot.start = source.snapshot.start;
        snapshot.tags = vec!["new".into()];
    });
    let exported = from.snapshot(tree("two"));
    let own = to.snapshot(tree("two"));
    let other = Other { originals: HashMap::from([(exported.id, own.id)]), ..other_of(&from) };
    let there = Repository::of_foreign(Arc::new(other)).unwrap();
    let presence = |id: SnapshotId| {
        let [source, target] = [&there, &to.repository].map(|one| Snapshots::load(one).unwrap());
        let (found, _) = recognise([&there, &to.repository], &source, &target);
        found.into_iter().find(|(info, _)| info.id == id).unwrap().1
    };
    assert_eq!(presence(source.id), Presence::Here(here));
    assert_eq!(presence(tagged.id), Presence::Here(here));
    assert_eq!(presence(exported.id), Presence::Here(own.id));
    let all = Snapshots::load(&to.repository).unwrap().all;
    forget(&to.repository, &all.iter().collect::<Vec<_>>(), "alpha", &SystemClock).unwrap();
    assert_eq!(presence(source.id), Presence::Forgotten);
    assert_eq!(presence(exported.id), Presence::Forgotten);
}

#[test]
fn one_that_was_forgotten_and_is_wanted_all_the_same_is_seen() {
    let (from, to) = (Bench::new(), Bench::new());
    let source = from.snapshot(vec![("/srv", folder("data", vec![file("x", b"x")]))]);
    let first = bring(&from.repository, &to);
    forget(&to.repository, &[target(&first[0])], "alpha", &SystemClock).unwrap();
    assert!(bring(&from.repository, &to).is_empty());
    let import = Import {
        from: &from.repository,
        to: &to.repository,
        threads: 1,
        clock: &SystemClock,
        progress: &Silent,
        cancel: &RUNNING,
    };
    let wanted = [Wanted { info: source, profile: Some("other".into()) }];
    // Word for word the same each time, but for the run.
    for _ in 0..3 {
        import.run(&wanted, Vec::new(), &mut |_| {}).unwrap();
        let all = Snapshots::load(&to.repository).unwrap().all;
        assert_eq!(all.iter().map(|info| info.snapshot.profile.as_deref()).collect::<Vec<_>>(), [Some("other")]);
        forget(&to.repository, &all.iter().collect::<Vec<_>>(), "alpha", &SystemClock).unwrap();
    }
}

#[test]
fn repositories_with_the_same_keys_are_not_imported() {
    let bench = Bench::new();
    let wanted: [Wanted; 0] = [];
    let import = Import {
        from: &bench.repository,
        to: &bench.repository,
        threads: 1,
        clock: &SystemClock,
        progress: &Silent,
        cancel: &RUNNING,
    };
    let refused = import.run(&wanted, Vec::new(), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, ImportError::Siblings { .. }) && refused.hint().contains("bk copy"));
}

/// A clock that is a minute ahead: what was written just now is old enough to be trusted.
struct Ahead;

impl Clock for Ahead {
    fn wall(&self) -> Timestamp {
        let now = SystemClock.wall();
        Timestamp { seconds: now.seconds + 60, ..now }
    }

    fn boottime(&self) -> Duration {
        SystemClock.boottime()
    }
}

#[test]
fn the_first_backup_after_an_import_reads_only_what_has_changed() {
    let (from, to) = (Bench::new(), Bench::new());
    let root = from.path().join("source");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(root.join("a"), noise(1, 300_000)).unwrap();
    std::fs::write(root.join("sub/b"), noise(2, 70_000)).unwrap();
    std::fs::hard_link(root.join("sub/b"), root.join("sub/c")).unwrap();
    let run = |repository: &Repository, clock: &dyn Clock| {
        let options = BackupOptions {
            origin: Origin { host: "alpha".into(), user: "me".into(), profile: Some("wiki".into()) },
            roots: vec![root.clone()],
            rules: SourceRules { databases: true, ..SourceRules::default() },
            threads: 2,
            ..BackupOptions::default()
        };
        backup(repository, &options, Vec::new(), clock, &Silent, &RUNNING).unwrap()
    };
    run(&from.repository, &Ahead);
    let (_, there) = foreign(&from);
    let brought = bring(&there, &to);
    let after = run(&to.repository, &Ahead);
    assert_eq!(after.parent, Some(target(&brought[0]).id));
    assert_eq!((after.statistics.read_bytes, after.statistics.unchanged_files), (0, 3));
    std::fs::write(root.join("new"), b"12345").unwrap();
    assert_eq!(run(&to.repository, &Ahead).statistics.read_bytes, 5);
}
