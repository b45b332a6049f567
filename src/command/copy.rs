//! `bk copy`

use std::collections::BTreeSet;

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::json;

use super::record::{Record, Watch};
use super::session::Target;
use super::siblings::Siblings;
use super::{Opened, Session};
use crate::clock::Clock as _;
use crate::id::IdPrefix;
use crate::operation::copy::{CopyStats, copy, missing};
use crate::operation::forget::{ForgetOptions, Group, Policy};
use crate::repository::{SnapshotInfo, Snapshots};
use crate::size::ByteSize;
use crate::state::{Figures, Verb};
use crate::ui::text::{count, time_text};
use crate::ui::{Exit, Failure};

/// Bring repositories up to date from each other
///
/// Each repository gets the snapshots that its siblings have and it has not: not those that were forgotten in it, nor
/// those that its own rules would let go of. Packs go as they are; nothing is read from the sources. Without --to, all
/// configured repositories get what they lack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk copy                        after a week without network
  bk copy --to usb               a repository that is not always there
  bk copy 1a2b3c4d --to usb      one snapshot, whatever the rules say")]
pub struct CopyArgs {
    /// Only snapshots of these profiles, or just these snapshots
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    what: Vec<String>,
    /// Whence; without it, from every other configured repository
    #[arg(long, value_name = "NAME|LOCATION")]
    from: Option<String>,
    /// Where to; may be given several times
    #[arg(long, value_name = "NAME|LOCATION")]
    to: Vec<String>,
    /// Only snapshots of this machine
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Also what the rules of the repository would let go of
    #[arg(long)]
    all: bool,
    /// Say what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What of all that was named has been found, in any repository.
struct Found {
    ids: Vec<bool>,
    /// Profiles that have snapshots.
    profiles: BTreeSet<String>,
}

impl Found {
    fn refuse_unknown(&self, ids: &[IdPrefix], profiles: &[&String]) -> Result<(), Failure> {
        if let Some((id, _)) = ids.iter().zip(&self.ids).find(|(_, found)| !**found) {
            return Err(Failure::usage(format!("there is no snapshot {id} to be copied"), "see `bk snapshots`"));
        }
        if let Some(profile) = profiles.iter().find(|profile| !self.profiles.contains(**profile)) {
            let known: Vec<&str> = self.profiles.iter().map(String::as_str).collect();
            let hint = format!("profiles with snapshots: {}", known.join(", "));
            return Err(Failure::usage(format!("there is no snapshot of {profile} to be copied"), hint));
        }
        Ok(())
    }
}

impl CopyArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the command line is wrong. A repository that cannot be filled does not keep the others from it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (ids, profiles): (Vec<_>, Vec<_>) = self.what.iter().partition(|word| IdPrefix::looks_like(word));
        if let Some(path) = profiles.iter().find(|word| word.contains('/')) {
            return Err(Failure::usage(
                format!("`{path}` is a path, where a profile or a snapshot is expected"),
                "name repositories with --from and --to",
            ));
        }
        let ids = ids.iter().map(|id| IdPrefix::new(id)).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|error| Failure::of(Exit::Usage, &error, "see `bk snapshots`"))?;
        let (targets, sources) = self.ends(session)?;
        let is_new = |target: &&Target| targets.iter().all(|known| known.name != target.name);
        let all = targets.iter().chain(sources.iter().filter(is_new)).cloned().collect();
        let siblings = Siblings::open(session, all)?;
        let mut exit = Exit::Complete;
        for (target, failure) in siblings.missing.iter().chain(&siblings.failed) {
            session.screen.warning(&format!("{}: {}", target.name, failure.in_one_line()));
            session.screen.warning(failure.hint.as_deref().unwrap_or_default());
            exit = exit.worst(Exit::Behind);
        }
        let named = |wanted: &[Target]| -> Vec<&Opened> {
            let open = |name: &str| siblings.open.iter().find(|(target, _)| target.name == name);
            wanted.iter().filter_map(|target| open(&target.name)).map(|(_, opened)| opened).collect()
        };
        let (targets, sources) = (named(&targets), named(&sources));
        if targets.is_empty() || sources.iter().all(|source| targets.iter().all(|to| to.name == source.name)) {
            return Err(first_failure(siblings));
        }
        let mut found = Found { ids: vec![false; ids.len()], profiles: BTreeSet::new() };
        let record = (!self.dry_run).then(|| Record::begin(session, "copy"));
        for to in targets {
            let watch = Watch::start(session);
            let mut reached = Exit::Complete;
            for from in sources.iter().filter(|from| from.name != to.name) {
                let filled = self.fill(session, [from, to], &ids, &profiles, &mut found);
                reached = reached.worst(match filled {
                    Ok(()) => Exit::Complete,
                    Err(failure) if failure.exit == Exit::Interrupted => {
                        record.inspect(|record| record.end(failure.exit));
                        return Err(failure);
                    }
                    Err(failure) => {
                        session.screen.failure(&failure);
                        failure.exit
                    }
                });
            }
            exit = exit.worst(reached);
            if let Some(record) = record.as_ref().filter(|_| session.is_known_name(&to.name)) {
                record.keep(&watch.done(Verb::Copy, None, &to.name, reached, Figures::default(), None));
                record.end(exit);
            }
        }
        // What cannot be reached may hold what was named.
        if exit == Exit::Complete {
            found.refuse_unknown(&ids, &profiles)?;
        }
        Ok(exit)
    }

    /// Where to, and whence.
    fn ends(&self, session: &Session) -> Result<(Vec<Target>, Vec<Target>), Failure> {
        let all = || session.own_targets(&session.config.repositories.keys().cloned().collect::<Vec<_>>());
        let mut targets = match self.to.as_slice() {
            [] => all()?,
            names => names.iter().map(|name| session.own_target(name)).collect::<Result<_, _>>()?,
        };
        let mut sources = match &self.from {
            Some(name) => vec![session.own_target(name)?],
            None => all()?,
        };
        // Nearest first: what one has need not come from afar.
        let is_far = |target: &Target| target.location.local().is_none();
        targets.sort_by_key(is_far);
        sources.sort_by_key(is_far);
        sources.dedup_by(|a, b| a.name == b.name);
        if sources.iter().all(|source| targets.iter().all(|target| target.name == source.name)) {
            return Err(Failure::usage(
                "there are no two repositories to copy between",
                "name them with --from and --to, or configure a second one",
            ));
        }
        Ok((targets, sources))
    }

    fn fill(
        &self,
        session: &Session,
        [from, to]: [&Opened; 2],
        ids: &[IdPrefix],
        profiles: &[&String],
        found: &mut Found,
    ) -> Result<(), Failure> {
        let [here, there] = [Snapshots::load(&from.repository)?, Snapshots::load(&to.repository)?];
        found.profiles.extend(here.all.iter().filter_map(|info| info.snapshot.profile.clone()));
        let wanted = if ids.is_empty() {
            let mut wanted = self.by_rules(session, to, &here, &there);
            wanted.retain(|info| self.is_meant(info, profiles));
            wanted
        } else {
            by_id(session, [from, to], ids, &here, &there, &mut found.ids)?
        };
        // Of what was named, each source has but a part.
        if wanted.is_empty() && !(ids.is_empty() && profiles.is_empty()) {
            return Ok(());
        }
        if wanted.is_empty() || self.dry_run {
            self.tell_plan(session, [from, to], &wanted);
            return Ok(());
        }
        let mut done = CopyStats::default();
        let progress = session.screen.progress("copy");
        let both = [&from.repository, &to.repository];
        let copied = copy(both, &wanted, &session.clock, &*progress, session.interrupted(), &mut done);
        progress.finish();
        tell(session, [from, to], &done);
        Ok(copied?)
    }

    fn is_meant(&self, info: &SnapshotInfo, profiles: &[&String]) -> bool {
        let profile = info.snapshot.profile.as_ref();
        (profiles.is_empty() || profile.is_some_and(|profile| profiles.contains(&profile)))
            && self.host.as_ref().is_none_or(|host| *host == info.snapshot.host)
    }

    fn by_rules(&self, session: &Session, to: &Opened, here: &Snapshots, there: &Snapshots) -> Vec<SnapshotInfo> {
        if self.all {
            return here.all.iter().rev().filter(|info| !there.knows(&info.id)).cloned().collect();
        }
        let policy = |group: &Group| {
            let profile = group.profile.as_deref();
            let keep = session.config.keep(profile, &to.name);
            Some(Policy { keep, max_age: session.config.max_age(profile) })
        };
        let (zone, now) = (TimeZone::system(), session.clock.wall());
        let options =
            ForgetOptions { policy: &policy, zone: &zone, now, even_if_overdue: true, despite_anomalies: true };
        missing(here, there, &options)
    }

    fn tell_plan(&self, session: &Session, [from, to]: [&Opened; 2], wanted: &[SnapshotInfo]) {
        let screen = &session.screen;
        if screen.json {
            screen.json_line(&json!({
                "message_type": "plan", "from": from.name, "to": to.name,
                "snapshots": wanted.iter().map(|info| info.id.to_string()).collect::<Vec<_>>(),
            }));
            return;
        }
        if wanted.is_empty() {
            screen.line(&format!("{} has all that it should have of {}", to.name, from.name));
        }
        for info in wanted {
            let (id, time) = (info.id.short(), time_text(info.snapshot.start));
            screen.line(&format!("would copy {id} of {time} from {} to {}", from.name, to.name));
        }
    }
}

