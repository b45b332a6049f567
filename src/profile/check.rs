//! Compares one file with the table of keys: the messages people read about a typing error come from here.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::files::Text;
use super::keep;
use super::keys::{self, Key, Kind, LATER_SECTIONS, SECTIONS, Section};
use super::raw::RawFile;
use crate::size::ByteSize;

const NAME_HINT: &str = "names are lower-case letters, digits, `_` and `-`, and begin with a letter or digit";

/// Reads `text` strictly.
///
/// # Errors
/// The problem that stands first in the file.
pub(super) fn parse(text: &Text) -> Result<RawFile, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        place: text.place(error.span().unwrap_or_default()),
        message: error.message().trim().replace('\n', ", "),
    };
    let table = DeTable::parse(&text.content).map_err(syntax)?;
    let mut found = Found { text, first: None };
    for (name, value) in table.get_ref() {
        found.section(name, value);
    }
    if let Some((_, error)) = found.first {
        return Err(error);
    }
    toml::from_str(&text.content).map_err(syntax)
}

/// The problem nearest to the beginning of the file; tables are walked in the order of their names.
struct Found<'a> {
    text: &'a Text,
    first: Option<(usize, ConfigError)>,
}

impl Found<'_> {
    fn report(&mut self, span: &Range<usize>, error: ConfigError) {
        if self.first.as_ref().is_none_or(|(at, _)| span.start < *at) {
            self.first = Some((span.start, error));
        }
    }

    fn section(&mut self, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let Some(section) = keys::section(name.get_ref()) else {
            let known = SECTIONS.iter().map(|section| section.name);
            return self.unknown("the file", name, LATER_SECTIONS, keys::nearest(name.get_ref(), known));
        };
        let shape = if section.named { format!("[{}.NAME]", section.name) } else { format!("[{}]", section.name) };
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type(name, "the file", value, &format!("a table, `{shape}`"));
        };
        if !section.named {
            return self.table(section, &shape, table);
        }
        for (name, value) in table {
            let title = format!("[{}.{}]", section.name, name.get_ref());
            match value.get_ref().as_table() {
                Some(table) => {
                    self.name(section, name);
                    self.table(section, &title, table);
                }
                None if section.key(name.get_ref()).is_some() => {
                    let problem = format!("has `{}` outside a name", name.get_ref());
                    let hint = "give it a name of your choice, such as `[repository.disk]` or `[profile.wiki]`";
                    let place = self.text.place(name.span());
                    let section = format!("[{}]", section.name);
                    self.report(&name.span(), ConfigError::Section { place, section, problem, hint });
                }
                None => self.wrong_type(name, &format!("[{}]", section.name), value, &format!("a table, `{shape}`")),
            }
        }
    }

    fn table(&mut self, section: &'static Section, title: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            self.entry(section.keys, section.later, title, name, value);
        }
    }

    fn entry(
        &mut self,
        keys: &'static [Key],
        later: &[&str],
        title: &str,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        match keys.iter().find(|key| key.name == name.get_ref().as_ref()) {
            Some(key) => self.value(key, title, name, value),
            None => self.unknown(title, name, later, keys::nearest(name.get_ref(), keys.iter().map(|key| key.name))),
        }
    }

    /// A table inside of a section.
    fn inner(&mut self, keys: &'static [Key], title: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            self.entry(keys, &[], title, name, value);
        }
    }

    fn tables(&mut self, key: &Key, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let inside = format!("{}.{}]", title.trim_end_matches(']'), key.name);
        match (key.kind, value.get_ref()) {
            (Kind::Table(keys), DeValue::Table(table)) => self.inner(keys, &inside, table),
            (Kind::Tables(keys), DeValue::Array(items)) => {
                for item in items {
                    match item.get_ref().as_table() {
                        Some(table) => self.inner(keys, &format!("[{inside}]"), table),
                        None => self.wrong_type(name, title, item, &format!("tables only, `[{inside}]`")),
                    }
                }
            }
            (Kind::Settings, DeValue::Table(table)) => {
                for (name, value) in table {
                    let texts = |items: &[Spanned<DeValue<'_>>]| items.iter().all(|item| item.get_ref().is_str());
                    match value.get_ref() {
                        DeValue::String(_) => {}
                        DeValue::Array(items) if texts(items) => {}
                        _ => self.wrong_type(name, &inside, value, "a string or an array of strings"),
                    }
                }
            }
            (Kind::Names, DeValue::Table(table)) => {
                for (name, value) in table.iter().filter(|(_, value)| !value.get_ref().is_str()) {
                    self.wrong_type(name, &inside, value, "a string");
                }
            }
            (Kind::Tables(_), _) => self.wrong_type(name, title, value, &format!("tables, `[{inside}]`")),
            _ => self.wrong_type(name, title, value, &format!("a table, `{inside}`")),
        }
    }

    fn unknown(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, later: &[&str], nearest: Option<&'static str>) {
        let place = self.text.place(name.span());
        let (key, section) = (name.get_ref().to_string(), title.to_owned());
        let error = if later.contains(&key.as_str()) {
            ConfigError::NotSupported { place, key, section }
        } else {
            let hint = unknown_hint(&key, title);
            ConfigError::UnknownKey { place, key, section, nearest, hint }
        };
        self.report(&name.span(), error);
    }

    fn wrong_type(&mut self, name: &Spanned<Cow<'_, str>>, title: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let error = ConfigError::WrongType {
            place: self.text.place(value.span()),
            key: name.get_ref().to_string(),
            section: title.to_owned(),
            expected: expected.to_owned(),
            found: describe(value.get_ref()),
        };
        self.report(&value.span(), error);
    }

    fn value(&mut self, key: &Key, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let expected = match key.kind {
            Kind::Text => "a string",
            Kind::Path => "an absolute path in quotes",
            Kind::Texts => "an array of strings",
            Kind::Paths => "an array of absolute paths",
            Kind::Switch => "true or false",
            Kind::Size => return self.size(title, name, value),
            Kind::Choice(words) => return self.choice(words, title, name, value),
            Kind::Port => return self.whole(1, u16::MAX, title, name, value),
            Kind::Whole(least, most) => return self.whole(least, most, title, name, value),
            Kind::Delay => return self.delay(title, name, value),
            Kind::Check => return self.check(title, name, value),
            Kind::Duration => return self.duration(title, name, value),
            Kind::Keep => return self.keep(title, name, value),
            Kind::KeepOf => return self.keep_of(title, name, value),
            Kind::Table(_) | Kind::Tables(_) | Kind::Settings | Kind::Names => {
                return self.tables(key, title, name, value);
            }
        };
        match (key.kind, value.get_ref()) {
            (Kind::Texts | Kind::Paths, DeValue::Array(items)) => {
                if let Some(item) = items.iter().find(|item| !item.get_ref().is_str()) {
                    self.wrong_type(name, title, item, &format!("{expected} only"));
                }
            }
            (Kind::Text | Kind::Path, DeValue::String(_)) | (Kind::Switch, DeValue::Boolean(_)) => {}
            _ => self.wrong_type(name, title, value, expected),
        }
    }

    fn choice(&mut self, words: &[&str], title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let expected = format!("one of {}", quoted.join(", "));
        match value.get_ref().as_str() {
            Some(word) if words.contains(&word) => {}
            Some(word) => {
                let place = self.text.place(value.span());
                let (key, section) = (name.get_ref().to_string(), title.to_owned());
                let found = format!("\"{word}\"");
                self.report(&value.span(), ConfigError::WrongType { place, key, section, expected, found });
            }
            None => self.wrong_type(name, title, value, &expected),
        }
    }

    /// A table of rules; each is tried by itself.
    fn keep(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type(name, title, value, keep::EXPECTED);
        };
        let (key, section) = (name.get_ref().to_string(), title.to_owned());
        if table.is_empty() {
            let (place, problem) =
                (self.text.place(value.span()), "has no rule, and would keep next to nothing".to_owned());
            let hint = "write for example { within = \"30d\" }, or remove it: that is the default";
            return self.report(&value.span(), ConfigError::Value { place, key, section, problem, hint });
        }
        let inside = format!("{}.{key}]", title.trim_end_matches(']'));
        for (rule, value) in table {
            if !keep::is_rule(rule) {
                self.unknown(&inside, rule, &[], keys::nearest(rule.get_ref(), keep::rules()));
                continue;
            }
            match keep::check(rule.get_ref(), value.get_ref()) {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    let (place, section) = (self.text.place(value.span()), inside.clone());
                    let (key, problem) = (rule.get_ref().to_string(), format!("cannot be used: {error}"));
                    let hint = "a count is a whole number or \"all\", a span is such as \"30d\" or \"2y\"";
                    self.report(&value.span(), ConfigError::Value { place, key, section, problem, hint });
                }
                None => self.wrong_type(rule, &inside, value, "a whole number, a text or an array of texts"),
            }
        }
    }

    fn keep_of(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let inside = format!("{}.{}]", title.trim_end_matches(']'), name.get_ref());
        match value.get_ref().as_table() {
            Some(table) => {
                for (repository, value) in table {
                    match value.get_ref().as_table() {
                        Some(_) => self.keep(&inside, repository, value),
                        None => self.wrong_type(repository, &inside, value, keep::EXPECTED),
                    }
                }
            }
            None => self.wrong_type(name, title, value, &format!("a table, `{inside}`")),
        }
    }

    fn whole(
        &mut self,
        least: u16,
        most: u16,
        title: &str,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let number = match value.get_ref() {
            DeValue::Integer(digits) => u16::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        if number.is_none_or(|number| !(least..=most).contains(&number)) {
            self.wrong_type(name, title, value, &format!("a number from {least} to {most}"));
        }
    }

    fn delay(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        if value.get_ref().as_str().and_then(super::schedule::delay).is_none() {
            self.wrong_type(name, title, value, "a time such as \"10min\" or \"0min\"");
        }
    }

    /// A text, or a table with one as `at` and promises beside it.
    fn check(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::String(_) => {}
            DeValue::Table(table) if table.iter().any(|(key, _)| key.get_ref() == "at") => {
                let inside = format!("{}.{}]", title.trim_end_matches(']'), name.get_ref());
                for (key, value) in table {
                    match keys::CHECK.iter().find(|known| known.name == key.get_ref()) {
                        Some(known) => self.value(known, &inside, key, value),
                        None if value.get_ref().is_str() => {}
                        None => self.wrong_type(key, &inside, value, "a promise such as \"whole in 30d\""),
                    }
                }
            }
            _ => self.wrong_type(name, title, value, "a schedule such as \"0 5 * * 0\", or { at = \"0 5 * * 0\" }"),
        }
    }

    fn duration(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        if value.get_ref().as_str().and_then(super::dumps::duration).is_none() {
            self.wrong_type(name, title, value, "a time such as \"30min\" or \"2h\"");
        }
    }

    fn size(&mut self, title: &str, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let read = match value.get_ref() {
            DeValue::String(text) => text.parse::<ByteSize>().map(|_| ()),
            DeValue::Integer(digits) if u64::from_str_radix(digits.as_str(), digits.radix()).is_ok() => Ok(()),
            _ => return self.wrong_type(name, title, value, crate::size::EXPECTED),
        };
        if let Err(error) = read {
            let place = self.text.place(value.span());
            let (key, section) = (name.get_ref().to_string(), title.to_owned());
            let problem = format!("cannot be used: {error}");
            let hint = "write a whole number and a unit, such as \"20GiB\"";
            self.report(&value.span(), ConfigError::Value { place, key, section, problem, hint });
        }
    }

    fn name(&mut self, section: &Section, name: &Spanned<Cow<'_, str>>) {
        let text = name.get_ref();
        let Some((problem, hint)) = name_problem(section.name, text) else { return };
        let error = ConfigError::Section {
            place: self.text.place(name.span()),
            section: format!("[{}.{text}]", section.name),
            problem: problem.to_owned(),
            hint,
        };
        self.report(&name.span(), error);
    }
}

