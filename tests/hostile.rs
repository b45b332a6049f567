//! Whoever can write a repository gets nothing outside the target of a restore changed, no memory and no panic (R9, R15,
//! T12). The repositories here are sealed with the right keys: what is in them is all that is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "support/trees.rs"]
mod trees;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bk::clock::{Clock as _, SystemClock};
use bk::compress::Encoding;
use bk::crypto::{KeyFile, Keys, PREFIX_LEN};
use bk::format::cbor::{Fields, Writer as Cbor};
use bk::format::index_file::{IndexFile, IndexedPack, PackName};
use bk::format::key_slot::Credential;
use bk::format::node::{Content, Hole, LinkGroup, Metadata, Node, NodeKind, Part, Timestamp, Xattr, XattrValue};
use bk::format::pack::{PackKind, Segment, encode_table};
use bk::format::snapshot::{Outcome, Root, Snapshot, Statistics};
use bk::format::tree::encode_node;
use bk::format::{Header, Kind, object};
use bk::id::{BlobId, ObjectId, PackId, RunId};
use bk::repository::{Index, Purpose, Repository, Writer, note};
use bk::store::{Area, LocalStore, ObjectName};
use trees::{Bench, Said, Seen, is_root, look, noise, skipped};

/// A restore of anything small takes no more than this, in bytes.
const MEMORY: u64 = 192 << 20;

/// A repository that somebody hostile wrote, a target with things planted in it, and a canary beside it.
struct Attack {
    bench: Bench,
    repository: Repository,
    canary: BTreeMap<Vec<u8>, Seen>,
    snapshots: std::cell::Cell<i64>,
}

/// A look that does not mind whether a test linked to something.
fn canary(bench: &Bench) -> BTreeMap<Vec<u8>, Seen> {
    let mut canary = look(&bench.path("canary"));
    canary.values_mut().for_each(|seen| seen.first = None);
    canary
}

/// A file of a snapshot.
fn file(name: &[u8], size: u64, parts: Vec<Part>, holes: &[(u64, u64)]) -> Node {
    let holes = holes.iter().map(|(offset, length)| Hole { offset: *offset, length: *length }).collect();
    node(name, NodeKind::File { size, content: Content { level: 0, parts }, holes, class: 1, rows: Vec::new() })
}

fn node(name: &[u8], kind: NodeKind) -> Node {
    let metadata = Metadata { mode: 0o700, ..Metadata::default() };
    Node { name: name.to_vec(), metadata, links: None, kind }
}

fn link(name: &[u8], target: &Path) -> Node {
    node(name, NodeKind::Symlink { target: target.as_os_str().as_encoded_bytes().to_vec() })
}

fn folder(name: &[u8], tree: BlobId) -> Node {
    node(name, NodeKind::Directory { tree })
}

fn snapshot(roots: Vec<Root>) -> Snapshot {
    Snapshot {
        start: Timestamp { seconds: 1_800_000_000, nanos: 0 },
        end: Timestamp { seconds: 1_800_000_000, nanos: 0 },
        host: "mallory".into(),
        profile: Some("target".into()),
        tags: Vec::new(),
        roots,
        statistics: Statistics::default(),
        outcome: Outcome::Complete,
        problems: Vec::new(),
        problem_count: 0,
        hooks: Vec::new(),
        parent: None,
        definition: String::new(),
        configuration: String::new(),
        program: "mallory".into(),
        user: "mallory".into(),
        class_rule: 1,
        run: RunId([7; 16]),
        description: None,
        anomalies: Vec::new(),
        previous: None,
        imported: None,
    }
}

impl Attack {
    fn new() -> Self {
        let bench = Bench::new();
        let data = bench.folder("data");
        let key = KeyFile::generate().unwrap();
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(data.join("key")).unwrap();
        std::fs::write(data.join("key"), key.text().as_bytes()).unwrap();
        let store = Arc::new(LocalStore::create(&data.join("repository")).unwrap());
        let note = note("mallory", SystemClock.wall(), "here");
        let keys = Keys::generate().unwrap();
        let repository = Repository::create(store, keys, &Credential::KeyFile(key), &note).unwrap();
        bench.file("canary/victim", b"untouched");
        bench.file("canary/folder/inside", b"untouched");
        symlink("victim", bench.path("canary/link")).unwrap();
        let canary = canary(&bench);
        Self { bench, repository, canary, snapshots: std::cell::Cell::new(1) }
    }

    fn canary_path(&self, name: &str) -> PathBuf {
        self.bench.path("canary").join(name)
    }

