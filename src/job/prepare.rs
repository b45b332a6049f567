//! What a profile means on this machine: which folders, which patterns, which databases, and what is missing.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::container::{Described, describe};
use super::detect::detect;
use super::{Detected, Surroundings};
use crate::format::snapshot::Problem;
use crate::profile::{HookUse, Need, Profile, Role, Service, SqliteFile, State};
use crate::source::exclude::{Rules, Verdict};

/// What a profile means here.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What is read.
    pub roots: Vec<PathBuf>,
    /// Where in a folder of the user's choice the data folder of the service begins, when that is further below.
    pub anchors: Vec<PathBuf>,
    /// Places where the service may keep data, and does not here.
    pub absent: Vec<PathBuf>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Patterns of what alone is kept.
    pub include: Vec<String>,
    /// Hooks that are run, with what was found out about them.
    pub hooks: Vec<HookUse>,
    /// SQLite databases that are there, and those that should be.
    pub sqlite_files: Vec<(SqliteFile, Vec<PathBuf>)>,
    /// What the application says about its database.
    pub detected: Option<Detected>,
    /// What is missing.
    pub problems: Vec<Problem>,
    /// What a restore cannot do without and is not in the backup.
    pub needs: Vec<Need>,
    /// There is nothing to keep.
    pub stateless: bool,
    /// Holds passwords for hooks; removed with this.
    _secrets: Option<Arc<tempfile::TempDir>>,
}

impl Plan {
    /// Tables that must be in SQLite databases, by the path of the database.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<Vec<u8>, Vec<String>> {
        let mut tables = BTreeMap::new();
        for (file, found) in self.sqlite_files.iter().filter(|(file, _)| !file.tables.is_empty()) {
            let of = |path: &PathBuf| (path.as_os_str().as_bytes().to_vec(), file.tables.clone());
            tables.extend(found.iter().map(of));
        }
        tables
    }

    /// The hooks as they can be written down: without the files that only this run has.
    #[must_use]
    pub fn lasting_hooks(&self) -> Vec<HookUse> {
        let mut hooks = self.hooks.clone();
        if let Some(folder) = &self._secrets {
            let of_run = |values: &Vec<String>| values.iter().any(|value| Path::new(value).starts_with(folder.path()));
            hooks.iter_mut().for_each(|hook| hook.settings.retain(|_, values| !of_run(values)));
        }
        hooks
    }

    /// Where what a service calls by a relative path may lie.
    fn places(&self) -> Vec<PathBuf> {
        self.anchors.iter().chain(&self.roots).cloned().collect()
    }
}

/// Looks at this machine.
///
/// # Errors
/// When a password that was found cannot be put where only its hook finds it.
pub fn plan(profile: &Profile, surroundings: &Surroundings) -> std::io::Result<Plan> {
    let mut plan = Plan::default();
    let known = profile.known();
    plan.stateless = profile.candidates && known.is_some_and(|service| service.state == State::Stateless);
    let described = profile.container.as_ref().and_then(|container| match describe(container) {
        Ok(described) => Some(described),
        Err(error) => {
            let message = format!("{} cannot be asked where its folders lie: {error}", container.name);
            surroundings.listener.warning(&message);
            None
        }
    });
    if profile.candidates {
        if let (Some(described), Some(service)) = (&described, known) {
            let places = service.container_roots.iter().map(Path::new);
            plan.roots
                .extend(places.filter_map(|inside| described.on_this_machine(inside)).filter(|path| path.exists()));
        }
        // What the container says is certain; the usual places are guesses.
        let guesses = if plan.roots.is_empty() { profile.paths.as_slice() } else { &[] };
        for candidate in guesses {
            let places = expand(candidate, surroundings.home.as_deref());
            if places.is_empty() {
                plan.absent.push(candidate.clone());
            }
            plan.roots.extend(places);
        }
        drop_nested(&mut plan.roots);
    } else {
        plan.roots.clone_from(&profile.paths);
    }
    if let Some(service) = known {
        if !profile.candidates {
            plan.anchors = plan.roots.iter().map(|root| anchor(service, root)).collect();
            plan.anchors.retain(|anchor| !plan.roots.contains(anchor));
        }
        for root in &plan.roots {
            let start = if profile.candidates { root.clone() } else { anchor(service, root) };
            plan.exclude.extend(anchored(&start, service.exclude.keys()));
            plan.include.extend(anchored(&start, profile.include.iter()));
        }
    } else {
        plan.include.clone_from(&profile.include);
    }
    plan.exclude.extend(profile.exclude.iter().cloned());
    if let Some(service) = known {
        // A pattern that the user took over from those that bk shows means what it means there.
        let listed = |pattern: &&String| {
            let pattern = pattern.strip_prefix('!').unwrap_or(pattern);
            service.exclude.contains_key(pattern) || service.optional_exclude.contains_key(pattern)
        };
        for anchor in plan.anchors.clone() {
            plan.exclude.extend(anchored(&anchor, profile.exclude.iter().filter(listed)));
        }
    }
    find_databases(profile, surroundings, described.as_ref(), &mut plan)?;
    if let Some(service) = known {
        plan.needs = service.need.iter().filter(|need| !is_met(need, &plan)).cloned().collect();
    }
    Ok(plan)
}

