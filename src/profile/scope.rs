//! Reading one section: each value is taken with its place, its origin noted, and what is wrong with it said.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use super::config::Repository;
use super::error::ConfigError;
use super::files::Text;
use super::keys::nearest;
use super::origin::{Origin, Origins};
use super::raw::{Listed, Typed};
use crate::source::exclude::Rules;

/// One section of one file while it is read.
pub(super) struct Scope<'a> {
    text: &'a Text,
    /// As in a full key: `profile.wiki`.
    key: String,
    origins: &'a mut Origins,
}

/// What is wrong with a value, and the next step.
pub(super) type Problem = (String, &'static str);

impl<'a> Scope<'a> {
    pub fn plain(section: &str, text: &'a Text, origins: &'a mut Origins) -> Self {
        Self { text, key: section.to_owned(), origins }
    }

    pub fn named(section: &str, name: &str, text: &'a Text, origins: &'a mut Origins) -> Self {
        Self { text, key: format!("{section}.{name}"), origins }
    }

    fn title(&self) -> String {
        format!("[{}]", self.key)
    }

    fn full(&self, key: &str) -> String {
        if key.is_empty() { self.key.clone() } else { format!("{}.{key}", self.key) }
    }

    /// Notes that `key`, or the section itself, is said here. Two files cannot both say it.
    pub fn claim(&mut self, key: &str, span: Range<usize>) -> Result<(), ConfigError> {
        let second = self.text.place(span);
        match self.origins.insert(self.full(key), Origin::File(second.clone())) {
            Some(Origin::File(first)) => {
                let what = if key.is_empty() { self.title() } else { format!("`{key}` in {}", self.title()) };
                Err(ConfigError::Duplicate { what, first, second })
            }
            _ => Ok(()),
        }
    }

    /// A default that was said elsewhere is shown with where that was.
    pub fn inherit(&mut self, key: &str) {
        if let Some(origin) = self.origins.get(&format!("defaults.{key}")).cloned() {
            self.origins.entry(self.full(key)).or_insert(origin);
        }
    }

    pub fn wrong(&self, key: &str, span: Range<usize>, (problem, hint): Problem) -> ConfigError {
        let (place, section) = (self.text.place(span), self.title());
        ConfigError::Value { place, key: key.to_owned(), section, problem, hint }
    }

    pub fn section_wrong(&self, span: Range<usize>, problem: &str, hint: &'static str) -> ConfigError {
        let (place, section) = (self.text.place(span), self.title());
        ConfigError::Section { place, section, problem: problem.to_owned(), hint }
    }

    pub fn value<T: Clone>(&mut self, key: &str, typed: &Typed<T>) -> Result<Option<T>, ConfigError> {
        let Some(typed) = typed else { return Ok(None) };
        self.claim(key, typed.span())?;
        Ok(Some(typed.get_ref().clone()))
    }

    /// A list whose entries pass `check`; `None` when nothing was said.
    pub fn list(
        &mut self,
        key: &str,
        listed: &Listed<String>,
        check: impl Fn(&str) -> Result<(), Problem>,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(typed) = listed else { return Ok(None) };
        self.claim(key, typed.span())?;
        let mut entries: Vec<String> = Vec::new();
        for entry in typed.get_ref() {
            check(entry.get_ref()).map_err(|problem| self.wrong(key, entry.span(), problem))?;
            entries.push(entry.get_ref().clone());
        }
        Ok(Some(entries))
    }

    pub fn path(&mut self, key: &str, typed: &Typed<String>) -> Result<Option<PathBuf>, ConfigError> {
        let Some(typed) = typed else { return Ok(None) };
        self.claim(key, typed.span())?;
        absolute(typed.get_ref()).map(Some).map_err(|problem| self.wrong(key, typed.span(), problem))
    }

    pub fn patterns(&mut self, key: &'static str, listed: &Listed<String>) -> Result<Vec<String>, ConfigError> {
        for (at, pattern) in listed.iter().flat_map(|typed| typed.get_ref()).enumerate() {
            let place = self.text.place(pattern.span());
            let one = std::slice::from_ref(pattern.get_ref());
            let rules = if key == "include" { Rules::new(&[], one) } else { Rules::new(one, &[]) };
            if let Err(source) = rules {
                return Err(ConfigError::Pattern { place, key, section: self.title(), source });
            }
            self.origins.insert(format!("{}[{at}]", self.full(key)), Origin::File(place));
        }
        Ok(self.list(key, listed, |_| Ok(()))?.unwrap_or_default())
    }

    /// Checks that every name in `to` is a repository, and none is there twice.
    pub fn repositories(
        &mut self,
        to: &Listed<String>,
        known: &BTreeMap<String, Repository>,
    ) -> Result<(), ConfigError> {
        let Some(typed) = to else { return Ok(()) };
        if typed.get_ref().is_empty() {
            let problem = ("names no repository".to_owned(), "remove it to back up to every repository");
            return Err(self.wrong("to", typed.span(), problem));
        }
        for (at, name) in typed.get_ref().iter().enumerate() {
            let before = typed.get_ref().iter().take(at);
            let problem = if !known.contains_key(name.get_ref()) {
                unknown_repository(name.get_ref(), known.keys())
            } else if before.into_iter().any(|other| other.get_ref() == name.get_ref()) {
                (format!("names `{}` twice", name.get_ref()), "name each repository once")
            } else {
                continue;
            };
            return Err(self.wrong("to", name.span(), problem));
        }
        Ok(())
    }
}

pub(super) fn unknown_repository<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Problem {
    let meant = nearest(name, known.map(String::as_str));
    let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    (
        format!("names the repository `{name}`, which is not configured{meant}"),
        "add a section `[repository.NAME]` for it",
    )
}

/// An absolute path, tidied of doubled `/` and `.`.
pub(super) fn absolute(text: &str) -> Result<PathBuf, Problem> {
    let path = Path::new(text);
    if !path.is_absolute() {
        let hint = "begin it with `/`: bk also runs where there is no working folder, and expands neither `~` nor `$`";
        return Err((format!("is `{text}`, which is not an absolute path"), hint));
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return Err((format!("is `{text}`, which has `..` in it"), "write the path without `..`"));
    }
    if text.contains('\0') {
        return Err(("holds a zero byte, which no path can".to_owned(), "remove it"));
    }
    Ok(path.components().collect())
}

/// A URL, or an absolute path.
pub(super) fn location(text: &str) -> Result<(), Problem> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(plain) {
        return Ok(());
    }
    absolute(text).map(|_| ())
}

pub(super) fn tag(text: &str) -> Result<(), Problem> {
    if text.is_empty() || text.contains(',') || text.contains(char::is_control) {
        let hint = "write one word for each tag: `tags = [\"a\", \"b\"]`";
        return Err((format!("has the tag `{}`: a tag is not empty and has no comma", text.escape_debug()), hint));
    }
    Ok(())
}

pub(super) fn file_name(text: &str) -> Result<(), Problem> {
    if matches!(text, "" | "." | "..") || text.contains(['/', '\0']) {
        let hint = "write only the name of the file that marks a folder, such as \".nobackup\"";
        return Err((format!("has `{}`, which is not a file name", text.escape_debug()), hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_url_or_an_absolute_path() {
        for place in ["/mnt/a", "file:///mnt/a", "sftp://me@host/bk", "sftp:host:/bk", "b2://bucket/x"] {
            assert_eq!(location(place), Ok(()), "{place}");
        }
        for place in ["", "mnt/a", "./a:b", "~/bk", "/a/../b", "2b://x"] {
            assert!(location(place).is_err(), "{place}");
        }
    }
}
