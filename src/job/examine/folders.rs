//! Data folders: there, readable, not empty, and on the disk that they should be on.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Finding, Level};
use crate::job::Plan;
use crate::profile::{Profile, Role, Service};
use crate::source::exclude::Rules;

const SUBJECT: &str = "data folder";

/// Below these, disks are mounted.
const MOUNT_PLACES: [&str; 3] = ["/mnt", "/media", "/srv"];

/// So many entries of a folder are tried.
const TRIED: usize = 10_000;

pub(super) fn folders(profile: &Profile, plan: &Plan, findings: &mut Vec<Finding>) {
    if plan.roots.is_empty() {
        findings.push(nothing_here(profile, plan));
        return;
    }
    let rules = Rules::new(&plan.exclude, &plan.include).unwrap_or_default();
    for root in &plan.roots {
        let finding = if rules.for_root(root.as_os_str().as_bytes()).drops_all() {
            let message = format!("the patterns leave nothing of {}", root.display());
            Finding::new(Level::Problem, SUBJECT, message, "take a pattern out of `exclude` or `include`")
        } else {
            folder(root, &root_device)
        };
        findings.push(finding);
    }
}

/// A service of which there is no folder.
fn nothing_here(profile: &Profile, plan: &Plan) -> Finding {
    // Of other services the dumps are only a part.
    let all_in_dumps = !profile.candidates || profile.known().is_none_or(Service::is_database_server);
    let dumps = all_in_dumps && plan.hooks.iter().any(|hook| hook.role == Role::Database);
    if plan.stateless {
        return Finding::ok(SUBJECT, "this service keeps nothing, so there is nothing to back up");
    }
    if dumps {
        return Finding::ok(SUBJECT, "none; only databases are dumped");
    }
    let places: Vec<String> = plan.absent.iter().map(|path| path.display().to_string()).collect();
    let message = format!("its data is in none of the places that bk knows: {}", places.join(", "));
    let hint = format!("say where it is: `bk profile new {} --root /its/folder` prints what to write", profile.name);
    Finding::new(Level::Problem, SUBJECT, message, hint)
}

fn root_device() -> Option<u64> {
    std::fs::metadata("/").ok().map(|metadata| metadata.dev())
}

fn folder(root: &Path, root_device: &dyn Fn() -> Option<u64>) -> Finding {
    let shown = root.display();
    let unmounted = || {
        let place = unmounted(root, &MOUNT_PLACES.map(Path::new), root_device())?;
        let message = format!("nothing seems to be mounted at {}", place.display());
        Some(Finding::new(Level::Problem, SUBJECT, message, format!("mount it; or remove {shown} from the profile")))
    };
    let metadata = match std::fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return unmounted().unwrap_or_else(|| {
                let hint = "correct `root` or `paths` in the configuration, or mount the disk that it is on";
                Finding::new(Level::Problem, SUBJECT, format!("{shown} does not exist"), hint)
            });
        }
        Err(error) => return unreadable(root, &error),
    };
    if !metadata.is_dir() {
        return match std::fs::File::open(root) {
            Ok(_) => Finding::ok(SUBJECT, shown.to_string()),
            Err(error) => unreadable(root, &error),
        };
    }
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries.take(TRIED).flatten(),
        Err(error) => return unreadable(root, &error),
    };
    let (mut all, mut closed) = (0_u64, 0_u64);
    for entry in entries {
        all += 1;
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        closed += u64::from(!is_link && accessat(CWD, entry.path(), Access::READ_OK, AtFlags::EACCESS).is_err());
    }
    if all == 0 {
        return unmounted().unwrap_or_else(|| {
            let hint = "see that this is the right folder, and that its disk is mounted";
            Finding::new(Level::Warning, SUBJECT, format!("{shown} is empty"), hint)
        });
    }
    if closed > 0 {
        let message = format!("{closed} of the {all} entries of {shown} cannot be read by this user");
        return Finding::new(Level::Problem, SUBJECT, message, "run bk as root, or as the user whose files these are");
    }
    Finding::ok(SUBJECT, shown.to_string())
}

fn unreadable(root: &Path, error: &std::io::Error) -> Finding {
    let message = format!("{} cannot be read: {error}", root.display());
    Finding::new(Level::Problem, SUBJECT, message, "run bk as root, or as the user whose files these are")
}

/// The folder above or at `path` that is empty, lies on the disk of the system, and where a disk would be mounted.
fn unmounted(path: &Path, mount_places: &[&Path], root_device: Option<u64>) -> Option<PathBuf> {
    let place = path.ancestors().find(|place| place.is_dir())?;
    let expected = mount_places.iter().any(|above| place.starts_with(above) && place != *above);
    let on_root = std::fs::metadata(place).ok().map(|metadata| metadata.dev()) == root_device;
    let empty = std::fs::read_dir(place).ok()?.next().is_none();
    (expected && on_root && empty).then(|| place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{plan, profile, told};
    use super::*;

    fn found(root: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        folders(&profile(&[root]), &plan(root), &mut findings);
        findings
    }

    #[test]
    fn a_folder_with_something_in_it_is_well_and_one_without_is_doubtful() {
        let folder = tempfile::tempdir().unwrap();
        let shown = folder.path().display().to_string();
        assert_eq!(told(&found(folder.path())), [(Level::Warning, format!("{shown} is empty").as_str())]);
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert_eq!(told(&found(folder.path())), [(Level::Ok, shown.as_str())]);
        let file = folder.path().join("x");
        assert_eq!(found(&file)[0].level, Level::Ok);
        let gone = found(&folder.path().join("gone"));
        assert_eq!(told(&gone), [(Level::Problem, format!("{shown}/gone does not exist").as_str())]);
        assert!(gone[0].hint.is_some());
    }

    #[test]
    fn patterns_that_leave_nothing_are_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        plan.exclude = vec![folder.path().display().to_string()];
        let mut findings = Vec::new();
        folders(&profile(&[folder.path()]), &plan, &mut findings);
        assert!(findings[0].message.starts_with("the patterns leave nothing of"), "{findings:?}");
    }

    #[test]
    fn an_empty_folder_on_the_disk_of_the_system_is_a_place_where_nothing_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let (above, place) = (folder.path(), folder.path().join("data"));
        std::fs::create_dir(&place).unwrap();
        let device = std::fs::metadata(above).unwrap().dev();
        let below = place.join("plex/Library");
        assert_eq!(unmounted(&below, &[above], Some(device)), Some(place.clone()));
        assert_eq!(unmounted(&place, &[above], Some(device)), Some(place.clone()));
        assert_eq!(unmounted(&place, &[above], Some(device + 1)), None, "something is mounted");
        assert_eq!(unmounted(&place, &[Path::new("/mnt")], Some(device)), None, "disks are mounted elsewhere");
        std::fs::create_dir(place.join("other")).unwrap();
        assert_eq!(unmounted(&below, &[above], Some(device)), None, "it holds something");
    }

    #[test]
    fn a_service_that_is_not_here_says_where_it_was_looked_for() {
        let mut plan = Plan::default();
        plan.absent.push("/var/lib/x".into());
        let mut findings = Vec::new();
        folders(&profile(&[]), &plan, &mut findings);
        assert!(findings[0].level == Level::Problem && findings[0].message.ends_with("/var/lib/x"), "{findings:?}");
        let mut stateless = Plan::default();
        stateless.stateless = true;
        findings.clear();
        folders(&profile(&[]), &stateless, &mut findings);
        assert_eq!(findings[0].level, Level::Ok);
    }
}
