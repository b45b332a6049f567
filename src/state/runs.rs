//! Runs: what was done when, for which profile in which repository, and how it ended.

use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{FILE_NAME, State, StateError};

/// A run of the program, by its number in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub i64);

/// What was done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// A snapshot was to be made.
    Backup,
    /// Snapshots were let go of.
    Forget,
    /// What no snapshot needs was taken away.
    Prune,
    /// Is it whole?
    Check,
    /// Does it restore?
    Verify,
    /// It was brought up to date from another one.
    Copy,
    /// Something was restored.
    Restore,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Backup, Self::Forget, Self::Prune, Self::Check, Self::Verify, Self::Copy, Self::Restore];

    /// Its name, which is that of its command.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Verify => "verify",
            Self::Copy => "copy",
            Self::Restore => "restore",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }
}

/// What was counted; only what the verb counts is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Files in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes in the snapshot, before deduplication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Bytes that no snapshot had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_bytes: Option<u64>,
    /// Bytes by which the repository grew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Entries that are not in the snapshot as they should be, or objects found damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<u64>,
    /// Snapshots that stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_snapshots: Option<u64>,
    /// Snapshots that were let go of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_snapshots: Option<u64>,
    /// Bytes that were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_bytes: Option<u64>,
    /// Bytes of packs in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_bytes: Option<u64>,
    /// Bytes read from packs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Packs that were never read from end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never_read_packs: Option<u64>,
    /// Since when every pack was stored or read from end to end, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_since: Option<u64>,
    /// Within how many seconds every pack is to be read, when the check kept to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise_seconds: Option<u64>,
    /// Bytes of packs that were due and not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_bytes: Option<u64>,
}

/// One verb, of one profile or of none, in one repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What was done.
    pub verb: Verb,
    /// The profile; `None` when it was of the repository as a whole, or of paths.
    pub profile: Option<String>,
    /// The repository as it is called.
    pub repository: String,
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// How long it took.
    pub seconds: f64,
    /// The exit code that it gives by itself.
    pub exit: u8,
    /// The snapshot that was made or restored.
    pub snapshot: Option<String>,
    /// What was counted.
    pub figures: Figures,
    /// In one line, why it is not complete.
    pub message: Option<String>,
}

/// A run of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Its command.
    pub kind: String,
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// When it ended; `None` while it goes on, or when it died.
    pub ended: Option<i64>,
    /// Its exit code.
    pub exit: Option<u8>,
}

/// The columns of [`done_of_row`], in its order.
const COLUMNS: &str = "verb, profile, repository, began, seconds, exit, snapshot, figures, message";

