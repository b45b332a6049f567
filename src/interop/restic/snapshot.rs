//! Snapshots, from restic's format to ours, and what of ours is kept there.

use rustic_core::repofile::SnapshotFile;

use super::backend::bytes_of;
use super::node::from_moment;
use crate::chunk::CLASS_RULE;
use crate::format::node::{Metadata, Node, NodeKind, Timestamp};
use crate::format::snapshot::{Imported, Outcome, Root, Snapshot, Statistics, is_valid_restore_name};
use crate::id::{BlobId, RunId, SnapshotId};

/// The tag that an exported snapshot of a profile has.
const PROFILE_TAG: &str = "profile:";
/// The tag that an exported snapshot has when something is missing in it.
pub(super) const INCOMPLETE_TAG: &str = "incomplete";

/// A snapshot in a repository of restic's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its id there.
    pub id: [u8; 32],
    /// When it was made.
    pub time: Timestamp,
    /// The machine.
    pub host: String,
    /// The profile, when it was exported by this program.
    pub profile: Option<String>,
    /// Its other tags.
    pub tags: Vec<String>,
    /// What was backed up.
    pub paths: Vec<String>,
    /// Our snapshot of which this is the export; `None` for one that another program made.
    pub original: Option<SnapshotId>,
    /// Whether something is missing in it, as far as it says.
    pub is_incomplete: bool,
}

/// The tags of a snapshot of ours in restic's format.
pub(super) fn tags(snapshot: &Snapshot) -> Vec<String> {
    let profile = snapshot.profile.iter().map(|profile| format!("{PROFILE_TAG}{profile}"));
    let incomplete = (snapshot.outcome == Outcome::Incomplete).then(|| INCOMPLETE_TAG.to_owned());
    snapshot.tags.iter().cloned().chain(profile).chain(incomplete).collect()
}

/// What a snapshot says of itself; `id` is the one that its object has.
pub(super) fn exported(id: [u8; 32], file: &SnapshotFile) -> Exported {
    // Written by us it has both; `restic tag` and `restic rewrite` set the one, too, and not the other.
    let is_ours = file.program_version.starts_with("bk ");
    let original = file.original.filter(|_| is_ours).map(|original| SnapshotId(bytes_of(*original)));
    let (mut profile, mut is_incomplete, mut tags) = (None, false, Vec::new());
    for tag in file.tags.iter() {
        match tag.strip_prefix(PROFILE_TAG) {
            Some(name) if is_ours => profile = Some(name.to_owned()),
            _ if is_ours && tag == INCOMPLETE_TAG => is_incomplete = true,
            _ if tag.is_empty() => {}
            _ => tags.push(tag.clone()),
        }
    }
    Exported {
        id,
        time: from_moment(file.time.timestamp()),
        host: file.hostname.clone(),
        profile,
        tags,
        paths: file.paths.iter().cloned().collect(),
        original,
        is_incomplete,
    }
}

/// How a folder is looked into: the entry of a name in a tree.
pub(super) type Look<'a, E> = &'a dyn Fn(&BlobId, &[u8]) -> Result<Option<Node>, E>;

/// What was backed up, found again below the tree of the snapshot.
///
/// restic keeps whole paths, but only the last names of one that was given relative to a folder. Paths inside of others are in
/// those. When a path cannot be found at all, the whole tree stands for everything.
pub(super) fn roots<E>(tree: BlobId, file: &SnapshotFile, look: Look<'_, E>) -> Result<Vec<Root>, E> {
    let mut paths: Vec<&[u8]> = file.paths.iter().map(|path| path.as_bytes()).collect();
    paths.sort_unstable();
    let inside = |path: &[u8], outer: &[u8]| {
        path != outer && path.strip_prefix(outer).is_some_and(|rest| outer.ends_with(b"/") || rest.starts_with(b"/"))
    };
    let outermost: Vec<_> = paths.iter().filter(|path| !paths.iter().any(|outer| inside(path, outer))).collect();
    let mut roots = Vec::new();
    for path in outermost {
        match find(tree, path, look)? {
            Some(root) => roots.push(root),
            None => return Ok(vec![whole(tree, file)]),
        }
    }
    Ok(if roots.is_empty() { vec![whole(tree, file)] } else { roots })
}

/// The whole tree, as if the root of the file system had been backed up.
fn whole(tree: BlobId, file: &SnapshotFile) -> Root {
    let time = from_moment(file.time.timestamp());
    let metadata = Metadata { mode: 0o755, mtime: time, ctime: time, ..Metadata::default() };
    let node = Node { name: b"@root".to_vec(), metadata, links: None, kind: NodeKind::Directory { tree } };
    Root { path: b"/".to_vec(), restore_name: b"@root".to_vec(), node }
}

fn find<E>(tree: BlobId, path: &[u8], look: Look<'_, E>) -> Result<Option<Root>, E> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    for skipped in 0..names.len() {
        let (mut folder, mut found) = (Some(tree), None);
        for name in names.get(skipped..).unwrap_or_default() {
            found = match folder {
                Some(tree) => look(&tree, name)?,
                None => None,
            };
            folder = found.as_ref().and_then(|node| match node.kind {
                NodeKind::Directory { tree } => Some(tree),
                _ => None,
            });
        }
        let Some(node) = found else { continue };
        let restore_name = names.join(&b'/');
        if !is_valid_restore_name(&restore_name) {
            return Ok(None);
        }
        return Ok(Some(Root { path: path.to_vec(), restore_name, node }));
    }
    Ok(None)
}

