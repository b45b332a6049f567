//! Every key of `bk.toml`: its name, the shape of its value and one sentence about it.
//!
//! The one list behind the check of a file, the JSON Schema and "did you mean". A test holds it equal to [`super::raw`].

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Texts,
    /// An absolute path.
    Path,
    /// Absolute paths.
    Paths,
    Switch,
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number from 1 to 65535.
    Port,
    /// A whole number between these, both included.
    Whole(u16, u16),
    /// A time such as "30min".
    Duration,
    /// A time such as "10min", also none.
    Delay,
    /// A schedule by itself, or in a table as `at` with promises by the names of repositories.
    Check,
    /// One table with these keys.
    Table(&'static [Key]),
    /// Several tables with these keys, `[[so]]`.
    Tables(&'static [Key]),
    /// A table of rules of what to keep.
    Keep,
    /// Such tables by the name of a repository.
    KeepOf,
    /// A table with any names, whose values are strings or arrays of strings.
    Settings,
    /// A table with any names, whose values are strings.
    Names,
}

/// One key of a section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
}

/// One section: `[name]`, or `[name.NAME]` when there can be several.
#[derive(Debug)]
pub(super) struct Section {
    pub name: &'static str,
    pub named: bool,
    pub about: &'static str,
    pub keys: &'static [Key],
    /// Keys of the design that this version does not have.
    pub later: &'static [&'static str],
}

/// Sections of the design that this version does not have.
pub(super) const LATER_SECTIONS: &[&str] = &["keep", "verify", "check", "hook", "hooks", "drill"];

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about }
}

const CONTAINER: &[Key] = &[
    key("runtime", Kind::Choice(&["podman", "docker"]), "What runs the container; default \"podman\"."),
    key("name", Kind::Text, "Its name."),
    key("owner", Kind::Text, "The system user whose rootless podman runs it."),
    key("exec-user", Kind::Text, "The user inside the container that runs the tools."),
];

const DATABASE: &[Key] = &[
    key(
        "engine",
        Kind::Text,
        "The hook that dumps it: \"postgres\", \"mariadb\", \"redis\", or \"sqlite\" for a file.",
    ),
    key("name", Kind::Text, "The database; all of the server when not said."),
    key("names", Kind::Texts, "Several databases."),
    key("path", Kind::Text, "Of SQLite: the file, below the data folder; may hold wildcards."),
    key("user", Kind::Text, "User of the server."),
    key("host", Kind::Text, "Machine the server listens on."),
    key("port", Kind::Port, "Port the server listens on."),
    key("socket", Kind::Path, "Socket of the server, or the folder it is in."),
    key("password-file", Kind::Path, "File that holds the password."),
    key("system-user", Kind::Text, "System user that runs the tools of the server; of PostgreSQL \"postgres\"."),
    key("format", Kind::Text, "Form of the dump: of PostgreSQL \"custom\" (default) or \"plain\"."),
    key("tables", Kind::Texts, "Tables that must not be empty."),
    key("optional", Kind::Switch, "Nothing is wrong when it is not there."),
    key("when", Kind::Text, "Only when the application uses this engine."),
    key("min-size", Kind::Size, "A smaller dump is not complete; not said: half of the one before."),
    key("time-limit", Kind::Duration, "A dump that takes longer is stopped; default \"12h\"."),
    key("container", Kind::Table(CONTAINER), "The container that the server runs in."),
    key("settings", Kind::Settings, "What else the hook is told."),
];

const HOOK: &[Key] = &[
    key("run", Kind::Text, "Name of the hook."),
    key("optional", Kind::Switch, "Nothing is wrong when it has nothing to do."),
    key("time-limit", Kind::Duration, "What takes longer is stopped; default \"12h\"."),
    key("container", Kind::Table(CONTAINER), "The container that it works in."),
    key("settings", Kind::Settings, "What it is told."),
];

const QUIESCE: &[Key] = &[
    key("how", Kind::Choice(&["stop", "pause", "maintenance"]), "What is done while the service is read."),
    key("units", Kind::Texts, "Units of systemd to stop, in this order."),
    key("containers", Kind::Texts, "Containers to stop or pause, in this order."),
    key("runtime", Kind::Choice(&["podman", "docker"]), "What runs the containers; default \"podman\"."),
    key("owner", Kind::Text, "The system user whose rootless podman runs them."),
    key("time-limit", Kind::Duration, "How long that may take; default \"10min\"."),
];

