//! What was told to people: so that nothing is told twice, that a recovery is told, and that what could not be
//! delivered is sent again.

use rusqlite::{OptionalExtension as _, params};

use super::{State, StateError};

/// A notice that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub id: i64,
    /// The channel it is for.
    pub channel: String,
    /// The notice, as JSON.
    pub notice: String,
    /// Since when, in seconds since 1970.
    pub at: i64,
}

impl State {
    /// What was last told of `subject`, and when; `None` when all was well since.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn told(&self, subject: &str) -> Result<Option<(String, i64)>, StateError> {
        self.asked(|db| {
            let text = "SELECT event, at FROM told WHERE subject = ?1";
            db.prepare_cached(text)?.query_row([subject], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// Everything that was told and is not over, by subject.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn all_told(&self) -> Result<Vec<(String, String)>, StateError> {
        self.asked(|db| {
            let text = "SELECT subject, event FROM told ORDER BY subject";
            db.prepare_cached(text)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Remembers that `event` was told of `subject` at `now`; that all is well again with `None`.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn set_told(&self, subject: &str, event: Option<&str>, now: i64) -> Result<(), StateError> {
        match event {
            Some(event) => self.execute(
                "INSERT INTO told VALUES (?1, ?2, ?3) ON CONFLICT (subject) DO UPDATE SET event = ?2, at = ?3",
                params![subject, event, now],
            ),
            None => self.execute("DELETE FROM told WHERE subject = ?1", [subject]),
        }
    }

    /// Keeps a notice to be sent again.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn keep_waiting(&self, channel: &str, notice: &str, now: i64) -> Result<(), StateError> {
        let text = "INSERT INTO waiting (channel, notice, at) VALUES (?1, ?2, ?3)";
        self.execute(text, params![channel, notice, now])
    }

    /// The notices to be sent again, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn waiting(&self) -> Result<Vec<Waiting>, StateError> {
        self.asked(|db| {
            let text = "SELECT id, channel, notice, at FROM waiting ORDER BY id";
            let rows = |row: &rusqlite::Row<'_>| {
                Ok(Waiting { id: row.get(0)?, channel: row.get(1)?, notice: row.get(2)?, at: row.get(3)? })
            };
            db.prepare_cached(text)?.query_map([], rows)?.collect()
        })
    }

    /// Waits with a notice no longer: it was delivered, or is too old.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn drop_waiting(&self, id: i64) -> Result<(), StateError> {
        self.execute("DELETE FROM waiting WHERE id = ?1", [id])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_stays_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (state, _) = State::open(folder.path()).unwrap();
        assert_eq!(state.told("plex").unwrap(), None);
        state.set_told("plex", Some("failed"), 5).unwrap();
        state.set_told("plex", Some("overdue"), 6).unwrap();
        assert_eq!(state.told("plex").unwrap(), Some(("overdue".into(), 6)));
        state.set_told("plex", None, 7).unwrap();
        assert_eq!(state.all_told().unwrap(), []);
    }

    #[test]
    fn what_waits_keeps_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let (state, _) = State::open(folder.path()).unwrap();
        state.keep_waiting("phone", "{1}", 1).unwrap();
        state.keep_waiting("mail", "{2}", 2).unwrap();
        let waiting = state.waiting().unwrap();
        assert_eq!(waiting.iter().map(|one| one.notice.as_str()).collect::<Vec<_>>(), ["{1}", "{2}"]);
        state.drop_waiting(waiting[0].id).unwrap();
        assert_eq!(state.waiting().unwrap(), waiting[1..]);
    }
}
