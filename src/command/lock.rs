//! One run of a profile at a time on this machine.

use std::time::Duration;

use super::Session;
use super::session::data_folder;
use crate::clock::Stopwatch;
use crate::state::{Attempt, Lock};
use crate::ui::{Exit, Failure};

/// How often a lock that is held is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A time to wait, as typed: `0s`, `10min`, `1h`.
pub(super) fn lock_wait(text: &str) -> Result<Duration, String> {
    if text == "0s" {
        return Ok(Duration::ZERO);
    }
    crate::profile::duration(text).ok_or_else(|| "write a time such as 0s, 10min or 1h".to_owned())
}

/// Takes the lock `name` of this machine; waits at most `wait` for the process that holds it.
///
/// # Errors
/// When it is held for longer, when its file cannot be made, and when the user no longer wants to wait.
pub(super) fn take_lock(session: &Session, name: &str, what: &str, wait: Duration) -> Result<Lock, Failure> {
    let folder = data_folder()?;
    let who = format!("process {}", std::process::id());
    let watch = Stopwatch::start();
    let mut told = false;
    loop {
        let holder = match Lock::attempt(&folder, name, &who)? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Held(holder) => holder,
        };
        if session.is_interrupted() {
            return Err(Failure::new(Exit::Interrupted, format!("{what} was waited for no longer"), "run it again"));
        }
        if watch.elapsed() >= wait {
            return Err(Failure::new(
                Exit::Failed,
                format!("{what} is being worked on by {holder}, so nothing was done"),
                "wait until it ends, or give it longer with --lock-wait",
            ));
        }
        if !std::mem::replace(&mut told, true) {
            session.screen.note(&format!("{what} is being worked on by {holder}: waiting until it ends"));
        }
        std::thread::sleep(LOOK_AGAIN.min(wait));
    }
}