const SNAPSHOT: &[Key] = &[
    key("filesystem", Kind::Choice(&["btrfs", "zfs", "lvm"]), "What the data folders lie on."),
    key("settings", Kind::Settings, "What the hook of that name is told."),
    key("time-limit", Kind::Duration, "How long making or dropping it may take; default \"10min\"."),
];

const COMMAND: &[Key] = &[
    key("run", Kind::Texts, "Program and arguments; no shell is used."),
    key("on-failure", Kind::Choice(&["fail", "warn", "ignore"]), "What its failure means; default \"fail\"."),
    key("time-limit", Kind::Duration, "What takes longer is stopped; default \"1h\"."),
];

/// The table that a `check` can be, but for the names of repositories, which have promises such as "whole in 30d".
pub(super) const CHECK: &[Key] = &[key("at", Kind::Text, "When; as `check` by itself.")];
const NOTIFY: &[Key] = &[
    key("kind", Kind::Choice(&["ntfy", "ping", "webhook", "email", "program"]), "What is spoken there."),
    key("on", Kind::Texts, "What it hears of; default all that is not well, and that it is well again."),
    key("digest", Kind::Text, "When it gets a digest: a line of cron; default \"0 8 * * 1\" when `on` has \"digest\"."),
    key("url", Kind::Text, "Of ntfy, ping and webhook: where it is sent."),
    key("url-file", Kind::Path, "File that holds the URL, when that is the secret."),
    key("token-file", Kind::Path, "File that holds the token, sent as `Authorization: Bearer`."),
    key("ca-file", Kind::Path, "File with certificates that are trusted besides those of the system."),
    key("headers", Kind::Names, "Headers to send besides."),
    key("header-files", Kind::Names, "Such headers, each by the file that holds its value."),
    key("method", Kind::Choice(&["POST", "PUT"]), "Of a webhook: how it is sent; default \"POST\"."),
    key(
        "template",
        Kind::Choice(&["alertmanager", "discord", "gotify", "mattermost", "slack", "uptime-kuma"]),
        "Of a webhook: what is understood there; without it and `template-file` a JSON document of bk.",
    ),
    key("template-file", Kind::Path, "Of a webhook: a text of your own with {{title}} and other names in it."),
    key("to", Kind::Texts, "Of email: addresses it goes to."),
    key("from", Kind::Text, "Of email: the address it comes from."),
    key("host", Kind::Text, "Of email: the server that takes it."),
    key("port", Kind::Port, "Of email: its port; default 587, with tls \"tls\" 465, with \"none\" 25."),
    key("tls", Kind::Choice(&["starttls", "tls", "none"]), "Of email: how it is encrypted; default \"starttls\"."),
    key("user", Kind::Text, "Of email: user of the server."),
    key("password-file", Kind::Path, "Of email: file that holds the password."),
    key("command", Kind::Texts, "Of program: it and its arguments; no shell is used."),
];

const VERIFY_TABLE: &[Key] = &[
    key("every", Kind::Text, "How often, such as \"7d\" (default), or \"never\"; for `bk verify --due`."),
    key("databases", Kind::Choice(&["all", "none"]), "Which databases are loaded for a test; default \"all\"."),
    key("files", Kind::Text, "How much of the files is restored: such as \"2GiB\" (default), \"all\" or \"none\"."),
];

const DRILL: &[Key] = &[
    key("name", Kind::Text, "What holds when it is answered well, in a few words."),
    key("when", Kind::Text, "Only of databases of this engine: \"sqlite\", \"postgres\", \"mariadb\"."),
    key("database", Kind::Text, "Only of this database; of SQLite the end of its path."),
    key("query", Kind::Text, "What is asked of the restored database."),
    key("or-query", Kind::Text, "What is asked where the query cannot be: of an older version, say."),
    key("at-least", Kind::Whole(0, 65_535), "So many rows must come; default 1, with `files` 0."),
    key("equals", Kind::Text, "The one value that must come."),
    key("files", Kind::Texts, "For each row one of these must be in the snapshot; \"{1}\" is its first column."),
    key("size", Kind::Whole(1, 64), "The column that holds the size of the file, in bytes."),
    key("hash", Kind::Whole(1, 64), "The column that holds its SHA-1 or SHA-256, hexadecimal."),
    key("optional", Kind::Switch, "Nothing is wrong when it cannot be asked."),
];

