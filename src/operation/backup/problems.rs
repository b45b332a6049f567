//! What is not in a snapshot as it should be; gathered by all threads, said at the end, by name.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::format::snapshot::{MAX_PROBLEMS, Problem};

/// The first thousand problems, how many there were, and of which kinds.
#[derive(Debug, Default)]
pub struct Problems(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    first: Vec<Problem>,
    count: u64,
    kinds: BTreeSet<String>,
}

impl Problems {
    /// Adds one. `kind` is a word for programs: `unreadable`, `changed`, `missing`, `database`, `metadata`, `dump`.
    pub fn add(&self, kind: &str, path: &[u8], message: impl Into<String>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.count += 1;
        if !inner.kinds.contains(kind) {
            inner.kinds.insert(kind.to_owned());
        }
        if inner.first.len() < MAX_PROBLEMS {
            inner.first.push(Problem { kind: kind.to_owned(), path: path.to_vec(), message: message.into() });
        }
    }

    /// Whether there is one of this kind.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).kinds.contains(kind)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The first of them, sorted by path.
    #[must_use]
    pub fn first(&self) -> Vec<Problem> {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner).first.clone();
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
