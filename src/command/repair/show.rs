//! What a repair says: the plan before, the outcome and the next step after.

use serde_json::{Value, json};

use super::Work;
use crate::operation::repair::index::{IndexPlan, IndexStats};
use crate::operation::repair::packs::{PackCase, PacksPlan, PacksStats};
use crate::operation::repair::snapshots::{SnapshotsPlan, SnapshotsStats};
use crate::operation::repair::{Affected, Damaged, Lost, Sibling};
use crate::size::ByteSize;
use crate::store::ObjectName;
use crate::ui::Exit;
use crate::ui::text::{count, path_text, time_text};

/// Objects that people are shown; `--json` lists all.
const SHOWN: usize = 50;
/// Lost entries of a snapshot that people are shown.
const SHOWN_PATHS: usize = 20;

fn many(items: usize, one: &str, several: &str) -> String {
    count(items as u64, one, several)
}

fn each<T>(work: &Work<'_>, all: &[T], what: &str, tell: impl Fn(&T)) {
    all.iter().take(SHOWN).for_each(tell);
    if all.len() > SHOWN {
        work.session.screen.line(&format!("and {} more {what}; --json lists all", all.len() - SHOWN));
    }
}

fn damaged_json(all: &[Damaged]) -> Vec<Value> {
    all.iter().map(|one| json!({"object": one.name, "message": one.reason})).collect()
}

fn lost_json(all: &[Affected]) -> Vec<Value> {
    let paths = |lost: &[Lost]| -> Vec<Value> {
        let one = |lost: &Lost| json!({"path": String::from_utf8_lossy(&lost.path), "message": lost.loss.words()});
        lost.iter().map(one).collect()
    };
    all.iter().map(|one| json!({"snapshot_id": one.id.to_string(), "lost": paths(&one.lost)})).collect()
}

fn lost(work: &Work<'_>, all: &[Affected], words: &str) {
    let screen = &work.session.screen;
    for one in all {
        screen.line(&format!(
            "snapshot {}: {} {words}",
            one.id.short(),
            many(one.lost.len(), "entry is", "entries are")
        ));
        for lost in one.lost.iter().take(SHOWN_PATHS) {
            screen.line(&format!("  {}: {}", path_text(&lost.path), lost.loss.words()));
        }
        if one.lost.len() > SHOWN_PATHS {
            screen.line(&format!("  and {} more; --json lists all", one.lost.len() - SHOWN_PATHS));
        }
    }
}

/// Nothing is to be done.
pub(super) fn nothing(work: &Work<'_>, what: &str) {
    let screen = &work.session.screen;
    if screen.json {
        screen.json_line(
            &json!({"message_type": "summary", "repository": work.opened.name, "repair": what, "changed": false}),
        );
    } else {
        screen.line(&format!("nothing to repair: nothing was changed in {}", work.opened.name));
    }
}

fn taken_out(work: &Work<'_>, objects: u64) {
    if objects > 0 {
        work.session.screen.line(&format!(
            "{} in quarantine; `bk repair quarantine` shows what is there",
            if objects == 1 { "1 object is".to_owned() } else { format!("{objects} objects are") }
        ));
    }
}

fn is_far(work: &Work<'_>) -> &'static str {
    if work.opened.repository.store().is_far() {
        "moved to quarantine: fetched, put there, read back and deleted"
    } else {
        "moved to quarantine"
    }
}

pub(super) fn index_plan(work: &Work<'_>, plan: &IndexPlan) {
    let screen = &work.session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "plan", "repository": work.opened.name, "repair": "index",
            "damaged": damaged_json(&plan.damaged), "replaced": plan.replaced, "packs": plan.packs.len(),
            "blobs": plan.blobs, "unreadable": damaged_json(&plan.unreadable), "left_marked": plan.left_marked,
            "gone": plan.gone, "left_unfinished": plan.left_unfinished,
        }));
        return;
    }
    each(work, &plan.damaged, "index objects", |one| {
        screen.line(&format!("damaged: {}", one.name));
        screen.line(&format!("  {}", one.reason));
        screen.line(&format!("  it is {}", is_far(work)));
    });
    if plan.replaced > 0 {
        let objects = count(plan.replaced, "index object is", "index objects are");
        screen.line(&format!("{objects} made again from the packs, and the old {}", is_far(work)));
    }
    if !plan.packs.is_empty() {
        let bytes = plan.packs.iter().map(|(_, size)| size).sum();
        screen.line(&format!(
            "{} with {} ({}) {} indexed, from the tables in them",
            many(plan.packs.len(), "pack", "packs"),
            count(plan.blobs, "blob", "blobs"),
            ByteSize(bytes),
            if plan.packs.len() == 1 { "is" } else { "are" },
        ));
    }
    if plan.left_marked > 0 {
        let packs = count(plan.left_marked, "pack is", "packs are");
        screen.note(&format!("{packs} marked by a prune and left out: others hold all that they do"));
    }
    if plan.left_unfinished > 0 {
        let objects = count(plan.left_unfinished, "index object", "index objects");
        screen.note(&format!("{objects} of runs without a snapshot left as they are: such a run may still go on"));
    }
    if plan.gone > 0 && !plan.is_empty() {
        let packs = count(plan.gone, "pack that is gone", "packs that are gone");
        screen.note(&format!("what the index says of {packs} stays: only a prune knows what it has deleted"));
    }
    each(work, &plan.unreadable, "packs", |one| {
        screen.line(&format!("cannot be indexed: {}", one.name));
        screen.line(&format!("  {}", one.reason));
        screen.line("  next: `bk repair packs`, when this is done");
    });
}

