//! From what was typed to what it means: merges the files, fills in defaults, and checks what one key alone cannot show.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::config::{ChunkChoice, Config, Family, Profile, Repository};
use super::dumps::{Database, HookUse, Moments, RawCommand, Role, SqliteFile, UserCommand, duration};
use super::error::ConfigError;
use super::files::{Environment, Given, Source, Text};
use super::formats::some_of_our_own;
use super::keep::RawKeep;
use super::metrics::read_metrics;
use super::notify::read_channel;
use super::origin::{Origin, Origins};
use super::question::Question;
use super::raw::{RawDefaults, RawFamily, RawProfile, Tables, Typed};
use super::repository::read_repository;
use super::schedule::{read_profile_schedule, read_promises, read_schedule};
use super::scope::{Scope, absolute, file_name, tag, unknown_repository};
use super::service::Service;
use super::verify::{RawVerify, VerifySaid};
use crate::retention::Keep;

/// Merges `files` in their order and lays what the environment says over them.
pub(super) fn resolve(files: &[Source], environment: &Environment) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    for Source { text, raw } in files {
        config.files.push(text.file.to_path_buf());
        read_family(text, &raw.family, &mut config)?;
        read_defaults(text, &raw.defaults, &mut config)?;
        let mut scope = Scope::plain("schedule", text, &mut config.origins);
        read_schedule(&raw.schedule, &mut config.schedule, &mut scope)?;
        let mut scope = Scope::plain("metrics", text, &mut config.origins);
        read_metrics(&raw.metrics, &mut config.metrics, &mut scope)?;
        for (name, raw) in &raw.repository {
            let mut scope = Scope::named("repository", name, text, &mut config.origins);
            scope.claim("", raw.span())?;
            let repository = read_repository(name, raw.get_ref(), raw.span(), &mut scope)?;
            config.repositories.insert(name.clone(), repository);
        }
        for (name, raw) in &raw.notify {
            let mut scope = Scope::named("notify", name, text, &mut config.origins);
            scope.claim("", raw.span())?;
            let channel = read_channel(name, raw.get_ref(), raw.span(), &mut scope)?;
            config.channels.insert(name.clone(), channel);
        }
    }
    // Only now every repository is known that a `to` or a promise may name.
    for Source { text, raw } in files {
        let mut scope = Scope::plain("defaults", text, &mut config.origins);
        scope.repositories(&raw.defaults.to, &config.repositories)?;
        let mut scope = Scope::plain("schedule.check", text, &mut config.origins);
        config.schedule.promises.extend(read_promises(&raw.schedule, &config.repositories, &mut scope)?);
    }
    read_profiles(files, &mut config)?;
    some_of_our_own(&config)?;
    overlay(environment, &mut config);
    Ok(config)
}

/// Reads every profile, those first that others use.
fn read_profiles(files: &[Source], config: &mut Config) -> Result<(), ConfigError> {
    let all = || files.iter().flat_map(|Source { text, raw }| raw.profile.iter().map(move |profile| (text, profile)));
    let mut waiting: Vec<_> = all().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for (text, (name, raw)) in waiting {
            let used = raw.get_ref().r#use.as_ref();
            let own = |used: &&toml::Spanned<String>| all().any(|(_, (other, _))| other == used.get_ref());
            let base = match used.filter(|used| used.get_ref() != name).filter(own) {
                Some(used) => match config.profiles.get(used.get_ref()) {
                    Some(base) => base.clone(),
                    None => {
                        later.push((text, (name, raw)));
                        continue;
                    }
                },
                None => base_of_service(name, used, text, config)?,
            };
            let profile = read_profile(name, raw.get_ref(), raw.span(), text, base, config)?;
            config.profiles.insert(name.clone(), profile);
        }
        if later.len() == before
            && let Some((text, (name, raw))) = later.first()
        {
            let scope = Scope::named("profile", name, text, &mut config.origins);
            let problem = ("goes round in a circle".to_owned(), "let one of the profiles use a built-in one, or none");
            let span = raw.get_ref().r#use.as_ref().map_or_else(|| raw.span(), toml::Spanned::span);
            return Err(scope.wrong("use", span, problem));
        }
        waiting = later;
    }
    Ok(())
}

