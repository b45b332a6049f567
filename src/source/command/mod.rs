//! The output of a program as a source: a database dump, for example, streamed into a snapshot as one file.
//!
//! A dump that stops half-way looks like a whole one. So the end of the stream is reported only after the program
//! exited with 0; everything else is an error of the reader, and of [`Running::finish`] once more.
//!
//! **How it runs.** The arguments are passed as they are, no shell is involved. Standard input is empty unless it is
//! asked for. The program
//! leads a process group of its own, so a Ctrl-C at the terminal does not reach it: whoever handles signals drops the
//! [`Running`], which ends the whole group (SIGTERM, SIGKILL after 3 s). So does the end of the program itself:
//! nothing in its group outlives it. What moved to another session (`setsid`) is out of reach.
//!
//! **What it leaves behind.** Children that keep the output open after the program's end may go on writing; when they
//! are silent for 5 s, the group is ended and the output counts as broken. Nobody could say whether it is whole.
//!
//! The environment is inherited, except for variables that could hold our own secrets.

mod error;
#[cfg(test)]
mod tests;
mod watch;

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};

pub use self::error::CommandError;
use self::watch::{Cut, Exit, State, Watch};
use crate::environment::is_secret;

/// A program to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Program<'a> {
    /// Its name or path, then its arguments.
    pub argv: &'a [OsString],
    /// How long it may run; the time it waits for its reader counts.
    pub time_limit: Option<Duration>,
    /// What errors call it; the first of `argv` when absent.
    pub label: Option<&'a str>,
    /// Variables it gets besides those that are inherited.
    pub variables: &'a [(OsString, OsString)],
    /// Where it runs; here when absent.
    pub folder: Option<&'a Path>,
    /// What it reads.
    pub input: Input,
    /// Once this is set, reading its output stops it.
    pub cancel: Option<&'a Arc<AtomicBool>>,
}

/// What a program finds at its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    #[default]
    Nothing,
    /// What is written to [`Running::take_input`].
    Piped,
}

impl Program<'_> {
    /// Starts the program. Each line of its standard error goes to `on_line` as it comes, from another thread;
    /// lines longer than 8 KiB come in parts, and broken characters are replaced.
    ///
    /// # Errors
    /// [`CommandError::NoProgram`] and [`CommandError::NotStarted`]; nothing runs then.
    pub fn start(self, on_line: impl FnMut(&str) + Send + 'static) -> Result<Running, CommandError> {
        let (name, arguments) = self.argv.split_first().ok_or(CommandError::NoProgram)?;
        let program = self.label.map_or_else(|| name.to_string_lossy().into_owned(), str::to_owned);
        let not_started = |source| CommandError::NotStarted { program: program.clone(), source };
        let mut command = Command::new(name);
        let input = if self.input == Input::Piped { Stdio::piped() } else { Stdio::null() };
        command.args(arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_secret(variable)) {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().map_err(not_started)?;
        let input = child.stdin.take();
        let group = Pid::from_child(&child);
        let watch = Arc::new(Watch::new(group));
        if let Err(source) = spawn_threads(child, &watch, self.time_limit, on_line) {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = waitpid(Some(group), WaitOptions::empty());
            return Err(CommandError::NotStarted { program, source });
        }
        Ok(Running {
            program,
            time_limit: self.time_limit,
            watch,
            input,
            cancel: self.cancel.map(Arc::clone),
            piece: Vec::new(),
            taken: 0,
        })
    }
}

