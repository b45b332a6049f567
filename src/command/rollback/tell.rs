//! What a rollback says before it begins, and when it is refused.

use serde_json::json;

use super::RollBack;
use super::check::{Obstacle, Seen, quiesce};
use super::plan::Planned;
use crate::command::Opened;
use crate::job::Server;
use crate::profile::HookUse;
use crate::size::ByteSize;
use crate::ui::text::{count, line_text, path_text, time_text};
use crate::ui::{Exit, Failure};

/// What a hook that lets the service stand still acts on.
fn stopped(used: &HookUse) -> String {
    let names = used.settings.get("names").map(|names| names.join(", ")).unwrap_or_default();
    let how = used.settings.get("how").and_then(|how| how.first()).map_or("stop", String::as_str);
    match used.hook.as_str() {
        "service" => format!("stop the units {names}"),
        "container" => format!("{how} the containers {names}"),
        hook => format!("set {hook} into maintenance"),
    }
}

/// Says what will happen.
pub(super) fn plan(of: &RollBack<'_>, opened: &Opened, planned: &Planned<'_>, seen: &Seen) {
    let screen = &of.session.screen;
    let snapshot = &planned.info.snapshot;
    let stops: Vec<String> = quiesce(planned).map(stopped).collect();
    let url = |dump: &super::plan::Dump| Server::url(&dump.way.server.used, &dump.way.database);
    if screen.json {
        if of.dry_run {
            screen.json_line(&json!({
                "message_type": "rollback", "dry_run": true, "profile": planned.profile_name,
                "snapshot_id": planned.info.id.to_string(), "stops": stops, "files": seen.need.files,
                "total_bytes": seen.need.bytes, "files_deleted": seen.surplus.files,
                "databases": planned.dumps.iter().map(|dump| json!({
                    "dump": dump.name, "to": url(dump), "rows": dump.rows().iter().map(|one| one.rows).sum::<u64>(),
                })).collect::<Vec<_>>(),
                "obstacles": seen.obstacles.iter().map(|one| json!({"message": one.problem, "hint": one.hint})).collect::<Vec<_>>(),
            }));
        }
        return;
    }
    screen.note(&format!(
        "{} back to snapshot {}, {}, host {}, from {}:",
        line_text(&planned.name),
        planned.info.id.short(),
        time_text(snapshot.start),
        line_text(&snapshot.host),
        opened.name
    ));
    let mut steps = stops;
    if of.backup_first {
        steps.push("make a snapshot of the present state".to_owned());
    }
    if !planned.selected.is_empty() {
        let places: Vec<String> = planned.selected.iter().map(|entry| path_text(&entry.original)).collect();
        steps.push(format!(
            "put back {}, {}, in {}; take away {} that the snapshot does not have",
            count(seen.need.files, "file", "files"),
            ByteSize(seen.need.bytes),
            places.join(", "),
            count(seen.surplus.files, "file", "files"),
        ));
    }
    for dump in &planned.dumps {
        let rows: u64 = dump.rows().iter().map(|one| one.rows).sum();
        let makes = seen.missing.contains(&dump.way.database);
        let verb = if makes { "make the database" } else { "replace the database" };
        steps.push(format!("{verb} {} by {} ({})", line_text(&url(dump)), dump.name, count(rows, "row", "rows")));
    }
    if quiesce(planned).next().is_some() {
        steps.push("set going again what was stopped".to_owned());
    }
    for (number, step) in (1..).zip(&steps) {
        if of.dry_run {
            screen.line(&format!("{number}. {step}"));
        } else {
            screen.note(&format!("{number}. {step}"));
        }
    }
    for name in &planned.left_alone {
        screen.note(&format!("{name} is left out: the accounts of the server stay as they are"));
    }
    if quiesce(planned).next().is_none() && planned.profile_name.is_some() {
        let hint = "stop the service first, or let `quiesce` of the profile do it";
        screen.warning(&format!("the profile stops nothing: whatever has these files open goes on; {hint}"));
    }
}

/// That it is not done, and why.
pub(super) fn refused(planned: &Planned<'_>, obstacles: &[Obstacle]) -> Failure {
    let exit = obstacles.iter().fold(Exit::Complete, |exit, one| exit.worst(one.exit));
    let mut failure = Failure::new(
        exit,
        format!("{} is not rolled back, and nothing was changed", line_text(&planned.name)),
        "put this right and run the same command again; --files-only puts back the files alone, --to DIR puts \
         everything beside",
    );
    failure.causes = obstacles.iter().map(|one| format!("{}; {}", one.problem, one.hint)).collect();
    failure
}