pub(super) fn index_done(work: &Work<'_>, stats: &IndexStats, exit: Exit) {
    let screen = &work.session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary", "repository": work.opened.name, "repair": "index", "changed": true,
            "new_objects": stats.new_objects, "packs": stats.packs, "blobs": stats.blobs,
            "taken_out": stats.taken_out, "code": exit.code(),
        }));
        return;
    }
    screen.line(&format!(
        "{} put and read back: {}, {}",
        count(stats.new_objects, "index object", "index objects"),
        count(stats.packs, "pack", "packs"),
        count(stats.blobs, "blob", "blobs"),
    ));
    taken_out(work, stats.taken_out);
    screen.line(match exit {
        Exit::Complete => "next: `bk check --read-data`",
        _ => "next: `bk repair packs`: packs that cannot be indexed are damaged",
    });
}

fn case_json(case: &PackCase, siblings: &[Sibling]) -> Value {
    json!({
        "object": ObjectName::Pack(case.name).to_string(), "message": case.reason, "size": case.stored_bytes,
        "whole_from": case.whole_from.and_then(|at| siblings.get(at)).map(|one| one.name.as_str()),
        "elsewhere_blobs": case.elsewhere, "salvaged_blobs": case.salvaged, "fetched_blobs": case.fetched,
        "lost_blobs": case.lost,
    })
}

fn case(work: &Work<'_>, case: &PackCase, siblings: &[Sibling]) {
    let screen = &work.session.screen;
    let word = if case.stored_bytes.is_some() { "damaged" } else { "missing" };
    screen.line(&format!("{word}: {}", ObjectName::Pack(case.name)));
    screen.line(&format!("  {}", case.reason));
    if let Some(sibling) = case.whole_from.and_then(|at| siblings.get(at)) {
        screen.line(&format!("  the whole pack comes from {}", sibling.name));
    }
    let parts = [
        (case.elsewhere, "in other packs too"),
        (case.salvaged, "still whole in it, stored anew"),
        (case.fetched, if case.whole_from.is_some() { "in that pack" } else { "fetched one by one" }),
        (case.lost, if case.whole_from.is_some() { "nowhere else" } else { "LOST: nobody has them" }),
    ];
    let parts: Vec<_> =
        parts.iter().filter(|(blobs, _)| *blobs > 0).map(|(blobs, words)| format!("{blobs} {words}")).collect();
    if parts.is_empty() {
        screen.line("  nothing in it is known to be needed");
    } else {
        screen.line(&format!("  of its blobs: {}", parts.join("; ")));
    }
    if case.stored_bytes.is_some() {
        screen.line(&format!("  then it is {}", is_far(work)));
    }
}

pub(super) fn packs_plan(work: &Work<'_>, plan: &PacksPlan, siblings: &[Sibling]) {
    let screen = &work.session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "plan", "repository": work.opened.name, "repair": "packs",
            "packs": plan.cases.iter().map(|one| case_json(one, siblings)).collect::<Vec<_>>(),
            "more_blobs": plan.more_blobs, "read_packs": plan.read_packs, "read_bytes": plan.read_bytes,
            "affected": lost_json(&plan.affected),
        }));
        return;
    }
    screen.note(&format!("{} read, {}", count(plan.read_packs, "pack", "packs"), ByteSize(plan.read_bytes)));
    each(work, &plan.cases, "packs", |one| case(work, one, siblings));
    if plan.more_blobs > 0 {
        screen.line(&format!("{} in no pack that is known, fetched", count(plan.more_blobs, "blob", "blobs")));
    }
    lost(work, &plan.affected, "lost for good here");
    if plan.is_empty() && !plan.affected.is_empty() {
        screen.line("no pack can be repaired; next: `bk backup`, then `bk repair snapshots`");
    }
}

