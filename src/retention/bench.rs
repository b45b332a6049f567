//! What the tests of this folder describe groups with.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Candidate, Decision, Keep, Pin, Rules, Value, decide};
use crate::format::node::Timestamp;
use crate::id::SnapshotId;

/// `2026-03-01T02:00:00Z`.
pub(super) fn time(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Timestamp { seconds: instant.as_second(), nanos: u32::try_from(instant.subsec_nanosecond()).unwrap() }
}

/// `daily 3, within 30d, tags deploy`.
pub(super) fn keep(rules: &str) -> Keep {
    let mut keep = Keep::default();
    for rule in rules.split(", ") {
        let (name, value) = rule.split_once(' ').unwrap();
        keep.set(name, Value::Text(value)).unwrap();
    }
    keep
}

/// What the law says in Berlin since 1996, without the files of the machine.
pub(super) fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// A snapshot with tags of its own.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) id: u8,
    pub(super) start: Timestamp,
    pub(super) complete: bool,
    pub(super) tags: Vec<String>,
    pub(super) pin: Pin,
    pub(super) verified: bool,
    pub(super) stored: Option<Timestamp>,
    pub(super) previous: Option<Timestamp>,
}

impl Made {
    /// A start, then any of `incomplete`, `verified`, `tag=x`, `pin`, `until=…`, `stored=…` and `previous=…`.
    fn read(id: u8, text: &str) -> Self {
        let mut words = text.split(' ');
        let start = time(words.next().unwrap());
        let mut made = Self {
            id,
            start,
            complete: true,
            tags: Vec::new(),
            pin: Pin::None,
            verified: false,
            stored: None,
            previous: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("tag", tag)) => made.tags.push(tag.into()),
                Some(("until", end)) => made.pin = Pin::Until(time(end)),
                Some(("stored", at)) => made.stored = Some(time(at)),
                Some(("previous", at)) => made.previous = Some(time(at)),
                None if word == "incomplete" => made.complete = false,
                None if word == "verified" => made.verified = true,
                None if word == "pin" => made.pin = Pin::Forever,
                _ => panic!("{word}"),
            }
        }
        made
    }

    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            id: SnapshotId([self.id; 32]),
            start: self.start,
            complete: self.complete,
            tags: &self.tags,
            pin: self.pin,
            verified: self.verified,
            stored: self.stored,
            previous: self.previous,
        }
    }
}

/// The rules of a test: no floor but one, no limit of age, UTC, and a time of day after all.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    pub(super) keep: Keep,
    pub(super) floor: u32,
    pub(super) max_age: Option<Duration>,
    pub(super) even_if_overdue: bool,
    pub(super) zone: TimeZone,
    pub(super) now: Timestamp,
}

impl Bench {
    pub(super) fn new(rules: &str) -> Self {
        let now = time("2030-01-01T00:00:00Z");
        Self { keep: keep(rules), floor: 1, max_age: None, even_if_overdue: false, zone: TimeZone::UTC, now }
    }

    pub(super) fn decide(&self, made: &[Made]) -> Decision {
        let candidates: Vec<Candidate<'_>> = made.iter().map(Made::candidate).collect();
        let Self { floor, max_age, even_if_overdue, now, .. } = *self;
        decide(&candidates, &Rules { keep: &self.keep, floor, max_age, even_if_overdue, zone: &self.zone, now })
    }

    pub(super) fn decide_about(&self, snapshots: &[&str]) -> Decision {
        let made = snapshots.iter().zip(0..).map(|(text, id)| Made::read(id, text));
        self.decide(&made.collect::<Vec<_>>())
    }

    /// The reasons for each, or nothing where it is dropped.
    pub(super) fn reasons(&self, snapshots: &[&str]) -> Vec<String> {
        let words = |reasons: &[super::Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.decide_about(snapshots).verdicts.iter().map(|verdict| words(&verdict.reasons)).collect()
    }
}
