//! Entries of trees, from restic's format to ours and back.
//!
//! What restic keeps and we do not: times of access. What we keep and restic does not: attributes of `chattr`, holes,
//! rows of SQLite databases.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustic_core::DataId;
use rustic_core::jiff::Timestamp as Moment;
use rustic_core::repofile::{Metadata as ResticMetadata, Node as ResticNode, NodeType};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::backend::bytes_of;
use crate::format::node::{Content, LinkGroup, Metadata, Node, NodeKind, Part, Timestamp, Xattr, XattrValue};
use crate::format::tree::is_valid_name;
use crate::id::BlobId;

/// Bits of Go's `os.FileMode`, in which restic keeps modes.
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_PIPE: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_CHAR_DEVICE: u32 = 1 << 21;

/// Special bits of ours and of Go.
const SPECIAL: [(u32, u32); 3] = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];

/// A time in our words.
pub(super) fn from_moment(moment: Moment) -> Timestamp {
    let (seconds, nanos) = (moment.as_second(), moment.subsec_nanosecond());
    // Before 1970 both are negative; ours counts nanoseconds forwards.
    match u32::try_from(nanos) {
        Ok(nanos) => Timestamp { seconds, nanos },
        Err(_) => Timestamp { seconds: seconds - 1, nanos: (nanos + 1_000_000_000).unsigned_abs() },
    }
}

/// `None` for a time that restic's format has no words for.
pub(super) fn moment(time: Timestamp) -> Option<Moment> {
    Moment::new(time.seconds, time.nanos.cast_signed()).ok()
}

/// Names and values of extended attributes.
pub(super) type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

fn metadata(from: &ResticMetadata) -> Metadata {
    let go = from.mode.unwrap_or(0);
    let special = SPECIAL.into_iter().filter(|(_, bit)| go & bit != 0).fold(0, |mode, (ours, _)| mode | ours);
    let mut xattrs: Vec<_> = from
        .extended_attributes
        .iter()
        .map(|one| Xattr {
            name: one.name.as_bytes().to_vec(),
            value: XattrValue::Inline(one.value.clone().unwrap_or_default()),
        })
        .collect();
    xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    xattrs.dedup_by(|a, b| a.name == b.name);
    let name = |text: &Option<String>| text.as_deref().filter(|name| !name.is_empty()).map(Arc::from);
    Metadata {
        mode: go & 0o777 | special,
        uid: from.uid.unwrap_or(0),
        gid: from.gid.unwrap_or(0),
        user: name(&from.user),
        group: name(&from.group),
        mtime: from_moment(from.mtime.unwrap_or_default()),
        ctime: from_moment(from.ctime.unwrap_or_default()),
        xattrs,
        flags: 0,
    }
}

fn device(number: u64) -> (u32, u32) {
    (rustix::fs::major(number), rustix::fs::minor(number))
}

/// The blobs of a file. One that the index does not know gets the length that is missing from the size: whoever reads
/// it is told so.
fn content(node: &ResticNode, length: &dyn Fn(&DataId) -> Option<u32>) -> (Content, u64) {
    let ids = node.content.as_deref().unwrap_or_default();
    let lengths: Vec<_> = ids.iter().map(|id| length(id).map(u64::from)).collect();
    let known: u64 = lengths.iter().flatten().sum();
    let mut missing = Some(node.meta.size.saturating_sub(known));
    let parts = ids.iter().zip(lengths).map(|(id, length)| {
        let length = length.unwrap_or_else(|| missing.take().unwrap_or(0));
        Part { id: BlobId(bytes_of(**id)), length }
    });
    let content = Content { level: 0, parts: parts.collect() };
    let size = content.length().unwrap_or(known);
    (content, size)
}

