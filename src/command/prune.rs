//! `bk prune`: taking away what no snapshot needs.

use clap::Args;
use serde_json::json;

use super::export::prune_restic;
use super::record::{Record, Watch};
use super::session::Target;
use super::workers::workers;
use super::{Opened, Session};
use crate::id::IdPrefix;
use crate::operation::prune::{Others, PruneError, PruneOptions, PrunePlan, PruneStats, Waste, apply, plan};
use crate::repository::RepositoryError;
use crate::size::ByteSize;
use crate::state::{Figures, Verb};
use crate::store::StoreError;
use crate::ui::text::{count, number, time_text};
use crate::ui::{Exit, Failure};

/// Take away what no snapshot needs any more
///
/// Packs are marked first and deleted a day later, by the next prune: so backups, restores and other prunes may run at
/// the same time, on any machine. Packs that are mostly waste are copied without it first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk prune --dry-run                      what would be done, and what it costs
  bk prune --max-unused 20%               leave more waste, copy less
  bk prune --max-repack 10GiB             copy at most so much this time
  bk prune --instant-delete --no-other-writer
                                          free the space now; nothing else may write meanwhile, on any machine")]
pub struct PruneArgs {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Waste that may stay: a share such as 5%, a size, or `unlimited`
    #[arg(long, value_name = "SHARE|SIZE", default_value = "5%", value_parser = waste)]
    max_unused: Waste,
    /// Copy at most so much, before compression
    #[arg(long, value_name = "SIZE")]
    max_repack: Option<ByteSize>,
    /// Delete at once what is unused, also what an interrupted run has stored
    #[arg(long, requires = "no_other_writer")]
    instant_delete: bool,
    /// Your word that no backup and no prune runs meanwhile, on any machine
    #[arg(long, requires = "instant_delete")]
    no_other_writer: bool,
    /// Give up a snapshot whose object is damaged or lost
    #[arg(long, value_name = "ID")]
    ignore_damaged: Vec<String>,
    /// Even when a backup was unlike those before it
    #[arg(long)]
    despite_anomalies: bool,
}

fn waste(text: &str) -> Result<Waste, String> {
    if text == "unlimited" {
        return Ok(Waste::Unlimited);
    }
    match text.strip_suffix('%') {
        Some(share) => match share.trim().parse::<f64>() {
            Ok(share) if (0.0..=100.0).contains(&share) => Ok(Waste::Share(share / 100.0)),
            _ => Err("write a share from 0% to 100%".to_owned()),
        },
        None => text.parse::<ByteSize>().map(|size| Waste::Bytes(size.0)).map_err(|error| error.to_string()),
    }
}

/// How to prune.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    pub(super) dry_run: bool,
    pub(super) max_unused: Waste,
    pub(super) max_repack_bytes: Option<u64>,
    pub(super) others: Others,
    pub(super) ignore_damaged: Vec<IdPrefix>,
    pub(super) despite_anomalies: bool,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            dry_run: false,
            max_unused: Waste::Share(0.05),
            max_repack_bytes: None,
            others: Others::MayWork,
            ignore_damaged: Vec::new(),
            despite_anomalies: false,
        }
    }
}

impl PruneArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the command line is wrong. A repository that cannot be pruned does not keep the others from it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let ignore = self.ignore_damaged.iter().map(|id| IdPrefix::new(id)).collect::<Result<Vec<_>, _>>();
        let rest = Rest {
            dry_run: self.dry_run,
            max_unused: self.max_unused,
            max_repack_bytes: self.max_repack.map(|size| size.0),
            others: if self.instant_delete { Others::None } else { Others::MayWork },
            ignore_damaged: ignore
                .map_err(|error| Failure::of(Exit::Usage, &error, "give at least 8 digits of its name"))?,
            despite_anomalies: self.despite_anomalies,
        };
        let targets = session.targets(&[])?;
        let several = targets.len() > 1;
        let record = (!self.dry_run).then(|| Record::begin(session, "prune"));
        let mut exit = Exit::Complete;
        for target in targets {
            if several && !session.screen.json {
                session.screen.line(&format!("{} ({})", target.name, target.location));
            }
            let done = prune_and_record(session, &target, &rest, record.as_ref());
            exit = exit.worst(match done {
                Ok(done) => done,
                Err(failure) if failure.exit == Exit::Interrupted || !several => {
                    record.inspect(|record| record.end(failure.exit));
                    return Err(failure);
                }
                Err(failure) => {
                    session.screen.failure(&failure);
                    failure.exit
                }
            });
        }
        record.inspect(|record| record.end(exit));
        Ok(exit)
    }
}

