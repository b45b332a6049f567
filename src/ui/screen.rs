//! Standard output and standard error: who may write there, and how.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use super::Failure;
use super::bars::{Bars, Stage};
use super::journal::{Matters, is_journal, weighed};
use super::line::printable;
use super::plain::Plain;
use super::told::Told;
use crate::progress::Progress;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Errors and what was asked for.
    Quiet,
    /// Progress and a summary.
    #[default]
    Normal,
    /// What is being done, too.
    Verbose,
    /// Every entry, too.
    Entries,
}

/// The terminal or whatever is in its place.
#[derive(Clone)]
pub struct Screen {
    /// Whether programs read the output.
    pub json: bool,
    /// How much is said.
    pub verbosity: Verbosity,
    stage: Stage,
    /// Whether standard error is read by the journal of systemd.
    journal: bool,
}

impl Screen {
    /// Standard output and error of this process.
    #[must_use]
    pub fn new(json: bool, verbosity: Verbosity) -> Self {
        Self { json, verbosity, stage: Stage::default(), journal: !json && is_journal() }
    }

    /// Writes a line of a command's result to standard output.
    ///
    /// A closed pipe (`bk ls | head`) ends the program without noise, as users expect of a tool.
    pub fn line(&self, text: &str) {
        // In one piece: other threads write lines too.
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Writes bytes of a command's result to standard output.
    pub fn bytes(&self, bytes: &[u8]) {
        let write = || std::io::stdout().lock().write_all(bytes);
        let written = if std::io::stdout().is_terminal() { self.stage.aside(write) } else { write() };
        if written.is_err() {
            std::process::exit(141);
        }
    }

    /// Writes one JSON value on a line of standard output.
    pub fn json_line(&self, value: &serde_json::Value) {
        self.line(&value.to_string());
    }

    /// A line for people that is not the result: standard error, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.error_line(text, Matters::Info);
        }
    }

    /// A warning: standard error, always. One line, whatever is in it.
    pub fn warning(&self, text: &str) {
        let text = printable(text.as_bytes());
        if self.json {
            let value = serde_json::json!({ "message_type": "error", "error": { "message": text } });
            self.error_line(&value.to_string(), Matters::Warning);
        } else {
            self.error_line(&format!("{} {text}", self.paint("warning:", "33")), Matters::Warning);
        }
    }

    /// Nobody may be listening any more; that is no reason to stop working.
    fn error_line(&self, text: &str, matters: Matters) {
        let weighed = self.journal.then(|| weighed(text, matters));
        let text = weighed.as_deref().unwrap_or(text);
        let _ = self.stage.aside(|| std::io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
    }

    /// Says why a command failed.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let value = serde_json::json!({
                "message_type": "exit_error",
                "code": failure.exit.code(),
                "message": failure.message,
                "causes": failure.causes,
                "hint": failure.hint,
            });
            self.error_line(&value.to_string(), Matters::Error);
            return;
        }
        self.error_line(&format!("{} {}", self.paint("error:", "31"), failure.message), Matters::Error);
        for cause in &failure.causes {
            self.error_line(&format!("  because: {cause}"), Matters::Error);
        }
        if let Some(hint) = &failure.hint {
            self.error_line(&format!("  {} {hint}", self.paint("hint:", "36")), Matters::Error);
        }
    }

    /// Colours `text` on a terminal that wants colours (<https://no-color.org>).
    #[must_use]
    pub fn paint(&self, text: &str, code: &str) -> String {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && can_draw() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Something that shows the progress of `what`, such as `backup`.
    ///
    /// Bars on a terminal, JSON lines for programs, a line now and then in a log, only warnings when quiet.
    #[must_use]
    pub fn progress(&self, what: &str) -> Arc<dyn Progress> {
        let plain = self.plain_progress(what);
        if self.verbosity < Verbosity::Verbose {
            return plain;
        }
        let screen = self.clone();
        Arc::new(Told::new(plain, what, self.verbosity == Verbosity::Entries, move |line| screen.note(line)))
    }

    fn plain_progress(&self, what: &str) -> Arc<dyn Progress> {
        let screen = self.clone();
        let warn = move |text: &str| screen.warning(text);
        if self.verbosity == Verbosity::Quiet {
            return Arc::new(Plain::quiet(warn));
        }
        if self.json {
            // A watcher that went away does not stop a backup, as it would through `line`.
            let write = |line: &str| drop(std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()));
            return Arc::new(Plain::json(write, warn));
        }
        if can_draw() {
            return Arc::new(Bars::new(what, self.stage.clone(), warn));
        }
        let screen = self.clone();
        Arc::new(Plain::log(what, move |line| screen.note(line), warn))
    }
}

/// Whether standard error is a terminal that knows more than lines.
fn can_draw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}