impl State {
    /// Begins a run of the command `kind` at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn begin(&self, kind: &str, now: i64) -> Result<RunId, StateError> {
        self.asked(|db| {
            db.execute("INSERT INTO run (kind, began) VALUES (?1, ?2)", params![kind, now])?;
            Ok(RunId(db.last_insert_rowid()))
        })
    }

    /// Ends a run at `now` with an exit code.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn end(&self, run: RunId, now: i64, exit: u8) -> Result<(), StateError> {
        self.execute("UPDATE run SET ended = ?2, exit = ?3 WHERE id = ?1", params![run.0, now, exit])
    }

    /// The runs of the command `kind` that have not ended, oldest first: they go on, or they died.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn without_end(&self, kind: &str) -> Result<Vec<Run>, StateError> {
        self.asked(|db| {
            let text = "SELECT id, kind, began, ended, exit FROM run WHERE ended IS NULL AND kind = ?1 ORDER BY id";
            db.prepare_cached(text)?.query_map([kind], run_of_row)?.collect()
        })
    }

    /// The newest run of the command `kind`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_run(&self, kind: &str) -> Result<Option<Run>, StateError> {
        self.asked(|db| {
            let text = "SELECT id, kind, began, ended, exit FROM run WHERE kind = ?1 ORDER BY id DESC LIMIT 1";
            db.prepare_cached(text)?.query_row([kind], run_of_row).optional()
        })
    }

    /// Remembers what was done in a run.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn record(&self, run: RunId, done: &Done) -> Result<(), StateError> {
        // Numbers only: it cannot fail.
        let figures = serde_json::to_string(&done.figures).unwrap_or_default();
        self.execute(
            "INSERT INTO done (run, verb, profile, repository, began, seconds, exit, snapshot, figures, message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                run.0,
                done.verb.word(),
                done.profile,
                done.repository,
                done.began,
                done.seconds,
                done.exit,
                done.snapshot,
                figures,
                done.message
            ],
        )
    }

    /// What was done last: of each verb, profile and repository the newest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest(&self) -> Result<Vec<Done>, StateError> {
        self.done(
            &format!(
                "SELECT {COLUMNS} FROM done WHERE rowid IN
                 (SELECT max(rowid) FROM done GROUP BY verb, profile, repository) ORDER BY verb, profile, repository"
            ),
            [],
        )
    }

    /// What was done last and ended with one of `exits`, of each verb, profile and repository.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest_with(&self, exits: &[u8]) -> Result<Vec<Done>, StateError> {
        let exits: Vec<String> = exits.iter().map(ToString::to_string).collect();
        self.done(
            &format!(
                "SELECT {COLUMNS} FROM done WHERE rowid IN (SELECT max(rowid) FROM done WHERE exit IN ({})
                 GROUP BY verb, profile, repository) ORDER BY verb, profile, repository",
                exits.join(", ")
            ),
            [],
        )
    }

    /// What was done for a profile, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(&self, profile: &str, verb: Verb, limit: u32) -> Result<Vec<Done>, StateError> {
        self.done(
            &format!(
                "SELECT {COLUMNS} FROM done WHERE profile = ?1 AND verb = ?2 ORDER BY began DESC, rowid DESC LIMIT ?3"
            ),
            params![profile, verb.word(), limit],
        )
    }

    /// What the runs of `verb` for a profile in a repository were since `since`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn since(
        &self,
        verb: Verb,
        profile: Option<&str>,
        repository: &str,
        since: i64,
    ) -> Result<Vec<Done>, StateError> {
        self.done(
            &format!(
                "SELECT {COLUMNS} FROM done WHERE verb = ?1 AND profile IS ?2 AND repository = ?3 AND began >= ?4
                 ORDER BY began, rowid"
            ),
            params![verb.word(), profile, repository, since],
        )
    }

    /// How long the last ten runs took that ended well: the middle one, of at least three.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn usual_seconds(&self, verb: Verb, profile: &str, repository: &str) -> Result<Option<f64>, StateError> {
        let mut seconds: Vec<f64> = self.asked(|db| {
            let text = "SELECT seconds FROM done WHERE verb = ?1 AND profile = ?2 AND repository = ?3 AND exit = 0
                        ORDER BY rowid DESC LIMIT 10";
            db.prepare_cached(text)?.query_map(params![verb.word(), profile, repository], |row| row.get(0))?.collect()
        })?;
        seconds.sort_by(f64::total_cmp);
        Ok(seconds.get(seconds.len() / 2).copied().filter(|_| seconds.len() >= 3))
    }

    /// When a job was last begun because it was due, in seconds since 1970.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_due(&self, job: &str) -> Result<Option<i64>, StateError> {
        self.asked(|db| db.query_row("SELECT at FROM due WHERE job = ?1", [job], |row| row.get(0)).optional())
    }

    /// Remembers that a job was begun at `now`.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn set_due(&self, job: &str, now: i64) -> Result<(), StateError> {
        self.execute("INSERT INTO due VALUES (?1, ?2) ON CONFLICT (job) DO UPDATE SET at = ?2", params![job, now])
    }

    fn done(&self, text: &str, values: impl rusqlite::Params) -> Result<Vec<Done>, StateError> {
        let rows: Vec<Result<Done, String>> =
            self.asked(|db| db.prepare_cached(text)?.query_map(values, done_of_row)?.collect())?;
        let unknown = |what| StateError::Unknown { path: self.folder.join(FILE_NAME), what };
        rows.into_iter().collect::<Result<_, _>>().map_err(unknown)
    }
}

fn run_of_row(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run { id: RunId(row.get(0)?), kind: row.get(1)?, began: row.get(2)?, ended: row.get(3)?, exit: row.get(4)? })
}

