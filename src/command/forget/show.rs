//! What `bk forget` prints: of each snapshot why it stays or goes.

use serde_json::{Value, json};

use crate::format::snapshot::Outcome;
use crate::operation::forget::{Group, GroupPlan, Simulated};
use crate::repository::SnapshotInfo;
use crate::retention::{Reason, Span, Verdict};
use crate::ui::text::{count, duration, line_text, paths_text, rfc3339, time_text};
use crate::ui::{Align, Screen, Table};

/// What a group is called.
fn title(group: &Group) -> String {
    let subject = match &group.profile {
        Some(profile) => line_text(profile),
        None => paths_text(group.paths.iter().map(Vec::as_slice), 2),
    };
    format!("{subject} on {}", line_text(&group.host))
}

fn reasons(all: &[Reason]) -> String {
    all.iter().map(Reason::explain).collect::<Vec<_>>().join(", ")
}

const fn outcome(info: &SnapshotInfo) -> &'static str {
    match info.snapshot.outcome {
        Outcome::Complete => "complete",
        Outcome::Incomplete => "incomplete",
    }
}

/// Every group; in a dry run with each of its snapshots, else with those that went.
pub(super) fn plans(screen: &Screen, repository: &str, plans: &[GroupPlan<'_>], dry_run: bool) {
    if screen.json {
        let groups: Vec<_> = plans.iter().map(group_json).collect();
        screen.json_line(&json!({
            "message_type": "forget", "repository": repository, "dry_run": dry_run, "groups": groups,
        }));
        return;
    }
    for plan in plans {
        screen.line(&format!("{}: keeps {}", title(&plan.group), plan.policy.keep));
        if let Some(hold) = &plan.hold {
            screen.warning(&format!("nothing of it is forgotten: {hold}"));
            screen.note(&format!("hint: {}", hold.hint()));
        }
        let titles = [
            ("ID", Align::Left),
            ("TIME", Align::Left),
            ("OUTCOME", Align::Left),
            ("", Align::Left),
            ("WHY", Align::Left),
        ];
        let mut table = Table::new(&titles);
        for (info, verdict) in &plan.snapshots {
            let stays = verdict.is_kept() || plan.hold.is_some();
            if dry_run || !stays {
                let why = match (verdict.is_kept(), stays) {
                    (true, _) => reasons(&verdict.reasons),
                    (false, true) => "for now: no rule keeps it".to_owned(),
                    (false, false) => "no rule keeps it".to_owned(),
                };
                let what = if stays { "keep" } else { "forget" };
                let row = [info.id.short(), time_text(info.snapshot.start), outcome(info).into(), what.into(), why];
                table.row(row);
            }
        }
        if !table.is_empty() {
            table.lines().iter().for_each(|line| screen.line(&format!("  {line}")));
        }
        let (gone, all) = (plan.forgotten().count() as u64, plan.snapshots.len() as u64);
        let verb = if dry_run { "would be forgotten" } else { "forgotten" };
        screen.line(&format!("  {gone} of {} {verb}, {} kept", count(all, "snapshot", "snapshots"), all - gone));
    }
}

fn group_json(plan: &GroupPlan<'_>) -> Value {
    let snapshot = |(info, verdict): &(&SnapshotInfo, Verdict)| {
        json!({
            "id": info.id.to_string(), "time": rfc3339(info.snapshot.start), "outcome": outcome(info),
            "kept": verdict.is_kept() || plan.hold.is_some(),
            "reasons": verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    json!({
        "host": plan.group.host, "profile": plan.group.profile,
        "paths": plan.group.paths.iter().map(|path| String::from_utf8_lossy(path)).collect::<Vec<_>>(),
        "keep": plan.policy.keep.to_string(),
        "held": plan.hold.as_ref().map(|hold| json!({"code": hold.code(), "message": hold.to_string()})),
        "snapshots": plan.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
    })
}

/// What the rules would leave.
pub(super) fn simulated(screen: &Screen, repository: &str, plan: &GroupPlan<'_>, result: &Simulated, span: Span) {
    if screen.json {
        let left = result.left.iter().map(|(id, start, reasons)| {
            json!({
                "id": id.map(|id| id.to_string()), "time": rfc3339(*start),
                "reasons": reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        screen.json_line(&json!({
            "message_type": "simulation", "repository": repository, "host": plan.group.host,
            "profile": plan.group.profile, "keep": plan.policy.keep.to_string(), "span": span.to_string(),
            "every_seconds": result.every_seconds, "runs": result.runs, "most": result.most,
            "left": left.collect::<Vec<_>>(),
        }));
        return;
    }
    let every = duration(result.every_seconds as f64);
    screen.line(&format!("{}: keeps {}", title(&plan.group), plan.policy.keep));
    screen.line(&format!(
        "  after {span} with a run every {every}: {} of {} left, at most {} at once",
        count(result.left.len() as u64, "snapshot", "snapshots"),
        count(result.runs + plan.snapshots.len() as u64, "is", "are").replace(" is", "").replace(" are", ""),
        result.most
    ));
    let mut table = Table::new(&[("TIME", Align::Left), ("", Align::Left), ("WHY", Align::Left)]);
    for (id, start, why) in &result.left {
        let id = id.map_or_else(|| "to be made".to_owned(), |id| id.short());
        table.row([time_text(*start), id, reasons(why)]);
    }
    if !table.is_empty() {
        table.lines().iter().for_each(|line| screen.line(&format!("  {line}")));
    }
}