/// Opens and prunes one repository, and puts down how that ended.
fn prune_and_record(
    session: &Session,
    target: &Target,
    rest: &Rest,
    record: Option<&Record<'_>>,
) -> Result<Exit, Failure> {
    let watch = Watch::start(session);
    let pruned = if target.is_restic() {
        prune_restic(session, target, rest)
    } else {
        session.open(target).and_then(|opened| prune(session, &opened, rest))
    };
    let (exit, figures) = match &pruned {
        Ok(pruned) => (pruned.exit, pruned.figures),
        Err(failure) => (failure.exit, Figures::default()),
    };
    if let Some(record) = record {
        record.keep_of_repository(Verb::Prune, target, watch, exit, figures);
    }
    pruned.map(|pruned| pruned.exit)
}

/// What a prune came to.
pub(super) struct Pruned {
    pub(super) exit: Exit,
    pub(super) figures: Figures,
}

/// Prunes one repository and says what was done.
///
/// # Errors
/// As they come.
pub(super) fn prune(session: &Session, opened: &Opened, rest: &Rest) -> Result<Pruned, Failure> {
    let options = PruneOptions {
        max_unused: rest.max_unused,
        max_repack_bytes: rest.max_repack_bytes,
        others: rest.others,
        ignore_damaged: rest.ignore_damaged.clone(),
        despite_anomalies: rest.despite_anomalies,
        threads: workers(8),
        interrupted: session.interrupted(),
    };
    let progress = session.screen.progress("prune");
    let planned = plan(&opened.repository, &options, &session.clock, &*progress);
    let planned = planned.inspect_err(|_| progress.finish())?;
    if rest.dry_run {
        progress.finish();
        show_plan(session, opened, &planned);
        return Ok(Pruned { exit: Exit::Complete, figures: Figures::default() });
    }
    let summary = Summary::of(&planned);
    let applied = apply(&opened.repository, planned, &options, &session.clock, &*progress);
    progress.finish();
    let stats = applied.map_err(|error| {
        let is_full = matches!(&error, PruneError::Repository(RepositoryError::Store(StoreError::Full { .. })));
        let mut failure = Failure::from(error);
        if is_full {
            failure.hint = Some(
                "nothing that was marked may be deleted yet; free it now with `bk prune --instant-delete \
                 --no-other-writer` while no backup runs"
                    .to_owned(),
            );
        }
        failure
    })?;
    show_stats(session, opened, &summary, &stats);
    Ok(Pruned {
        exit: if stats.without_room { Exit::Incomplete } else { Exit::Complete },
        figures: Figures {
            deleted_bytes: Some(stats.deleted_bytes),
            repository_bytes: Some(summary.kept.1 + stats.copied_bytes + summary.waiting.1 + summary.marked_bytes),
            ..Figures::default()
        },
    })
}

/// What of a plan is told after it was carried out.
struct Summary {
    kept: (u64, u64),
    unused_bytes: u64,
    waiting: (u64, u64),
    waiting_until: Option<String>,
    unsure: bool,
    marked_bytes: u64,
    left: (u64, u64),
}

impl Summary {
    fn of(plan: &PrunePlan) -> Self {
        Self {
            kept: (plan.kept.packs, plan.kept.bytes),
            unused_bytes: plan.kept_unused_bytes,
            waiting: (plan.waiting.packs, plan.waiting.bytes),
            waiting_until: plan.waiting_until.map(time_text),
            unsure: plan.unsure,
            marked_bytes: plan.marked.bytes,
            left: (plan.young.packs + plan.unfinished.packs, plan.young.bytes + plan.unfinished.bytes),
        }
    }
}

fn packs((packs, bytes): (u64, u64)) -> String {
    format!("{}, {}", count(packs, "pack", "packs"), ByteSize(bytes))
}

