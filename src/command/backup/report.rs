//! What a run tells at its end.

use serde_json::json;

use super::Job;
use crate::command::{Opened, Session, traffic};
use crate::format::snapshot::Outcome;
use crate::operation::backup::{BackupStats, SiblingStats};
use crate::size::ByteSize;
use crate::ui::Failure;
use crate::ui::text::{count, duration, path_text};

/// Problems shown to people; all are in the snapshot.
const SHOWN_PROBLEMS: usize = 20;

/// Tells what the run of one repository came to.
pub(super) fn report(session: &Session, opened: &Opened, job: &Job, stats: &BackupStats, dry_run: bool) {
    let screen = &session.screen;
    let counted = &stats.statistics;
    let seconds = seconds_between(stats);
    let id = stats.snapshot.as_ref().map(|info| info.id);
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary",
            "repository": opened.name,
            "profile": job.name,
            "snapshot_id": id.map(|id| id.to_string()),
            "outcome": outcome_word(stats.outcome),
            "dry_run": dry_run,
            "files_new": counted.new_files,
            "files_changed": counted.changed_files,
            "files_unmodified": counted.unchanged_files,
            "dirs": counted.directories,
            "others": counted.others,
            "total_files_processed": counted.files,
            "total_bytes_processed": counted.total_bytes,
            "bytes_read": counted.read_bytes,
            "new_blobs": counted.new_blobs,
            "data_added": counted.new_bytes,
            "data_added_packed": counted.stored_bytes,
            "total_duration": seconds,
            "traffic": traffic::value(opened),
            "problem_count": stats.problems.count(),
            "anomalies": stats.anomalies,
            "problems": stats.problems.first().iter().map(|problem| json!({
                "kind": problem.kind, "path": String::from_utf8_lossy(&problem.path), "message": problem.message,
            })).collect::<Vec<_>>(),
        }));
        return;
    }
    let size = |bytes| ByteSize(bytes).to_string();
    screen.note(&format!(
        "{}, {} ({} new, {} changed, {} unchanged) in {}",
        count(counted.files, "file", "files"),
        size(counted.total_bytes),
        counted.new_files,
        counted.changed_files,
        counted.unchanged_files,
        duration(seconds),
    ));
    screen.note(&format!(
        "{} of new data; the repository {} by {}",
        size(counted.new_bytes),
        if dry_run { "would grow" } else { "grew" },
        size(counted.stored_bytes)
    ));
    traffic::tell(session, opened);
    let problems = stats.problems.first();
    for problem in problems.iter().take(SHOWN_PROBLEMS) {
        screen.warning(&format!("{}: {}", path_text(&problem.path), problem.message));
    }
    let more = stats.problems.count().saturating_sub(SHOWN_PROBLEMS as u64);
    if more > 0 {
        screen.warning(&format!("and {more} more; `bk snapshots ID` lists them"));
    }
    if let (Some(id), false) = (id, stats.anomalies.is_empty()) {
        screen.warning(&format!("THIS BACKUP IS UNLIKE THOSE BEFORE IT: {}", stats.anomalies.join("; ")));
        let id = id.short();
        let look = stats
            .parent
            .map_or_else(|| format!("bk snapshots {id}"), |before| format!("bk diff {} {id}", before.short()));
        screen.warning(&format!(
            "nothing old is forgotten or pruned until you have looked (`{look}`) and said `bk accept {id}`"
        ));
    }
    match (id, stats.outcome) {
        (Some(id), Outcome::Complete) => {
            screen.line(&format!("snapshot {} is complete in {}", id.short(), opened.name))
        }
        (Some(id), Outcome::Incomplete) => screen.line(&format!(
            "snapshot {} is INCOMPLETE in {}: {} problems, listed above",
            id.short(),
            opened.name,
            stats.problems.count()
        )),
        (None, _) if dry_run => screen.line("nothing was stored: this was a dry run"),
        (None, _) => screen.line("nothing has changed since the last snapshot, so there is no new one"),
    }
}

fn seconds_between(stats: &BackupStats) -> f64 {
    let seconds = (stats.end.seconds - stats.start.seconds) as f64;
    (seconds + (f64::from(stats.end.nanos) - f64::from(stats.start.nanos)) / 1e9).max(0.0)
}

const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Incomplete => "incomplete",
    }
}

/// Tells what became of a sibling of the repository that the run was reported of.
pub(super) fn report_sibling(session: &Session, stats: &SiblingStats, failure: Option<&Failure>) {
    let screen = &session.screen;
    let caught_up = stats.caught_up.snapshots.len() as u64;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "sibling",
            "repository": stats.name,
            "snapshot_id": stats.snapshot.map(|id| id.to_string()),
            "outcome": if failure.is_some() { "behind" } else { "complete" },
            "packs": stats.packs + stats.caught_up.packs,
            "data_added_packed": stats.stored_bytes + stats.caught_up.stored_bytes,
            "caught_up": stats.caught_up.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "message": failure.map(Failure::in_one_line),
            "hint": failure.and_then(|failure| failure.hint.clone()),
        }));
        return;
    }
    let size = |bytes| ByteSize(bytes).to_string();
    if let Some(id) = stats.snapshot {
        let sent = size(stats.stored_bytes);
        screen.line(&format!("snapshot {} is in {} too, which grew by {sent}", id.short(), stats.name));
    }
    if caught_up > 0 {
        let snapshots = count(caught_up, "earlier snapshot", "earlier snapshots");
        let sent = size(stats.caught_up.stored_bytes);
        screen.line(&format!("{} got {snapshots} that it lacked, and grew by {sent}", stats.name));
    }
    if let Some(failure) = failure {
        report_behind(session, &stats.name, failure);
    }
}

/// Tells of a repository that the snapshot is not in.
pub(super) fn report_behind(session: &Session, name: &str, failure: &Failure) {
    session.screen.warning(&format!("{name} IS BEHIND: {}", failure.in_one_line()));
    if let Some(hint) = &failure.hint {
        session.screen.warning(&format!("{hint}; the next run brings it up to date, or `bk copy --to {name}`"));
    }
}