/// What a profile starts from: a built-in one, or nothing.
fn base_of_service(
    name: &str,
    used: Option<&toml::Spanned<String>>,
    text: &Text,
    config: &mut Config,
) -> Result<Profile, ConfigError> {
    let Some(used) = used else { return Ok(Profile::ad_hoc(Vec::new())) };
    Scope::named("profile", name, text, &mut config.origins).claim("use", used.span())?;
    if let Some(service) = Service::find(used.get_ref()) {
        return Ok(Profile::of_service(service));
    }
    let scope = Scope::named("profile", name, text, &mut config.origins);
    let slugs = Service::all().iter().map(|service| service.slug);
    let meant = super::keys::nearest(used.get_ref(), slugs.chain(config.profiles.keys().map(String::as_str)));
    let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    let problem = format!("names the profile `{}`, which bk does not know{meant}", used.get_ref());
    Err(scope.wrong("use", used.span(), (problem, "`bk profile list` shows the built-in ones")))
}

fn read_family(text: &Text, raw: &RawFamily, config: &mut Config) -> Result<(), ConfigError> {
    let mut scope = Scope::plain("family", text, &mut config.origins);
    let family = &mut config.family;
    family.key_file = scope.path("key-file", &raw.key_file)?.or(family.key_file.take());
    family.password_file = scope.path("password-file", &raw.password_file)?.or(family.password_file.take());
    let command = scope.list("password-command", &raw.password_command, |_| Ok(()))?;
    if let (Some(command), Some(typed)) = (&command, &raw.password_command)
        && command.first().is_none_or(String::is_empty)
    {
        let hint = "write the program and its arguments: `password-command = [\"pass\", \"show\", \"bk\"]`";
        return Err(scope.wrong("password-command", typed.span(), ("names no program".to_owned(), hint)));
    }
    family.password_command = command.or(family.password_command.take());
    let said = [
        ("key-file", family.key_file.is_some(), raw.key_file.as_ref().map(toml::Spanned::span)),
        ("password-file", family.password_file.is_some(), raw.password_file.as_ref().map(toml::Spanned::span)),
        ("password-command", family.password_command.is_some(), raw.password_command.as_ref().map(toml::Spanned::span)),
    ];
    let names: Vec<String> = said.iter().filter(|(_, set, _)| *set).map(|(name, ..)| format!("`{name}`")).collect();
    let last = said.iter().filter_map(|(_, _, span)| span.clone()).max_by_key(|span| span.start);
    match last {
        Some(span) if names.len() > 1 => {
            let problem = format!("says in more than one way how repositories are opened: {}", names.join(" and "));
            Err(scope.section_wrong(span, &problem, "keep one of them"))
        }
        _ => Ok(()),
    }
}

fn read_defaults(text: &Text, raw: &RawDefaults, config: &mut Config) -> Result<(), ConfigError> {
    let mut scope = Scope::plain("defaults", text, &mut config.origins);
    let defaults = &mut config.defaults;
    if let Some(to) = scope.list("to", &raw.to, |_| Ok(()))? {
        defaults.to = to;
    }
    if let Some(switch) = scope.value("one-file-system", &raw.one_file_system)? {
        defaults.one_file_system = switch;
    }
    if let Some(switch) = scope.value("sqlite", &raw.sqlite)? {
        defaults.sqlite = switch;
    }
    let said = [("before", &raw.before), ("after", &raw.after), ("failed", &raw.failed), ("finally", &raw.finally)];
    defaults.moments = read_moments(&mut scope, std::mem::take(&mut defaults.moments), said)?;
    if let Some(max_age) = scope.value("max-age", &raw.max_age)? {
        defaults.max_age = duration(&max_age);
    }
    defaults.verify = read_verify(&raw.verify, &mut scope)?.or(defaults.verify);
    if let Some(scratch) = scope.path("scratch", &raw.scratch)? {
        defaults.scratch = Some(scratch);
    }
    Ok(())
}

