//! A unit file: sections of directives and comments, of which an older systemd gets only those that it knows.

/// Since which version of systemd a directive is known; those that are not here are older than what bk serves.
/// Source: NEWS of systemd.
const SINCE: &[(&str, u32)] = &[
    ("RandomizedDelaySec", 229),
    ("RemoveIPC", 231),
    ("MemoryHigh", 231),
    ("MemoryDenyWriteExecute", 231),
    ("RestrictRealtime", 231),
    ("ReadWritePaths", 231),
    ("ProtectControlGroups", 232),
    ("ProtectKernelModules", 232),
    ("ProtectKernelTunables", 232),
    ("RestrictNamespaces", 233),
    ("CacheDirectory", 235),
    ("CacheDirectoryMode", 235),
    ("LockPersonality", 235),
    ("StateDirectory", 235),
    ("StateDirectoryMode", 235),
    ("SystemCallFilter", 239),
    ("ProtectHostname", 242),
    ("RestrictSUIDSGID", 242),
    ("ProtectKernelLogs", 244),
    ("ProtectClock", 245),
    // From here on `%d` is known, without which nobody could say where the credential is.
    ("LoadCredential", 251),
];

/// First words of what bk writes: only files that begin so are replaced or removed.
pub(super) const MARK: &str = "# Written by `bk systemd";

/// A line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Why something is as it is.
    Comment(String),
    /// A directive.
    Set(&'static str, String),
}

/// Such as `[Service]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub name: &'static str,
    pub entries: Vec<Entry>,
    version: u32,
}

impl Section {
    pub fn new(name: &'static str, version: u32) -> Self {
        Self { name, entries: Vec::new(), version }
    }

    /// Leaves it out when systemd is too old for it.
    pub fn set(&mut self, key: &'static str, value: impl Into<String>) -> &mut Self {
        if self.knows(key) {
            self.entries.push(Entry::Set(key, value.into()));
        }
        self
    }

    pub fn set_if(&mut self, when: bool, key: &'static str, value: impl Into<String>) -> &mut Self {
        if when { self.set(key, value) } else { self }
    }

    pub fn say(&mut self, text: impl Into<String>) -> &mut Self {
        self.entries.push(Entry::Comment(text.into()));
        self
    }

    pub fn knows(&self, key: &str) -> bool {
        !SINCE.iter().any(|(known, since)| *known == key && *since > self.version)
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Such as `bk.timer`.
    pub name: &'static str,
    pub sections: Vec<Section>,
}

impl Unit {
    /// The text of the file.
    pub fn text(&self, source: &str) -> String {
        let mut text = format!("{MARK} install` from {source}. Changes are lost: make them there and run it again,\n");
        text += &format!("# or put them beside it with `systemctl edit {}`.\n", self.name);
        for section in &self.sections {
            text += &format!("\n[{}]\n", section.name);
            for entry in &section.entries {
                text += &match entry {
                    Entry::Comment(comment) => comment_lines(comment),
                    Entry::Set(key, value) => format!("{key}={value}\n"),
                };
            }
        }
        text
    }
}

fn comment_lines(comment: &str) -> String {
    let lines = crate::ui::text::wrapped(comment, 100);
    lines.into_iter().map(|line| format!("# {line}\n")).collect()
}

/// A word of a list or a command line as systemd reads it.
pub(super) fn word(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |one: char| one.is_ascii_alphanumeric() || "/_.@:+=,-%".contains(one);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A word of a command line, where `$` would be a variable.
pub(super) fn argument(text: &str) -> String {
    word(&text.replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_themselves_to_systemd() {
        let cases =
            [("/a/b-1", "/a/b-1"), ("a b", "\"a b\""), ("50%", "50%%"), ("a\"b\\", "\"a\\\"b\\\\\""), ("", "\"\"")];
        for (text, expected) in cases {
            assert_eq!(word(text), expected);
        }
        assert_eq!(argument("$HOME"), "\"$$HOME\"");
    }

    #[test]
    fn an_old_systemd_gets_what_it_knows() {
        let mut section = Section::new("Service", 230);
        section.set("Type", "oneshot").set("ProtectClock", "yes").set("RandomizedDelaySec", "5min");
        assert_eq!(section.entries.len(), 2);
        assert!(!section.knows("LoadCredential") && section.knows("Nice"));
    }
}
