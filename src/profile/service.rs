//! What bk knows about services: `profiles/NAME.toml`, compiled in.
//!
//! # Keys of a file
//! `service`, `about`, `category`, `aliases` name it. `state` says whether there is anything to keep, `size` how much
//! (XS to XL), `value` how dear it is, `facts` how far all this was checked. `roots` are the places where its data may
//! lie on a machine, those that exist are backed up; `container-roots` where it lies inside its container, which tells
//! where excludes are anchored below a folder of the user's choice. Where other programs have a part in the roots,
//! `here` lists what only the service itself has: any of it proves that the service is on this machine. `[exclude]`
//! gives a reason for every pattern; `[optional-exclude]` is shown and not applied. `[[database]]` is as in `bk.toml`;
//! `when` ties it to the engine that `[detect]` finds in the configuration and the environment of the application (its
//! keys: `detect.rs`). `[[drill]]` is as in `bk.toml`. `[[need]]` names files without which a restore is worth little. `restore`, `pitfalls`, `proof`,
//! `keep` and `secrets` are read by people.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::detect::Detect;
use super::dumps::{Database, HookUse, RawDatabase, SqliteFile};
use super::question::{Question, RawQuestion};

/// What there is to keep of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Data.
    Stateful,
    /// Its configuration.
    Configuration,
    /// Nothing.
    Stateless,
}

/// A service that bk knows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// As profiles call it.
    #[serde(skip)]
    pub slug: &'static str,
    /// As people call it.
    pub service: String,
    /// In a few words.
    pub about: String,
    /// Such as `media`.
    pub category: String,
    /// What there is to keep.
    pub state: State,
    /// From XS to XL.
    pub size: String,
    /// `critical`, `normal` or `regenerable`.
    pub value: String,
    /// `verified`, `partly` or `unverified`.
    pub facts: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Where its data may lie.
    #[serde(default)]
    pub roots: Vec<String>,
    /// Any of these proves that it is on this machine, where others have a part in its roots; none: any root does.
    #[serde(default)]
    pub here: Vec<String>,
    /// Where its data lies inside its container.
    #[serde(default)]
    pub container_roots: Vec<String>,
    /// What alone is kept.
    #[serde(default)]
    pub include: Vec<String>,
    /// What matters.
    #[serde(default)]
    pub keep: String,
    /// What is secret.
    #[serde(default)]
    pub secrets: String,
    /// How the user may have it stand still.
    pub quiesce: Option<String>,
    /// A hook that it needs.
    pub hook: Option<String>,
    /// Steps.
    #[serde(default)]
    pub restore: Vec<String>,
    /// What goes wrong.
    #[serde(default)]
    pub pitfalls: Vec<String>,
    /// What proves a restore.
    #[serde(default)]
    pub proof: Vec<String>,
    /// Pattern and reason.
    #[serde(default)]
    pub exclude: BTreeMap<String, String>,
    /// Pattern and reason; not applied.
    #[serde(default)]
    pub optional_exclude: BTreeMap<String, String>,
    /// What a restore cannot do without.
    #[serde(default)]
    pub need: Vec<Need>,
    /// How to learn which database it uses.
    pub detect: Option<Detect>,
    #[serde(default)]
    database: Vec<RawDatabase>,
    #[serde(default)]
    drill: Vec<RawQuestion>,
}

/// A file that a restore cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Need {
    /// Any of these will do: patterns below a data folder, or absolute paths.
    pub any: Vec<String>,
    /// What must stand in it.
    pub contains: Option<String>,
    /// What is lost without it.
    pub why: String,
    /// A variable that may hold it instead, outside of what is backed up.
    pub or_env: Option<String>,
}