    /// Where roots go: the folder that a restore writes below.
    fn target(&self) -> PathBuf {
        self.bench.path("to/target")
    }

    /// Makes the target before the restore does, so that something can be planted in it.
    fn plant(&self) -> PathBuf {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.target()).unwrap();
        self.target()
    }

    /// Stores blobs, indexes them, and gives their ids.
    fn store(&self, kind: PackKind, blobs: &[Vec<u8>]) -> Vec<BlobId> {
        let index = Index::load(&self.repository, Purpose::Write, &SystemClock).unwrap();
        let writer = Writer::new(&self.repository, &index, RunId([7; 16]), &SystemClock, 1).unwrap();
        let identifier = self.repository.keys().identifier();
        let ids = std::thread::scope(|scope| {
            scope.spawn(|| writer.seal_segments());
            scope.spawn(|| writer.finish_packs());
            let mut builder = writer.segment_builder(kind);
            let mut ids = Vec::new();
            for blob in blobs {
                let id = match kind {
                    PackKind::Data => identifier.data(blob),
                    PackKind::Tree => identifier.tree(blob),
                };
                if writer.claim(&id) {
                    builder.add(id, blob).unwrap();
                }
                ids.push(id);
            }
            builder.flush().unwrap();
            writer.close_queue(1);
            // The packs are ended by `finish`, on this thread.
            writer.close_packs(1);
            ids
        });
        writer.finish().unwrap();
        ids
    }

    fn data(&self, bytes: &[u8]) -> Part {
        let ids = self.store(PackKind::Data, &[bytes.to_vec()]);
        Part { id: ids[0], length: bytes.len() as u64 }
    }

    /// A tree blob of these nodes, as they are and in this order.
    fn tree(&self, nodes: &[Node]) -> BlobId {
        self.store(PackKind::Tree, &[tree_blob(nodes)])[0]
    }

    /// Puts a snapshot that is newer than all before it.
    fn put(&self, snapshot: &Snapshot) {
        let number = self.snapshots.get();
        self.snapshots.set(number + 1);
        let mut snapshot = snapshot.clone();
        snapshot.start.seconds = snapshot.start.seconds.saturating_add(number);
        self.repository.write_object(Kind::Snapshot, &snapshot.encode()).unwrap();
    }

    /// A snapshot with the root `data` that holds `nodes`.
    fn put_nodes(&self, nodes: &[Node]) {
        self.put_root(folder(b"data", self.tree(nodes)));
    }

    fn put_root(&self, node: Node) {
        let restore_name = node.name.clone();
        self.put(&snapshot(vec![Root { path: b"/srv/data".to_vec(), restore_name, node }]));
    }

    /// Restores, and holds the program to what it must never do.
    #[track_caller]
    fn restores(&self, flags: &[&str]) -> Said {
        let to = self.bench.path("to");
        let words = ["restore", "latest", "--to"].map(OsStr::new);
        let words = words.into_iter().chain([to.as_os_str()]).chain(flags.iter().map(OsStr::new));
        let said = self.bench.run_within(MEMORY, words);
        self.is_sane(&said);
        said
    }

    #[track_caller]
    fn is_sane(&self, said: &Said) {
        let code = said.status.code();
        assert!(code.is_some_and(|code| code < 100), "{code:?}: {}", said.text());
        assert!(!said.text().contains("panicked"), "{}", said.text());
        assert!(!said.text().contains('\x1b'), "raw control characters: {:?}", said.text());
        assert_eq!(trees::difference(&self.canary, &canary(&self.bench)), None, "{}", said.text());
        let mut beside: Vec<_> =
            std::fs::read_dir(self.bench.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        beside.retain(|name| !["canary", "data", "to", "bk.toml", "peak", "home"].iter().any(|known| name == known));
        assert_eq!(beside, Vec::<std::ffi::OsString>::new(), "something was made beside the target");
    }

    /// Restores, verified and with everything else to be deleted, and demands a failure or a problem.
    #[track_caller]
    fn is_refused(&self) -> Said {
        let said = self.restores(&["--verify", "--delete"]);
        assert!(!matches!(said.status.code(), Some(0)), "nothing was said: {}", said.text());
        said
    }
}

fn tree_blob(nodes: &[Node]) -> Vec<u8> {
    let encoded: Vec<u8> = nodes.iter().flat_map(encode_node).collect();
    let mut blob = Cbor::new();
    blob.map(2).uint(1_u8).uint(0_u8).uint(2_u8).array(nodes.len()).raw(&encoded);
    blob.into_bytes()
}

