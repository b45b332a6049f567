//! `bk snapshots`: what there is.

use std::collections::HashMap;

use clap::Args;
use serde_json::Value;

use super::Session;
use super::select::{FilterArgs, Selector};
use super::verify::proved_text;
use crate::clock::{Clock as _, Timestamp};
use crate::format::snapshot::{Outcome, Snapshot};
use crate::repository::{SnapshotInfo, Snapshots, Verification};
use crate::retention::Pin;
use crate::size::ByteSize;
use crate::ui::{Align, Exit, Failure, Screen, Table, json, text};

/// More problems than this are shown as JSON only.
const PROBLEMS_SHOWN: usize = 50;

/// List snapshots, or show one in full
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Profile whose snapshots are listed; or a snapshot to show in full: an id, `latest`, `plex~1`
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    pub what: Option<String>,
    /// Only the newest N of each machine and profile
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
    /// Which snapshots are meant.
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl SnapshotsArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the repository cannot be read, or the snapshot or profile is not there.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (opened, snapshots) = session.open_for_reading()?;
        let exit = if snapshots.damaged.is_empty() { Exit::Complete } else { Exit::Damage };
        let selector = self.what.as_deref().map(Selector::parse).transpose()?;
        let profile = match &selector {
            None => None,
            Some(Selector::Profile(name, 0)) => Some(name.as_str()),
            Some(one) => {
                show(&session.screen, one.find(&snapshots, &self.filter)?, &snapshots);
                return Ok(exit);
            }
        };
        let listed = self.listed(&snapshots, profile)?;
        if let (true, Some(selector)) = (listed.is_empty(), &selector) {
            // Says which profiles there are.
            selector.find(&snapshots, &self.filter)?;
        }
        if session.screen.json {
            let listed = listed.into_iter().map(|info| {
                let mut object = json::snapshot(info);
                object.insert("pinned".into(), (snapshots.facts.pin(&info.id) != Pin::None).into());
                let proved = snapshots.facts.verification(&info.id);
                object.insert("verification".into(), proved.map_or(Value::Null, verification_json));
                Value::Object(object)
            });
            session.screen.json_line(&Value::Array(listed.collect()));
        } else if snapshots.all.is_empty() {
            session.screen.note(&format!("{} has no snapshots yet; make one with `bk backup`", opened.name));
        } else {
            lines(&listed, &snapshots, session.clock.wall()).iter().for_each(|line| session.screen.line(line));
        }
        Ok(exit)
    }

    /// Those that are meant, oldest first.
    fn listed<'a>(&self, snapshots: &'a Snapshots, profile: Option<&str>) -> Result<Vec<&'a SnapshotInfo>, Failure> {
        let filter = self.filter.filter(profile)?;
        let mut seen: HashMap<(&str, String), usize> = HashMap::new();
        let newest = snapshots.all.iter().rev().filter(|info| filter.matches(&info.snapshot)).filter(|info| {
            let count = seen.entry((&info.snapshot.host, subject(&info.snapshot))).or_default();
            *count += 1;
            self.latest.is_none_or(|latest| *count <= latest)
        });
        let mut listed: Vec<_> = newest.collect();
        listed.reverse();
        Ok(listed)
    }
}

/// The profile, or the paths where there is none.
pub(super) fn subject(snapshot: &Snapshot) -> String {
    match &snapshot.profile {
        Some(profile) => text::line_text(profile),
        None => text::paths_text(snapshot.roots.iter().map(|root| root.path.as_slice()), 2),
    }
}

fn outcome(snapshot: &Snapshot) -> String {
    match snapshot.outcome {
        Outcome::Complete => "complete".into(),
        Outcome::Incomplete => {
            format!("incomplete ({})", text::count(snapshot.problem_count, "problem", "problems"))
        }
    }
}

fn tags(snapshot: &Snapshot) -> String {
    text::line_text(&snapshot.tags.join(","))
}

