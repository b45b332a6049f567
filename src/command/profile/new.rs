//! `bk profile new`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::super::service::Overheard;
use super::super::{Session, service};
use crate::job::{Detected, Plan};
use crate::profile::{Profile, Role, Service, nearest, profile_name_problem};
use crate::ui::{Exit, Failure};

/// Lines of prose begin with `# `, settings to be switched on with `#`.
struct Draft {
    lines: Vec<String>,
}

impl Draft {
    fn say(&mut self, text: &str) {
        self.lines.extend(crate::ui::text::wrapped(text, 100).into_iter().map(|line| format!("# {line}")));
    }

    fn set(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn offer(&mut self, line: impl AsRef<str>) {
        self.lines.push(format!("#{}", line.as_ref()));
    }

    fn gap(&mut self) {
        self.lines.push(String::new());
    }
}

/// Prints the section.
pub(super) fn run(session: &Session, name: &str, root: Option<&Path>) -> Result<Exit, Failure> {
    if let Some((problem, hint)) = profile_name_problem(name) {
        return Err(Failure::usage(format!("[profile.{name}] {problem}"), hint));
    }
    let root = root.map(absolute).transpose()?;
    let known = Service::find(name);
    let text = match known {
        Some(service) => {
            let base = Profile::of_service(service);
            let paths = root.clone().map_or(base.paths.clone(), |root| vec![root]);
            let profile = Profile { candidates: root.is_none(), paths, ..base };
            let plan = service::plan(&profile, &service::looking(session, Arc::new(Overheard::default()))?)?;
            of_service(name, service, root.as_deref(), &plan, &session.config.default_to())
        }
        None => of_ones_own(name, root.as_deref(), &session.config.default_to()),
    };
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({ "name": name, "service": known.map(|service| service.slug), "text": text }));
        return Ok(Exit::Complete);
    }
    screen.bytes(text.as_bytes());
    let note = |text: String| screen.note(&format!("note: {text}"));
    if session.config.profiles.contains_key(name) {
        note(format!(
            "[profile.{name}] is configured already, at {}",
            session.config.origin(&format!("profile.{name}"))
        ));
    }
    if let Some(root) = root.filter(|root| !root.exists()) {
        note(format!("{} does not exist on this machine now", root.display()));
    }
    if known.is_none()
        && let Some(meant) = nearest(name, Service::all().iter().map(|service| service.slug))
    {
        note(format!("bk knows no service `{name}`; for the built-in profile `{meant}` run `bk profile new {meant}`"));
    }
    Ok(Exit::Complete)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::of(Exit::Usage, &error, "give the path of a folder"))
}

/// A text as TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn begin(name: &str, title: &str) -> Draft {
    let mut draft = Draft { lines: Vec::new() };
    draft.say(title);
    draft.say(&format!(
        "Put this into /etc/bk/bk.toml, or into a file of its own in conf.d/ beside it. Then see `bk profile show {name}` \
         and `bk doctor {name}`. Lines that begin with # and no space are settings to switch on."
    ));
    draft.set(format!("[profile.{name}]"));
    draft
}

fn of_service(name: &str, service: &'static Service, root: Option<&Path>, plan: &Plan, to: &[String]) -> String {
    let mut draft = begin(name, &format!("{}: {}.", service.service, service.about));
    draft.say("The built-in profile; what is said below changes it.");
    draft.set(format!("use = {}", quoted(service.slug)));
    draft.gap();
    place(&mut draft, service, root, plan);
    repositories(&mut draft, to);
    draft.say("When it runs in a container: bk asks the runtime where its folders lie and what it is told.");
    draft.offer(format!("container = {{ runtime = \"podman\", name = {}, owner = \"svc\" }}", quoted(name)));
    draft.gap();
    draft.say("Left out on top of what the built-in profile leaves out; `!pattern` takes one of those back.");
    excludes(&mut draft, service, plan);
    databases(&mut draft, name, plan.detected.as_ref(), &Profile::of_service(service));
    quiesce(&mut draft, name, service.slug, service.quiesce.as_deref());
    snapshot_and_commands(&mut draft, name);
    draft.lines.join("\n") + "\n"
}

