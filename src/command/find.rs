//! `bk find`: an entry in all snapshots, with its history.

use clap::Args;
use serde_json::{Value, json};

use super::Session;
use super::look::Looking;
use super::select::FilterArgs;
use crate::format::node::Timestamp;
use crate::id::SnapshotId;
use crate::operation::find::{Case, History, Query, Version, find};
use crate::repository::SnapshotInfo;
use crate::ui::{Align, Exit, Failure, Lines, Table, json as shown, text};

/// Find entries in all snapshots, with the history of each
///
/// A pattern without a leading `/` matches at every depth: `*.conf`, `nginx/*.conf`. With one it is the whole path:
/// `/etc/**/*.conf`. `*` and `?` do not match a `/`, `**` does. Entries that are the same in several snapshots are
/// shown once, with the first and the last of them.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Names or paths, with `*`, `?`, `[a-z]` and `**`; a trailing `/` means folders
    #[arg(required = true)]
    pub pattern: Vec<String>,
    /// Take upper and lower case as the same
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Only snapshots of this profile
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Only this snapshot
    #[arg(short, long, value_name = "SNAPSHOT", conflicts_with = "profile")]
    pub snapshot: Option<String>,
    /// Which snapshots are meant.
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl FindArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When a pattern is malformed or a snapshot cannot be read.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let case = if self.ignore_case { Case::Ignored } else { Case::Sensitive };
        let query = Query::new(&self.pattern, case).map_err(|error| Failure::of(Exit::Usage, &error, error.hint()))?;
        let looking = Looking::open(session)?;
        let snapshots: Vec<&SnapshotInfo> = match &self.snapshot {
            Some(word) => vec![looking.snapshot(word, &self.filter)?],
            None => {
                let filter = self.filter.filter(self.profile.as_deref())?;
                looking.snapshots.all.iter().filter(|info| filter.matches(&info.snapshot)).collect()
            }
        };
        let found = find(&mut looking.reader()?, &snapshots, &query, session.interrupted())?;
        if session.screen.json {
            session.screen.json_line(&Value::Array(found.iter().map(value).collect()));
            return Ok(Exit::Complete);
        }
        let searched = text::count(snapshots.len() as u64, "snapshot", "snapshots");
        let several_hosts = found.iter().any(|history| found.first().is_some_and(|first| first.host != history.host));
        let mut lines = Lines::new(&session.screen);
        for history in &found {
            print(&mut lines, history, several_hosts);
        }
        drop(lines);
        if snapshots.is_empty() {
            session.screen.note("no snapshot fits; see `bk snapshots`");
        } else {
            let paths = text::count(found.len() as u64, "path", "paths");
            session.screen.note(&format!("{paths} found in {searched}"));
        }
        Ok(Exit::Complete)
    }
}

fn value(history: &History) -> Value {
    let snapshot = |(id, time): (SnapshotId, Timestamp)| json!({"id": id.to_string(), "short_id": id.short(), "time": text::rfc3339(time)});
    let version = |version: &Version| {
        let mut object = shown::node(&history.path, &version.node);
        object.insert("snapshots".into(), version.snapshots.into());
        object.insert("first".into(), snapshot(version.first));
        object.insert("last".into(), snapshot(version.last));
        Value::Object(object)
    };
    let mut object = shown::path(&history.path);
    object.insert("host".into(), history.host.clone().into());
    object.insert("versions".into(), Value::Array(history.versions.iter().map(version).collect()));
    Value::Object(object)
}

fn seen(version: &Version) -> String {
    let at = |(id, time): (SnapshotId, Timestamp)| format!("{} ({})", id.short(), text::time_text(time));
    match version.snapshots {
        1 => format!("in {}", at(version.first)),
        many => format!("in {many} snapshots, first {}, last {}", at(version.first), at(version.last)),
    }
}

fn print(lines: &mut Lines<'_>, history: &History, with_host: bool) {
    let host = if with_host { format!("{}: ", text::line_text(&history.host)) } else { String::new() };
    lines.line(&format!("{host}{}", text::path_text(&history.path)));
    let mut table = Table::untitled(&[Align::Left, Align::Left, Align::Right, Align::Left, Align::Left]);
    for version in &history.versions {
        table.row([
            " ".to_owned(),
            text::mode(&version.node),
            text::size(&version.node),
            text::time_text(version.node.metadata.mtime),
            seen(version),
        ]);
    }
    table.lines().iter().for_each(|line| lines.line(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, RUNNING, file, folder};

    #[test]
    fn a_version_names_the_first_and_the_last_snapshot_that_have_it() {
        let bench = Bench::new();
        let all: Vec<_> = ["1", "1", "2"]
            .map(|data| bench.snapshot(vec![("/", folder("d", vec![file("f", data.as_bytes())]))]))
            .into();
        let query = Query::new(&["f".to_owned()], Case::Sensitive).unwrap();
        let found = bench.read(|reader| find(reader, &all.iter().collect::<Vec<_>>(), &query, &RUNNING)).unwrap();
        let versions = &found[0].versions;
        let (first, last) = (all[0].id.short(), all[1].id.short());
        let text = seen(&versions[0]);
        assert!(
            text.starts_with(&format!("in 2 snapshots, first {first} (")) && text.contains(&format!("last {last} ("))
        );
        assert!(seen(&versions[1]).starts_with(&format!("in {} (", all[2].id.short())));
        let json = value(&found[0]);
        assert_eq!((&json["path"], &json["versions"][0]["snapshots"]), (&json!("/d/f"), &json!(2)));
        assert_eq!(json["versions"][1]["first"]["id"], all[2].id.to_string());
    }
}