/// Of the databases of a profile, those that the application uses.
fn find_databases(
    profile: &Profile,
    surroundings: &Surroundings,
    container: Option<&Described>,
    plan: &mut Plan,
) -> std::io::Result<()> {
    let places = plan.places();
    plan.detected =
        profile.known().and_then(|service| service.detect.as_ref()).and_then(|how| detect(how, &places, container));
    let engine = plan.detected.as_ref().map(|detected| detected.engine.clone());
    let used = |when: &Option<String>| when.is_none() || *when == engine;
    for file in profile.sqlite_files.iter().filter(|file| used(&file.when)) {
        let mut found: Vec<PathBuf> = below(&places, &file.path).into_iter().filter(|path| path.is_file()).collect();
        found.sort();
        found.dedup();
        let other_engine = engine.as_ref().is_some_and(|engine| engine != "sqlite");
        if found.is_empty() && !file.optional && !other_engine && !plan.roots.is_empty() {
            plan.problems.push(Problem {
                kind: "missing".into(),
                path: file.path.as_bytes().to_vec(),
                message: "this database is in none of the data folders".into(),
            });
        }
        plan.sqlite_files.push((file.clone(), found));
    }
    find_own_file(profile, plan);
    let mut secrets = None;
    for hook in profile.hooks.iter().filter(|hook| used(&hook.when)) {
        let mut hook = hook.clone();
        if hook.role == Role::Database
            && hook.when.is_some()
            && let Some(detected) = &plan.detected
        {
            fill(&mut hook, detected, &surroundings.scratch, &mut secrets)?;
        }
        plan.hooks.push(hook);
    }
    plan._secrets = secrets.map(Arc::new);
    Ok(())
}

/// The database file that the application names takes the place of one that is not where it usually lies.
fn find_own_file(profile: &Profile, plan: &mut Plan) {
    let detected = plan.detected.as_ref().filter(|detected| detected.engine == "sqlite");
    let Some(path) = detected.and_then(|detected| detected.path.clone()) else { return };
    if profile.known().is_none() || plan.sqlite_files.iter().any(|(_, found)| found.contains(&path)) {
        return;
    }
    if !plan.roots.iter().any(|root| path.starts_with(root)) {
        plan.problems.push(Problem {
            kind: "missing".into(),
            path: path.as_os_str().as_bytes().to_vec(),
            message: "the application keeps its database here, which is in none of the data folders; add it to `paths`"
                .into(),
        });
        return;
    }
    if let Some((file, found)) = plan.sqlite_files.iter_mut().find(|(_, found)| found.is_empty()) {
        let usual = file.path.as_bytes();
        plan.problems.retain(|problem| problem.path != usual);
        found.push(path);
    }
}

