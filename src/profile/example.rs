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
# What `bk forget` keeps here; without it the last 30 days. A snapshot stays when one of the rules keeps it, and the
# newest 3 complete ones always stay. `bk forget --dry-run` says of each why; `--simulate 400d` what is left by then.
# Everything of the last 7 days, and the newest of each of 30 days:
keep = { within = "7d", daily = 30 }

[repository.second]
location = "/mnt/second/bk"
# Counts: last, hourly, daily, weekly, monthly, yearly; "all" has no limit. Spans (y, mo, w, d, h): within,
# within-hourly, within-daily, within-weekly, within-monthly, within-yearly. And tags = ["before-upgrade"].
keep = { daily = 14, weekly = 8, monthly = "all" }

[repository.b2]
# A bucket: b2:// of Backblaze, s3:// of any service that speaks S3.
location = "b2://bucket/host1"
region = "eu-central-003"
# AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, each on a line.
credentials-file = "/etc/bk/b2"
# Or what prints such lines, or a section of ~/.aws/credentials:
# credentials-command = ["pass", "show", "b2"]
# aws-profile = "backup"
# Bytes a second to and from the server, all connections together:
limit-upload = "5MiB"
limit-download = "20MiB"
# How long a server that is away or busy is asked again.
retry-for = "10min"
# Of other services than Backblaze and AWS:
# endpoint = "https://s3.example.org"
# path-style = true
# storage-class = "STANDARD_IA"
# The server encrypts once more, with keys of its own:
# sse = "aws:kms"
# sse-kms-key = "alias/backup"

[repository.attic]
# Behind SSH; sftp://me@attic/~/bk would be below the home of the login. No password: ssh's keys and agent open it.
location = "sftp://me@attic.example.org:22/srv/bk"
ssh-options = ["-i", "/etc/bk/ssh-key"]

[repository.escape]
# A copy in the format of restic and rustic, which restore it without bk. It gets the snapshots of the repositories
# before it, and what it keeps and prunes is said as of the others. In a `to` it needs one that bk writes itself.
location = "/mnt/escape/restic"
format = "restic"
# It is not of the family, and has a password of its own:
password-file = "/etc/bk/restic-password"
# password-command = ["pass", "show", "restic"]
keep = { within-daily = "14d" }

[defaults]
# Nearest first; without it every repository is used.
to = ["disk", "second"]
# true: do not follow other file systems mounted below a path.
one-file-system = false
# Copy live SQLite databases through SQLite, so that each copy is whole.
sqlite = true
scratch = "/var/tmp/bk"
# Nothing old is forgotten when the newest complete snapshot is older than this.
max-age = "26h"
# How often it is proved that backups restore, and how deeply: each database is loaded into a server of its own, and
# about so much of the files is restored and compared; "all" reads everything. `bk verify --due` does what is due.
verify = { every = "7d", databases = "all", files = "2GiB" }

[schedule]
# When: minute, hour, day of the month, month, day of the week, as in crontab(5), or @daily and its like. `bk systemd
# install` writes the timers. `run` is for all profiles without times of their own.
run = "30 1 * * *"
# Is everything in the repositories there? And of these every pack is read from end to end at least so often.
check = { at = "0 5 * * 0", disk = "whole in 7d", second = "whole in 90d" }
# Of all times; without it that of the machine.
time-zone = "Europe/Berlin"
# Each start is put off by a random time up to this, so that many machines do not come at once; at most 12h.
jitter = "10min"
# Other programs go first: 0 (no) to 19; and "idle", "low" or "normal" for the disks.
nice = 10
io = "low"

# Numbers for Prometheus; `bk config alerts` and `bk config dashboard` go with them.
[metrics]
textfile = "/var/lib/prometheus/node-exporter/bk.prom"
# Served by `bk daemon`:
listen = "127.0.0.1:9877"

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
# It is backed up at weekends only.
max-age = "8d"
verify = { every = "30d", files = "all" }

# What must hold of a database that was restored. A built-in profile knows questions of its own.
[[profile.wiki.drill]]
name = "every image of a page is there"
when = "mariadb"
database = "wiki"
query = "SELECT img_name, img_size FROM image ORDER BY img_timestamp DESC LIMIT 100"
# Asked where the query cannot be, of an older version.
or-query = "SELECT image_name, image_size FROM old_image LIMIT 100"
# For each row one of these must be in the snapshot, below a data folder; {1} is the first column.
files = ["images/{1}", "public/{1}"]
# The column with the size of the file, and the one with its SHA-1 or SHA-256.
size = 2
# hash = 3
# Nothing is wrong when neither query can be asked.
optional = true

[[profile.wiki.drill]]
name = "there are pages"
query = "SELECT page_id FROM page"
at-least = 10

[[profile.wiki.drill]]
name = "no page is without a title"
query = "SELECT count(*) FROM page WHERE page_title = ''"
equals = "0"

# In this repository the profile has rules of its own; in the others those of the repository count.
[profile.wiki.keep]
second = { within-daily = "1y", tags = ["before-upgrade"] }

