//! `bk backup`

mod escape;
mod everywhere;
mod outcome;
mod present;
mod report;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

pub(super) use outcome::{Destination, Outcome};
pub(super) use present::{BEFORE_ROLLBACK, present_state};

use super::Session;
use super::lock::{lock_wait, take_lock};
use super::record::Record;
use super::session::{host_name, user_name};
use super::workers::workers;
use crate::chunk::Class;
use crate::clock::{Clock as _, Stopwatch};
use crate::format::snapshot::is_valid_restore_name;
use crate::job::{Moment, Plan, Surroundings, drop_nested, run_commands};
use crate::operation::backup::{
    AfterStreams, BackupOptions, Found, HookResults, Origin, SourceRules, Stream, WhenBroken,
};
use crate::profile::{ChunkChoice, Profile};
use crate::source::command::{CommandError, Program};
use crate::source::exclude::Rules;
use crate::state::Lock;
use crate::ui::{Exit, Failure};

/// Back up a profile, folders, files, or what a program prints
///
/// A bare word is a profile of the configuration; a path has a `/` in it, such as ./photos. Several paths make one
/// snapshot. Without a configuration a repository of your own is made on first use.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:
  bk backup ./photos                                 a folder, without any configuration
  bk backup wiki                                     the profile `wiki` of the configuration
  pg_dump shop | bk backup --stdin --name shop.sql   standard input; see --command for the safer way
  bk backup --name shop.sql --command -- pg_dump shop
                                                     a program's output; fails when the program fails")]
pub struct BackupArgs {
    /// Profiles, or paths
    #[arg(value_name = "PROFILE|PATH")]
    what: Vec<String>,
    /// Back up standard input as one file
    #[arg(long, requires = "name", conflicts_with_all = ["what", "command"])]
    stdin: bool,
    /// Back up the output of a program, given after `--`, as one file
    #[arg(long, requires = "name", conflicts_with = "what", requires = "argv")]
    command: bool,
    /// Name of that file in the snapshot
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Tag the snapshot; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Say something about the snapshot
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Leave out what matches, below each path; may be given several times
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Do not leave the file system of each path
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Do everything but store it
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// What has to be reached for the exit code 0
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    require: Require,
    /// How long to wait for another process that backs up the same profile
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lock_wait)]
    lock_wait: Duration,
    /// Make no snapshot when nothing has changed
    #[arg(long)]
    skip_if_unchanged: bool,
    /// Read every file, even those that look unchanged
    #[arg(long)]
    force: bool,
    /// The program and its arguments
    #[arg(last = true, value_name = "PROGRAM", requires = "command")]
    argv: Vec<OsString>,
}

impl Require {
    /// The exit code of a run, when no more than this has to be reached.
    fn of(self, outcome: &Outcome) -> Exit {
        let exit = outcome.exit();
        let has_snapshot = outcome.destinations.iter().any(|destination| destination.snapshot.is_some());
        let spared: &[Exit] = match self {
            Self::Everywhere => &[],
            Self::Complete => &[Exit::Behind, Exit::Anomaly],
            Self::Snapshot => &[Exit::Behind, Exit::Anomaly, Exit::Incomplete, Exit::Hook],
        };
        if has_snapshot && spared.contains(&exit) { Exit::Complete } else { exit }
    }
}

/// One snapshot to be made: a profile, or the paths of the command line.
pub(super) struct Job {
    profile: Profile,
    name: Option<String>,
}

impl Job {
    /// The profile; `None` of paths.
    pub(super) fn profile_name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// What has to be reached for the exit code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Require {
    /// A complete snapshot in every repository.
    #[default]
    Everywhere,
    /// A complete snapshot in one repository at least; the others may be behind.
    Complete,
    /// A snapshot, even one that lacks something.
    Snapshot,
}

impl BackupArgs {
    /// As `bk run` has them.
    pub(super) fn of_run(lock_wait: Duration) -> Self {
        Self { lock_wait, ..Self::default() }
    }