impl Service {
    /// All of them, by name.
    #[must_use]
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Service>> = LazyLock::new(|| {
            let read = |(slug, text): &(&'static str, &'static str)| {
                // A file that does not parse is found by the test below, before it is ever shipped.
                toml::from_str::<Service>(text).ok().map(|service| Service { slug, ..service })
            };
            super::builtin::SERVICES.iter().filter_map(read).collect()
        });
        &ALL
    }

    /// The one called `name`, or that has it as another name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        let all = Self::all();
        let exact = all.iter().find(|service| service.slug == name);
        exact.or_else(|| all.iter().find(|service| service.aliases.iter().any(|alias| alias == name)))
    }

    /// Whether its dumps are all that there is to keep: without a folder, its backup still is one.
    #[must_use]
    pub fn is_database_server(&self) -> bool {
        self.category == "database"
    }

    /// What must hold of its databases after they were restored.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        // One that cannot be read is found by the test of the built-ins.
        self.drill.iter().filter_map(|raw| raw.clone().read().ok()).collect()
    }

    /// The databases that are files, and those that a hook dumps.
    #[must_use]
    pub fn databases(&self) -> (Vec<SqliteFile>, Vec<HookUse>) {
        let (mut files, mut dumped) = (Vec::new(), Vec::new());
        for raw in &self.database {
            match raw.clone().read() {
                Ok(Database::File(file)) => files.push(file),
                Ok(Database::Dumped(hook)) => dumped.push(hook),
                // Found by the test of the built-ins.
                Err(_) => {}
            }
        }
        (files, dumped)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Profile;
    use super::*;
    use crate::source::exclude::{LintLevel, Rules, lint};

    /// Written down here too, so that none can go missing with its file.
    #[rustfmt::skip]
    const THE_72: [&str; 72] = [
        "act-runner", "alertmanager", "authelia", "autobrr", "bazarr", "beszel", "blackbox-exporter", "blocky",
        "caddy", "cloudflare-ddns", "cockpit", "code-server", "container-volumes", "cs2", "dex", "drone", "fail2ban",
        "filebrowser", "flaresolverr", "gitea", "glance", "grafana", "home", "homepage", "immich", "jackett",
        "jellyfin", "letsencrypt", "libvirt", "lidarr", "lldap", "loki", "mariadb", "mattermost", "minio", "n8n",
        "navidrome", "netdata", "nextcloud", "nixos", "ntfy", "odoo", "overseerr", "pairdrop", "paperless-ngx",
        "plex", "postgres", "prometheus", "promtail", "prowlarr", "pve-exporter", "qbittorrent", "radarr", "readarr",
        "redis", "rustdesk", "sabnzbd", "samba", "scrutiny", "seafile", "sonarr", "stash", "swag", "syncthing",
        "tailscale", "teamspeak", "traefik", "transmission", "uptime-kuma", "vaultwarden", "wireguard", "yarr",
    ];

    #[test]
    fn none_of_the_72_services_is_missing() {
        let slugs: Vec<&str> = Service::all().iter().map(|service| service.slug).collect();
        assert_eq!(slugs, THE_72);
        for slug in THE_72 {
            assert_eq!(Service::find(slug).map(|service| service.slug), Some(slug));
            assert!(
                !Profile::of_service(Service::find(slug).unwrap()).paths.is_empty() || is_stateless(slug),
                "{slug}"
            );
        }
    }

    fn is_stateless(slug: &str) -> bool {
        Service::find(slug).unwrap().state == State::Stateless
    }

    #[test]
    fn every_service_can_be_read_and_its_databases_be_used() {
        for (slug, text) in super::super::builtin::SERVICES {
            let service: Service = toml::from_str(text).unwrap_or_else(|error| panic!("profiles/{slug}.toml: {error}"));
            for raw in &service.database {
                let read = raw.clone().read().unwrap_or_else(|error| panic!("profiles/{slug}.toml: {error:?}"));
                // What the application says is used only where it says which engine it uses.
                assert!(
                    service.detect.is_none() || raw.when.is_some(),
                    "profiles/{slug}.toml: a database has no `when`"
                );
                if let Database::Dumped(hook) = read {
                    let known = crate::hook::BUILT_IN.iter().any(|(name, _)| *name == hook.hook);
                    assert!(known, "profiles/{slug}.toml: there is no hook {}", hook.hook);
                }
            }
            for raw in &service.drill {
                raw.clone().read().unwrap_or_else(|error| panic!("profiles/{slug}.toml: {error:?}"));
            }
            for hook in service.hook.iter() {
                assert!(crate::hook::BUILT_IN.iter().any(|(name, _)| name == hook), "profiles/{slug}.toml: {hook}");
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let built_in: Vec<&str> = super::super::builtin::SERVICES.iter().map(|(slug, _)| *slug).collect();
        assert_eq!(names, built_in);
    }

    #[test]
    fn words_of_every_service_are_known_ones() {
        for service in Service::all() {
            let slug = service.slug;
            assert!(["XS", "S", "M", "L", "XL"].contains(&service.size.as_str()), "{slug}");
            assert!(["critical", "normal", "regenerable"].contains(&service.value.as_str()), "{slug}");
            assert!(["verified", "partly", "unverified"].contains(&service.facts.as_str()), "{slug}");
            assert!(service.about.len() < 90 && !service.about.ends_with('.'), "{slug}");
            assert!(
                service.quiesce.iter().all(|how| ["stop", "pause", "maintenance"].contains(&how.as_str())),
                "{slug}"
            );
            assert!(service.state == State::Stateless || !service.restore.is_empty(), "{slug} has no restore steps");
            let mut places = service.roots.iter().chain(&service.here);
            assert!(places.all(|place| place.starts_with('/') || place.starts_with("~/")), "{slug}");
        }
    }

    #[test]
    fn every_exclude_of_a_service_is_anchored_and_has_a_reason() {
        for service in Service::all() {
            for (pattern, reason) in service.exclude.iter().chain(&service.optional_exclude) {
                let slug = service.slug;
                assert!(reason.len() > 2 && reason.len() < 120, "{slug}: {pattern}: {reason}");
                let findings = lint(std::slice::from_ref(pattern));
                assert!(findings.iter().all(|finding| finding.level == LintLevel::Info), "{slug}: {findings:?}");
                Rules::new(std::slice::from_ref(pattern), &[]).unwrap();
            }
            Rules::new(&[], &service.include).unwrap();
        }
    }

    #[test]
    fn names_and_other_names_are_distinct() {
        let mut names: Vec<&str> = Service::all().iter().map(|service| service.slug).collect();
        names.extend(Service::all().iter().flat_map(|service| service.aliases.iter().map(String::as_str)));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
