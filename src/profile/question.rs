//! `[[profile.NAME.drill]]`: what must hold of a database once it was loaded into a throw-away server.

use serde::Deserialize;

use super::scope::Problem;

/// Most columns that a query may name.
pub(super) const MOST_COLUMNS: u16 = 64;

/// No more rows of an answer are looked at.
pub const MOST_ROWS: u64 = 10_000;

/// A query, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// For people: what holds when it is answered well.
    pub name: String,
    /// Only of databases of this engine.
    pub when: Option<String>,
    /// Only of the database of this name; of SQLite: whose path ends so.
    pub database: Option<String>,
    /// The query; where it cannot be asked, the ones after it.
    pub queries: Vec<String>,
    /// At least so many rows must come.
    pub at_least: u64,
    /// The one value that must come.
    pub equals: Option<String>,
    /// One of these paths must be in the snapshot for each row: below a data folder, `{1}` is the first column.
    pub files: Vec<String>,
    /// Column with the size of that file, in bytes; counted from 1.
    pub size: Option<usize>,
    /// Column with its SHA-1 or SHA-256 in hexadecimal; counted from 1.
    pub hash: Option<usize>,
    /// Nothing is wrong when none of the queries can be asked.
    pub optional: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawQuestion {
    pub name: Option<String>,
    pub when: Option<String>,
    pub database: Option<String>,
    pub query: Option<String>,
    pub or_query: Option<String>,
    pub at_least: Option<u64>,
    pub equals: Option<String>,
    pub files: Vec<String>,
    pub size: Option<usize>,
    pub hash: Option<usize>,
    pub optional: bool,
}

impl RawQuestion {
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(self) -> Result<Question, Problem> {
        let query = self.query.filter(|query| !query.trim().is_empty()).ok_or_else(|| {
            ("has no `query`".to_owned(), "write what is asked: `query = \"SELECT count(*) FROM users\"`")
        })?;
        let name = self.name.ok_or_else(|| {
            ("has no `name`".to_owned(), "say what holds when it is answered well: `name = \"there are users\"`")
        })?;
        if self.files.is_empty() && (self.size.is_some() || self.hash.is_some()) {
            return Err(("compares files, but has no `files`".into(), "say which: `files = [\"data/{1}\"]`"));
        }
        for path in &self.files {
            columns(path)?;
        }
        if let Some(most) = self.at_least.filter(|rows| *rows > MOST_ROWS) {
            let problem = format!("has `at-least = {most}`, but no more than {MOST_ROWS} rows of an answer are kept");
            return Err((problem, "let the query count: `query = \"SELECT count(*) > 20000 FROM t\"` with `equals`"));
        }
        if [self.size, self.hash].contains(&Some(0)) {
            return Err(("counts columns from 0".into(), "the first column of the query is 1"));
        }
        // An application without a single attachment is one that is right.
        let at_least = self.at_least.unwrap_or(if self.files.is_empty() { 1 } else { 0 });
        Ok(Question {
            name,
            when: self.when,
            database: self.database,
            queries: [Some(query), self.or_query].into_iter().flatten().collect(),
            at_least,
            equals: self.equals,
            files: self.files,
            size: self.size,
            hash: self.hash,
            optional: self.optional,
        })
    }
}

/// The parts of a path of `files`: text, and between them numbers of columns.
pub(super) fn columns(path: &str) -> Result<Vec<(&str, Option<usize>)>, Problem> {
    let hint = "write the number of a column of the query between braces: \"data/{1}\"";
    let wrong = || (format!("has the path `{path}`, which cannot be filled in"), hint);
    let mut parts = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (number, after) = after.split_once('}').ok_or_else(wrong)?;
        let number = number.parse::<usize>().ok().filter(|number| (1..=usize::from(MOST_COLUMNS)).contains(number));
        parts.push((before, Some(number.ok_or_else(wrong)?)));
        rest = after;
    }
    if parts.is_empty() || rest.contains('}') {
        return Err(wrong());
    }
    parts.push((rest, None));
    Ok(parts)
}

