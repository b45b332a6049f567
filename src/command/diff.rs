//! `bk diff`: what changed between two snapshots.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::{Map, Value, json};

use super::Session;
use super::look::{Looking, missing};
use super::select::FilterArgs;
use crate::format::node::{Node, NodeKind};
use crate::operation::diff::{Change, ChangeKind, DiffStats, Surplus, diff};
use crate::operation::list::{Located, Place, locate};
use crate::repository::{BlobReader, RepositoryError, SnapshotInfo};
use crate::size::ByteSize;
use crate::ui::{Exit, Failure, Lines, json as shown, text};

/// Show what changed from one snapshot to another
///
/// Each line begins with `+` (added), `-` (removed), `M` (content changed), `m` (only owner, mode, time or attributes
/// changed) or `T` (another kind of entry).
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Snapshot before: an id, `latest~1`, `plex~1`
    pub before: String,
    /// Snapshot after: an id, `latest`, or a profile for its newest one
    pub after: String,
    /// Only this folder or file, as it was on the machine
    pub path: Option<OsString>,
    /// Leave out entries of which only owner, mode, time or attributes changed
    #[arg(long)]
    pub no_metadata: bool,
    /// Which snapshots are meant.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// The entries of one side, or the nearest folder to the path when it is not there.
type Side = Result<Vec<Located>, Option<Vec<u8>>>;

fn side(reader: &mut BlobReader<'_>, info: &SnapshotInfo, path: Option<&OsStr>) -> Result<Side, Failure> {
    // Without a path the roots are compared, not what they are below.
    let Some(path) = path else { return Ok(Ok(crate::operation::list::roots(&info.snapshot))) };
    Ok(match locate(reader, &info.snapshot, path.as_bytes())? {
        Place::Entry(entry) => Ok(vec![*entry]),
        Place::Above(roots) => Ok(roots),
        Place::Missing { nearest } => Err(nearest),
    })
}

impl DiffArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When a snapshot cannot be read, or the path is in neither.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let looking = Looking::open(session)?;
        let old = looking.snapshot(&self.before, &self.filter)?;
        let new = looking.snapshot(&self.after, &self.filter)?;
        let mut reader = looking.reader()?;
        let path = self.path.as_deref();
        let (before, after) = match (side(&mut reader, old, path)?, side(&mut reader, new, path)?) {
            (Err(_), Err(nearest)) => {
                return Err(missing(new, path.unwrap_or_default().as_bytes(), nearest.as_deref()));
            }
            (before, after) => (before.unwrap_or_default(), after.unwrap_or_default()),
        };
        let mut lines = Lines::new(&session.screen);
        let as_json = session.screen.json;
        let stats = diff(&mut reader, &before, &after, session.interrupted(), &mut |change| {
            if !(self.no_metadata && change.kind == ChangeKind::Metadata) {
                if as_json { lines.json(value(change)) } else { lines.line(&line(change)) }
            }
            Ok::<_, RepositoryError>(())
        })?;
        if as_json {
            lines.json(statistics(old, new, &stats));
        } else {
            summary(&stats).iter().for_each(|text| lines.line(text));
        }
        Ok(Exit::Complete)
    }
}

fn line(change: &Change<'_>) -> String {
    let size = |node: Option<&Node>| match node.map(|node| &node.kind) {
        Some(NodeKind::File { size, .. }) => Some(*size),
        _ => None,
    };
    let details = match (change.kind, size(change.before), size(change.after)) {
        (ChangeKind::Modified, Some(before), Some(after)) if before != after => {
            format!("  ({} → {})", ByteSize(before), ByteSize(after))
        }
        (ChangeKind::Metadata, ..) => format!("  ({})", change.metadata.join(", ")),
        (ChangeKind::Type, ..) => {
            let kind = |node: Option<&Node>| node.map_or("", shown::kind);
            format!("  ({} → {})", kind(change.before), kind(change.after))
        }
        _ => String::new(),
    };
    format!("{} {}{details}", change.kind.sign(), text::path_text(change.path))
}