/// The thread that reaps comes last: until it runs, the program is the caller's to reap.
fn spawn_threads(
    mut child: Child,
    watch: &Arc<Watch>,
    limit: Option<Duration>,
    on_line: impl FnMut(&str) + Send + 'static,
) -> io::Result<()> {
    let spawn = |name: &str, run: Box<dyn FnOnce(&Watch) + Send>| {
        let watch = Arc::clone(watch);
        thread::Builder::new().name(name.into()).spawn(move || run(&watch)).map(drop)
    };
    if let Some(stdout) = child.stdout.take() {
        spawn("bk-program-out", Box::new(move |watch| watch.pump(stdout)))?;
    }
    if let Some(stderr) = child.stderr.take() {
        spawn("bk-program-err", Box::new(move |watch| watch.listen(stderr, on_line)))?;
    }
    let supervisor = spawn("bk-program-limit", Box::new(move |watch| watch.supervise(limit)));
    let reaper = supervisor.and_then(|()| spawn("bk-program-end", Box::new(move |watch| watch.reap(child))));
    if reaper.is_err() {
        watch.forsake();
    }
    reaper
}

/// A program that has been started; reading from it reads its standard output.
///
/// Dropping it ends the program with its whole process group, which may take some seconds.
pub struct Running {
    program: String,
    time_limit: Option<Duration>,
    watch: Arc<Watch>,
    input: Option<ChildStdin>,
    cancel: Option<Arc<AtomicBool>>,
    piece: Vec<u8>,
    /// Bytes of `piece` already handed out.
    taken: usize,
}

impl Running {
    /// Where to write what the program reads, once; dropping it is the end of its input.
    ///
    /// # Errors
    /// Of the writer: `BrokenPipe` when the program does not read any more. Why, [`Self::finish`] knows.
    pub const fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Whether the program was stopped or has failed already.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let state = self.watch.lock();
        state.cut.is_some() || state.exit.is_some_and(|exit| exit != Exit::Code(0))
    }

    /// Confirms that the output was read to its end and is whole: the program exited with 0 within its time.
    ///
    /// # Errors
    /// Every [`CommandError`] but the first two; [`CommandError::Unread`] when the end had not been reached.
    pub fn finish(self) -> Result<(), CommandError> {
        if self.taken < self.piece.len() {
            return Err(CommandError::Unread { program: self.program.clone() });
        }
        self.watch.close();
        let state = self.watch.settle();
        self.failure(&state).map_or(Ok(()), Err)
    }

    /// What is wrong with a program that ended or was stopped.
    fn failure(&self, state: &State) -> Option<CommandError> {
        let program = self.program.clone();
        let stderr = || state.last_words();
        Some(match (state.cut, state.exit) {
            (Some(Cut::TimeLimit), _) => {
                CommandError::TimeLimit { program, limit: self.time_limit.unwrap_or_default(), stderr: stderr() }
            }
            (Some(Cut::WantsTerminal), _) => CommandError::WantsTerminal { program },
            (Some(Cut::Interrupted), _) => CommandError::Interrupted { program },
            (Some(Cut::Unread), _) => CommandError::Unread { program },
            (Some(Cut::Broken(kind)), _) => CommandError::Read { program, source: kind.into() },
            (_, Some(Exit::Code(code))) if code != 0 => CommandError::Failed { program, code, stderr: stderr() },
            (_, Some(Exit::Signal(signal))) => CommandError::Killed { program, signal, stderr: stderr() },
            (Some(Cut::HeldOpen), _) => CommandError::HeldOpen { program },
            (None, Some(Exit::Code(_))) => return None,
            (None, _) => CommandError::Lost { program },
        })
    }

    fn read_error(&self) -> io::Error {
        let state = self.watch.settle();
        let kind = if state.cut == Some(Cut::TimeLimit) { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        self.failure(&state).map_or_else(|| kind.into(), |failure| io::Error::new(kind, failure))
    }
}

impl Read for Running {
    /// # Errors
    /// A [`CommandError`] inside of [`io::Error`] as soon as the output is known not to be whole.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.taken >= self.piece.len() {
            self.taken = 0;
            self.piece = match self.watch.next_piece(self.cancel.as_deref()) {
                Ok(piece) => piece.unwrap_or_default(),
                Err(()) => {
                    self.piece = Vec::new();
                    return Err(self.read_error());
                }
            };
        }
        let mut rest = self.piece.get(self.taken..).unwrap_or_default();
        let length = rest.read(buffer)?;
        self.taken += length;
        Ok(length)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.end();
    }
}
