//! What a hook found out: one JSON object a line on its descriptor 3.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// No more is read of what one run of a hook says, in bytes.
pub(super) const MAX_LEN: u64 = 4 << 20;

/// Everything one run of a hook said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Streams that it can dump, in their order: name, and a word about it.
    pub streams: Vec<(String, String)>,
    /// Name and version of the server.
    pub server: Option<String>,
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// Every table, counted or not; `None` when the hook does not say.
    pub tables: Option<Vec<String>>,
    /// What should be known, though nothing failed.
    pub warnings: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Folders to be read in place of others.
    pub substitutes: Vec<Substitute>,
    /// What `end` needs to know; the last that was said.
    pub state: Option<String>,
    /// What a dump wants to be told when it is drilled, by key.
    pub notes: BTreeMap<String, String>,
    /// What the questions of a drill brought.
    pub answers: Vec<Answer>,
}

/// One row that a question of a drill brought, or why it could not be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Which question, counted from 1.
    pub number: u64,
    /// Its columns as text; `None` for NULL.
    pub row: Vec<Option<String>>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// Something that keeps a hook from its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A folder that is read in place of another, such as a snapshot of its file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitute {
    /// Where to read.
    pub source: PathBuf,
    /// What it stands for.
    pub stands_for: PathBuf,
}

/// One line, as hooks write it. Keys of later versions are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    stream: Option<String>,
    about: Option<String>,
    server: Option<String>,
    rows: BTreeMap<String, u64>,
    tables: Option<Vec<String>>,
    warning: Option<String>,
    problem: Option<String>,
    hint: Option<String>,
    source: Option<PathBuf>,
    r#for: Option<PathBuf>,
    state: Option<String>,
    note: BTreeMap<String, String>,
    answer: Option<u64>,
    row: Option<Vec<Option<String>>>,
    error: Option<String>,
}

impl Facts {
    /// Reads what was said; a line that is no JSON object becomes a warning.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut facts = Self::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => facts.add(line),
                Err(error) => {
                    let line = String::from_utf8_lossy(line);
                    let start: String = line.chars().take(80).collect();
                    facts.warnings.push(format!("the hook said `{start}`, which is no fact: {error}"));
                }
            }
        }
        facts
    }

    fn add(&mut self, line: Line) {
        if let Some(stream) = line.stream {
            self.streams.push((stream, line.about.unwrap_or_default()));
        }
        self.server = line.server.or(self.server.take());
        self.rows.extend(line.rows);
        if let Some(tables) = line.tables {
            self.tables.get_or_insert_default().extend(tables);
        }
        self.warnings.extend(line.warning);
        self.problems.extend(line.problem.map(|message| Problem { message, hint: line.hint }));
        if let (Some(source), Some(stands_for)) = (line.source, line.r#for) {
            self.substitutes.push(Substitute { source, stands_for });
        }
        self.state = line.state.or(self.state.take());
        self.notes.extend(line.note);
        if let Some(number) = line.answer {
            self.answers.push(Answer { number, row: line.row.unwrap_or_default(), error: line.error });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_several_lines_are_gathered() {
        let text = b"{\"stream\":\"a.dump\",\"about\":\"database a\"}\n\n{\"server\":\"PostgreSQL 15\"}\n\
            {\"rows\":{\"public.t\":3}}\n{\"rows\":{\"public.u\":4}}\n{\"warning\":\"w\",\"later\":1}\n\
            {\"problem\":\"p\",\"hint\":\"h\"}\n{\"source\":\"/s\",\"for\":\"/d\"}\n{\"state\":\"1\"}\n{\"state\":\"2\"}\n";
        let facts = Facts::parse(text);
        assert_eq!(facts.streams, [("a.dump".to_owned(), "database a".to_owned())]);
        assert_eq!(facts.server.as_deref(), Some("PostgreSQL 15"));
        assert_eq!(facts.rows.len(), 2);
        assert_eq!(facts.warnings, ["w"]);
        assert_eq!(facts.problems, [Problem { message: "p".into(), hint: Some("h".into()) }]);
        assert_eq!(facts.substitutes[0].stands_for, PathBuf::from("/d"));
        assert_eq!(facts.state.as_deref(), Some("2"));
    }

    #[test]
    fn notes_and_answers_are_kept_in_their_order() {
        let text = b"{\"note\":{\"image\":\"i\",\"version\":\"15\"}}\n{\"answer\":1,\"row\":[\"a\",null]}\n\
            {\"answer\":1,\"row\":[\"b\",\"\"]}\n{\"answer\":2,\"error\":\"no such table\"}\n";
        let facts = Facts::parse(text);
        assert_eq!((facts.notes["image"].as_str(), facts.notes["version"].as_str()), ("i", "15"));
        let rows: Vec<_> = facts.answers.iter().map(|answer| (answer.number, answer.row.len())).collect();
        assert_eq!(rows, [(1, 2), (1, 2), (2, 0)]);
        assert_eq!(facts.answers[0].row, [Some("a".to_owned()), None]);
        assert_eq!(facts.answers[2].error.as_deref(), Some("no such table"));
    }

    #[test]
    fn what_is_no_json_is_told_and_loses_nothing_else() {
        let facts = Facts::parse(b"hello\n{\"rows\":{\"t\":-1}}\n{\"server\":\"x\"}");
        assert_eq!(facts.warnings.len(), 2);
        assert!(facts.warnings[0].starts_with("the hook said `hello`"), "{}", facts.warnings[0]);
        assert_eq!(facts.server.as_deref(), Some("x"));
    }
}
