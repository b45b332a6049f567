//! The checked configuration: names exist, paths are absolute, patterns can be used.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dumps::{Container, HookUse, Moments, SqliteFile};
use super::metrics::Metrics;
use super::notify::Channel;
use super::origin::{Origin, Origins};
use super::question::Question;
use super::schedule::{ProfileSchedule, Timetable};
use super::service::Service;
use super::verify::{Verify, VerifySaid};
use crate::retention::{Keep, Value};
use crate::source::exclude::{LintLevel, Rules, Verdict, lint};
use crate::store::remote::Settings;
use crate::store::{Format, Location};

/// The name of the profile of `bk backup PATH`; no configured profile can have it.
pub const AD_HOC: &str = "ad-hoc";

/// Everything that was configured. The empty one is what holds when there is no file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// How the repositories are opened.
    pub family: Family,
    /// The repositories by name.
    pub repositories: BTreeMap<String, Repository>,
    /// What holds for every profile that says nothing else.
    pub defaults: Defaults,
    /// When bk has work.
    pub schedule: Timetable,
    /// Where the numbers for monitoring go.
    pub metrics: Metrics,
    /// The profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Who hears how it went, by name.
    pub channels: BTreeMap<String, Channel>,
    /// The files it was read from, in their order.
    pub files: Vec<PathBuf>,
    pub(super) origins: Origins,
}

/// How the repositories are opened: at most one of these, of the strongest source that says any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Family {
    /// File that holds the key.
    pub key_file: Option<PathBuf>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Program and arguments that print the password.
    pub password_command: Option<Vec<String>>,
}

/// A place where backups are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name in the configuration.
    pub name: String,
    /// An absolute path or a URL, as it was written, without a format before it: may hold a password.
    pub location: String,
    /// What it is written in.
    pub format: Format,
    /// What opens it when it is not of the family, in restic's format, and this was said.
    pub password: Option<RepositoryPassword>,
    /// Where something must be mounted before anything is written.
    pub require_mount: Option<PathBuf>,
    /// How much must stay free, in bytes.
    pub min_free_bytes: Option<u64>,
    /// How its server is spoken to, when it is on another machine.
    pub remote: Settings,
    /// What opens its server, when it was said.
    pub login: Option<Login>,
    /// Which snapshots are kept, when it was said.
    pub keep: Option<Keep>,
}

/// Where the password of a repository in restic's format comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryPassword {
    /// A file that holds it.
    File(PathBuf),
    /// Program and arguments that print it.
    Command(Vec<String>),
}

/// Where the access key, or the user and password, of a server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A file of `NAME=VALUE` lines.
    File(PathBuf),
    /// Program and arguments that print such lines.
    Command(Vec<String>),
    /// A section of the credentials file of the AWS command line.
    AwsProfile(String),
}

/// What holds for every profile that says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Names of repositories; empty when nothing was said, which means all of them.
    pub to: Vec<String>,
    /// Stay on the file system of each path.
    pub one_file_system: bool,
    /// Copy live SQLite databases consistently.
    pub sqlite: bool,
    /// Folder for temporary files.
    pub scratch: Option<PathBuf>,
    /// The newest complete snapshot is overdue when it is older.
    pub max_age: Option<Duration>,
    /// How often and how deeply it is proved that a backup restores.
    pub verify: VerifySaid,
    /// Commands of the user around every run.
    pub moments: Moments,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            one_file_system: false,
            sqlite: true,
            scratch: None,
            max_age: None,
            verify: VerifySaid::default(),
            moments: Moments::default(),
        }
    }
}

/// How files are cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkChoice {
    /// As the file looks.
    #[default]
    Auto,
    /// Large chunks.
    Coarse,
    /// Small chunks.
    Fine,
}

impl ChunkChoice {
    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Coarse => "coarse",
            Self::Fine => "fine",
        }
    }
}

