//! One night: profile after profile into its repositories, then each repository once.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Pruned, Report, Step};
use crate::command::backup::{BackupArgs, Destination, Job, Outcome};
use crate::command::export::prune_restic;
use crate::command::forget::{Place, Purpose, forget_profile};
use crate::command::prune::{Rest, prune};
use crate::command::record::{Record, Watch};
use crate::command::session::Target;
use crate::command::{Opened, Session};
use crate::job::Surroundings;
use crate::repository::Snapshots;
use crate::state::{Figures, Verb};
use crate::ui::text::duration;
use crate::ui::{Exit, Failure};

/// A run takes longer than usual when it takes so many times as long…
const SLOW_FACTOR: f64 = 3.0;
/// …and so many seconds more.
const SLOW_SECONDS: f64 = 60.0;

/// What has been done so far.
pub(super) struct Night<'a> {
    session: &'a Session,
    record: &'a Record<'a>,
    surroundings: &'a Surroundings,
    args: &'a BackupArgs,
    keep_all: bool,
    /// Repositories whose servers did not answer.
    away: BTreeSet<String>,
    /// Repositories that something was put into, and those of them that are open.
    reached: BTreeMap<String, Target>,
    open: BTreeMap<String, Opened>,
    steps: Vec<Step>,
    pruned: Vec<Pruned>,
}

impl<'a> Night<'a> {
    /// A night that has just begun.
    pub fn new(
        session: &'a Session,
        record: &'a Record<'a>,
        surroundings: &'a Surroundings,
        args: &'a BackupArgs,
        keep_all: bool,
    ) -> Self {
        Self {
            session,
            record,
            surroundings,
            args,
            keep_all,
            away: BTreeSet::new(),
            reached: BTreeMap::new(),
            open: BTreeMap::new(),
            steps: Vec::new(),
            pruned: Vec::new(),
        }
    }

    /// Backs up a profile, and forgets what no rule keeps of it where that worked.
    pub fn profile(&mut self, job: &Job) {
        let Some(name) = job.profile_name().map(str::to_owned) else { return };
        self.session.screen.note(&format!("{name}:"));
        let outcome = self.args.run_job(self.session, self.surroundings, job, &mut self.away);
        if let Err(failure) = &outcome.result {
            self.session.screen.failure(failure);
        }
        let slow = self.slow(&name, &outcome);
        outcome.done().for_each(|done| self.record.keep(&done));
        let mut step = Step { outcome, slow, forgotten: Vec::new() };
        for repository in step.reached() {
            let targets = self.session.targets(std::slice::from_ref(&repository)).unwrap_or_default();
            self.reached.extend(targets.into_iter().map(|target| (target.name.clone(), target)));
            if !self.keep_all && !self.session.is_interrupted() {
                let held = self.forget(&name, &repository);
                step.forgotten.push((repository, held));
            }
        }
        self.steps.push(step);
    }

    /// What took much longer than usual.
    fn slow(&self, name: &str, outcome: &Outcome) -> Vec<String> {
        let took_long = |destination: &Destination| {
            let repository = &destination.repository;
            let usual = self.record.with(|state, _| state.usual_seconds(Verb::Backup, name, repository))??;
            slow_text(destination, usual)
        };
        outcome.destinations.iter().filter_map(took_long).collect()
    }

    fn forget(&mut self, name: &str, repository: &str) -> Result<Exit, Failure> {
        let watch = Watch::start(self.session);
        let session = self.session;
        let forgotten = self.place(repository).and_then(|mut place| forget_profile(session, &mut place, name));
        let (exit, figures) = match &forgotten {
            Ok(done) => (done.exit, done.figures),
            Err(failure) => (failure.exit, Figures::default()),
        };
        self.record.keep(&watch.done(Verb::Forget, Some(name), repository, exit, figures, None));
        let screen = &session.screen;
        match forgotten {
            Ok(done) => {
                if let Some((why, hint)) = done.held {
                    screen.warning(&format!("nothing of {name} is forgotten in {repository}: {why}; {hint}"));
                } else if let Some(gone) = done.figures.forgotten_snapshots.filter(|gone| *gone > 0) {
                    let kept = done.figures.kept_snapshots.unwrap_or(0);
                    screen.note(&format!("{gone} old snapshots forgotten in {repository}, {kept} kept"));
                }
                Ok(done.exit)
            }
            Err(failure) => {
                screen.failure(&failure);
                Err(failure)
            }
        }
    }

