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
}

/// One key of a section.
#[derive(Debug)]
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
pub(super) const LATER_SECTIONS: &[&str] =
    &["schedule", "notify", "keep", "metrics", "verify", "check", "hook", "hooks", "drill"];

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about }
}

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
            key("require-mount", Kind::Path, "Nothing is written unless something is mounted here."),
            key("min-free", Kind::Size, "Nothing is written when less than this would stay free."),
        ],
        later: &["keep", "region", "endpoint", "credentials-file", "verify", "check", "max-age", "limit"],
    },
    Section {
        name: "defaults",
        named: false,
        about: "What holds for every profile that says nothing else.",
        keys: &[
            key("to", Kind::Texts, "Names of the repositories to back up to; all of them when not said."),
            key("one-file-system", Kind::Switch, "Stay on the file system of each path; default false."),
            key("sqlite", Kind::Switch, "Copy live SQLite databases consistently; default true."),
            key("scratch", Kind::Path, "Folder for temporary files."),
        ],
        later: &["keep", "verify", "max-age", "schedule", "notify", "quiesce"],
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
        ],
        later: &[
            "use",
            "database",
            "databases",
            "keep",
            "verify",
            "max-age",
            "schedule",
            "notify",
            "quiesce",
            "hook",
            "hooks",
            "before",
            "after",
            "container",
            "exclude-file",
            "drill",
        ],
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
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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
