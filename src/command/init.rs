//! `bk init`

use clap::Args;
use serde_json::json;

use super::Session;
use super::create::{announce, create};
use super::restic::{ResticPasswordArgs, create_restic, open_restic};
use super::session::Target;
use super::siblings::Siblings;
use crate::interop::restic::Access;
use crate::repository::Repository;
use crate::ui::{Exit, Failure};

/// Make every configured repository that is missing
///
/// They become one family: one key opens all, and equal data is cut and named alike in all of them. With --repo it is
/// that one only; without any configuration it is a repository below your data folder. A key file that is configured
/// but does not exist is made.
#[derive(Debug, Args)]
pub struct InitArgs {}

impl InitArgs {
    /// Makes them.
    ///
    /// # Errors
    /// When none can be made. What is there already is told and no error.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let configured: Vec<String> = session.config.repositories.keys().cloned().collect();
        let (foreign, wanted): (Vec<_>, Vec<_>) =
            session.targets(&configured)?.into_iter().partition(Target::is_restic);
        let own = if wanted.is_empty() { Ok(Exit::Complete) } else { make_own(session, wanted) };
        let mut exit = own.as_ref().map_or(Exit::Complete, |exit| *exit);
        for target in foreign {
            match make_foreign(session, &target) {
                Ok(()) => {}
                Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
                Err(failure) => {
                    session.screen.failure(&failure);
                    exit = exit.worst(failure.exit);
                }
            }
        }
        own.map(|_| exit)
    }
}

/// Makes one in restic's format, which is no sibling of the others.
fn make_foreign(session: &Session, target: &Target) -> Result<(), Failure> {
    match open_restic(session, target, Access::Read, &ResticPasswordArgs::default()) {
        Ok(_) => tell(session, target, "there already"),
        Err(failure) if failure.exit == Exit::NoRepository => {
            create_restic(session, target, &ResticPasswordArgs::default())?;
            tell(session, target, "made");
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}

/// Makes those of one family that are missing.
fn make_own(session: &Session, wanted: Vec<Target>) -> Result<Exit, Failure> {
    // With --repo, the others of the configuration are siblings all the same.
    let family = if wanted.iter().all(|target| session.config.repositories.contains_key(&target.name)) {
        session.configured()?.into_iter().filter(|target| !target.is_restic()).collect()
    } else {
        wanted.clone()
    };
    let siblings = Siblings::open(session, family)?;
    let is_wanted = |target: &Target| wanted.iter().any(|wanted| wanted.name == target.name);
    for (target, _) in siblings.open.iter().filter(|(target, _)| is_wanted(target)) {
        tell(session, target, "there already");
    }
    warn_of_strangers(session, &siblings);
    let mut exit = Exit::Complete;
    for (target, failure) in siblings.failed.iter().filter(|(target, _)| is_wanted(target)) {
        session.screen.warning(&format!("{} was not reached", target.name));
        session.screen.failure(failure);
        exit = exit.worst(failure.exit);
    }
    let mut missing: Vec<_> =
        siblings.missing.into_iter().map(|(target, _)| target).filter(|target| is_wanted(target)).collect();
    if let (false, true, Some((unknown, _))) = (missing.is_empty(), siblings.open.is_empty(), siblings.failed.first()) {
        return Err(Failure::new(
            exit.worst(Exit::Failed),
            format!("{} may hold keys that a new repository has to share, but it cannot be opened now", unknown.name),
            "make it reachable, then run the command again; or make a repository of its own kind with --repo",
        ));
    }
    let mut sibling: Option<Repository> = siblings.open.first().map(|(_, opened)| opened.repository.clone());
    for target in missing.drain(..) {
        match create(session, &target, sibling.as_ref()) {
            Ok(opened) => {
                tell(session, &target, "made");
                if !session.screen.json {
                    announce(session, &target);
                }
                sibling.get_or_insert(opened.repository);
            }
            Err(failure) => {
                session.screen.failure(&failure);
                exit = exit.worst(failure.exit);
            }
        }
    }
    Ok(exit)
}

fn tell(session: &Session, target: &Target, state: &str) {
    if session.screen.json {
        session.screen.json_line(&json!({
            "message_type": "repository",
            "name": target.name,
            "location": target.location.to_string(),
            "state": state,
            "key_file": session.key_file(target).ok().flatten().filter(|_| !target.is_restic())
                .map(|path| path.display().to_string()),
        }));
    } else {
        session.screen.line(&format!("{}: {state} ({})", target.name, target.location));
    }
}

/// Repositories of other families share neither keys nor data with the rest.
fn warn_of_strangers(session: &Session, siblings: &Siblings) {
    let family = |repository: &Repository| repository.config().family;
    let Some((first, opened)) = siblings.open.first() else { return };
    for (target, other) in &siblings.open {
        if family(&other.repository) != family(&opened.repository) {
            session.screen.warning(&format!(
                "{} and {} were not made together: they have different keys, and neither can heal the other",
                first.name, target.name
            ));
        }
    }
}