/// An entry in our words.
///
/// # Errors
/// What is wrong with it: a name that could lead out of a restore's destination, a folder without a tree.
pub(super) fn ours(node: &ResticNode, length: &dyn Fn(&DataId) -> Option<u32>) -> Result<Node, String> {
    let name = node.name().as_bytes().to_vec();
    if !is_valid_name(&name) {
        return Err(format!("the name `{}` is not allowed", String::from_utf8_lossy(&name).escape_debug()));
    }
    let kind = match &node.node_type {
        NodeType::File => {
            let (content, size) = content(node, length);
            NodeKind::File { size, content, holes: Vec::new(), class: 0, rows: Vec::new() }
        }
        NodeType::Dir => {
            let tree = node.subtree.ok_or_else(|| format!("the folder `{}` has no tree", node.name))?;
            NodeKind::Directory { tree: BlobId(bytes_of(*tree)) }
        }
        NodeType::Symlink { linktarget, linktarget_raw } => {
            NodeKind::Symlink { target: linktarget_raw.clone().unwrap_or_else(|| linktarget.as_bytes().to_vec()) }
        }
        NodeType::Dev { device: number } => {
            let (major, minor) = device(*number);
            NodeKind::BlockDevice { major, minor }
        }
        NodeType::Chardev { device: number } => {
            let (major, minor) = device(*number);
            NodeKind::CharDevice { major, minor }
        }
        NodeType::Fifo => NodeKind::Fifo,
        NodeType::Socket => NodeKind::Socket,
    };
    let is_linked = node.meta.links > 1 && !node.is_dir();
    let links = is_linked.then_some(LinkGroup { filesystem: node.meta.device_id, inode: node.meta.inode });
    Ok(Node { name, metadata: metadata(&node.meta), links, kind })
}

