//! Which database an application uses: read from its own configuration and its environment.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::config_file::look_up;
use super::container::Described;
use super::location::{Parts, parts_of};
use super::prepare::below;
use crate::profile::{Detect, Format, Keys, Names};

/// No configuration of an application is larger, in bytes.
const MAX_LEN: u64 = 4 << 20;

/// Ends of the names of variables that name a file.
const FILE_ENDINGS: [&str; 2] = ["_FILE", "__FILE"];

/// What an application says about its database.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Detected {
    /// `sqlite`, `postgres`, `mariadb`, or what the application calls it.
    pub engine: String,
    /// The file that says so; none when it is the default of the application.
    pub file: Option<PathBuf>,
    /// The environment of its container says so.
    pub by_container: bool,
    /// Name of the database.
    pub name: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Machine.
    pub host: Option<String>,
    /// Port.
    pub port: Option<String>,
    /// Path of a socket.
    pub socket: Option<String>,
    /// Path of a database file on this machine.
    pub path: Option<PathBuf>,
    /// Password; never printed.
    pub password: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Detected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { engine, file, name, user, host, port, socket, path, .. } = self;
        write!(formatter, "Detected({engine} {name:?} {user:?} {host:?} {port:?} {socket:?} {path:?} by {file:?})")
    }
}

/// What one place says.
#[derive(Default)]
struct Said {
    engine: Option<String>,
    parts: Parts,
    /// As it is written: relative ones begin at a data folder.
    path: Option<String>,
    file: Option<PathBuf>,
    by_container: bool,
}

/// Asks the environment and the application's own configuration, key by key: where both say something, the environment
/// counts, unless it is only read when the application is installed.
pub(super) fn detect(how: &Detect, roots: &[PathBuf], container: Option<&Described>) -> Option<Detected> {
    let own = own_file(how, roots);
    let environment = container.and_then(|container| of_container(how, container));
    let file = env_file(how, roots);
    let order = if how.environment.at_installation { [own, environment, file] } else { [environment, file, own] };
    let mut said = order.into_iter().flatten();
    let Some(first) = said.next() else {
        return how.default.clone().map(|engine| Detected { engine, ..Detected::default() });
    };
    let all = said.fold(first, Said::or);
    let server = || {
        // What is only there with a server tells that there is one.
        let is_there = all.parts.host.is_some() || all.parts.socket.is_some();
        how.engines.values().find(|engine| is_there && engine.as_str() != "sqlite").cloned()
    };
    let engine = all.engine.clone().or_else(server).or_else(|| how.default.clone())?;
    let inside = |path: &String| match container.filter(|_| path.starts_with('/')) {
        Some(container) => container.on_this_machine(Path::new(path)),
        None => below(roots, path).into_iter().next(),
    };
    let path = all.path.as_ref().and_then(inside).filter(|path| path.is_file());
    let Said { parts, file, by_container, .. } = all;
    let Parts { name, user, host, port, socket, password, .. } = parts;
    Some(Detected { engine, file, by_container, name, user, host, port, socket, path, password })
}

fn own_file(how: &Detect, roots: &[PathBuf]) -> Option<Said> {
    let format = how.format?;
    let (file, text) = first_file(&how.files, roots)?;
    let said = Said::of(how, &how.keys, |key| look_up(format, &text, key));
    // It is there, so that what it does not say is as the application has it by default.
    Some(Said { file: Some(file), ..said })
}

fn env_file(how: &Detect, roots: &[PathBuf]) -> Option<Said> {
    let (file, text) = first_file(&how.environment.files, roots)?;
    let look = |name: &str| look_up(Format::Env, &text, name);
    let said = Said::of(how, &how.environment.keys, |name| variable(name, look, |path| Some(path.to_owned())));
    // Own configuration with the same names is at the same time where defaults are as they are.
    (how.format.is_none() || !said.is_empty()).then_some(Said { file: Some(file), ..said })
}

