//! What a check has found, for people and for programs.

use serde_json::json;

use super::rfc3339;
use crate::command::Session;
use crate::command::session::Target;
use crate::operation::check::{AffectedSnapshot, CheckReport, Depth, Finding, Kept, Severity, Standing};
use crate::size::ByteSize;
use crate::ui::text::{coarse, count, date_text, path_text, time_text};

/// Findings that people are shown; `--json` lists all.
const SHOWN_FINDINGS: usize = 50;
/// Affected snapshots that people are shown.
const SHOWN_SNAPSHOTS: usize = 20;
/// Affected paths of a snapshot that people are shown.
pub(super) const SHOWN_PATHS: usize = 10;

/// Shows all of it.
pub(super) fn show(session: &Session, target: &Target, report: &CheckReport) {
    if session.screen.json { show_json(session, target, report) } else { show_text(session, target, report) }
}

fn show_text(session: &Session, target: &Target, report: &CheckReport) {
    let screen = &session.screen;
    let many = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    for finding in report.findings.iter().take(SHOWN_FINDINGS) {
        screen.line(&format!("{} {}", screen.paint(word(finding.severity), "31"), finding.object));
        screen.line(&format!("  {}", finding.reason));
        if !finding.snapshots.is_empty() {
            let snapshots: Vec<_> = finding.snapshots.iter().take(SHOWN_SNAPSHOTS).map(|id| id.short()).collect();
            screen.line(&format!(
                "  touches {} in {}: {}{}",
                many(finding.entries, "entry", "entries"),
                many(finding.snapshots.len() as u64, "snapshot", "snapshots"),
                snapshots.join(" "),
                if finding.snapshots.len() > SHOWN_SNAPSHOTS { " …" } else { "" },
            ));
        }
        screen.line(&format!("  next: {}", finding.hint));
    }
    more(session, report.findings.len(), SHOWN_FINDINGS, "damaged objects");
    for snapshot in report.affected.iter().take(SHOWN_SNAPSHOTS) {
        let profile = snapshot.profile.as_ref().map_or_else(String::new, |profile| format!(" {profile}"));
        screen.line(&format!(
            "snapshot {} ({} {}{profile}): {} cannot be restored whole",
            snapshot.id.short(),
            time_text(snapshot.start),
            path_text(snapshot.host.as_bytes()),
            many(snapshot.entries, "entry", "entries"),
        ));
        for path in snapshot.paths.iter().take(SHOWN_PATHS) {
            let below = if path.ends_with(b"/") { " and everything below" } else { "" };
            screen.line(&format!("  {}{below}", path_text(path)));
        }
        if snapshot.entries > SHOWN_PATHS as u64 {
            screen.line(&format!("  and {} more", snapshot.entries - SHOWN_PATHS as u64));
        }
    }
    more(session, report.affected.len(), SHOWN_SNAPSHOTS, "affected snapshots");
    for note in &report.notes {
        screen.note(&format!("note: {note}"));
    }
    screen.note(&checked(report));
    if let Some(left_out) = left_out(report.depth) {
        screen.note(left_out);
    }
    for line in report.standing.iter().flat_map(|standing| standing_text(session, &target.name, report.depth, standing))
    {
        screen.note(&line);
    }
    if let Some((why, next)) = broken_promise(&target.name, report) {
        screen.line(&why);
        screen.line(&format!("  next: {next}"));
    }
    let verdict = match (report.is_damaged(), report.is_partial()) {
        (true, _) => "is DAMAGED: see above",
        (false, true) => "could not be checked in full: see above",
        (false, false) if report.depth == Depth::Names => "holds nothing whose bytes have changed",
        (false, false) if report.depth == Depth::AllContents => "is whole",
        (false, false) => "is whole as far as was checked: not every pack was read",
    };
    screen.line(&format!("{} {verdict}", report.location));
}

fn more(session: &Session, count: usize, shown: usize, what: &str) {
    if count > shown {
        session.screen.line(&format!("and {} more {what}; --json lists all", count - shown));
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "damaged:",
        Severity::Unread => "not read:",
    }
}

fn checked(report: &CheckReport) -> String {
    let counts = &report.counts;
    let read = match report.depth {
        Depth::Structure => "by size".to_owned(),
        _ => format!("{} of them read", counts.read_packs),
    };
    let walked = match report.depth {
        Depth::Names => String::new(),
        _ => format!(", {} trees with {} entries", counts.trees, counts.entries),
    };
    format!(
        "checked: {} configurations, {} key slots, {} snapshots, {} index objects, {} facts, {} marks{walked}, {} packs ({read}); {} read",
        counts.configs,
        counts.keys,
        counts.snapshots,
        counts.indexes,
        counts.facts,
        counts.marks,
        counts.packs,
        ByteSize(report.read_bytes),
    )
}

/// What this check cannot have found.
const fn left_out(depth: Depth) -> Option<&'static str> {
    match depth {
        Depth::Names => {
            Some("not checked: whether anything is missing, and whether objects are yours; that needs the key")
        }
        Depth::Structure => Some("not checked: the contents of packs were not read; use --read-data"),
        Depth::SomeContents => Some("not checked: only a part of the packs was read; --read-data reads all"),
        Depth::AllContents => None,
    }
}