fn done_of_row(row: &Row<'_>) -> rusqlite::Result<Result<Done, String>> {
    let (word, figures): (String, String) = (row.get(0)?, row.get(7)?);
    let Some(verb) = Verb::of_word(&word) else { return Ok(Err(word)) };
    let Ok(figures) = serde_json::from_str(&figures) else { return Ok(Err(figures)) };
    Ok(Ok(Done {
        verb,
        profile: row.get(1)?,
        repository: row.get(2)?,
        began: row.get(3)?,
        seconds: row.get(4)?,
        exit: row.get(5)?,
        snapshot: row.get(6)?,
        figures,
        message: row.get(8)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(profile: &str, repository: &str, began: i64, seconds: f64, exit: u8) -> Done {
        Done {
            verb: Verb::Backup,
            profile: Some(profile.into()),
            repository: repository.into(),
            began,
            seconds,
            exit,
            snapshot: Some(format!("{began:08x}")),
            figures: Figures { files: Some(3), new_bytes: Some(u64::from(exit) + 7), ..Figures::default() },
            message: (exit > 0).then(|| "it is \"not\" complete".into()),
        }
    }

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let (state, _) = State::open(folder.path()).unwrap();
        (folder, state)
    }

    #[test]
    fn what_was_recorded_is_read_back_as_it_was() {
        let (_folder, state) = state();
        let run = state.begin("run", 1000).unwrap();
        let all =
            [done("plex", "ssd", 1000, 1.5, 0), done("plex", "b2", 1001, 2.5, 3), done("plex", "ssd", 2000, 3.0, 1)];
        all.iter().for_each(|done| state.record(run, done).unwrap());
        assert_eq!(state.history("plex", Verb::Backup, 9).unwrap(), [&all[2], &all[1], &all[0]].map(Clone::clone));
        assert_eq!(state.newest().unwrap(), [all[1].clone(), all[2].clone()]);
        assert_eq!(state.newest_with(&[0, 9]).unwrap(), [all[0].clone()]);
        assert_eq!(state.since(Verb::Backup, Some("plex"), "ssd", 1500).unwrap(), [all[2].clone()]);
    }

    #[test]
    fn a_run_without_an_end_is_found_until_it_has_one() {
        let (_folder, state) = state();
        let (first, second) = (state.begin("run", 10).unwrap(), state.begin("run", 20).unwrap());
        state.begin("backup", 30).unwrap();
        state.end(first, 15, 3).unwrap();
        let open: Vec<_> = state.without_end("run").unwrap().iter().map(|run| run.id).collect();
        assert_eq!(open, [second]);
        state.end(second, 25, 0).unwrap();
        assert!(state.without_end("run").unwrap().is_empty());
        assert_eq!(state.last_run("run").unwrap().unwrap().exit, Some(0));
    }

    #[test]
    fn the_usual_time_is_the_middle_of_what_ended_well() {
        let (_folder, state) = state();
        let run = state.begin("run", 0).unwrap();
        let usual = || state.usual_seconds(Verb::Backup, "plex", "ssd").unwrap();
        for (at, seconds, exit) in [(1, 10.0, 0), (2, 900.0, 1), (3, 30.0, 0)] {
            state.record(run, &done("plex", "ssd", at, seconds, exit)).unwrap();
        }
        assert_eq!(usual(), None, "two are no measure");
        state.record(run, &done("plex", "ssd", 4, 20.0, 0)).unwrap();
        assert_eq!(usual(), Some(20.0));
    }

    #[test]
    fn old_runs_go_with_all_that_was_done_in_them() {
        let (_folder, state) = state();
        for at in [100, 200] {
            let run = state.begin("run", at).unwrap();
            state.record(run, &done("plex", "ssd", at, 1.0, 0)).unwrap();
            state.end(run, at + 1, 0).unwrap();
        }
        state.forget_until(150).unwrap();
        let left: Vec<_> = state.history("plex", Verb::Backup, 9).unwrap().iter().map(|done| done.began).collect();
        assert_eq!(left, [200]);
    }
}
