//! `bk backup`

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::session::{host_name, user_name};
use super::{Opened, Session, create};
use crate::chunk::Class;
use crate::format::snapshot::{Outcome, is_valid_restore_name};
use crate::job::{Around, Moment, Plan, Surroundings, drop_nested, run_commands};
use crate::operation::backup::{
    AfterStreams, BackupError, BackupOptions, BackupStats, Found, HookResults, Origin, SourceRules, Stream, WhenBroken,
    backup,
};
use crate::profile::{ChunkChoice, Profile};
use crate::size::ByteSize;
use crate::source::command::{CommandError, Program};
use crate::source::exclude::Rules;
use crate::store::LocalStore;
use crate::ui::text::{count, duration, path_text};
use crate::ui::{Exit, Failure};

/// Back up a profile, folders, files, or what a program prints
///
/// A bare word is a profile of the configuration; a path has a `/` in it, such as ./photos. Several paths make one
/// snapshot. Without a configuration a repository of your own is made on first use.
#[derive(Debug, Args)]
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

/// One snapshot to be made: a profile, or the paths of the command line.
struct Job {
    profile: Profile,
    name: Option<String>,
}

impl BackupArgs {
    /// Backs up.
    ///
    /// # Errors
    /// When there is no snapshot of something.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        // First: a mistake on the command line makes no folder.
        let jobs = self.jobs(session)?;
        let surroundings = super::service::surroundings(session)?;
        recover(session, &surroundings)?;
        let mut exit = Exit::Complete;
        for job in jobs {
            exit = exit.worst(self.run_job(session, &surroundings, &job)?);
        }
        Ok(exit)
    }

    /// One profile, to each of its repositories, with the commands around it.
    fn run_job(&self, session: &Session, surroundings: &Surroundings, job: &Job) -> Result<Exit, Failure> {
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
            return self.run_everywhere(session, surroundings, job, plan).map(|(exit, _)| exit);
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
            result = self.run_everywhere(session, surroundings, job, plan);
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

    fn run_everywhere(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        job: &Job,
        plan: Plan,
    ) -> Result<(Exit, Option<String>), Failure> {
        let targets = session.targets(&job.profile.to)?;
        let opened = targets.iter().map(|target| open_or_create(session, target)).collect::<Result<Vec<_>, _>>()?;
        let around = Around::begin(surroundings, &job.profile.name, plan, opened.len() == 1);
        let mut exit = Exit::Complete;
        let mut last = None;
        let mut result = Ok(());
        for opened in &opened {
            match self.back_up(session, surroundings, opened, job, &around) {
                Ok((code, snapshot)) => {
                    exit = exit.worst(code);
                    last = snapshot.or(last);
                }
                Err(failure) => {
                    result = Err(failure);
                    break;
                }
            }
        }
        if !around.end() {
            exit = exit.worst(Exit::Hook);
        }
        result.map(|()| (exit, last))
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
            threads: std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 16),
            tables: plan.tables(),
            known_problems: plan.problems.clone(),
            hook_results: HookResults::default(),
            after_streams: Some(after),
        })
    }

    fn back_up(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        opened: &Opened,
        job: &Job,
        around: &Around,
    ) -> Result<(Exit, Option<String>), Failure> {
        let after = || around.after_streams();
        let mut options = self.options(session, job, surroundings, &around.plan, &after)?;
        let repository = if self.dry_run { opened.repository.dry() } else { opened.repository.clone() };
        let progress = session.screen.progress("backup");
        let (mut streams, problems) = around.streams(&options.hook_results);
        options.known_problems.extend(problems);
        streams.extend(self.streams(session)?);
        let result = backup(&repository, &options, streams, &session.clock, &*progress, session.interrupted());
        progress.finish();
        let stats = result.map_err(failure)?;
        report(session, opened, job, &stats, self.dry_run);
        let exit = match stats.outcome {
            Outcome::Complete if !stats.anomalies.is_empty() => Exit::Anomaly,
            Outcome::Complete => Exit::Complete,
            Outcome::Incomplete if stats.problems.has("dump") => Exit::Hook,
            Outcome::Incomplete => Exit::Incomplete,
        };
        Ok((exit, stats.snapshot.map(|info| info.id.to_string())))
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

fn job_of_profile(session: &Session, word: &str) -> Result<Job, Failure> {
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

fn open_or_create(session: &Session, target: &super::session::Target) -> Result<Opened, Failure> {
    if target.embedded && target.location.local().is_some_and(|path| !LocalStore::is_finished(path)) {
        let created = create::create(session, target, None)?;
        create::announce(session, target);
        return Ok(created);
    }
    session.open(target)
}

/// Sets going again what an earlier run that died has left standing.
fn recover(session: &Session, surroundings: &Surroundings) -> Result<(), Failure> {
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

fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Repository(error) => error.into(),
        BackupError::NoSource(_) => Failure::of(Exit::Failed, &error, "check that the paths exist and are mounted"),
        BackupError::NoDump(_) => Failure::of(Exit::Hook, &error, "`bk doctor PROFILE` says what each dump lacks"),
        BackupError::Thread => Failure::of(Exit::Failed, &error, "run the command again and report this"),
        BackupError::Stream { ref name, ref source } => {
            let inner = source.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            let command = inner.and_then(|inner| inner.downcast_ref::<CommandError>());
            let Some(command) = command else {
                return Failure::of(Exit::Failed, &error, "run the command again");
            };
            let interrupted = matches!(command, CommandError::Interrupted { .. });
            let exit = if interrupted { Exit::Interrupted } else { Exit::Hook };
            let mut failure = Failure::of(exit, command, command.hint());
            failure.causes.push(format!("{name} is not complete, so there is no snapshot"));
            let last = command.stderr().and_then(|text| text.trim_end().lines().last().map(str::to_owned));
            failure.causes.extend(last.filter(|line| !line.is_empty()).map(|line| format!("its last words: {line}")));
            failure
        }
    }
}

/// Problems shown to people; all are in the snapshot.
const SHOWN_PROBLEMS: usize = 20;

fn report(session: &Session, opened: &Opened, job: &Job, stats: &BackupStats, dry_run: bool) {
    let screen = &session.screen;
    let counted = &stats.statistics;
    let seconds = seconds_between(stats);
    let id = stats.snapshot.as_ref().map(|info| info.id);
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary",
            "repository": opened.name,
            "profile": job.name,
            "snapshot_id": id.map(|id| id.to_string()),
            "outcome": outcome_word(stats.outcome),
            "dry_run": dry_run,
            "files_new": counted.new_files,
            "files_changed": counted.changed_files,
            "files_unmodified": counted.unchanged_files,
            "dirs": counted.directories,
            "others": counted.others,
            "total_files_processed": counted.files,
            "total_bytes_processed": counted.total_bytes,
            "bytes_read": counted.read_bytes,
            "new_blobs": counted.new_blobs,
            "data_added": counted.new_bytes,
            "data_added_packed": counted.stored_bytes,
            "total_duration": seconds,
            "problem_count": stats.problems.count(),
            "anomalies": stats.anomalies,
            "problems": stats.problems.first().iter().map(|problem| json!({
                "kind": problem.kind, "path": String::from_utf8_lossy(&problem.path), "message": problem.message,
            })).collect::<Vec<_>>(),
        }));
        return;
    }
    let size = |bytes| ByteSize(bytes).to_string();
    screen.note(&format!(
        "{}, {} ({} new, {} changed, {} unchanged) in {}",
        count(counted.files, "file", "files"),
        size(counted.total_bytes),
        counted.new_files,
        counted.changed_files,
        counted.unchanged_files,
        duration(seconds),
    ));
    screen.note(&format!(
        "{} of new data; the repository {} by {}",
        size(counted.new_bytes),
        if dry_run { "would grow" } else { "grew" },
        size(counted.stored_bytes)
    ));
    let problems = stats.problems.first();
    for problem in problems.iter().take(SHOWN_PROBLEMS) {
        screen.warning(&format!("{}: {}", path_text(&problem.path), problem.message));
    }
    let more = stats.problems.count().saturating_sub(SHOWN_PROBLEMS as u64);
    if more > 0 {
        screen.warning(&format!("and {more} more; `bk snapshots ID` lists them"));
    }
    if let (Some(id), false) = (id, stats.anomalies.is_empty()) {
        screen.warning(&format!("THIS BACKUP IS UNLIKE THOSE BEFORE IT: {}", stats.anomalies.join("; ")));
        let (id, before) = (id.short(), stats.parent.map(|id| id.short()).unwrap_or_default());
        screen.warning(&format!(
            "nothing old is forgotten or pruned until you have looked (`bk diff {before} {id}`) and said `bk accept {id}`"
        ));
    }
    match (id, stats.outcome) {
        (Some(id), Outcome::Complete) => {
            screen.line(&format!("snapshot {} is complete in {}", id.short(), opened.name))
        }
        (Some(id), Outcome::Incomplete) => screen.line(&format!(
            "snapshot {} is INCOMPLETE in {}: {} problems, listed above",
            id.short(),
            opened.name,
            stats.problems.count()
        )),
        (None, _) if dry_run => screen.line("nothing was stored: this was a dry run"),
        (None, _) => screen.line("nothing has changed since the last snapshot, so there is no new one"),
    }
}

fn seconds_between(stats: &BackupStats) -> f64 {
    let seconds = (stats.end.seconds - stats.start.seconds) as f64;
    (seconds + (f64::from(stats.end.nanos) - f64::from(stats.start.nanos)) / 1e9).max(0.0)
}

const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Incomplete => "incomplete",
    }
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
