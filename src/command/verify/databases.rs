//! The databases of a snapshot, each drilled by itself.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use rustix::fs::statvfs;

use super::{Place, show};
use crate::command::Session;
use crate::command::load::{database_of, dump_failed, dumps};
use crate::command::look::{progress, read_ahead};
use crate::command::record::Watch;
use crate::command::service::surroundings;
use crate::drill::{self, Drilled, DumpDrill, Outcome, check_files, drill_dump, drill_sqlite};
use crate::format::node::{NodeKind, TableRows};
use crate::format::snapshot::Snapshot;
use crate::job::{LoadError, Surroundings, hook_of, is_of_server, used_for};
use crate::operation::dump::{self, DumpError};
use crate::operation::list::Located;
use crate::operation::verify::Survey;
use crate::profile::{HookUse, Question, Role, Service, hooks_of_definition};
use crate::repository::{BlobReader, ReadAhead, SnapshotInfo};
use crate::size::ByteSize;
use crate::ui::text::line_text;
use crate::ui::{Exit, Failure};

/// Accounts of a server that are longer are not handed on, in bytes.
const MAX_BEFORE_LEN: u64 = 64 << 20;

/// What is needed for each of them.
struct Drills<'a> {
    session: &'a Session,
    place: &'a Place,
    snapshot: &'a Snapshot,
    surroundings: Surroundings,
    questions: Vec<Question>,
    /// As the snapshot says that they were.
    hooks: Vec<HookUse>,
    /// Whether there is more than one database, so that another may answer what one cannot be asked.
    is_one_of_many: bool,
}

/// The databases of a snapshot, each with its engine and its name as questions know it.
pub(super) fn names(snapshot: &Snapshot, survey: &Survey) -> Vec<(String, String)> {
    let dumps = dumps(snapshot).into_iter().filter(|(_, stream, _)| !is_of_server(stream));
    let dumps = dumps.map(|(folder, stream, _)| (hook_of(&folder).0.to_owned(), database_of(&stream)));
    let files = files(survey).map(|located| ("sqlite".to_owned(), String::from_utf8_lossy(&located.path).into_owned()));
    dumps.chain(files).collect()
}

/// Those that are files of the machine.
fn files(survey: &Survey) -> impl Iterator<Item = &Located> {
    survey.databases.iter().filter(|located| located.path.starts_with(b"/"))
}

/// Drills every database of a snapshot; gives each by its name, with how long it took, in seconds.
///
/// # Errors
/// When it could not go on: a store that does not answer, no scratch folder, the user.
pub(super) fn drill_all(
    session: &Session,
    place: &Place,
    info: &SnapshotInfo,
    survey: &Survey,
) -> Result<Vec<(String, Drilled, f64)>, Failure> {
    let snapshot = &info.snapshot;
    let (service, mut hooks) = hooks_of_definition(&snapshot.definition);
    let configured = snapshot.profile.as_ref().and_then(|name| session.config.profiles.get(name));
    if let (Some(profile), true) = (configured, hooks.is_empty()) {
        hooks.clone_from(&profile.hooks);
    }
    // Never those of the snapshot: what is run here is what somebody wrote here.
    let questions = match (configured, service.as_deref().and_then(Service::find)) {
        (Some(profile), _) => profile.questions.clone(),
        (None, Some(service)) => service.questions(),
        (None, None) => Vec::new(),
    };
    let names = names(snapshot, survey);
    say_unasked(session, &questions, &names);
    let is_one_of_many = names.len() > 1;
    let surroundings = surroundings(session)?;
    let drills = Drills { session, place, snapshot, surroundings, questions, hooks, is_one_of_many };
    let mut all = Vec::new();
    let streams = dumps(snapshot);
    for (folder, stream, located) in streams.iter().filter(|(_, stream, _)| !is_of_server(stream)) {
        let before = streams.iter().find(|(other, stream, _)| other == folder && is_of_server(stream));
        let name = format!("{folder}/{stream}");
        all.push(drills.one(name, |reader| drills.dump(reader, (folder, stream), located, before.map(|one| &one.2)))?);
    }
    for located in files(survey) {
        let name = String::from_utf8_lossy(&located.path).into_owned();
        all.push(drills.one(name, |reader| drills.sqlite(reader, located))?);
    }
    drills.settle(&mut all);
    Ok(all)
}

