//! What a profile does besides reading files: databases, hooks, quiescing, snapshots of file systems, and commands of
//! the user's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::size::ByteSize;

/// How long a dump may take when nothing is said.
const DUMP_LIMIT: Duration = Duration::from_secs(12 * 3600);
/// How long stopping, starting and snapshots may take when nothing is said.
const QUIESCE_LIMIT: Duration = Duration::from_secs(600);
/// How long a command of the user may take when nothing is said.
const COMMAND_LIMIT: Duration = Duration::from_secs(3600);

/// A time as people write it: `30min`, `2h`, `1h30m`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.trim().parse().ok()?;
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero())
}

/// The container that something runs in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Container {
    /// `podman` or `docker`.
    #[serde(default = "podman")]
    pub runtime: String,
    /// Its name.
    pub name: String,
    /// The system user whose rootless podman runs it.
    pub owner: Option<String>,
    /// The user inside.
    pub exec_user: Option<String>,
}

fn podman() -> String {
    "podman".to_owned()
}

/// What a hook is for; it decides when it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Stops or pauses what writes.
    Quiesce,
    /// Does something of its own around the run, and may dump.
    Other,
    /// Dumps a database.
    Database,
    /// Makes a snapshot of a file system.
    Snapshot,
}

/// A hook and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookUse {
    /// Name of the hook.
    pub hook: String,
    /// When it is run.
    pub role: Role,
    /// By key, as in the configuration; each with its values.
    pub settings: BTreeMap<String, Vec<String>>,
    /// The container it works in.
    pub container: Option<Container>,
    /// How long one run of it may take.
    pub time_limit: Duration,
    /// Nothing is wrong when it has nothing to do.
    pub optional: bool,
    /// Tables that must not be empty.
    pub tables: Vec<String>,
    /// Only when the application uses this engine.
    pub when: Option<String>,
    /// A smaller dump is not complete, in bytes.
    pub min_bytes: Option<u64>,
}

/// An SQLite database that must be among the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteFile {
    /// Below a data folder; may hold wildcards.
    pub path: String,
    /// Nothing is wrong when it is not there.
    pub optional: bool,
    /// Tables that must not be empty.
    pub tables: Vec<String>,
    /// Only when the application uses this engine.
    pub when: Option<String>,
}

/// What the failure of a command means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The run is not complete; before a run: it is not begun.
    #[default]
    Fail,
    /// It is said.
    Warn,
    /// Nothing.
    Ignore,
}

/// A command of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCommand {
    /// Program and arguments.
    pub run: Vec<String>,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// How long it may take.
    pub time_limit: Duration,
}

/// Commands of the user, by when they are run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moments {
    /// Before anything else.
    pub before: Vec<UserCommand>,
    /// After a complete snapshot.
    pub after: Vec<UserCommand>,
    /// When the run was not complete.
    pub failed: Vec<UserCommand>,
    /// At the end, however it ended.
    pub finally: Vec<UserCommand>,
}

impl Moments {
    /// Whether there is no command at any of them.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty() && self.failed.is_empty() && self.finally.is_empty()
    }
}