[profile.games]
# `root` is short for one path.
root = "/srv/games"
# Only this is kept of it.
include = ["server/cfg", "**/*.ini"]
to = ["disk", "b2", "attic", "escape"]
# Its own times; "never": only by hand.
schedule = "0 4 * * 6"
# Chunks: "auto" as the file looks, "coarse" for media, "fine" for dumps.
chunk-class = "auto"
one-file-system = true
sqlite = false

# A service that bk knows: `bk profile list` shows all, `bk profile show plex` what is known of this one.
# Its excludes, databases and checks come with it, wherever the folder is.
[profile.plex]
use = "plex"
root = "/mnt/data/plex"
# On top of those of the built-in profile; `!` takes one of them back. They begin at `root`, as everywhere.
exclude = ["old/**", "!Library/Application Support/Plex Media Server/Updates/**"]

# Without `root`: the usual places are looked at, and what exists is backed up.
[profile.gitea]
use = "gitea"
# The container that it runs in: bk asks it where its folders lie. Rootless podman: `owner` is its user.
container = { runtime = "podman", name = "gitea", owner = "svc" }

# Databases that are named here replace those of the built-in profile, which finds its own in app.ini.
[[profile.gitea.database]]
# "postgres", "mariadb", "redis", "influxdb", or "sqlite" for a file.
engine = "postgres"
name = "gitea"
user = "gitea"
# Where the server is: a container (its own tools are used), or `host` and `port`, or a `socket`.
container = { runtime = "podman", name = "gitea-db", owner = "svc", exec-user = "postgres" }
# Tables that must not be empty, or the snapshot is not complete.
tables = ["repository"]
min-size = "1MiB"
time-limit = "2h"

# Nothing is stopped or paused unless you say so. "stop", "pause" or "maintenance"; what ran before runs again after,
# also when the backup fails.
[profile.gitea.quiesce]
how = "stop"
units = ["gitea.service"]
# Or containers:
# containers = ["gitea"]
# runtime = "podman"
# owner = "svc"
time-limit = "10min"

[profile.shop]
root = "/srv/shop"

[[profile.shop.database]]
engine = "mariadb"
# Several databases of one server; neither `name` nor `names`: all of them.
names = ["shop", "stock"]
host = "db.lan"
port = 3306
# A file that only root can read; or in place of host and port:
password-file = "/run/secrets/shop-db"
# socket = "/run/mysqld/mysqld.sock"
# The system user that runs the tools of the server:
# system-user = "mysql"

[[profile.shop.database]]
# SQLite databases in the data folders are found without this; this one must be there.
engine = "sqlite"
path = "data/sessions.db"
optional = true
# Only when the application says that it uses this engine:
# when = "sqlite"

[[profile.shop.database]]
engine = "postgres"
name = "reports"
# Of PostgreSQL: "custom" (default) or "plain".
format = "plain"

# A hook: a program that speaks bk-hook(7), built in or in /etc/bk/hooks. `settings` is what it is told.
[[profile.shop.hook]]
run = "command"
settings = { name = "orders.csv", command = ["/usr/local/bin/shop-export", "--orders"] }

# Read a snapshot of the file system, on which nothing changes meanwhile: "btrfs", "zfs" or "lvm".
[profile.shop.snapshot]
filesystem = "lvm"
settings = { size = "5G" }

# Commands of your own, without a shell. `before` fails: no backup is made. `after`: a complete snapshot was made;
# `failed`: it was not; `finally`: however it ended.
[[profile.shop.before]]
run = ["/usr/local/bin/shop", "flush"]
# "fail" (default), "warn" or "ignore".
on-failure = "warn"
time-limit = "5min"

[[profile.shop.after]]
run = ["/usr/bin/logger", "the shop is backed up"]

[[profile.shop.failed]]
run = ["/usr/bin/logger", "the shop is NOT backed up"]

[[profile.shop.finally]]
run = ["/usr/local/bin/shop", "resume"]

# Around the run of every profile, before and after its own: the same keys in [defaults].
[[defaults.before]]
run = ["/usr/bin/mountpoint", "--quiet", "/mnt/backup"]

# A profile that changes another one of yours.
[profile.shop-files]
use = "shop"
to = ["second"]

# Who hears how it went. `bk doctor --notify` sends a test to all of them.
[notify.phone]
# "ntfy", "ping", "webhook", "email" or "program".
kind = "ntfy"
url = "https://ntfy.example.org/backups"
token-file = "/etc/bk/ntfy-token"
# What it hears of. This is the default; there is also "complete".
on = ["failed", "damage", "incomplete", "anomaly", "overdue", "behind", "recovered"]
# How everything stands, on Monday mornings: a line of cron.
digest = "0 8 * * 1"

# A check that complains when it hears nothing, as those of healthchecks.io: it hears of every run.
[notify.watch]
kind = "ping"
# Where the URL is the secret, a file that only root can read holds it.
url-file = "/etc/bk/ping-url"

[notify.chat]
kind = "webhook"
url-file = "/etc/bk/chat-url"
# "alertmanager", "discord", "gotify", "mattermost", "slack" or "uptime-kuma"; without it a JSON document of bk.
template = "discord"

