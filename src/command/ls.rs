//! `bk ls`: what is in a snapshot.

use std::ffi::OsString;

use clap::Args;

use super::Session;
use super::look::{Looking, place};
use super::select::FilterArgs;
use crate::format::node::{Node, NodeKind};
use crate::operation::list::{Located, Place, Step, walk};
use crate::repository::RepositoryError;
use crate::ui::{Exit, Failure, Lines, json, text};

/// List what is in a snapshot
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Snapshot: an id, `latest`, or a profile for its newest one
    pub snapshot: String,
    /// Folder or file in it, as it was on the machine; without it, what was backed up
    pub path: Option<OsString>,
    /// Show type, permissions, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// List everything below, not one level
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Which snapshots are meant.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Where a listing begins, and whether with the entry itself or with what is in it.
fn starts(place: Place, named: bool) -> Vec<(Located, bool)> {
    let is_folder = |entry: &Located| matches!(entry.node.kind, NodeKind::Directory { .. });
    match place {
        Place::Entry(entry) => {
            let itself = !is_folder(&entry);
            vec![(*entry, itself)]
        }
        Place::Above(roots) if !named && roots.len() == 1 => {
            roots.into_iter().map(|root| (root.clone(), !is_folder(&root))).collect()
        }
        Place::Above(roots) => roots.into_iter().map(|root| (root, true)).collect(),
        Place::Missing { .. } => Vec::new(),
    }
}

impl LsArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the snapshot cannot be read, or the path is not in it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let looking = Looking::open(session)?;
        let info = looking.snapshot(&self.snapshot, &self.filter)?;
        let mut reader = looking.reader()?;
        let place = place(&mut reader, info, self.path.as_deref().unwrap_or_default())?;
        let mut lines = Lines::new(&session.screen);
        if session.screen.json {
            let mut object = json::snapshot(info);
            object.insert("message_type".into(), "snapshot".into());
            lines.json(object);
        }
        for (start, itself) in starts(place, self.path.is_some()) {
            let top = start.path.clone();
            walk(&mut reader, start, session.interrupted(), &mut |_, at| {
                let is_top = at.path == top;
                if !is_top || itself {
                    self.print(&mut lines, session.screen.json, at);
                }
                let into = self.recursive || (is_top && !itself);
                Ok::<_, RepositoryError>(if into { Step::Into } else { Step::Over })
            })?;
        }
        Ok(Exit::Complete)
    }

    fn print(&self, lines: &mut Lines<'_>, as_json: bool, at: &Located) {
        if as_json {
            let mut object = json::node(&at.path, &at.node);
            object.insert("message_type".into(), "node".into());
            lines.json(object);
        } else if self.long {
            lines.line(&long(&at.path, &at.node));
        } else {
            let slash = matches!(at.node.kind, NodeKind::Directory { .. }) && !at.path.ends_with(b"/");
            lines.line(&format!("{}{}", text::path_text(&at.path), if slash { "/" } else { "" }));
        }
    }
}

/// An entry as `ls -l` shows it.
pub(super) fn long(path: &[u8], node: &Node) -> String {
    let (user, group) = text::owner(&node.metadata);
    let target = match &node.kind {
        NodeKind::Symlink { target } => format!(" -> {}", text::path_text(target)),
        _ => String::new(),
    };
    format!(
        "{} {user:<8} {group:<8} {:>10} {} {}{target}",
        text::mode(node),
        text::size(node),
        text::time_text(node.metadata.mtime),
        text::path_text(path)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, file, folder, symlink};
    use crate::operation::list::{locate, roots};

    #[test]
    fn of_a_single_root_what_is_in_it_is_listed_and_of_several_the_roots() {
        let bench = Bench::new();
        let tree = |name: &str| folder(name, vec![file("f", b"1")]);
        let one = bench.snapshot(vec![("/mnt", tree("x"))]).snapshot;
        let two = bench.snapshot(vec![("/mnt", tree("x")), ("/mnt", tree("y"))]).snapshot;
        assert!(!starts(Place::Above(roots(&one)), false)[0].1);
        assert!(starts(Place::Above(roots(&one)), true)[0].1);
        assert_eq!(starts(Place::Above(roots(&two)), false).len(), 2);
        let place = bench.read(|reader| locate(reader, &one, b"/mnt/x/f")).unwrap();
        assert!(starts(place, true)[0].1);
    }

    #[test]
    fn a_long_line_says_where_a_link_points() {
        let link = symlink("l", "to\n").node;
        let line = long(b"/a/l", &link);
        assert!(line.starts_with("lrwxrwxrwx 0        0                 - 20"), "{line}");
        assert!(line.ends_with(" /a/l -> to\\n"), "{line}");
    }
}
