//! What is due: which repositories a timer has to check now, and what their promises ask for.

use crate::clock::Clock as _;
use crate::clock::Timestamp;
use crate::command::Session;
use crate::command::record::Record;
use crate::command::session::Target;
use crate::operation::check::{Promise, Turn};
use crate::state::{Done, Verb};
use crate::ui::{Exit, Failure};

/// Whether a repository is due.
pub(super) enum Due {
    /// It is, and these packs are read.
    Now(Turn),
    /// Not before this.
    Later(Timestamp),
}

/// Looks whether the configuration says when checks are due.
///
/// # Errors
/// When it does not.
pub(super) fn is_planned(session: &Session) -> Result<(), Failure> {
    session.config.schedule.check.as_ref().map(|_| ()).ok_or_else(|| {
        Failure::usage(
            "nothing says when checks are due",
            "say when: `[schedule]` with `check = \"0 5 * * 0\"`; `bk check` without --due checks at once",
        )
    })
}

/// Whether `target` is due. One of which nothing is remembered is.
pub(super) fn due(session: &Session, record: &Record<'_>, target: &Target) -> Due {
    let timetable = &session.config.schedule;
    let (now, zone) = (session.clock.wall(), session.config.zone());
    let next = timetable.check.as_ref().and_then(|check| {
        let next = check.next_after(now, &zone)?;
        Some((check.latest_until(now, &zone), next, check.next_after(next, &zone).unwrap_or(next)))
    });
    let Some((latest, next, after)) = next else { return Due::Now(Turn::OfOptions) };
    let remembered = record.with(|state, _| state.since(Verb::Check, None, &target.name, 0)).unwrap_or_default();
    let past: Vec<&Done> = remembered.iter().filter(|done| done.began <= now.seconds).collect();
    let seconds = timetable.promises.get(&target.name).and_then(|promise| promise.seconds());
    let in_time = |done: &&&Done| latest.is_some_and(|latest| done.began >= latest.seconds);
    let is_restic = target.is_restic();
    let is_enough = |done: &&&Done| is_whole(done, is_restic) && seconds.is_none_or(|seconds| keeps(done, seconds));
    if past.iter().filter(in_time).any(|done| is_enough(&done)) {
        return Due::Later(next);
    }
    Due::Now(match seconds {
        None => Turn::OfOptions,
        Some(seconds) => {
            let at = |seconds| Timestamp { seconds, nanos: 0 };
            // After damage what was found damaged is still the longest unread, and is read again.
            let last = past.iter().rev().find(|done| is_enough(done));
            let first = past.iter().find(|done| is_of(done, seconds));
            Turn::Due(Promise {
                seconds,
                next,
                interval: after.seconds.saturating_sub(next.seconds).max(1),
                last: last.map(|done| at(done.began.saturating_add(done.seconds.ceil() as i64).min(now.seconds))),
                first: first.map(|done| at(done.began)),
            })
        }
    })
}

/// Whether a check looked at the structure and found nothing wrong. In restic's format it always does, and notes no packs.
fn is_whole(done: &Done, is_restic: bool) -> bool {
    let is_well = [Exit::Complete, Exit::Overdue].iter().any(|exit| exit.code() == done.exit);
    is_well && (is_restic || done.figures.never_read_packs.is_some())
}

/// Whether a check kept to a promise of so many seconds.
fn is_of(done: &Done, seconds: i64) -> bool {
    done.figures.promise_seconds.is_some_and(|promise| i64::try_from(promise) == Ok(seconds))
}

/// Likewise, and read all that was due.
fn keeps(done: &Done, seconds: i64) -> bool {
    is_of(done, seconds) && done.figures.left_bytes == Some(0)
}
