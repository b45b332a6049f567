//! Is everything in place for a backup, and for the restore after it? Looks, and changes nothing: no hook is asked to
//! begin anything, no folder is made.

mod compressed;
mod databases;
mod folders;
mod hooks;
mod recovery;
mod room;

pub use recovery::{Key, key};
pub use room::{free_bytes, repository_room, scratch};

use super::{Plan, Surroundings};
use crate::profile::Profile;

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Right as it is, and worth knowing.
    Note,
    /// May not be what was meant.
    Warning,
    /// A backup or a restore will lack something.
    Problem,
}

/// What was found in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at, such as `hook postgres`.
    pub subject: String,
    /// What is so.
    pub message: String,
    /// The next step; none when all is well.
    pub hint: Option<String>,
}

impl Finding {
    /// That all is well.
    #[must_use]
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), message: message.into(), hint: None }
    }

    /// Something to know, with the next step.
    #[must_use]
    pub fn new(level: Level, subject: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level, subject: subject.into(), message: message.into(), hint: Some(hint.into()) }
    }
}

/// Looks at everything that the backup of `profile` needs on this machine; `locations` are those of its repositories.
#[must_use]
pub fn examine(profile: &Profile, plan: &Plan, surroundings: &Surroundings, locations: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    folders::folders(profile, plan, &mut findings);
    databases::databases(profile, plan, &mut findings);
    hooks::hooks(profile, plan, surroundings, &mut findings);
    recovery::needs(profile, plan, &mut findings);
    recovery::way_back(profile, locations, &mut findings);
    compressed::compressed(plan, &mut findings);
    findings
}

/// Whether an earlier run has left something standing still.
#[must_use]
pub fn left_behind(surroundings: &Surroundings) -> Vec<Finding> {
    let subject = "stopped services";
    let (left, broken) = match surroundings.journal.left_behind() {
        Ok(found) => found,
        Err(error) => {
            let message = format!("it cannot be read what earlier runs have stopped: {error}");
            let hint = "look as the user who runs the backups";
            return vec![Finding::new(Level::Warning, subject, message, hint)];
        }
    };
    let mut findings: Vec<Finding> = left
        .iter()
        .map(|pending| {
            let message = format!(
                "a run for {} ended before `{}` had set going again what it had stopped",
                pending.profile, pending.hook
            );
            let hint = format!("run `bk backup {}`: it does that first; or start it by hand", pending.profile);
            Finding::new(Level::Problem, subject, message, hint)
        })
        .collect();
    findings.extend(broken.iter().map(|path| {
        let message = format!("{} cannot be understood; it says what was stopped", path.display());
        Finding::new(Level::Problem, subject, message, "see whether something stands still, then remove the file")
    }));
    if findings.is_empty() {
        findings.push(Finding::ok(subject, "earlier runs have left nothing standing still"));
    }
    findings
}

/// Whether `path` is in the backup.
fn is_kept(plan: &Plan, path: &std::path::Path) -> bool {
    use crate::source::exclude::{Rules, Verdict};
    use std::os::unix::ffi::OsStrExt as _;
    let rules = Rules::new(&plan.exclude, &plan.include).unwrap_or_default();
    plan.roots.iter().any(|root| {
        let matcher = rules.for_root(root.as_os_str().as_bytes());
        let below = path.strip_prefix(root).ok();
        below.is_some_and(|below| matcher.verdict(below.as_os_str().as_bytes(), false) == Verdict::Keep)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A plan with this one folder.
    pub fn plan(root: &std::path::Path) -> Plan {
        let mut plan = Plan::default();
        plan.roots.push(root.to_owned());
        plan
    }

    /// A profile of ones own with these paths.
    pub fn profile(paths: &[&std::path::Path]) -> Profile {
        Profile::ad_hoc(paths.iter().map(|path| path.to_path_buf()).collect())
    }

    /// Level and message of each.
    pub fn told(findings: &[Finding]) -> Vec<(Level, &str)> {
        findings.iter().map(|finding| (finding.level, finding.message.as_str())).collect()
    }

    #[test]
    fn levels_are_in_the_order_in_which_they_matter() {
        assert!(Level::Ok < Level::Note && Level::Note < Level::Warning && Level::Warning < Level::Problem);
    }

    #[test]
    fn a_path_is_kept_unless_a_pattern_drops_it_or_a_folder_above() {
        let mut plan = plan(std::path::Path::new("/srv/a"));
        plan.exclude = vec!["/srv/a/log".to_owned()];
        let kept = |path: &str| is_kept(&plan, &PathBuf::from(path));
        assert!(kept("/srv/a/x") && !kept("/srv/a/log/x") && !kept("/srv/b"));
    }
}
