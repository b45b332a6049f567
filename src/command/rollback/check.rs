//! Everything that could stop a rollback half-way is looked at before it begins.

use std::path::Path;

use super::RollBack;
use super::plan::{Planned, path_of};
use super::room::{self, Need};
use crate::command::load::dump_failed;
use crate::command::restore::failure;
use crate::command::session::host_name;
use crate::destination::Destination;
use crate::format::snapshot::Outcome;
use crate::hook::HookError;
use crate::job::{Asked, Surroundings, probe};
use crate::operation::dump;
use crate::operation::restore::{Act, RestoreError, Surplus, surplus};
use crate::profile::{HookUse, Role};
use crate::repository::BlobReader;
use crate::ui::text::{line_text, path_text};
use crate::ui::{Exit, Failure};

/// Something that is in the way.
pub(super) struct Obstacle {
    /// What is wrong.
    pub problem: String,
    /// The next step.
    pub hint: String,
    pub exit: Exit,
}

impl Obstacle {
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into(), exit: Exit::Failed }
    }

    /// A hook that does not do what it will be needed for.
    pub fn of_hook(what: &str, error: &HookError) -> Self {
        let exit = if error.is_interrupted() { Exit::Interrupted } else { Exit::Hook };
        Self { problem: format!("{what}: {}", error.in_one_line()), hint: error.hint(), exit }
    }
}

/// What was seen.
pub(super) struct Seen {
    pub obstacles: Vec<Obstacle>,
    pub need: Need,
    /// What will be taken away.
    pub surplus: Surplus,
    /// Databases that are not there and will be made.
    pub missing: Vec<String>,
}

/// The hooks that let the service stand still.
pub(super) fn quiesce<'a>(planned: &'a Planned<'_>) -> impl Iterator<Item = &'a HookUse> {
    planned.plan.hooks.iter().filter(|used| used.role == Role::Quiesce)
}

/// Looks at everything.
///
/// # Errors
/// When the snapshot cannot be read, and when the user wants it to end.
pub(super) fn check(
    of: &RollBack<'_>,
    planned: &Planned<'_>,
    surroundings: &Surroundings,
    reader: &mut BlobReader<'_>,
) -> Result<Seen, Failure> {
    let mut obstacles = of_snapshot(of, planned);
    let mut missing = Vec::new();
    let stops = quiesce(planned).next().is_some();
    for dump in &planned.dumps {
        // What stops the service ends its connections; without that they are in the way already.
        let asked = if stops { Asked::Power } else { Asked::Unused };
        match dump.way.ask(surroundings, &planned.profile.name, asked) {
            Ok(true) => {}
            Ok(false) => missing.push(dump.way.database.clone()),
            Err(error) => obstacles.push(Obstacle::of_hook(&dump.name, &error)),
        }
    }
    for used in quiesce(planned) {
        if let Err(error) = probe(surroundings, &planned.profile.name, &planned.plan.roots, used) {
            obstacles.push(Obstacle::of_hook(&format!("`{}`, which is to stop the service", used.hook), &error));
        }
    }
    let destination = Destination::open(Path::new("/"), of.owner)?;
    let cancel = of.session.interrupted();
    let found = match surplus(reader, &planned.selected, &destination, &planned.spared, Act::Count, cancel) {
        Ok(found) => found,
        Err(RestoreError::Destination(error)) => {
            obstacles.push(Obstacle::new(error.to_string(), error.hint()));
            Surplus::default()
        }
        Err(error) => return Err(failure(error)),
    };
    obstacles.extend(found.problems.iter().map(|problem| {
        let hint = "run bk as root, or as the user whose files these are";
        Obstacle::new(format!("{}: {}", problem.path, problem.message), hint)
    }));
    let need = room::need(reader, planned, cancel)?;
    obstacles.extend(need.obstacles());
    if !of.dry_run && obstacles.is_empty() {
        obstacles.extend(read_dumps(of, planned, reader)?);
    }
    Ok(Seen { obstacles, need, surplus: found, missing })
}

/// Whether the snapshot is one to go back to.
fn of_snapshot(of: &RollBack<'_>, planned: &Planned<'_>) -> Vec<Obstacle> {
    let snapshot = &planned.info.snapshot;
    let id = planned.info.id.short();
    let mut obstacles = Vec::new();
    if snapshot.outcome == Outcome::Incomplete {
        let named = snapshot.problems.first().map(|one| format!(": {}: {}", path_text(&one.path), one.message));
        obstacles.push(Obstacle::new(
            format!("snapshot {id} is incomplete{}", named.unwrap_or_default()),
            format!("take a complete one (`bk snapshots` lists them), or restore what {id} has with --to"),
        ));
    }
    if snapshot.host != host_name() && of.filter.host.is_none() {
        let host = line_text(&snapshot.host);
        obstacles.push(Obstacle::new(
            format!("snapshot {id} is of the machine {host}, and this is {}", line_text(&host_name())),
            format!("add `--host {host}` when it is to come here, or restore with --to"),
        ));
    }
    if planned.selected.is_empty() && planned.dumps.is_empty() && planned.obstacles.is_empty() {
        obstacles.push(Obstacle::new(
            format!("snapshot {id} holds nothing that came from a place of this machine"),
            "restore it with --to",
        ));
    }
    let paths = &planned.profile.paths;
    for entry in planned.selected.iter().filter(|_| !planned.profile.candidates && !paths.is_empty()) {
        let path = path_of(&entry.original);
        if !paths.iter().any(|known| path.starts_with(known)) {
            obstacles.push(Obstacle::new(
                format!("{} of the snapshot is in none of the folders of the profile now", path_text(&entry.original)),
                "restore with --to and move it, or put `paths` or `root` of the profile back to what it was",
            ));
        }
    }
    let own = |one: &Obstacle| Obstacle { problem: one.problem.clone(), hint: one.hint.clone(), exit: one.exit };
    obstacles.extend(planned.obstacles.iter().map(own));
    obstacles
}

/// Reads every dump to its end: a blob that is missing must be missed now.
fn read_dumps(of: &RollBack<'_>, planned: &Planned<'_>, reader: &mut BlobReader<'_>) -> Result<Vec<Obstacle>, Failure> {
    let mut obstacles = Vec::new();
    for entry in &planned.dumps {
        let read = dump::file(reader, &entry.node, &mut std::io::sink(), of.session.interrupted());
        if let Err(error) = read {
            if of.session.is_interrupted() {
                return Err(dump_failed(error));
            }
            let hint = "run `bk check --read-data`, and take another snapshot or another repository (--repo)";
            obstacles.push(Obstacle {
                problem: format!("{} cannot be read: {error}", entry.name),
                hint: hint.to_owned(),
                exit: Exit::Damage,
            });
        }
    }
    Ok(obstacles)
}