fn read_profile(
    name: &str,
    raw: &RawProfile,
    section: Range<usize>,
    text: &Text,
    base: Profile,
    config: &mut Config,
) -> Result<Profile, ConfigError> {
    let default_to = config.default_to();
    let mut scope = Scope::named("profile", name, text, &mut config.origins);
    scope.claim("", section.clone())?;
    let paths = read_paths(raw, section, base.service.is_some() || !base.paths.is_empty(), &mut scope)?;
    scope.repositories(&raw.to, &config.repositories)?;
    let to = scope.list("to", &raw.to, |_| Ok(()))?;
    let one_file_system = scope.value("one-file-system", &raw.one_file_system)?;
    let sqlite = scope.value("sqlite", &raw.sqlite)?;
    for key in ["to", "one-file-system", "sqlite"] {
        scope.inherit(key);
    }
    let mut exclude = base.exclude;
    exclude.extend(scope.patterns("exclude", &raw.exclude)?);
    let (candidates, paths) = paths.map_or((base.candidates, base.paths), |paths| (false, paths));
    let keep = read_keeps(raw, base.keep, &config.repositories, &mut scope)?;
    let max_age = scope.value("max-age", &raw.max_age)?.as_deref().and_then(duration);
    let (sqlite_files, hooks) = read_hooks(raw, base.sqlite_files, base.hooks, base.service, &mut scope)?;
    Ok(Profile {
        name: name.to_owned(),
        paths,
        exclude,
        include: if raw.include.is_some() { scope.patterns("include", &raw.include)? } else { base.include },
        tags: scope.list("tags", &raw.tags, tag)?.unwrap_or(base.tags),
        chunk_class: scope
            .value("chunk-class", &raw.chunk_class)?
            .map_or(base.chunk_class, |word| chunk_class(Some(word))),
        one_file_system: one_file_system.unwrap_or(base.one_file_system || config.defaults.one_file_system),
        exclude_caches: scope.value("exclude-caches", &raw.exclude_caches)?.unwrap_or(base.exclude_caches),
        exclude_larger_than: larger_than(raw, &mut scope)?.or(base.exclude_larger_than),
        exclude_if_present: scope
            .list("exclude-if-present", &raw.exclude_if_present, file_name)?
            .unwrap_or(base.exclude_if_present),
        sqlite: sqlite.unwrap_or(base.sqlite && config.defaults.sqlite),
        to: to.unwrap_or(if base.to.is_empty() { default_to } else { base.to }),
        service: base.service,
        candidates,
        container: scope.value("container", &raw.container)?.or(base.container),
        keep,
        schedule: read_profile_schedule(&raw.schedule, &mut scope)?.or(base.schedule),
        max_age: max_age.or(base.max_age),
        verify: read_verify(&raw.verify, &mut scope)?.or(base.verify),
        questions: read_questions(raw, base.questions, &scope)?,
        sqlite_files,
        hooks,
        moments: read_moments(
            &mut scope,
            base.moments,
            [("before", &raw.before), ("after", &raw.after), ("failed", &raw.failed), ("finally", &raw.finally)],
        )?,
    })
}

pub(super) fn read_keep(key: &str, typed: &toml::Spanned<RawKeep>, scope: &mut Scope<'_>) -> Result<Keep, ConfigError> {
    scope.claim(key, typed.span())?;
    super::keep::read(typed.get_ref()).map_err(|error| {
        let hint = "a count is a whole number or \"all\", a span is such as \"30d\" or \"2y\"";
        scope.wrong(key, typed.span(), (format!("cannot be used: {error}"), hint))
    })
}

/// Rules for single repositories come on top of those of what the profile uses.
fn read_keeps(
    raw: &RawProfile,
    mut keep: BTreeMap<String, Keep>,
    known: &BTreeMap<String, Repository>,
    scope: &mut Scope<'_>,
) -> Result<BTreeMap<String, Keep>, ConfigError> {
    for (name, typed) in &raw.keep {
        let key = format!("keep.{name}");
        if !known.contains_key(name) {
            return Err(scope.wrong(&key, typed.span(), unknown_repository(name, known.keys())));
        }
        keep.insert(name.clone(), read_keep(&key, typed, scope)?);
    }
    Ok(keep)
}

