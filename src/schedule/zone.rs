//! From the wall clock of a zone to moments, and what a change of that clock does to a schedule.

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::{Schedule, Wall};
use crate::clock::Timestamp;

/// What a change of the clock does to a time that a schedule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// The clock skips it: it comes at the first moment after the gap.
    Skipped,
    /// The clock shows it twice: it comes the first time only.
    Doubled,
}

/// A time of a schedule in an hour that the clock skips or shows twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockChange {
    /// As the schedule names it.
    pub wall: DateTime,
    /// When it comes.
    pub comes: Timestamp,
    /// What the clock does.
    pub shift: Shift,
}

/// The nearest moment that the calendar has.
fn instant(seconds: i64) -> Instant {
    Instant::from_second(seconds).unwrap_or(if seconds < 0 { Instant::MIN } else { Instant::MAX })
}

/// What the clock of `zone` is ahead of UTC, in seconds.
fn offset(zone: &TimeZone, seconds: i64) -> i64 {
    i64::from(zone.to_offset(instant(seconds)).seconds())
}

fn civil(wall: Wall) -> DateTime {
    Offset::UTC.to_datetime(instant(wall))
}

/// The last change of the clock that is not after `seconds`.
fn change_until(zone: &TimeZone, seconds: i64) -> Option<i64> {
    zone.preceding(instant(seconds.saturating_add(1))).next().map(|change| change.timestamp().as_second())
}

/// The first change of the clock after `seconds`.
fn change_after(zone: &TimeZone, seconds: i64) -> Option<i64> {
    zone.following(instant(seconds)).next().map(|change| change.timestamp().as_second())
}

/// The moment of a time on the wall clock: of one that is skipped the first after the gap, of one that is shown twice
/// the first. Later times never have earlier moments.
fn moment(zone: &TimeZone, wall: Wall) -> i64 {
    match zone.to_ambiguous_timestamp(civil(wall)).offset() {
        AmbiguousOffset::Unambiguous { offset } => wall - i64::from(offset.seconds()),
        AmbiguousOffset::Fold { before, .. } => wall - i64::from(before.seconds()),
        AmbiguousOffset::Gap { before, .. } => {
            let beyond = wall - i64::from(before.seconds());
            change_until(zone, beyond).unwrap_or(beyond)
        }
    }
}

impl Schedule {
    pub(super) fn next_once(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let mut wall = after.saturating_add(offset(zone, after));
        loop {
            // Those that the second of two equal hours shows again have come already.
            wall = self.next_wall(wall)?;
            let comes = moment(zone, wall);
            if comes > after {
                return Some(comes);
            }
        }
    }

    pub(super) fn next_again(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let mut from = after.saturating_add(1);
        loop {
            let ahead = offset(zone, from);
            let comes = self.next_wall(from.saturating_add(ahead).saturating_sub(1))? - ahead;
            match change_after(zone, from) {
                Some(change) if change <= comes => from = change,
                _ => return Some(comes),
            }
        }
    }

    pub(super) fn latest_once(&self, now: i64, zone: &TimeZone) -> Option<i64> {
        // In the second of two equal hours, all of the first is over.
        let doubled = change_until(zone, now).and_then(|change| {
            let (before, after) = (offset(zone, change - 1), offset(zone, change));
            (now < change + before - after).then_some(change + before)
        });
        let end = doubled.unwrap_or_else(|| now.saturating_add(offset(zone, now)).saturating_add(1));
        self.previous_wall(end).map(|wall| moment(zone, wall))
    }

    pub(super) fn latest_again(&self, now: i64, zone: &TimeZone) -> Option<i64> {
        let mut until = now;
        loop {
            let ahead = offset(zone, until);
            let comes = self.previous_wall(until.saturating_add(ahead).saturating_add(1))? - ahead;
            match change_until(zone, until) {
                Some(change) if change > comes => until = change - 1,
                _ => return Some(comes),
            }
        }
    }

    /// The times after `from`, not after `until`, that a change of the clock moves or would double, in their order.
    /// None of a schedule that comes again and again: it goes by the hours that there are.
    #[must_use]
    pub fn clock_changes(&self, from: Timestamp, until: Timestamp, zone: &TimeZone) -> Vec<ClockChange> {
        let mut found = Vec::new();
        let mut change = change_after(zone, from.seconds);
        while let Some(at) = change.filter(|at| *at <= until.seconds && !self.comes_again()) {
            let (before, after) = (offset(zone, at - 1), offset(zone, at));
            let shift = if after > before { Shift::Skipped } else { Shift::Doubled };
            let hours = at + before.min(after)..at + before.max(after);
            let mut wall = self.next_wall(hours.start - 1);
            while let Some(time) = wall.filter(|time| hours.contains(time)) {
                let comes = Timestamp { seconds: moment(zone, time), nanos: 0 };
                found.push(ClockChange { wall: civil(time), comes, shift });
                wall = self.next_wall(time);
            }
            change = change_after(zone, at);
        }
        found
    }
}
