//! Trees: the stored form of a directory and its nodes. bk-repository(7), "TREES".

use std::ops::Range;
use std::sync::Arc;

use super::DecodeError;
use super::cbor::{Fields, Reader, Writer};
use super::content;
use super::node::{Hole, LinkGroup, Metadata, Node, NodeKind, TableRows, Timestamp, Xattr, XattrValue};
use crate::crypto::Identifier;
use crate::id::BlobId;

/// Directories with more entries are cut into several tree blobs.
const MAX_ENTRIES: usize = 1024;
const MIN_LEAF: usize = 128;
const MAX_LEAF: usize = 4096;
/// Deepest nesting of inner trees.
pub const MAX_DEPTH: u8 = 8;
/// The longest name, in bytes.
pub const MAX_NAME_LEN: usize = 4096;
/// Longer values of extended attributes are stored in blobs of their own, in bytes.
pub const MAX_INLINE_XATTR_LEN: usize = 4096;
/// The longest content of a tree or list blob, in bytes.
pub const MAX_TREE_LEN: usize = 8 << 20;

/// Whether `name` may stand in a tree: anything else could lead out of a restore's destination.
#[must_use]
pub fn is_valid_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && name.len() <= MAX_NAME_LEN && !name.contains(&b'/') && !name.contains(&0)
}

/// A decoded tree blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Entries, ascending by name, each with where its encoded form lies in the blob.
    Leaf(Vec<(Node, Range<usize>)>),
    /// First name and id of the trees below, ascending.
    Inner(Vec<(Vec<u8>, BlobId)>),
}

/// Writes a time.
pub fn encode_time(writer: &mut Writer, time: Timestamp) {
    writer.array(2).int(time.seconds).uint(time.nanos);
}

/// Reads a time.
///
/// # Errors
/// [`DecodeError`] for anything else.
pub fn decode_time(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    reader.tuple::<2>()?;
    let time = Timestamp { seconds: reader.int()?, nanos: reader.small()? };
    if time.nanos >= 1_000_000_000 {
        return Err(reader.error("nanoseconds are out of bounds"));
    }
    Ok(time)
}

fn encode_metadata(fields: &mut Fields, metadata: &Metadata) {
    fields.field(3).uint(metadata.mode);
    for (key, id) in [(4, metadata.uid), (5, metadata.gid)] {
        if id != 0 {
            fields.field(key).uint(id);
        }
    }
    for (key, name) in [(6, &metadata.user), (7, &metadata.group)] {
        if let Some(name) = name {
            fields.field(key).text(name);
        }
    }
    for (key, time) in [(8, metadata.mtime), (9, metadata.ctime)] {
        encode_time(fields.field(key), time);
    }
    if !metadata.xattrs.is_empty() {
        let writer = fields.field(10).array(metadata.xattrs.len());
        for Xattr { name, value } in &metadata.xattrs {
            writer.array(2).bytes(name);
            match value {
                XattrValue::Inline(value) => drop(writer.bytes(value)),
                XattrValue::Stored(stored) => content::encode(stored, writer),
            }
        }
    }
    if metadata.flags != 0 {
        fields.field(11).uint(metadata.flags);
    }
}

/// Encodes one node.
#[must_use]
pub fn encode_node(node: &Node) -> Vec<u8> {
    let mut fields = Fields::new();
    fields.field(1).bytes(&node.name);
    fields.field(2).uint(match node.kind {
        NodeKind::File { .. } => 0_u8,
        NodeKind::Directory { .. } => 1,
        NodeKind::Symlink { .. } => 2,
        NodeKind::CharDevice { .. } => 3,
        NodeKind::BlockDevice { .. } => 4,
        NodeKind::Fifo => 5,
        NodeKind::Socket => 6,
    });
    encode_metadata(&mut fields, &node.metadata);
    if let Some(group) = node.links {
        fields.field(12).array(2).uint(group.filesystem).uint(group.inode);
    }
    match &node.kind {
        NodeKind::File { size, content, holes, class, rows } => {
            if *size != 0 {
                fields.field(13).uint(*size);
            }
            if !content.parts.is_empty() {
                content::encode(content, fields.field(14));
            }
            if !holes.is_empty() {
                let writer = fields.field(15).array(holes.len());
                for hole in holes {
                    writer.array(2).uint(hole.offset).uint(hole.length);
                }
            }
            if *class != 0 {
                fields.field(16).uint(*class);
            }
            if !rows.is_empty() {
                let writer = fields.field(17).array(rows.len());
                for TableRows { table, rows } in rows {
                    writer.array(2).text(table).uint(*rows);
                }
            }
        }
        NodeKind::Directory { tree } => drop(fields.field(18).bytes(&tree.0)),
        NodeKind::Symlink { target } => drop(fields.field(19).bytes(target)),
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
            fields.field(20).array(2).uint(*major).uint(*minor);
        }
        NodeKind::Fifo | NodeKind::Socket => {}
    }
    fields.into_bytes()
}