#[test]
fn an_honest_repository_made_by_the_same_hands_restores() {
    let attack = Attack::new();
    let part = attack.data(b"content");
    attack.put_nodes(&[file(b"f", 7, vec![part], &[]), link(b"l", Path::new("/etc"))]);
    let said = attack.restores(&["--verify"]);
    said.exits(0);
    assert_eq!(std::fs::read(attack.target().join("data/f")).unwrap(), b"content");
}

// Names.

#[test]
fn names_that_are_not_one_entry_restore_nothing() {
    let names: [&[u8]; 12] = [
        b"..",
        b".",
        b"",
        b"/abs",
        b"/",
        b"a/b",
        b"../canary/victim",
        b"a/../../x",
        b"a\0b",
        b"\0",
        b"..\0",
        &[b'x'; 5000],
    ];
    for name in names {
        let attack = Attack::new();
        let part = attack.data(b"evil");
        let below = attack.tree(&[file(b"victim", 4, vec![part], &[])]);
        let kinds = [
            file(name, 4, vec![part], &[]),
            folder(name, below),
            link(name, &attack.canary_path("folder")),
            node(name, NodeKind::Fifo),
        ];
        for kind in kinds {
            attack.put_nodes(&[kind]);
            attack.is_refused().exits(5);
        }
        let found = look(&attack.target());
        assert!(found.keys().all(|path| path.is_empty() || path == b"data"), "{name:?}: {:?}", found.keys());
    }
}

#[test]
fn a_name_that_no_file_system_takes_is_a_problem_and_the_rest_is_restored() {
    let attack = Attack::new();
    let part = attack.data(b"good");
    attack.put_nodes(&[file(b"a", 4, vec![part], &[]), file(&[b'x'; 300], 4, vec![part], &[])]);
    let said = attack.restores(&[]);
    said.exits(3);
    assert!(attack.target().join("data/a").exists());
}

#[test]
fn names_twice_or_out_of_order_are_refused() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let below = attack.tree(&[file(b"victim", 4, vec![part], &[])]);
    let outside = attack.canary_path("");
    // A link and then a folder of the same name: what is restored below would go through the link.
    let twice = [
        vec![link(b"d", &outside), folder(b"d", below)],
        vec![folder(b"d", below), link(b"d", &outside), folder(b"d", below)],
        vec![file(b"a", 4, vec![part], &[]), file(b"a", 4, vec![part], &[])],
        vec![file(b"b", 4, vec![part], &[]), file(b"a", 4, vec![part], &[])],
    ];
    for nodes in twice {
        attack.put_nodes(&nodes);
        attack.is_refused().exits(5);
    }
}

#[test]
fn names_twice_over_several_tree_blobs_are_refused() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let below = attack.tree(&[file(b"victim", 4, vec![part], &[])]);
    let leaves = [attack.tree(&[link(b"d", &attack.canary_path(""))]), attack.tree(&[folder(b"d", below)])];
    let inner = |entries: &[(&[u8], BlobId)]| {
        let mut blob = Cbor::new();
        blob.map(2).uint(1_u8).uint(1_u8).uint(2_u8).array(entries.len());
        for (name, id) in entries {
            blob.array(2).bytes(name).bytes(&id.0);
        }
        attack.store(PackKind::Tree, &[blob.into_bytes()])[0]
    };
    for tree in [inner(&[(b"a", leaves[0]), (b"z", leaves[1])]), inner(&[(b"a", leaves[0]), (b"b", leaves[0])])] {
        attack.put_root(folder(b"data", tree));
        attack.is_refused().exits(5);
    }
    // Inner trees below inner trees without end: an id cannot hold itself, but depth can be any.
    let mut tree = leaves[0];
    for _ in 0..200 {
        tree = inner(&[(b"a", tree)]);
    }
    attack.put_root(folder(b"data", tree));
    attack.is_refused().exits(5);
}

#[test]
fn roots_that_lead_elsewhere_are_refused() {
    for (name, restore_name) in [
        (&b"victim"[..], &b"../canary/victim"[..]),
        (b"victim", b"/etc/victim"),
        (b"..", b".."),
        (b"x", b"a/../../x"),
        (b"x", b"a//x"),
        (b"x", b"./x"),
        (b"other", b"a/x"),
        (b"", b""),
    ] {
        let attack = Attack::new();
        let part = attack.data(b"evil");
        let node = file(name, 4, vec![part], &[]);
        attack.put(&snapshot(vec![Root { path: b"/x".to_vec(), restore_name: restore_name.to_vec(), node }]));
        attack.is_refused();
    }
}

