//! What is known of how things stand: what the repositories say, and what this machine remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Clock as _, Timestamp};
use crate::command::Session;
use crate::command::accept::accept_run;
use crate::command::run::next_due;
use crate::command::session::{Target, host_name};
use crate::format::snapshot::Outcome;
use crate::repository::Snapshots;
use crate::state::{Done, State, StateError, Verb};
use crate::status::{Destination, GRACE, GROWTH, Known, Limit, ProfileStatus, RepositoryStatus, Seen, Status};
use crate::ui::{Exit, Failure};

/// How long a server is waited for that only looks are wanted of.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the repositories are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Ask {
    /// They are.
    Repositories,
    /// Only what this machine remembers counts.
    Memory,
}

/// What this machine remembers.
#[derive(Default)]
struct Memory<'a> {
    state: Option<&'a State>,
    newest: Vec<Done>,
    newest_well: Vec<Done>,
}

/// What a repository said.
type Said = Result<Vec<(Option<String>, bool, Seen)>, Failure>;

/// How things stand with all profiles that are configured, or with everything when none is.
///
/// # Errors
/// When the record of runs cannot be read, or a repository is not configured as it should be.
pub(in crate::command) fn gather(session: &Session, state: Option<&State>, ask: Ask) -> Result<Status, Failure> {
    let memory = Memory::of(state)?;
    let now = session.clock.wall();
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    let profiles = profiles(session, &memory);
    let mut wanted: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for (name, to) in profiles {
        let mut reached = session.targets(&to)?;
        reached.sort_by_key(Target::distance);
        wanted.push((name, reached.iter().map(|target| target.name.clone()).collect()));
        targets.extend(reached.into_iter().map(|target| (target.name.clone(), target)));
    }
    let said: BTreeMap<String, Said> = match ask {
        Ask::Memory => BTreeMap::new(),
        Ask::Repositories => ask_all(session, &targets),
    };
    if let Some(Err(failure)) = said.values().find(|said| said.as_ref().is_err_and(is_final)) {
        return Err(failure.clone());
    }
    if wanted.is_empty() || session.config.profiles.is_empty() {
        wanted.extend(unconfigured(&said, &wanted));
    }
    let mut status = Status { at: now, host: host_name(), ..Status::default() };
    for (name, repositories) in wanted {
        let (limit, next) = expected(session, name.as_deref(), &memory, &repositories, now);
        let mut profile = ProfileStatus::new(name, session.config.max_age(None), next);
        profile.max_age = session.config.max_age(profile.name.as_deref());
        for repository in &repositories {
            let known = memory.known(profile.name.as_deref(), repository, said.get(repository), now)?;
            profile.destinations.push(Destination::new(repository, known, limit, now));
        }
        profile.compare();
        for (name, _) in said.iter().filter(|(_, said)| said.is_err()) {
            profile.not_asked(name);
        }
        status.profiles.push(profile);
    }
    if session.config.profiles.is_empty() {
        // Nothing was ever backed up without a profile: that is no lack.
        let unknown =
            |one: &Destination| one.complete.is_none() && one.last.is_none() && one.snapshots.unwrap_or(0) == 0;
        status.profiles.retain(|profile| !profile.destinations.iter().all(unknown));
    }
    status.repositories = targets.keys().map(|name| memory.repository(name, said.get(name))).collect();
    Ok(status)
}

/// What nobody has to ask again for: the wrong key stays wrong.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Interrupted | Exit::Usage)
}

/// The profiles with their repositories: those that are configured; without a configuration those remembered.
fn profiles(session: &Session, memory: &Memory<'_>) -> Vec<(Option<String>, Vec<String>)> {
    let configured = session.config.profiles.values();
    let all: Vec<_> = configured.map(|profile| (Some(profile.name.clone()), profile.to.clone())).collect();
    if !all.is_empty() {
        return all;
    }
    let backups = memory.newest.iter().filter(|done| done.verb == Verb::Backup);
    let mut names: Vec<Option<String>> = backups.map(|done| done.profile.clone()).collect();
    names.dedup();
    // What its repository knows is asked for, too.
    if names.is_empty() {
        names.push(None);
    }
    names.into_iter().map(|name| (name, session.config.default_to())).collect()
}

/// Profiles that only the repositories know.
fn unconfigured(
    said: &BTreeMap<String, Said>,
    wanted: &[(Option<String>, Vec<String>)],
) -> Vec<(Option<String>, Vec<String>)> {
    let mut found: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for (repository, said) in said {
        for (name, ..) in said.iter().flatten() {
            let known = wanted.iter().any(|(wanted, _)| wanted == name);
            let repositories = found.entry(name.clone()).or_default();
            if !known && !repositories.contains(repository) {
                repositories.push(repository.clone());
            }
        }
    }
    found.into_iter().filter(|(_, repositories)| !repositories.is_empty()).collect()
}

