//! What a restore on a bare machine needs, and whether it lies where only that restore could reach it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Finding, Level};
use crate::job::Plan;
use crate::profile::Profile;

/// Services through which a machine reaches others.
const WAYS: [&str; 3] = ["wireguard", "tailscale", "blocky"];

/// File systems of other machines, as statfs(2) calls them: NFS, SMB, CIFS, SMB 2, 9p, AFS, Ceph.
const REMOTE: [u64; 7] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x5346_414f, 0x00c3_6400];

/// Where secrets lie only as long as the machine runs.
const PASSING: [&str; 3] = ["/run", "/dev/shm", "/tmp"];

const KIT: &str = "print a page that opens the backups with `bk key recovery-kit`, and keep it elsewhere";

/// The secrets that the restored service must find.
pub(super) fn needs(profile: &Profile, plan: &Plan, findings: &mut Vec<Finding>) {
    let Some(service) = profile.known().filter(|_| !plan.roots.is_empty()) else { return };
    for need in &service.need {
        let what = match &need.contains {
            Some(text) => format!("{text} (in {})", need.any.join(" or ")),
            None => need.any.join(" or "),
        };
        if !plan.needs.contains(need) {
            findings.push(Finding::ok("needed secret", format!("in the backup: {what}")));
            continue;
        }
        let message = format!("NOT in this backup: {what}: {}", need.why);
        let hint = match &need.or_env {
            Some(variable) => format!(
                "if the service has it from its environment, as {variable}, add the file that sets it to `paths`"
            ),
            None => "see that the data folder is right and no pattern drops it".to_owned(),
        };
        findings.push(Finding::new(Level::Warning, "needed secret", message, hint));
    }
}

/// A service whose loss cuts the way to the repository.
pub(super) fn way_back(profile: &Profile, locations: &[String], findings: &mut Vec<Finding>) {
    let Some(service) = profile.known().filter(|service| WAYS.contains(&service.slug)) else { return };
    if let Some(location) = locations.iter().find(|location| is_remote(location)) {
        let message =
            format!("{} may be the way to the repository {location}, and lies only behind it", service.service);
        let hint = "write its address and keys down, or name a repository in `to` that can be reached without it";
        findings.push(Finding::new(Level::Warning, "way to the repository", message, hint));
    }
}

fn is_remote(location: &str) -> bool {
    match location.split_once("://") {
        Some((scheme, _)) => scheme != "file",
        None => Path::new(location)
            .ancestors()
            .find_map(|place| rustix::fs::statfs(place).ok())
            // Only the lower half is the number on every architecture.
            .is_some_and(|found| REMOTE.contains(&(found.f_type as u64 & 0xffff_ffff))),
    }
}

/// What opens the repositories, and what of the machine depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// `key file` or `password file`.
    pub what: &'a str,
    /// Where it is.
    pub path: &'a Path,
    /// The folders of repositories on this machine.
    pub repositories: &'a [std::path::PathBuf],
    /// What is backed up, by profile.
    pub plans: &'a [(String, Plan)],
}

/// Whether what opens the repositories is safe here, and not only here.
#[must_use]
pub fn key(key: Key<'_>) -> Vec<Finding> {
    let Key { what, path, repositories, plans } = key;
    let (shown, mut findings) = (path.display(), Vec::new());
    let Ok(metadata) = std::fs::metadata(path) else {
        // That it cannot be read is told of each repository.
        return findings;
    };
    if metadata.mode() & 0o077 != 0 {
        let message = format!("{shown} can be read by others");
        findings.push(Finding::new(Level::Warning, what, message, format!("run `chmod 600 {shown}`")));
    }
    let together =
        |repository: &std::path::PathBuf| path.starts_with(repository) || path.parent() == repository.parent();
    if let Some(repository) = repositories.iter().find(|repository| together(repository)) {
        let message =
            format!("{shown} lies beside the repository {} that it opens: one loss takes both", repository.display());
        findings.push(Finding::new(Level::Note, what, message, KIT));
    } else if PASSING.iter().any(|place| path.starts_with(place)) {
        let message = format!("{shown} is made anew by this machine, which a bare one cannot do");
        findings.push(Finding::new(Level::Note, what, message, KIT));
    } else if let Some((name, _)) = plans.iter().find(|(_, plan)| super::is_kept(plan, path)) {
        let message = format!("{shown} is in the backup of {name}, which cannot be opened without it");
        findings.push(Finding::new(Level::Note, what, message, KIT));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(what, format!("{shown}; a recovery kit elsewhere opens the backups without it")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::super::tests::{plan, told};
    use super::*;
    use crate::profile::Service;

    #[test]
    fn a_need_that_is_not_met_is_a_warning_with_its_variable() {
        let profile = Profile::of_service(Service::find("gitea").unwrap());
        let need = Service::find("gitea").unwrap().need[0].clone();
        let mut plan = plan(Path::new("/srv/gitea"));
        let mut findings = Vec::new();
        needs(&profile, &plan, &mut findings);
        assert_eq!(findings[0].level, Level::Ok);
        plan.needs.push(need);
        findings.clear();
        needs(&profile, &plan, &mut findings);
        assert_eq!(findings[0].level, Level::Warning);
        assert!(findings[0].hint.as_ref().unwrap().contains("GITEA__security__SECRET_KEY"));
    }

    #[test]
    fn only_a_way_to_a_repository_elsewhere_is_warned_about() {
        let found = |slug: &str, location: &str| {
            let mut findings = Vec::new();
            way_back(&Profile::of_service(Service::find(slug).unwrap()), &[location.to_owned()], &mut findings);
            findings.len()
        };
        assert_eq!(found("wireguard", "sftp://host/bk"), 1);
        assert_eq!(found("blocky", "file:///mnt/bk"), 0);
        assert_eq!(found("tailscale", "/tmp/no/such/folder"), 0);
        assert_eq!(found("plex", "sftp://host/bk"), 0);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_lost_with_what_it_opens_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "x").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = |repository: &str, root: &Path| -> Vec<Level> {
            let plans = [("etc".to_owned(), plan(root))];
            let repositories = [PathBuf::from(repository)];
            let findings = key(Key { what: "key file", path: &path, repositories: &repositories, plans: &plans });
            told(&findings).iter().map(|(level, _)| *level).collect()
        };
        mode(0o644);
        assert_eq!(found("/mnt/bk", Path::new("/srv"))[0], Level::Warning);
        mode(0o600);
        assert_eq!(found(&folder.path().join("repository").display().to_string(), Path::new("/srv")), [Level::Note]);
        assert_eq!(found("/mnt/bk", folder.path()), [Level::Note]);
    }
}
