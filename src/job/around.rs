//! What happens around the reading of files: what stands still, what is dumped, what is read in place of what.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Plan, Quiesced, Surroundings, dumps};
use crate::format::snapshot::Problem;
use crate::hook::HookError;
use crate::operation::backup::{BackupError, HookResults, Stream, Substitute};
use crate::profile::Role;

/// A run for one profile, from the moment something may stand still until it goes on.
pub struct Around {
    surroundings: Surroundings,
    profile: String,
    /// What the profile means here.
    pub plan: Plan,
    /// What stands still, and what a hook set up for the time of the run.
    still: Mutex<Quiesced>,
    /// Snapshots of file systems, and what they stand for.
    snapshots: Mutex<(Quiesced, Option<Vec<Substitute>>)>,
    set_up: Vec<Substitute>,
    /// Once there is a snapshot of the file system, nothing needs to stand still.
    lets_go_early: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Around {
    /// Lets everything stand still that the profile says.
    ///
    /// # Errors
    /// [`HookError`]; what was stopped goes on again then.
    pub fn begin(
        surroundings: &Surroundings,
        profile: &str,
        plan: Plan,
        lets_go_early: bool,
    ) -> Result<Self, HookError> {
        let mut still = Quiesced::new(surroundings.clone());
        let mut set_up = Vec::new();
        for role in [Role::Quiesce, Role::Other] {
            for used in plan.hooks.iter().filter(|used| used.role == role) {
                let facts = still.begin(profile, &plan.roots, used)?;
                set_up.extend(substitutes(facts.substitutes));
                for warning in facts.warnings {
                    surroundings.listener.warning(&format!("{}: {warning}", used.hook));
                }
            }
        }
        Ok(Self {
            snapshots: Mutex::new((Quiesced::new(surroundings.clone()), None)),
            surroundings: surroundings.clone(),
            profile: profile.to_owned(),
            plan,
            still: Mutex::new(still),
            set_up,
            lets_go_early,
        })
    }

    /// The dumps, to be read one after the other, and what cannot be dumped.
    #[must_use]
    pub fn streams(&self, results: &HookResults) -> (Vec<Stream<'static>>, Vec<Problem>) {
        dumps::streams(&self.surroundings, &self.profile, &self.plan.roots, &self.plan.hooks, results)
    }

    /// Once the dumps are read: makes snapshots of file systems, and says what is read in place of what.
    ///
    /// # Errors
    /// [`BackupError::Prepare`] when there is no snapshot.
    pub fn after_streams(&self) -> Result<Vec<Substitute>, BackupError> {
        let mut snapshots = lock(&self.snapshots);
        if let Some(known) = &snapshots.1 {
            return Ok(known.clone());
        }
        let mut all = self.set_up.clone();
        let mut made = false;
        for used in self.plan.hooks.iter().filter(|used| used.role == Role::Snapshot) {
            let begun = snapshots.0.begin(&self.profile, &self.plan.roots, used);
            let facts = begun.map_err(|error| BackupError::Prepare {
                message: format!("there is no snapshot of the file system to read: {}", error.in_one_line()),
                hint: error.hint(),
            })?;
            made |= !facts.substitutes.is_empty();
            all.extend(substitutes(facts.substitutes));
        }
        snapshots.1 = Some(all.clone());
        drop(snapshots);
        if made && self.lets_go_early {
            // A failure is told, and tried again at the end.
            let _ = lock(&self.still).end();
        }
        Ok(all)
    }

    /// Lets everything go on. False when something does not.
    #[must_use]
    pub fn end(&self) -> bool {
        let snapshots = lock(&self.snapshots).0.end();
        let still = lock(&self.still).end();
        snapshots && still
    }

    /// What is read.
    #[must_use]
    pub fn roots(&self) -> &[PathBuf] {
        &self.plan.roots
    }
}

fn substitutes(facts: Vec<crate::hook::Substitute>) -> impl Iterator<Item = Substitute> {
    facts.into_iter().map(|one| Substitute { source: one.source, stands_for: one.stands_for })
}
