//! The file that `bk config example` prints.

/// A `bk.toml` with every key of this version, each explained; it is valid as it stands.
pub const EXAMPLE: &str = r#"# bk.toml: what is backed up and to where.
#
# Read from /etc/bk/bk.toml (root) and ~/.config/bk/bk.toml, each with conf.d/*.toml beside it.
# Paths are absolute. Unknown keys are errors: a misspelt key would be a backup that lacks something.

[family]
# One key opens all repositories. Keep a copy of it outside of this machine.
key-file = "/etc/bk/key"
# Or a password instead:
# password-file = "/run/secrets/bk-password"
# password-command = ["pass", "show", "bk"]

[repository.disk]
location = "/mnt/backup/bk"
# Refuse to fill the root disk when the backup disk is not mounted.
require-mount = "/mnt/backup"
# Stop before less than this is free.
min-free = "20GiB"

[repository.second]
location = "/mnt/second/bk"

[defaults]
# Nearest first; without it every repository is used.
to = ["disk", "second"]
# true: do not follow other file systems mounted below a path.
one-file-system = false
# Copy live SQLite databases through SQLite, so that each copy is whole.
sqlite = true
scratch = "/var/tmp/bk"

[profile.wiki]
paths = ["/srv/wiki", "/etc/wiki"]
# Patterns begin at each path: "cache/**" is /srv/wiki/cache and no other folder of that name.
# `*` stays in one folder, `**` spans any depth, `/...` is a path of the machine, `!` takes back.
exclude = ["cache/**", "*.tmp", "sessions/", "!cache/keep/**"]
# Leave out folders that hold a file of one of these names.
exclude-if-present = [".nobackup"]
# Leave out folders that programs marked as caches with CACHEDIR.TAG.
exclude-caches = true
exclude-larger-than = "10GiB"
tags = ["web"]

[profile.games]
# `root` is short for one path.
root = "/srv/games"
# Only this is kept of it.
include = ["server/cfg", "**/*.ini"]
to = ["disk"]
# Chunks: "auto" as the file looks, "coarse" for media, "fine" for dumps.
chunk-class = "auto"
one-file-system = true
sqlite = false
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::keys::SECTIONS;
    use super::super::{Config, ConfigError, Environment, Given, Level, Origin, load};
    use super::EXAMPLE;

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bk.toml");
        std::fs::write(&path, text).unwrap();
        let config = Some(Given { value: path, origin: Origin::Flag("--config") });
        load(&Environment { uid: 1000, config, ..Environment::default() })
    }

    #[test]
    fn the_example_is_valid_and_means_what_it_says() {
        let config = load_text(EXAMPLE).unwrap();
        assert_eq!(config.family.key_file.as_deref(), Some(Path::new("/etc/bk/key")));
        assert_eq!(config.repositories["disk"].min_free_bytes, Some(20 << 30));
        let wiki = &config.profiles["wiki"];
        assert_eq!(wiki.to, ["disk", "second"]);
        assert_eq!(wiki.exclude_larger_than, Some(10 << 30));
        assert_eq!(config.profiles["games"].paths, [Path::new("/srv/games")]);
        assert!(config.validate().iter().all(|warning| warning.level == Level::Info), "{:?}", config.validate());
    }

    #[test]
    fn the_example_shows_every_key_there_is() {
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(EXAMPLE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{} =", key.name))));
        }
    }

    #[test]
    fn what_is_written_for_the_snapshot_is_read_back_as_the_same_configuration() {
        let config = load_text(EXAMPLE).unwrap();
        let again = load_text(&config.definition()).unwrap();
        assert_eq!(again.profiles, config.profiles);
        assert_eq!(again.repositories, config.repositories);
        assert_eq!((again.family, again.defaults), (config.family, config.defaults));
    }
}
