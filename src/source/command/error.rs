//! Why the output of a program cannot be kept. Only the program's name is told, never its arguments: they may
//! hold secrets.

use std::io;
use std::time::Duration;

/// A program whose output is not whole. The program and all of its process group are gone then.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The argument list is empty.
    #[error("no program is named")]
    NoProgram,
    /// It could not be started.
    #[error("program `{program}` cannot be started")]
    NotStarted {
        /// Its name, as given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended by itself and reported failure.
    #[error("program `{program}` failed with exit code {code}")]
    Failed {
        /// Its name, as given.
        program: String,
        /// Its exit code, never 0.
        code: i32,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// A signal ended it.
    #[error("program `{program}` was ended by signal {signal}")]
    Killed {
        /// Its name, as given.
        program: String,
        /// Number of the signal.
        signal: i32,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// It was still running at its time limit.
    #[error("program `{program}` was stopped at its time limit of {} s", limit.as_secs_f32())]
    TimeLimit {
        /// Its name, as given.
        program: String,
        /// How long it was allowed to run.
        limit: Duration,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// It ended, but something it had started kept its output open without writing to it.
    #[error("program `{program}` ended, but left something behind that keeps its output open")]
    HeldOpen {
        /// Its name, as given.
        program: String,
    },
    /// It wanted to read from or write to the terminal, which a backup must never wait for.
    #[error("program `{program}` asked for the terminal")]
    WantsTerminal {
        /// Its name, as given.
        program: String,
    },
    /// It was stopped because the run was.
    #[error("program `{program}` was stopped with the run")]
    Interrupted {
        /// Its name, as given.
        program: String,
    },
    /// Its output could not be read.
    #[error("the output of program `{program}` cannot be read")]
    Read {
        /// Its name, as given.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was finished before its output had been read to the end.
    #[error("the output of program `{program}` was not read to its end")]
    Unread {
        /// Its name, as given.
        program: String,
    },
    /// The system did not tell how it ended.
    #[error("how program `{program}` ended is unknown")]
    Lost {
        /// Its name, as given.
        program: String,
    },
}

impl CommandError {
    /// The next step for the user, printed under the message as `hint: …`.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoProgram => "give the program and each of its arguments as one list",
            Self::NotStarted { .. } => {
                "check that it is installed, executable and in PATH; for shell syntax run `sh -c` yourself"
            }
            Self::Failed { .. } => "its own messages say why; run it by hand as the user who runs bk",
            Self::Killed { .. } => "look in the system log for a crash or for the out-of-memory killer",
            Self::TimeLimit { .. } => "raise its time limit, or find out what it waits for",
            Self::HeldOpen { .. } => {
                "redirect the output of what it starts in the background, as in `server >/dev/null 2>&1 &`"
            }
            Self::WantsTerminal { .. } => {
                "give it its password by a file or by its own options, so that it need not ask"
            }
            Self::Interrupted { .. } | Self::Read { .. } | Self::Unread { .. } | Self::Lost { .. } => {
                "run the command again"
            }
        }
    }

    /// The end of what the program wrote to its standard error, where the failure is its own.
    #[must_use]
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Failed { stderr, .. } | Self::Killed { stderr, .. } | Self::TimeLimit { stderr, .. } => Some(stderr),
            _ => None,
        }
    }
}