    /// A repository, open for forgetting.
    fn place(&mut self, name: &str) -> Result<Place, Failure> {
        let Some(target) = self.reached.get(name).filter(|target| target.is_restic()).cloned() else {
            let Opened { name, repository } = self.opened(name)?;
            return Ok(Place::Own(Opened { name: name.clone(), repository: repository.clone() }));
        };
        // What is pinned is known by those of bk, one of which got the same backup just now.
        match self.reached.values().find(|target| !target.is_restic()).map(|own| own.name.clone()) {
            Some(own) => {
                let own = Snapshots::load(&self.opened(&own)?.repository)?;
                Place::escape(self.session, &target, Purpose::Forget, &own)
            }
            None => Place::open(self.session, &target, Purpose::Forget),
        }
    }

    /// A repository, opened once a night.
    fn opened(&mut self, name: &str) -> Result<&Opened, Failure> {
        if !self.open.contains_key(name) {
            let target = self.reached.get(name).cloned();
            let target = target.map_or_else(|| self.session.target(name), Ok)?;
            let opened = self.session.open(&target)?;
            self.open.insert(name.to_owned(), opened);
        }
        self.open.get(name).ok_or_else(|| Failure::usage(format!("{name} is not open"), "run it again"))
    }

    /// Takes away what no snapshot needs, in every repository that was reached.
    pub fn prune(&mut self) {
        if self.keep_all {
            return;
        }
        let names: Vec<String> = self.reached.keys().cloned().collect();
        for name in names {
            if self.session.is_interrupted() {
                return;
            }
            let (session, watch) = (self.session, Watch::start(self.session));
            session.screen.note(&format!("pruning {name}:"));
            let pruned = match self.reached.get(&name).filter(|target| target.is_restic()) {
                Some(target) => prune_restic(session, target, &Rest::default()),
                None => self.opened(&name).and_then(|opened| prune(session, opened, &Rest::default())),
            };
            let (exit, figures, failure) = match pruned {
                Ok(pruned) => (pruned.exit, pruned.figures, None),
                Err(failure) => {
                    session.screen.failure(&failure);
                    (failure.exit, Figures::default(), Some(failure))
                }
            };
            let message = failure.as_ref().map(Failure::in_one_line);
            self.record.keep(&watch.done(Verb::Prune, None, &name, exit, figures, message.clone()));
            self.pruned.push(Pruned { repository: name, exit, figures, seconds: watch.seconds(), message });
        }
    }

    /// What the night came to.
    pub fn report(self, seconds: f64) -> Report {
        let interrupted = self.session.is_interrupted();
        Report { steps: self.steps, pruned: self.pruned, seconds, interrupted }
    }
}

/// How much longer than usual a repository took, when that is much.
fn slow_text(destination: &Destination, usual: f64) -> Option<String> {
    let Destination { repository, seconds, dumps_seconds, .. } = destination;
    if *seconds <= usual * SLOW_FACTOR || *seconds <= usual + SLOW_SECONDS {
        return None;
    }
    let dumps = if *dumps_seconds > seconds / 2.0 {
        format!(", {} of it for dumps", duration(*dumps_seconds))
    } else {
        String::new()
    };
    Some(format!("{repository}: {} instead of {}{dumps}", duration(*seconds), duration(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_three_times_as_long_as_usual_and_a_minute_more() {
        let took = |seconds, dumps_seconds| {
            let failure = Failure::usage("", "");
            Destination { seconds, dumps_seconds, ..Destination::missed("ssd", Exit::Complete, &failure) }
        };
        assert_eq!(slow_text(&took(89.0, 0.0), 30.0), None, "not three times");
        assert_eq!(slow_text(&took(50.0, 0.0), 1.0), None, "not a minute more");
        assert_eq!(slow_text(&took(120.0, 10.0), 30.0).unwrap(), "ssd: 2 min 0 s instead of 30.0 s");
        let with_dumps = slow_text(&took(120.0, 90.0), 30.0).unwrap();
        assert!(with_dumps.ends_with(", 1 min 30 s of it for dumps"), "{with_dumps}");
    }
}
