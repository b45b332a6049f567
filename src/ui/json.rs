//! Entries and snapshots as JSON: times in RFC 3339, sizes in bytes, fields only ever added.

use serde_json::{Map, Value, json};

use super::text::rfc3339;
use crate::format::node::{Node, NodeKind};
use crate::format::snapshot::{Outcome, Snapshot};
use crate::id::to_hex;
use crate::repository::SnapshotInfo;

/// Puts a name or path at `key`; bytes that are no UTF-8 are also put at `key_hex`, as they are.
pub fn put_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_hex"), to_hex(bytes).into());
    }
}

/// An object that says where something is.
#[must_use]
pub fn path(bytes: &[u8]) -> Map<String, Value> {
    let mut object = Map::new();
    put_bytes(&mut object, "path", bytes);
    object
}

/// What an entry is, in a word.
#[must_use]
pub const fn kind(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::File { .. } => "file",
        NodeKind::Directory { .. } => "dir",
        NodeKind::Symlink { .. } => "symlink",
        NodeKind::CharDevice { .. } => "chardev",
        NodeKind::BlockDevice { .. } => "dev",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
    }
}

/// An entry, at `at` on the machine.
#[must_use]
pub fn node(at: &[u8], node: &Node) -> Map<String, Value> {
    let metadata = &node.metadata;
    let mut object = path(at);
    put_bytes(&mut object, "name", &node.name);
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("type", kind(node).into());
    put("mode", metadata.mode.into());
    put("permissions", super::text::mode(node).into());
    put("uid", metadata.uid.into());
    put("gid", metadata.gid.into());
    put("mtime", rfc3339(metadata.mtime).into());
    for (key, name) in [("user", &metadata.user), ("group", &metadata.group)] {
        if let Some(name) = name {
            put(key, (**name).into());
        }
    }
    if metadata.flags != 0 {
        put("flags", metadata.flags.into());
    }
    if !metadata.xattrs.is_empty() {
        let names = metadata.xattrs.iter().map(|xattr| String::from_utf8_lossy(&xattr.name).into());
        put("xattrs", Value::Array(names.collect()));
    }
    match &node.kind {
        NodeKind::File { size, rows, .. } => {
            put("size", (*size).into());
            if !rows.is_empty() {
                let rows = rows.iter().map(|table| (table.table.clone(), table.rows.into()));
                put("database_rows", Value::Object(rows.collect()));
            }
        }
        NodeKind::Symlink { target } => put_bytes(&mut object, "target", target),
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
            put("major", (*major).into());
            put("minor", (*minor).into());
        }
        _ => {}
    }
    object
}

fn statistics(snapshot: &Snapshot) -> Value {
    if !snapshot.is_counted() {
        return Value::Null;
    }
    let of = &snapshot.statistics;
    json!({
        "files": of.files, "directories": of.directories, "others": of.others, "total_bytes": of.total_bytes,
        "new_files": of.new_files, "changed_files": of.changed_files, "unchanged_files": of.unchanged_files,
        "read_bytes": of.read_bytes, "new_blobs": of.new_blobs, "new_bytes": of.new_bytes,
        "stored_bytes": of.stored_bytes,
    })
}

/// A snapshot as lists show it.
#[must_use]
pub fn snapshot(info: &SnapshotInfo) -> Map<String, Value> {
    let SnapshotInfo { id, snapshot, .. } = info;
    let complete = snapshot.outcome == Outcome::Complete;
    let value = json!({
        "id": id.to_string(), "short_id": id.short(),
        "time": rfc3339(snapshot.start), "end": rfc3339(snapshot.end),
        "host": snapshot.host, "user": snapshot.user, "profile": snapshot.profile, "tags": snapshot.tags,
        "roots": snapshot.roots.iter().map(|root| path(&root.path)).collect::<Vec<_>>(),
        "outcome": if complete { "complete" } else { "incomplete" },
        "problem_count": snapshot.problem_count,
        "parent": snapshot.parent.map(|parent| parent.to_string()),
        "program": snapshot.program, "description": snapshot.description, "anomalies": snapshot.anomalies,
        "imported": snapshot.imported.as_ref().map(|of| json!({
            "format": of.format, "repository": of.repository, "snapshot": to_hex(&of.snapshot),
        })),
        "statistics": statistics(snapshot),
    });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A snapshot with everything it says.
#[must_use]
pub fn snapshot_in_full(info: &SnapshotInfo) -> Map<String, Value> {
    let mut object = snapshot(info);
    let snapshot = &info.snapshot;
    let roots = snapshot.roots.iter().map(|root| {
        let mut object = node(&root.path, &root.node);
        put_bytes(&mut object, "restore_name", &root.restore_name);
        Value::Object(object)
    });
    object.insert("roots".into(), Value::Array(roots.collect()));
    let problems = snapshot.problems.iter().map(|problem| {
        let mut object = path(&problem.path);
        object.insert("kind".into(), problem.kind.clone().into());
        object.insert("message".into(), problem.message.clone().into());
        Value::Object(object)
    });
    object.insert("problems".into(), Value::Array(problems.collect()));
    let hook = |hook: &crate::format::snapshot::HookResult| json!({"name": hook.name, "outcome": hook.outcome, "message": hook.message, "notes": hook.notes});
    object.insert("hooks".into(), Value::Array(snapshot.hooks.iter().map(hook).collect()));
    object.insert("run".into(), snapshot.run.to_string().into());
    object.insert("class_rule".into(), snapshot.class_rule.into());
    object.insert("definition".into(), snapshot.definition.clone().into());
    object.insert("configuration".into(), snapshot.configuration.clone().into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::{Metadata, Timestamp};

    #[test]
    fn a_name_that_is_no_text_is_given_in_hexadecimal_too() {
        assert_eq!(Value::Object(path(b"/a")), json!({"path": "/a"}));
        assert_eq!(Value::Object(path(b"/\xff")), json!({"path": "/\u{fffd}", "path_hex": "2fff"}));
    }

    #[test]
    fn an_entry_has_what_its_kind_has() {
        let metadata = Metadata { mode: 0o777, mtime: Timestamp { seconds: 0, nanos: 0 }, ..Metadata::default() };
        let kind = NodeKind::Symlink { target: b"t\xff".to_vec() };
        let link = Node { name: b"l".to_vec(), metadata, links: None, kind };
        let expected = json!({
            "path": "/l", "name": "l", "type": "symlink", "mode": 0o777, "permissions": "lrwxrwxrwx", "uid": 0,
            "gid": 0, "mtime": "1970-01-01T00:00:00Z", "target": "t\u{fffd}", "target_hex": "74ff",
        });
        assert_eq!(Value::Object(node(b"/l", &link)), expected);
    }
}