fn read_verify(typed: &Typed<RawVerify>, scope: &mut Scope<'_>) -> Result<VerifySaid, ConfigError> {
    let Some(typed) = typed else { return Ok(VerifySaid::default()) };
    scope.claim("verify", typed.span())?;
    typed.get_ref().read().map_err(|problem| scope.wrong("verify", typed.span(), problem))
}

/// What a profile asks comes on top of what the service is asked.
fn read_questions(
    raw: &RawProfile,
    mut questions: Vec<Question>,
    scope: &Scope<'_>,
) -> Result<Vec<Question>, ConfigError> {
    for typed in &raw.drill {
        let read = typed.get_ref().clone().read();
        questions.push(read.map_err(|problem| scope.wrong("drill", typed.span(), problem))?);
    }
    Ok(questions)
}

/// The databases of a profile replace those of what it uses; its hooks come on top.
fn read_hooks(
    raw: &RawProfile,
    mut files: Vec<SqliteFile>,
    mut hooks: Vec<HookUse>,
    service: Option<&str>,
    scope: &mut Scope<'_>,
) -> Result<(Vec<SqliteFile>, Vec<HookUse>), ConfigError> {
    if !raw.database.is_empty() {
        files.clear();
        hooks.retain(|hook| hook.role != Role::Database);
    }
    for typed in &raw.database {
        match typed.get_ref().clone().read().map_err(|problem| scope.wrong("database", typed.span(), problem))? {
            Database::File(file) => files.push(file),
            Database::Dumped(hook) => hooks.push(hook),
        }
    }
    for typed in &raw.hook {
        let hook = typed.get_ref().clone().read().map_err(|problem| scope.wrong("hook", typed.span(), problem))?;
        // The one that the service needs is there already; said again, it is that one with settings.
        hooks.retain(|other| *other != HookUse::needed(&hook.hook));
        hooks.push(hook);
    }
    if let Some(typed) = &raw.quiesce {
        scope.claim("quiesce", typed.span())?;
        let known = service.and_then(Service::find);
        let maintenance = known.filter(|service| service.quiesce.as_deref() == Some("maintenance"));
        let maintenance = maintenance.and_then(|service| service.hook.as_deref());
        let quiesce = typed.get_ref().clone().read(maintenance);
        hooks.retain(|hook| hook.role != Role::Quiesce);
        hooks.extend(quiesce.map_err(|problem| scope.wrong("quiesce", typed.span(), problem))?);
    }
    if let Some(typed) = &raw.snapshot {
        scope.claim("snapshot", typed.span())?;
        let snapshot = typed.get_ref().clone().read();
        hooks.retain(|hook| hook.role != Role::Snapshot);
        hooks.push(snapshot.map_err(|problem| scope.wrong("snapshot", typed.span(), problem))?);
    }
    Ok((files, hooks))
}

/// Commands of a profile replace those of what it uses, moment by moment.
fn read_moments(
    scope: &mut Scope<'_>,
    mut moments: Moments,
    said: [(&str, &Tables<RawCommand>); 4],
) -> Result<Moments, ConfigError> {
    for (name, tables) in said {
        if tables.is_empty() {
            continue;
        }
        let read = |typed: &toml::Spanned<RawCommand>| {
            typed.get_ref().clone().read().map_err(|problem| scope.wrong(name, typed.span(), problem))
        };
        let commands = tables.iter().map(read).collect::<Result<Vec<UserCommand>, ConfigError>>()?;
        *match name {
            "before" => &mut moments.before,
            "after" => &mut moments.after,
            "failed" => &mut moments.failed,
            _ => &mut moments.finally,
        } = commands;
    }
    Ok(moments)
}