fn value(change: &Change<'_>) -> Map<String, Value> {
    let mut object = shown::path(change.path);
    object.insert("message_type".into(), "change".into());
    object.insert("modifier".into(), change.kind.sign().to_string().into());
    if !change.metadata.is_empty() {
        object.insert("metadata".into(), change.metadata.clone().into());
    }
    for (key, node) in [("before", change.before), ("after", change.after)] {
        if let Some(node) = node {
            let mut node = shown::node(change.path, node);
            // They are those of the change.
            node.retain(|key, _| !key.starts_with("path") && !key.starts_with("name"));
            object.insert(key.into(), Value::Object(node));
        }
    }
    object
}

fn statistics(old: &SnapshotInfo, new: &SnapshotInfo, stats: &DiffStats) -> Map<String, Value> {
    let surplus = |of: &Surplus| json!({"files": of.files, "directories": of.directories, "others": of.others, "bytes": of.bytes});
    let fields = [
        ("message_type", "statistics".into()),
        ("source_snapshot", old.id.to_string().into()),
        ("target_snapshot", new.id.to_string().into()),
        ("added", surplus(&stats.added)),
        ("removed", surplus(&stats.removed)),
        ("modified", stats.modified.into()),
        ("modified_before_bytes", stats.modified_before_bytes.into()),
        ("modified_after_bytes", stats.modified_after_bytes.into()),
        ("metadata_changed", stats.metadata_changed.into()),
        ("type_changed", stats.type_changed.into()),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn summary(stats: &DiffStats) -> Vec<String> {
    if stats.is_empty() {
        return vec!["no difference".to_owned()];
    }
    let surplus = |of: &Surplus| {
        let folders = text::count(of.directories, "folder", "folders");
        let others = text::count(of.others, "other", "others");
        format!("{}, {folders}, {others}, {}", text::count(of.files, "file", "files"), ByteSize(of.bytes))
    };
    let mut lines = vec![
        String::new(),
        format!("added     {}", surplus(&stats.added)),
        format!("removed   {}", surplus(&stats.removed)),
        format!(
            "modified  {}, {} → {}",
            text::count(stats.modified, "entry", "entries"),
            ByteSize(stats.modified_before_bytes),
            ByteSize(stats.modified_after_bytes)
        ),
        format!("metadata  {}", text::count(stats.metadata_changed, "entry", "entries")),
    ];
    if stats.type_changed > 0 {
        lines.push(format!("type      {}", text::count(stats.type_changed, "entry", "entries")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, RUNNING, file, folder, symlink};

    #[test]
    fn a_change_is_a_line_for_people_and_an_object_for_programs() {
        let bench = Bench::new();
        let old = folder("d", vec![file("a", b"1"), file("k", b""), file("m", b"")]);
        let mode = file("m", b"").with(|node| node.metadata.mode = 0);
        let new = folder("d", vec![file("a", b"12"), symlink("k", "x"), mode, file("n\n", b"123")]);
        let (old, new) = (bench.snapshot(vec![("/", old)]), bench.snapshot(vec![("/", new)]));
        let (mut lines, mut values) = (Vec::new(), Vec::new());
        let stats = bench.read(|reader| {
            let side = |reader: &mut BlobReader<'_>, info| side(reader, info, Some(OsStr::new("d"))).unwrap().unwrap();
            let (before, after) = (side(reader, &old), side(reader, &new));
            diff(reader, &before, &after, &RUNNING, &mut |change| {
                lines.push(line(change));
                values.push(Value::Object(value(change)));
                Ok::<_, RepositoryError>(())
            })
        });
        let stats = stats.unwrap();
        assert_eq!(lines, ["M /d/a  (1 B → 2 B)", "T /d/k  (file → symlink)", "m /d/m  (mode)", "+ /d/n\\n"]);
        assert_eq!(values[0]["modifier"], "M");
        assert_eq!((&values[0]["before"]["size"], &values[0]["after"]["size"]), (&json!(1), &json!(2)));
        assert_eq!(values[3].get("before"), None);
        assert_eq!(statistics(&old, &new, &stats)["added"]["bytes"], 3);
        assert_eq!(summary(&stats)[1], "added     1 file, 0 folders, 1 other, 3 B");
        assert_eq!(summary(&DiffStats::default()), ["no difference"]);
    }
}