/// A number that is different when what the entry holds is: our format keeps no inode numbers of entries with one name,
/// and two versions of a file may have the same times and size.
fn number(node: &Node) -> u64 {
    let mut hasher = blake3::Hasher::new();
    if let NodeKind::File { size, content, holes, .. } = &node.kind {
        hasher.update(&size.to_le_bytes()).update(&[content.level]);
        for part in &content.parts {
            hasher.update(&part.id.0);
        }
        for hole in holes {
            hasher.update(&hole.offset.to_le_bytes()).update(&hole.length.to_le_bytes());
        }
    }
    if let Some(LinkGroup { filesystem, inode }) = node.links {
        hasher.update(&filesystem.to_le_bytes()).update(&inode.to_le_bytes());
    }
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// An entry in restic's words; `xattrs` are all its extended attributes, with their values.
///
/// # Errors
/// What of it has no words there.
pub(super) fn theirs(node: &Node, xattrs: Attributes) -> Result<ResticNode, String> {
    let from = &node.metadata;
    let (node_type, kind_bits, size) = match &node.kind {
        NodeKind::File { size, .. } => (NodeType::File, 0, *size),
        NodeKind::Directory { .. } => (NodeType::Dir, GO_DIRECTORY, 0),
        NodeKind::Symlink { target } => (NodeType::from_link(Path::new(OsStr::from_bytes(target))), GO_SYMLINK, 0),
        NodeKind::CharDevice { major, minor } => {
            let device = rustix::fs::makedev(*major, *minor);
            (NodeType::Chardev { device }, GO_DEVICE | GO_CHAR_DEVICE, 0)
        }
        NodeKind::BlockDevice { major, minor } => {
            (NodeType::Dev { device: rustix::fs::makedev(*major, *minor) }, GO_DEVICE, 0)
        }
        NodeKind::Fifo => (NodeType::Fifo, GO_PIPE, 0),
        NodeKind::Socket => (NodeType::Socket, GO_SOCKET, 0),
    };
    let special = SPECIAL.into_iter().filter(|(ours, _)| from.mode & ours != 0).fold(0, |mode, (_, bit)| mode | bit);
    let is_folder = matches!(node.kind, NodeKind::Directory { .. });
    let meta = ResticMetadata {
        mode: Some(from.mode & 0o777 | special | kind_bits),
        mtime: moment(from.mtime),
        atime: moment(from.mtime),
        ctime: moment(from.ctime),
        uid: Some(from.uid),
        gid: Some(from.gid),
        user: from.user.as_deref().map(str::to_owned),
        group: from.group.as_deref().map(str::to_owned),
        inode: if is_folder { 0 } else { number(node) },
        device_id: node.links.map_or(0, |links| links.filesystem.saturating_add(1)),
        size,
        links: if is_folder { 0 } else { 1 + u64::from(node.links.is_some()) },
        extended_attributes: xattrs.into_iter().map(attribute).collect::<Result<_, _>>()?,
    };
    Ok(ResticNode::new_node(OsStr::from_bytes(&node.name), node_type, meta))
}

/// An extended attribute in restic's words. rustic_core gives its type no name outside, but reads it from text.
fn attribute<T: DeserializeOwned>((name, value): (Vec<u8>, Vec<u8>)) -> Result<T, String> {
    let shown = || String::from_utf8_lossy(&name).escape_debug().to_string();
    let text = std::str::from_utf8(&name).map_err(|_| format!("the name of its attribute `{}` is no text", shown()))?;
    let value = BASE64_STANDARD.encode(value);
    serde_json::from_value(json!({ "name": text, "value": value }))
        .map_err(|error| format!("its attribute `{}` cannot be written: {error}", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(node: &Node, xattrs: Attributes) -> Node {
        let written = serde_json::to_string(&theirs(node, xattrs).unwrap()).unwrap();
        let mut read: ResticNode = serde_json::from_str(&written).unwrap();
        if read.is_dir() {
            read.subtree = serde_json::from_str(&format!("\"{}\"", "07".repeat(32))).unwrap();
        }
        ours(&read, &|_| None).unwrap()
    }

    fn node(name: &[u8], kind: NodeKind) -> Node {
        let metadata = Metadata {
            mode: 0o4751,
            uid: 1000,
            gid: 12,
            user: Some("me".into()),
            mtime: Timestamp { seconds: -2, nanos: 250_000_000 },
            ctime: Timestamp { seconds: 1_700_000_000, nanos: 1 },
            ..Metadata::default()
        };
        Node { name: name.to_vec(), metadata, links: None, kind }
    }

    #[test]
    fn every_kind_of_entry_survives_restic() {
        let kinds = [
            NodeKind::File { size: 0, content: Content::default(), holes: Vec::new(), class: 0, rows: Vec::new() },
            NodeKind::Directory { tree: BlobId([7; 32]) },
            NodeKind::Symlink { target: b"/a/\xff\xfe".to_vec() },
            NodeKind::Symlink { target: b"plain".to_vec() },
            NodeKind::CharDevice { major: 300, minor: 70_000 },
            NodeKind::BlockDevice { major: 8, minor: 1 },
            NodeKind::Fifo,
            NodeKind::Socket,
        ];
        for kind in kinds {
            for name in
                [&b"plain"[..], b"new\nline \"quoted\" back\\slash", b"\xff\xfe not text", "é\u{1F600}".as_bytes()]
            {
                let node = node(name, kind.clone());
                assert_eq!(there_and_back(&node, Vec::new()), node);
            }
        }
    }

    #[test]
    fn modes_attributes_and_links_survive_restic() {
        for mode in [0, 0o777, 0o1777, 0o2755, 0o4755, 0o7777] {
            let mut node = node(b"x", NodeKind::Fifo);
            node.metadata.mode = mode;
            assert_eq!(there_and_back(&node, Vec::new()).metadata.mode, mode, "{mode:o}");
        }
        let xattrs = vec![(b"user.a".to_vec(), b"\x00\xff".to_vec()), (b"user.b".to_vec(), Vec::new())];
        let back = there_and_back(&node(b"x", NodeKind::Fifo), xattrs.clone()).metadata.xattrs;
        let back: Vec<_> = back
            .into_iter()
            .map(|xattr| match xattr.value {
                XattrValue::Inline(value) => (xattr.name, value),
                XattrValue::Stored(_) => panic!("{:?} is not inline", xattr.name),
            })
            .collect();
        assert_eq!(back, xattrs);
        let group = |inode| Some(LinkGroup { filesystem: 0, inode });
        let linked =
            |inode| there_and_back(&Node { links: group(inode), ..node(b"x", NodeKind::Fifo) }, Vec::new()).links;
        assert_eq!((linked(1), linked(1) == linked(2)), (linked(1), false));
        assert!(linked(1).is_some());
    }

    #[test]
    fn the_number_of_a_file_follows_what_it_holds() {
        let file = |id: u8, length| {
            let content = Content { level: 0, parts: vec![Part { id: BlobId([id; 32]), length }] };
            node(b"x", NodeKind::File { size: length, content, holes: Vec::new(), class: 0, rows: Vec::new() })
        };
        assert_eq!(number(&file(1, 5)), number(&file(1, 5)));
        assert_ne!(number(&file(1, 5)), number(&file(2, 5)));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", ".", "a/b", ""] {
            let mut node = theirs(&node(b"x", NodeKind::Fifo), Vec::new()).unwrap();
            node.name = name.into();
            assert!(ours(&node, &|_| None).is_err(), "{name}");
        }
    }
}