fn show_json(session: &Session, target: &Target, report: &CheckReport) {
    for finding in &report.findings {
        session.screen.json_line(&finding_json(target, finding));
    }
    for snapshot in &report.affected {
        session.screen.json_line(&snapshot_json(target, snapshot));
    }
    let counts = &report.counts;
    let mut summary = json!({
        "message_type": "summary",
        "repository": target.name,
        "location": report.location,
        "damaged": report.is_damaged(),
        "num_errors": report.findings.len(),
        "affected_snapshots": report.affected.len(),
        "depth": match report.depth {
            Depth::Names => "names",
            Depth::Structure => "structure",
            Depth::SomeContents => "some-contents",
            Depth::AllContents => "all-contents",
        },
        "notes": report.notes,
        "configs": counts.configs,
        "keys": counts.keys,
        "snapshots": counts.snapshots,
        "index_objects": counts.indexes,
        "facts": counts.facts,
        "marks": counts.marks,
        "trees": counts.trees,
        "entries": counts.entries,
        "packs": counts.packs,
        "packs_read": counts.read_packs,
        "bytes_read": report.read_bytes,
    });
    if let Some(standing) = &report.standing {
        add_standing(&mut summary, standing);
    }
    session.screen.json_line(&summary);
}

/// What is known of readings; times are RFC 3339, and `null` when there is none.
fn add_standing(summary: &mut serde_json::Value, standing: &Standing) {
    let mut put = |key: &str, value: serde_json::Value| summary[key] = value;
    put("never_read_packs", standing.never_read.into());
    put("oldest_reading", standing.oldest_reading.map(rfc3339).into());
    put("unread_since", standing.unread_since.map(rfc3339).into());
    let Some(kept) = &standing.kept else { return };
    put("promise_seconds", kept.promise.into());
    put("kept", kept.is_kept().into());
    put("late_packs", kept.late.into());
    put("waiting_packs", kept.waiting.into());
    put("all_read_by", kept.read_by.map(rfc3339).into());
    put("broken_at", kept.broken.map(rfc3339).into());
    put("left_bytes", kept.left_bytes.into());
}

/// How long packs were not read, in a sentence.
fn standing_text(session: &Session, name: &str, depth: Depth, standing: &Standing) -> Option<String> {
    let age = |since: crate::clock::Timestamp| coarse(session.clock.wall().seconds - since.seconds);
    let (packs, never) = (count(standing.packs, "pack", "packs"), standing.never_read);
    if standing.packs == 0 || (standing.kept.is_none() && depth == Depth::Structure) {
        return None;
    }
    let never = match never {
        0 => String::new(),
        1 => format!("1 of {packs} of {name} was never read"),
        never => format!("{never} of {packs} of {name} were never read"),
    };
    let promise = |kept: &Kept| format!("; promise: {}", coarse(kept.promise));
    Some(match (&standing.kept, standing.unread_since) {
        (Some(kept), _) if kept.waiting > 0 => {
            let by = kept.read_by.map(|by| format!("; all will have been by {}", date_text(by))).unwrap_or_default();
            format!("{never}{by}{}", promise(kept))
        }
        (None, _) if !never.is_empty() => match standing.oldest_reading {
            Some(oldest) => format!("{never}; the oldest reading is {} old", age(oldest)),
            None => never,
        },
        (_, None) => never,
        (kept, Some(since)) => {
            let read = if never.is_empty() { "read" } else { "stored or read" };
            let kept = kept
                .as_ref()
                .map(|kept| format!("{} ({})", promise(kept), if kept.is_kept() { "kept" } else { "NOT kept" }));
            let oldest = if never.is_empty() { "the oldest reading is" } else { "the longest unread is" };
            format!(
                "every byte of {name} was {read} since {}; {oldest} {} old{}",
                date_text(since),
                age(since),
                kept.unwrap_or_default(),
            )
        }
    })
}

/// How a promise was broken or will be, in a line, and the next step; `None` when it is kept.
pub(super) fn broken_promise(name: &str, report: &CheckReport) -> Option<(String, &'static str)> {
    let kept = report.standing.as_ref()?.kept.as_ref()?;
    let promise = coarse(kept.promise);
    match (kept.broken, kept.left_bytes) {
        (Some(at), 0) => {
            let why = format!(
                "the promise to read {name} whole in {promise} will be broken on {}: the next check comes later",
                date_text(at)
            );
            Some((why, "let [schedule] check more often, or promise less"))
        }
        (Some(at), left) => {
            let why = format!(
                "the promise to read {name} whole in {promise} will be broken on {}: the budget leaves {} that were due",
                date_text(at),
                ByteSize(left)
            );
            Some((why, "run `bk check --due` with a larger budget, or none"))
        }
        (None, _) if kept.late > 0 => {
            let packs = count(kept.late, "pack was", "packs were");
            let why = format!("the promise to read {name} whole in {promise} was broken: {packs} unread for longer");
            Some((why, "see that checks run when they are due: bk-check.timer, bk daemon or cron"))
        }
        (None, _) => None,
    }
}

fn finding_json(target: &Target, finding: &Finding) -> serde_json::Value {
    json!({
        "message_type": "error",
        "repository": target.name,
        "object": finding.object,
        "kind": match finding.severity { Severity::Damage => "damaged", Severity::Unread => "unread" },
        "message": finding.reason,
        "snapshots": finding.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "affected_entries": finding.entries,
        "hint": finding.hint,
    })
}

fn snapshot_json(target: &Target, snapshot: &AffectedSnapshot) -> serde_json::Value {
    json!({
        "message_type": "error",
        "repository": target.name,
        "kind": "affected",
        "snapshot_id": snapshot.id.to_string(),
        "time": rfc3339(snapshot.start),
        "host": snapshot.host,
        "profile": snapshot.profile,
        "affected_entries": snapshot.entries,
        "paths": snapshot.paths.iter().map(|path| String::from_utf8_lossy(path)).collect::<Vec<_>>(),
    })
}
