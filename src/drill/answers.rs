//! What questions brought, and whether that is what must hold.

use super::SHOWN;
use crate::hook::Answer;
use crate::profile::Question;

/// A question, and the rows that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was asked.
    pub question: Question,
    /// The rows, as text; `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// The queries of all questions in the order in which a hook is told them.
pub(super) fn queries(questions: &[Question]) -> Vec<&str> {
    questions.iter().flat_map(|question| question.queries.iter().map(String::as_str)).collect()
}

/// What the questions came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Judged {
    /// Those that were answered, well or not.
    pub asked: Vec<Asked>,
    /// Those that cannot be asked of this database, and why.
    pub unanswered: Vec<(Question, String)>,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What is only worth knowing.
    pub warnings: Vec<String>,
}

/// What the questions came to. `answers` are numbered as [`queries`] has them, from 1.
pub(super) fn judge(questions: &[Question], answers: &[Answer]) -> Judged {
    let mut judged = Judged::default();
    let mut number = 0_u64;
    for question in questions {
        let numbers: Vec<u64> = question
            .queries
            .iter()
            .map(|_| {
                number += 1;
                number
            })
            .collect();
        let error = |number: &u64| {
            answers.iter().find(|answer| answer.number == *number).and_then(|answer| answer.error.as_deref())
        };
        let Some(number) = numbers.iter().find(|number| error(number).is_none()) else {
            let why = numbers.first().and_then(error).unwrap_or("nothing was said").trim();
            let text = format!("{}: it cannot be asked: {why}", question.name);
            if question.optional {
                judged.warnings.push(text);
            } else {
                judged.unanswered.push((question.clone(), text));
            }
            continue;
        };
        let rows: Vec<_> =
            answers.iter().filter(|answer| answer.number == *number).map(|answer| answer.row.clone()).collect();
        judged.problems.extend(wrong(question, &rows).map(|wrong| format!("{}: {wrong}", question.name)));
        judged.asked.push(Asked { question: question.clone(), rows });
    }
    judged
}

fn wrong(question: &Question, rows: &[Vec<Option<String>>]) -> Option<String> {
    if (rows.len() as u64) < question.at_least {
        return Some(format!("{} rows came, at least {} must", rows.len(), question.at_least));
    }
    let expected = question.equals.as_deref()?;
    let shown = |value: &Option<String>| value.as_ref().map_or_else(|| "NULL".to_owned(), |value| format!("`{value}`"));
    match rows {
        [row] if row.len() == 1 && row.first().is_some_and(|value| value.as_deref() == Some(expected)) => None,
        [row] => {
            let values: Vec<String> = row.iter().take(SHOWN).map(shown).collect();
            Some(format!("{} came, `{expected}` must", values.join(", ")))
        }
        rows => Some(format!("{} rows came, one with `{expected}` must", rows.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(queries: usize, at_least: u64, equals: Option<&str>, optional: bool) -> Question {
        Question {
            name: "n".into(),
            when: None,
            database: None,
            queries: (0..queries).map(|at| format!("q{at}")).collect(),
            at_least,
            equals: equals.map(str::to_owned),
            files: Vec::new(),
            size: None,
            hash: None,
            optional,
        }
    }

    fn row(number: u64, value: &str) -> Answer {
        Answer { number, row: vec![Some(value.to_owned())], error: None }
    }

    fn error(number: u64) -> Answer {
        Answer { number, row: Vec::new(), error: Some("no such table".into()) }
    }

    #[test]
    fn the_first_query_that_can_be_asked_counts() {
        let questions = [question(2, 1, None, false), question(1, 1, Some("7"), false)];
        let Judged { asked, problems, .. } = judge(&questions, &[error(1), row(2, "a"), row(2, "b"), row(3, "7")]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(asked[0].rows.len(), 2);
        assert_eq!(asked[1].rows, [[Some("7".to_owned())]]);
    }

    #[test]
    fn what_cannot_be_asked_is_known_and_only_worth_a_warning_when_it_is_optional() {
        let judged = judge(&[question(1, 1, None, false)], &[error(1)]);
        assert!(judged.asked.is_empty() && judged.warnings.is_empty());
        assert!(judged.unanswered[0].1.contains("no such table"));
        let judged = judge(&[question(1, 1, None, true)], &[error(1)]);
        assert!(judged.unanswered.is_empty() && judged.warnings.len() == 1);
    }

    #[test]
    fn too_few_rows_and_another_value_are_wrong() {
        let wrong = |question: Question, answers: &[Answer]| judge(&[question], answers).problems;
        assert!(wrong(question(1, 1, None, false), &[])[0].contains("0 rows came, at least 1"));
        assert!(wrong(question(1, 2, None, false), &[row(1, "a")])[0].contains("1 rows came, at least 2"));
        assert!(wrong(question(1, 1, Some("0"), false), &[row(1, "3")])[0].contains("`3` came, `0` must"));
        let null = Answer { number: 1, row: vec![None], error: None };
        assert!(wrong(question(1, 1, Some("0"), false), &[null])[0].contains("NULL came"));
        assert!(wrong(question(1, 1, Some("0"), false), &[row(1, "0"), row(1, "0")])[0].contains("2 rows came, one"));
        assert!(wrong(question(1, 0, None, false), &[]).is_empty());
    }
}