fn of_container(how: &Detect, container: &Described) -> Option<Said> {
    // No quotes around a value are meant here: no shell reads it.
    let look = |name: &str| {
        let set = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        container.environment.lines().find_map(set).filter(|value| !value.is_empty())
    };
    let place = |path: &Path| container.on_this_machine(path);
    let said = Said::of(how, &how.environment.keys, |name| variable(name, look, place));
    (!said.is_empty()).then_some(Said { by_container: true, ..said })
}

/// The value of a variable, or of the file that another one names; of `NAME=WORD`, the word when there is the name.
fn variable(
    name: &str,
    look: impl Fn(&str) -> Option<String>,
    place: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<String> {
    let by_file = |name: &str| FILE_ENDINGS.iter().find_map(|ending| look(&format!("{name}{ending}")));
    if let Some((name, word)) = name.split_once('=') {
        return look(name).or_else(|| by_file(name)).map(|_| word.to_owned());
    }
    look(name).or_else(|| {
        let text = read(&place(Path::new(&by_file(name)?))?)?;
        Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())
    })
}

fn first_file(patterns: &[String], roots: &[PathBuf]) -> Option<(PathBuf, Zeroizing<String>)> {
    let mut files = patterns.iter().flat_map(|pattern| below(roots, pattern));
    files.find_map(|file| read(&file).map(|text| (file, text)))
}

fn read(file: &Path) -> Option<Zeroizing<String>> {
    let metadata = std::fs::metadata(file).ok()?;
    (metadata.is_file() && metadata.len() <= MAX_LEN).then_some(())?;
    std::fs::read_to_string(file).ok().map(Zeroizing::new)
}

