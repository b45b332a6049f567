//! What commands share that know services.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::Session;
use super::session::data_folder;
use crate::hook::{Hook, Journal, SYSTEM_FOLDER};
use crate::job::{Listener, Plan, Surroundings};
use crate::profile::{Profile, Role, Service, nearest};
use crate::ui::{Exit, Failure, Screen};

/// The profile called `name`: of the configuration, else a built-in one.
pub(super) fn profile(session: &Session, name: &str) -> Option<Profile> {
    if let Some(profile) = session.config.profiles.get(name) {
        return Some(profile.clone());
    }
    let service = Service::find(name)?;
    let defaults = &session.config.defaults;
    Some(Profile {
        one_file_system: defaults.one_file_system,
        sqlite: defaults.sqlite,
        to: session.config.default_to(),
        ..Profile::of_service(service)
    })
}

/// That there is no such profile, and which was probably meant.
pub(super) fn unknown(session: &Session, name: &str) -> Failure {
    let built_in =
        Service::all().iter().flat_map(|one| std::iter::once(one.slug).chain(one.aliases.iter().map(String::as_str)));
    let known = built_in.chain(session.config.profiles.keys().map(String::as_str));
    // Who mistypes a name rarely does so in its first letter.
    let known = known.filter(|known| known.chars().next() == name.chars().next());
    let meant = nearest(name, known).map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
    Failure::usage(
        format!("there is no profile called `{name}`"),
        format!(
            "{meant}`bk profile list` shows every profile there is; begin one of your own with `bk profile new {name}`"
        ),
    )
}

/// The home folder, for `~/`.
pub(super) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

pub(super) fn hooks_folder() -> PathBuf {
    std::env::var_os("BK_HOOKS_DIR").map_or_else(|| PathBuf::from(SYSTEM_FOLDER), PathBuf::from)
}

/// Remembers warnings; what else hooks say on the way is not the result.
#[derive(Default)]
pub(super) struct Overheard(Mutex<Vec<String>>);

impl Overheard {
    /// The warnings since this was asked last.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listener for Overheard {
    fn note(&self, _: &str) {}

    fn warning(&self, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
}

/// As [`surroundings`], for commands that only look: no folder is made, and what hooks say on the way is not shown.
pub(super) fn looking(session: &Session, listener: Arc<dyn Listener>) -> Result<Surroundings, Failure> {
    let data = data_folder()?;
    let configured = session.config.defaults.scratch.clone();
    let scratch = configured.into_iter().chain([data.join("scratch")]).find(|folder| folder.is_dir());
    Ok(Surroundings {
        hooks: hooks_folder(),
        journal: Journal::new(data.join("quiesced")),
        scratch: scratch.unwrap_or_else(std::env::temp_dir),
        home: home(),
        cancel: session.stop_flag(),
        listener,
    })
}

/// Which of the places exist where a service may keep its data.
pub(super) fn places_here(profile: &Profile, surroundings: &Surroundings) -> Vec<PathBuf> {
    if !profile.candidates {
        return profile.paths.iter().filter(|path| path.exists()).cloned().collect();
    }
    // Nothing but the places: looking for databases may take long.
    let places = Profile { candidates: true, ..Profile::ad_hoc(profile.paths.clone()) };
    crate::job::plan(&places, surroundings).map(|plan| plan.roots).unwrap_or_default()
}

/// Which of its places exist, when there is proof that a service is on this machine that nobody has configured.
pub(super) fn found_here(service: &Service, profile: &Profile, surroundings: &Surroundings) -> Vec<PathBuf> {
    let proof = Profile { candidates: true, ..Profile::ad_hoc(service.here.iter().map(PathBuf::from).collect()) };
    if !service.here.is_empty() && places_here(&proof, surroundings).is_empty() {
        return Vec::new();
    }
    places_here(profile, surroundings)
}

/// Hands on to the screen what hooks say.
struct ToScreen(Screen);

impl Listener for ToScreen {
    fn note(&self, message: &str) {
        self.0.note(message);
    }