pub(super) fn packs_done(work: &Work<'_>, stats: &PacksStats) {
    let screen = &work.session.screen;
    let code = if stats.affected.is_empty() { Exit::Complete } else { Exit::Damage }.code();
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary", "repository": work.opened.name, "repair": "packs", "changed": true,
            "whole_packs": stats.whole_packs, "new_packs": stats.new_packs, "stored_bytes": stats.stored_bytes,
            "blobs": stats.blobs, "taken_out": stats.taken_out, "affected": lost_json(&stats.affected), "code": code,
        }));
        return;
    }
    let whole = match stats.whole_packs {
        0 => String::new(),
        packs => format!(", {packs} of them as they are in a sibling"),
    };
    let (blobs, size) = (count(stats.blobs, "blob", "blobs"), ByteSize(stats.stored_bytes));
    screen.line(&match count(stats.new_packs, "pack", "packs") {
        _ if stats.new_packs == 0 => "nothing was left to be stored anew".to_owned(),
        packs => format!("{packs} put and read back{whole}: {blobs}, {size}"),
    });
    taken_out(work, stats.taken_out);
    if stats.affected.is_empty() {
        screen.line("all is there again; next: `bk check --read-data`");
        return;
    }
    lost(work, &stats.affected, "lost");
    screen.line(
        "next: `bk backup` stores anew what the machine still has; then `bk repair snapshots` for what it has not",
    );
}

pub(super) fn snapshots_plan(work: &Work<'_>, plan: &SnapshotsPlan, siblings: &[Sibling]) {
    let screen = &work.session.screen;
    let affected: Vec<_> =
        plan.changes.iter().map(|one| Affected { id: one.info.id, lost: one.lost.clone() }).collect();
    let returning: Vec<_> = plan.returning.iter().map(|one| (one.info.id, siblings.get(one.sibling))).collect();
    if screen.json {
        screen.json_line(&json!({
            "message_type": "plan", "repository": work.opened.name, "repair": "snapshots",
            "damaged": damaged_json(&plan.damaged), "facts": damaged_json(&plan.facts),
            "returning": returning.iter().map(|(id, from)| json!({
                "snapshot_id": id.to_string(), "from": from.map(|one| one.name.as_str()),
            })).collect::<Vec<_>>(),
            "affected": lost_json(&affected),
            "for_you": plan.for_you.iter().map(|one| json!({
                "object": one.damaged.name, "message": one.damaged.reason, "hint": one.hint,
            })).collect::<Vec<_>>(),
        }));
        return;
    }
    each(work, &plan.damaged, "snapshots", |one| {
        screen.line(&format!("damaged: {}", one.name));
        screen.line(&format!("  {}", one.reason));
        screen.line(&format!("  it is {}; what only it held is freed by a later prune", is_far(work)));
    });
    for one in &plan.returning {
        let from = siblings.get(one.sibling).map_or("a sibling", |sibling| sibling.name.as_str());
        let time = time_text(one.info.snapshot.start);
        screen.line(&format!("snapshot {} of {time} comes back from {from}", one.info.id.short()));
    }
    if plan.damaged.len() > plan.returning.len() {
        let left = many(plan.damaged.len() - plan.returning.len(), "damaged snapshot has", "damaged snapshots have");
        screen.line(&format!("{left} no copy in any repository that was looked into"));
    }
    lost(work, &affected, "lost");
    for one in &plan.changes {
        let id = one.info.id.short();
        screen.line(&if one.remains {
            format!("  a snapshot without them stands for {id}, marked incomplete; {id} is {}", is_far(work))
        } else {
            format!("  nothing of {id} can be restored: it is {}", is_far(work))
        });
    }
    each(work, &plan.facts, "objects", |one| {
        screen.line(&format!("damaged: {}", one.name));
        screen.line(&format!("  {}", one.reason));
        screen.line(&format!(
            "  it is {}; pins and verifications that it noted are lost, and a snapshot that it noted as forgotten is \
             listed again if its object is still there",
            is_far(work)
        ));
    });
    for one in &plan.for_you {
        screen.line(&format!("damaged, and not for a program to put right: {}", one.damaged.name));
        screen.line(&format!("  {}", one.damaged.reason));
        screen.line(&format!("  next: {}", one.hint));
    }
}

pub(super) fn snapshots_done(work: &Work<'_>, stats: &SnapshotsStats, exit: Exit) {
    let screen = &work.session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary", "repository": work.opened.name, "repair": "snapshots", "changed": true,
            "returned": stats.returned.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "replaced": stats.replaced.iter().map(|(old, new)| json!({
                "snapshot_id": old.to_string(), "by": new.map(|new| new.to_string()),
            })).collect::<Vec<_>>(),
            "lost_entries": stats.lost_entries, "taken_out": stats.taken_out, "code": exit.code(),
        }));
        return;
    }
    for id in &stats.returned {
        screen.line(&format!("snapshot {} is back", id.short()));
    }
    for (old, new) in &stats.replaced {
        screen.line(&match new {
            Some(new) => format!("snapshot {} stands for {}", new.short(), old.short()),
            None => format!("snapshot {} is taken out; nothing stands for it", old.short()),
        });
    }
    taken_out(work, stats.taken_out);
    screen.line("next: `bk backup`, then `bk check --read-data`");
}