/// `None` when the profile says nothing and has them from what it uses, or has only databases.
fn read_paths(
    raw: &RawProfile,
    section: Range<usize>,
    inherited: bool,
    scope: &mut Scope<'_>,
) -> Result<Option<Vec<PathBuf>>, ConfigError> {
    let hint = "say what to back up: `paths = [\"/srv/wiki\"]`, or `root = \"/srv/wiki\"` for one folder; \
                a built-in profile knows its own: `use = \"gitea\"`";
    let paths = match (&raw.paths, &raw.root) {
        (Some(_), Some(root)) => {
            return Err(scope.section_wrong(root.span(), "has both `paths` and `root`", "keep one of them"));
        }
        (None, None) if inherited || !raw.database.is_empty() || !raw.hook.is_empty() => return Ok(None),
        (None, None) => return Err(scope.section_wrong(section, "has neither `paths` nor `root`", hint)),
        (None, Some(root)) => {
            scope.claim("paths", root.span())?;
            let path = absolute(root.get_ref()).map_err(|problem| scope.wrong("root", root.span(), problem))?;
            return Ok(Some(vec![path]));
        }
        (Some(paths), None) => paths,
    };
    scope.claim("paths", paths.span())?;
    if paths.get_ref().is_empty() {
        return Err(scope.wrong("paths", paths.span(), ("is empty".to_owned(), hint)));
    }
    let mut read: Vec<PathBuf> = Vec::new();
    for entry in paths.get_ref() {
        let path = absolute(entry.get_ref()).map_err(|problem| scope.wrong("paths", entry.span(), problem))?;
        if read.contains(&path) {
            let problem = (format!("names {} twice", path.display()), "name each path once");
            return Err(scope.wrong("paths", entry.span(), problem));
        }
        read.push(path);
    }
    Ok(Some(read))
}

/// Other words were refused when the file was checked.
fn chunk_class(word: Option<String>) -> ChunkChoice {
    let all = [ChunkChoice::Auto, ChunkChoice::Coarse, ChunkChoice::Fine];
    all.into_iter().find(|choice| Some(choice.word()) == word.as_deref()).unwrap_or_default()
}

fn larger_than(raw: &RawProfile, scope: &mut Scope<'_>) -> Result<Option<u64>, ConfigError> {
    let size = scope.value("exclude-larger-than", &raw.exclude_larger_than)?;
    match (size, &raw.exclude_larger_than) {
        (Some(size), Some(typed)) if size.0 == 0 => {
            let problem =
                ("is 0, which would leave out every file that is not empty".to_owned(), "write a larger size");
            Err(scope.wrong("exclude-larger-than", typed.span(), problem))
        }
        (size, _) => Ok(size.map(|size| size.0)),
    }
}

/// Flags over environment over files: the strongest source that says how repositories are opened says it alone.
fn overlay(environment: &Environment, config: &mut Config) {
    let Environment { key_file, password_file, password_command, .. } = environment;
    let flagged = |origin: &Origin| matches!(origin, Origin::Flag(_));
    let origins = [origin(key_file), origin(password_file), origin(password_command)];
    let by_flag = origins.into_iter().flatten().any(flagged);
    if origins.iter().all(Option::is_none) {
        return;
    }
    for key in ["key-file", "password-file", "password-command"] {
        config.origins.remove(&format!("family.{key}"));
    }
    let origins = &mut config.origins;
    config.family = Family {
        key_file: strongest("key-file", key_file, by_flag, origins),
        password_file: strongest("password-file", password_file, by_flag, origins),
        password_command: strongest("password-command", password_command, by_flag, origins),
    };
}

fn origin<T>(given: &Option<Given<T>>) -> Option<&Origin> {
    given.as_ref().map(|given| &given.origin)
}