/// The snapshots that were named, if they may be copied.
fn by_id(
    session: &Session,
    [from, to]: [&Opened; 2],
    ids: &[IdPrefix],
    here: &Snapshots,
    there: &Snapshots,
    found: &mut [bool],
) -> Result<Vec<SnapshotInfo>, Failure> {
    let mut wanted = Vec::new();
    for (id, found) in ids.iter().zip(found) {
        let Ok(info) = here.by_id(id) else { continue };
        *found = true;
        if there.facts.is_forgotten(&info.id) {
            return Err(Failure::usage(
                format!(
                    "snapshot {} was forgotten in {}, and one that was does not come back",
                    info.id.short(),
                    to.name
                ),
                format!("restore it from {}, with --repo {}", from.name, from.name),
            ));
        }
        if there.knows(&info.id) {
            session.screen.note(&format!("snapshot {} is in {} already", info.id.short(), to.name));
            continue;
        }
        wanted.push(info.clone());
    }
    Ok(wanted)
}

fn tell(session: &Session, [from, to]: [&Opened; 2], done: &CopyStats) {
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "copied", "from": from.name, "to": to.name,
            "snapshots": done.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "packs": done.packs, "data_added_packed": done.stored_bytes,
        }));
        return;
    }
    let snapshots = count(done.snapshots.len() as u64, "snapshot", "snapshots");
    let size = ByteSize(done.stored_bytes);
    screen.line(&format!("{} got {snapshots} from {}, and grew by {size}", to.name, from.name));
}

/// Why there is nothing to copy between.
fn first_failure(siblings: Siblings) -> Failure {
    let first = siblings.failed.into_iter().chain(siblings.missing).next();
    first.map_or_else(
        || Failure::usage("there are no two repositories to copy between", "name them with --from and --to"),
        |(_, failure)| failure,
    )
}
