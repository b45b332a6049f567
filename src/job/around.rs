//! What happens around the reading of files: what stands still, what is dumped, what is read in place of what.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Plan, Quiesced, Surroundings, dumps};
use crate::format::snapshot::Problem;
use crate::hook::HookError;
use crate::operation::backup::{HookResults, Stream, Substitute};
use crate::profile::{HookUse, Role};

/// A run for one profile, from the moment something may stand still until it goes on.
pub struct Around {
    surroundings: Surroundings,
    profile: String,
    /// What the profile means here.
    pub plan: Plan,
    // Dropped in this order, the last that was begun first.
    /// Snapshots of file systems, and what they stand for.
    snapshots: Mutex<(Quiesced, Option<Vec<Substitute>>)>,
    /// What hooks set up for the time of the run, such as a copy that is read in place of a folder.
    extra: Mutex<Quiesced>,
    /// What stands still.
    still: Mutex<Quiesced>,
    set_up: Vec<Substitute>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Around {
    /// Lets everything stand still that the profile says. What does not is a problem of the run: a backup of what moves
    /// is worth more than none, and is not called complete.
    #[must_use]
    pub fn begin(surroundings: &Surroundings, profile: &str, mut plan: Plan) -> Self {
        // What is begun last is ended first, also when the run dies: declared first, dropped last.
        let mut still = Quiesced::new(surroundings.clone());
        let mut extra = Quiesced::new(surroundings.clone());
        let mut set_up = Vec::new();
        for role in [Role::Quiesce, Role::Other] {
            let hooks: Vec<HookUse> = plan.hooks.iter().filter(|used| used.role == role).cloned().collect();
            for used in &hooks {
                if surroundings.cancel.load(Ordering::Relaxed) {
                    break;
                }
                let begun = if role == Role::Quiesce { &mut still } else { &mut extra };
                let facts = match begun.begin(profile, &plan.roots, used) {
                    Ok(facts) => facts,
                    Err(error) => {
                        plan.problems.push(begin_failed(surroundings, used, &error));
                        continue;
                    }
                };
                set_up.extend(substitutes(facts.substitutes));
                for warning in facts.warnings {
                    surroundings.listener.warning(&format!("{}: {warning}", used.hook));
                }
            }
        }
        Self {
            snapshots: Mutex::new((Quiesced::new(surroundings.clone()), None)),
            surroundings: surroundings.clone(),
            profile: profile.to_owned(),
            plan,
            still: Mutex::new(still),
            extra: Mutex::new(extra),
            set_up,
        }
    }

    /// The dumps, to be read one after the other, and what cannot be dumped.
    #[must_use]
    pub fn streams(&self, results: &HookResults) -> (Vec<Stream<'static>>, Vec<Problem>) {
        dumps::streams(&self.surroundings, &self.profile, &self.plan.roots, &self.plan.hooks, results)
    }

    /// Once the dumps are read: makes snapshots of file systems, and says what is read in place of what.
    pub fn after_streams(&self) -> (Vec<Substitute>, Vec<Problem>) {
        let mut snapshots = lock(&self.snapshots);
        if let Some(known) = &snapshots.1 {
            return (known.clone(), Vec::new());
        }
        let mut all = self.set_up.clone();
        let (mut made, mut problems) = (false, Vec::new());
        for used in self.plan.hooks.iter().filter(|used| used.role == Role::Snapshot) {
            match snapshots.0.begin(&self.profile, &self.plan.roots, used) {
                Ok(facts) => {
                    made |= !facts.substitutes.is_empty();
                    all.extend(substitutes(facts.substitutes));
                    for warning in facts.warnings {
                        self.surroundings.listener.warning(&format!("{}: {warning}", used.hook));
                    }
                }
                Err(error) => problems.push(begin_failed(&self.surroundings, used, &error)),
            }
        }
        snapshots.1 = Some(all.clone());
        drop(snapshots);
        if made {
            // Once there is a snapshot of the file system, nothing needs to stand still. A failure is told, and tried again at the end.
            let _ = lock(&self.still).end();
        }
        (all, problems)
    }

    /// Lets everything go on. False when something does not.
    #[must_use]
    pub fn end(&self) -> bool {
        let snapshots = lock(&self.snapshots).0.end();
        let extra = lock(&self.extra).end();
        let still = lock(&self.still).end();
        snapshots && extra && still
    }

    /// What is read.
    #[must_use]
    pub fn roots(&self) -> &[PathBuf] {
        &self.plan.roots
    }
}

/// Without it what is read moves.
fn begin_failed(surroundings: &Surroundings, used: &HookUse, error: &HookError) -> Problem {
    let message = format!("what is read did not stand still: {}; {}", error.in_one_line(), error.hint());
    surroundings.listener.warning(&format!("{}: {message}", used.hook));
    Problem { kind: "dump".into(), path: used.hook.clone().into_bytes(), message }
}

fn substitutes(facts: Vec<crate::hook::Substitute>) -> impl Iterator<Item = Substitute> {
    facts.into_iter().map(|one| Substitute { source: one.source, stands_for: one.stands_for })
}
