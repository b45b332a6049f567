//! The configuration written down again: for the snapshot, which carries it, and for `bk config show`.
//!
//! Without secrets: of `password-command` only the program, of a location no password, of where notices go only the host. Contents of files never get
//! here. What is written can be read again as `bk.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::config::{Config, Defaults, Family, Login, Profile, Repository, RepositoryPassword, Shown};
use super::dumps::{Container, HookUse, Moments, OnFailure, Role, SqliteFile, UserCommand};
use super::metrics::Metrics;
use super::notify::{Address, Channel, ChannelKind, Http, Ready, Template, WebAddress};
use super::question::Question;
use super::service::Service;
use crate::size::ByteSize;
use crate::store::Format;

/// Stands where something secret was left out.
const LEFT_OUT: &str = "***";

/// A table that leaves out what is not set.
#[derive(Default)]
struct Section(Table);

impl Section {
    fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn put_some<T: Into<Value>>(self, key: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    fn put_tables(self, key: &str, tables: Vec<Table>) -> Self {
        if tables.is_empty() { self } else { self.put(key, tables) }
    }

    fn put_moments(self, moments: &Moments) -> Self {
        let all = |commands: &[UserCommand]| commands.iter().map(command).collect();
        self.put_tables("before", all(&moments.before))
            .put_tables("after", all(&moments.after))
            .put_tables("failed", all(&moments.failed))
            .put_tables("finally", all(&moments.finally))
    }

    fn put_list(self, key: &str, list: &[String]) -> Self {
        if list.is_empty() { self } else { self.put(key, list.to_vec()) }
    }
}

/// TOML is UTF-8: other bytes of a name are written as U+FFFD.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn optional(path: &Option<PathBuf>) -> Option<String> {
    path.as_deref().map(text)
}

fn size(bytes: Option<u64>) -> Option<String> {
    bytes.map(|bytes| ByteSize(bytes).exact())
}