fn decode_list<T>(
    reader: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.array()?;
    let mut list = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        list.push(item(reader)?);
    }
    Ok(list)
}

fn decode_xattrs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>, DecodeError> {
    let xattrs = decode_list(reader, |reader| {
        reader.tuple::<2>()?;
        let name = reader.bytes()?.to_vec();
        let mut probe = reader.clone();
        let value = match probe.bytes() {
            Ok(value) => {
                let value = XattrValue::Inline(value.to_vec());
                *reader = probe;
                value
            }
            Err(_) => XattrValue::Stored(content::decode(reader)?),
        };
        Ok(Xattr { name, value })
    })?;
    if xattrs.windows(2).any(|pair| matches!(pair, [a, b] if a.name >= b.name)) {
        return Err(reader.error("extended attributes are not in order"));
    }
    Ok(xattrs)
}

fn decode_holes(reader: &mut Reader<'_>) -> Result<Vec<Hole>, DecodeError> {
    decode_list(reader, |reader| {
        reader.tuple::<2>()?;
        Ok(Hole { offset: reader.uint()?, length: reader.uint()? })
    })
}

/// Everything a node may hold, before it is known which kind it is.
#[derive(Default)]
struct Parts {
    name: Option<Vec<u8>>,
    kind: Option<u64>,
    mode: Option<u32>,
    mtime: Option<Timestamp>,
    ctime: Option<Timestamp>,
    metadata: Metadata,
    links: Option<LinkGroup>,
    size: u64,
    content: super::node::Content,
    holes: Vec<Hole>,
    class: u8,
    rows: Vec<TableRows>,
    tree: Option<BlobId>,
    target: Option<Vec<u8>>,
    device: Option<(u32, u32)>,
}

