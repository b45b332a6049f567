//! The bench for the tests of this folder: small repositories, made without reading any source.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::clock::SystemClock;
use crate::crypto::{KeyFile, Keys};
use crate::format::content;
use crate::format::key_slot::{Credential, Note};
use crate::format::node::{Content, Hole, LinkGroup, Metadata, Node, NodeKind, Part, Timestamp};
use crate::format::pack::PackKind;
use crate::format::snapshot::{Outcome, Root, Snapshot, Statistics};
use crate::format::tree::{TreeWriter, encode_node};
use crate::id::{BlobId, RunId};
use crate::repository::{
    BlobReader, Commit, Index, Purpose, Repository, RepositoryError, SegmentBuilder, SnapshotInfo, Writer,
};
use crate::store::LocalStore;

/// Never set.
pub(crate) static RUNNING: AtomicBool = AtomicBool::new(false);

/// Files are cut into pieces of so many bytes.
pub(crate) const PIECE: usize = 100;

/// An entry to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) node: Node,
    data: Vec<u8>,
    children: Vec<Self>,
}

fn sample(name: &str, kind: NodeKind, mode: u32) -> Sample {
    let metadata =
        Metadata { mode, mtime: Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 }, ..Metadata::default() };
    let node = Node { name: name.as_bytes().to_vec(), metadata, links: None, kind };
    Sample { node, data: Vec::new(), children: Vec::new() }
}

pub(crate) fn file(name: &str, data: &[u8]) -> Sample {
    sparse(name, data, &[])
}

/// `data` with holes put between its bytes.
pub(crate) fn sparse(name: &str, data: &[u8], holes: &[(u64, u64)]) -> Sample {
    let holes: Vec<_> = holes.iter().map(|(offset, length)| Hole { offset: *offset, length: *length }).collect();
    let size = data.len() as u64 + holes.iter().map(|hole| hole.length).sum::<u64>();
    let kind = NodeKind::File { size, content: Content::default(), holes, class: 0, rows: Vec::new() };
    Sample { data: data.to_vec(), ..sample(name, kind, 0o644) }
}

pub(crate) fn folder(name: &str, children: Vec<Sample>) -> Sample {
    Sample { children, ..sample(name, NodeKind::Directory { tree: BlobId([0; 32]) }, 0o755) }
}

pub(crate) fn symlink(name: &str, target: &str) -> Sample {
    sample(name, NodeKind::Symlink { target: target.as_bytes().to_vec() }, 0o777)
}

pub(crate) fn other(name: &str, kind: NodeKind) -> Sample {
    sample(name, kind, 0o600)
}

impl Sample {
    pub(crate) fn linked(mut self, inode: u64) -> Self {
        self.node.links = Some(LinkGroup { filesystem: 0, inode });
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Node)) -> Self {
        change(&mut self.node);
        self
    }
}

/// A repository in a folder of its own.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) repository: Repository,
    runs: std::cell::Cell<u8>,
}

struct Storing<'a> {
    writer: &'a Writer<'a>,
    repository: &'a Repository,
    data: SegmentBuilder<'a>,
    trees: SegmentBuilder<'a>,
}

impl Storing<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<BlobId, RepositoryError> {
        let id = self.repository.keys().identifier().data(bytes);
        if self.writer.claim(&id) {
            self.data.add(id, bytes)?;
        }
        Ok(id)
    }

    fn tree(&mut self, bytes: &[u8]) -> Result<BlobId, RepositoryError> {
        let id = self.repository.keys().identifier().tree(bytes);
        if self.writer.claim(&id) {
            self.trees.add(id, bytes)?;
        }
        Ok(id)
    }

    fn store(&mut self, sample: Sample) -> Result<Node, RepositoryError> {
        let Sample { mut node, data, mut children } = sample;
        match &mut node.kind {
            NodeKind::File { content, .. } => {
                let mut parts = Vec::new();
                for piece in data.chunks(PIECE) {
                    parts.push(Part { id: self.data(piece)?, length: piece.len() as u64 });
                }
                *content = content::fold(parts, |list| self.tree(&list))?;
            }
            NodeKind::Directory { tree } => {
                children.sort_by(|a, b| a.node.name.cmp(&b.node.name));
                let identifier = self.repository.keys().identifier();
                let mut writer = TreeWriter::new(identifier);
                for child in children {
                    let child = self.store(child)?;
                    writer.push(&child.name, &encode_node(&child), &mut |blob| self.tree(&blob))?;
                }
                *tree = writer.finish(&mut |blob| self.tree(&blob))?;
            }
            _ => {}
        }
        Ok(node)
    }
}