impl Said {
    fn of(how: &Detect, keys: &Keys, look: impl Fn(&str) -> Option<String>) -> Self {
        let value = |Names(names): &Names| names.iter().find_map(|name| look(name));
        let url = value(&keys.url).map(Zeroizing::new);
        let of_url = url.as_ref().map(|url| parts_of(url)).unwrap_or_default();
        let mut parts = Parts {
            name: value(&keys.name),
            user: value(&keys.user),
            port: value(&keys.port),
            socket: value(&keys.socket),
            password: value(&keys.password).map(Zeroizing::new),
            ..Parts::default()
        };
        if let Some(host) = value(&keys.host) {
            parts.set_host(&host);
        }
        let word = value(&keys.engine).map(|word| engine_of(how, &word));
        let engine = word.or_else(|| of_url.engine.clone());
        // Where there is a URL, applications pass over the rest.
        Self { engine, parts: of_url.or(parts), path: value(&keys.path), ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.engine.is_none() && self.path.is_none() && self.parts == Parts::default()
    }

    fn or(self, other: Self) -> Self {
        // Whoever says the engine says where it is.
        let (file, by_container) = if self.engine.is_none() && other.engine.is_some() {
            (other.file, other.by_container)
        } else {
            (self.file, self.by_container)
        };
        Self {
            engine: self.engine.or(other.engine),
            parts: self.parts.or(other.parts),
            path: self.path.or(other.path),
            file,
            by_container,
        }
    }
}

/// The engine that a word of the application means; a value of several lines is several words, of which one is known.
/// The words of a profile may hold wildcards, the longest that matches counts.
fn engine_of(how: &Detect, word: &str) -> String {
    let mut known: Vec<_> = how.engines.iter().collect();
    known.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    let words = || word.lines().map(|word| word.trim().to_lowercase());
    let found = known.iter().find(|(pattern, _)| words().any(|word| matches(&pattern.to_lowercase(), &word)));
    found.map_or_else(|| word.trim().to_lowercase(), |(_, engine)| (*engine).clone())
}

/// `*` stands for anything.
pub(super) fn matches(pattern: &str, word: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == word };
    let Some(word) = word.strip_prefix(start) else { return false };
    rest.is_empty() || word.char_indices().any(|(at, _)| word.get(at..).is_some_and(|word| matches(rest, word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Service;

    fn how(text: &str) -> Detect {
        toml::from_str(text).unwrap()
    }

    fn of(slug: &str) -> &'static Detect {
        Service::find(slug).unwrap().detect.as_ref().unwrap()
    }

    fn container(mounts: &[(&Path, &str)], environment: &str) -> Described {
        Described::new(mounts.iter().map(|(here, inside)| (here.to_path_buf(), inside.into())).collect(), environment)
    }

    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or("-")
    }

    /// `engine user:password@host:port/name`
    fn told(found: Option<Detected>) -> String {
        let Some(found) = found else { return "nothing".to_owned() };
        let password = found.password.as_ref().map_or("-", |password| password.as_str());
        let place = found.socket.as_ref().or(found.host.as_ref());
        format!(
            "{} {}:{password}@{}:{}/{}",
            found.engine,
            text(&found.user),
            place.map_or("-", String::as_str),
            text(&found.port),
            text(&found.name)
        )
    }

    #[test]
    fn the_longest_word_that_matches_tells_the_engine() {
        let how = how("engines = { \"*\" = \"sqlite\", \"postgres*\" = \"postgres\", mysql = \"mariadb\" }");
        for (word, engine) in
            [("postgresql://x", "postgres"), ("MySQL", "mariadb"), ("data/x.db", "sqlite"), ("a\nmysql\nb", "mariadb")]
        {
            assert_eq!(engine_of(&how, word), engine, "{word}");
        }
    }

    #[test]
    fn each_service_is_understood_by_the_environment_of_its_container() {
        let postgres = "postgres u:p@db:5433/d";
        let cases: [(&str, &str, &str); 26] = [
            (
                "gitea",
                "GITEA__database__DB_TYPE=postgres GITEA__database__HOST=db:5433 GITEA__database__NAME=d GITEA__database__USER=u GITEA__database__PASSWD=p",
                postgres,
            ),
            (
                "gitea",
                "FORGEJO__database__DB_TYPE=mysql FORGEJO__database__HOST=db FORGEJO__database__NAME=d FORGEJO__database__USER=u FORGEJO__database__PASSWD=p",
                "mariadb u:p@db:-/d",
            ),
            (
                "grafana",
                "GF_DATABASE_TYPE=postgres GF_DATABASE_HOST=db:5433 GF_DATABASE_NAME=d GF_DATABASE_USER=u GF_DATABASE_PASSWORD=p",
                postgres,
            ),
            ("grafana", "GF_DATABASE_URL=mysql://u:p@db:3306/d", "mariadb u:p@db:3306/d"),
            ("nextcloud", "POSTGRES_HOST=db:5433 POSTGRES_DB=d POSTGRES_USER=u POSTGRES_PASSWORD=p", postgres),
            ("nextcloud", "MYSQL_HOST=db MYSQL_DATABASE=d MYSQL_USER=u MYSQL_PASSWORD=p", "mariadb u:p@db:-/d"),
            ("nextcloud", "SQLITE_DATABASE=d", "sqlite -:-@-:-/d"),
            ("immich", "DB_HOSTNAME=db DB_PORT=5433 DB_DATABASE_NAME=d DB_USERNAME=u DB_PASSWORD=p", postgres),
            ("immich", "DB_HOSTNAME=other DB_PASSWORD=x DB_URL=postgresql://u:p@db:5433/d", postgres),
            (
                "paperless-ngx",
                "PAPERLESS_DBENGINE=mariadb PAPERLESS_DBHOST=db PAPERLESS_DBPORT=3306 PAPERLESS_DBNAME=d PAPERLESS_DBUSER=u PAPERLESS_DBPASS=p",
                "mariadb u:p@db:3306/d",
            ),
            (
                "paperless-ngx",
                "PAPERLESS_DBHOST=db PAPERLESS_DBPORT=5433 PAPERLESS_DBNAME=d PAPERLESS_DBUSER=u PAPERLESS_DBPASS=p",
                postgres,
            ),
            ("paperless-ngx", "PAPERLESS_DBENGINE=sqlite PAPERLESS_TIME_ZONE=UTC", "sqlite -:-@-:-/-"),
            ("vaultwarden", "DATABASE_URL=postgresql://u:p@db:5433/d", postgres),
            ("vaultwarden", "DATABASE_URL=data/db.sqlite3", "sqlite -:-@-:-/-"),
            (
                "authelia",
                "AUTHELIA_STORAGE_POSTGRES_ADDRESS=tcp://db:5433 AUTHELIA_STORAGE_POSTGRES_DATABASE=d AUTHELIA_STORAGE_POSTGRES_USERNAME=u AUTHELIA_STORAGE_POSTGRES_PASSWORD=p",
                postgres,
            ),
            (
                "autobrr",
                "AUTOBRR__DATABASE_TYPE=postgres AUTOBRR__POSTGRES_HOST=db AUTOBRR__POSTGRES_PORT=5433 AUTOBRR__POSTGRES_DATABASE=d AUTOBRR__POSTGRES_USER=u AUTOBRR__POSTGRES_PASS=p",
                postgres,
            ),
            (
                "drone",
                "DRONE_DATABASE_DRIVER=mysql DRONE_DATABASE_DATASOURCE=u:p@tcp(db:3306)/d?parseTime=true",
                "mariadb u:p@db:3306/d",
            ),
            ("lldap", "LLDAP_DATABASE_URL=postgres://u:p@db:5433/d", postgres),
            (
                "mattermost",
                "MM_SQLSETTINGS_DRIVERNAME=postgres MM_SQLSETTINGS_DATASOURCE=postgres://u:p@db:5433/d?sslmode=disable&connect_timeout=10",
                postgres,
            ),
            (
                "n8n",
                "DB_TYPE=postgresdb DB_POSTGRESDB_HOST=db DB_POSTGRESDB_PORT=5433 DB_POSTGRESDB_DATABASE=d DB_POSTGRESDB_USER=u DB_POSTGRESDB_PASSWORD=p",
                postgres,
            ),
            (
                "radarr",
                "RADARR__POSTGRES__HOST=db RADARR__POSTGRES__PORT=5433 RADARR__POSTGRES__MAINDB=d RADARR__POSTGRES__USER=u RADARR__POSTGRES__PASSWORD=p",
                postgres,
            ),
            (
                "sonarr",
                "SONARR__POSTGRES__HOST=db SONARR__POSTGRES__PORT=5433 SONARR__POSTGRES__MAINDB=d SONARR__POSTGRES__USER=u SONARR__POSTGRES__PASSWORD=p",
                postgres,
            ),
            (
                "seafile",
                "SEAFILE_MYSQL_DB_HOST=db SEAFILE_MYSQL_DB_PORT=3306 SEAFILE_MYSQL_DB_USER=u SEAFILE_MYSQL_DB_PASSWORD=p",
                "mariadb u:p@db:3306/-",
            ),
            (
                "teamspeak",
                "TS3SERVER_DB_PLUGIN=ts3db_mariadb TS3SERVER_DB_HOST=db TS3SERVER_DB_USER=u TS3SERVER_DB_PASSWORD=p TS3SERVER_DB_NAME=d",
                "mariadb u:p@db:-/d",
            ),
            (
                "uptime-kuma",
                "UPTIME_KUMA_DB_TYPE=mariadb UPTIME_KUMA_DB_HOSTNAME=db UPTIME_KUMA_DB_PORT=3306 UPTIME_KUMA_DB_NAME=d UPTIME_KUMA_DB_USERNAME=u UPTIME_KUMA_DB_PASSWORD=p",
                "mariadb u:p@db:3306/d",
            ),
            ("odoo", "HOST=db PORT=5433 USER=u PASSWORD=p", "postgres u:p@db:5433/-"),
        ];
        for (slug, environment, expected) in cases {
            let lines = environment.replace(' ', "\n");
            let found = detect(of(slug), &[], Some(&container(&[], &lines)));
            assert!(found.as_ref().is_some_and(|found| found.by_container), "{slug}");
            assert_eq!(told(found), expected, "{slug}: {environment}");
            // The same in a file beside the compose file.
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(".env"), &lines).unwrap();
            let how = Detect { files: Vec::new(), ..of(slug).clone() };
            let mut how = how;
            how.environment.files = vec![".env".into()];
            let found = detect(&how, &[folder.path().to_owned()], None);
            assert_eq!(told(found), expected, "{slug}, by a file: {environment}");
        }
    }

