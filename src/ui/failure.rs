//! How a command ends: the only place that makes exit codes.

use crate::destination::DestinationError;
use crate::interop::restic::ResticError;
use crate::metrics::MetricsError;
use crate::operation::copy::CopyError;
use crate::operation::import::ImportError;
use crate::operation::prune::PruneError;
use crate::operation::repair::RepairError;
use crate::profile::ConfigError;
use crate::repository::RepositoryError;
use crate::source::command::CommandError;
use crate::state::StateError;
use crate::store::{LocationError, StoreError};

/// The exit code of a command, mildest first; the worst of several wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything that was asked for is done.
    Complete,
    /// Done, but not in every repository.
    Behind,
    /// Done, but something could not be read, changed meanwhile, or is missing.
    Incomplete,
    /// The newest complete snapshot is older than it may be, or a check that was due did not read what it had to.
    Overdue,
    /// A backup was unlike those before it; forgetting is paused.
    Anomaly,
    /// What was restored is not what was backed up.
    Verification,
    /// Damage was found.
    Damage,
    /// A program whose output was to be kept failed.
    Hook,
    /// It is not done.
    Failed,
    /// There is no repository.
    NoRepository,
    /// Wrong password or key.
    WrongKey,
    /// The command line or the configuration is wrong.
    Usage,
    /// The user stopped it.
    Interrupted,
}

impl Exit {
    /// All of them, by their number.
    pub const ALL: [Self; 13] = [
        Self::Complete,
        Self::Failed,
        Self::Usage,
        Self::Incomplete,
        Self::Hook,
        Self::Damage,
        Self::Verification,
        Self::Behind,
        Self::Overdue,
        Self::Anomaly,
        Self::NoRepository,
        Self::WrongKey,
        Self::Interrupted,
    ];

    /// The number that the program exits with, and what it means.
    #[must_use]
    pub const fn meaning(self) -> (u8, &'static str) {
        match self {
            Self::Complete => (0, "Everything that was asked for is done."),
            Self::Failed => (1, "It is not done."),
            Self::Usage => (2, "The command line or the configuration is wrong."),
            Self::Incomplete => (3, "Done, but something could not be read, changed meanwhile, or is missing."),
            Self::Hook => (4, "A program whose output was to be kept failed."),
            Self::Damage => (5, "Damage was found."),
            Self::Verification => (6, "What was restored is not what was backed up."),
            Self::Behind => (7, "Backed up, but a repository is behind the others; the next run brings it up to date."),
            Self::Overdue => {
                (8, "The newest complete snapshot of a profile is missing or too old, or packs were not read in time.")
            }
            Self::Anomaly => {
                (9, "A backup is unlike those before it; nothing is forgotten or pruned until bk accept says so.")
            }
            Self::NoRepository => (10, "There is no repository."),
            Self::WrongKey => (12, "Wrong password or key."),
            Self::Interrupted => (130, "Interrupted."),
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.code() == code)
    }

