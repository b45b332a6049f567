//! What the configuration needs of the machine, so that everything else can be closed off.

use std::path::{Path, PathBuf};

use super::Setting;
use crate::hook::BUILT_IN;
use crate::profile::{ChannelKind, Config, HookUse, Login, Profile, RepositoryPassword, Role};
use crate::store::Location;

/// What a unit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Run,
    Check,
    Verify,
    Failed,
}

/// Hooks that only speak with a server and write nothing but what they print.
const NARROW: [&str; 6] = ["postgres", "mariadb", "redis", "influxdb", "service", "container"];

/// What the work needs; what is false or empty can be closed off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Needs {
    /// Why nothing can be closed off, each a sentence without its point.
    pub open: Vec<String>,
    /// Why all but the folders of the system stays writable.
    pub loose: Vec<String>,
    /// Hooks run programs as other users.
    pub other_users: bool,
    /// A hook asks systemd to stop units.
    pub stops_units: bool,
    /// SQLite writes beside the databases that it reads.
    pub sqlite: bool,
    /// A repository is on this machine.
    pub local: bool,
    /// Something is on another machine.
    pub remote: bool,
    /// `~` is looked into.
    pub home: bool,
    /// Folders that are written, each once.
    pub writable: Vec<PathBuf>,
    /// Folders that are read.
    pub read: Vec<PathBuf>,
}

impl Needs {
    pub fn of(config: &Config, work: Work, setting: &Setting) -> Self {
        let mut needs = Self::default();
        if config.family.password_command.is_some() {
            needs.open.push("`password-command` runs a program of yours".into());
        }
        for (name, repository) in &config.repositories {
            match Location::parse_as(repository.format, &repository.location, Path::new("/")) {
                Ok(location) => match location.local() {
                    Some(folder) => {
                        needs.local = true;
                        needs.writable.push(folder.to_owned());
                    }
                    None => needs.remote = true,
                },
                Err(_) => needs.remote = true,
            }
            needs.home |= matches!(repository.login, Some(Login::AwsProfile(_)));
            if matches!(repository.login, Some(Login::Command(_))) {
                needs.open.push(format!("`credentials-command` of [repository.{name}] runs a program of yours"));
            }
            if matches!(repository.password, Some(RepositoryPassword::Command(_))) {
                needs.open.push(format!("`password-command` of [repository.{name}] runs a program of yours"));
            }
        }
        needs.local |= config.repositories.is_empty();
        needs.writable.extend(setting.data.clone());
        // Its folder, not the file: it is replaced by another one.
        let numbers = config.metrics.textfile.as_deref().and_then(Path::parent);
        needs.writable.extend(numbers.map(Path::to_owned));
        for (name, channel) in &config.channels {
            if matches!(channel.kind, ChannelKind::Program(_)) {
                needs.open.push(format!("[notify.{name}] runs a program of yours"));
            } else {
                needs.remote = true;
            }
        }
        match work {
            Work::Run => needs.add_profiles(config, setting),
            Work::Verify => needs.add_drills(config, setting),
            Work::Check | Work::Failed => {}
        }
        needs.writable.sort();
        needs.writable.dedup();
        needs
    }

    fn add_profiles(&mut self, config: &Config, setting: &Setting) {
        self.writable.extend(config.defaults.scratch.clone());
        if !config.defaults.moments.is_empty() {
            self.open.push("[defaults] has commands of yours around the runs".into());
        }
        for profile in config.profiles.values().filter(|profile| config.schedule_of(profile).is_some()) {
            if !profile.moments.is_empty() {
                self.open.push(format!("[profile.{}] has commands of yours around its run", profile.name));
            }
            if profile.container.as_ref().is_some_and(|container| container.runtime == "podman") {
                self.open.push(podman(profile));
            }
            profile.hooks.iter().for_each(|hook| self.add_hook(profile, hook, setting));
            self.read.extend(profile.paths.iter().cloned());
            if profile.candidates {
                self.loose.push(format!("where [profile.{}] keeps its data is only known when it runs", profile.name));
            } else if profile.sqlite {
                self.sqlite = true;
                self.writable.extend(profile.paths.iter().cloned());
            }
        }
        self.open.dedup();
    }

    /// What loads databases into servers of their own; data folders are only read.
    fn add_drills(&mut self, config: &Config, setting: &Setting) {
        self.writable.extend(config.defaults.scratch.clone());
        for profile in config.profiles.values() {
            self.read.extend(profile.paths.iter().cloned());
            if !config.verify(&profile.name).databases {
                continue;
            }
            let databases: Vec<&HookUse> = profile.hooks.iter().filter(|hook| hook.role == Role::Database).collect();
            databases.iter().for_each(|hook| self.add_hook(profile, hook, setting));
            if !databases.is_empty() {
                self.loose.push(format!("a database of [profile.{}] is loaded into a server of its own", profile.name));
            }
        }
        self.open.dedup();
    }

    fn add_hook(&mut self, profile: &Profile, hook: &HookUse, setting: &Setting) {
        let name = hook.hook.as_str();
        let built_in = BUILT_IN.iter().any(|(known, _)| *known == name) && !setting.hooks.join(name).exists();
        if !built_in {
            self.open.push(format!("[profile.{}] runs the hook `{name}` of yours", profile.name));
        } else if name == "command" {
            self.open.push(format!("[profile.{}] runs a command of yours", profile.name));
        } else if hook.role == Role::Snapshot {
            self.open.push(format!("[profile.{}] makes and mounts a snapshot of its file system", profile.name));
        } else if hook.container.as_ref().is_some_and(|container| container.runtime == "podman") {
            self.open.push(podman(profile));
        } else if !NARROW.contains(&name) {
            let what =
                format!("the hook `{name}` of [profile.{}] lets the service write in its own folders", profile.name);
            self.loose.push(what);
        }
        self.stops_units |= name == "service";
        self.other_users |= !matches!(name, "service" | "container");
    }

    /// Whether something that is read or written lies below `folder`, or `folder` in it.
    pub fn touches(&self, folder: &str) -> bool {
        let folder = Path::new(folder);
        self.writable.iter().chain(&self.read).any(|path| path.starts_with(folder) || folder.starts_with(path))
    }

    /// Whether something that is written lies below `folder`.
    pub fn writes_below(&self, folder: &str) -> bool {
        self.writable.iter().any(|path| path.starts_with(folder) || Path::new(folder).starts_with(path))
    }
}

/// Rootless podman makes name spaces with helpers that are setuid, and writes in the home of its user; that of root
/// starts what the container may do, which is more than a backup may.
fn podman(profile: &Profile) -> String {
    format!(
        "[profile.{}] reaches into a container of podman, which makes name spaces and writes anywhere",
        profile.name
    )
}
