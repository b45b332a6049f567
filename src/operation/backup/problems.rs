//! What is not in a snapshot as it should be; gathered by all threads, said at the end, by name.

use std::sync::{Mutex, PoisonError};

use crate::format::snapshot::{MAX_PROBLEMS, Problem};

/// The first thousand problems, and how many there were.
#[derive(Debug, Default)]
pub struct Problems(Mutex<(Vec<Problem>, u64)>);

impl Problems {
    /// Adds one. `kind` is a word for programs: `unreadable`, `changed`, `missing`, `database`, `metadata`.
    pub fn add(&self, kind: &str, path: &[u8], message: impl Into<String>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1 += 1;
        if inner.0.len() < MAX_PROBLEMS {
            inner.0.push(Problem { kind: kind.to_owned(), path: path.to_vec(), message: message.into() });
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The first of them, sorted by path.
    #[must_use]
    pub fn first(&self) -> Vec<Problem> {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        problems.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
        problems
    }

    /// The messages in a line, for a run that found nothing at all.
    #[must_use]
    pub fn describe_roots(&self) -> String {
        let one = |problem: &Problem| format!("{} ({})", String::from_utf8_lossy(&problem.path), problem.message);
        self.first().iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
