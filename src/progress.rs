//! What a long operation tells while it works; `ui/` draws it, tests and libraries use [`Silent`].

/// Receives what an operation is doing. Called from several threads, often; implementations must be cheap.
pub trait Progress: Send + Sync {
    /// A new phase began, such as "reading" or "checking"; `total_bytes` where it is known.
    fn phase(&self, name: &str, total_bytes: Option<u64>);
    /// The total of the phase became known or changed.
    fn total(&self, items: u64, bytes: u64);
    /// Whether it pays to count beforehand what there is to do: somebody is watching.
    fn wants_total(&self) -> bool {
        false
    }
    /// `items` more entries and `bytes` more bytes are done.
    fn advance(&self, items: u64, bytes: u64);
    /// The entry being worked on now (bytes of a path; not necessarily UTF-8).
    fn current(&self, path: &[u8]);
    /// What became of an entry, such as `new` or `changed`, for whoever wants to hear of each.
    fn entry(&self, _fate: &str, _path: &[u8]) {}
    /// Something the user should keep in sight: one line, no secret.
    fn warn(&self, message: &str);
    /// The operation ended; whatever was drawn is taken away.
    fn finish(&self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _name: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _items: u64, _bytes: u64) {}
    fn advance(&self, _items: u64, _bytes: u64) {}
    fn current(&self, _path: &[u8]) {}
    fn warn(&self, _message: &str) {}
    fn finish(&self) {}
}