const VERIFY: Key = key("verify", Kind::Table(VERIFY_TABLE), "How often and how deeply restores are proved.");
const MAX_AGE: Key = key(
    "max-age",
    Kind::Duration,
    "While the newest complete snapshot is older, it is overdue and nothing is forgotten.",
);
const BEFORE: Key = key("before", Kind::Tables(COMMAND), "Commands before anything else; a failure ends the run.");
const AFTER: Key = key("after", Kind::Tables(COMMAND), "Commands after a snapshot was made.");
const FAILED: Key = key("failed", Kind::Tables(COMMAND), "Commands when the run was not complete.");
const FINALLY: Key = key("finally", Kind::Tables(COMMAND), "Commands at the end, however it ended.");

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "family",
        named: false,
        about: "How the repositories are opened: one of these, for all of them.",
        keys: &[
            key("key-file", Kind::Path, "File that holds the key."),
            key("password-file", Kind::Path, "File that holds the password."),
            key("password-command", Kind::Texts, "Program and arguments that print the password; no shell is used."),
        ],
        later: &["credentials-file"],
    },
    Section {
        name: "repository",
        named: true,
        about: "A place where backups are kept.",
        keys: &[
            key("location", Kind::Text, "Where it is: an absolute path or a URL."),
            key("format", Kind::Choice(&["bk", "restic"]), "What it is written in; default \"bk\"."),
            key("password-file", Kind::Path, "Of format \"restic\": file that holds its password."),
            key(
                "password-command",
                Kind::Texts,
                "Of format \"restic\": program and arguments that print its password; no shell is used.",
            ),
            key("require-mount", Kind::Path, "Nothing is written unless something is mounted here."),
            key("min-free", Kind::Size, "Nothing is written when less than this would stay free."),
            key("endpoint", Kind::Text, "URL of the server of a bucket, when it is neither AWS nor Backblaze."),
            key("region", Kind::Text, "Region of the bucket."),
            key("path-style", Kind::Switch, "The bucket is a part of the path; default true with an endpoint."),
            key("storage-class", Kind::Text, "Storage class of new objects; default that of the bucket."),
            key("sse", Kind::Choice(&["AES256", "aws:kms"]), "How the server encrypts new objects once more."),
            key("sse-kms-key", Kind::Text, "Key of the key service for that; default that of the bucket."),
            key("limit-upload", Kind::Size, "At most so many bytes a second to the server; default no limit."),
            key("limit-download", Kind::Size, "At most so many bytes a second from the server; default no limit."),
            key("retry-for", Kind::Duration, "How long a server that is away is asked again; default \"3min\"."),
            key("ssh-options", Kind::Texts, "Arguments for ssh, before the host."),
            key("credentials-file", Kind::Path, "File that holds the access key, or the user and password."),
            key("credentials-command", Kind::Texts, "Program and arguments that print them; no shell is used."),
            key("aws-profile", Kind::Text, "Section of ~/.aws/credentials that holds the access key."),
            key(
                "keep",
                Kind::Keep,
                "Which snapshots `bk forget` keeps; default { within = \"30d\" }, of a bucket \"90d\".",
            ),
        ],
        later: &["verify", "check", "max-age", "limit"],
    },
    Section {
        name: "defaults",
        named: false,
        about: "What holds for every profile that says nothing else.",
        keys: &[
            key("to", Kind::Texts, "Names of the repositories to back up to; all of bk's own format when not said."),
            key("one-file-system", Kind::Switch, "Stay on the file system of each path; default false."),
            key("sqlite", Kind::Switch, "Copy live SQLite databases consistently; default true."),
            key("scratch", Kind::Path, "Folder for temporary files."),
            MAX_AGE,
            VERIFY,
            BEFORE,
            AFTER,
            FAILED,
            FINALLY,
        ],
        later: &["keep", "notify"],
    },
    Section {
        name: "schedule",
        named: false,
        about: "When bk has work, for `bk systemd install`.",
        keys: &[
            key("run", Kind::Text, "When profiles are run, as in crontab(5); such as \"30 2 * * *\"."),
            key(
                "check",
                Kind::Check,
                "When the repositories are checked, such as \"0 5 * * 0\", and how much of each is read.",
            ),
            key("time-zone", Kind::Text, "Time zone of all times; default that of the machine."),
            key("jitter", Kind::Delay, "Each start is put off by a random time up to this; default \"0min\"."),
            key("nice", Kind::Whole(0, 19), "How much other programs go first, from 0 to 19; default 10."),
            key("io", Kind::Choice(&["idle", "low", "normal"]), "How the disks are shared; default \"low\"."),
        ],
        later: &[],
    },
    Section {
        name: "metrics",
        named: false,
        about: "Where the numbers for monitoring go.",
        keys: &[
            key("textfile", Kind::Path, "File for the textfile collector of node_exporter; ends with .prom."),
            key("listen", Kind::Text, "Where `bk daemon` serves /metrics and /health, such as \"127.0.0.1:9877\"."),
        ],
        later: &[],
    },
    Section {
        name: "profile",
        named: true,
        about: "Something to back up.",
        keys: &[
            key("paths", Kind::Paths, "Files and folders to back up."),
            key("root", Kind::Path, "The one folder to back up; instead of `paths`."),
            key("to", Kind::Texts, "Names of the repositories to back up to."),
            key("exclude", Kind::Texts, "Patterns of what is left out, anchored at each path."),
            key("include", Kind::Texts, "Patterns of what alone is kept, anchored at each path."),
            key("tags", Kind::Texts, "Words to find the snapshots by."),
            key("chunk-class", Kind::Choice(&["auto", "coarse", "fine"]), "Size of chunks; default \"auto\"."),
            key("one-file-system", Kind::Switch, "Stay on the file system of each path."),
            key("exclude-caches", Kind::Switch, "Leave out folders marked with CACHEDIR.TAG; default false."),
            key("exclude-larger-than", Kind::Size, "Leave out files larger than this."),
            key("exclude-if-present", Kind::Texts, "Leave out folders that hold a file of one of these names."),
            key("sqlite", Kind::Switch, "Copy live SQLite databases consistently."),
            key("use", Kind::Text, "A built-in profile, or another of yours, that this one changes."),
            key("database", Kind::Tables(DATABASE), "A database that is dumped; instead of those of `use`."),
            key("container", Kind::Table(CONTAINER), "The container of the service: bk asks it where its folders lie."),
            key("hook", Kind::Tables(HOOK), "A hook that is run; besides those of `use`."),
            key(
                "quiesce",
                Kind::Table(QUIESCE),
                "What is stopped or paused while it is read; nothing unless you say so.",
            ),
            key("snapshot", Kind::Table(SNAPSHOT), "Read a snapshot of the file system, so that it stands still."),
            key(
                "keep",
                Kind::KeepOf,
                "Which snapshots are kept in one repository: `[profile.NAME.keep]`, `disk = { … }`.",
            ),
            key(
                "schedule",
                Kind::Text,
                "Its own times, as in crontab(5), or \"never\"; instead of `run` of [schedule].",
            ),
            MAX_AGE,
            VERIFY,
            key("drill", Kind::Tables(DRILL), "What must hold of a restored database; besides what `use` asks."),
            BEFORE,
            AFTER,
            FAILED,
            FINALLY,
        ],
        later: &["notify", "exclude-file"],
    },
    Section {
        name: "notify",
        named: true,
        about: "Who hears how it went, and how it is said there.",
        keys: NOTIFY,
        later: &[],
    },
];

