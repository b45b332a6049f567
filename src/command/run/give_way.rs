//! A night's run gives way to whatever else the machine does: processor, disk, and memory when there is too little.

use std::process::{Command, Stdio};

use crate::command::Session;
use crate::profile::IoClass;

/// What the kernel adds to this process's badness when memory runs out: the backup dies before the services it backs
/// up (proc_pid_oom_score_adj(5)).
const OOM_SCORE: i32 = 500;

/// Gives way, as far as the system lets it. What does not work is no reason not to run.
///
/// Before any thread is begun: these are properties of threads, and new ones take them over.
pub(super) fn give_way(session: &Session) {
    let timetable = &session.config.schedule;
    let now = rustix::process::nice(0).unwrap_or(0);
    let wanted = i32::from(timetable.nice);
    if wanted > now && rustix::process::nice(wanted - now).is_err() {
        session.screen.note("the processor's priority cannot be lowered");
    }
    let class: &[&str] = match timetable.io {
        IoClass::Idle => &["-c", "3"],
        IoClass::Low => &["-c", "2", "-n", "7"],
        IoClass::Normal => &[],
    };
    if !class.is_empty() {
        let process = std::process::id().to_string();
        let mut ionice = Command::new("ionice");
        ionice.args(class).args(["-p", &process]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !ionice.status().is_ok_and(|status| status.success()) {
            session.screen.note("the disk's priority cannot be lowered: ionice failed");
        }
    }
    let path = "/proc/self/oom_score_adj";
    let score = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score < OOM_SCORE) {
        // Raising it needs no right; who may not even do that runs as before.
        let _ = std::fs::write(path, OOM_SCORE.to_string());
    }
}
