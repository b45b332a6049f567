//! What stands still while it is read, and goes on afterwards, whatever happens.

use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use crate::hook::{Call, Facts, Hook, HookError, Pending, private_folder};
use crate::profile::HookUse;

/// How long setting something going again may take when its run is no more.
const RECOVERY_LIMIT: Duration = Duration::from_secs(600);

/// Everything that a run has begun; dropping it ends all of it, the last first.
pub struct Quiesced {
    surroundings: Surroundings,
    begun: Vec<(super::Ready, Pending, Facts)>,
    failed: bool,
}

impl Quiesced {
    /// Nothing yet.
    #[must_use]
    pub const fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, begun: Vec::new(), failed: false }
    }

    /// Runs `begin` of a hook, which is ended with the rest, also when it fails half-way.
    ///
    /// # Errors
    /// [`HookError`], the journal that cannot be written among them.
    pub fn begin(&mut self, profile: &str, roots: &[PathBuf], used: &HookUse) -> Result<Facts, HookError> {
        let ready = self.surroundings.ready(profile, roots, used)?;
        let written = self.surroundings.journal.write_down(&ready.call, profile);
        let (pending, file) = written.map_err(|source| HookError::Prepare {
            hook: used.hook.clone(),
            what: "what is to be set going again cannot be written down".to_owned(),
            source,
        })?;
        let result = ready.call.run_into("begin", file, self.surroundings.hear(&used.hook));
        match result {
            Ok(finished) if finished.skipped => {
                forget(&self.surroundings, pending);
                Ok(Facts::default())
            }
            Ok(finished) => {
                self.begun.push((ready, pending, finished.facts.clone()));
                Ok(finished.facts)
            }
            Err(error) => {
                // It may have done half of it.
                let facts = self.surroundings.journal_facts(&pending);
                self.begun.push((ready, pending, facts));
                Err(error)
            }
        }
    }

    /// Ends everything that was begun, the last first. False when something could not be ended; it is tried again at
    /// the next run.
    #[must_use]
    pub fn end(&mut self) -> bool {
        while let Some((ready, pending, facts)) = self.begun.pop() {
            self.failed |= !end_one(&self.surroundings, &ready.call, pending, &facts);
        }
        !self.failed
    }
}

impl Drop for Quiesced {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Surroundings {
    fn journal_facts(&self, pending: &Pending) -> Facts {
        pending.read_again().unwrap_or_else(|error| {
            self.listener.warning(&format!("{} cannot be read: {error}", pending.path().display()));
            Facts::default()
        })
    }
}

fn forget(surroundings: &Surroundings, pending: Pending) {
    let path = pending.path().to_owned();
    if let Err(error) = pending.forget() {
        surroundings.listener.warning(&format!("{} cannot be removed: {error}", path.display()));
    }
}

fn end_one(surroundings: &Surroundings, call: &Call, pending: Pending, facts: &Facts) -> bool {
    let mut variables = call.variables.clone();
    variables.push(("BK_STATE".into(), facts.state.clone().unwrap_or_default().into()));
    let ending = Call {
        hook: call.hook.clone(),
        variables,
        time_limit: call.time_limit,
        folder: call.folder.clone(),
        cancel: None,
    };
    match ending.run("end", None, surroundings.hear(&call.hook.name)) {
        Ok(finished) => {
            for warning in &finished.facts.warnings {
                surroundings.listener.warning(&format!("{}: {warning}", call.hook.name));
            }
            forget(surroundings, pending);
            true
        }
        Err(error) => {
            surroundings.listener.warning(&format!(
                "what `{}` stopped for {} is NOT going again: {}; {}; the next run tries it once more",
                call.hook.name,
                pending.profile,
                error.in_one_line(),
                error.hint()
            ));
            false
        }
    }
}

/// Sets going again what runs that died have left standing. False when something could not be.
///
/// # Errors
/// When the journal cannot be read.
pub fn recover(surroundings: &Surroundings) -> std::io::Result<bool> {
    let (left, broken) = surroundings.journal.left_behind()?;
    let mut sound = true;
    for path in broken {
        let message = format!(
            "{} cannot be understood: see whether something still stands still, then remove it",
            path.display()
        );
        surroundings.listener.warning(&message);
    }
    for pending in left {
        surroundings.listener.warning(&format!(
            "an earlier run for {} ended before `{}` had set going again what it stopped; that is done now",
            pending.profile, pending.hook
        ));
        let folder = private_folder(&surroundings.scratch)?;
        let hook = match Hook::find(&pending.hook, &surroundings.hooks) {
            Ok(hook) => hook,
            Err(error) => {
                surroundings.listener.warning(&format!("{error}; {}", error.hint()));
                sound = false;
                continue;
            }
        };
        let call = Call {
            hook,
            variables: pending.variables.clone(),
            time_limit: Some(RECOVERY_LIMIT),
            folder: folder.path().to_owned(),
            cancel: None,
        };
        let facts = pending.facts.clone();
        sound &= end_one(surroundings, &call, pending, &facts);
    }
    Ok(sound)
}