/// Something to back up, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name; [`AD_HOC`] when it is not configured.
    pub name: String,
    /// The data folders and files, absolute.
    pub paths: Vec<PathBuf>,
    /// Patterns of what is left out, anchored at each path.
    pub exclude: Vec<String>,
    /// Patterns of what alone is kept, anchored at each path; empty keeps all.
    pub include: Vec<String>,
    /// Words to find the snapshots by.
    pub tags: Vec<String>,
    /// How files are cut into chunks.
    pub chunk_class: ChunkChoice,
    /// Stay on the file system of each path.
    pub one_file_system: bool,
    /// Leave out folders marked with `CACHEDIR.TAG`. Off unless said: a backup holds what nobody told it to drop.
    pub exclude_caches: bool,
    /// Leave out files with more bytes than this.
    pub exclude_larger_than: Option<u64>,
    /// Leave out folders that hold a file of one of these names.
    pub exclude_if_present: Vec<String>,
    /// Copy live SQLite databases consistently.
    pub sqlite: bool,
    /// Names of the repositories to back up to, nearest first; empty when none is configured.
    pub to: Vec<String>,
    /// The service it is of, by its name among the built-in profiles.
    pub service: Option<&'static str>,
    /// The paths are those where the service may keep its data; those that exist are meant.
    pub candidates: bool,
    /// The container that the service runs in.
    pub container: Option<Container>,
    /// SQLite databases that must be among the files.
    pub sqlite_files: Vec<SqliteFile>,
    /// Hooks, in the order in which they were said.
    pub hooks: Vec<HookUse>,
    /// Commands of the user around the run.
    pub moments: Moments,
    /// Which snapshots are kept, by repository, where it is not as the repository says.
    pub keep: BTreeMap<String, Keep>,
    /// Its own times; those of [`Config::schedule`] when it says nothing.
    pub schedule: Option<ProfileSchedule>,
    /// The newest complete snapshot is overdue when it is older.
    pub max_age: Option<Duration>,
    /// How often and how deeply it is proved that a backup restores.
    pub verify: VerifySaid,
    /// What must hold of its databases after they were restored; those of the service first.
    pub questions: Vec<Question>,
}

impl Profile {
    /// The profile of `bk backup PATH` where nothing is configured.
    #[must_use]
    pub fn ad_hoc(paths: Vec<PathBuf>) -> Self {
        Self {
            name: AD_HOC.to_owned(),
            paths,
            exclude: Vec::new(),
            include: Vec::new(),
            tags: Vec::new(),
            chunk_class: ChunkChoice::default(),
            one_file_system: false,
            exclude_caches: false,
            exclude_larger_than: None,
            exclude_if_present: Vec::new(),
            sqlite: true,
            to: Vec::new(),
            service: None,
            candidates: false,
            container: None,
            sqlite_files: Vec::new(),
            hooks: Vec::new(),
            moments: Moments::default(),
            keep: BTreeMap::new(),
            schedule: None,
            max_age: None,
            verify: VerifySaid::default(),
            questions: Vec::new(),
        }
    }

    /// What bk knows about `service`, as a profile.
    #[must_use]
    pub fn of_service(service: &'static Service) -> Self {
        let (sqlite_files, mut hooks) = service.databases();
        let needs_hook = |hook: &&String| hook.as_str() == "prometheus";
        hooks.extend(service.hook.iter().filter(needs_hook).map(|hook| HookUse::needed(hook)));
        Self {
            name: service.slug.to_owned(),
            include: service.include.clone(),
            service: Some(service.slug),
            candidates: true,
            sqlite_files,
            hooks,
            questions: service.questions(),
            ..Self::ad_hoc(service.roots.iter().map(PathBuf::from).collect())
        }
    }

    /// What bk knows about the service that it is of.
    #[must_use]
    pub fn known(&self) -> Option<&'static Service> {
        self.service.and_then(Service::find)
    }
}

/// One setting, as `bk config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The full key, such as `profile.wiki.paths`.
    pub key: String,
    /// The value as TOML, without secrets.
    pub value: String,
    /// Where it comes from, such as `/etc/bk/bk.toml:7` or `default`.
    pub origin: String,
}