    #[test]
    fn an_environment_that_says_nothing_of_databases_leaves_the_default() {
        let other = container(&[], "PATH=/bin\nTZ=UTC\nGITEA__server__DOMAIN=x");
        let found = detect(of("gitea"), &[], Some(&other)).unwrap();
        assert!(found.engine == "sqlite" && !found.by_container && found.file.is_none(), "{found:?}");
        assert_eq!(told(detect(&how("engine = \"x\""), &[], Some(&other))), "nothing");
    }

    #[test]
    fn a_value_may_lie_in_a_file_that_the_environment_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "p w\n").unwrap();
        let mounts = [(folder.path(), "/run/secrets")];
        for (slug, environment, expected) in [
            (
                "nextcloud",
                "POSTGRES_HOST=db\nPOSTGRES_USER=u\nPOSTGRES_PASSWORD_FILE=/run/secrets/password",
                "postgres u:p w@db:-/-",
            ),
            (
                "gitea",
                "GITEA__database__DB_TYPE=postgres\nGITEA__database__PASSWD__FILE=/run/secrets/password",
                "postgres -:p w@-:-/-",
            ),
            ("nextcloud", "POSTGRES_HOST=db\nPOSTGRES_PASSWORD_FILE=/elsewhere/password", "postgres -:-@db:-/-"),
        ] {
            assert_eq!(told(detect(of(slug), &[], Some(&container(&mounts, environment)))), expected);
        }
    }

    #[test]
    fn key_by_key_the_environment_counts_unless_it_is_only_of_the_installation() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [folder.path().to_owned()];
        let ini = "[database]\ntype = postgres\nhost = old:5433\nname = d\nuser = u\n";
        std::fs::write(folder.path().join("grafana.ini"), ini).unwrap();
        let environment = container(&[], "GF_DATABASE_HOST=new\nGF_DATABASE_PASSWORD=\"p\"");
        let found = detect(of("grafana"), &roots, Some(&environment)).unwrap();
        assert_eq!(found.file, Some(folder.path().join("grafana.ini")), "who says the engine is named");
        assert_eq!(told(Some(found)), "postgres u:\"p\"@new:5433/d");
        std::fs::create_dir(folder.path().join("config")).unwrap();
        let php =
            "<?php $CONFIG = ['dbtype' => 'pgsql', 'dbhost' => 'real', 'dbname' => 'cloud', 'dbpassword' => 'made',];";
        std::fs::write(folder.path().join("config/config.php"), php).unwrap();
        let environment = container(&[], "POSTGRES_HOST=old\nPOSTGRES_DB=old\nPOSTGRES_USER=u\nPOSTGRES_PASSWORD=old");
        assert_eq!(told(detect(of("nextcloud"), &roots, Some(&environment))), "postgres u:made@real:-/cloud");
    }

    #[test]
    fn a_database_file_is_found_where_its_container_has_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("my.db"), "x").unwrap();
        let here = container(
            &[(folder.path(), "/data")],
            "GITEA__database__DB_TYPE=sqlite3\nGITEA__database__PATH=/data/my.db",
        );
        let found = detect(of("gitea"), &[], Some(&here)).unwrap();
        assert_eq!(found.path, Some(folder.path().join("my.db")));
    }

    #[test]
    fn a_password_is_not_shown() {
        let container = container(&[], "DATABASE_URL=postgres://u:hunter2@h/d");
        let found = detect(of("vaultwarden"), &[], Some(&container));
        assert_eq!(told(found.clone()), "postgres u:hunter2@h:-/d");
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