/// Tells of questions that name a database which is not there: otherwise they would be asked of none for ever.
fn say_unasked(session: &Session, questions: &[Question], names: &[(String, String)]) {
    for question in questions.iter().filter(|question| question.database.is_some()) {
        let is_of_engine = |engine: &str| question.when.as_deref().is_none_or(|when| when == engine);
        let engines_fit = names.iter().any(|(engine, _)| is_of_engine(engine));
        if engines_fit && !names.iter().any(|(engine, name)| question.is_of(engine, name)) {
            let known: Vec<String> = names.iter().map(|(_, name)| line_text(name)).collect();
            session.screen.warning(&format!(
                "the question `{}` was asked of no database: none is called `{}`; there are: {}",
                question.name,
                question.database.as_deref().unwrap_or_default(),
                known.join(", ")
            ));
        }
    }
}

impl Drills<'_> {
    fn one(
        &self,
        name: String,
        drill: impl FnOnce(&mut BlobReader<'_>) -> Result<Drilled, Failure>,
    ) -> Result<(String, Drilled, f64), Failure> {
        let interrupted = self.session.interrupted();
        if self.session.is_interrupted() {
            return Err(crate::repository::RepositoryError::Interrupted.into());
        }
        let watch = Watch::start(self.session);
        let mut reader = BlobReader::new(&self.place.opened.repository, &self.place.index)?;
        let mut drilled = drill(&mut reader)?;
        let asked: Vec<_> = drilled.asked.iter().filter(|asked| !asked.question.files.is_empty()).cloned().collect();
        for asked in asked {
            let check = check_files(&mut reader, self.snapshot, &asked, interrupted)?;
            drilled.fail(check.problems);
        }
        if !self.is_one_of_many {
            let unanswered = std::mem::take(&mut drilled.unanswered);
            drilled.fail(unanswered.into_iter().map(|(_, why)| why).collect());
        }
        let seconds = watch.seconds();
        if drilled.unanswered.is_empty() {
            show::database(self.session, &name, &drilled, seconds);
        }
        Ok((name, drilled, seconds))
    }

    /// A question that some databases cannot be asked is wrong when none has answered it. One that was not tried might
    /// have: that it was not is said of it. Shows what was held back for this.
    fn settle(&self, all: &mut [(String, Drilled, f64)]) {
        let any_untried = all.iter().any(|(_, drilled, _)| matches!(drilled.outcome, Outcome::NotRun { .. }));
        let mut answered: Vec<Question> =
            all.iter().flat_map(|(_, drilled, _)| drilled.asked.iter().map(|asked| asked.question.clone())).collect();
        for (name, drilled, seconds) in all.iter_mut().filter(|(_, drilled, _)| !drilled.unanswered.is_empty()) {
            for (question, why) in std::mem::take(&mut drilled.unanswered) {
                if any_untried || answered.contains(&question) {
                    continue;
                }
                drilled.fail(vec![why]);
                // Said once.
                answered.push(question);
            }
            show::database(self.session, name, drilled, *seconds);
        }
    }

    fn questions_of(&self, engine: &str, name: &str) -> Vec<Question> {
        self.questions.iter().filter(|question| question.is_of(engine, name)).cloned().collect()
    }

    /// A dump, through its hook.
    fn dump(
        &self,
        reader: &mut BlobReader<'_>,
        (folder, stream): (&str, &str),
        located: &Located,
        accounts: Option<&Located>,
    ) -> Result<Drilled, Failure> {
        let (engine, _) = hook_of(folder);
        let NodeKind::File { size, rows, .. } = &located.node.kind else {
            return Ok(Drilled::failed("it is no file"));
        };
        let used = used_for(&self.hooks, folder).cloned().unwrap_or_else(|| HookUse::of(engine, Role::Database));
        let path = located.path.as_slice();
        let result = self.snapshot.hooks.iter().find(|hook| hook.name.as_bytes() == path);
        let notes = result.map(|hook| hook.notes.clone()).unwrap_or_default();
        let private = self.private()?;
        let before = match accounts.filter(|accounts| length(accounts) <= MAX_BEFORE_LEN) {
            Some(accounts) => {
                let path = private.path().join("accounts");
                if let Err(drilled) = self.write(reader, accounts, &path)? {
                    return Ok(*drilled);
                }
                Some(path)
            }
            None => None,
        };
        let questions = self.questions_of(engine, &database_of(stream));
        let drill = DumpDrill {
            profile: self.snapshot.profile.as_deref().unwrap_or_default(),
            used: &used,
            stream,
            notes: &notes,
            before: before.as_deref(),
            rows,
            questions: &questions,
        };
        self.load(&drill, located, *size)
    }

    fn load(&self, drill: &DumpDrill<'_>, located: &Located, size: u64) -> Result<Drilled, Failure> {
        let Place { opened, index, .. } = self.place;
        let ahead = read_ahead(self.session, opened, index, [&located.node], &self.surroundings.scratch)?;
        let mut reader = BlobReader::new(&opened.repository, index)?.with_ahead(ahead.as_ref());
        let shown = progress(self.session, "drill");
        shown.phase("loading", Some(size));
        let interrupted = self.session.interrupted();
        let drilled = ReadAhead::while_working(ahead.as_ref(), || {
            drill_dump(&self.surroundings, drill, |out| {
                dump::file(&mut reader, &located.node, out, interrupted).map(drop)
            })
        });
        shown.finish();
        match drilled {
            Ok(drilled) if drilled.outcome == Outcome::NoDrill => self.only_read(located, drilled),
            Ok(drilled) => Ok(drilled),
            Err(LoadError::Hook(error)) => {
                let exit = if error.is_interrupted() { Exit::Interrupted } else { Exit::Hook };
                Err(Failure::of(exit, &error, error.hint()))
            }
            Err(LoadError::NoWay(_)) => Ok(Drilled::failed("its hook cannot be fed")),
            Err(LoadError::Source(error)) => lost(error).map(|drilled| *drilled),
        }
    }

    /// What nobody can drill can still be read.
    fn only_read(&self, located: &Located, drilled: Drilled) -> Result<Drilled, Failure> {
        let mut reader = BlobReader::new(&self.place.opened.repository, &self.place.index)?;
        let read = dump::file(&mut reader, &located.node, &mut std::io::sink(), self.session.interrupted());
        read.map_or_else(|error| lost(error).map(|drilled| *drilled), |_| Ok(drilled))
    }

    /// An SQLite database, in a folder that nobody else may enter.
    fn sqlite(&self, reader: &mut BlobReader<'_>, located: &Located) -> Result<Drilled, Failure> {
        let NodeKind::File { rows, .. } = &located.node.kind else { return Ok(Drilled::failed("it is no file")) };
        let rows: &[TableRows] = rows;
        let private = self.private()?;
        let path = private.path().join("database");
        let (needed, free) = (length(located), free_bytes(private.path()));
        if free < needed {
            return Ok(Drilled::not_run(
                format!("{} has room for {}, it needs {}", private.path().display(), ByteSize(free), ByteSize(needed)),
                "make room there, or set `scratch` in [defaults] to a larger file system",
            ));
        }
        if let Err(drilled) = self.write(reader, located, &path)? {
            return Ok(*drilled);
        }
        let name = String::from_utf8_lossy(&located.path);
        let drilled = drill_sqlite(&path, rows, &self.questions_of("sqlite", &name), self.session.interrupted());
        if self.session.is_interrupted() {
            return Err(crate::repository::RepositoryError::Interrupted.into());
        }
        Ok(drilled)
    }

    fn private(&self) -> Result<drill::Place, Failure> {
        drill::Place::private(&self.surroundings.scratch)
            .map_err(|error| Failure::of(Exit::Failed, &error, "make room there, or set `scratch`"))
    }

    /// Restores a file to `path`; what the repository cannot give any more is told as the drill that failed.
    fn write(
        &self,
        reader: &mut BlobReader<'_>,
        located: &Located,
        path: &Path,
    ) -> Result<Result<(), Box<Drilled>>, Failure> {
        let failed = |error: std::io::Error| {
            let mut failure = Failure::of(Exit::Failed, &error, "see that there is room in the scratch folder");
            failure.message = format!("{} cannot be written: {error}", path.display());
            failure
        };
        let file = File::create_new(path).map_err(failed)?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        match dump::file(reader, &located.node, &mut out, self.session.interrupted()) {
            Ok(_) => out.flush().map(Ok).map_err(failed),
            Err(DumpError::Output(error)) => Err(failed(error)),
            Err(error) => Ok(Err(lost(error)?)),
        }
    }
}

/// Damage is what a drill looks for; anything else ends it.
fn lost(error: DumpError) -> Result<Box<Drilled>, Failure> {
    match error {
        DumpError::Repository(error) if error.is_damage() => {
            Ok(Box::new(Drilled::failed(format!("it cannot be restored: {error}"))))
        }
        DumpError::Repository(error) => Err(error.into()),
        error => Err(dump_failed(error)),
    }
}

const fn length(located: &Located) -> u64 {
    match located.node.kind {
        NodeKind::File { size, .. } => size,
        _ => 0,
    }
}

fn free_bytes(folder: &Path) -> u64 {
    statvfs(folder).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
