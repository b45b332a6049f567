//! Progress for whoever wants to know more: phases as they begin, and each new and changed file.

use std::sync::Arc;

use super::text::path_text;
use crate::progress::Progress;

/// Tells more than `inner` does.
pub(super) struct Told {
    inner: Arc<dyn Progress>,
    what: String,
    each_entry: bool,
    write: Box<dyn Fn(&str) + Send + Sync>,
}

impl Told {
    /// Phases of `what`, and with `each_entry` also entries.
    pub fn new(
        inner: Arc<dyn Progress>,
        what: &str,
        each_entry: bool,
        write: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { inner, what: what.to_owned(), each_entry, write: Box::new(write) }
    }
}

impl Progress for Told {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        (self.write)(&format!("{}: {name}", self.what));
        self.inner.phase(name, total_bytes);
    }

    fn total(&self, items: u64, bytes: u64) {
        self.inner.total(items, bytes);
    }

    fn wants_total(&self) -> bool {
        self.inner.wants_total()
    }

    fn advance(&self, items: u64, bytes: u64) {
        self.inner.advance(items, bytes);
    }

    fn current(&self, path: &[u8]) {
        self.inner.current(path);
    }

    fn entry(&self, fate: &str, path: &[u8]) {
        if self.each_entry {
            (self.write)(&format!("{fate} {}", path_text(path)));
        }
    }

    fn warn(&self, message: &str) {
        self.inner.warn(message);
    }

    fn finish(&self) {
        self.inner.finish();
    }
}
