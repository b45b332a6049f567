//! What `bk doctor` finds out about one repository.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Group, tried};
use crate::command::Session;
use crate::command::opening::Copies;
use crate::command::restic::{ResticPasswordArgs, open_restic};
use crate::command::session::Target;
use crate::interop::restic;
use crate::job::Plan;
use crate::job::examine::{self, Finding, Level};
use crate::repository::{Repository, Snapshots};
use crate::store::LocalStore;
use crate::ui::text::{count, time_text};
use crate::ui::{Exit, Failure};

/// Tries out the store, then opens the repository and looks at what is in it.
pub(super) fn repository(session: &Session, target: &Target, plans: &[(String, Plan)], speed: bool) -> Group {
    let group = |findings| Group::new("repository", &target.name, findings);
    if target.is_restic() {
        return group(foreign(session, target));
    }
    let path = target.location.local();
    let store = match session.open_store(target, Copies::Kept) {
        Ok(store) => store,
        Err(_) if target.embedded && path.is_some_and(|path| !LocalStore::is_finished(path)) => {
            let message = format!("{} is not there yet", target.location);
            return group(vec![Finding::new(Level::Note, "repository", message, "the first backup makes it")]);
        }
        Err(failure) => return group(vec![problem("repository", &failure)]),
    };
    let mut findings = Vec::new();
    if let Some(mount) = &target.require_mount {
        findings.push(Finding::ok("mount", format!("{} is mounted", mount.display())));
    }
    // Whatever opens the repository plays no part in this.
    let tried = tried::tried(&*store, &session.clock, speed);
    findings.extend(tried.findings);
    match session.unlock(target, store) {
        Ok(opened) => findings.extend(contents(&opened.repository, target, plans)),
        Err(failure) if failure.exit == Exit::WrongKey => findings.push(problem("key", &failure)),
        Err(failure) => findings.push(problem("repository", &failure)),
    }
    Group { store: Some(tried.json), ..group(findings) }
}

/// Of one in restic's format: whether it opens, and what was exported to it.
fn foreign(session: &Session, target: &Target) -> Vec<Finding> {
    let opened = open_restic(session, target, restic::Access::Read, &ResticPasswordArgs::default());
    let exported = opened.and_then(|restic| Ok(restic.exported(&|text| session.screen.warning(text))?));
    match exported {
        Ok(exported) => {
            let ours = exported.iter().filter(|one| one.original.is_some()).count() as u64;
            let snapshots = count(exported.len() as u64, "snapshot", "snapshots");
            vec![
                Finding::ok("repository", format!("{} opens, in restic's format", target.location)),
                Finding::ok("snapshots", format!("{snapshots}, {ours} of them exported by bk")),
            ]
        }
        Err(failure) if failure.exit == Exit::WrongKey => vec![problem("key", &failure)],
        Err(failure) => vec![problem("repository", &failure)],
    }
}

fn problem(subject: &str, failure: &Failure) -> Finding {
    Finding::new(Level::Problem, subject, failure.in_one_line(), failure.hint.clone().unwrap_or_default())
}

fn contents(repository: &Repository, target: &Target, plans: &[(String, Plan)]) -> Vec<Finding> {
    let path = target.location.local();
    let mut findings = Vec::new();
    findings.push(match repository.check_writable() {
        Err(error) => Finding::new(Level::Problem, "repository", error.to_string(), error.hint()),
        Ok(()) if path.is_some_and(|path| !may_write(&path.join("packs"))) => {
            let message = format!("{} can be opened, and cannot be written by this user", target.location);
            let hint = "run bk as the user who may write there; see that it is not mounted read-only";
            Finding::new(Level::Problem, "repository", message, hint)
        }
        Ok(()) if path.is_none() => Finding::ok("repository", format!("{} opens", target.location)),
        Ok(()) => Finding::ok("repository", format!("{} opens and can be written", target.location)),
    });
    let newest = match Snapshots::load(repository) {
        Err(error) => {
            findings.push(Finding::new(Level::Problem, "snapshots", error.to_string(), error.hint()));
            None
        }
        Ok(snapshots) => {
            findings.push(of_snapshots(&snapshots));
            snapshots.all.last().map(|info| info.snapshot.statistics)
        }
    };
    let Some(path) = path else { return findings };
    match examine::free_bytes(path) {
        Ok(free) => findings.push(examine::repository_room(free, target.min_free_bytes, newest.as_ref())),
        Err(error) => findings.push(Finding::new(
            Level::Warning,
            "room",
            format!("it is not known how much is free: {error}"),
            "see that the file system answers",
        )),
    }
    findings.extend(same_disk(path, plans));
    findings
}

fn may_write(path: &Path) -> bool {
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

fn of_snapshots(snapshots: &Snapshots) -> Finding {
    let all = count(snapshots.all.len() as u64, "snapshot", "snapshots");
    if !snapshots.damaged.is_empty() {
        let damaged = count(snapshots.damaged.len() as u64, "cannot be read", "cannot be read");
        return Finding::new(Level::Problem, "snapshots", format!("{all}, and {damaged}"), "run `bk check`");
    }
    match snapshots.all.last() {
        Some(newest) => Finding::ok("snapshots", format!("{all}, the newest of {}", time_text(newest.snapshot.start))),
        None => Finding::new(Level::Note, "snapshots", "none yet", "make the first with `bk backup`"),
    }
}

/// A copy on the disk that dies is none.
fn same_disk(path: &Path, plans: &[(String, Plan)]) -> Option<Finding> {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    let own = device(path)?;
    let mut roots = plans.iter().flat_map(|(_, plan)| &plan.roots);
    let root = roots.find(|root| device(root) == Some(own))?;
    let message = format!("lies on the same file system as {}: one broken disk takes both", root.display());
    Some(Finding::new(Level::Note, "place", message, "add a repository on another disk, better in another house"))
}