#[test]
fn two_roots_of_which_one_is_a_link_the_other_goes_through_stay_inside() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let root = |restore_name: &[u8], node| Root { path: b"/x".to_vec(), restore_name: restore_name.to_vec(), node };
    let aims = [attack.canary_path(""), PathBuf::from("../../canary")];
    for aim in &aims {
        let roots = vec![root(b"d", link(b"d", aim)), root(b"d/victim", file(b"victim", 4, vec![part], &[]))];
        attack.put(&snapshot(roots));
        attack.is_refused();
        let roots = vec![root(b"d", link(b"d", aim)), root(b"d/new/f", file(b"f", 4, vec![part], &[]))];
        attack.put(&snapshot(roots));
        attack.is_refused();
    }
}

#[test]
fn a_profile_name_that_is_a_path_makes_no_folder_elsewhere() {
    for profile in ["..", ".", "", "/etc", "../canary", "a/b", "a\0b", "\x1b[31mred\nsecond line"] {
        let attack = Attack::new();
        let part = attack.data(b"evil");
        let node = file(b"victim", 4, vec![part], &[]);
        let root = Root { path: b"/victim".to_vec(), restore_name: b"victim".to_vec(), node };
        attack.put(&Snapshot { profile: Some(profile.into()), ..snapshot(vec![root]) });
        attack.restores(&["--dry-run"]);
        let said = attack.restores(&[]);
        assert!(profile.starts_with('\x1b') || said.status.code() != Some(0), "{profile:?}: {}", said.text());
    }
}

#[test]
fn a_profile_name_may_not_be_a_planted_link() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    attack.put_nodes(&[file(b"victim", 4, vec![part], &[])]);
    attack.bench.folder("to");
    symlink(attack.canary_path(""), attack.target()).unwrap();
    attack.is_refused().exits(1);
}

// What is planted in the target.

#[test]
fn links_planted_in_the_target_are_replaced_not_followed() {
    let attack = Attack::new();
    let part = attack.data(b"good");
    let below = attack.tree(&[file(b"inside", 4, vec![part], &[]), file(b"victim", 4, vec![part], &[])]);
    attack.put_nodes(&[folder(b"folder", below), file(b"victim", 4, vec![part], &[])]);
    for flags in [&[][..], &["--delete"], &["--verify"], &["--overwrite", "if-changed"]] {
        let target = attack.plant();
        let _ = std::fs::remove_dir_all(target.join("data"));
        std::fs::create_dir(target.join("data")).unwrap();
        symlink(attack.canary_path("folder"), target.join("data/folder")).unwrap();
        symlink(attack.canary_path("victim"), target.join("data/victim")).unwrap();
        symlink(attack.canary_path("folder"), target.join("data/more")).unwrap();
        std::fs::hard_link(attack.canary_path("victim"), target.join("data/hard")).unwrap();
        let said = attack.restores(flags);
        said.exits(0);
        assert_eq!(std::fs::read(target.join("data/victim")).unwrap(), b"good");
        assert_eq!(std::fs::read(target.join("data/folder/inside")).unwrap(), b"good");
        std::fs::remove_dir_all(target.join("data")).unwrap();
        // The whole root is a link.
        symlink(attack.canary_path(""), target.join("data")).unwrap();
        let said = attack.restores(flags);
        said.exits(0);
        std::fs::remove_dir_all(target.join("data")).unwrap();
    }
    // With the policy that leaves things alone, a link in a folder's place is a problem.
    symlink(attack.canary_path(""), attack.plant().join("data")).unwrap();
    let said = attack.restores(&["--overwrite", "never"]);
    said.exits(3);
}

#[test]
fn a_hard_link_planted_in_the_target_is_cut_not_written() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let mut frozen = file(b"victim", 4, vec![part], &[]);
    frozen.metadata.mode = 0o4777;
    attack.put_nodes(&[frozen]);
    std::fs::create_dir(attack.plant().join("data")).unwrap();
    std::fs::hard_link(attack.canary_path("victim"), attack.target().join("data/victim")).unwrap();
    let said = attack.restores(&["--verify"]);
    said.exits(0);
    assert_eq!(std::fs::read(attack.target().join("data/victim")).unwrap(), b"evil");
}

// Hard links.