/// `scheme://user:password@host/…` without the password.
fn without_password(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else { return location.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match authority.rsplit_once('@').map(|(login, host)| (login.split_once(':'), host)) {
        Some((Some((user, _)), host)) => format!("{scheme}://{user}:{LEFT_OUT}@{host}{path}"),
        _ => location.to_owned(),
    }
}

/// A program whose arguments may be secret.
fn program_only(command: &[String]) -> Vec<String> {
    let rest = (command.len() > 1).then(|| LEFT_OUT.to_owned());
    command.iter().take(1).cloned().chain(rest).collect()
}

fn family(family: &Family) -> Table {
    Section::default()
        .put_some("key-file", optional(&family.key_file))
        .put_some("password-file", optional(&family.password_file))
        .put_some("password-command", family.password_command.as_deref().map(program_only))
        .0
}

fn repository(repository: &Repository) -> Table {
    let remote = &repository.remote;
    let login = match &repository.login {
        Some(Login::File(path)) => Some(("credentials-file", Value::from(text(path)))),
        Some(Login::Command(command)) => Some(("credentials-command", Value::from(program_only(command)))),
        Some(Login::AwsProfile(name)) => Some(("aws-profile", Value::from(name.clone()))),
        None => None,
    };
    let password = match &repository.password {
        Some(RepositoryPassword::File(path)) => Some(("password-file", Value::from(text(path)))),
        Some(RepositoryPassword::Command(command)) => Some(("password-command", Value::from(program_only(command)))),
        None => None,
    };
    let mut section = Section::default()
        .put("location", without_password(&repository.location))
        .put_some("format", Some(repository.format.word()).filter(|_| repository.format != Format::Bk))
        .put_some("require-mount", optional(&repository.require_mount))
        .put_some("min-free", size(repository.min_free_bytes))
        .put_some("endpoint", remote.endpoint.clone())
        .put_some("region", remote.region.clone())
        .put_some("path-style", remote.path_style)
        .put_some("storage-class", remote.storage_class.clone())
        .put_some("sse", remote.sse.clone())
        .put_some("sse-kms-key", remote.sse_kms_key.clone())
        .put_some("limit-upload", size(remote.limit_upload))
        .put_some("limit-download", size(remote.limit_download))
        .put_some("retry-for", remote.retry_for.map(seconds))
        .put_list("ssh-options", &remote.ssh_options)
        .put_some("keep", repository.keep.as_ref().map(super::keep::table));
    for (key, value) in login.into_iter().chain(password) {
        section = section.put(key, value);
    }
    section.0
}

fn defaults(defaults: &Defaults) -> Table {
    Section::default()
        .put_list("to", &defaults.to)
        .put("one-file-system", defaults.one_file_system)
        .put("sqlite", defaults.sqlite)
        .put_some("scratch", optional(&defaults.scratch))
        .put_some("max-age", defaults.max_age.map(seconds))
        .put_some("verify", defaults.verify.table())
        .put_moments(&defaults.moments)
        .0
}

fn metrics(metrics: &Metrics) -> Table {
    Section::default()
        .put_some("textfile", optional(&metrics.textfile))
        .put_some("listen", metrics.listen.map(|address| address.to_string()))
        .0
}

fn container(container: &Container) -> Table {
    Section::default()
        .put("runtime", container.runtime.clone())
        .put("name", container.name.clone())
        .put_some("owner", container.owner.clone())
        .put_some("exec-user", container.exec_user.clone())
        .0
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

fn settings(settings: &BTreeMap<String, Vec<String>>) -> Table {
    let value = |values: &Vec<String>| match values.as_slice() {
        [one] => Value::from(one.clone()),
        several => Value::from(several.to_vec()),
    };
    let secret =
        |key: &str| !key.ends_with("-file") && ["password", "token", "secret"].iter().any(|word| key.contains(word));
    let shown = |(key, values): (&String, &Vec<String>)| {
        let value = if secret(key) { Value::from(LEFT_OUT) } else { value(values) };
        (key.clone(), value)
    };
    settings.iter().map(shown).collect()
}

/// A hook with its settings, as a table `key` names.
fn hook(key: &str, hook: &HookUse) -> Table {
    let mut section = Section::default()
        .put(key, hook.hook.clone())
        .put("time-limit", seconds(hook.time_limit))
        .put_some("container", hook.container.as_ref().map(container))
        .put_list("tables", &hook.tables)
        .put_some("when", hook.when.clone())
        .put_some("min-size", size(hook.min_bytes));
    if hook.optional {
        section = section.put("optional", true);
    }
    if !hook.settings.is_empty() {
        section = section.put("settings", settings(&hook.settings));
    }
    section.0
}

fn sqlite_file(file: &SqliteFile) -> Table {
    let mut section = Section::default()
        .put("engine", "sqlite")
        .put("path", file.path.clone())
        .put_list("tables", &file.tables)
        .put_some("when", file.when.clone());
    if file.optional {
        section = section.put("optional", true);
    }
    section.0
}

/// The hooks of `quiesce`, as the one table that they came from.
fn quiesce<'a>(hooks: impl Iterator<Item = &'a HookUse>) -> Option<Table> {
    let mut section = Section::default();
    let mut how = None;
    for hook in hooks {
        let names = hook.settings.get("names").cloned().unwrap_or_default();
        section = section.put("time-limit", seconds(hook.time_limit));
        section = match hook.hook.as_str() {
            "service" => {
                how = how.or(Some("stop".to_owned()));
                section.put_list("units", &names)
            }
            "container" => {
                how = hook.settings.get("how").and_then(|how| how.first()).cloned();
                let container = hook.container.as_ref();
                section
                    .put_list("containers", &names)
                    .put_some("runtime", container.map(|container| container.runtime.clone()))
                    .put_some("owner", container.and_then(|container| container.owner.clone()))
            }
            _ => {
                how = Some("maintenance".to_owned());
                section
            }
        };
    }
    Some(section.put("how", how?).0)
}

fn snapshot(hook: &HookUse) -> Table {
    let section = Section::default().put("filesystem", hook.hook.clone()).put("time-limit", seconds(hook.time_limit));
    if hook.settings.is_empty() { section.0 } else { section.put("settings", settings(&hook.settings)).0 }
}

fn command(command: &UserCommand) -> Table {
    let on_failure = match command.on_failure {
        OnFailure::Fail => "fail",
        OnFailure::Warn => "warn",
        OnFailure::Ignore => "ignore",
    };
    // Arguments may hold a secret that somebody put there.
    let program = command.run.iter().take(1).cloned();
    let rest = (command.run.len() > 1).then(|| LEFT_OUT.to_owned());
    Section::default()
        .put("run", program.chain(rest).collect::<Vec<String>>())
        .put("on-failure", on_failure)
        .put("time-limit", seconds(command.time_limit))
        .0
}

/// Those that do not come with the service.
fn own_questions(profile: &Profile) -> Vec<Table> {
    let known = profile.known().map(Service::questions).unwrap_or_default();
    profile.questions.iter().filter(|question| !known.contains(question)).map(question).collect()
}

fn question(question: &Question) -> Table {
    let mut queries = question.queries.iter().cloned();
    let column = |column: Option<usize>| column.and_then(|column| i64::try_from(column).ok());
    let section = Section::default()
        .put("name", question.name.clone())
        .put_some("when", question.when.clone())
        .put_some("database", question.database.clone())
        .put_some("query", queries.next())
        .put_some("or-query", queries.next())
        .put("at-least", i64::try_from(question.at_least).unwrap_or(i64::MAX))
        .put_some("equals", question.equals.clone())
        .put_list("files", &question.files)
        .put_some("size", column(question.size))
        .put_some("hash", column(question.hash));
    if question.optional { section.put("optional", true).0 } else { section.0 }
}

fn profile(profile: &Profile) -> Table {
    let paths: Vec<String> = profile.paths.iter().map(|path| text(path)).collect();
    let of = |role: Role, key: &str| -> Vec<Table> {
        profile.hooks.iter().filter(|hook| hook.role == role).map(|one| hook(key, one)).collect()
    };
    let mut databases: Vec<Table> = profile.sqlite_files.iter().map(sqlite_file).collect();
    databases.extend(of(Role::Database, "engine"));
    let of_role = |role: Role| profile.hooks.iter().filter(move |hook| hook.role == role);
    Section::default()
        .put_some("use", profile.service.map(str::to_owned))
        .put_list("paths", if profile.candidates { &[] } else { &paths })
        .put_list("to", &profile.to)
        .put_list("exclude", &profile.exclude)
        .put_list("include", &profile.include)
        .put_list("tags", &profile.tags)
        .put("chunk-class", profile.chunk_class.word())
        .put("one-file-system", profile.one_file_system)
        .put("exclude-caches", profile.exclude_caches)
        .put_some("exclude-larger-than", size(profile.exclude_larger_than))
        .put_list("exclude-if-present", &profile.exclude_if_present)
        .put("sqlite", profile.sqlite)
        .put_some("container", profile.container.as_ref().map(container))
        .put_tables("database", databases)
        .put_tables("hook", of(Role::Other, "run"))
        .put_some("quiesce", quiesce(of_role(Role::Quiesce)))
        .put_some("snapshot", of_role(Role::Snapshot).next().map(snapshot))
        .put_some("keep", named(&profile.keep, super::keep::table))
        .put_some("schedule", profile.schedule.as_ref().map(|schedule| schedule.text().to_owned()))
        .put_some("max-age", profile.max_age.map(seconds))
        .put_some("verify", profile.verify.table())
        .put_tables("drill", own_questions(profile))
        .put_moments(&profile.moments)
        .0
}

/// Where HTTP goes: the rest of a URL may be the secret.
fn http(section: Section, http: &Http) -> Section {
    let (url, file) = match &http.address {
        Address::Said(url) => {
            (WebAddress::parse(url.text()).ok().map(|url| format!("{}/{LEFT_OUT}", url.origin())), None)
        }
        Address::File(path) => (None, Some(text(path))),
    };
    let left_out: Table = http.headers.keys().map(|name| (name.clone(), Value::from(LEFT_OUT))).collect();
    let files: Table = http.header_files.iter().map(|(name, path)| (name.clone(), Value::from(text(path)))).collect();
    section
        .put_some("url", url)
        .put_some("url-file", file)
        .put_some("token-file", optional(&http.token_file))
        .put_some("ca-file", optional(&http.ca_file))
        .put_some("headers", Some(left_out).filter(|table| !table.is_empty()))
        .put_some("header-files", Some(files).filter(|table| !table.is_empty()))
}

fn channel(channel: &Channel) -> Table {
    let mut section = Section::default().put("kind", channel.kind.word());
    if !channel.hears_every_run() {
        let on: Vec<String> = channel.on.iter().map(|event| event.word().to_owned()).collect();
        section = section.put("on", on).put_some("digest", channel.digest.clone());
    }
    match &channel.kind {
        ChannelKind::Ntfy(place) | ChannelKind::Ping(place) => http(section, place).0,
        ChannelKind::Webhook { http: place, method, template } => {
            let section = http(section, place);
            match template {
                Template::Ready(Ready::UptimeKuma) => section.put("template", Ready::UptimeKuma.word()).0,
                Template::Ready(ready) => section.put("template", ready.word()).put("method", method.word()).0,
                Template::File(path) => section.put("template-file", text(path)).put("method", method.word()).0,
                Template::Document => section.put("method", method.word()).0,
            }
        }
        ChannelKind::Email(email) => {
            section
                .put_list("to", &email.to)
                .put("from", email.from.clone())
                .put("host", email.host.clone())
                .put("port", i64::from(email.port))
                .put("tls", email.tls.word())
                .put_some("user", email.user.clone())
                .put_some("password-file", optional(&email.password_file))
                .put_some("ca-file", optional(&email.ca_file))
                .0
        }
        ChannelKind::Program(command) => section.put("command", program_only(command)).0,
    }
}

fn named<'a, T: 'a>(all: impl IntoIterator<Item = (&'a String, &'a T)>, write: fn(&T) -> Table) -> Option<Table> {
    let table: Table = all.into_iter().map(|(name, one)| (name.clone(), Value::Table(write(one)))).collect();
    (!table.is_empty()).then_some(table)
}

impl Profile {
    /// The resolved profile as `bk.toml` would say it, without secrets; stored in each of its snapshots.
    #[must_use]
    pub fn definition(&self) -> String {
        let profiles = Section::default().put(&self.name, profile(self)).0;
        Section::default().put("profile", profiles).0.to_string()
    }
}

impl Config {
    fn table(&self) -> Table {
        let family = Some(family(&self.family)).filter(|table| !table.is_empty());
        Section::default()
            .put_some("family", family)
            .put_some("repository", named(&self.repositories, repository))
            .put("defaults", defaults(&self.defaults))
            .put_some("schedule", self.schedule.table())
            .put_some("metrics", Some(metrics(&self.metrics)).filter(|table| !table.is_empty()))
            .put_some("profile", named(&self.profiles, profile))
            .put_some("notify", named(&self.channels, channel))
            .0
    }

    /// The whole configuration as one `bk.toml`, without secrets.
    #[must_use]
    pub fn definition(&self) -> String {
        self.table().to_string()
    }

    /// Every setting that has a value, with where it comes from, in the order of the keys.
    #[must_use]
    pub fn show(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        self.flatten("", &self.table(), &mut shown);
        shown
    }

    fn flatten(&self, above: &str, table: &Table, shown: &mut Vec<Shown>) {
        for (name, value) in table {
            let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            match value {
                Value::Table(table) => self.flatten(&key, table, shown),
                value => {
                    let origin = self.origin(&key).to_string();
                    shown.push(Shown { key, value: value.to_string(), origin });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_location_is_left_out() {
        let cases = [
            ("/mnt/ssd/bk", "/mnt/ssd/bk"),
            ("sftp://me@host/bk", "sftp://me@host/bk"),
            ("sftp://me:secret@host:22/bk", "sftp://me:***@host:22/bk"),
            ("https://me:se@cret@host", "https://me:***@host"),
            ("https://host/a:b@c", "https://host/a:b@c"),
        ];
        for (location, shown) in cases {
            assert_eq!(without_password(location), shown);
        }
    }

    #[test]
    fn secrets_among_the_settings_of_hooks_are_left_out() {
        let told = [("password", "hunter2"), ("api-token", "hunter2"), ("password-file", "/run/key"), ("name", "shop")];
        let told = told.into_iter().map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).collect();
        let text = settings(&told).to_string();
        assert!(!text.contains("hunter2") && text.contains("/run/key") && text.contains("shop"), "{text}");
    }

    #[test]
    fn of_a_password_command_only_the_program_is_written_down() {
        let command = Some(vec!["pass".into(), "show".into(), "hunter2".into()]);
        let config = Config { family: Family { password_command: command, ..Family::default() }, ..Config::default() };
        assert!(config.definition().contains("password-command = [\"pass\", \"***\"]"), "{}", config.definition());
        assert!(config.show().iter().all(|shown| !shown.value.contains("hunter2")));
    }

    #[test]
    fn an_ad_hoc_profile_is_written_with_its_defaults() {
        let definition = Profile::ad_hoc(vec!["/srv/a \"b\"".into()]).definition();
        assert_eq!(
            definition,
            "[profile.ad-hoc]\nchunk-class = \"auto\"\nexclude-caches = false\none-file-system = false\n\
             paths = ['/srv/a \"b\"']\nsqlite = true\n"
        );
    }
}