fn place(draft: &mut Draft, service: &Service, root: Option<&Path>, plan: &Plan) {
    if let Some(root) = root {
        draft.say("Where its data lies.");
        draft.set(format!("root = {}", path(root)));
    } else if let Some(first) = plan.roots.first() {
        let found: Vec<_> = plan.roots.iter().map(|root| root.display().to_string()).collect();
        draft.say(&format!(
            "Where its data lies. Found on this machine, and backed up when nothing is said here: {}",
            found.join(", ")
        ));
        draft.offer(format!("root = {}", path(first)));
    } else if service.roots.is_empty() {
        draft.say("Where its data lies. bk knows no place of its own for it.");
        draft.offer(format!("root = {}", quoted(&format!("/mnt/data/{}", service.slug))));
    } else {
        draft.say("Where its data lies. NOT FOUND on this machine in any place that bk knows: say it here.");
        draft.set(format!("root = {}", quoted(&format!("/mnt/data/{}", service.slug))));
    }
    draft.gap();
}

fn excludes(draft: &mut Draft, known: &Service, plan: &Plan) {
    if known.optional_exclude.is_empty() {
        draft.offer("exclude = [\"folder/**\"]");
        return;
    }
    let prefix = service::prefixes(plan).into_iter().next().unwrap_or_default();
    draft.offer("exclude = [");
    for (pattern, reason) in &known.optional_exclude {
        let prefix = if pattern.starts_with('/') { "" } else { prefix.as_str() };
        draft.offer(format!("    {},  # {reason}", quoted(&format!("{prefix}{pattern}"))));
    }
    draft.offer("]");
}

fn repositories(draft: &mut Draft, to: &[String]) {
    draft.say("Names of the repositories to back up to. When nothing is said: those of [defaults], else all.");
    let names: Vec<String> = to.iter().map(|name| quoted(name)).collect();
    draft.offer(if names.is_empty() { "to = [\"disk\"]".to_owned() } else { format!("to = [{}]", names.join(", ")) });
    draft.gap();
}

fn databases(draft: &mut Draft, name: &str, detected: Option<&Detected>, profile: &Profile) {
    let all: BTreeSet<&str> =
        profile.hooks.iter().filter(|hook| hook.role == Role::Database).map(|hook| hook.hook.as_str()).collect();
    let used: Vec<&str> = match detected {
        Some(found) if all.contains(found.engine.as_str()) => vec![found.engine.as_str()],
        Some(found) if found.file.is_some() => Vec::new(),
        _ => all.into_iter().collect(),
    };
    if used.is_empty() {
        return;
    }
    draft.gap();
    let found = detected
        .and_then(|found| Some(format!("{} says that it uses {}. ", found.file.as_ref()?.display(), found.engine)));
    draft.say(&format!(
        "{}Only needed when bk cannot find out by itself how to reach the server, for instance in a container. Databases \
         that are named here replace ALL those of the built-in profile.",
        found.unwrap_or_default()
    ));
    for engine in used {
        draft.offer(format!("[[profile.{name}.database]]"));
        draft.offer(format!("engine = {}", quoted(engine)));
        if engine != "redis" {
            let database = detected.and_then(|found| found.name.as_deref()).unwrap_or(name);
            draft.offer(format!("name = {}", quoted(database)));
        }
        draft.offer(format!(
            "container = {{ runtime = \"podman\", name = {}, owner = \"svc\" }}",
            quoted(&format!("{name}-db"))
        ));
    }
}

fn quiesce(draft: &mut Draft, name: &str, unit: &str, possible: Option<&str>) {
    draft.gap();
    draft.say("Nothing is stopped while it is read, unless you say so here.");
    draft.offer(format!("[profile.{name}.quiesce]"));
    match possible {
        Some("maintenance") => draft.offer("how = \"maintenance\""),
        Some("pause") => {
            draft.offer("how = \"pause\"");
            draft.offer(format!("containers = [{}]", quoted(unit)));
        }
        _ => {
            draft.offer("how = \"stop\"");
            draft.offer(format!("units = [{}]", quoted(&format!("{unit}.service"))));
        }
    }
}