/// The table and its closing line.
fn lines(listed: &[&SnapshotInfo], snapshots: &Snapshots, now: Timestamp) -> Vec<String> {
    let titles = [
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("PROFILE OR PATHS", Align::Left),
        ("HOST", Align::Left),
        ("TAGS", Align::Left),
        ("OUTCOME", Align::Left),
        ("FILES", Align::Right),
        ("SIZE", Align::Right),
        ("ADDED", Align::Right),
    ];
    let mut table = Table::new(&titles);
    for info in listed {
        let SnapshotInfo { id, snapshot, .. } = info;
        let mut outcome = outcome(snapshot);
        if snapshots.facts.pin(id) != Pin::None {
            outcome.push_str(", pinned");
        }
        if let Some(proved) = snapshots.facts.verification(id) {
            let part = if proved.is_full() { "verified" } else { "verified in part" };
            let ago = match now.seconds - proved.time.seconds {
                ..60 => "just now".to_owned(),
                seconds => format!("{} ago", text::coarse(seconds)),
            };
            outcome.push_str(&format!(", {part} {ago}"));
        }
        if snapshots.needs_acceptance(info) {
            outcome.push_str(", unusual: see `bk accept`");
        }
        let counted = |text: String| if snapshot.is_counted() { text } else { "-".into() };
        table.row([
            id.short(),
            text::time_text(snapshot.start),
            subject(snapshot),
            text::line_text(&snapshot.host),
            tags(snapshot),
            outcome,
            counted(text::number(snapshot.statistics.files)),
            counted(ByteSize(snapshot.statistics.total_bytes).to_string()),
            counted(ByteSize(snapshot.statistics.stored_bytes).to_string()),
        ]);
    }
    let mut lines = if table.is_empty() { Vec::new() } else { table.lines() };
    lines.push(text::count(listed.len() as u64, "snapshot", "snapshots"));
    lines
}

fn show(screen: &Screen, info: &SnapshotInfo, snapshots: &Snapshots) {
    let proved = snapshots.facts.verification(&info.id);
    if screen.json {
        let mut object = json::snapshot_in_full(info);
        object.insert("verification".into(), proved.map_or(Value::Null, verification_json));
        screen.json_line(&Value::Object(object));
    } else {
        let mut table = facts(info);
        if let Some(proved) = proved {
            let when = format!("{} on {}", text::time_text(proved.time), text::line_text(&proved.host));
            table.row(["verified".to_owned(), format!("{when}: {}", proved_text(proved))]);
        }
        table.lines().iter().for_each(|line| screen.line(line));
        sections(&info.snapshot).iter().for_each(|line| screen.line(line));
    }
}

fn verification_json(proved: &Verification) -> Value {
    let mut value = serde_json::to_value(proved).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("time".into(), text::rfc3339(proved.time).into());
        object.insert("host".into(), proved.host.clone().into());
        object.insert("full".into(), proved.is_full().into());
    }
    value
}

/// What a snapshot says in one line each.
fn facts(info: &SnapshotInfo) -> Table {
    let SnapshotInfo { id, snapshot, .. } = info;
    let of = &snapshot.statistics;
    let size = |bytes| ByteSize(bytes).to_string();
    let mut table = Table::untitled(&[Align::Left, Align::Left]);
    let mut row = |key: &str, value: String| table.row([key.to_owned(), value]);
    row("snapshot", id.to_string());
    let took = text::duration(text::seconds_between(snapshot.start, snapshot.end));
    row("time", format!("{}, took {took}", text::time_text(snapshot.start)));
    row("host", text::line_text(&snapshot.host));
    row("made by", format!("{} with {}", text::line_text(&snapshot.user), text::line_text(&snapshot.program)));
    if let Some(profile) = &snapshot.profile {
        row("profile", text::line_text(profile));
    }
    if !snapshot.tags.is_empty() {
        row("tags", tags(snapshot));
    }
    if let Some(description) = &snapshot.description {
        row("description", text::line_text(description));
    }
    // In place it is its own.
    if let Some(of) = snapshot.imported.as_ref().filter(|of| of.snapshot != id.0) {
        let id = crate::id::SnapshotId(of.snapshot).short();
        row(
            "imported",
            format!("from snapshot {id} of the {} repository {}", of.format, text::line_text(&of.repository)),
        );
    }
    if let Some(parent) = snapshot.parent {
        row("parent", parent.short());
    }
    row("outcome", outcome(snapshot));
    for anomaly in &snapshot.anomalies {
        row("unusual", text::line_text(anomaly));
    }
    let entries = [
        text::count(of.files, "file", "files"),
        text::count(of.directories, "folder", "folders"),
        text::count(of.others, "other", "others"),
    ];
    if !snapshot.is_counted() {
        row("entries", "not counted by the program that made it".into());
        return table;
    }
    row("entries", entries.join(", "));
    let changes = [(of.new_files, "new"), (of.changed_files, "changed"), (of.unchanged_files, "unchanged")];
    row("files", changes.map(|(count, what)| format!("{} {what}", text::number(count))).join(", "));
    row("size", size(of.total_bytes));
    row("read", size(of.read_bytes));
    let blobs = text::count(of.new_blobs, "new blob", "new blobs");
    row("added", format!("{} in {blobs}, {} stored", size(of.new_bytes), size(of.stored_bytes)));
    table
}

