//! Taking away what no snapshot needs, in a repository in restic's format.

use serde_json::json;

use crate::command::Session;
use crate::command::opening::Copies;
use crate::command::prune::{Pruned, Rest};
use crate::command::restic::{ResticPasswordArgs, open_restic};
use crate::command::session::Target;
use crate::interop::restic::{Access, Restic};
use crate::operation::prune::Others;
use crate::size::ByteSize;
use crate::state::Figures;
use crate::store::{Area, ResticArea};
use crate::ui::text::count;
use crate::ui::{Exit, Failure};

/// Opens a repository in restic's format for itself alone, and prunes it.
///
/// # Errors
/// When somebody else works with it; others as they come.
pub(in crate::command) fn prune_restic(session: &Session, target: &Target, rest: &Rest) -> Result<Pruned, Failure> {
    let access = if rest.dry_run { Access::Read } else { Access::Exclusive };
    let mut restic = open_restic(session, target, access, &ResticPasswordArgs::default())?;
    prune_open(session, target, &mut restic, rest)
}

/// As [`prune_restic`], of one that is open for whoever is alone.
///
/// # Errors
/// As they come.
pub(in crate::command) fn prune_open(
    session: &Session,
    target: &Target,
    restic: &mut Restic,
    rest: &Rest,
) -> Result<Pruned, Failure> {
    let screen = &session.screen;
    if rest.others != Others::MayWork || rest.max_repack_bytes.is_some() || !rest.ignore_damaged.is_empty() {
        screen.note(&format!("{} is in restic's format: of the options of a prune only --dry-run counts", target.name));
    }
    let progress = screen.progress("prune");
    let pruned = restic.prune(rest.dry_run, &*progress);
    progress.finish();
    let stats = pruned?;
    let listed = session.open_store(target, Copies::None)?.list(Area::Restic(ResticArea::Data))?;
    let bytes: u64 = listed.iter().map(|one| one.size).sum();
    if screen.json {
        screen.json_line(&json!({
            "message_type": if rest.dry_run { "plan" } else { "summary" }, "repository": target.name,
            "format": "restic", "deleted_packs": stats.deleted_packs, "deleted_bytes": stats.deleted_bytes,
            "marked_packs": stats.marked_packs, "repacked_bytes": stats.repacked_bytes,
            "kept_unused_bytes": stats.unused_bytes, "repository_bytes": bytes,
        }));
    } else {
        let packs = |packs| count(packs, "pack", "packs");
        let (delete, mark) = if rest.dry_run { ("would delete", "would mark") } else { ("deleted", "marked") };
        if stats.deleted_packs > 0 {
            screen.line(&format!("{delete} {}, {}", packs(stats.deleted_packs), ByteSize(stats.deleted_bytes)));
        }
        if stats.marked_packs > 0 {
            let marked = packs(stats.marked_packs);
            screen.line(&format!("{mark} {marked}; a prune in a day or later deletes them"));
        }
        let (unused, bytes) = (ByteSize(stats.unused_bytes), ByteSize(bytes));
        let nothing = stats.deleted_packs + stats.marked_packs == 0;
        let kept = format!("{} kept, {bytes}, {unused} of it not needed", packs(listed.len() as u64));
        screen.line(&if nothing { format!("nothing to take away: {kept}") } else { kept });
    }
    let figures = if rest.dry_run {
        Figures::default()
    } else {
        Figures { deleted_bytes: Some(stats.deleted_bytes), repository_bytes: Some(bytes), ..Figures::default() }
    };
    Ok(Pruned { exit: Exit::Complete, figures })
}