impl Question {
    /// The paths that a row stands for; none when it has no such column, or NULL in it.
    #[must_use]
    pub fn paths(&self, row: &[Option<String>]) -> Vec<String> {
        let filled = |path: &String| {
            let mut text = String::new();
            for (before, column) in columns(path).ok()? {
                text.push_str(before);
                if let Some(column) = column {
                    text.push_str(row.get(column - 1)?.as_deref()?);
                }
            }
            Some(text)
        };
        self.files.iter().filter_map(filled).collect()
    }

    /// The last column that its answer must have for its files to be compared; 0 without files.
    #[must_use]
    pub fn highest_column(&self) -> usize {
        let of_path = |path: &String| columns(path).ok()?.into_iter().filter_map(|(_, column)| column).max();
        let named = self.files.iter().filter_map(of_path);
        named.chain(self.size).chain(self.hash).max().unwrap_or(0)
    }

    /// Whether it is asked of a database: of this engine, and called so.
    #[must_use]
    pub fn is_of(&self, engine: &str, name: &str) -> bool {
        let ends =
            |wanted: &str| name.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'));
        self.when.as_deref().is_none_or(|when| when == engine) && self.database.as_deref().is_none_or(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Question, Problem> {
        toml::from_str::<RawQuestion>(text).unwrap().read()
    }

    #[test]
    fn a_row_is_filled_into_the_paths_it_stands_for() {
        let question = read("name = \"n\"\nquery = \"q\"\nfiles = [\"data/{2}/{1}.git\", \"{1}\", \"x/{3}\"]").unwrap();
        let row = [Some("a".to_owned()), Some("b c".to_owned()), None];
        assert_eq!(question.paths(&row), ["data/b c/a.git", "a"]);
        assert_eq!(question.paths(&[]), Vec::<String>::new());
        assert_eq!(question.at_least, 0);
    }

    #[test]
    fn what_cannot_be_asked_or_compared_is_refused_with_the_next_step() {
        for (text, problem) in [
            ("name = \"n\"", "has no `query`"),
            ("query = \"q\"", "has no `name`"),
            ("name = \"n\"\nquery = \"q\"\nhash = 1", "compares files, but has no `files`"),
            ("name = \"n\"\nquery = \"q\"\nfiles = [\"data/{0}\"]", "cannot be filled in"),
            ("name = \"n\"\nquery = \"q\"\nfiles = [\"data/{1\"]", "cannot be filled in"),
            ("name = \"n\"\nquery = \"q\"\nfiles = [\"data\"]", "cannot be filled in"),
            ("name = \"n\"\nquery = \"q\"\nfiles = [\"{1}\"]\nsize = 0", "counts columns from 0"),
            ("name = \"n\"\nquery = \"q\"\nat-least = 10001", "no more than 10000 rows"),
        ] {
            let (said, hint) = read(text).unwrap_err();
            assert!(said.contains(problem) && !hint.is_empty(), "{text}: {said}");
        }
        let one = read("name = \"n\"\nquery = \"q\"\nor-query = \"r\"").unwrap();
        assert_eq!((one.at_least, one.queries.len()), (1, 2));
    }

    #[test]
    fn a_question_is_asked_of_the_databases_it_names() {
        let one = read("name = \"n\"\nquery = \"q\"\nwhen = \"postgres\"\ndatabase = \"shop\"").unwrap();
        assert!(one.is_of("postgres", "shop") && !one.is_of("mariadb", "shop") && !one.is_of("postgres", "workshop"));
        let one = read("name = \"n\"\nquery = \"q\"\ndatabase = \"data/app.db\"").unwrap();
        assert!(one.is_of("sqlite", "/srv/x/data/app.db") && !one.is_of("sqlite", "/srv/x/mydata/app.db"));
    }
}