#[test]
fn hard_link_groups_join_only_what_was_restored() {
    let attack = Attack::new();
    let (good, evil) = (attack.data(b"good"), attack.data(b"evil"));
    let group = Some(LinkGroup { filesystem: 0, inode: 1 });
    let grouped = |node: Node| Node { links: group, ..node };
    let below = attack.tree(&[grouped(file(b"a", 4, vec![evil], &[]))]);
    // The same group for a link to the outside, a file, and a file below.
    attack.put_nodes(&[
        grouped(link(b"a", &attack.canary_path("victim"))),
        grouped(file(b"b", 4, vec![good], &[])),
        folder(b"c", below),
    ]);
    for _ in 0..2 {
        attack.restores(&[]);
        // The other names are the link itself, not what it points to.
        let found = look(&attack.target().join("data"));
        for name in [&b"a"[..], b"b", b"c/a"] {
            assert!(found.get(name).is_none_or(|seen| seen.kind == "link"), "{found:?}");
        }
    }
    // A first name that is replaced on the way: by a link in the same tree the name cannot come twice, so by a root.
    let first = grouped(file(b"f", 4, vec![good], &[]));
    let root = |path: &[u8], node: Node| Root { path: path.to_vec(), restore_name: path.to_vec(), node };
    let tree = attack.tree(&[first]);
    let roots = vec![
        root(b"d", folder(b"d", tree)),
        root(b"d", link(b"d", &attack.canary_path("folder"))),
        root(b"e", folder(b"e", attack.tree(&[grouped(file(b"x", 4, vec![good], &[]))]))),
    ];
    attack.put(&snapshot(roots));
    attack.restores(&[]);
    let wild = [u64::MAX, 0].map(|inode| Node {
        links: Some(LinkGroup { filesystem: u64::MAX, inode }),
        ..file(format!("w{inode}").as_bytes(), 4, vec![good], &[])
    });
    attack.put_nodes(&[wild[1].clone(), wild[0].clone()]);
    attack.restores(&[]);
}

// Lengths.

#[test]
fn sizes_that_do_not_add_up_are_refused() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let huge = |length| Part { length, ..part };
    let most = u64::MAX;
    for (name, node) in [
        ("larger than its content", file(b"f", 1 << 63, vec![part], &[])),
        ("content longer than its size", file(b"f", 3, vec![part], &[])),
        ("a hole beyond the size", file(b"f", 100, vec![part], &[(50, 96)])),
        ("a hole that wraps", file(b"f", 100, vec![part], &[(most - 1, 96)])),
        ("a hole of nothing", file(b"f", 4, vec![part], &[(0, 0)])),
        ("holes out of order", file(b"f", 30, vec![part], &[(20, 10), (0, 16)])),
        ("lengths that wrap", file(b"f", 4, vec![huge(most), part, huge(1)], &[])),
        ("many parts of one", file(b"f", 4, vec![part; 1000], &[])),
    ] {
        attack.put_nodes(&[node]);
        eprintln!("{name}");
        attack.is_refused().exits(5);
    }
}

#[test]
fn lengths_that_add_up_and_are_lies_take_no_memory() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let huge = |length| Part { length, ..part };
    for length in [5, 1 << 33, 1 << 43, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
        attack.put_nodes(&[file(b"f", length, vec![huge(length)], &[])]);
        attack.is_refused();
        attack.put_nodes(&[file(b"f", length, vec![huge(length - 2), huge(2)], &[])]);
        attack.is_refused();
    }
    assert!(!attack.target().join("data/f").exists());
    // Over a sparse file that is as long as the lie.
    let (size, target) = (1 << 40, attack.plant());
    let _ = std::fs::create_dir(target.join("data"));
    std::fs::File::create(target.join("data/f")).unwrap().set_len(size).unwrap();
    attack.put_nodes(&[file(b"f", size, vec![huge(size)], &[])]);
    attack.is_refused();
    // As a list of parts that are no lists.
    for level in [1, 7, 8, 255] {
        let content = Content { level, parts: vec![part] };
        let kind = NodeKind::File { size: 4, content, holes: Vec::new(), class: 1, rows: Vec::new() };
        attack.put_nodes(&[node(b"f", kind)]);
        attack.is_refused().exits(5);
    }
}

#[test]
fn a_file_of_nothing_but_a_huge_hole_takes_no_memory_and_no_room() {
    let attack = Attack::new();
    attack.put_nodes(&[file(b"small", 1 << 40, Vec::new(), &[(0, 1 << 40)])]);
    let said = attack.restores(&["--verify"]);
    said.exits(0);
    for size in [1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
        attack.put_nodes(&[file(b"huge", size, Vec::new(), &[(0, size)])]);
        attack.is_refused();
    }
}