/// A snapshot in our words.
pub(super) fn ours(repository: &str, id: [u8; 32], file: &SnapshotFile, roots: Vec<Root>) -> Snapshot {
    let Exported { time, host, profile, mut tags, is_incomplete, .. } = exported(id, file);
    tags.sort();
    tags.dedup();
    let summary = file.summary.as_ref();
    let statistics = summary.map_or_else(Statistics::default, |summary| Statistics {
        files: summary.total_files_processed,
        directories: summary.total_dirs_processed,
        total_bytes: summary.total_bytes_processed,
        new_files: summary.files_new,
        changed_files: summary.files_changed,
        unchanged_files: summary.files_unmodified,
        new_bytes: summary.data_added,
        stored_bytes: summary.data_added_packed,
        ..Statistics::default()
    });
    let label = Some(&file.label).filter(|label| !label.is_empty());
    Snapshot {
        start: time,
        end: summary.map_or(time, |summary| from_moment(summary.backup_end.timestamp()).max(time)),
        host,
        profile,
        tags,
        roots,
        statistics,
        outcome: if is_incomplete { Outcome::Incomplete } else { Outcome::Complete },
        problems: Vec::new(),
        problem_count: 0,
        hooks: Vec::new(),
        parent: None,
        definition: String::new(),
        configuration: String::new(),
        program: if file.program_version.is_empty() { "restic".into() } else { file.program_version.clone() },
        user: file.username.clone(),
        class_rule: CLASS_RULE,
        run: RunId([0; 16]),
        description: file.description.clone().or_else(|| label.cloned()),
        anomalies: Vec::new(),
        previous: None,
        imported: Some(Imported {
            format: "restic".into(),
            repository: repository.to_owned(),
            snapshot: id,
            tree: bytes_of(*file.tree),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;

    /// A tree for each folder, by its id, and the id of the top one.
    fn trees(paths: &[&str]) -> (HashMap<BlobId, Vec<Node>>, BlobId) {
        let (mut trees, top) = (HashMap::from([(BlobId([0; 32]), Vec::new())]), BlobId([0; 32]));
        for path in paths {
            let mut folder = top;
            for name in path.split('/') {
                let known: &mut Vec<Node> = trees.get_mut(&folder).unwrap();
                let found = known.iter().find(|node| node.name == name.as_bytes()).cloned();
                let node = found.unwrap_or_else(|| {
                    let tree = BlobId(*blake3::hash(format!("{folder}/{name}").as_bytes()).as_bytes());
                    let kind = NodeKind::Directory { tree };
                    let node = Node { name: name.into(), metadata: Metadata::default(), links: None, kind };
                    known.push(node.clone());
                    node
                });
                let NodeKind::Directory { tree } = node.kind else { panic!("{node:?}") };
                trees.entry(tree).or_default();
                folder = tree;
            }
        }
        (trees, top)
    }

    fn found(held: &[&str], paths: &[&str]) -> Vec<(String, String)> {
        let (trees, top) = trees(held);
        let mut file = SnapshotFile::default();
        paths.iter().for_each(|path| file.paths.add((*path).to_owned()));
        let look = |tree: &BlobId, name: &[u8]| -> Result<Option<Node>, Infallible> {
            Ok(trees[tree].iter().find(|node| node.name == name).cloned())
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let roots = roots(top, &file, &look).unwrap();
        roots.iter().map(|root| (text(&root.path), text(&root.restore_name))).collect()
    }

    #[test]
    fn paths_are_found_again_whole_or_by_their_last_names() {
        let pair = |path: &str, name: &str| (path.to_owned(), name.to_owned());
        let both = [pair("/etc", "etc"), pair("/srv/wiki", "srv/wiki")];
        assert_eq!(found(&["srv/wiki", "etc"], &["/srv/wiki", "/etc", "/srv/wiki/inner"]), both);
        assert_eq!(found(&["wiki/x"], &["/home/me/wiki"]), [pair("/home/me/wiki", "home/me/wiki")]);
        assert_eq!(
            found(&["srv"], &["/srv", "/srv2", "/srvx/y"]),
            [pair("/", "@root")],
            "what is not found is not lost"
        );
        assert_eq!(found(&["srv"], &["/"]), [pair("/", "@root")]);
        assert_eq!(found(&["C/Users"], &["C:\\Users"]), [pair("/", "@root")]);
    }

    #[test]
    fn only_what_this_program_wrote_is_an_export_of_ours() {
        let mut file =
            SnapshotFile { program_version: "bk 0.1.0, from restic 0.14.0".into(), ..SnapshotFile::default() };
        file.original = Some(rustic_core::repofile::SnapshotId::from(super::super::backend::id_of([7; 32])));
        ["profile:wiki", "incomplete", "web"].iter().for_each(|tag| file.tags.add((*tag).to_owned()));
        let ours = exported([1; 32], &file);
        assert_eq!((ours.original, ours.profile.as_deref()), (Some(SnapshotId([7; 32])), Some("wiki")));
        assert_eq!((ours.tags.as_slice(), ours.is_incomplete), (&["web".to_owned()][..], true));
        file.program_version = "restic 0.17.0".into();
        let theirs = exported([1; 32], &file);
        assert_eq!((theirs.original, theirs.profile, theirs.is_incomplete), (None, None, false));
        assert_eq!(theirs.tags.len(), 3);
    }
}