/// The section called `name`.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The one of `known` that a misspelt `word` was probably meant to be.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.replace('_', "-").to_lowercase();
    let closest = known.into_iter().map(|name| (distance(&word, name), name)).min()?;
    (closest.0 <= 2.max(word.chars().count() / 3) && closest.0 < closest.1.len()).then_some(closest.1)
}

/// How many letters must be inserted, removed or replaced to make `from` into `to`.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (other, above) in to.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(letter != other)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found_for_what_people_mistype() {
        let keys = || section("profile").unwrap().keys.iter().map(|key| key.name);
        let cases = [
            ("exclude_if_present", Some("exclude-if-present")),
            ("exclude-if-presnt", Some("exclude-if-present")),
            ("excludes", Some("exclude")),
            ("path", Some("paths")),
            ("Root", Some("root")),
            ("chunk-clas", Some("chunk-class")),
            ("zebra", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, keys()), expected, "{word}");
        }
    }

    #[test]
    fn the_distance_counts_single_letter_changes() {
        for (from, to, expected) in [("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)] {
            assert_eq!(distance(from, to), expected);
        }
    }

    #[test]
    fn no_key_is_both_supported_and_for_later() {
        for section in SECTIONS {
            assert!(!LATER_SECTIONS.contains(&section.name));
            assert!(section.later.iter().all(|name| section.key(name).is_none()), "{}", section.name);
        }
    }
}