/// Why `text` cannot be the name of a section, and what can.
fn name_problem(section: &str, text: &str) -> Option<(&'static str, &'static str)> {
    let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if text.is_empty() || !plain || text.starts_with(['_', '-']) {
        Some(("has a name that cannot be used", NAME_HINT))
    } else if section == "profile" && matches!(text, "latest" | super::AD_HOC) {
        Some(("has a name that bk uses itself", "choose another name"))
    } else if section == "profile" && crate::id::IdPrefix::looks_like(text) {
        let hint = "choose a name with a letter after `f`, or with less than 8 letters";
        Some(("has a name that reads as a snapshot id", hint))
    } else {
        None
    }
}

/// Why a profile cannot be called `name`, and the next step; `None` when it can.
#[must_use]
pub fn profile_name_problem(name: &str) -> Option<(&'static str, &'static str)> {
    name_problem("profile", name)
}

fn unknown_hint(key: &str, title: &str) -> String {
    if let Some(home) = SECTIONS.iter().find(|section| section.key(key).is_some()) {
        let name = if home.named { ".NAME" } else { "" };
        return format!("`{key}` belongs into [{}{name}]", home.name);
    }
    let section = title.trim_start_matches('[').split(['.', ']']).next().and_then(keys::section);
    let known: Vec<&str> = match section {
        Some(section) => section.keys.iter().map(|key| key.name).collect(),
        None => SECTIONS.iter().map(|section| section.name).collect(),
    };
    format!("known here: {}", known.join(", "))
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        // Never the text itself: it may be a password in the wrong place.
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message and the hint for a file of this text.
    fn refused(content: &str) -> (String, String) {
        let text = Text { file: std::sync::Arc::new("/etc/bk/bk.toml".into()), content: content.to_owned() };
        let error = parse(&text).unwrap_err();
        let message = error.to_string();
        let message = message.strip_prefix("/etc/bk/bk.toml:").unwrap().to_owned();
        (message, error.hint().into_owned())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
        let cases = [
            (
                "[profile.wiki]\npaths = []\nexclude_if_present = []",
                "3: unknown key `exclude_if_present` in [profile.wiki]; did you mean `exclude-if-present`?",
            ),
            ("[defaults]\n\nsqllite = true", "3: unknown key `sqllite` in [defaults]; did you mean `sqlite`?"),
            ("[profiles.a]\nroot = \"/a\"", "1: unknown key `profiles` in the file; did you mean `profile`?"),
            ("[family]\nzebra = 1", "2: unknown key `zebra` in [family]"),
        ];
        for (text, message) in cases {
            assert_eq!(refused(text).0, message);
        }
    }

    #[test]
    fn the_hint_for_an_unknown_key_names_where_it_belongs_or_what_is_known() {
        assert_eq!(refused("[repository.a]\nexclude = []").1, "`exclude` belongs into [profile.NAME]");
        assert_eq!(refused("[profile.a]\nkey-file = 1").1, "`key-file` belongs into [family]");
        assert_eq!(refused("[family]\nzebra = 1").1, "known here: key-file, password-file, password-command");
        let known = "known here: location, format, password-file, password-command, require-mount, min-free, \
                     endpoint, region, path-style, storage-class, sse, sse-kms-key, limit-upload, limit-download, \
                     retry-for, ssh-options, credentials-file, credentials-command, aws-profile, keep";
        assert_eq!(refused("[repository.a]\nzebra = 1").1, known);
        assert_eq!(
            refused("zebra = 1").1,
            "known here: family, repository, defaults, schedule, metrics, profile, notify"
        );
    }

    #[test]
    fn keys_of_the_design_that_this_version_lacks_say_so() {
        let cases = [
            ("[drill]\nfolder = 1", "1: `drill` in the file is not supported by this version of bk"),
            ("[defaults]\nnotify = [\"a\"]", "2: `notify` in [defaults] is not supported by this version of bk"),
            (
                "[profile.a]\nuse = \"plex\"\nnotify = \"x\"",
                "3: `notify` in [profile.a] is not supported by this version of bk",
            ),
            ("[repository.a]\nlimit = {}", "2: `limit` in [repository.a] is not supported by this version of bk"),
        ];
        for (text, message) in cases {
            let (found, hint) = refused(text);
            assert_eq!(found, message);
            assert_eq!(hint, "remove it; `bk config schema` lists what this version knows");
        }
    }

    #[test]
    fn rules_of_what_to_keep_are_checked_one_by_one() {
        let cases = [
            ("[repository.a]\nkeep = { }", "2: `keep` in [repository.a] has no rule, and would keep next to nothing"),
            (
                "[repository.a]\nkeep = { wihtin = \"30d\" }",
                "2: unknown key `wihtin` in [repository.a.keep]; did you mean `within`?",
            ),
            (
                "[profile.a.keep]\nb = { within = \"30\" }",
                "2: `within` in [profile.a.keep.b] cannot be used: `within`: `30` has no unit; write 30d",
            ),
            (
                "[repository.a]\nkeep = { daily = 0 }",
                "2: `daily` in [repository.a.keep] cannot be used: `daily` of 0 keeps nothing: leave it out instead",
            ),
            (
                "[repository.a]\nkeep = \"30d\"",
                "2: `keep` in [repository.a] must be a table of rules such as { within = \"30d\" } or { daily = 7, monthly = \"all\" }, not a string",
            ),
            (
                "[repository.a]\nkeep = { tags = [1] }",
                "2: `tags` in [repository.a.keep] must be a whole number, a text or an array of texts, not an array",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(refused(text).0, message);
        }
        let hint = "write for example { within = \"30d\" }, or remove it: that is the default";
        assert_eq!(refused("[repository.a]\nkeep = { }").1, hint);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_what_is_expected() {
        let cases = [
            ("family = 1", "1: `family` in the file must be a table, `[family]`, not the number 1"),
            ("profile = []", "1: `profile` in the file must be a table, `[profile.NAME]`, not an array"),
            ("[profile]\nwiki = 1.5", "2: `wiki` in [profile] must be a table, `[profile.NAME]`, not the number 1.5"),
            (
                "[family]\nkey-file = 3",
                "2: `key-file` in [family] must be an absolute path in quotes, not the number 3",
            ),
            (
                "[family]\npassword-command = \"pass bk\"",
                "2: `password-command` in [family] must be an array of strings, not a string",
            ),
            (
                "[profile.a]\npaths = [\"/a\",\n 2]",
                "3: `paths` in [profile.a] must be an array of absolute paths only, not the number 2",
            ),
            (
                "[profile.a]\npaths = \"/a\"",
                "2: `paths` in [profile.a] must be an array of absolute paths, not a string",
            ),
            ("[profile.a]\nsqlite = \"yes\"", "2: `sqlite` in [profile.a] must be true or false, not a string"),
            ("[profile.a]\ntags = true", "2: `tags` in [profile.a] must be an array of strings, not true"),
            ("[repository.a]\nlocation = 1979-05-27", "2: `location` in [repository.a] must be a string, not a date"),
            (
                "[repository.a]\nmin-free = {}",
                "2: `min-free` in [repository.a] must be a size such as \"20GiB\", \"500 MB\" or 4096, not a table",
            ),
            (
                "[repository.a]\nmin-free = -1",
                "2: `min-free` in [repository.a] must be a size such as \"20GiB\", \"500 MB\" or 4096, not the number -1",
            ),
            (
                "[profile.a]\nchunk-class = \"big\"",
                "2: `chunk-class` in [profile.a] must be one of \"auto\", \"coarse\", \"fine\", not \"big\"",
            ),
            (
                "[profile.a]\nchunk-class = 1",
                "2: `chunk-class` in [profile.a] must be one of \"auto\", \"coarse\", \"fine\", not the number 1",
            ),
        ];
        for (text, message) in cases {
            let (found, hint) = refused(text);
            assert_eq!(found, message);
            assert_eq!(hint, "`bk config example` shows every key with a value");
        }
    }

    #[test]
    fn a_size_that_cannot_be_read_is_named_with_what_is_wrong_with_it() {
        let (message, hint) = refused("[repository.a]\nmin-free = \"20 apples\"");
        assert_eq!(
            message,
            "2: `min-free` in [repository.a] cannot be used: `apples` in `20 apples` is not a unit of size: \
             use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"
        );
        assert_eq!(hint, "write a whole number and a unit, such as \"20GiB\"");
    }

    #[test]
    fn keys_without_a_name_for_their_section_are_told_to_get_one() {
        let (message, hint) = refused("[profile]\nroot = \"/a\"");
        assert_eq!(message, "2: [profile] has `root` outside a name");
        assert_eq!(hint, "give it a name of your choice, such as `[repository.disk]` or `[profile.wiki]`");
    }

    #[test]
    fn names_that_cannot_be_typed_or_mean_something_else_are_refused() {
        let cases = [
            ("[profile.Wiki]", "1: [profile.Wiki] has a name that cannot be used"),
            ("[profile.-a]", "1: [profile.-a] has a name that cannot be used"),
            ("[profile.\"a b\"]", "1: [profile.a b] has a name that cannot be used"),
            ("[profile.\"\"]", "1: [profile.] has a name that cannot be used"),
            ("[repository.\"b2:x\"]", "1: [repository.b2:x] has a name that cannot be used"),
            ("[profile.latest]", "1: [profile.latest] has a name that bk uses itself"),
            ("[profile.ad-hoc]", "1: [profile.ad-hoc] has a name that bk uses itself"),
            ("[profile.deadbeef]", "1: [profile.deadbeef] has a name that reads as a snapshot id"),
            ("[profile.0123456789]", "1: [profile.0123456789] has a name that reads as a snapshot id"),
        ];
        for (text, message) in cases {
            assert_eq!(refused(text).0, message);
        }
        assert_eq!(refused("[profile.X]").1, NAME_HINT);
        for text in ["[profile.9_a-b]", "[profile.abcdef0]", "[repository.deadbeef]", "[profile.root]"] {
            let text = Text { file: std::sync::Arc::default(), content: text.to_owned() };
            assert!(parse(&text).is_ok(), "{}", text.content);
        }
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        let (message, hint) = refused("[family]\nkey-file = ");
        assert!(message.starts_with("2: "), "{message}");
        assert_eq!(hint, "`bk config example` shows a file with every key");
        assert_eq!(refused("[defaults]\nsqlite = true\nsqlite = true").0, "3: duplicate key");
        assert_eq!(refused("[profile.a]\n[profile.b]\n[profile.a]").0, "3: duplicate key");
    }

    #[test]
    fn of_several_problems_the_first_in_the_file_is_told() {
        assert_eq!(refused("[profile.z]\nzzz = 1\n[family]\naaa = 1").0, "2: unknown key `zzz` in [profile.z]");
    }

    #[test]
    fn no_message_repeats_what_may_be_a_password() {
        let (message, hint) = refused("[family]\npassword-command = \"hunter2\"");
        assert!(!message.contains("hunter2") && !hint.contains("hunter2"), "{message} {hint}");
    }
}
