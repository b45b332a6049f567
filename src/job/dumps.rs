//! Dumps as streams of a backup: each is proved whole while it is read, without a copy on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Ready, Surroundings};
use crate::format::snapshot::{HookResult, Problem, is_valid_restore_name};
use crate::hook::{Facts, HookError, Started};
use crate::operation::backup::{Found, HookResults, Stream, WhenBroken, absent_table, empty_table, is_table};
use crate::profile::{HookUse, Role};
use crate::source::command::Input;

/// Where dumps lie in a snapshot.
pub const DUMPS: &str = ".bk/dumps";

/// No more is kept of what a dump notes for its drill, keys and values together, in bytes.
const MAX_NOTES_LEN: usize = 2048;

/// What a hook says that there is.
///
/// # Errors
/// [`HookError`].
pub fn probe(
    surroundings: &Surroundings,
    profile: &str,
    roots: &[PathBuf],
    used: &HookUse,
) -> Result<Option<Facts>, HookError> {
    probe_with(surroundings, profile, roots, used, &[])
}

/// As [`probe`], of a hook that is told more.
pub(super) fn probe_with(
    surroundings: &Surroundings,
    profile: &str,
    roots: &[PathBuf],
    used: &HookUse,
    variables: &[(OsString, OsString)],
) -> Result<Option<Facts>, HookError> {
    let mut ready = surroundings.ready(profile, roots, used)?;
    ready.call.variables.extend_from_slice(variables);
    let finished = ready.call.run("probe", None, surroundings.hear(&used.hook))?;
    Ok((!finished.skipped).then_some(finished.facts))
}

/// The streams of all hooks of a profile, ready to be read one after the other; what cannot be dumped is a problem.
pub(super) fn streams(
    surroundings: &Surroundings,
    profile: &str,
    roots: &[PathBuf],
    hooks: &[HookUse],
    results: &HookResults,
) -> (Vec<Stream<'static>>, Vec<Problem>) {
    let (mut streams, mut problems) = (Vec::new(), Vec::new());
    for (at, used) in hooks.iter().enumerate().filter(|(_, used)| matches!(used.role, Role::Database | Role::Other)) {
        let before = hooks.iter().take(at).filter(|other| other.role == used.role && other.hook == used.hook).count();
        if surroundings.cancel.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{DUMPS}/{}", folder(&used.hook, before));
        let facts = match probe(surroundings, profile, roots, used) {
            Ok(Some(facts)) => facts,
            Ok(None) if used.optional || used.role == Role::Other => continue,
            Ok(None) => {
                problems
                    .push(problem(&name, "the hook found nothing to dump; set `optional = true` when that is right"));
                continue;
            }
            Err(error) => {
                tell(surroundings, results, &used.hook, &error);
                problems.push(problem(&name, &format!("{}; {}", error.in_one_line(), error.hint())));
                continue;
            }
        };
        for warning in &facts.warnings {
            surroundings.listener.warning(&format!("{}: {warning}", used.hook));
        }
        if facts.streams.is_empty() && used.role == Role::Database && !used.optional {
            problems
                .push(problem(&name, "the server has no database to dump; set `optional = true` when that is right"));
        }
        let left = facts.streams.iter().filter(|(stream, _)| !is_of_server(stream)).count();
        let tables = Arc::new(Mutex::new(Tables { left, ..Tables::default() }));
        for (stream, _) in &facts.streams {
            let path = unique(&format!("{name}/{stream}"), &streams);
            if !is_valid_restore_name(path.as_bytes()) {
                problems.push(problem(
                    &name,
                    &format!("the hook names a stream `{}`, which cannot be a file", stream.escape_debug()),
                ));
                continue;
            }
            let found = Found::default();
            let dump = Dump {
                surroundings: surroundings.clone(),
                profile: profile.to_owned(),
                roots: roots.to_vec(),
                used: used.clone(),
                stream: stream.clone(),
                path: path.clone(),
                found: Arc::clone(&found),
                results: Arc::clone(results),
                tables: (!is_of_server(stream)).then(|| Arc::clone(&tables)),
                state: State::Waiting,
            };
            streams.push(Stream {
                name: path,
                bytes: Box::new(dump),
                when_broken: WhenBroken::LeaveOut,
                found,
                min_bytes: used.min_bytes.filter(|_| !is_of_server(stream)),
            });
        }
    }
    (streams, problems)
}