/// The value, unless it comes from the environment and a flag was given.
fn strongest<T: Clone>(key: &str, given: &Option<Given<T>>, by_flag: bool, origins: &mut Origins) -> Option<T> {
    let given = given.as_ref().filter(|given| !by_flag || matches!(given.origin, Origin::Flag(_)))?;
    origins.insert(format!("family.{key}"), given.origin.clone());
    Some(given.value.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::check;
    use super::*;

    fn load(files: &[(&str, &str)], environment: &Environment) -> Result<Config, ConfigError> {
        let source = |(file, content): &(&str, &str)| {
            let text = Text { file: std::sync::Arc::new(file.into()), content: (*content).to_owned() };
            check::parse(&text).map(|raw| Source { text, raw })
        };
        let files = files.iter().map(source).collect::<Result<Vec<Source>, ConfigError>>()?;
        resolve(&files, environment)
    }

    fn read(content: &str) -> Result<Config, ConfigError> {
        load(&[("/bk.toml", content)], &Environment::default())
    }

    fn refused(content: &str) -> (String, String) {
        let error = read(content).unwrap_err();
        (error.to_string(), error.hint().into_owned())
    }

    const TWO: &str = "[repository.ssd]\nlocation = \"/mnt/ssd/bk\"\n[repository.b2]\nlocation = \"b2://bucket/x\"\n";

    #[test]
    fn the_hook_that_a_service_needs_is_there_once_also_when_it_is_said_or_read_back() {
        let hooks = |content: &str| read(content).unwrap().profiles["p"].hooks.clone();
        let plain = "[profile.p]\nuse = \"prometheus\"\n";
        let written = read(plain).unwrap().profiles["p"].definition();
        assert_eq!(hooks(&written), hooks(plain), "{written}");
        assert_eq!(hooks(plain).len(), 1);
        let said =
            hooks(&format!("{plain}[[profile.p.hook]]\nrun = \"prometheus\"\nsettings = {{ url = \"http://x\" }}\n"));
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].settings["url"], ["http://x"]);
        let other = hooks(&format!("{plain}[[profile.p.hook]]\nrun = \"influxdb\"\n"));
        assert_eq!(other.len(), 2);
    }

    #[test]
    fn an_empty_configuration_has_the_defaults() {
        let config = read("").unwrap();
        assert_eq!(config.defaults, super::super::Defaults::default());
        assert!(config.profiles.is_empty() && config.repositories.is_empty());
    }

    #[test]
    fn a_profile_that_says_nothing_gets_the_defaults_and_every_repository() {
        let config = read(&format!("{TWO}[profile.a]\nroot = \"/srv/./a/\"")).unwrap();
        let expected =
            Profile { name: "a".into(), to: vec!["b2".into(), "ssd".into()], ..Profile::ad_hoc(vec!["/srv/a".into()]) };
        assert_eq!(config.profiles["a"], expected);
        assert_eq!(config.origin("profile.a.to"), Origin::Default);
    }

    #[test]
    fn the_defaults_section_holds_unless_the_profile_says_otherwise() {
        let text = format!(
            "{TWO}[defaults]\nto = [\"ssd\"]\none-file-system = true\nsqlite = false\nscratch = \"/var/tmp/bk\"\n\
             [profile.a]\nroot = \"/a\"\n[profile.b]\nroot = \"/b\"\nto = [\"b2\"]\none-file-system = false\nsqlite = true\n"
        );
        let config = read(&text).unwrap();
        let seen = |name: &str| {
            let profile = &config.profiles[name];
            (profile.to.join(" "), profile.one_file_system, profile.sqlite)
        };
        assert_eq!(seen("a"), ("ssd".into(), true, false));
        assert_eq!(seen("b"), ("b2".into(), false, true));
        assert_eq!(config.defaults.scratch.as_deref(), Some(Path::new("/var/tmp/bk")));
        assert_eq!(config.origin("profile.a.sqlite").to_string(), "/bk.toml:8");
        assert_eq!(config.origin("profile.b.sqlite").to_string(), "/bk.toml:16");
    }

    #[test]
    fn show_tells_every_value_with_its_origin() {
        let config =
            read(&format!("{TWO}min-free = \"20GiB\"\n[profile.a]\nroot = \"/a\"\nexclude = [\"x\"]")).unwrap();
        let shown = config.show();
        let lines: Vec<String> =
            shown.iter().map(|one| format!("{} = {} # {}", one.key, one.value, one.origin)).collect();
        assert_eq!(
            lines,
            [
                "defaults.one-file-system = false # default",
                "defaults.sqlite = true # default",
                "profile.a.chunk-class = \"auto\" # default",
                "profile.a.exclude = [\"x\"] # /bk.toml:8",
                "profile.a.exclude-caches = false # default",
                "profile.a.one-file-system = false # default",
                "profile.a.paths = [\"/a\"] # /bk.toml:7",
                "profile.a.sqlite = true # default",
                "profile.a.to = [\"b2\", \"ssd\"] # default",
                "repository.b2.location = \"b2://bucket/x\" # /bk.toml:4",
                "repository.b2.min-free = \"20GiB\" # /bk.toml:5",
                "repository.ssd.location = \"/mnt/ssd/bk\" # /bk.toml:2",
            ]
        );
    }

    #[test]
    fn paths_that_are_not_absolute_are_refused_with_their_line() {
        let cases = [
            (
                "[profile.a]\npaths = [\"/x\",\n\"~/y\"]",
                "/bk.toml:3: `paths` in [profile.a] is `~/y`, which is not an absolute path",
            ),
            ("[profile.a]\nroot = \"x\"", "/bk.toml:2: `root` in [profile.a] is `x`, which is not an absolute path"),
            ("[profile.a]\nroot = \"/a/../b\"", "/bk.toml:2: `root` in [profile.a] is `/a/../b`, which has `..` in it"),
            (
                "[profile.a]\nroot = \"/a\\u0000\"",
                "/bk.toml:2: `root` in [profile.a] holds a zero byte, which no path can",
            ),
            (
                "[family]\nkey-file = \"key\"",
                "/bk.toml:2: `key-file` in [family] is `key`, which is not an absolute path",
            ),
            (
                "[defaults]\nscratch = \"tmp\"",
                "/bk.toml:2: `scratch` in [defaults] is `tmp`, which is not an absolute path",
            ),
            (
                "[repository.a]\nlocation = \"bk\"",
                "/bk.toml:2: `location` in [repository.a] is `bk`, which is not an absolute path",
            ),
            (
                "[repository.a]\nlocation = \"/a\"\nrequire-mount = \"mnt\"",
                "/bk.toml:3: `require-mount` in [repository.a] is `mnt`, which is not an absolute path",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(refused(text).0, message);
        }
        assert!(refused(cases[0].0).1.starts_with("begin it with `/`"));
    }

    #[test]
    fn sections_that_lack_or_contradict_something_are_refused() {
        let cases = [
            ("[repository.a]\nmin-free = 1", "/bk.toml:1: [repository.a] has no `location`"),
            ("\n[profile.a]\nsqlite = true", "/bk.toml:2: [profile.a] has neither `paths` nor `root`"),
            ("[profile.a]\npaths = []", "/bk.toml:2: `paths` in [profile.a] is empty"),
            ("[profile.a]\npaths = [\"/a\"]\nroot = \"/b\"", "/bk.toml:3: [profile.a] has both `paths` and `root`"),
            ("[profile.a]\npaths = [\"/a\", \"/a/\"]", "/bk.toml:2: `paths` in [profile.a] names /a twice"),
            (
                "[family]\nkey-file = \"/k\"\npassword-file = \"/p\"",
                "/bk.toml:3: [family] says in more than one way how repositories are opened: `key-file` and `password-file`",
            ),
            ("[family]\npassword-command = []", "/bk.toml:2: `password-command` in [family] names no program"),
        ];
        for (text, message) in cases {
            let (found, hint) = refused(text);
            assert_eq!(found, message);
            assert!(!hint.is_empty());
        }
    }

    #[test]
    fn a_to_that_names_no_configured_repository_is_refused() {
        let cases = [
            ("to = [\"sdd\"]", "names the repository `sdd`, which is not configured; did you mean `ssd`?"),
            ("to = [\"elsewhere\"]", "names the repository `elsewhere`, which is not configured"),
            ("to = []", "names no repository"),
            ("to = [\"ssd\", \"ssd\"]", "names `ssd` twice"),
        ];
        for (line, problem) in cases {
            let profile = format!("{TWO}[profile.a]\nroot = \"/a\"\n{line}");
            assert_eq!(refused(&profile).0, format!("/bk.toml:7: `to` in [profile.a] {problem}"));
            let defaults = format!("{TWO}[defaults]\n{line}");
            assert_eq!(refused(&defaults).0, format!("/bk.toml:6: `to` in [defaults] {problem}"));
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let cases = [
            ("tags = [\"a,b\"]", "`tags` in [profile.a] has the tag `a,b`: a tag is not empty and has no comma"),
            ("tags = [\"\"]", "`tags` in [profile.a] has the tag ``: a tag is not empty and has no comma"),
            (
                "exclude-if-present = [\"a/b\"]",
                "`exclude-if-present` in [profile.a] has `a/b`, which is not a file name",
            ),
            (
                "exclude-larger-than = 0",
                "`exclude-larger-than` in [profile.a] is 0, which would leave out every file that is not empty",
            ),
        ];
        for (line, message) in cases {
            let (found, hint) = refused(&format!("[profile.a]\nroot = \"/a\"\n{line}"));
            assert_eq!(found, format!("/bk.toml:3: {message}"));
            assert!(!hint.is_empty());
        }
    }

    #[test]
    fn a_malformed_pattern_is_refused_with_its_own_line() {
        let (message, hint) = refused("[profile.a]\nroot = \"/a\"\nexclude = [\n\"ok\",\n\"a[b\",\n]");
        let expected = "pattern `a[b` has a `[` that is not closed before the next `/`";
        assert_eq!(message, format!("/bk.toml:5: `exclude` in [profile.a]: {expected}"));
        assert_eq!(hint, "to match a bracket itself write `\\[`");
        let (message, _) = refused("[profile.a]\nroot = \"/a\"\ninclude = [\"!x\"]");
        let expected = "pattern `!x` begins with `!`, which has no meaning in an include list";
        assert_eq!(message, format!("/bk.toml:3: `include` in [profile.a]: {expected}"));
    }

    #[test]
    fn files_add_to_each_other_and_a_profile_may_name_a_repository_of_a_later_file() {
        let first = ("/a.toml", "[profile.a]\nroot = \"/a\"\nto = [\"disk\"]\n[defaults]\nsqlite = false");
        let second = ("/b.toml", "[repository.disk]\nlocation = \"/mnt\"\n[defaults]\none-file-system = true");
        let config = load(&[first, second], &Environment::default()).unwrap();
        assert_eq!(config.profiles["a"].to, ["disk"]);
        assert!(config.defaults.one_file_system && !config.defaults.sqlite);
    }

    #[test]
    fn what_two_files_both_say_is_an_error_that_names_both() {
        let cases = [
            ("[profile.a]\nroot = \"/a\"", "[profile.a] is in two files: /x.toml:1 and /y.toml:2"),
            ("[repository.a]\nlocation = \"/a\"", "[repository.a] is in two files: /x.toml:1 and /y.toml:2"),
            ("[defaults]\nsqlite = true", "`sqlite` in [defaults] is in two files: /x.toml:2 and /y.toml:3"),
            ("[family]\nkey-file = \"/k\"", "`key-file` in [family] is in two files: /x.toml:2 and /y.toml:3"),
        ];
        for (text, message) in cases {
            let files = [("/x.toml", text), ("/y.toml", &format!("\n{text}"))];
            let error = load(&files, &Environment::default()).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.hint(), "keep one of the two");
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_both_over_files_as_a_whole() {
        let file = [("/bk.toml", "[family]\npassword-command = [\"pass\"]")];
        let key_file = Given { value: "/env/key".into(), origin: Origin::Environment("BK_KEY_FILE") };
        let password_file = Given { value: "pw".into(), origin: Origin::Flag("--password-file") };
        let environment = Environment { key_file: Some(key_file), ..Environment::default() };
        let config = load(&file, &environment).unwrap();
        assert_eq!(config.family, Family { key_file: Some("/env/key".into()), ..Family::default() });
        assert_eq!(config.origin("family.key-file").to_string(), "environment BK_KEY_FILE");
        assert_eq!(config.origin("family.password-command"), Origin::Default);
        let config = load(&file, &Environment { password_file: Some(password_file), ..environment }).unwrap();
        assert_eq!(config.family, Family { password_file: Some("pw".into()), ..Family::default() });
        assert_eq!(config.show()[2].origin, "flag --password-file");
    }
}