/// One value or several, as in `settings`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::Several(values) => values,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawDatabase {
    pub engine: Option<String>,
    pub name: Option<String>,
    pub names: Vec<String>,
    pub path: Option<String>,
    pub user: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub socket: Option<String>,
    pub password_file: Option<String>,
    pub system_user: Option<String>,
    pub format: Option<String>,
    pub tables: Vec<String>,
    pub optional: bool,
    pub when: Option<String>,
    pub min_size: Option<ByteSize>,
    pub time_limit: Option<String>,
    pub container: Option<Container>,
    pub settings: BTreeMap<String, Values>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawHook {
    pub run: Option<String>,
    pub optional: bool,
    pub time_limit: Option<String>,
    pub container: Option<Container>,
    pub settings: BTreeMap<String, Values>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawQuiesce {
    pub how: Option<String>,
    pub units: Vec<String>,
    pub containers: Vec<String>,
    pub runtime: Option<String>,
    pub owner: Option<String>,
    pub time_limit: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawSnapshot {
    pub filesystem: Option<String>,
    pub settings: BTreeMap<String, Values>,
    pub time_limit: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawCommand {
    pub run: Vec<String>,
    pub on_failure: OnFailure,
    pub time_limit: Option<String>,
}

/// A database is dumped by a hook, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Database {
    Dumped(HookUse),
    File(SqliteFile),
}

fn limit(text: Option<&String>, otherwise: Duration) -> Duration {
    text.and_then(|text| duration(text)).unwrap_or(otherwise)
}

fn lists(settings: BTreeMap<String, Values>) -> BTreeMap<String, Vec<String>> {
    settings.into_iter().map(|(key, values)| (key, values.into_list())).collect()
}

impl RawDatabase {
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(self) -> Result<Database, (String, &'static str)> {
        let Some(engine) = self.engine else {
            return Err((
                "has no `engine`".into(),
                "say which: `engine = \"postgres\"`, \"mariadb\", \"redis\" or \"sqlite\"",
            ));
        };
        if engine == "sqlite" {
            let hint = "say where it lies below the data folder: `path = \"data/app.db\"`";
            let path = self.path.ok_or_else(|| ("has no `path`".to_owned(), hint))?;
            return Ok(Database::File(SqliteFile {
                path,
                optional: self.optional,
                tables: self.tables,
                when: self.when,
            }));
        }
        if self.path.is_some() {
            return Err((format!("has a `path`, which {engine} has no use for"), "remove it; `path` is of SQLite"));
        }
        let mut settings = lists(self.settings);
        let single = [
            ("name", self.name),
            ("user", self.user),
            ("host", self.host),
            ("port", self.port.map(|port| port.to_string())),
            ("socket", self.socket),
            ("password-file", self.password_file),
            ("system-user", self.system_user),
            ("format", self.format),
        ];
        settings.extend(single.into_iter().filter_map(|(key, value)| Some((key.to_owned(), vec![value?]))));
        if !self.names.is_empty() {
            settings.insert("names".into(), self.names);
        }
        Ok(Database::Dumped(HookUse {
            hook: engine,
            role: Role::Database,
            settings,
            container: self.container,
            time_limit: limit(self.time_limit.as_ref(), DUMP_LIMIT),
            optional: self.optional,
            tables: self.tables,
            when: self.when,
            min_bytes: self.min_size.map(|size| size.0),
        }))
    }
}

impl HookUse {
    /// A hook that a service needs; nothing is wrong when there is nothing for it to do.
    pub(super) fn needed(hook: &str) -> Self {
        Self { optional: true, ..Self::plain(hook.to_owned(), Role::Other, DUMP_LIMIT) }
    }

    /// A hook that is told nothing, with the usual time limit.
    #[must_use]
    pub fn of(hook: &str, role: Role) -> Self {
        Self::plain(hook.to_owned(), role, DUMP_LIMIT)
    }

    /// A hook that is told nothing.
    pub(super) const fn plain(hook: String, role: Role, time_limit: Duration) -> Self {
        Self {
            hook,
            role,
            settings: BTreeMap::new(),
            container: None,
            time_limit,
            optional: false,
            tables: Vec::new(),
            when: None,
            min_bytes: None,
        }
    }
}

impl RawHook {
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(self) -> Result<HookUse, (String, &'static str)> {
        let hook = self.run.ok_or_else(|| ("has no `run`".to_owned(), "name the hook: `run = \"prometheus\"`"))?;
        Ok(HookUse {
            settings: lists(self.settings),
            container: self.container,
            optional: self.optional,
            ..HookUse::plain(hook, Role::Other, limit(self.time_limit.as_ref(), DUMP_LIMIT))
        })
    }
}

impl RawQuiesce {
    /// The hooks that stop, pause or set into maintenance; `hook` is the service's own way of maintenance.
    ///
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(self, maintenance: Option<&str>) -> Result<Vec<HookUse>, (String, &'static str)> {
        let how = self
            .how
            .ok_or_else(|| ("has no `how`".to_owned(), "say `how = \"stop\"`, \"pause\" or \"maintenance\""))?;
        let limit = limit(self.time_limit.as_ref(), QUIESCE_LIMIT);
        let mut hooks = Vec::new();
        if how == "maintenance" {
            let hint = "use \"stop\" with `units` or `containers`; maintenance is known of: nextcloud";
            let hook = maintenance.ok_or_else(|| ("has no maintenance mode that bk knows".to_owned(), hint))?;
            hooks.push(HookUse::plain(hook.to_owned(), Role::Quiesce, limit));
            return Ok(hooks);
        }
        if !self.units.is_empty() {
            if how == "pause" {
                return Err(("pauses units, which systemd cannot".into(), "use `how = \"stop\"` for units"));
            }
            let mut hook = HookUse::plain("service".into(), Role::Quiesce, limit);
            hook.settings.insert("names".into(), self.units);
            hooks.push(hook);
        }
        if !self.containers.is_empty() {
            let mut hook = HookUse::plain("container".into(), Role::Quiesce, limit);
            hook.settings.insert("names".into(), self.containers);
            hook.settings.insert("how".into(), vec![how]);
            let runtime = self.runtime.unwrap_or_else(podman);
            hook.container = Some(Container { runtime, name: String::new(), owner: self.owner, exec_user: None });
            hooks.push(hook);
        }
        if hooks.is_empty() {
            return Err((
                "names nothing to stop".into(),
                "add `units = [\"app.service\"]` or `containers = [\"app\"]`",
            ));
        }
        Ok(hooks)
    }
}

impl RawSnapshot {
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(self) -> Result<HookUse, (String, &'static str)> {
        let hint = "say which: `filesystem = \"btrfs\"`, \"zfs\" or \"lvm\"";
        let hook = self.filesystem.ok_or_else(|| ("has no `filesystem`".to_owned(), hint))?;
        Ok(HookUse {
            settings: lists(self.settings),
            ..HookUse::plain(hook, Role::Snapshot, limit(self.time_limit.as_ref(), QUIESCE_LIMIT))
        })
    }
}

impl RawCommand {
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(self) -> Result<UserCommand, (String, &'static str)> {
        if self.run.first().is_none_or(String::is_empty) {
            return Err(("names no program".into(), "write the program and its arguments: `run = [\"sync\"]`"));
        }
        let time_limit = limit(self.time_limit.as_ref(), COMMAND_LIMIT);
        Ok(UserCommand { run: self.run, on_failure: self.on_failure, time_limit })
    }
}

/// The service and the databases of the definition that a snapshot carries; nothing where it cannot be read.
#[must_use]
pub fn hooks_of_definition(definition: &str) -> (Option<String>, Vec<HookUse>) {
    #[derive(Deserialize)]
    struct File {
        profile: BTreeMap<String, OfSnapshot>,
    }
    #[derive(Deserialize)]
    struct OfSnapshot {
        r#use: Option<String>,
        #[serde(default)]
        database: Vec<RawDatabase>,
    }
    let Ok(file) = toml::from_str::<File>(definition) else { return (None, Vec::new()) };
    let Some(profile) = file.profile.into_values().next() else { return (None, Vec::new()) };
    let dumped = |raw: RawDatabase| match raw.read() {
        Ok(Database::Dumped(hook)) => Some(hook),
        _ => None,
    };
    (profile.r#use, profile.database.into_iter().filter_map(dumped).collect())
}

/// The patterns `exclude` and `include` of the definition that a snapshot carries; nothing where it cannot be read.
#[must_use]
pub fn patterns_of_definition(definition: &str) -> (Vec<String>, Vec<String>) {
    #[derive(Deserialize)]
    struct File {
        profile: BTreeMap<String, OfSnapshot>,
    }
    #[derive(Deserialize)]
    struct OfSnapshot {
        #[serde(default)]
        exclude: Vec<String>,
        #[serde(default)]
        include: Vec<String>,
    }
    let profile = toml::from_str::<File>(definition).ok().and_then(|file| file.profile.into_values().next());
    profile.map(|profile| (profile.exclude, profile.include)).unwrap_or_default()
}
