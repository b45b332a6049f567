//! What a verification says.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Place, Verified};
use crate::command::Session;
use crate::drill::{Drilled, Outcome};
use crate::format::snapshot::Outcome as SnapshotOutcome;
use crate::operation::verify::{VerifyProblem, VerifyStats};
use crate::repository::{Files, SnapshotInfo, Verification};
use crate::size::ByteSize;
use crate::ui::Exit;
use crate::ui::text::{count, duration, line_text, path_text, time_text};

/// Files of each kind of problem that people are shown.
const SHOWN: usize = 10;

/// Which snapshot it is.
pub(super) fn begin(session: &Session, place: &Place, info: &SnapshotInfo) {
    let snapshot = &info.snapshot;
    session.screen.note(&format!(
        "snapshot {} of {}, {}, host {}, from {}",
        info.id.short(),
        title(info),
        time_text(snapshot.start),
        line_text(&snapshot.host),
        place.target.name
    ));
    if snapshot.outcome == SnapshotOutcome::Incomplete {
        let problems = count(snapshot.problem_count, "problem", "problems");
        session.screen.warning(&format!("this snapshot is incomplete: {problems} when it was made"));
    }
}

fn title(info: &SnapshotInfo) -> String {
    crate::command::snapshots::subject(&info.snapshot)
}

/// What a database came to.
pub(super) fn database(session: &Session, name: &str, drilled: &Drilled, seconds: f64) {
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&database_json(name, drilled, seconds));
        return;
    }
    let name = line_text(name);
    for warning in &drilled.warnings {
        screen.warning(&format!("{name}: {}", line_text(warning)));
    }
    let took = duration(seconds);
    let server = drilled.server.as_ref().map(|server| format!("; {}", line_text(server))).unwrap_or_default();
    let counted = format!("{}, {}", count(drilled.tables, "table", "tables"), count(drilled.rows, "row", "rows"));
    match &drilled.outcome {
        Outcome::Passed => {
            let asked = match drilled.asked.len() as u64 {
                0 => String::new(),
                asked => format!(", {} answered well", count(asked, "question", "questions")),
            };
            screen.line(&format!("{name} {}: {counted}{asked}; took {took}{server}", screen.paint("is whole", "32")));
        }
        Outcome::Failed(problems) => {
            screen.line(&format!("{name} {}{server}", screen.paint("DOES NOT RESTORE", "31")));
            problems.iter().for_each(|problem| screen.line(&format!("  {}", line_text(problem))));
        }
        Outcome::NotRun { why, hint } => {
            screen.line(&format!("{name} {}: {}", screen.paint("was NOT TRIED", "33"), line_text(why)));
            screen.line(&format!("  next: {}", line_text(hint)));
        }
        Outcome::NoDrill => {
            screen.line(&format!("{name} can be read; its hook has no drill, so nothing more is known of it"));
        }
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::NotRun { .. } => "not-run",
        Outcome::NoDrill => "no-drill",
    }
}

fn database_json(name: &str, drilled: &Drilled, seconds: f64) -> Value {
    let (problems, why, hint) = match &drilled.outcome {
        Outcome::Failed(problems) => (problems.clone(), None, None),
        Outcome::NotRun { why, hint } => (Vec::new(), Some(why), Some(hint)),
        _ => (Vec::new(), None, None),
    };
    json!({
        "message_type": "database", "database": name, "outcome": word(&drilled.outcome), "problems": problems,
        "why": why, "hint": hint, "server": drilled.server, "tables": drilled.tables, "rows": drilled.rows,
        "questions": drilled.asked.len(), "warnings": drilled.warnings, "seconds": seconds,
    })
}

/// What a snapshot came to.
pub(super) fn end(session: &Session, place: &Place, info: &SnapshotInfo, verified: &Verified) {
    let screen = &session.screen;
    let exit = verified.exit();
    if screen.json {
        let problem = |problem: &VerifyProblem, kind: &str| {
            json!({
                "message_type": "error", "kind": kind, "path": String::from_utf8_lossy(&problem.path),
                "message": problem.message,
            })
        };
        let files = &verified.files;
        files.problems.iter().for_each(|one| screen.json_line(&problem(one, "differs")));
        files.unread.iter().for_each(|one| screen.json_line(&problem(one, "source-unread")));
        screen.json_line(&summary_json(place, info, verified));
        return;
    }
    show_problems(session, &verified.files.problems);
    for unread in verified.files.unread.iter().take(SHOWN) {
        let (path, message) = (path_text(&unread.path), line_text(&unread.message));
        screen.warning(&format!("{path} on this machine cannot be read to compare with: {message}"));
    }
    if let Some(text) = files_text(verified.depth, &verified.files) {
        screen.line(&text);
    }
    let (title, took) = (title(info), duration(verified.seconds));
    screen.line(&match (exit, verified.proved()) {
        (Exit::Complete, Some(proved)) => match (proved.files, verified.left_out) {
            (Files::None, _) => format!("{title}: its databases restore, and no file was looked at; took {took}"),
            (_, 0) => format!("{title} restores; verified in {took}"),
            (_, left_out) => {
                let databases = count(left_out, "database was", "databases were");
                format!("{title}: its files restore, and {databases} left out; took {took}")
            }
        },
        (Exit::Complete, None) if verified.databases.is_empty() => format!("{title}: there was nothing to verify"),
        (Exit::Complete, None) => format!("{title}: its dumps can be read, and nothing more was tried; took {took}"),
        (Exit::Verification, _) => {
            let older = info.snapshot.profile.as_deref().unwrap_or("latest");
            format!("{title} DOES NOT RESTORE as it should: see above; next: `bk check --read-data`, or verify an older one: `bk verify {older}~1`")
        }
        _ => format!("{title} restores as far as it was tried, which is NOT ALL: see above; took {took}"),
    });
}