/// What a snapshot says in several lines each.
fn sections(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = vec![String::new(), "roots".to_owned()];
    for root in &snapshot.roots {
        lines.push(format!("  {} {}", text::mode(&root.node), text::path_text(&root.path)));
    }
    if !snapshot.problems.is_empty() {
        lines.extend([String::new(), "problems".to_owned()]);
        for problem in snapshot.problems.iter().take(PROBLEMS_SHOWN) {
            let (kind, message) = (text::line_text(&problem.kind), text::line_text(&problem.message));
            lines.push(format!("  {kind}: {}: {message}", text::path_text(&problem.path)));
        }
        let shown = snapshot.problems.len().min(PROBLEMS_SHOWN) as u64;
        if snapshot.problem_count > shown {
            lines.push(format!("  and {} more", text::number(snapshot.problem_count - shown)));
        }
    }
    if !snapshot.hooks.is_empty() {
        lines.extend([String::new(), "hooks".to_owned()]);
        for hook in &snapshot.hooks {
            let line = format!("  {}: {} {}", hook.name, hook.outcome, hook.message);
            lines.push(text::line_text(line.trim_end()));
        }
    }
    if !snapshot.definition.is_empty() {
        lines.extend([String::new(), "definition".to_owned()]);
        lines.extend(snapshot.definition.lines().map(|line| format!("  {}", text::line_text(line))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::Problem;
    use crate::operation::bench::{Bench, file, folder};

    fn args(latest: Option<usize>) -> SnapshotsArgs {
        SnapshotsArgs { what: None, latest, filter: FilterArgs::default() }
    }

    fn bench() -> (Bench, Snapshots) {
        let bench = Bench::new();
        for profile in [Some("plex"), None, Some("plex"), Some("wiki")] {
            bench.snapshot_with(vec![("/mnt", folder("x", vec![file("f", b"1")]))], |snapshot| {
                snapshot.profile = profile.map(str::to_owned);
                if profile == Some("wiki") {
                    snapshot.outcome = Outcome::Incomplete;
                    snapshot.problem_count = 3;
                    let message = "permission denied\u{1b}".into();
                    snapshot.problems =
                        vec![Problem { kind: "unreadable".into(), path: b"/mnt/x/g".to_vec(), message }];
                }
            });
        }
        let snapshots = Snapshots::load(&bench.repository).unwrap();
        (bench, snapshots)
    }

    #[test]
    fn the_newest_of_each_profile_and_the_paths_without_one_are_listed_oldest_first() {
        let (_bench, snapshots) = bench();
        let subjects = |latest, profile: Option<&str>| {
            let listed = args(latest).listed(&snapshots, profile).unwrap();
            listed.iter().map(|info| subject(&info.snapshot)).collect::<Vec<_>>()
        };
        assert_eq!(subjects(None, None), ["plex", "/mnt/x", "plex", "wiki"]);
        assert_eq!(subjects(Some(1), None), ["/mnt/x", "plex", "wiki"]);
        assert_eq!(subjects(None, Some("plex")), ["plex", "plex"]);
    }

    #[test]
    fn the_table_says_what_is_incomplete_and_ends_with_the_count() {
        let (_bench, snapshots) = bench();
        let lines = lines(&snapshots.all.iter().collect::<Vec<_>>(), &snapshots, Timestamp::default());
        assert_eq!(lines.len(), 6);
        assert!(lines[0].starts_with("ID        TIME "));
        assert!(lines[4].contains("wiki") && lines[4].contains("incomplete (3 problems)"), "{}", lines[4]);
        assert_eq!(lines[5], "4 snapshots");
    }

    #[test]
    fn a_snapshot_in_full_names_its_problems_and_how_many_more_there_are() {
        let (_bench, snapshots) = bench();
        let text = sections(&snapshots.all[3].snapshot).join("\n");
        assert!(text.contains("unreadable: /mnt/x/g: permission denied\\u{1b}\n  and 2 more"), "{text}");
        let json = Value::Object(json::snapshot_in_full(&snapshots.all[3]));
        assert_eq!(json["problems"][0]["path"], "/mnt/x/g");
        assert_eq!(json["roots"][0]["restore_name"], "mnt/x");
    }
}
