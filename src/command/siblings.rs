//! Several repositories that should share their keys, opened together.

use std::sync::Arc;

use super::opening::Copies;
use super::session::Target;
use super::{Opened, Session};
use crate::format::key_slot::Credential;
use crate::repository::Repository;
use crate::ui::{Exit, Failure};

/// Repositories by whether they can be opened.
pub(super) struct Siblings {
    /// What opens them; asked for once. `None` when there is none to open.
    pub(super) credential: Option<Credential>,
    /// Those that are open.
    pub(super) open: Vec<(Target, Opened)>,
    /// Places where there is none.
    pub(super) missing: Vec<(Target, Failure)>,
    /// Those that cannot be reached or opened now.
    pub(super) failed: Vec<(Target, Failure)>,
}

impl Siblings {
    /// Opens what can be opened.
    ///
    /// # Errors
    /// When there is something to open, but neither password nor key.
    pub(super) fn open(session: &Session, targets: Vec<Target>) -> Result<Self, Failure> {
        let mut siblings = Self { credential: None, open: Vec::new(), missing: Vec::new(), failed: Vec::new() };
        for target in targets {
            let store = match session.open_store(&target, Copies::Kept) {
                Ok(store) => store,
                Err(failure) if failure.exit == Exit::NoRepository => {
                    siblings.missing.push((target, failure));
                    continue;
                }
                Err(failure) => {
                    siblings.failed.push((target, failure));
                    continue;
                }
            };
            let credential = match siblings.credential.take() {
                Some(credential) => credential,
                None => session.credential(&target)?,
            };
            match Repository::open(Arc::clone(&store), &credential) {
                Ok(repository) => {
                    let opened = Opened { name: target.name.clone(), repository };
                    siblings.open.push((target, opened));
                }
                Err(error) => siblings.failed.push((target, error.into())),
            }
            siblings.credential = Some(credential);
        }
        Ok(siblings)
    }

    /// Says which were not reached, and gives the exit code for it.
    pub(super) fn tell_unreached(&self, session: &Session) -> Exit {
        let mut exit = Exit::Complete;
        for (target, failure) in self.missing.iter().chain(&self.failed) {
            session.screen.warning(&format!("{} was not reached", target.name));
            session.screen.failure(failure);
            exit = exit.worst(failure.exit);
        }
        exit
    }
}
