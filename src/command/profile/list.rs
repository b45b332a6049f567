//! `bk profile list`

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::service::Overheard;
use super::super::{Session, service};
use crate::profile::{Config, Profile, Service, State};
use crate::ui::text::{count, line_text, path_text};
use crate::ui::{Align, Exit, Failure, Table};

/// A profile as the list shows it.
struct Row {
    name: String,
    /// The service that it is of.
    service: Option<&'static Service>,
    /// It is in the configuration, so that the built-in one of this name does not count.
    configured: bool,
    /// Names of configured profiles that use this built-in one.
    used_by: Vec<String>,
    about: String,
    /// What there is of it on this machine.
    roots: Vec<PathBuf>,
}

impl Row {
    fn is_here(&self) -> bool {
        self.configured || !self.roots.is_empty()
    }

    fn here(&self) -> String {
        match (self.configured, self.roots.is_empty()) {
            (true, false) => "configured".to_owned(),
            (true, true) if self.keeps_nothing() => "configured".to_owned(),
            (true, true) => "configured, NO DATA".to_owned(),
            (false, _) if !self.used_by.is_empty() => format!("as {}", self.used_by.join(", ")),
            (false, false) => "found".to_owned(),
            (false, true) => "-".to_owned(),
        }
    }

    fn keeps_nothing(&self) -> bool {
        self.service.is_some_and(|service| service.state == State::Stateless)
    }

    fn category(&self) -> &str {
        self.service.map_or("own", |service| service.category.as_str())
    }

    fn facts(&self) -> &str {
        self.service.map_or("-", |service| service.facts.as_str())
    }

    fn json(&self) -> Value {
        let known = self.service;
        json!({
            "name": self.name,
            "service": known.map(|service| service.slug),
            "title": known.map(|service| service.service.as_str()),
            "about": self.about,
            "category": known.map(|service| service.category.as_str()),
            "built_in": !self.configured,
            "configured": self.configured,
            "used_by": self.used_by,
            "here": self.is_here(),
            "roots": self.roots.iter().map(|root| root.to_string_lossy()).collect::<Vec<_>>(),
            "stateless": self.keeps_nothing(),
            "size": known.map(|service| service.size.as_str()),
            "value": known.map(|service| service.value.as_str()),
            "facts": known.map(|service| service.facts.as_str()),
            "aliases": known.map(|service| service.aliases.as_slice()).unwrap_or_default(),
        })
    }
}

/// Lists them.
pub(super) fn run(session: &Session, only_here: bool) -> Result<Exit, Failure> {
    let surroundings = service::looking(session, Arc::new(Overheard::default()))?;
    let mut rows = rows(&session.config, |profile, built_in| match built_in {
        Some(known) => service::found_here(known, profile, &surroundings),
        None => service::places_here(profile, &surroundings),
    });
    rows.retain(|row| !only_here || row.is_here());
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&rows.iter().map(Row::json).collect());
        return Ok(Exit::Complete);
    }
    if rows.is_empty() {
        screen.note("nothing is configured, and no service that bk knows keeps its data where bk looks");
        screen.note("`bk profile list` shows all that it knows, `bk profile new NAME` begins a profile of your own");
        return Ok(Exit::Complete);
    }
    table(&rows).lines().iter().for_each(|line| screen.line(line));
    let here = rows.iter().filter(|row| row.is_here()).count();
    let all = count(rows.len() as u64, "profile", "profiles");
    screen.note(&format!("{all}, {here} of them here; `bk profile show NAME` says what would be backed up, and why"));
    Ok(Exit::Complete)
}