    fn warning(&self, message: &str) {
        self.0.warning(message);
    }
}

/// Hands on to the screen what hooks say.
pub(super) fn to_screen(session: &Session) -> Arc<dyn Listener> {
    Arc::new(ToScreen(session.screen.clone()))
}

/// What hooks need from this machine.
pub(super) fn surroundings(session: &Session) -> Result<Surroundings, Failure> {
    Ok(Surroundings {
        hooks: hooks_folder(),
        journal: Journal::new(data_folder()?.join("quiesced")),
        scratch: scratch(session)?,
        home: home(),
        cancel: session.stop_flag(),
        listener: to_screen(session),
    })
}

/// The machine's own hooks, as comments: a snapshot carries all that it takes to understand it.
pub(super) fn own_hooks(plan: &Plan, surroundings: &Surroundings) -> String {
    let mut names: Vec<&str> = plan.hooks.iter().map(|used| used.hook.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let own =
        names.into_iter().filter_map(|name| Some((name, Hook::find(name, &surroundings.hooks).ok()?.own_text()?)));
    let commented = own.map(|(name, text)| {
        let lines: Vec<String> = text.lines().map(|line| format!("# {line}\n")).collect();
        format!("\n# The hook `{name}` of this machine:\n{}", lines.concat())
    });
    commented.collect()
}

/// What a profile means on this machine.
pub(super) fn plan(profile: &Profile, surroundings: &Surroundings) -> Result<Plan, Failure> {
    crate::job::plan(profile, surroundings)
        .map_err(|error| Failure::of(Exit::Failed, &error, "check that there is room in the scratch folder"))
}

/// What stands in front of a pattern of the service when the user writes it for a folder of his choice, in which the
/// data of the service begins further below: `Library/Application Support/Plex Media Server/`.
pub(super) fn prefixes(plan: &Plan) -> Vec<String> {
    let below = |anchor: &PathBuf| plan.roots.iter().find_map(|root| anchor.strip_prefix(root).ok().map(PathBuf::from));
    let escaped = |path: PathBuf| {
        let text = path.to_string_lossy().into_owned();
        text.chars().flat_map(|one| "*?[\\".contains(one).then_some('\\').into_iter().chain([one])).collect::<String>()
    };
    plan.anchors.iter().filter_map(below).map(|path| escaped(path) + "/").collect()
}

/// A profile of a service that is not here would be an empty backup that looks like one.
pub(super) fn refuse_empty(profile: &Profile, plan: &Plan) -> Result<(), Failure> {
    let all_in_dumps = profile.known().is_none_or(Service::is_database_server);
    let dumps = all_in_dumps && plan.hooks.iter().any(|hook| hook.role == Role::Database && !hook.optional);
    if !profile.candidates || !plan.roots.is_empty() || dumps {
        return Ok(());
    }
    let places: Vec<String> = plan.absent.iter().map(|path| path.display().to_string()).collect();
    let mut failure = Failure::usage(
        format!("{} keeps its data in none of the places that bk knows", profile.name),
        format!("say where it is: `[profile.{0}]` with `use = \"{0}\"` and `root = \"/its/folder\"`", profile.name),
    );
    failure.causes.push(format!("looked in: {}", places.join(", ")));
    Err(failure)
}

/// Says what a restore will lack.
pub(super) fn warn_of_needs(session: &Session, plan: &Plan) {
    for need in &plan.needs {
        let instead = need.or_env.as_ref().map(|variable| {
            format!("; if it is only in the environment, as {variable}, add the file that sets it to `paths`")
        });
        session.screen.warning(&format!(
            "not in this backup: {}: {}{}",
            need.any.join(" or "),
            need.why,
            instead.unwrap_or_default()
        ));
    }
}

/// Folder for copies of databases: the configured one, else `scratch` below the data folder when that can be made.
pub(super) fn scratch(session: &Session) -> Result<PathBuf, Failure> {
    if let Some(folder) = &session.config.defaults.scratch {
        std::fs::create_dir_all(folder).map_err(|error| {
            let mut failure =
                Failure::of(Exit::Usage, &error, "make the folder, or change `scratch` in the configuration");
            failure.message = format!("the scratch folder {} cannot be made: {error}", folder.display());
            failure
        })?;
        return Ok(folder.clone());
    }
    let own = data_folder()?.join("scratch");
    Ok(if std::fs::create_dir_all(&own).is_ok() { own } else { std::env::temp_dir() })
}