/// Adds what the application says, where the user says nothing.
fn fill(
    hook: &mut HookUse,
    detected: &Detected,
    scratch: &Path,
    secrets: &mut Option<tempfile::TempDir>,
) -> std::io::Result<()> {
    // Whoever says where the server is, says it all, unless it is what the application says, too.
    let is_other = |key: &str, found: &Option<String>| {
        let told = hook.settings.get(key).map(Vec::as_slice);
        told.is_some_and(|told| found.as_ref().is_none_or(|found| told != std::slice::from_ref(found)))
    };
    let server =
        [("host", &detected.host), ("socket", &detected.socket), ("port", &detected.port), ("user", &detected.user)];
    let told = hook.container.is_some()
        || server.iter().any(|(key, found)| is_other(key, found))
        || ["password-file", "system-user"].iter().any(|key| hook.settings.contains_key(*key));
    let mut put = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            hook.settings.entry(key.to_owned()).or_insert_with(|| vec![value.clone()]);
        }
    };
    if !told {
        for (key, value) in server {
            put(key, value);
        }
    }
    if let Some(name) = &detected.name {
        hook.settings.remove("names");
        hook.settings.insert("name".to_owned(), vec![name.clone()]);
    }
    if let Some(password) = detected.password.as_ref().filter(|_| !told) {
        let folder = match secrets {
            Some(folder) => folder,
            None => secrets.insert(crate::hook::private_folder(scratch)?),
        };
        let number = std::fs::read_dir(folder.path())?.count();
        let path = folder.path().join(format!("password-{number}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(password.as_bytes())?;
        hook.settings.insert("password-file".to_owned(), vec![path.to_string_lossy().into_owned()]);
    }
    Ok(())
}

/// Whether what a restore cannot do without is in the backup.
fn is_met(need: &Need, plan: &Plan) -> bool {
    let rules = Rules::new(&plan.exclude, &plan.include).unwrap_or_default();
    let kept = |path: &Path| {
        plan.roots.iter().any(|root| {
            let relative = path.strip_prefix(root).ok();
            let matcher = rules.for_root(root.as_os_str().as_bytes());
            relative.is_some_and(|below| matcher.verdict(below.as_os_str().as_bytes(), false) == Verdict::Keep)
        })
    };
    let says_it = |path: &Path| match &need.contains {
        None => true,
        Some(text) => {
            std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len().max(1)).any(|part| part == text.as_bytes()))
        }
    };
    let found: Vec<PathBuf> = need.any.iter().flat_map(|pattern| below(&plan.places(), pattern)).collect();
    plan.roots.is_empty() || found.iter().any(|path| kept(path) && says_it(path))
}

/// The patterns of a service, as absolute ones: anchored at its data folder.
fn anchored<'a>(anchor: &Path, patterns: impl Iterator<Item = &'a String>) -> Vec<String> {
    let escape = |path: &Path| {
        let text = path.to_string_lossy();
        text.chars()
            .flat_map(|letter| "*?[\\".contains(letter).then_some('\\').into_iter().chain([letter]))
            .collect::<String>()
    };
    patterns
        .map(|pattern| match (pattern.strip_prefix('!'), pattern.starts_with('/')) {
            (_, true) => pattern.clone(),
            (Some(rest), _) if rest.starts_with('/') => pattern.clone(),
            (Some(rest), _) => format!("!{}/{rest}", escape(anchor).trim_end_matches('/')),
            (None, _) => format!("{}/{pattern}", escape(anchor).trim_end_matches('/')),
        })
        .collect()
}

/// Where in `root`, a folder of the user's choice, the data folder of a service begins: `Library/…` in what is
/// `/config` inside a container.
fn anchor(service: &Service, root: &Path) -> PathBuf {
    let known = service.roots.iter().chain(&service.container_roots).map(Path::new);
    let tails = known.flat_map(|path| {
        let parts: Vec<Component<'_>> = path.components().collect();
        (1..parts.len()).map(move |from| parts.iter().skip(from).collect::<PathBuf>()).collect::<Vec<_>>()
    });
    let mut found: Vec<PathBuf> =
        tails.filter(|tail| !tail.as_os_str().is_empty() && root.join(tail).is_dir()).collect();
    found.sort_by_key(|tail| std::cmp::Reverse(tail.components().count()));
    // One name alone, such as `data`, is in too many folders to mean anything.
    found.into_iter().find(|tail| tail.components().count() > 1).map_or_else(|| root.to_owned(), |tail| root.join(tail))
}

/// The existing places that a candidate means: `~/` is everybody's home that can be seen, wildcards are filled in.
fn expand(candidate: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let starts: Vec<PathBuf> = match candidate.strip_prefix("~") {
        Err(_) => vec![candidate.to_owned()],
        Ok(rest) => {
            let mut homes: Vec<PathBuf> = home.map(Path::to_owned).into_iter().collect();
            if rustix::process::geteuid().is_root() {
                let entries = std::fs::read_dir("/home").into_iter().flatten().flatten();
                homes.extend(entries.map(|entry| entry.path()));
            }
            homes.sort();
            homes.dedup();
            homes.iter().map(|home| home.join(rest)).collect()
        }
    };
    let mut found: Vec<PathBuf> = starts.iter().flat_map(|start| globbed(start)).collect();
    found.retain(|path| path.exists());
    found
}