/// When a snapshot of a profile is too old, and when it runs next.
fn expected(
    session: &Session,
    name: Option<&str>,
    memory: &Memory<'_>,
    repositories: &[String],
    now: Timestamp,
) -> (Limit, Option<Timestamp>) {
    let profile = name.and_then(|name| session.config.profiles.get(name));
    let next = profile.and_then(|profile| next_due(session, profile, now));
    if let Some(age) = session.config.max_age(name) {
        return (Limit::Age(age), next);
    }
    let Some((profile, schedule)) = profile.and_then(|profile| Some((profile, session.config.schedule_of(profile)?)))
    else {
        return (Limit::None, next);
    };
    // A run may take as long as it mostly does, and some time on top of that.
    let usual = repositories.iter().filter_map(|repository| memory.usual_seconds(&profile.name, repository));
    let usual = usual.fold(0.0, f64::max);
    let jitter = session.config.schedule.jitter.as_secs_f64();
    let until = now.seconds - (GRACE.as_secs_f64() + usual + jitter) as i64;
    let since = schedule.latest_until(Timestamp { seconds: until, nanos: 0 }, &session.config.zone());
    (since.map_or(Limit::None, Limit::Since), next)
}

/// Asks every repository for the snapshots of this machine; nobody is waited for for long.
fn ask_all(session: &Session, targets: &BTreeMap<String, Target>) -> BTreeMap<String, Said> {
    let host = host_name();
    let mut said = BTreeMap::new();
    for (name, target) in targets {
        let mut target = target.clone();
        target.remote.retry_for = Some(target.remote.retry_for.map_or(PATIENCE, |patience| patience.min(PATIENCE)));
        let asked = session.open(&target).and_then(|opened| {
            let snapshots = Snapshots::load(&opened.repository)?;
            let own = snapshots.all.iter().filter(|info| info.snapshot.host == host);
            let seen = own.map(|info| {
                let snapshot = &info.snapshot;
                let proved = snapshots.facts.verification(&info.id).filter(|proved| proved.is_full());
                let seen = Seen {
                    id: info.id.to_string(),
                    start: snapshot.start,
                    total_bytes: snapshot.statistics.total_bytes,
                    strange: snapshots.needs_acceptance(info),
                    verified: proved.map(|proved| (proved.time.seconds, proved.seconds)),
                };
                (snapshot.profile.clone(), snapshot.outcome == Outcome::Complete, seen)
            });
            Ok(seen.collect())
        });
        said.insert(name.clone(), asked);
    }
    said
}

impl<'a> Memory<'a> {
    fn of(state: Option<&'a State>) -> Result<Self, StateError> {
        let Some(state) = state else { return Ok(Self::default()) };
        // What is strange is complete all the same, and what was checked too late is whole.
        let well = [Exit::Complete.code(), Exit::Anomaly.code(), Exit::Overdue.code()];
        Ok(Self { state: Some(state), newest: state.newest()?, newest_well: state.newest_with(&well)? })
    }

    fn known(
        &self,
        profile: Option<&str>,
        repository: &str,
        said: Option<&Said>,
        now: Timestamp,
    ) -> Result<Known, StateError> {
        let is_of = |done: &&Done| done.profile.as_deref() == profile && done.repository == repository;
        let since = now.seconds - i64::try_from(GROWTH.as_secs()).unwrap_or(0);
        let recent = self.state.map(|state| state.since(Verb::Backup, profile, repository, since)).transpose()?;
        let snapshots = said.and_then(|said| said.as_ref().ok()).map(|said| {
            let own = said.iter().filter(|(name, ..)| name.as_deref() == profile);
            own.map(|(_, complete, seen)| (*complete, seen.clone())).collect()
        });
        let backup = |done: &&Done| done.verb == Verb::Backup && done.snapshot.is_some();
        Ok(Known {
            snapshots,
            newest: self.newest.iter().filter(is_of).cloned().collect(),
            remembered: self.newest_well.iter().filter(is_of).find(backup).cloned(),
            recent: recent.unwrap_or_default(),
            accepted: self.accepted(profile)?,
        })
    }

    /// When somebody last accepted a snapshot of a profile on this machine, in every repository.
    fn accepted(&self, profile: Option<&str>) -> Result<Option<i64>, StateError> {
        let last = self.state.map(|state| state.last_run(&accept_run(profile))).transpose()?.flatten();
        Ok(last.filter(|run| run.exit == Some(Exit::Complete.code())).map(|run| run.began))
    }

    /// How long backups of a profile mostly take, when that is known.
    fn usual_seconds(&self, profile: &str, repository: &str) -> Option<f64> {
        self.state?.usual_seconds(Verb::Backup, profile, repository).ok()?
    }

    fn repository(&self, name: &str, said: Option<&Said>) -> RepositoryStatus {
        let find = |all: &[Done], verb| {
            all.iter().find(|done| done.verb == verb && done.profile.is_none() && done.repository == name).cloned()
        };
        let pruned = find(&self.newest, Verb::Prune);
        let counted = find(&self.newest_well, Verb::Prune);
        RepositoryStatus {
            name: name.to_owned(),
            unreachable: said
                .and_then(|said| said.as_ref().err())
                .map(|failure| (failure.exit.code(), failure.in_one_line())),
            checked: find(&self.newest, Verb::Check),
            checked_whole: find(&self.newest_well, Verb::Check),
            bytes: counted.and_then(|done| done.figures.repository_bytes),
            pruned,
        }
    }
}