    /// Backs up.
    ///
    /// # Errors
    /// When there is no snapshot of something.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        // First: a mistake on the command line makes no folder.
        let jobs = self.jobs(session)?;
        let surroundings = super::service::surroundings(session)?;
        recover(session, &surroundings)?;
        let record = (!self.dry_run).then(|| Record::begin(session, "backup"));
        let mut exit = Exit::Complete;
        let (alone, mut away, mut failed) = (jobs.len() == 1, BTreeSet::new(), None);
        for job in jobs {
            let outcome = self.run_job(session, &surroundings, &job, &mut away);
            if let Some(record) = &record {
                outcome
                    .done()
                    .filter(|done| session.is_known_name(&done.repository))
                    .for_each(|done| record.keep(&done));
            }
            let reached = self.require.of(&outcome);
            match outcome.result {
                Err(failure) if alone || failure.exit == Exit::Interrupted => {
                    exit = failure.exit;
                    failed = Some(failure);
                    break;
                }
                // What is wrong with one profile does not keep the others from their backup.
                Err(failure) => session.screen.failure(&failure),
                Ok(_) => {}
            }
            exit = exit.worst(reached);
        }
        if let Some(record) = record {
            record.end(exit);
        }
        failed.map_or(Ok(exit), Err)
    }

    /// One profile, alone on this machine, to each of its repositories.
    pub(super) fn run_job(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        job: &Job,
        away: &mut BTreeSet<String>,
    ) -> Outcome {
        let (began, watch) = (session.clock.wall(), Stopwatch::start());
        let mut destinations = Vec::new();
        let result = self
            .alone(session, job)
            .and_then(|_lock| self.with_commands(session, surroundings, job, away, &mut destinations));
        let seconds = watch.elapsed().as_secs_f64();
        let mut outcome = Outcome { profile: job.name.clone(), began, seconds, result, destinations };
        outcome.settle(&session.targets(&job.profile.to).unwrap_or_default());
        outcome
    }

    /// Waits until no other process on this machine backs up the same profile.
    fn alone(&self, session: &Session, job: &Job) -> Result<Option<Lock>, Failure> {
        let Some(name) = job.name.as_ref().filter(|_| !self.dry_run) else { return Ok(None) };
        take_lock(session, &format!("profile-{name}"), name, self.lock_wait).map(Some)
    }

    /// One profile, to each of its repositories, with the commands around it.
    fn with_commands(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        job: &Job,
        away: &mut BTreeSet<String>,
        destinations: &mut Vec<Destination>,
    ) -> Result<Exit, Failure> {
        let mut plan = super::service::plan(&job.profile, surroundings)?;
        if plan.stateless && plan.roots.is_empty() {
            session.screen.line(&format!("{} keeps nothing, so there is nothing to back up", job.profile.name));
            return Ok(Exit::Complete);
        }
        super::service::refuse_empty(&job.profile, &plan)?;
        super::service::warn_of_needs(session, &plan);
        if self.dry_run {
            if !plan.hooks.is_empty() {
                session.screen.note("hooks and dumps are left out of a dry run");
            }
            plan.hooks.clear();
            return self.run_everywhere(session, surroundings, job, &plan, away, destinations).map(|(exit, _)| exit);
        }
        let moments = [&session.config.defaults.moments, &job.profile.moments];
        let name = job.profile.name.as_str();
        let moment =
            |name_of_moment, outcome, snapshot| Moment { name: name_of_moment, profile: name, outcome, snapshot };
        let mut result = Ok((Exit::Complete, None));
        for set in moments {
            if result.is_ok() {
                let before = run_commands(&set.before, moment("before", None, None), surroundings);
                result = before.map(|()| (Exit::Complete, None)).map_err(|error| command_failed("before", &error));
            }
        }
        if result.is_ok() {
            result = self.run_everywhere(session, surroundings, job, &plan, away, destinations);
        }
        let (outcome, snapshot) = match &result {
            Ok((Exit::Complete, snapshot)) => ("complete", snapshot.clone()),
            Ok((_, snapshot)) => ("incomplete", snapshot.clone()),
            Err(_) => ("failed", None),
        };
        for set in moments {
            let first = if outcome == "complete" { ("after", &set.after) } else { ("failed", &set.failed) };
            for (name_of_moment, commands) in [first, ("finally", &set.finally)] {
                let told = moment(name_of_moment, Some(outcome), snapshot.as_deref());
                if let Err(error) = run_commands(commands, told, surroundings) {
                    let failure = command_failed(name_of_moment, &error);
                    match &mut result {
                        Ok((exit, _)) => {
                            session.screen.warning(&failure.in_one_line());
                            *exit = exit.worst(Exit::Hook);
                        }
                        // What failed first is what is told.
                        Err(_) => session.screen.warning(&failure.in_one_line()),
                    }
                }
            }
        }
        result.map(|(exit, _)| exit)
    }

    fn jobs(&self, session: &Session) -> Result<Vec<Job>, Failure> {
        if self.stdin || self.command {
            return Ok(vec![Job { profile: session.config.ad_hoc(Vec::new()), name: None }]);
        }
        let (paths, words): (Vec<_>, Vec<_>) = self.what.iter().partition(|word| is_path(word));
        match (paths.is_empty(), words.is_empty()) {
            (true, true) => {
                Err(Failure::usage("there is nothing to back up", "name a profile, or a path such as ./photos"))
            }
            (false, false) => Err(Failure::usage(
                format!("`{}` is a path and `{}` a profile", paths[0], words[0]),
                "run them one after the other; they make separate snapshots",
            )),
            (false, true) => {
                let absolute = |path: &&String| absolute(Path::new(path.as_str()));
                let mut paths = paths.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
                drop_nested(&mut paths);
                Ok(vec![Job { profile: session.config.ad_hoc(paths), name: None }])
            }
            (true, false) => words.iter().map(|word| job_of_profile(session, word)).collect(),
        }
    }

    fn options<'a>(
        &self,
        session: &Session,
        job: &Job,
        surroundings: &Surroundings,
        plan: &Plan,
        after: AfterStreams<'a>,
    ) -> Result<BackupOptions<'a>, Failure> {
        let profile = &job.profile;
        let mut patterns = plan.exclude.clone();
        patterns.extend(self.exclude.iter().cloned());
        let exclude =
            Rules::new(&patterns, &plan.include).map_err(|error| Failure::of(Exit::Usage, &error, error.hint()))?;
        let class = match profile.chunk_class {
            ChunkChoice::Auto => None,
            ChunkChoice::Coarse => Some(Class::Coarse),
            ChunkChoice::Fine => Some(Class::Fine),
        };
        let mut tags = profile.tags.clone();
        tags.extend(self.tag.iter().cloned());
        Ok(BackupOptions {
            origin: Origin { host: host_name(), user: user_name(), profile: job.name.clone() },
            roots: {
                let mut paths = plan.roots.clone();
                drop_nested(&mut paths);
                paths
            },
            rules: SourceRules {
                exclude,
                one_file_system: profile.one_file_system || self.one_file_system,
                exclude_caches: profile.exclude_caches,
                exclude_larger_than: profile.exclude_larger_than,
                exclude_if_present: profile.exclude_if_present.clone(),
                databases: profile.sqlite,
                class,
            },
            tags,
            description: self.description.clone(),
            // With what was found out about the databases, so that a restore knows where they came from.
            definition: Profile { hooks: plan.lasting_hooks(), ..profile.clone() }.definition()
                + &super::service::own_hooks(plan, surroundings),
            configuration: session.config.definition(),
            scratch: super::service::scratch(session)?,
            skip_if_unchanged: self.skip_if_unchanged,
            dry_run: self.dry_run,
            ignore_parent: self.force,
            threads: workers(16),
            tables: plan.tables(),
            known_problems: plan.problems.clone(),
            hook_results: HookResults::default(),
            after_streams: Some(after),
        })
    }

    fn streams(&self, session: &Session) -> Result<Vec<Stream<'static>>, Failure> {
        let Some(name) = &self.name else { return Ok(Vec::new()) };
        let name = name.trim_start_matches('/').to_owned();
        if !is_valid_restore_name(name.as_bytes()) {
            return Err(Failure::usage(
                format!("`{name}` cannot be the name of a file"),
                "use a name such as shop.sql",
            ));
        }
        let bytes: Box<dyn Read + Send> = if self.command {
            let screen = session.screen.clone();
            let cancel = session.stop_flag();
            let program = Program { argv: &self.argv, cancel: Some(&cancel), ..Program::default() };
            let running = program.start(move |line| screen.note(line.trim_end()))?;
            Box::new(running)
        } else {
            Box::new(std::io::stdin())
        };
        Ok(vec![Stream {
            name,
            bytes,
            when_broken: WhenBroken::Fail,
            found: Found::default(),
            // What a command prints today may be short.
            min_bytes: Some(0),
        }])
    }
}

