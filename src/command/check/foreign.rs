//! The check of a repository in restic's format.

use serde_json::json;

use super::Checked;
use crate::command::Session;
use crate::command::restic::{ResticPasswordArgs, open_restic};
use crate::command::session::Target;
use crate::interop::restic::{Access, CheckFinding, CheckReport};
use crate::size::ByteSize;
use crate::state::Figures;
use crate::ui::text::{count, line_text};
use crate::ui::{Exit, Failure};

/// Checks one and tells what was found; with `read_data`, every pack is read.
///
/// # Errors
/// When it cannot be opened, or the check cannot go on.
pub(super) fn check_foreign(session: &Session, target: &Target, read_data: bool) -> Result<Checked, Failure> {
    let restic = open_restic(session, target, Access::Read, &ResticPasswordArgs::default())?;
    let progress = session.screen.progress("check");
    let checked = restic.check(read_data, &*progress, session.interrupted());
    progress.finish();
    let report = checked?;
    tell(session, target, &report, read_data);
    let damage: Vec<_> = report.findings.iter().filter(|finding| finding.is_damage).collect();
    Ok(Checked {
        exit: if report.is_damaged() { Exit::Damage } else { Exit::Complete },
        figures: Figures {
            problems: Some(damage.len() as u64),
            read_bytes: Some(report.read_bytes),
            ..Figures::default()
        },
        why: damage.first().map(|finding| format!("{}: {}", finding.object, finding.message)),
    })
}

fn tell(session: &Session, target: &Target, report: &CheckReport, read_data: bool) {
    let screen = &session.screen;
    if screen.json {
        let finding = |one: &CheckFinding| {
            let damage = one.is_damage;
            json!({"object": one.object, "message": one.message, "damage": damage})
        };
        screen.json_line(&json!({
            "message_type": "check", "repository": target.name, "format": "restic",
            "damaged": report.is_damaged(), "snapshots": report.snapshots, "packs": report.packs,
            "trees": report.trees, "files": report.files, "read_bytes": report.read_bytes,
            "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        }));
        return;
    }
    for finding in &report.findings {
        let text = format!("{}: {}", line_text(&finding.object), line_text(&finding.message));
        if finding.is_damage { screen.line(&format!("DAMAGED {text}")) } else { screen.note(&text) }
    }
    let looked = format!(
        "{}, {}, {}",
        count(report.snapshots, "snapshot", "snapshots"),
        count(report.trees, "folder", "folders"),
        count(report.packs, "pack", "packs")
    );
    let read = match read_data {
        true => format!("; {} of packs read", ByteSize(report.read_bytes)),
        false => "; packs were not read, --read-data does".to_owned(),
    };
    if report.is_damaged() {
        let damage = report.findings.iter().filter(|finding| finding.is_damage).count();
        let found = count(damage as u64, "thing is", "things are");
        screen.line(&format!("{} is DAMAGED: {found} not as they should be ({looked}{read})", target.name));
        screen.line("what another repository of bk holds can be exported anew; `restic repair` is restic's own way");
    } else {
        screen.line(&format!("{} is whole: {looked}{read}", target.name));
    }
}