/// The paths that match `pattern` below any of `roots`, or anywhere when it is absolute.
pub(super) fn below(roots: &[PathBuf], pattern: &str) -> Vec<PathBuf> {
    if let Some(rest) = pattern.strip_prefix("~/") {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        return expand(&Path::new("~").join(rest), home.as_deref());
    }
    if pattern.starts_with('/') {
        return globbed(Path::new(pattern)).into_iter().filter(|path| path.exists()).collect();
    }
    let places = roots.iter().flat_map(|root| globbed_below(root, Path::new(pattern)));
    places.filter(|path| path.exists()).collect()
}

fn globbed(pattern: &Path) -> Vec<PathBuf> {
    match pattern.strip_prefix("/") {
        Ok(rest) => globbed_below(Path::new("/"), rest),
        Err(_) => Vec::new(),
    }
}

/// Fills in `*`, `?` and `[…]` component by component; `**` is one or more folders.
fn globbed_below(start: &Path, pattern: &Path) -> Vec<PathBuf> {
    let mut places = vec![start.to_owned()];
    for component in pattern.components() {
        let Component::Normal(name) = component else { continue };
        let text = name.to_string_lossy();
        if !text.contains(['*', '?', '[']) {
            for place in &mut places {
                place.push(name);
            }
            continue;
        }
        places = if text == "**" {
            places.iter().flat_map(|place| folders_below(place, 6)).collect()
        } else {
            let Ok(rules) = Rules::new(&[text.into_owned()], &[]) else { return Vec::new() };
            let matcher = rules.for_root(b"/");
            let entries = places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
            let matching = entries.filter(|entry| matcher.verdict(entry.file_name().as_bytes(), true) == Verdict::Skip);
            matching.map(|entry| entry.path()).collect()
        };
        places.sort();
    }
    places
}

fn folders_below(place: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = vec![place.to_owned()];
    if depth > 0 {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(folders_below(&entry.path(), depth - 1));
            }
        }
    }
    all
}

/// A path below another is in the snapshot already.
pub fn drop_nested(paths: &mut Vec<PathBuf>) {
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && path.starts_with(other)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    struct Deaf;

    impl super::super::Listener for Deaf {
        fn note(&self, _: &str) {}
        fn warning(&self, _: &str) {}
    }

    fn nowhere() -> Surroundings {
        Surroundings {
            hooks: "/nowhere".into(),
            journal: crate::hook::Journal::new("/nowhere".into()),
            scratch: std::env::temp_dir(),
            home: None,
            cancel: Arc::default(),
            listener: Arc::new(Deaf),
        }
    }

    #[test]
    fn wildcards_are_filled_in_below_every_root() {
        let folder = tree(&["a/one.db", "a/two.db", "a/x/y/three.db", "b/one.db"]);
        let roots = [folder.path().join("a"), folder.path().join("b")];
        let names = |pattern: &str| -> Vec<String> {
            let found = below(&roots, pattern);
            found.iter().map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect()
        };
        assert_eq!(names("one.db"), ["a/one.db", "b/one.db"]);
        assert_eq!(names("*.db"), ["a/one.db", "a/two.db", "b/one.db"]);
        assert_eq!(names("**/three.db"), ["a/x/y/three.db"]);
        assert_eq!(names("[no"), [""; 0]);
        assert_eq!(below(&[], &folder.path().join("?/one.db").display().to_string()).len(), 2);
    }

    #[test]
    fn patterns_are_anchored_where_the_data_folder_of_the_service_begins() {
        let plex = Service::find("plex").unwrap();
        let folder = tree(&["Library/Application Support/Plex Media Server/Preferences.xml"]);
        let found = anchor(plex, folder.path());
        assert_eq!(found, folder.path().join("Library/Application Support/Plex Media Server"));
        let other = tree(&["Preferences.xml"]);
        assert_eq!(anchor(plex, other.path()), other.path());
        let profile = Profile { candidates: false, paths: vec![folder.path().into()], ..Profile::of_service(plex) };
        let plan = plan(&profile, &nowhere()).unwrap();
        assert_eq!(plan.anchors, [found]);
        assert!(plan.needs.is_empty(), "{:?}", plan.needs);
        let odd = Path::new("/srv/a*b");
        assert_eq!(anchored(odd, ["Cache/**".to_owned()].iter()), ["/srv/a\\*b/Cache/**"]);
    }
}
