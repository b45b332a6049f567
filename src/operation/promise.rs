//! A value that one thread gives and others may wait for.

use std::sync::{Condvar, Mutex, PoisonError};

/// Given once, waited for by any number.
#[derive(Debug)]
pub struct Promise<T> {
    value: Mutex<Option<T>>,
    given: Condvar,
}

impl<T: Clone> Promise<T> {
    /// One that nobody has kept yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { value: Mutex::new(None), given: Condvar::new() }
    }

    /// Gives the value; the first one counts.
    pub fn give(&self, value: T) {
        let mut slot = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(value);
        self.given.notify_all();
    }

    /// Waits for the value.
    pub fn wait(&self) -> T {
        let mut slot = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = &*slot {
                return value.clone();
            }
            slot = self.given.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Clone> Default for Promise<T> {
    fn default() -> Self {
        Self::new()
    }
}