    /// In a word, for tables and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Incomplete => "incomplete",
            Self::Hook => "hook failed",
            Self::Damage => "damage",
            Self::Verification => "verification failed",
            Self::Behind => "behind",
            Self::Overdue => "overdue",
            Self::Anomaly => "anomaly",
            Self::NoRepository => "no repository",
            Self::WrongKey => "wrong key",
            Self::Interrupted => "interrupted",
        }
    }

    /// The number that the program exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.meaning().0
    }

    /// The worse of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Why a command did not do what was asked: what happened, why, and what to do next.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, naming the object.
    pub message: String,
    /// Causes, nearest first.
    pub causes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with its own words.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hint: Some(hint.into()) }
    }

    /// What happened and why, in one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let parts = std::iter::once(&self.message).chain(&self.causes).map(String::as_str);
        parts.collect::<Vec<_>>().join("; ")
    }

    /// A mistake on the command line.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, hint)
    }

    /// From an error with its causes.
    #[must_use]
    pub fn of(exit: Exit, error: &dyn std::error::Error, hint: impl Into<String>) -> Self {
        let message = error.to_string();
        let mut causes: Vec<String> = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) && !causes.iter().any(|known| known.contains(&text)) {
                causes.push(text);
            }
            cause = error.source();
        }
        Self { exit, message, causes, hint: Some(hint.into()) }
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        let exit = match &error {
            RepositoryError::WrongKey { .. } => Exit::WrongKey,
            RepositoryError::Store(StoreError::NoRepository { .. }) | RepositoryError::NoConfig { .. } => {
                Exit::NoRepository
            }
            RepositoryError::Interrupted | RepositoryError::Store(StoreError::Stopped { .. }) => Exit::Interrupted,
            RepositoryError::NoSuchSlot { .. }
            | RepositoryError::LastSlot { .. }
            | RepositoryError::Store(StoreError::Settings { .. }) => Exit::Usage,
            error if error.is_damage() => Exit::Damage,
            _ => Exit::Failed,
        };
        Self::of(exit, &error, error.hint())
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Repository(error) => error.into(),
            CopyError::Unreadable { ref source, .. } => Self::of(Exit::Damage, &error, source.hint()),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let hint = error.hint();
        match error {
            ImportError::Repository(error) => error.into(),
            error @ ImportError::Siblings { .. } => Self::of(Exit::Usage, &error, hint),
        }
    }
}

impl From<PruneError> for Failure {
    fn from(error: PruneError) -> Self {
        let hint = error.hint();
        match error {
            PruneError::Repository(error) => error.into(),
            error @ PruneError::Paused { .. } => Self::of(Exit::Anomaly, &error, hint),
            error @ PruneError::Unsteady => Self::of(Exit::Failed, &error, hint),
            error => Self::of(Exit::Damage, &error, hint),
        }
    }
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        let hint = error.hint();
        match error {
            RepairError::Repository(error) => error.into(),
            error @ RepairError::NoSuch { .. } => Self::of(Exit::Usage, &error, hint),
            error @ RepairError::Moved => Self::of(Exit::Failed, &error, hint),
            error => Self::of(Exit::Damage, &error, hint),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        RepositoryError::from(error).into()
    }
}

impl From<ResticError> for Failure {
    fn from(error: ResticError) -> Self {
        let hint = error.hint();
        match error {
            ResticError::Store(error) => error.into(),
            ResticError::Source(error) => error.into(),
            error @ ResticError::WrongPassword { .. } => Self::of(Exit::WrongKey, &error, hint),
            error @ ResticError::Interrupted => Self::of(Exit::Interrupted, &error, hint),
            error if error.is_damage() => Self::of(Exit::Damage, &error, hint),
            error => Self::of(Exit::Failed, &error, hint),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(Exit::Usage, &error, error.hint().into_owned())
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::of(Exit::Failed, &error, error.hint())
    }
}

impl From<MetricsError> for Failure {
    fn from(error: MetricsError) -> Self {
        Self::of(Exit::Failed, &error, error.hint())
    }
}

impl From<LocationError> for Failure {
    fn from(error: LocationError) -> Self {
        Self::of(Exit::Usage, &error, error.hint())
    }
}

impl From<DestinationError> for Failure {
    fn from(error: DestinationError) -> Self {
        Self::of(Exit::Failed, &error, error.hint())
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let mut failure = Self::of(Exit::Hook, &error, error.hint());
        let last_words = error.stderr().and_then(|text| text.trim_end().lines().last().map(str::to_owned));
        failure.causes.extend(last_words.filter(|line| !line.is_empty()).map(|line| format!("its last words: {line}")));
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_wins_in_any_order() {
        assert_eq!(Exit::Incomplete.worst(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::Failed.worst(Exit::Incomplete), Exit::Failed);
        assert_eq!(Exit::Complete.worst(Exit::Complete), Exit::Complete);
    }

    #[test]
    fn a_cause_is_told_once() {
        let source = std::io::Error::other("disk on fire");
        let error = StoreError::Io { action: "read", name: "x".into(), location: "/r".into(), source };
        let failure = Failure::from(RepositoryError::from(error));
        assert_eq!(failure.causes, ["disk on fire"]);
    }
}
