//! What there is to say of a profile on this machine, for people and programs alike. No password is among it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::hook::Hook;
use crate::job::{Plan, Surroundings};
use crate::profile::{HookUse, Need, Profile, Role, Service, UserCommand};

/// Settings of hooks that are shown; others may be secret.
const OPEN_SETTINGS: [&str; 11] =
    ["how", "name", "names", "user", "host", "port", "socket", "password-file", "system-user", "format", "owners"];

/// A profile and what it means here.
pub(super) struct Shown<'a> {
    pub profile: &'a Profile,
    pub plan: &'a Plan,
    pub surroundings: &'a Surroundings,
    /// Where it is configured; none when it is a built-in one.
    pub origin: Option<String>,
}

/// A pattern of what is left out.
pub(super) struct Exclude<'a> {
    pub pattern: &'a str,
    /// Why; of the user's own it is known where it was said.
    pub reason: String,
    pub own: bool,
    /// The user takes it back.
    pub taken_back: bool,
}

/// Where the program of a hook comes from.
pub(super) struct Provenance {
    /// `built in`, or its file.
    pub origin: String,
    pub tried_with: Option<&'static str>,
}

impl<'a> Shown<'a> {
    pub fn known(&self) -> Option<&'static Service> {
        self.profile.known()
    }

    /// Data folders that are configured and do not exist.
    pub fn missing(&self) -> Vec<&'a Path> {
        self.plan.roots.iter().map(PathBuf::as_path).filter(|root| std::fs::symlink_metadata(root).is_err()).collect()
    }

    /// Patterns of what is left out, those of the service first.
    pub fn excludes(&self) -> Vec<Exclude<'a>> {
        let own = &self.profile.exclude;
        let prefixes = crate::command::service::prefixes(self.plan);
        let is_it = |one: &str, pattern: &str| {
            one == pattern || prefixes.iter().any(|prefix| one.strip_prefix(prefix.as_str()) == Some(pattern))
        };
        let taken_back =
            |pattern: &str| own.iter().any(|one| one.strip_prefix('!').is_some_and(|one| is_it(one, pattern)));
        let of_service = self.known().into_iter().flat_map(|service| &service.exclude);
        let of_service = of_service.map(|(pattern, reason)| Exclude {
            pattern,
            reason: reason.clone(),
            own: false,
            taken_back: taken_back(pattern),
        });
        let own = own.iter().map(|pattern| Exclude {
            pattern,
            reason: if pattern.starts_with('!') {
                "is kept: the configuration says so"
            } else {
                "the configuration says so"
            }
            .to_owned(),
            own: true,
            taken_back: false,
        });
        of_service.chain(own).collect()
    }

    pub fn hooks(&self, roles: &'static [Role]) -> impl Iterator<Item = &'a HookUse> {
        self.plan.hooks.iter().filter(move |hook| roles.contains(&hook.role))
    }

    /// Where its program comes from.
    ///
    /// # Errors
    /// Why there is none, and the next step.
    pub fn provenance(&self, hook: &HookUse) -> Result<Provenance, (String, String)> {
        let found = Hook::find(&hook.hook, &self.surroundings.hooks);
        let hook = found.map_err(|error| (error.to_string(), error.hint()))?;
        Ok(Provenance { origin: hook.origin(), tried_with: hook.tried_with() })
    }

    /// The password was found in the configuration of the application, and lies in a file of this run only.
    pub fn password_was_found(&self, hook: &HookUse) -> bool {
        let file = hook.settings.get("password-file").and_then(|values| values.first());
        file.is_some_and(|file| Path::new(file).starts_with(&self.surroundings.scratch)) && !self.says_password(hook)
    }

    fn says_password(&self, hook: &HookUse) -> bool {
        let file = hook.settings.get("password-file");
        self.profile.hooks.iter().any(|one| one.hook == hook.hook && one.settings.get("password-file") == file)
    }

    /// What a hook is told, as far as it may be shown; of the rest only the names.
    pub fn settings(&self, hook: &HookUse) -> Vec<(String, Option<String>)> {
        let found = self.password_was_found(hook);
        let place = |key: &str| OPEN_SETTINGS.iter().position(|open| *open == key);
        let mut shown: Vec<_> = hook.settings.iter().filter(|(key, _)| !(found && *key == "password-file")).collect();
        shown.sort_by_key(|(key, _)| place(key).unwrap_or(usize::MAX));
        shown.into_iter().map(|(key, values)| (key.clone(), place(key).map(|_| values.join(", ")))).collect()
    }

    pub fn is_met(&self, need: &Need) -> bool {
        !self.plan.roots.is_empty() && !self.plan.needs.contains(need)
    }

    /// The programs of the user's own commands; arguments may hold a secret.
    pub fn commands(&self) -> Vec<(&'static str, String)> {
        let moments = &self.profile.moments;
        let all: [(&'static str, &[UserCommand]); 4] = [
            ("before", &moments.before),
            ("after", &moments.after),
            ("failed", &moments.failed),
            ("finally", &moments.finally),
        ];
        let program = |command: &UserCommand| command.run.first().cloned().unwrap_or_default();
        all.into_iter().flat_map(|(name, commands)| commands.iter().map(move |one| (name, program(one)))).collect()
    }

    pub fn json(&self) -> Value {
        let mut object = self.known().map(service_json).unwrap_or_default();
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        let missing = self.missing();
        let root = |root: &PathBuf| json!({ "path": text(root), "exists": !missing.contains(&root.as_path()) });
        put("name", self.profile.name.as_str().into());
        put("service", self.profile.service.into());
        put("configured", self.origin.is_some().into());
        put("origin", self.origin.clone().into());
        put("to", self.profile.to.clone().into());
        put("roots", self.plan.roots.iter().map(root).collect());
        put("places_without_data", self.plan.absent.iter().map(|path| text(path)).collect());
        put("include", self.plan.include.clone().into());
        put("exclude", self.excludes().iter().map(exclude_json).collect());
        put("patterns_begin_at", self.plan.anchors.iter().map(|path| text(path)).collect());
        put("engine", self.engine_json());
        put("sqlite", self.plan.sqlite_files.iter().map(sqlite_json).collect());
        put("hooks", self.plan.hooks.iter().map(|hook| self.hook_json(hook)).collect());
        put(
            "commands",
            self.commands().iter().map(|(moment, program)| json!({ "moment": moment, "program": program })).collect(),
        );
        let needs = self.known().map(|service| service.need.as_slice()).unwrap_or_default();
        put("needs", needs.iter().map(|need| self.need_json(need)).collect());
        Value::Object(object)
    }

    fn engine_json(&self) -> Value {
        let Some(found) = &self.plan.detected else { return Value::Null };
        json!({
            "engine": found.engine, "file": found.file.as_deref().map(text), "database": found.name, "user": found.user,
            "host": found.host, "port": found.port, "socket": found.socket, "has_password": found.password.is_some(),
        })
    }

    fn hook_json(&self, hook: &HookUse) -> Value {
        let provenance = self.provenance(hook);
        let (provenance, problem) = match provenance {
            Ok(provenance) => (Some(provenance), None),
            Err((problem, _)) => (None, Some(problem)),
        };
        let settings = self.settings(hook).into_iter().map(|(key, value)| (key, value.into()));
        json!({
            "hook": hook.hook,
            "role": role_word(hook.role),
            "optional": hook.optional,
            "origin": provenance.as_ref().map(|one| one.origin.as_str()),
            "tried_with": provenance.as_ref().and_then(|one| one.tried_with),
            "problem": problem,
            "settings": settings.collect::<Map<String, Value>>(),
            "password_of_application": self.password_was_found(hook),
            "container": hook.container.as_ref().map(|container| json!({
                "runtime": container.runtime, "name": container.name, "owner": container.owner,
                "exec_user": container.exec_user,
            })),
            "tables": hook.tables,
        })
    }

    fn need_json(&self, need: &Need) -> Value {
        json!({
            "any": need.any, "contains": need.contains, "why": need.why, "or_env": need.or_env,
            "in_backup": self.is_met(need),
        })
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn service_json(service: &Service) -> Map<String, Value> {
    let optional: Vec<Value> = service
        .optional_exclude
        .iter()
        .map(|(pattern, reason)| json!({ "pattern": pattern, "reason": reason }))
        .collect();
    let fields = [
        ("title", service.service.as_str().into()),
        ("about", service.about.as_str().into()),
        ("category", service.category.as_str().into()),
        ("aliases", service.aliases.clone().into()),
        ("stateless", (service.state == crate::profile::State::Stateless).into()),
        ("size", service.size.as_str().into()),
        ("value", service.value.as_str().into()),
        ("facts", service.facts.as_str().into()),
        ("keep", service.keep.as_str().into()),
        ("secrets", service.secrets.as_str().into()),
        ("optional_exclude", optional.into()),
        ("quiesce_possible", service.quiesce.clone().into()),
        ("restore", service.restore.clone().into()),
        ("pitfalls", service.pitfalls.clone().into()),
        ("proof", service.proof.clone().into()),
    ];
    fields.into_iter().map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect()
}

fn exclude_json(exclude: &Exclude<'_>) -> Value {
    json!({
        "pattern": exclude.pattern, "reason": exclude.reason,
        "origin": if exclude.own { "configuration" } else { "built-in" }, "taken_back": exclude.taken_back,
    })
}

fn sqlite_json((file, found): &(crate::profile::SqliteFile, Vec<PathBuf>)) -> Value {
    json!({
        "path": file.path, "optional": file.optional, "tables": file.tables,
        "files": found.iter().map(|path| text(path)).collect::<Vec<_>>(),
    })
}

/// What a hook is for, in a word.
const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Quiesce => "quiesce",
        Role::Other => "hook",
        Role::Database => "database",
        Role::Snapshot => "snapshot",
    }
}
