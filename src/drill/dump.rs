//! A dump, loaded by its hook into a server that lives for this only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use super::answers::{judge, queries};
use super::{Drilled, Outcome, Place, compare_rows};
use crate::format::node::TableRows;
use crate::hook::{Finished, HookError};
use crate::job::{LoadError, Surroundings, feed};
use crate::profile::{HookUse, Question};

/// A dump that is to be drilled.
#[derive(Debug, Clone, Copy)]
pub struct DumpDrill<'a> {
    /// The profile, as the hook is told it.
    pub profile: &'a str,
    /// The hook that made it, with its settings then.
    pub used: &'a HookUse,
    /// The stream.
    pub stream: &'a str,
    /// What the hook noted when it made it.
    pub notes: &'a BTreeMap<String, String>,
    /// A file with the accounts of the server, where the snapshot has them.
    pub before: Option<&'a Path>,
    /// Rows by table, as counted then.
    pub rows: &'a [TableRows],
    /// What must hold.
    pub questions: &'a [Question],
}

impl DumpDrill<'_> {
    /// What the hook is told besides its settings: bk-hook(7).
    fn variables(&self, place: &Place) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> = vec![("BK_DRILL".into(), place.path().into())];
        let queries = queries(self.questions);
        variables.push(("BK_QUERIES".into(), queries.len().to_string().into()));
        for (at, query) in queries.iter().enumerate() {
            variables.push((format!("BK_QUERY_{}", at + 1).into(), (*query).into()));
        }
        for (key, value) in self.notes {
            let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if plain && !value.contains('\0') {
                variables.push((format!("BK_NOTE_{}", key.to_uppercase().replace('-', "_")).into(), value.into()));
            }
        }
        variables.extend(self.before.map(|before| ("BK_BEFORE".into(), before.into())));
        variables
    }

    fn concluded(&self, finished: Finished, is_read: bool) -> Drilled {
        if finished.skipped {
            return Drilled::of(Outcome::NoDrill);
        }
        if !is_read {
            return Drilled::not_run("its hook did not read all of it", "let the hook read its input to the end");
        }
        let facts = finished.facts;
        let judged = judge(self.questions, &facts.answers);
        let mut drilled = Drilled {
            server: facts.server,
            tables: facts.rows.len() as u64,
            rows: facts.rows.values().sum(),
            warnings: facts.warnings,
            asked: judged.asked,
            unanswered: judged.unanswered,
            ..Drilled::of(Outcome::Passed)
        };
        drilled.warnings.extend(judged.warnings);
        if self.rows.is_empty() {
            drilled.warnings.push("no rows were counted when it was dumped, so that lost ones cannot be seen".into());
        }
        drilled.fail(compare_rows(self.rows, &facts.rows));
        drilled.fail(judged.problems);
        drilled
    }
}

/// Loads what `write` writes into a throw-away server, and looks at what is in it then.
///
/// # Errors
/// What `write` failed with, and [`HookError`] when the user stopped it: nothing is known then.
pub fn drill_dump<E: std::error::Error + From<io::Error> + 'static>(
    surroundings: &Surroundings,
    dump: &DumpDrill<'_>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<Drilled, LoadError<E>> {
    let places =
        Place::make(&surroundings.scratch).and_then(|place| Ok((place, Place::private(&surroundings.scratch)?)));
    let (place, private) = match places {
        Ok(places) => places,
        Err(error) => return Ok(Drilled::not_run(error.to_string(), "make room there, or set `scratch`")),
    };
    // The hook keeps messages and answers in a folder of its own: in ours, it goes also when this is killed.
    let surroundings = Surroundings { scratch: private.path().to_owned(), ..surroundings.clone() };
    let mut ready = surroundings.ready(dump.profile, &[], dump.used)?;
    ready.call.variables.extend(dump.variables(&place));
    let hears = surroundings.hear(&dump.used.hook);
    let mut is_read = false;
    let watched = |out: &mut dyn Write| -> Result<(), E> {
        write(out)?;
        out.flush()?;
        is_read = true;
        Ok(())
    };
    match feed(&ready, "drill", dump.stream, hears, watched) {
        Ok(finished) => Ok(dump.concluded(finished, is_read)),
        Err(LoadError::Hook(error)) if error.is_interrupted() => Err(LoadError::Hook(error)),
        Err(LoadError::Hook(error)) => Ok(not_loaded(&error)),
        Err(error) => Err(error),
    }
}

fn not_loaded(error: &HookError) -> Drilled {
    let words = error.last_words();
    match error {
        // A hook that is not here, or that nothing can be asked of, says nothing about the dump.
        HookError::Command { .. } if error.is_unavailable() => {
            Drilled::not_run(words.unwrap_or_else(|| error.to_string()), error.hint())
        }
        HookError::Command { .. } => {
            Drilled::failed(format!("it does not load: {}", words.unwrap_or_else(|| error.to_string())))
        }
        error => Drilled::not_run(error.in_one_line(), error.hint()),
    }
}