/// What is wrong once, with the files that it is wrong with: a damaged pack concerns many.
fn show_problems(session: &Session, problems: &[VerifyProblem]) {
    let screen = &session.screen;
    let mut by_message: BTreeMap<&str, Vec<&VerifyProblem>> = BTreeMap::new();
    problems.iter().for_each(|problem| by_message.entry(&problem.message).or_default().push(problem));
    for (message, files) in by_message.iter().take(SHOWN) {
        let many = count(files.len() as u64, "file", "files");
        let words = if files.len() == 1 { "DOES NOT RESTORE" } else { "DO NOT RESTORE" };
        screen.line(&format!("{many} {}: {}", screen.paint(words, "31"), line_text(message)));
        files.iter().take(SHOWN).for_each(|file| screen.line(&format!("  {}", path_text(&file.path))));
        if files.len() > SHOWN {
            screen.line(&format!("  and {} more; --json lists all", files.len() - SHOWN));
        }
    }
    if by_message.len() > SHOWN {
        screen.line(&format!("and {} more reasons; --json lists all", by_message.len() - SHOWN));
    }
}

fn files_text(depth: Files, files: &VerifyStats) -> Option<String> {
    let what = match depth {
        _ if files.files + files.parts == 0 => return None,
        Files::None => return None,
        Files::Sample => "a sample of ",
        Files::All => "all ",
    };
    let parts = match files.parts {
        0 => String::new(),
        parts => format!(", and a part of {}", count(parts, "large one", "large ones")),
    };
    let compared = match files.compared_files {
        0 => String::new(),
        compared => format!("; {} also with this machine's own", count(compared, "file", "files")),
    };
    Some(format!(
        "{what}{}{parts} ({}) restored and compared{compared}",
        count(files.files, "file", "files"),
        ByteSize(files.bytes)
    ))
}

/// In one line, why a snapshot is not verified; of files no name is told.
pub(super) fn reason(verified: &Verified) -> Option<String> {
    let databases = |wanted: fn(&Outcome) -> bool| -> Vec<String> {
        verified.databases.iter().filter(|(_, one, _)| wanted(&one.outcome)).map(|(name, ..)| line_text(name)).collect()
    };
    let failed = databases(|outcome| matches!(outcome, Outcome::Failed(_)));
    let not_run = databases(|outcome| matches!(outcome, Outcome::NotRun { .. }));
    let mut parts = Vec::new();
    match verified.files.problems.len() as u64 {
        0 => {}
        problems => parts.push(format!("{} not restored as they were", count(problems, "file", "files"))),
    }
    if !failed.is_empty() {
        parts.push(format!("not whole: {}", failed.join(", ")));
    }
    if !not_run.is_empty() {
        parts.push(format!("not tried: {}", not_run.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn summary_json(place: &Place, info: &SnapshotInfo, verified: &Verified) -> Value {
    let exit = verified.exit();
    json!({
        "message_type": "summary", "snapshot_id": info.id.to_string(), "profile": info.snapshot.profile,
        "repository": place.target.name, "verified": exit == Exit::Complete && verified.proved().is_some(),
        "files": match verified.depth { Files::None => "none", Files::Sample => "sample", Files::All => "all" },
        "files_read": verified.files.files, "files_read_in_part": verified.files.parts,
        "bytes_read": verified.files.bytes, "files_compared_with_source": verified.files.compared_files,
        "num_errors": verified.files.problems.len(),
        "databases": verified.databases.iter().map(|(name, one, _)| (name.clone(), Value::from(word(&one.outcome))))
            .collect::<serde_json::Map<_, _>>(),
        "seconds": verified.seconds, "code": exit.code(),
    })
}

/// What a verification proved, for people.
pub(in crate::command) fn proved_text(proved: &Verification) -> String {
    let mut parts = Vec::new();
    match proved.files {
        Files::None => {}
        Files::Sample => parts.push(format!("a sample of {}", ByteSize(proved.bytes))),
        Files::All => parts.push(format!("all files ({})", ByteSize(proved.bytes))),
    }
    if proved.databases > 0 {
        parts.push(count(proved.databases, "database", "databases"));
    }
    if proved.not_run > 0 {
        parts.push(format!("{} not tried", count(proved.not_run, "database", "databases")));
    }
    format!("{}; took {}", parts.join(", "), duration(proved.seconds))
}