fn show_plan(session: &Session, opened: &Opened, plan: &PrunePlan) {
    let screen = &session.screen;
    let amount = |amount: crate::operation::prune::Amount| packs((amount.packs, amount.bytes));
    if screen.json {
        let of = |amount: crate::operation::prune::Amount| json!({"packs": amount.packs, "bytes": amount.bytes});
        screen.json_line(&json!({
            "message_type": "plan", "repository": opened.name, "kept": of(plan.kept),
            "kept_unused_bytes": plan.kept_unused_bytes, "deleted": of(plan.deleted), "marked": of(plan.marked),
            "repacked": of(plan.repacked), "rescued": of(plan.rescued), "copied_bytes": plan.copied_bytes,
            "waiting": of(plan.waiting), "waiting_until": plan.waiting_until.map(crate::ui::text::rfc3339),
            "young": of(plan.young), "unfinished": of(plan.unfinished), "index_objects": plan.index_objects,
            "freed_bytes": plan.freed_bytes(),
            "requests": {"reads": plan.requests.reads, "puts": plan.requests.puts, "deletes": plan.requests.deletes},
        }));
        return;
    }
    screen.line(&format!("keep     {}; {} of it is not needed", amount(plan.kept), ByteSize(plan.kept_unused_bytes)));
    if plan.deleted.packs > 0 {
        screen.line(&format!("delete   {}", amount(plan.deleted)));
    }
    if plan.rescued.packs > 0 {
        screen.line(&format!("rescue   what is needed again out of {}", amount(plan.rescued)));
    }
    if plan.repacked.packs > 0 {
        screen.line(&format!("copy     what is needed out of {}", amount(plan.repacked)));
    }
    if plan.copied_bytes > 0 {
        screen.line(&format!("         {} to be copied in all, before compression", ByteSize(plan.copied_bytes)));
    }
    if plan.marked.packs > 0 {
        screen.line(&format!("mark     {}, to be deleted in a day or later", amount(plan.marked)));
    }
    if plan.waiting.packs > 0 {
        screen.line(&format!(
            "wait     {}, {}",
            amount(plan.waiting),
            waits(plan.waiting_until.map(time_text), plan.unsure)
        ));
    }
    if plan.young.packs > 0 {
        screen.line(&format!("leave    {}, stored less than a day ago", amount(plan.young)));
    }
    if plan.unfinished.packs > 0 {
        screen.line(&format!("leave    {}, of a run that may go on or be taken up again", amount(plan.unfinished)));
    }
    let requests = plan.requests;
    screen.line(&format!(
        "costs    {} reads, {} writes, {} deletions",
        number(requests.reads),
        number(requests.puts),
        number(requests.deletes)
    ));
    if plan.is_empty() {
        screen.line("nothing is to be done");
    } else {
        let later = if plan.marked.packs > 0 { ", what is marked now a day later" } else { "" };
        screen.line(&format!("frees    {}{later}", ByteSize(plan.freed_bytes())));
    }
}

fn waits(until: Option<String>, unsure: bool) -> String {
    match (until, unsure) {
        (Some(until), _) => format!("marked before, deleted after {until}"),
        (None, _) => {
            "marked before; nothing was stored for long, so that the clock is made sure of for a day".to_owned()
        }
    }
}

fn show_stats(session: &Session, opened: &Opened, summary: &Summary, stats: &PruneStats) {
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary", "repository": opened.name,
            "deleted_packs": stats.deleted_packs, "deleted_bytes": stats.deleted_bytes,
            "copied_blobs": stats.copied_blobs, "copied_bytes": stats.copied_bytes,
            "marked_packs": stats.marked_packs, "marked_bytes": summary.marked_bytes,
            "replaced_index_objects": stats.replaced_objects, "without_room": stats.without_room,
            "new_packs": stats.new_packs, "kept_packs": summary.kept.0, "kept_bytes": summary.kept.1, "kept_unused_bytes": summary.unused_bytes,
        }));
        return;
    }
    if stats.copied_blobs > 0 {
        let blobs = count(stats.copied_blobs, "blob", "blobs");
        screen.line(&format!(
            "copied {blobs}, {} stored, out of packs that were mostly waste",
            ByteSize(stats.copied_bytes)
        ));
    }
    if stats.deleted_packs > 0 {
        screen.line(&format!("deleted {}", packs((stats.deleted_packs, stats.deleted_bytes))));
    }
    if stats.marked_packs > 0 {
        let marked = packs((stats.marked_packs, summary.marked_bytes));
        screen.line(&format!("marked {marked}; a prune in a day or later deletes them"));
    }
    if summary.waiting.0 > 0 {
        screen.line(&format!(
            "{} wait, {}",
            packs(summary.waiting),
            waits(summary.waiting_until.clone(), summary.unsure)
        ));
    }
    if summary.left.0 > 0 {
        let left = packs(summary.left);
        screen.line(&format!("{left} left: stored less than a day ago, or by a run that may go on"));
    }
    if stats.without_room {
        screen.warning(
            "there was no room to copy or to write an index: only what needs no room was deleted; run `bk prune` again",
        );
    }
    let nothing = *stats == PruneStats::default() && summary.waiting.0 == 0;
    let kept = (summary.kept.0 + stats.new_packs, summary.kept.1 + stats.copied_bytes);
    let kept = format!("{} kept, {} of it not needed", packs(kept), ByteSize(summary.unused_bytes));
    screen.line(&if nothing { format!("nothing to take away: {kept}") } else { kept });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waste_is_a_share_a_size_or_unlimited() {
        assert_eq!(waste("5%"), Ok(Waste::Share(0.05)));
        assert_eq!(waste("2GiB"), Ok(Waste::Bytes(2 << 30)));
        assert_eq!(waste("unlimited"), Ok(Waste::Unlimited));
        for wrong in ["101%", "-1%", "%", "much"] {
            assert!(waste(wrong).is_err(), "{wrong}");
        }
    }
}
