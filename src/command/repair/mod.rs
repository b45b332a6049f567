//! `bk repair`: a plan, a question, the work, and what to run next.

mod quarantine;
mod show;

use std::io::{BufRead as _, IsTerminal as _};

use clap::{Args, Subcommand};

use super::opening::Copies;
use super::session::Target;
use super::workers::workers;
use super::{Opened, Session};
use crate::id::IdPrefix;
use crate::operation::repair::{RepairError, Sibling, Tools, index, packs, snapshots};
use crate::ui::{Exit, Failure};

/// Put right what `bk check` has found, as far as anything still holds it
///
/// Each form says what it would do and asks. Nothing is deleted: what is damaged goes into the folder `quarantine` of the
/// repository, from which it can be put back. Others may go on working meanwhile. In this order: index, packs, snapshots.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bk repair index               the index, made again from the packs
  bk repair packs               what damaged packs held: from siblings, and what is still whole in them
  bk repair snapshots           snapshots of which something is lost for good
  bk repair quarantine          what was taken out")]
pub enum RepairCommand {
    /// Make the index again from the packs, where it is damaged or missing
    Index(IndexArgs),
    /// Replace damaged and lost packs by what still holds their contents
    Packs(PacksArgs),
    /// Bring back damaged snapshots, and replace those of which something is lost
    Snapshots(SnapshotsArgs),
    /// Show what was taken out; put it back, or delete it
    Quarantine(quarantine::QuarantineArgs),
}

/// Whether it is done.
#[derive(Debug, Clone, Copy, Args)]
struct Assent {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}

/// Where else to look.
#[derive(Debug, Clone, Args)]
struct From {
    /// Sibling that may have what is lost, may be given several times; without it every configured one that answers
    #[arg(long, value_name = "NAME|LOCATION")]
    from: Vec<String>,
}

/// Arguments of `bk repair index`.
///
/// Index objects that cannot be read are taken out, and packs that no other one describes are indexed anew. Of a pack its
/// header, trailer and table are fetched, not its contents.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// Make all of the index again, also what can be read
    #[arg(long)]
    rebuild: bool,
    #[command(flatten)]
    assent: Assent,
}

/// Arguments of `bk repair packs`.
///
/// Reads every pack from end to end, as `bk check --read-data` does. What a damaged pack held comes from a sibling, from
/// other packs, or from what is still whole in it.
#[derive(Debug, Args)]
pub struct PacksArgs {
    /// Only packs whose names begin like this
    #[arg(value_name = "PACK")]
    packs: Vec<String>,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    assent: Assent,
}

/// Arguments of `bk repair snapshots`.
///
/// Of a snapshot of which something is lost, all that can be restored whole becomes a new one, marked incomplete; the old
/// one is taken out. Run `bk repair packs` before: the contents of packs are not read here.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    assent: Assent,
}

/// A repository that is repaired, and the words to its user.
struct Work<'a> {
    session: &'a Session,
    target: Target,
    opened: Opened,
}

impl RepairCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When it is refused, and nothing has changed then; or as they come.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let work = Work::open(session)?;
        match self {
            Self::Index(args) => args.run(&work),
            Self::Packs(args) => args.run(&work),
            Self::Snapshots(args) => args.run(&work),
            Self::Quarantine(args) => args.run(&work),
        }
    }
}

impl<'a> Work<'a> {
    fn open(session: &'a Session) -> Result<Self, Failure> {
        let mut targets = session.own_targets(&[])?;
        let Some(target) = targets.pop() else {
            return Err(Failure::usage("no repository is configured", "name one with --repo"));
        };
        if let Some(other) = targets.first() {
            return Err(Failure::usage(
                format!(
                    "there are several repositories, {} and {} among them; one is repaired at a time",
                    other.name, target.name
                ),
                "name it with --repo, such as `bk --repo NAME repair index`",
            ));
        }
        // What lies there is looked at, not what is remembered of it.
        let store = session.open_store(&target, Copies::None)?;
        let opened = session.unlock(&target, store)?;
        Ok(Self { session, target, opened })
    }

