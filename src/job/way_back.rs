//! Where a dump goes when a whole service is put back: into the database it came from, or nowhere.

use std::time::Duration;

use super::dumps::{hook_of, is_of_server};
use super::load::Server;
use super::location::decoded;
use super::{Surroundings, probe_with};
use crate::hook::{Facts, HookError};
use crate::profile::{HookUse, Role};

/// Hooks that replace a database in a running server.
const REPLACES: [&str; 2] = ["postgres", "mariadb"];
/// A server that does not answer in this time is not there.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The database that a dump came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayBack {
    /// Its server and name.
    pub server: Server,
    /// The name alone.
    pub database: String,
}

/// What is asked of a server before one of its databases is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Whether one may log in and make databases.
    Power,
    /// Also whether nobody uses the database any more.
    Unused,
}

/// Why a dump has no way back, and the next step.
pub type NoWay = (String, String);

/// The way back of a dump: `then` are the hooks of the snapshot's definition, `now` those of the profile as it is
/// configured, which know a password that no snapshot holds. Accounts of a server (`globals.sql`) have none, `None`.
///
/// # Errors
/// When the database is not known, is another one by now, or cannot be replaced while its server runs.
pub fn way_back(
    folder: &str,
    stream: &str,
    then: &[HookUse],
    now: &[HookUse],
    is_keeping_owners: bool,
) -> Result<Option<WayBack>, NoWay> {
    let (hook, _) = hook_of(folder);
    if is_of_server(stream) {
        return Ok(None);
    }
    let by_hand =
        "restore the rest with --files-only, and load this dump as .bk/RESTORE.txt of a restore with --to says";
    if !REPLACES.contains(&hook) {
        let problem = format!("{folder}/{stream}: `{hook}` cannot replace what a running server holds");
        return Err((problem, by_hand.to_owned()));
    }
    let database = decoded(stream.rsplit_once('.').map_or(stream, |(name, _)| name));
    let (then, now) = (used_for(then, folder), used_for(now, folder));
    let used = match (then, now) {
        (Some(then), Some(now)) if is_same(then, now, &database) => now,
        (Some(then), Some(now)) => {
            let [from, to] = [then, now].map(|used| Server::url(used, &database));
            let hint = format!(
                "say which: restore with --files-only, and load it with `--database '{database}' --to URL`; or put the \
                 database of the profile back to what it was"
            );
            return Err((format!("{folder}/{stream} came from {from}, but the profile names {to} now"), hint));
        }
        (Some(used), None) | (None, Some(used)) => used,
        (None, None) => {
            let problem = format!("{folder}/{stream}: neither the snapshot nor the profile says where it came from");
            return Err((problem, by_hand.to_owned()));
        }
    };
    let mut used = used.clone();
    used.settings.remove("names");
    used.settings.insert("name".into(), vec![database.clone()]);
    if hook == "postgres" && is_keeping_owners {
        // Whoever could dump the accounts may give everything back to its owners, and these are there.
        used.settings.entry("owners".into()).or_insert_with(|| vec!["keep".into()]);
    }
    Ok(Some(WayBack { server: Server { used }, database }))
}

/// The hook that dumped into a folder.
#[must_use]
pub fn used_for<'a>(hooks: &'a [HookUse], folder: &str) -> Option<&'a HookUse> {
    let (hook, before) = hook_of(folder);
    hooks.iter().filter(|used| used.hook == hook && used.role == Role::Database).nth(before)
}

/// Whether both mean the same database; who logs in, and how, does not matter.
fn is_same(then: &HookUse, now: &HookUse, database: &str) -> bool {
    let places = ["host", "port", "socket"];
    let place = |used: &HookUse| places.map(|key| used.settings.get(key).cloned());
    let container = |used: &HookUse| used.container.as_ref().map(|one| (one.name.clone(), one.owner.clone()));
    let names = |used: &HookUse| {
        let named = ["names", "name"].iter().find_map(|key| used.settings.get(*key));
        named.is_none_or(|names| names.iter().any(|name| name == database))
    };
    place(then) == place(now) && container(then) == container(now) && names(now)
}

impl WayBack {
    /// Asks the server. False when the database is not there, and will be made.
    ///
    /// # Errors
    /// [`HookError`]: the server is not there, one cannot log in, tools are missing, or the database is in use.
    pub fn ask(&self, surroundings: &Surroundings, profile: &str, asked: Asked) -> Result<bool, HookError> {
        let asked = match asked {
            Asked::Power => "1",
            Asked::Unused => "now",
        };
        let limited = |used: &HookUse| HookUse { time_limit: used.time_limit.min(TIME_LIMIT), ..used.clone() };
        let ask = |used: &HookUse| -> Result<Option<Facts>, HookError> {
            probe_with(surroundings, profile, &[], &limited(used), &[("BK_OVERWRITE".into(), asked.into())])
        };
        let error = match ask(&self.server.used) {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        let mut server = self.server.used.clone();
        server.settings.remove("name");
        // A server that answers for itself and not for the database has none of this name; one in use is there.
        match ask(&server) {
            Ok(Some(facts)) if !facts.streams.iter().any(|(stream, _)| self.is_stream(stream)) => Ok(false),
            _ => Err(error),
        }
    }

    fn is_stream(&self, stream: &str) -> bool {
        !is_of_server(stream) && decoded(stream.rsplit_once('.').map_or(stream, |(name, _)| name)) == self.database
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(hook: &str, settings: &[(&str, &str)]) -> HookUse {
        let mut used = HookUse::of(hook, Role::Database);
        used.settings.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])));
        used
    }

    #[test]
    fn a_dump_goes_into_the_database_it_came_from_with_the_password_that_the_profile_knows() {
        let then = [used("postgres", &[("name", "shop"), ("socket", "/run/pg")])];
        let now = [used("postgres", &[("names", "shop"), ("socket", "/run/pg"), ("password-file", "/secret")])];
        let way = way_back("postgres", "shop.dump", &then, &now, false).unwrap().unwrap();
        assert_eq!(way.server.used.settings["password-file"], ["/secret"]);
        assert_eq!(way.server.used.settings["name"], ["shop"]);
        assert!(!way.server.used.settings.contains_key("names") && !way.server.used.settings.contains_key("owners"));
        // Without a configuration the snapshot knows the way.
        let way = way_back("postgres", "shop.dump", &then, &[], true).unwrap().unwrap();
        assert_eq!(way.server.used.settings["owners"], ["keep"]);
    }

    #[test]
    fn a_database_that_is_elsewhere_by_now_is_refused_with_both_places() {
        let then = [used("mariadb", &[("name", "wiki"), ("host", "old")])];
        for now in
            [used("mariadb", &[("name", "wiki"), ("host", "new")]), used("mariadb", &[("name", "w2"), ("host", "old")])]
        {
            let (problem, hint) = way_back("mariadb", "wiki.sql", &then, &[now], false).unwrap_err();
            assert!(problem.contains("mariadb://old/wiki") && hint.contains("--database"), "{problem} {hint}");
        }
    }

    #[test]
    fn accounts_are_left_alone_and_what_no_server_takes_while_it_runs_is_refused() {
        assert_eq!(way_back("postgres", "globals.sql", &[], &[], false), Ok(None));
        assert_eq!(way_back("mariadb", "users.sql", &[], &[], false), Ok(None));
        let (problem, _) = way_back("redis", "dump.rdb", &[used("redis", &[])], &[], false).unwrap_err();
        assert!(problem.contains("redis/dump.rdb"), "{problem}");
        assert!(way_back("postgres.2", "x.dump", &[used("postgres", &[])], &[], false).is_err(), "there is no second");
    }
}
