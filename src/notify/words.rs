//! A notice as people read it: on a phone, at seven in the morning.

use super::{Entry, Event, Notice};
use crate::size::ByteSize;

/// The longest text of an entry, in characters.
const LONGEST_TEXT: usize = 500;

/// The longest name of a machine, a profile or a repository, in characters.
const LONGEST_NAME: usize = 60;

/// The longest title, in characters: more is not shown anywhere.
const LONGEST_TITLE: usize = 150;

/// How many names a title has.
const NAMES: usize = 4;

/// Whether a character changes how the text around it is shown.
const fn is_invisible(one: char) -> bool {
    matches!(one, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text in one line, without what moves a cursor or hides something, of at most so many characters.
pub(super) fn line(text: &str, longest: usize) -> String {
    let plain = |one: char| if one.is_control() || is_invisible(one) { ' ' } else { one };
    let text: String = text.chars().map(plain).collect();
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), longest)
}

/// The beginning of a text of at most so many characters, with `…` where something is missing.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().nth(longest).is_none() {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// The beginning of a text of at most so many bytes.
pub(super) fn cut_bytes(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub('…'.len_utf8()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl Entry {
    fn name(&self) -> Option<&str> {
        self.profile.as_deref().or(self.repository.as_deref())
    }

    /// What happened, in a few words; `None` when it says itself what it is about.
    fn phrase(&self) -> Option<String> {
        let name = line(self.name()?, LONGEST_NAME);
        let repository = self.repository.as_deref().map(|repository| line(repository, LONGEST_NAME));
        Some(match self.event {
            Event::Failed => format!("{name} failed"),
            Event::Damage => format!("damage in {}", repository.unwrap_or(name)),
            Event::Incomplete => format!("{name} is not complete"),
            Event::Anomaly => format!("{name} is unlike before"),
            Event::Overdue => format!("{name} is overdue"),
            Event::Behind => match repository.filter(|repository| *repository != name) {
                Some(repository) => format!("{name} is behind in {repository}"),
                None => format!("{name} is behind"),
            },
            Event::Recovered if self.profile.is_some() => format!("{name} is backed up again"),
            Event::Recovered => format!("{name} is well again"),
            Event::Complete => format!("{name} is backed up"),
            Event::Digest => return None,
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut text = line(&self.text, LONGEST_TEXT);
        if let Some(profile) = self.profile.as_deref().filter(|profile| !text.contains(*profile)) {
            text = format!("{}: {text}", line(profile, LONGEST_NAME));
        }
        let hint = self.hint.as_deref().map(|hint| format!("  {}", line(hint, LONGEST_TEXT)));
        std::iter::once(text).chain(hint.filter(|hint| !hint.trim().is_empty())).collect()
    }
}

/// `a, b, c, d and 3 more`
fn listed(names: &[String]) -> String {
    let text = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES);
    if more > 0 { format!("{text} and {more} more") } else { text }
}

fn distinct<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in entries.filter_map(Entry::name).map(|name| line(name, LONGEST_NAME)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What several backups are.
fn verb(entries: &[&Entry]) -> &'static str {
    let all = |events: &[Event]| entries.iter().all(|entry| events.contains(&entry.event));
    if all(&[Event::Failed]) {
        "failed"
    } else if all(&[Event::Failed, Event::Incomplete]) {
        "are not complete"
    } else if all(&[Event::Overdue]) {
        "are overdue"
    } else if all(&[Event::Behind]) {
        "are behind in a repository"
    } else if all(&[Event::Recovered]) {
        "are well again"
    } else if all(&[Event::Complete]) {
        "are complete"
    } else {
        "need attention"
    }
}

impl Notice {
    /// What happened where, in one line of at most 150 characters: `nas: plex failed`.
    #[must_use]
    pub fn title(&self) -> String {
        cut(&format!("{}: {}", line(&self.host, LONGEST_NAME), self.headline()), LONGEST_TITLE)
    }

    fn headline(&self) -> String {
        if let Some(digest) = self.entries.iter().find(|entry| entry.event == Event::Digest) {
            return format!("weekly digest: {}", line(&digest.text, LONGEST_TITLE));
        }
        let Some(worst) = self.entries.iter().min_by_key(|entry| entry.event) else {
            return "nothing to tell".to_owned();
        };
        // What is well is not worth a word beside what is not.
        let good = worst.event.is_good();
        let told: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| if good { entry.event == worst.event } else { !entry.event.is_good() })
            .collect();
        let names = distinct(told.iter().copied());
        if told.len() == 1 || names.len() == 1 && told.iter().all(|entry| entry.name().is_some()) {
            return worst.phrase().unwrap_or_else(|| line(&worst.text, LONGEST_TITLE));
        }
        let all = distinct(self.entries.iter()).len();
        let many = match names.len() {
            0 => return format!("{} things need attention", told.len()),
            many if many < all => format!("{many} of {all}"),
            many => many.to_string(),
        };
        format!("{many} backups {}: {}", verb(&told), listed(&names))
    }

    /// The same without what could end a line, move a cursor or be endless. Programs and templates get that too.
    pub(super) fn plain(&self) -> Self {
        let name = |name: &String| line(name, LONGEST_NAME);
        let entry = |entry: &Entry| Entry {
            event: entry.event,
            profile: entry.profile.as_ref().map(name),
            repository: entry.repository.as_ref().map(name),
            text: line(&entry.text, LONGEST_TEXT),
            hint: entry.hint.as_deref().map(|hint| line(hint, LONGEST_TEXT)),
        };
        Self {
            host: name(&self.host),
            entries: self.entries.iter().map(entry).collect(),
            table: self.table.as_deref().map(|table| rows(table).join("\n")),
            ..self.clone()
        }
    }

    /// One line an entry, worst first, with its hint indented under it.
    #[must_use]
    pub fn body(&self) -> String {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| entry.event);
        let bad = entries.iter().any(|entry| !entry.event.is_good());
        let beside = |entry: &&&Entry| bad && entry.event == Event::Complete && entry.profile.is_some();
        let complete = distinct(entries.iter().filter(beside).copied());
        let mut lines: Vec<String> =
            entries.iter().filter(|entry| !beside(entry)).flat_map(|entry| entry.lines()).collect();
        if !complete.is_empty() {
            lines.push(format!("complete: {}", complete.join(", ")));
        }
        let took = self.seconds.filter(|seconds| seconds.is_finite()).map(took);
        let new = self.new_bytes.map(|bytes| format!("{} new", ByteSize(bytes)));
        let figures: Vec<String> = took.into_iter().chain(new).collect();
        if !figures.is_empty() {
            lines.push(figures.join(", "));
        }
        if let Some(table) = &self.table {
            lines.push(String::new());
            lines.extend(rows(table));
        }
        lines.join("\n")
    }
}

/// The lines of a table. It is in columns: its spaces stay.
fn rows(table: &str) -> Vec<String> {
    let plain = |one: char| if one.is_control() || is_invisible(one) { ' ' } else { one };
    table.lines().map(|row| cut(&row.chars().map(plain).collect::<String>(), LONGEST_TEXT)).collect()
}

fn took(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("took {:.1} s", seconds.max(0.0)),
        (0, minutes, seconds) => format!("took {minutes} min {seconds} s"),
        (hours, minutes, _) => format!("took {hours} h {minutes} min"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Timestamp;

    pub fn entry(event: Event, profile: &str) -> Entry {
        let text = format!("{profile}: something about it");
        Entry { event, profile: Some(profile.into()), repository: None, text, hint: None }
    }

    pub fn notice(entries: Vec<Entry>) -> Notice {
        let at = Timestamp { seconds: 1_772_330_400, nanos: 0 };
        Notice { host: "nas".into(), at, entries, exit: None, seconds: None, new_bytes: None, table: None }
    }

    fn title(entries: &[(Event, &str)]) -> String {
        notice(entries.iter().map(|(event, profile)| entry(*event, profile)).collect()).title()
    }

    #[test]
    fn a_title_says_in_one_line_what_happened_where() {
        use Event::*;
        let cases: &[(&[(Event, &str)], &str)] = &[
            (&[(Failed, "plex")], "nas: plex failed"),
            (&[(Incomplete, "plex"), (Behind, "plex")], "nas: plex is not complete"),
            (
                &[(Incomplete, "gitea"), (Complete, "a"), (Complete, "b"), (Failed, "wiki"), (Complete, "c")],
                "nas: 2 of 5 backups are not complete: gitea, wiki",
            ),
            (&[(Failed, "a"), (Failed, "b")], "nas: 2 backups failed: a, b"),
            (&[(Overdue, "a"), (Overdue, "b"), (Complete, "c")], "nas: 2 of 3 backups are overdue: a, b"),
            (&[(Overdue, "a"), (Failed, "b")], "nas: 2 backups need attention: a, b"),
            (&[(Recovered, "plex"), (Complete, "wiki")], "nas: plex is backed up again"),
            (&[(Complete, "plex"), (Complete, "wiki")], "nas: 2 backups are complete: plex, wiki"),
            (
                &[(Failed, "a"), (Failed, "b"), (Failed, "c"), (Failed, "d"), (Failed, "e"), (Failed, "f")],
                "nas: 6 backups failed: a, b, c, d and 2 more",
            ),
            (&[], "nas: nothing to tell"),
        ];
        for (entries, expected) in cases {
            assert_eq!(title(entries), *expected);
        }
    }

    #[test]
    fn a_title_about_a_repository_names_it() {
        let about = |event, profile: Option<&str>, repository: &str| {
            let told =
                Entry { profile: profile.map(str::to_owned), repository: Some(repository.into()), ..entry(event, "") };
            notice(vec![told]).title()
        };
        assert_eq!(about(Event::Damage, None, "ssd"), "nas: damage in ssd");
        assert_eq!(about(Event::Damage, Some("plex"), "ssd"), "nas: damage in ssd");
        assert_eq!(about(Event::Behind, None, "b2"), "nas: b2 is behind");
        assert_eq!(about(Event::Behind, Some("plex"), "b2"), "nas: plex is behind in b2");
        assert_eq!(about(Event::Recovered, None, "ssd"), "nas: ssd is well again");
    }

    #[test]
    fn a_digest_has_its_own_title_and_its_table_as_it_is() {
        let mut digest =
            notice(vec![Entry { profile: None, text: "all 5 profiles are fine".into(), ..entry(Event::Digest, "") }]);
        digest.table = Some("plex   ok\nwiki   ok".into());
        assert_eq!(digest.title(), "nas: weekly digest: all 5 profiles are fine");
        assert_eq!(digest.body(), "all 5 profiles are fine\n\nplex   ok\nwiki   ok");
    }

    #[test]
    fn a_body_has_a_line_an_entry_the_worst_first_and_hints_under_them() {
        let mut told = notice(vec![
            entry(Event::Complete, "plex"),
            Entry { text: "the server is away".into(), ..entry(Event::Behind, "wiki") },
            Entry { hint: Some("look at\nit".into()), ..entry(Event::Failed, "gitea") },
            entry(Event::Complete, "photos"),
        ]);
        (told.seconds, told.new_bytes) = (Some(192.0), Some(3 << 20));
        assert_eq!(
            told.body(),
            "gitea: something about it\n  look at it\nwiki: the server is away\ncomplete: plex, photos\n\
             took 3 min 12 s, 3 MiB new"
        );
    }

    #[test]
    fn nothing_in_a_notice_can_end_a_line_or_be_endless() {
        let bad = "a\u{1b}[31m\r\nSubject: x\u{202e}\u{0}".to_owned() + &"y".repeat(5000);
        let told = Entry {
            text: bad.clone(),
            hint: Some(bad.clone()),
            profile: Some(bad.clone()),
            ..entry(Event::Failed, "")
        };
        let told = Notice { host: bad, ..notice(vec![told]) };
        let (title, body) = (told.title(), told.body());
        assert!(title.chars().count() <= LONGEST_TITLE && !title.contains(char::is_control), "{title:?}");
        assert_eq!(body.lines().count(), 2);
        assert!(!body.contains(|one: char| one.is_control() && one != '\n' || is_invisible(one)), "{body:?}");
        assert!(body.lines().all(|line| line.chars().count() <= LONGEST_TEXT + 70), "{body}");
        assert_eq!(cut_bytes("ääää", 7), "ää…");
        assert_eq!(cut_bytes("abc", 3), "abc");
    }
}