impl Parts {
    fn field(&mut self, key: u64, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
        match key {
            1 => self.name = Some(reader.bytes()?.to_vec()),
            2 => self.kind = Some(reader.uint()?),
            3 => self.mode = Some(reader.small()?),
            4 => self.metadata.uid = reader.small()?,
            5 => self.metadata.gid = reader.small()?,
            6 => self.metadata.user = Some(Arc::from(reader.text()?)),
            7 => self.metadata.group = Some(Arc::from(reader.text()?)),
            8 => self.mtime = Some(decode_time(reader)?),
            9 => self.ctime = Some(decode_time(reader)?),
            10 => self.metadata.xattrs = decode_xattrs(reader)?,
            11 => self.metadata.flags = reader.small()?,
            12 => {
                reader.tuple::<2>()?;
                self.links = Some(LinkGroup { filesystem: reader.uint()?, inode: reader.uint()? });
            }
            13 => self.size = reader.uint()?,
            14 => self.content = content::decode(reader)?,
            15 => self.holes = decode_holes(reader)?,
            16 => self.class = reader.small()?,
            17 => {
                self.rows = decode_list(reader, |reader| {
                    reader.tuple::<2>()?;
                    Ok(TableRows { table: reader.text()?.to_owned(), rows: reader.uint()? })
                })?;
            }
            18 => self.tree = Some(BlobId(reader.fixed()?)),
            19 => self.target = Some(reader.bytes()?.to_vec()),
            20 => {
                reader.tuple::<2>()?;
                self.device = Some((reader.small()?, reader.small()?));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A file's holes are in order and inside it, and content and holes make up its size.
    fn has_consistent_size(&self) -> bool {
        let mut end = 0;
        let mut holes = 0_u64;
        for (at, hole) in self.holes.iter().enumerate() {
            let touches = at > 0 && hole.offset == end;
            let Some(hole_end) = hole.offset.checked_add(hole.length) else { return false };
            if hole.offset < end || touches || hole.length == 0 || hole_end > self.size {
                return false;
            }
            end = hole_end;
            holes += hole.length;
        }
        self.content.length().and_then(|length| length.checked_add(holes)) == Some(self.size)
    }

    fn into_node(mut self, error: impl Fn(&'static str) -> DecodeError) -> Result<Node, DecodeError> {
        let name = self.name.take().filter(|name| is_valid_name(name)).ok_or_else(|| error("a name is not allowed"))?;
        let mode = self.mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| error("a mode is out of bounds"))?;
        let (Some(mtime), Some(ctime)) = (self.mtime, self.ctime) else { return Err(error("a node has no times")) };
        let metadata = Metadata { mode, mtime, ctime, ..std::mem::take(&mut self.metadata) };
        let device = || self.device.ok_or_else(|| error("a device has no number"));
        let kind = match self.kind {
            Some(0) if self.has_consistent_size() => NodeKind::File {
                size: self.size,
                content: self.content,
                holes: self.holes,
                class: self.class,
                rows: self.rows,
            },
            Some(0) => return Err(error("content and holes of a file do not make up its size")),
            Some(1) => NodeKind::Directory { tree: self.tree.ok_or_else(|| error("a directory has no tree"))? },
            Some(2) => NodeKind::Symlink { target: self.target.take().ok_or_else(|| error("a link has no target"))? },
            Some(3) => device().map(|(major, minor)| NodeKind::CharDevice { major, minor })?,
            Some(4) => device().map(|(major, minor)| NodeKind::BlockDevice { major, minor })?,
            Some(5) => NodeKind::Fifo,
            Some(6) => NodeKind::Socket,
            _ => return Err(error("the type of a node is unknown")),
        };
        Ok(Node { name, metadata, links: self.links, kind })
    }
}

/// Reads one node.
///
/// # Errors
/// [`DecodeError`] for anything that a restore could not trust: forbidden names, sizes that do not add up.
pub fn decode_node(reader: &mut Reader<'_>) -> Result<Node, DecodeError> {
    let mut parts = Parts::default();
    reader.map(|key, reader| parts.field(key, reader))?;
    parts.into_node(|what| reader.error(what))
}

/// Reads a tree blob.
///
/// # Errors
/// [`DecodeError`] for anything else, names out of order included.
pub fn decode(blob: &[u8]) -> Result<Tree, DecodeError> {
    let mut reader = Reader::new(blob);
    let mut inner = None;
    let mut tree = None;
    reader.map(|key, reader| {
        match (key, inner) {
            (1, _) => inner = Some(reader.small::<u8>()?),
            (2, Some(0)) => {
                let entries = decode_list(reader, |reader| {
                    let start = reader.position();
                    let node = decode_node(reader)?;
                    Ok((node, start..reader.position()))
                })?;
                if entries.windows(2).any(|pair| matches!(pair, [a, b] if a.0.name >= b.0.name)) {
                    return Err(reader.error("names of a tree are not in order"));
                }
                tree = Some(Tree::Leaf(entries));
            }
            (2, Some(1)) => {
                let entries = decode_list(reader, |reader| {
                    reader.tuple::<2>()?;
                    Ok((reader.bytes()?.to_vec(), BlobId(reader.fixed()?)))
                })?;
                if entries.windows(2).any(|pair| matches!(pair, [a, b] if a.0 >= b.0)) {
                    return Err(reader.error("names of a tree are not in order"));
                }
                tree = Some(Tree::Inner(entries));
            }
            (2, _) => return Err(reader.error("the kind of a tree is unknown")),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    reader.end()?;
    tree.ok_or_else(|| reader.error("a tree has no entries"))
}

fn encode_blob(kind: u8, count: usize, items: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2).uint(1_u8).uint(kind).uint(2_u8).array(count).raw(items);
    writer.into_bytes()
}

/// Collects the nodes of one directory and cuts it into tree blobs.
pub struct TreeWriter<'a> {
    identifier: &'a Identifier,
    /// Encoded nodes of the leaf being filled.
    nodes: Vec<u8>,
    /// Names and ends of those nodes, kept until the directory is known to be large.
    small: Vec<(Vec<u8>, usize)>,
    count: usize,
    first: Vec<u8>,
    last: Vec<u8>,
    leaves: Vec<(Vec<u8>, BlobId)>,
    large: bool,
}

/// The one tree blob of a folder with these entries, ascending by name: what a reader of another format gives out, as
/// nothing of it is stored.
#[must_use]
pub fn leaf(nodes: &[Node]) -> Vec<u8> {
    let encoded: Vec<u8> = nodes.iter().flat_map(encode_node).collect();
    encode_blob(0, nodes.len(), &encoded)
}

impl<'a> TreeWriter<'a> {
    /// For an empty directory.
    #[must_use]
    pub const fn new(identifier: &'a Identifier) -> Self {
        Self {
            identifier,
            nodes: Vec::new(),
            small: Vec::new(),
            count: 0,
            first: Vec::new(),
            last: Vec::new(),
            leaves: Vec::new(),
            large: false,
        }
    }

    /// Adds the next node in the order of names, encoded; `store` keeps a tree blob and gives its id.
    ///
    /// # Errors
    /// What `store` returns.
    pub fn push<E>(
        &mut self,
        name: &[u8],
        encoded: &[u8],
        store: &mut impl FnMut(Vec<u8>) -> Result<BlobId, E>,
    ) -> Result<(), E> {
        debug_assert!(self.last.as_slice() < name, "names must ascend");
        self.last = name.to_vec();
        if self.large {
            return self.push_large(name, encoded, store);
        }
        self.nodes.extend_from_slice(encoded);
        self.small.push((name.to_vec(), self.nodes.len()));
        if self.small.len() <= MAX_ENTRIES {
            return Ok(());
        }
        self.large = true;
        let (nodes, small) = (std::mem::take(&mut self.nodes), std::mem::take(&mut self.small));
        let mut start = 0;
        for (name, end) in small {
            self.push_large(&name, nodes.get(start..end).unwrap_or_default(), store)?;
            start = end;
        }
        Ok(())
    }

    fn push_large<E>(
        &mut self,
        name: &[u8],
        encoded: &[u8],
        store: &mut impl FnMut(Vec<u8>) -> Result<BlobId, E>,
    ) -> Result<(), E> {
        if self.count == 0 {
            self.first = name.to_vec();
        }
        self.nodes.extend_from_slice(encoded);
        self.count += 1;
        let may_cut = self.count >= MIN_LEAF && self.identifier.cuts_after_name(name);
        if may_cut || self.count >= MAX_LEAF || self.nodes.len() >= MAX_TREE_LEN / 2 {
            self.flush(store)?;
        }
        Ok(())
    }

    fn flush<E>(&mut self, store: &mut impl FnMut(Vec<u8>) -> Result<BlobId, E>) -> Result<(), E> {
        let blob = encode_blob(0, self.count, &self.nodes);
        self.nodes.clear();
        self.count = 0;
        self.leaves.push((std::mem::take(&mut self.first), store(blob)?));
        Ok(())
    }

    /// Ends the directory and gives the id of its tree.
    ///
    /// # Errors
    /// What `store` returns.
    pub fn finish<E>(mut self, store: &mut impl FnMut(Vec<u8>) -> Result<BlobId, E>) -> Result<BlobId, E> {
        if !self.large {
            return store(encode_blob(0, self.small.len(), &self.nodes));
        }
        if self.count > 0 {
            self.flush(store)?;
        }
        let mut entries = self.leaves;
        loop {
            let folds = entries.len() > MAX_ENTRIES;
            let mut above = Vec::new();
            let (mut items, mut count, mut first) = (Writer::new(), 0, Vec::new());
            let total = entries.len();
            for (at, (name, id)) in entries.into_iter().enumerate() {
                items.array(2).bytes(&name).bytes(&id.0);
                count += 1;
                let cuts = folds && count >= MIN_LEAF && self.identifier.cuts_after_name(&name);
                if count == 1 {
                    first = name;
                }
                if at + 1 == total || (folds && count >= MAX_LEAF) || cuts {
                    let blob = encode_blob(1, count, &std::mem::take(&mut items).into_bytes());
                    above.push((std::mem::take(&mut first), store(blob)?));
                    count = 0;
                }
            }
            match above.as_slice() {
                [(_, id)] => return Ok(*id),
                _ => entries = above,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{Content, Part};
    use super::*;
    use crate::crypto::Secret;
    use std::collections::HashMap;
    use std::convert::Infallible;

    fn node(name: &[u8], kind: NodeKind) -> Node {
        let mtime = Timestamp { seconds: -5, nanos: 999_999_999 };
        let metadata = Metadata { mode: 0o4755, uid: 1000, mtime, ctime: mtime, ..Metadata::default() };
        Node { name: name.to_vec(), metadata, links: None, kind }
    }

    fn round_trip(node: &Node) -> Result<Node, DecodeError> {
        decode_node(&mut Reader::new(&encode_node(node)))
    }

    fn file(size: u64, length: u64, holes: &[(u64, u64)]) -> NodeKind {
        let parts = vec![Part { id: BlobId([1; 32]), length }];
        let holes = holes.iter().map(|(offset, length)| Hole { offset: *offset, length: *length }).collect();
        NodeKind::File { size, content: Content { level: 0, parts }, holes, class: 1, rows: Vec::new() }
    }

    #[test]
    fn every_kind_of_node_survives() {
        let mut rich = node(b"\xff\n", file(30, 10, &[(0, 5), (10, 15)]));
        rich.links = Some(LinkGroup { filesystem: 1, inode: u64::MAX });
        rich.metadata.user = Some("root".into());
        rich.metadata.flags = 3;
        rich.metadata.xattrs = vec![
            Xattr { name: b"user.a".to_vec(), value: XattrValue::Inline(vec![0, 1]) },
            Xattr { name: b"user.b".to_vec(), value: XattrValue::Stored(Content::default()) },
        ];
        for node in [
            rich,
            node(b"d", NodeKind::Directory { tree: BlobId([2; 32]) }),
            node(b"l", NodeKind::Symlink { target: b"../x".to_vec() }),
            node(b"c", NodeKind::CharDevice { major: 1, minor: 3 }),
            node(b"b", NodeKind::BlockDevice { major: 8, minor: 0 }),
            node(b"f", NodeKind::Fifo),
            node(b"s", NodeKind::Socket),
        ] {
            assert_eq!(round_trip(&node), Ok(node));
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'x'; 4097]] {
            assert!(round_trip(&node(name, NodeKind::Fifo)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn sizes_that_do_not_add_up_are_refused() {
        for (size, length, holes) in [
            (11, 10, &[][..]),
            (10, 10, &[(0, 5)]),
            (20, 10, &[(5, 5), (10, 5)]),
            (20, 10, &[(15, 5), (0, 5)]),
            (20, 10, &[(15, u64::MAX)]),
            (10, 10, &[(0, 0)]),
        ] {
            assert!(round_trip(&node(b"f", file(size, length, holes))).is_err(), "{size} {length} {holes:?}");
        }
    }

    fn collect(id: BlobId, blobs: &HashMap<BlobId, Vec<u8>>, names: &mut Vec<Vec<u8>>) {
        match decode(&blobs[&id]).unwrap() {
            Tree::Leaf(entries) => names.extend(entries.into_iter().map(|(node, _)| node.name)),
            Tree::Inner(entries) => entries.iter().for_each(|(_, id)| collect(*id, blobs, names)),
        }
    }

    #[test]
    fn directories_of_any_size_keep_every_name_and_change_locally() {
        let identifier = Identifier::new(&Secret::new([1; 32]));
        let write = |skip: usize, count: usize| {
            let mut blobs = HashMap::new();
            let mut store = |blob: Vec<u8>| {
                let id = identifier.tree(&blob);
                blobs.insert(id, blob);
                Ok::<_, Infallible>(id)
            };
            let mut writer = TreeWriter::new(&identifier);
            for at in (0..count).filter(|at| *at != skip) {
                let name = format!("{at:08}").into_bytes();
                let encoded = encode_node(&node(&name, NodeKind::Fifo));
                writer.push(&name, &encoded, &mut store).unwrap();
            }
            let id = writer.finish(&mut store).unwrap();
            (id, blobs)
        };
        for count in [0, 1, 1024, 1025, 40_000] {
            let (id, blobs) = write(usize::MAX, count);
            let mut names = Vec::new();
            collect(id, &blobs, &mut names);
            assert_eq!(names.len(), count);
            assert!(names.is_sorted());
        }
        let (before, after) = (write(usize::MAX, 40_000).1, write(20_000, 40_000).1);
        let new = after.keys().filter(|id| !before.contains_key(*id)).count();
        assert!(new <= 3, "{new} of {} tree blobs changed", after.len());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = decode_node(&mut Reader::new(&bytes));
        }
    }
}