fn snapshot_and_commands(draft: &mut Draft, name: &str) {
    draft.gap();
    draft.say("Read a snapshot of the file system, on which nothing changes meanwhile: btrfs, zfs or lvm.");
    draft.offer(format!("[profile.{name}.snapshot]"));
    draft.offer("filesystem = \"btrfs\"");
    draft.gap();
    draft.say("A command of your own: before, after (a complete snapshot), failed or finally. No shell is used.");
    draft.offer(format!("[[profile.{name}.before]]"));
    draft.offer("run = [\"/usr/bin/sync\"]");
}

fn of_ones_own(name: &str, root: Option<&Path>, to: &[String]) -> String {
    let mut draft = begin(name, "A profile of your own.");
    draft.say("The one folder to back up; for several write `paths = [\"/srv/a\", \"/srv/b\"]` instead.");
    draft.set(format!("root = {}", root.map_or_else(|| quoted(&format!("/srv/{name}")), path)));
    draft.gap();
    repositories(&mut draft, to);
    draft.say(
        "Left out. Patterns begin at the folder: \"cache/**\" is what lies in its folder `cache` and nowhere else.",
    );
    draft.offer("exclude = [\"cache/**\"]");
    draft.gap();
    draft.say("A database is dumped into the snapshot. Engines: postgres, mariadb, redis. SQLite files are found without this.");
    draft.offer(format!("[[profile.{name}.database]]"));
    draft.offer("engine = \"postgres\"");
    draft.offer(format!("name = {}", quoted(name)));
    quiesce(&mut draft, name, name, None);
    snapshot_and_commands(&mut draft, name);
    draft.lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Config, Environment, Given, Origin, load};

    fn load_text(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bk.toml");
        std::fs::write(&file, format!("[repository.disk]\nlocation = \"/mnt/disk\"\n{text}")).unwrap();
        let config = Some(Given { value: file, origin: Origin::Flag("--config") });
        let environment = Environment { uid: 1000, config, ..Environment::default() };
        load(&environment).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Every setting that is offered.
    fn switched_on(text: &str) -> String {
        let on = |line: &str| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' ') || rest.starts_with("    "))
                .unwrap_or(line)
                .to_owned()
        };
        text.lines().map(on).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_printed_for_every_service_is_valid_as_it_stands_and_with_all_that_it_offers() {
        for service in Service::all() {
            let plan = Plan::default();
            let text = of_service(service.slug, service, None, &plan, &["disk".to_owned()]);
            assert_eq!(load_text(&text).profiles[service.slug].service, Some(service.slug));
            // A root may be said already.
            let on = load_text(&switched_on(&text));
            assert!(on.profiles[service.slug].hooks.iter().any(|hook| hook.role == Role::Quiesce), "{text}");
            assert_eq!(on.profiles[service.slug].moments.before.len(), 1);
        }
    }

    #[test]
    fn a_profile_of_ones_own_has_its_root() {
        let text = of_ones_own("wiki", Some(Path::new("/srv/my \"wiki\"")), &[]);
        assert_eq!(load_text(&text).profiles["wiki"].paths, [Path::new("/srv/my \"wiki\"")]);
        let on = load_text(&switched_on(&text));
        assert_eq!(on.profiles["wiki"].hooks.len(), 3);
    }

    #[test]
    fn only_the_engine_that_was_found_is_offered() {
        let detected = Detected {
            engine: "postgres".into(),
            file: Some("/x/app.ini".into()),
            name: Some("git".into()),
            ..Detected::default()
        };
        let mut plan = Plan::default();
        plan.roots.push("/x".into());
        plan.detected = Some(detected);
        let text = of_service("gitea", Service::find("gitea").unwrap(), None, &plan, &[]);
        assert!(text.contains("#engine = \"postgres\"\n#name = \"git\"\n") && !text.contains("mariadb"), "{text}");
        assert!(text.contains("#root = \"/x\""), "{text}");
    }
}