/// The user's own, then the built-in ones by category and name. `places` is told of which service a built-in one is.
fn rows(config: &Config, places: impl Fn(&Profile, Option<&Service>) -> Vec<PathBuf>) -> Vec<Row> {
    let own = config.profiles.values().map(|profile| Row {
        name: profile.name.clone(),
        service: profile.known(),
        configured: true,
        used_by: Vec::new(),
        about: about(profile),
        roots: places(profile, None),
    });
    let mut built_in: Vec<Row> = Service::all()
        .iter()
        .filter(|service| !config.profiles.contains_key(service.slug))
        .map(|service| Row {
            name: service.slug.to_owned(),
            service: Some(service),
            configured: false,
            used_by: used_by(config, service),
            about: service.about.clone(),
            roots: places(&Profile::of_service(service), Some(service)),
        })
        .collect();
    built_in.sort_by(|one, other| (one.category(), &one.name).cmp(&(other.category(), &other.name)));
    own.chain(built_in).collect()
}

fn used_by(config: &Config, service: &Service) -> Vec<String> {
    let profiles = config.profiles.values().filter(|profile| profile.service == Some(service.slug));
    profiles.map(|profile| profile.name.clone()).collect()
}

/// What a configured profile is about.
fn about(profile: &Profile) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    if let Some(service) = profile.known() {
        return service.about.clone();
    }
    let paths = crate::ui::text::paths_text(profile.paths.iter().map(|path| path.as_os_str().as_bytes()), 2);
    if paths.is_empty() {
        let databases = profile.hooks.iter().map(|hook| path_text(hook.hook.as_bytes())).collect::<Vec<_>>();
        return format!("dumps of {}", databases.join(", "));
    }
    paths
}

fn table(rows: &[Row]) -> Table {
    let titles = [
        ("NAME", Align::Left),
        ("CATEGORY", Align::Left),
        ("HERE", Align::Left),
        ("FACTS", Align::Left),
        ("WHAT", Align::Left),
    ];
    let mut table = Table::new(&titles);
    for row in rows {
        let about = if row.keeps_nothing() && !row.about.contains("keeps nothing") {
            format!("{} (keeps nothing)", row.about)
        } else {
            row.about.clone()
        };
        table.row([row.name.clone(), row.category().to_owned(), row.here(), row.facts().to_owned(), line_text(&about)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let mut config = Config::default();
        let plex = Profile { name: "tv".into(), ..Profile::of_service(Service::find("plex").unwrap()) };
        let wiki = Profile { name: "wiki".into(), ..Profile::ad_hoc(vec!["/srv/wiki".into()]) };
        for profile in [plex, wiki] {
            config.profiles.insert(profile.name.clone(), profile);
        }
        config
    }

    #[test]
    fn own_profiles_come_first_and_a_built_in_one_says_who_uses_it() {
        let rows = rows(&config(), |profile, _| match profile.name.as_str() {
            "wiki" => profile.paths.clone(),
            _ => Vec::new(),
        });
        assert_eq!(rows.len(), Service::all().len() + 2);
        let here = |name: &str| rows.iter().find(|row| row.name == name).unwrap().here();
        assert_eq!((rows[0].name.as_str(), rows[1].name.as_str()), ("tv", "wiki"));
        assert_eq!((here("tv").as_str(), here("wiki").as_str()), ("configured, NO DATA", "configured"));
        assert_eq!((here("plex").as_str(), here("gitea").as_str()), ("as tv", "-"));
        assert_eq!((rows[1].category(), rows[1].about.as_str()), ("own", "/srv/wiki"));
    }

    #[test]
    fn a_profile_of_the_name_of_a_built_in_one_takes_its_place() {
        let mut config = config();
        let own = Profile { name: "gitea".into(), ..Profile::ad_hoc(vec!["/x".into()]) };
        config.profiles.insert("gitea".into(), own);
        let rows = rows(&config, |_, _| Vec::new());
        assert_eq!(rows.iter().filter(|row| row.name == "gitea").count(), 1);
        assert!(rows.iter().find(|row| row.name == "gitea").unwrap().configured);
    }

    #[test]
    fn no_line_of_the_list_is_too_long_to_be_read() {
        let rows = rows(&Config::default(), |_, _| Vec::new());
        for line in table(&rows).lines() {
            assert!(line.chars().count() <= 140, "{line}");
        }
    }
}