/// How much a [`Warning`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Right as it is, but easily read as something else.
    Info,
    /// Probably not what was meant.
    Warning,
}

/// Something in the configuration that can be used but may not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// How much it matters.
    pub level: Level,
    /// The full key, such as `profile.wiki.exclude`.
    pub key: String,
    /// Where it was said.
    pub origin: Origin,
    /// One sentence.
    pub message: String,
}

impl Config {
    /// Where the setting with this full key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        // What is in a table such as `keep` comes from where the table does.
        let inside = |key: &&str| key.matches('.').count() > 1;
        let mut tables = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0).filter(inside));
        tables.find_map(|key| self.origins.get(key)).cloned().unwrap_or_default()
    }

    /// The profile of `bk backup PATH`, with what `[defaults]` says.
    #[must_use]
    pub fn ad_hoc(&self, paths: Vec<PathBuf>) -> Profile {
        Profile {
            one_file_system: self.defaults.one_file_system,
            sqlite: self.defaults.sqlite,
            to: self.default_to(),
            ..Profile::ad_hoc(paths)
        }
    }

    /// The repositories of a command that names none: those of `[defaults]`, else all.
    #[must_use]
    pub fn default_repositories(&self) -> Vec<String> {
        if self.defaults.to.is_empty() { self.repositories.keys().cloned().collect() } else { self.defaults.to.clone() }
    }

    /// The repositories of a profile that names none: those of `[defaults]`, else all of bk's own. One in restic's format
    /// may be there to be read only, so it is written to by those who name it.
    #[must_use]
    pub fn default_to(&self) -> Vec<String> {
        let all = self.default_repositories();
        if !self.defaults.to.is_empty() {
            return all;
        }
        let is_own = |name: &&String| self.repositories.get(*name).is_some_and(|known| known.format == Format::Bk);
        let own: Vec<_> = all.iter().filter(is_own).cloned().collect();
        if own.is_empty() { all } else { own }
    }

    /// Which snapshots of a profile are kept in a repository: as the profile says, else as the repository says, else
    /// those of 30 days, in a bucket of 90: many are paid for so long whatever happens.
    #[must_use]
    pub fn keep(&self, profile: Option<&str>, repository: &str) -> Keep {
        let of_profile = profile.and_then(|profile| self.profiles.get(profile)?.keep.get(repository));
        let said = of_profile.or_else(|| self.repositories.get(repository)?.keep.as_ref());
        said.cloned().unwrap_or_else(|| default_keep(self.repositories.get(repository)))
    }

    /// How old the newest complete snapshot of a profile may be.
    #[must_use]
    pub fn max_age(&self, profile: Option<&str>) -> Option<Duration> {
        profile.and_then(|profile| self.profiles.get(profile)?.max_age).or(self.defaults.max_age)
    }

    /// How often and how deeply it is proved that the backups of a profile restore.
    #[must_use]
    pub fn verify(&self, profile: &str) -> Verify {
        let said = self.profiles.get(profile).map(|profile| profile.verify).unwrap_or_default();
        said.or(self.defaults.verify).filled()
    }

    /// What can be used but may not be meant, in the order of the names.
    #[must_use]
    pub fn validate(&self) -> Vec<Warning> {
        let mut warnings = self.repository_warnings();
        for profile in self.profiles.values() {
            self.pattern_warnings(profile, &mut warnings);
            self.path_warnings(profile, &mut warnings);
        }
        for channel in self.channels.values() {
            let found = channel.warning();
            warnings.extend(found.map(|(key, text)| self.warning(format!("notify.{}.{key}", channel.name), text)));
        }
        warnings
    }

    fn warning(&self, key: String, message: String) -> Warning {
        Warning { level: Level::Warning, origin: self.origin(&key), key, message }
    }

    fn repository_warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (name, repository) in &self.repositories {
            let key = format!("repository.{name}.location");
            let before = self.repositories.range(..name.clone());
            if let Some((other, _)) = before.into_iter().find(|(_, other)| other.location == repository.location) {
                let message = format!("repositories `{other}` and `{name}` are the same place: one loss takes both");
                warnings.push(self.warning(key.clone(), message));
            }
            let local = Path::new(&repository.location);
            if let Some(mount) = repository.require_mount.as_ref().filter(|_| local.is_absolute())
                && !local.starts_with(mount)
            {
                let message = format!("repository `{name}` does not lie below its require-mount {}", mount.display());
                warnings.push(self.warning(key, message));
            }
            let used = self.profiles.values().any(|profile| profile.to.contains(name));
            if !used && !self.profiles.is_empty() {
                let message = format!("no profile backs up to repository `{name}`");
                warnings.push(self.warning(format!("repository.{name}"), message));
            }
        }
        warnings
    }

    fn pattern_warnings(&self, profile: &Profile, warnings: &mut Vec<Warning>) {
        let key = format!("profile.{}.exclude", profile.name);
        for (at, pattern) in profile.exclude.iter().enumerate() {
            for finding in lint(std::slice::from_ref(pattern)) {
                let level = if finding.level == LintLevel::Info { Level::Info } else { Level::Warning };
                let origin = self.origin(&format!("{key}[{at}]"));
                warnings.push(Warning { level, key: key.clone(), origin, message: finding.message });
            }
        }
    }

    fn path_warnings(&self, profile: &Profile, warnings: &mut Vec<Warning>) {
        let key = format!("profile.{}.paths", profile.name);
        let rules = Rules::new(&profile.exclude, &profile.include).unwrap_or_default();
        for (at, path) in profile.paths.iter().enumerate() {
            let nested = |(other_at, other): &(usize, &PathBuf)| *other_at != at && path.starts_with(other);
            if let Some((_, other)) = profile.paths.iter().enumerate().find(nested) {
                let message = format!("{} already lies in {}", path.display(), other.display());
                warnings.push(self.warning(key.clone(), message));
            }
            let matcher = rules.for_root(path.as_os_str().as_bytes());
            if matcher.drops_all() {
                let message = format!("the patterns leave nothing of {}", path.display());
                warnings.push(self.warning(key.clone(), message));
            }
            for repository in profile.to.iter().filter_map(|name| self.repositories.get(name)) {
                let inside = Path::new(&repository.location).strip_prefix(path).ok();
                let kept = |below: &Path| matcher.verdict(below.as_os_str().as_bytes(), true) == Verdict::Keep;
                if inside.is_some_and(kept) {
                    let message = format!(
                        "repository `{}` at {} lies in {}, which is backed up: exclude it",
                        repository.name,
                        repository.location,
                        path.display()
                    );
                    warnings.push(self.warning(key.clone(), message));
                }
            }
        }
    }
}