/// A snapshot without roots.
pub(crate) fn empty_snapshot() -> Snapshot {
    Snapshot {
        start: Timestamp { seconds: 1_700_000_000, nanos: 0 },
        end: Timestamp { seconds: 1_700_000_060, nanos: 0 },
        host: "alpha".into(),
        profile: Some("plex".into()),
        tags: Vec::new(),
        roots: Vec::new(),
        statistics: Statistics::default(),
        outcome: Outcome::Complete,
        problems: Vec::new(),
        problem_count: 0,
        hooks: Vec::new(),
        parent: None,
        definition: String::new(),
        configuration: String::new(),
        program: "bk 0.1.0".into(),
        user: "root".into(),
        class_rule: 1,
        run: RunId([1; 16]),
        description: None,
        anomalies: Vec::new(),
        previous: None,
        imported: None,
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(&folder.path().join("repository")).unwrap();
        let credential = Credential::KeyFile(KeyFile::generate().unwrap());
        let keys = Keys::generate().unwrap();
        let repository = Repository::create(Arc::new(store), keys, &credential, &Note::default()).unwrap();
        Self { folder, repository, runs: std::cell::Cell::new(0) }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Stores the roots, each with the folder it was in, in a snapshot an hour after the one before.
    pub(crate) fn snapshot(&self, roots: Vec<(&str, Sample)>) -> SnapshotInfo {
        self.snapshot_with(roots, |_| {})
    }

    pub(crate) fn snapshot_with(&self, roots: Vec<(&str, Sample)>, change: impl FnOnce(&mut Snapshot)) -> SnapshotInfo {
        let run = self.runs.get();
        self.runs.set(run + 1);
        let index = Index::load(&self.repository, Purpose::Write, &SystemClock).unwrap();
        let writer = Writer::new(&self.repository, &index, RunId([run; 16]), &SystemClock, 1).unwrap();
        let mut snapshot = empty_snapshot();
        snapshot.start.seconds += i64::from(run) * 3600;
        snapshot.end.seconds += i64::from(run) * 3600;
        std::thread::scope(|scope| {
            let sealing = scope.spawn(|| writer.seal_segments());
            scope.spawn(|| writer.finish_packs());
            let mut storing = Storing {
                writer: &writer,
                repository: &self.repository,
                data: writer.segment_builder(PackKind::Data),
                trees: writer.segment_builder(PackKind::Tree),
            };
            for (above, sample) in roots {
                let node = storing.store(sample).unwrap();
                let path = super::list::join(above.as_bytes(), &node.name);
                let restore_name = path.strip_prefix(b"/").unwrap_or(&path).to_vec();
                snapshot.roots.push(Root { path, restore_name, node });
            }
            storing.data.flush().unwrap();
            storing.trees.flush().unwrap();
            writer.close_queue(1);
            sealing.join().unwrap();
            writer.close_packs(1);
        });
        writer.finish().unwrap();
        change(&mut snapshot);
        Commit { repository: &self.repository, index: &index, clock: &SystemClock }.put(&writer, &snapshot).unwrap()
    }

    pub(crate) fn index(&self) -> Index {
        Index::load(&self.repository, Purpose::Read, &SystemClock).unwrap()
    }

    /// Runs `work` with a reader of everything stored so far.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&mut BlobReader<'_>) -> T) -> T {
        let index = self.index();
        work(&mut BlobReader::new(&self.repository, &index).unwrap())
    }
}