    /// Runs something that takes long.
    fn with_tools<T>(&self, what: &str, run: impl FnOnce(&Tools<'_>) -> Result<T, RepairError>) -> Result<T, Failure> {
        let progress = self.session.screen.progress(what);
        let tools = Tools {
            clock: &self.session.clock,
            progress: &*progress,
            threads: workers(8),
            interrupted: self.session.interrupted(),
        };
        let done = run(&tools);
        progress.finish();
        Ok(done?)
    }

    /// The siblings that answer; what is configured and does not is named.
    fn siblings(&self, from: &From) -> Result<Vec<Sibling>, Failure> {
        let named = !from.from.is_empty();
        let mut siblings = Vec::new();
        let mut targets = if named {
            from.from.iter().map(|name| self.session.own_target(name)).collect::<Result<Vec<_>, _>>()?
        } else {
            self.session.configured()?.into_iter().filter(|target| !target.is_restic()).collect()
        };
        // Nearest first: what one has need not come from afar.
        targets.sort_by_key(|target| target.location.local().is_none());
        for target in targets.into_iter().filter(|one| one.location != self.target.location) {
            let opened = self.session.open_store(&target, Copies::Kept).and_then(|store| {
                let repository = self.opened.repository.open_sibling(store)?;
                Ok(Sibling::open(target.name.clone(), repository, &self.session.clock)?)
            });
            match opened {
                Ok(sibling) => siblings.push(sibling),
                Err(failure) if named => return Err(failure),
                Err(failure) => {
                    let why = failure.in_one_line();
                    self.session.screen.warning(&format!("{} is not looked into: {why}", target.name));
                }
            }
        }
        Ok(siblings)
    }

    /// Whether what was planned is to be done; `None` when it is.
    fn assent(&self, assent: Assent) -> Result<Option<Exit>, Failure> {
        if assent.dry_run {
            return Ok(Some(Exit::Damage));
        }
        if assent.yes {
            return Ok(None);
        }
        if !std::io::stdin().is_terminal() || self.session.screen.json {
            return Err(Failure::usage(
                "nothing was changed: there is no terminal to ask on",
                "add --yes when that is what you want, or --dry-run to see the plan alone",
            ));
        }
        eprint!("Type `yes` to go on: ");
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        if read.is_ok() && line.trim() == "yes" {
            return Ok(None);
        }
        Err(Failure::usage("nothing was changed: it was not confirmed", "type `yes`, or add --yes"))
    }

    /// The words for a healthy repository.
    fn nothing(&self, what: &str) -> Exit {
        show::nothing(self, what);
        Exit::Complete
    }
}

impl IndexArgs {
    fn run(self, work: &Work<'_>) -> Result<Exit, Failure> {
        let extent = if self.rebuild { index::Extent::Everything } else { index::Extent::Missing };
        let repository = &work.opened.repository;
        let plan = work.with_tools("repair", |tools| index::plan(repository, extent, tools))?;
        show::index_plan(work, &plan);
        let remains = if plan.unreadable.is_empty() { Exit::Complete } else { Exit::Damage };
        if plan.is_empty() {
            return Ok(work.nothing("index").worst(remains));
        }
        // What was asked for and is not damaged is no damage.
        let planned = if plan.damaged.is_empty() && plan.packs.is_empty() { Exit::Complete } else { Exit::Damage };
        if let Some(exit) = work.assent(self.assent)? {
            return Ok(if self.rebuild && plan.damaged.is_empty() { remains } else { exit.worst(planned) });
        }
        let stats = work.with_tools("repair", |tools| index::apply(repository, plan, tools))?;
        show::index_done(work, &stats, remains);
        Ok(remains)
    }
}

impl PacksArgs {
    fn run(self, work: &Work<'_>) -> Result<Exit, Failure> {
        let wanted = self.packs.iter().map(|text| {
            let text = text.rsplit('/').next().unwrap_or(text);
            IdPrefix::new(text.split('.').next().unwrap_or(text))
        });
        let wanted = wanted.collect::<Result<Vec<_>, _>>();
        let wanted = wanted.map_err(|error| {
            Failure::of(Exit::Usage, &error, "give a pack as `bk check` names it, or its first digits")
        })?;
        let siblings = work.siblings(&self.from)?;
        let repository = &work.opened.repository;
        let plan = work.with_tools("repair", |tools| packs::plan(repository, &wanted, &siblings, tools))?;
        show::packs_plan(work, &plan, &siblings);
        if plan.is_empty() {
            let exit = work.nothing("packs");
            return Ok(if plan.affected.is_empty() { exit } else { Exit::Damage });
        }
        if let Some(exit) = work.assent(self.assent)? {
            return Ok(exit);
        }
        let stats = work.with_tools("repair", |tools| packs::apply(repository, &plan, &siblings, tools))?;
        show::packs_done(work, &stats);
        Ok(if stats.affected.is_empty() { Exit::Complete } else { Exit::Damage })
    }
}

impl SnapshotsArgs {
    fn run(self, work: &Work<'_>) -> Result<Exit, Failure> {
        let siblings = work.siblings(&self.from)?;
        let repository = &work.opened.repository;
        let plan = work.with_tools("repair", |tools| snapshots::plan(repository, &siblings, tools))?;
        show::snapshots_plan(work, &plan, &siblings);
        let remains = if plan.for_you.is_empty() { Exit::Complete } else { Exit::Damage };
        if plan.is_empty() {
            return Ok(work.nothing("snapshots").worst(remains));
        }
        if let Some(exit) = work.assent(self.assent)? {
            return Ok(exit);
        }
        let stats = work.with_tools("repair", |tools| snapshots::apply(repository, &plan, &siblings, tools))?;
        // What is lost for good has been named, and nothing in the repository is damaged by it any more.
        let unhealed = plan.damaged.len() > stats.returned.len() || stats.lost_entries > 0 || !plan.facts.is_empty();
        let exit = if unhealed { Exit::Damage } else { remains };
        show::snapshots_done(work, &stats, exit);
        Ok(exit)
    }
}