#[test]
fn values_of_attributes_that_lie_about_their_length_are_refused() {
    let attack = Attack::new();
    let (small, large) = (attack.data(b"evil"), attack.data(&noise(1, 8 << 20)));
    let mut blobs = vec![
        vec![Part { length: u64::MAX, ..small }],
        vec![Part { length: 0, ..large }; 200],
        vec![Part { length: 1, ..large }, Part { length: u64::MAX - 1, ..large }],
        vec![small, large],
        vec![large; 64],
    ];
    blobs.push(vec![Part { length: 3, ..small }]);
    for parts in blobs {
        let xattrs = vec![Xattr { name: b"user.x".to_vec(), value: XattrValue::Stored(Content { level: 0, parts }) }];
        let mut bad = file(b"f", 4, vec![small], &[]);
        bad.metadata.xattrs = xattrs;
        attack.put_nodes(&[bad.clone()]);
        attack.is_refused();
        attack.put_nodes(&[Node { kind: folder(b"f", attack.tree(&[])).kind, ..bad }]);
        attack.is_refused();
    }
}

#[test]
fn counts_in_a_snapshot_that_are_lies_change_nothing() {
    let attack = Attack::new();
    let part = attack.data(b"good");
    let node = file(b"f", 4, vec![part], &[]);
    let root = Root { path: b"/f".to_vec(), restore_name: b"f".to_vec(), node };
    let most = u64::MAX;
    let statistics =
        Statistics { files: most, directories: most, others: most, total_bytes: most, ..Statistics::default() };
    let times = [i64::MIN, i64::MAX, 0].map(|seconds| Timestamp { seconds, nanos: 999_999_999 });
    for start in times {
        let attack = Attack::new();
        let node = file(b"f", 4, vec![attack.data(b"good")], &[]);
        let honest = snapshot(vec![Root { node, ..root.clone() }]);
        attack.put(&Snapshot { statistics, start, end: start, problem_count: most, ..honest });
        let said = attack.restores(&[]);
        said.exits(0);
    }
    // And as the parent of a backup.
    let source = attack.bench.file("to/f", b"good");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let path = source.as_os_str().as_encoded_bytes().to_vec();
    let lie = Snapshot { statistics, host, profile: None, ..snapshot(vec![Root { path, ..root }]) };
    attack.put(&lie);
    let said = attack.bench.run([OsStr::new("backup"), source.as_os_str()]);
    attack.is_sane(&said);
    said.exits(0);
}

#[test]
fn words_of_a_snapshot_are_shown_without_control_characters() {
    let attack = Attack::new();
    let part = attack.data(b"evil");
    let bad = "\x1b]0;owned\x07\x1b[2J\nsecond line";
    let name = bad.as_bytes();
    let tree = attack.tree(&[file(name, 5, vec![Part { length: 5, ..part }], &[]), file(b"z", 4, vec![part], &[])]);
    let node = folder(name, tree);
    let root = Root { path: [b"/", name].concat(), restore_name: name.to_vec(), node };
    let honest = snapshot(vec![root]);
    attack.put(&Snapshot { host: bad.into(), profile: Some(bad.into()), outcome: Outcome::Incomplete, ..honest });
    for flags in [&["--dry-run"][..], &[], &["--verify"]] {
        let said = attack.restores(flags);
        assert!(!said.text().lines().any(|line| line.starts_with("second line")), "{}", said.text());
    }
}

// Trees.

#[test]
fn ten_thousand_folders_inside_each_other_are_restored_in_little_memory() {
    let attack = Attack::new();
    let part = attack.data(b"deep");
    let mut blobs = vec![tree_blob(&[file(b"bottom", 4, vec![part], &[])])];
    for _ in 0..10_000 {
        let id = attack.repository.keys().identifier().tree(blobs.last().unwrap());
        blobs.push(tree_blob(&[folder(b"d", id)]));
    }
    let ids = attack.store(PackKind::Tree, &blobs);
    attack.put_root(folder(b"data", *ids.last().unwrap()));
    attack.restores(&["--dry-run"]);
    let said = attack.restores(&[]);
    assert!(matches!(said.status.code(), Some(0 | 3)), "{}", said.text());
    attack.restores(&["--verify", "--delete"]);
}