/// What is kept where nothing is said.
fn default_keep(repository: Option<&Repository>) -> Keep {
    let location = repository.and_then(|known| Location::parse_as(known.format, &known.location, Path::new("/")).ok());
    let within = if location.is_some_and(|location| location.has_buckets()) { "90d" } else { "30d" };
    let mut keep = Keep::default();
    // Cannot fail; and keeping nothing but the floor would be seen at once.
    let _ = keep.set("within", Value::Text(within));
    keep
}

#[cfg(test)]
mod tests {
    use super::super::files::Text;
    use super::super::{ConfigError, Environment, check, files, resolve};
    use super::*;

    fn config(text: &str) -> Config {
        let read = |text: &str| -> Result<Config, ConfigError> {
            let text = Text { file: std::sync::Arc::new("/etc/bk/bk.toml".into()), content: text.to_owned() };
            let raw = check::parse(&text)?;
            resolve::resolve(&[files::Source { text, raw }], &Environment::default())
        };
        read(text).unwrap()
    }

    fn messages(text: &str) -> Vec<(Level, String, String)> {
        let warnings = config(text).validate();
        warnings.into_iter().map(|one| (one.level, one.origin.to_string(), one.message)).collect()
    }

    #[test]
    fn patterns_that_may_drop_too_much_are_warned_about_with_their_line() {
        let found = messages("[profile.git]\nroot = \"/srv/git\"\nexclude = [\n  \"**/log/**\",\n  \"*.tmp\",\n]\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, found[0].1.as_str()), (Level::Warning, "/etc/bk/bk.toml:4"));
        assert!(found[0].2.starts_with("`**/log/**` drops everything called `log`"), "{}", found[0].2);
        assert_eq!((found[1].0, found[1].1.as_str()), (Level::Info, "/etc/bk/bk.toml:5"));
    }

    #[test]
    fn a_path_of_which_nothing_is_left_or_that_lies_in_another_is_warned_about() {
        let found = messages("[profile.a]\npaths = [\"/srv\", \"/srv/x\"]\nexclude = [\"/srv/x\"]\n");
        let found: Vec<&str> = found.iter().map(|(_, _, message)| message.as_str()).collect();
        assert_eq!(found, ["/srv/x already lies in /srv", "the patterns leave nothing of /srv/x"]);
    }

    #[test]
    fn a_repository_that_lies_in_what_is_backed_up_is_warned_about_unless_it_is_excluded() {
        let text = "[repository.disk]\nlocation = \"/srv/bk\"\n[profile.a]\nroot = \"/srv\"\n";
        let expected = "repository `disk` at /srv/bk lies in /srv, which is backed up: exclude it";
        assert_eq!(messages(text), [(Level::Warning, "/etc/bk/bk.toml:4".into(), expected.into())]);
        assert!(messages(&format!("{text}exclude = [\"bk\"]\n")).is_empty());
    }

    #[test]
    fn repositories_in_one_place_unused_or_beside_their_mount_are_warned_about() {
        let found = messages(
            "[repository.a]\nlocation = \"/mnt/a\"\nrequire-mount = \"/mnt/b\"\n[repository.b]\nlocation = \"/mnt/a\"\n\
             [profile.x]\nroot = \"/srv\"\nto = [\"a\"]\n",
        );
        let found: Vec<(&str, &str)> = found.iter().map(|(_, origin, text)| (origin.as_str(), text.as_str())).collect();
        assert_eq!(
            found,
            [
                ("/etc/bk/bk.toml:2", "repository `a` does not lie below its require-mount /mnt/b"),
                ("/etc/bk/bk.toml:5", "repositories `a` and `b` are the same place: one loss takes both"),
                ("/etc/bk/bk.toml:4", "no profile backs up to repository `b`"),
            ]
        );
    }

    #[test]
    fn a_bucket_keeps_three_times_as_long_as_a_disk_unless_it_says_otherwise() {
        let config = config(
            "[repository.disk]\nlocation = \"/disk\"\n[repository.b2]\nlocation = \"b2://bucket/x\"\n\
             [repository.short]\nlocation = \"s3://bucket/x\"\nkeep = { within = \"7d\" }\n",
        );
        let within = |days: &str| {
            let mut keep = Keep::default();
            keep.set("within", Value::Text(days)).unwrap();
            keep
        };
        for (name, days) in [("disk", "30d"), ("b2", "90d"), ("short", "7d"), ("unknown", "30d")] {
            assert_eq!(config.keep(None, name), within(days), "{name}");
        }
    }

    #[test]
    fn an_ad_hoc_profile_follows_the_defaults() {
        let config = config(
            "[repository.b]\nlocation = \"/b\"\n[repository.a]\nlocation = \"/a\"\n[defaults]\nsqlite = false\n",
        );
        let profile = config.ad_hoc(vec!["/srv/x".into()]);
        assert_eq!((profile.name.as_str(), profile.sqlite), (AD_HOC, false));
        assert_eq!(profile.to, ["a", "b"]);
        assert_eq!(Config::default().ad_hoc(vec!["/x".into()]), Profile::ad_hoc(vec!["/x".into()]));
    }
}
