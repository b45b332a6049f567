//! The threads around a running program and the state they share: one reads its output, one its messages, one
//! waits for its end, one sees to its time limit.
//!
//! The leader of the process group is reaped last. Until then its zombie keeps the group's number from being
//! given to others, so that a signal can never hit a stranger.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};

/// Bytes read from the program at once: what a pipe holds.
const PIECE_LEN: usize = 64 << 10;
/// Pieces read ahead of the consumer.
const PIECES_AHEAD: usize = 8;
/// How much of the end of standard error is kept, in bytes.
pub(super) const TAIL_LEN: usize = 64 << 10;
/// The longest line handed on whole, in bytes; longer ones come in parts.
const MAX_LINE_LEN: usize = 8 << 10;
/// How long an output may stay open and silent after the program has ended.
const LINGER: Duration = Duration::from_millis(if cfg!(test) { 700 } else { 5000 });
/// How long the group has to end by itself after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_millis(if cfg!(test) { 700 } else { 3000 });
/// How long the last messages are waited for once the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a waiting reader looks whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How long a killed program is waited for; one stuck in the kernel is reaped later by its thread.
const REAP: Duration = Duration::from_secs(5);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
    Unknown,
}

/// Why a program is stopped, or its output not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    TimeLimit,
    HeldOpen,
    WantsTerminal,
    Unread,
    Interrupted,
    Broken(ErrorKind),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pieces: VecDeque<Vec<u8>>,
    /// Counts every time the reading thread gets on; silence is when it does not.
    activity: u64,
    waits_for_room: bool,
    stdout_ended: bool,
    stderr_ended: bool,
    tail: VecDeque<u8>,
    pub(super) exit: Option<Exit>,
    pub(super) cut: Option<Cut>,
    /// Nobody reads the output any more.
    abandoned: bool,
    /// No signal is sent any more: the leader may be reaped.
    released: bool,
    reaped: bool,
}

