//! Tables that a database must have, with rows in them: one that lost them is a good file and a bad backup.

use crate::format::node::TableRows;

/// Whether `table` is what a user calls `wanted`: `*` stands for anything, a schema in front need not be said, and case
/// does not matter.
#[must_use]
pub fn is_table(wanted: &str, table: &str) -> bool {
    let [wanted, table] = [wanted, table].map(str::to_lowercase);
    let plain = table.split_once('.').map(|(_, plain)| plain);
    fits(&wanted, &table) || plain.is_some_and(|plain| fits(&wanted, plain))
}

fn fits(pattern: &str, word: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == word };
    let Some(word) = word.strip_prefix(start) else { return false };
    rest.is_empty() || word.char_indices().any(|(at, _)| word.get(at..).is_some_and(|word| fits(rest, word)))
}

/// That a table must have rows and has none.
#[must_use]
pub fn empty_table(wanted: &str) -> String {
    format!("table {wanted} is empty, and must not be")
}

/// That a table must be there and is not.
#[must_use]
pub fn absent_table(wanted: &str) -> String {
    format!("there is no table {wanted}, and there must be one")
}

/// What is wrong with the tables of a database, of which `rows` were counted and `uncounted` could not be.
pub(super) fn wrong_tables(wanted: &[String], rows: &[TableRows], uncounted: &[String]) -> Vec<String> {
    let wrong = |wanted: &String| {
        // Where not even the tables could be listed, `sqlite_schema` stands for all.
        if uncounted.iter().any(|table| is_table(wanted, table) || table == "sqlite_schema") {
            return None;
        }
        let mut counted = rows.iter().filter(|one| is_table(wanted, &one.table)).peekable();
        match counted.peek() {
            None => Some(absent_table(wanted)),
            Some(_) => counted.all(|one| one.rows == 0).then(|| empty_table(wanted)),
        }
    };
    wanted.iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_meant_with_or_without_its_schema_and_by_a_wildcard() {
        for (wanted, table) in [
            ("user", "user"),
            ("user", "public.User"),
            ("public.user", "public.user"),
            ("*_users", "oc_users"),
            ("u*r", "x.user"),
        ] {
            assert!(is_table(wanted, table), "{wanted} {table}");
        }
        for (wanted, table) in [("user", "users"), ("*_users", "users"), ("a.user", "b.user"), ("", "user")] {
            assert!(!is_table(wanted, table), "{wanted} {table}");
        }
    }

    #[test]
    fn an_empty_table_and_an_absent_one_are_wrong_and_one_that_was_not_counted_is_not() {
        let rows = [("a", 3), ("b", 0), ("x_c", 0), ("y_c", 1)];
        let rows: Vec<_> = rows.map(|(table, rows)| TableRows { table: table.to_owned(), rows }).into();
        let wrong = |wanted: &str| wrong_tables(&[wanted.to_owned()], &rows, &["late".to_owned()]);
        assert_eq!((wrong("a").len(), wrong("*_c").len(), wrong("late").len()), (0, 0, 0));
        assert_eq!(wrong("b"), ["table b is empty, and must not be"]);
        assert_eq!(wrong("d"), ["there is no table d, and there must be one"]);
        assert!(wrong_tables(&["d".to_owned()], &[], &["sqlite_schema".to_owned()]).is_empty());
    }
}