#[test]
fn counts_larger_than_what_follows_are_refused() {
    let attack = Attack::new();
    for count in [1_000_000_000_usize, 1 << 40, usize::MAX] {
        let mut blob = Cbor::new();
        blob.map(2).uint(1_u8).uint(0_u8).uint(2_u8).array(count).raw(&encode_node(&node(b"a", NodeKind::Fifo)));
        attack.put_root(folder(b"data", attack.store(PackKind::Tree, &[blob.into_bytes()])[0]));
        attack.is_refused().exits(5);
    }
    // As many items as bytes, each of which could be reserved room for.
    let mut blob = Cbor::new();
    blob.map(2).uint(1_u8).uint(0_u8).uint(2_u8).array(4 << 20).raw(&vec![0xa0; 4 << 20]);
    attack.put_root(folder(b"data", attack.store(PackKind::Tree, &[blob.into_bytes()])[0]));
    attack.is_refused().exits(5);
}

#[test]
fn a_snapshot_that_is_not_one_does_not_hide_the_others() {
    let attack = Attack::new();
    let part = attack.data(b"good");
    attack.put_nodes(&[file(b"f", 4, vec![part], &[])]);
    let mut roots = Fields::new();
    roots.field(6).array(1_000_000_000);
    for payload in [Vec::new(), vec![0x81; 100_000], vec![0xbf; 1000], roots.into_bytes()] {
        attack.repository.write_object(Kind::Snapshot, &payload).unwrap();
    }
    let said = attack.restores(&[]);
    said.exits(0).says("left out");
    assert!(attack.target().join("data/f").exists());
}

// Packs and index.

impl Attack {
    /// A sealed pack of one segment with `stored` in it, and an index object that says `said` of it.
    fn lie(&self, kind: PackKind, stored: &[u8], said: impl FnOnce(&mut Segment)) {
        let keys = self.repository.keys();
        let header = Header::new(kind.object(), keys.epoch(), [9; 32], None);
        let sealer = object::sealer(keys, self.repository.config().repository, &header).unwrap();
        let mut sealed = [&[0; PREFIX_LEN], stored].concat();
        let id = BlobId([0; 32]);
        sealer.seal(0, &[id], false, &mut sealed).unwrap();
        let bytes = [header.bytes(), &sealed, &[0; 4096]].concat();
        let name = PackName { id: PackId(*blake3::hash(&bytes).as_bytes()), nonce: [1; 8] };
        let mut upload = self.repository.store().begin().unwrap();
        upload.write(&bytes).unwrap();
        upload.finish(&ObjectName::Pack(name)).unwrap();
        let stored_len = sealed.len() as u32;
        let mut segment =
            Segment { number: 0, encoding: Encoding::Raw, stored_len, blobs: vec![(id, stored.len() as u32)] };
        said(&mut segment);
        let pack = IndexedPack { name, size: bytes.len() as u64, header, segments: vec![segment] };
        let index = IndexFile { run: RunId([7; 16]), time: Timestamp::default(), packs: vec![pack] };
        self.repository.write_object(Kind::Index, &index.encode()).unwrap();
    }
}

#[test]
fn a_compressed_bomb_is_not_inflated() {
    let bomb = zstd::bulk::compress(&vec![0; 1 << 30], 19).unwrap();
    for claimed in [8 << 20, bomb.len() as u32 + 1] {
        let attack = Attack::new();
        let id = attack.repository.keys().identifier().data(&vec![0; claimed as usize]);
        attack.lie(PackKind::Data, &bomb, |segment| {
            segment.encoding = Encoding::Zstd;
            segment.blobs = vec![(id, claimed)];
        });
        let part = Part { id, length: claimed.into() };
        attack.put_nodes(&[file(b"f", claimed.into(), vec![part], &[])]);
        attack.is_refused().exits(5);
    }
}

#[test]
fn a_table_that_lies_is_refused() {
    type Lie = fn(&mut Segment);
    let wanted = BlobId([0; 32]);
    let lies: [(&str, Lie); 9] = [
        ("longer than any segment", |segment| segment.blobs[0].1 = u32::MAX),
        ("lengths that wrap", |segment| segment.blobs = vec![(BlobId([0; 32]), u32::MAX); 3]),
        ("another stored length", |segment| segment.stored_len = 31),
        ("beyond the pack", |segment| segment.stored_len = u32::MAX),
        ("another number", |segment| segment.number = 1),
        ("a reserved number", |segment| segment.number = u32::MAX),
        ("another blob under the id", |_| {}),
        ("no blobs", |segment| segment.blobs.clear()),
        ("empty blobs in front", |segment| segment.blobs.splice(0..0, vec![(BlobId([5; 32]), 0); 1000]).for_each(drop)),
    ];
    for (name, lie) in lies {
        eprintln!("{name}");
        let attack = Attack::new();
        attack.put_nodes(&[file(b"f", 10, vec![Part { id: wanted, length: 10 }], &[])]);
        attack.lie(PackKind::Data, b"some bytes", lie);
        attack.is_refused().exits(5);
    }
    // A blob of the other kind of pack is none.
    let attack = Attack::new();
    let id = attack.data(&tree_blob(&[])).id;
    attack.put_root(folder(b"data", id));
    attack.is_refused().exits(5);
}