fn is_path(word: &str) -> bool {
    word.contains('/') || word == "." || word == ".."
}

/// The profile that a word means, of the configuration or built in.
pub(super) fn job_of_profile(session: &Session, word: &str) -> Result<Job, Failure> {
    if let Some(profile) = super::service::profile(session, word) {
        return Ok(Job { name: Some(profile.name.clone()), profile });
    }
    let known: Vec<_> = session.config.profiles.keys().map(String::as_str).collect();
    let mut hint = match known.as_slice() {
        [] => "`bk profile list` shows the built-in ones; for your own see `bk config example`".to_owned(),
        known => format!("configured are: {}; `bk profile list` shows the built-in ones", known.join(", ")),
    };
    if Path::new(word).exists() {
        hint = format!("for the path in this folder write ./{word}");
    }
    Err(Failure::usage(format!("there is no profile called `{word}`"), hint))
}

/// Makes a path absolute without following links, so that the snapshot shows the path that was meant.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path)
        .map_err(|error| Failure::of(Exit::Usage, &error, "give a path of a file or folder"))?;
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    Ok(clean)
}

/// Sets going again what an earlier run that died has left standing.
pub(super) fn recover(session: &Session, surroundings: &Surroundings) -> Result<(), Failure> {
    let recovered = crate::job::recover(surroundings)
        .map_err(|error| Failure::of(Exit::Hook, &error, "look into the folder `quiesced` below the data folder"))?;
    if !recovered {
        session.screen.warning("something still stands still that an earlier run stopped; see above");
    }
    Ok(())
}

fn command_failed(moment: &str, error: &CommandError) -> Failure {
    let interrupted = matches!(error, CommandError::Interrupted { .. });
    let mut failure = Failure::of(if interrupted { Exit::Interrupted } else { Exit::Hook }, error, error.hint());
    failure.causes.push(format!("it is a command of the moment `{moment}`"));
    let last = error.stderr().and_then(|text| text.trim_end().lines().last().map(str::to_owned));
    failure.causes.extend(last.filter(|line| !line.is_empty()).map(|line| format!("its last words: {line}")));
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_slash_and_a_word_is_a_profile() {
        assert!(is_path("./x") && is_path("/x") && is_path(".") && is_path("a/b"));
        assert!(!is_path("plex"));
    }

    #[test]
    fn paths_below_others_are_in_the_snapshot_already() {
        let mut paths: Vec<_> = ["/a/b", "/a", "/ab", "/a"].map(PathBuf::from).into();
        drop_nested(&mut paths);
        assert_eq!(paths, ["/a", "/ab"].map(PathBuf::from));
    }

    #[test]
    fn dots_are_taken_out_of_paths() {
        assert_eq!(absolute(Path::new("/a/./b/../c/")).unwrap(), Path::new("/a/c"));
    }
}