[notify.own-service]
kind = "webhook"
url = "https://alerts.lan/api/notices"
method = "PUT"
# A text of your own with names such as {{title}} and {{body}} in it; its values are escaped when it is called *.json.
template-file = "/etc/bk/notice.json"
headers = { "X-Source" = "bk" }
# Headers that are secrets, each by the file that holds its value.
header-files = { "X-Api-Key" = "/etc/bk/alerts-key" }
# A certificate authority of your own, besides those of the system.
ca-file = "/etc/bk/lan-ca.pem"

[notify.mail]
kind = "email"
to = ["me@example.org", "Ann <ann@example.org>"]
from = "bk@example.org"
host = "mail.example.org"
# "starttls" (default, port 587), "tls" (465), or "none" (25): only for a server on this machine.
tls = "tls"
port = 465
user = "bk@example.org"
password-file = "/etc/bk/mail-password"

# A program of your own, without a shell: a JSON document at its standard input, BK_EVENT and more in its environment.
[notify.own]
kind = "program"
command = ["/usr/local/bin/tell", "--backup"]
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::keys::{Key, Kind, SECTIONS};
    use super::super::{Config, ConfigError, Environment, Given, Level, Login, Origin, RepositoryPassword, Role, load};
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
        assert_eq!(config.repositories["b2"].remote.region.as_deref(), Some("eu-central-003"));
        assert_eq!(config.repositories["b2"].login, Some(Login::File("/etc/bk/b2".into())));
        assert_eq!(
            config.repositories["escape"].password,
            Some(RepositoryPassword::File("/etc/bk/restic-password".into()))
        );
        assert_eq!(config.repositories["b2"].remote.limit_upload, Some(5 << 20));
        let wiki = &config.profiles["wiki"];
        assert_eq!(wiki.to, ["disk", "second"]);
        assert_eq!(wiki.exclude_larger_than, Some(10 << 30));
        assert_eq!(config.profiles["games"].paths, [Path::new("/srv/games")]);
        assert!(config.validate().iter().all(|warning| warning.level == Level::Info), "{:?}", config.validate());
    }

    #[test]
    fn profiles_of_the_example_inherit() {
        let config = load_text(EXAMPLE).unwrap();
        let (plex, gitea, files) =
            (&config.profiles["plex"], &config.profiles["gitea"], &config.profiles["shop-files"]);
        assert_eq!((plex.service, plex.sqlite_files.len()), (Some("plex"), 2));
        assert_eq!(gitea.hooks.iter().filter(|hook| hook.role == Role::Database).count(), 1, "its own one only");
        assert!(gitea.sqlite_files.is_empty() && gitea.candidates);
        assert_eq!((files.paths.as_slice(), files.to.len()), (config.profiles["shop"].paths.as_slice(), 1));
        assert_eq!(files.hooks, config.profiles["shop"].hooks);
    }

    /// Whether the example has `key` in its section, or in a table of it; also behind a `#`.
    fn shows(key: &Key) -> bool {
        let lines = || EXAMPLE.lines().map(|line| line.trim_start_matches("# "));
        let inline = |name: &str| {
            lines().any(|line| line.contains(&format!("{{ {name} =")) || line.contains(&format!(", {name} =")))
        };
        let said = |name: &str| lines().any(|line| line.starts_with(&format!("{name} ="))) || inline(name);
        match key.kind {
            Kind::Table(below) | Kind::Tables(below) => {
                let titled = lines().any(|line| line.trim_matches(['[', ']']).ends_with(&format!(".{}", key.name)));
                (titled || said(key.name)) && below.iter().all(shows)
            }
            _ => said(key.name),
        }
    }

    #[test]
    fn the_example_shows_every_key_there_is() {
        for section in SECTIONS {
            let missing: Vec<&str> = section.keys.iter().filter(|key| !shows(key)).map(|key| key.name).collect();
            assert!(missing.is_empty(), "{}: {missing:?}", section.name);
        }
    }

    #[test]
    fn what_is_written_for_the_snapshot_is_read_back_as_the_same_configuration() {
        let mut config = load_text(EXAMPLE).unwrap();
        let mut again = load_text(&config.definition()).unwrap();
        // Arguments of commands may be secret, and are not written down.
        for config in [&mut config, &mut again] {
            let of_profiles = config.profiles.values_mut().map(|profile| &mut profile.moments);
            for moments in of_profiles.chain([&mut config.defaults.moments]) {
                let all = [&mut moments.before, &mut moments.after, &mut moments.failed, &mut moments.finally];
                all.into_iter().flatten().for_each(|command| command.run.truncate(1));
            }
        }
        assert_eq!(again.profiles, config.profiles);
        assert_eq!(again.repositories, config.repositories);
        // Of the places that are told no more than the host is written down.
        assert!(again.channels.keys().eq(config.channels.keys()));
        assert_eq!((again.family, again.defaults), (config.family, config.defaults));
        assert_eq!(again.schedule, config.schedule);
        assert_eq!(again.metrics, config.metrics);
    }
}