#[test]
fn an_index_that_says_a_thousand_million_is_refused() {
    for write in [
        (|fields: &mut Fields| {
            fields.field(3).array(1_000_000_000);
        }) as fn(&mut Fields),
        |fields| {
            let mut table = Cbor::new();
            encode_table(&[], &mut table);
            fields.field(3).array(1).array(5).bytes(&[0; 32]).bytes(&[0; 8]).uint(u64::MAX).bytes(&[0; 44]);
        },
    ] {
        let attack = Attack::new();
        let part = attack.data(b"good");
        attack.put_nodes(&[file(b"f", 4, vec![part], &[])]);
        let mut fields = Fields::new();
        fields.field(1).bytes(&[0; 16]);
        fields.field(2).array(2).uint(0_u8).uint(0_u8);
        write(&mut fields);
        attack.repository.write_object(Kind::Index, &fields.into_bytes()).unwrap();
        // What other index objects know is still found; the bad one is named, here and by a check.
        attack.bench.run(["check"]).exits(5).says("index/");
    }
}

#[test]
fn a_key_slot_that_asks_for_four_tebibytes_is_refused_at_once() {
    let attack = Attack::new();
    let store = attack.repository.store();
    let listed = store.list(Area::Keys).unwrap();
    let honest = store.get(&listed[0].name).unwrap();
    let header_len = Header::decode(&honest).unwrap().bytes().len();
    let old_len = u32::from_le_bytes(honest[header_len..header_len + 4].try_into().unwrap()) as usize;
    for (memory, passes, lanes) in [
        (1_u64 << 32, 1, 1),
        (u64::from(u32::MAX), 1, 1),
        (65536, u64::from(u32::MAX), 1),
        (65536, 1, u64::from(u32::MAX)),
        (0, 0, 0),
    ] {
        let mut fields = Fields::new();
        for (key, value) in [(1, 1), (2, memory), (3, passes), (4, lanes)] {
            fields.field(key).uint(value);
        }
        let parameters = fields.into_bytes();
        let rest = &honest[header_len + 4 + old_len..];
        let bytes = [&honest[..header_len], &(parameters.len() as u32).to_le_bytes(), &parameters, rest].concat();
        let name = ObjectName::Plain(Area::Keys, ObjectId(*blake3::hash(&bytes).as_bytes()));
        for other in store.list(Area::Keys).unwrap() {
            store.delete(&other.name).unwrap();
        }
        store.put_new(&name, &bytes).unwrap();
        let repository = attack.bench.path("data/repository");
        let mut command = attack.bench.bk();
        command.env("BK_PASSWORD", "a password").arg("--repo").arg(&repository);
        command.args(["restore", "latest", "--to"]).arg(attack.bench.path("to"));
        let started = std::time::Instant::now();
        let said = Said::by(&mut command);
        attack.is_sane(&said);
        assert_ne!(said.status.code(), Some(0), "{}", said.text());
        assert!(started.elapsed().as_secs() < 5, "{memory} {passes} {lanes}: {:?}", started.elapsed());
    }
}

#[test]
fn a_device_or_a_setuid_file_is_only_what_the_restoring_user_may_make() {
    if !is_root() {
        return skipped("restoring as another user", "only root can become one");
    }
    let mut attack = Attack::new();
    let part = attack.data(b"evil");
    let mut setuid = file(b"setuid", 4, vec![part], &[]);
    setuid.metadata.mode = 0o6777;
    attack.put_nodes(&[node(b"device", NodeKind::BlockDevice { major: 8, minor: 0 }), setuid]);
    for name in ["data", "to"] {
        attack.bench.folder(name);
    }
    Said::by(std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(attack.bench.path(""))).exits(0);
    attack.canary = canary(&attack.bench);
    attack.bench.as_user = Some(trees::NOBODY);
    let said = attack.restores(&[]);
    said.exits(3);
    let found = look(&attack.target().join("data"));
    assert!(!found.contains_key(&b"device"[..]), "{found:?}");
    let seen = &found[&b"setuid"[..]];
    // It belongs to whoever restored it, and must not be more than a program of theirs that everybody may run as them.
    assert_eq!((seen.owner, seen.mode & 0o6000), ((trees::NOBODY, trees::NOBODY), 0), "{seen:?}");
}