fn problem(path: &str, message: &str) -> Problem {
    Problem { kind: "dump".to_owned(), path: path.as_bytes().to_vec(), message: message.to_owned() }
}

/// Whether a stream is of the server, and not of one of its databases: accounts.
#[must_use]
pub fn is_of_server(stream: &str) -> bool {
    matches!(stream, "globals.sql" | "users.sql")
}

/// The folder of the dumps of a hook; of another server of its kind, one of its own: `postgres.2`.
fn folder(hook: &str, before: usize) -> String {
    if before == 0 { hook.to_owned() } else { format!("{hook}.{}", before + 1) }
}

/// The hook that dumped into a folder, and how many others of its kind come before it.
#[must_use]
pub fn hook_of(folder: &str) -> (&str, usize) {
    let numbered = folder.rsplit_once('.').and_then(|(hook, number)| Some((hook, number.parse::<usize>().ok()?)));
    match numbered {
        Some((hook, number)) if number > 1 => (hook, number - 1),
        _ => (folder, 0),
    }
}

/// A hook may name a stream twice.
fn unique(path: &str, streams: &[Stream<'_>]) -> String {
    let taken = |path: &str| streams.iter().any(|stream| stream.name == path);
    let numbered = (2..).map(|number| format!("{path}.{number}"));
    std::iter::once(path.to_owned()).chain(numbered).find(|path| !taken(path)).unwrap_or_default()
}

fn tell(surroundings: &Surroundings, results: &HookResults, hook: &str, error: &HookError) {
    let message = error.in_one_line();
    surroundings.listener.warning(&format!("{message}; {}", error.hint()));
    record(results, hook, "failed", message, BTreeMap::new());
}

fn record(results: &HookResults, hook: &str, outcome: &str, message: String, notes: BTreeMap<String, String>) {
    let result = HookResult { name: hook.to_owned(), outcome: outcome.to_owned(), message, notes };
    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
}

enum State {
    Waiting,
    Running(Box<Both>),
    Over,
}

/// The program that dumps, and the one that proves what it dumps.
struct Both {
    dump: Started,
    prove: Option<Started>,
    /// Where the bytes go to be proved; gone when nobody reads them.
    proving: Option<ChildStdin>,
    _ready: Ready,
    _ready_to_prove: Ready,
}

/// One dump while it is read: its end is a good one only when the program ended well and the proof holds.
struct Dump {
    surroundings: Surroundings,
    profile: String,
    roots: Vec<PathBuf>,
    used: HookUse,
    stream: String,
    path: String,
    found: Found,
    results: HookResults,
    /// Shared by all dumps of one hook; none for what is no database.
    tables: Option<Arc<Mutex<Tables>>>,
    state: State,
}

/// Which of the tables that a hook must dump were in one of its dumps.
#[derive(Default)]
struct Tables {
    /// Dumps that are not over yet.
    left: usize,
    there: BTreeSet<String>,
    /// One of the dumps failed.
    broken: bool,
    /// The hook did not say of every dump which tables are in it.
    unsaid: bool,
}

impl Dump {
    /// Started when it is first read: dumps run one after the other.
    fn start(&self) -> Result<Box<Both>, HookError> {
        let (hook, stream) = (&self.used.hook, Some(self.stream.as_str()));
        let ready = self.surroundings.ready(&self.profile, &self.roots, &self.used)?;
        let ready_to_prove = self.surroundings.ready(&self.profile, &self.roots, &self.used)?;
        let mut prove = ready_to_prove.call.start("prove", stream, Input::Piped, self.surroundings.hear(hook))?;
        let dump = ready.call.start("dump", stream, Input::Nothing, self.surroundings.hear(hook))?;
        let proving = prove.running().take_input();
        Ok(Box::new(Both { dump, prove: Some(prove), proving, _ready: ready, _ready_to_prove: ready_to_prove }))
    }

    /// All was read: waits for both programs and takes over what they found out.
    fn end(&mut self, both: Box<Both>) -> Result<(), String> {
        let Both { dump, prove, proving, .. } = *both;
        drop(proving);
        let dumped = dump.finish().map_err(|error| format!("{}; {}", error.in_one_line(), error.hint()))?;
        if dumped.skipped {
            return Err(format!("hook {} said that there is nothing to dump, after it had named this", self.used.hook));
        }
        if let Some(mut prove) = prove {
            let _ = io::copy(prove.running(), &mut io::sink());
            prove.finish().map_err(|error| format!("the dump is not whole: {}", error.in_one_line()))?;
        }
        let facts = dumped.facts;
        for warning in &facts.warnings {
            self.surroundings.listener.warning(&format!("{}: {warning}", self.stream));
        }
        let problems = self.look_for_tables(&facts);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.problems.extend(problems);
        found.rows = facts.rows;
        drop(found);
        let notes = self.notes_to_keep(facts.notes);
        record(&self.results, &self.path, "complete", facts.server.unwrap_or_default(), notes);
        Ok(())
    }

    /// The notes for a drill, or none of them when they are too long: half of them could lead astray.
    fn notes_to_keep(&self, notes: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let length: usize = notes.iter().map(|(key, value)| key.len() + value.len()).sum();
        if length <= MAX_NOTES_LEN {
            return notes;
        }
        self.surroundings.listener.warning(&format!(
            "{}: the hook notes {length} bytes for drills, which is too much to be kept: a drill will know nothing of its server",
            self.stream
        ));
        BTreeMap::new()
    }

    /// What is wrong with the tables that must be there. One that is in none of several databases is told with the last.
    fn look_for_tables(&self, facts: &Facts) -> Vec<String> {
        let Some(tables) = &self.tables else { return Vec::new() };
        let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.left = tables.left.saturating_sub(1);
        tables.unsaid |= facts.tables.is_none();
        let mut problems = Vec::new();
        for wanted in &self.used.tables {
            let mut counted = facts.rows.iter().filter(|(name, _)| is_table(wanted, name)).peekable();
            let listed = facts.tables.iter().flatten().any(|name| is_table(wanted, name));
            if listed || counted.peek().is_some() {
                tables.there.insert(wanted.clone());
            }
            if counted.peek().is_some() && counted.all(|(_, rows)| *rows == 0) {
                problems.push(empty_table(wanted));
            }
        }
        let absent = self.used.tables.iter().filter(|wanted| !tables.there.contains(*wanted));
        if tables.left == 0 && !tables.broken {
            if tables.unsaid {
                let (hook, listener) = (&self.used.hook, &self.surroundings.listener);
                absent.for_each(|wanted| {
                    listener.warning(&format!("{hook}: the hook does not say whether there is a table {wanted}"));
                });
            } else {
                problems.extend(absent.map(|wanted| absent_table(wanted)));
            }
        }
        problems
    }

    fn fail(&self, message: String) -> io::Error {
        if let Some(tables) = &self.tables {
            let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
            tables.left = tables.left.saturating_sub(1);
            tables.broken = true;
        }
        record(&self.results, &self.path, "failed", message.clone(), BTreeMap::new());
        io::Error::other(message)
    }
}

impl Read for Dump {
    /// # Errors
    /// As soon as the dump is known not to be whole.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if matches!(self.state, State::Waiting) {
            let both = self.start().map_err(|error| self.fail(format!("{}; {}", error.in_one_line(), error.hint())))?;
            self.state = State::Running(both);
        }
        let State::Running(both) = &mut self.state else { return Ok(0) };
        let read = both.dump.running().read(buffer);
        match read {
            Ok(0) => {}
            Ok(length) => {
                let piece = buffer.get(..length).unwrap_or_default();
                // Who does not read on has an opinion, which is heard at the end.
                if both.proving.as_mut().is_some_and(|proving| proving.write_all(piece).is_err()) {
                    both.proving = None;
                }
                return Ok(length);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            // The program knows better why.
            Err(_) => {}
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(both) => self.end(both).map(|()| 0).map_err(|message| self.fail(message)),
            _ => Ok(0),
        }
    }
}