impl State {
    /// The last messages, with broken characters replaced.
    pub(super) fn last_words(&self) -> String {
        let (front, back) = self.tail.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    fn is_read_to_the_end(&self) -> bool {
        self.stdout_ended && self.pieces.is_empty()
    }

    fn is_over(&self) -> bool {
        self.exit.is_some() && self.stdout_ended && self.stderr_ended
    }
}

/// What the threads of one program share.
pub(super) struct Watch {
    group: Pid,
    state: Mutex<State>,
    changed: Condvar,
}

impl Watch {
    pub(super) fn new(group: Pid) -> Self {
        Self { group, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_while(&self, mut holds: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), |state| holds(state)).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for at most `limit`; without one, for as long as it takes.
    fn wait_while_within(
        &self,
        limit: Option<Duration>,
        mut holds: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let Some(limit) = limit else { return self.wait_while(holds) };
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |state| holds(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The next piece of output; `None` at a good end: all was read and the program exited with 0.
    ///
    /// Once `cancel` is set the program is stopped, and its output is not whole.
    pub(super) fn next_piece(&self, cancel: Option<&AtomicBool>) -> Result<Option<Vec<u8>>, ()> {
        let waits = |state: &State| {
            state.cut.is_none() && state.pieces.is_empty() && !(state.stdout_ended && state.exit.is_some())
        };
        let mut state = loop {
            let state = self.wait_while_within(cancel.map(|_| LOOK_UP), waits);
            let cancelled = cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
            if cancelled && state.cut.is_none() {
                drop(state);
                self.update(|state| state.cut = Some(Cut::Interrupted));
            } else if !waits(&state) {
                break state;
            }
        };
        if state.cut.is_some() {
            return Err(());
        }
        let piece = state.pieces.pop_front();
        self.changed.notify_all();
        match (&piece, state.exit) {
            (None, Some(Exit::Code(0))) | (Some(_), _) => Ok(piece),
            (None, _) => Err(()),
        }
    }

    /// Says that no more output is wanted; what is unread makes a good end a bad one.
    pub(super) fn close(&self) {
        self.update(|state| {
            let failed = state.exit.is_some_and(|exit| exit != Exit::Code(0));
            if !failed && !state.is_read_to_the_end() {
                state.cut.get_or_insert(Cut::Unread);
            }
        });
    }

    /// Waits for the end of the program, and a moment for its last messages.
    pub(super) fn settle(&self) -> MutexGuard<'_, State> {
        drop(self.wait_while(|state| state.exit.is_none() && state.cut.is_none()));
        self.wait_while_within(Some(LAST_WORDS), |state| !state.stderr_ended)
    }

    /// Ends what is left of the process group, and reaps the program.
    pub(super) fn end(&self) {
        self.update(|state| state.abandoned = true);
        self.stop_group();
        self.update(|state| state.released = true);
        drop(self.wait_while_within(Some(REAP), |state| !state.reaped));
    }

    /// Lets the threads of a program go that could not be watched in full.
    pub(super) fn forsake(&self) {
        self.update(|state| {
            state.abandoned = true;
            state.released = true;
        });
    }

    /// SIGTERM to the whole group, and SIGKILL when it is not gone after a moment.
    fn stop_group(&self) {
        self.signal(Signal::TERM);
        // A stopped process takes its SIGTERM only when it goes on.
        self.signal(Signal::CONT);
        drop(self.wait_while_within(Some(GRACE), |state| !state.is_over() && !state.released));
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let state = self.lock();
        if !state.released {
            // Fails only when nobody is left in the group.
            let _ = kill_process_group(self.group, signal);
        }
    }

    /// Reads the program's output ahead of its consumer, until it ends or is abandoned.
    pub(super) fn pump(&self, mut stdout: impl Read) {
        let result = loop {
            let mut piece = vec![0; PIECE_LEN];
            match stdout.read(&mut piece) {
                Ok(0) => break Ok(()),
                Ok(length) => piece.truncate(length),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => break Err(error.kind()),
            }
            self.update(|state| {
                state.activity += 1;
                state.waits_for_room = true;
            });
            let mut state = self.wait_while(|state| state.pieces.len() >= PIECES_AHEAD && !state.abandoned);
            if state.abandoned {
                break Ok(());
            }
            state.pieces.push_back(piece);
            state.activity += 1;
            state.waits_for_room = false;
            self.changed.notify_all();
        };
        drop(stdout);
        self.update(|state| {
            if let Err(kind) = result {
                state.cut.get_or_insert(Cut::Broken(kind));
            }
            state.stdout_ended = true;
        });
    }

    /// Keeps the end of the program's messages and hands every line to `on_line`.
    pub(super) fn listen(&self, mut stderr: impl Read, mut on_line: impl FnMut(&str)) {
        let _ended = Ended(self);
        let mut buffer = vec![0; PIECE_LEN];
        let mut line = Vec::new();
        loop {
            let length = match stderr.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let heard = buffer.get(..length).unwrap_or_default();
            {
                let mut state = self.lock();
                state.tail.extend(heard);
                let excess = state.tail.len().saturating_sub(TAIL_LEN);
                state.tail.drain(..excess);
            }
            for byte in heard {
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if *byte == b'\n' || line.len() >= MAX_LINE_LEN {
                    on_line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            on_line(&String::from_utf8_lossy(&line));
        }
    }

    /// Waits for the end of the program, tells it, and reaps the program once no signal is sent any more.
    pub(super) fn reap(&self, mut child: Child) {
        let exit = loop {
            match waitid(
                WaitId::Pid(self.group),
                WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT,
            ) {
                Ok(Some(status)) if status.stopped() => self.note_stop(&status),
                Ok(Some(status)) => break exit_of(&status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => break Exit::Unknown,
            }
        };
        self.update(|state| state.exit = Some(exit));
        drop(self.wait_while(|state| !state.released));
        let _ = child.wait();
        self.update(|state| state.reaped = true);
    }

    /// A background group that touches the terminal is stopped for good; other stops are somebody's wish.
    fn note_stop(&self, status: &WaitIdStatus) {
        let terminal = [Signal::TTIN.as_raw(), Signal::TTOU.as_raw()];
        if status.stopping_signal().is_some_and(|signal| terminal.contains(&signal)) {
            self.update(|state| {
                state.cut.get_or_insert(Cut::WantsTerminal);
            });
        }
        // Takes the report of the stop, or the next wait would return it again.
        let _ = waitid(WaitId::Pid(self.group), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
    }

    /// Sees to the time limit, and that nothing the program left behind keeps its output open.
    ///
    /// What is still being written after the program's end may come for as long again as `limit`.
    pub(super) fn supervise(&self, limit: Option<Duration>) {
        let mut state =
            self.wait_while_within(limit, |state| state.exit.is_none() && state.cut.is_none() && !state.abandoned);
        if state.exit.is_none() && !state.abandoned {
            state.cut.get_or_insert(Cut::TimeLimit);
        }
        let mut patience = limit;
        while state.cut.is_none() && !state.stdout_ended && !state.abandoned {
            let before = state.activity;
            drop(state);
            state = self.wait_while_within(Some(LINGER), |state| !state.stdout_ended && !state.abandoned);
            if state.stdout_ended || state.abandoned || state.waits_for_room {
                continue;
            }
            patience = patience.map(|left| left.saturating_sub(LINGER));
            if state.activity == before {
                state.cut = Some(Cut::HeldOpen);
            } else if patience.is_some_and(|left| left.is_zero()) {
                state.cut = Some(Cut::TimeLimit);
            }
        }
        let stop = state.cut.is_some() && !state.abandoned;
        drop(state);
        self.changed.notify_all();
        if stop {
            self.stop_group();
        }
    }
}

/// Tells the end of the messages even when the one who hears them panics.
struct Ended<'a>(&'a Watch);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.update(|state| state.stderr_ended = true);
    }
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    let code = status.exit_status().map(Exit::Code);
    code.or_else(|| status.terminating_signal().map(Exit::Signal)).unwrap_or(Exit::Unknown)
}
