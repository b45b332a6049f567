//! What was read is noted in the repository while the check goes on, so that the next one goes on where this one
//! stopped, on whichever machine: one object of facts for a stretch of time or bytes.

use std::sync::Mutex;
use std::time::Duration;

use super::packs::lock;
use super::turn::{Budget, Promise};
use crate::clock::Clock;
use crate::format::fact::{Fact, FactKind, PackStart, Packs};
use crate::format::index_file::PackName;
use crate::format::node::Timestamp;
use crate::repository::{Repository, add_facts};

/// After how much it is noted what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// After so long.
    pub time: Duration,
    /// After so many bytes.
    pub bytes: u64,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { time: Duration::from_secs(600), bytes: 64 << 30 }
    }
}

/// Which packs a check reads that notes what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Those of its options.
    OfOptions,
    /// All, the longest unread first.
    LongestFirst,
    /// As many as a promise asks for.
    Due(Promise),
}

/// How a check goes on where another stopped.
#[derive(Clone, Copy)]
pub struct Noting<'a> {
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// The name of this machine.
    pub host: &'a str,
    /// Which packs are read.
    pub turn: Turn,
    /// How much is read at most.
    pub budget: Option<Budget>,
    /// How often it is noted.
    pub stretch: Stretch,
    /// Hears how many packs are going to be read, and how many bytes those are, before they are.
    pub announce: &'a dyn Fn(u64, u64),
}

/// What was read and is not noted yet.
struct Pending {
    starts: Vec<PackStart>,
    bytes: u64,
    began: Timestamp,
    since: Duration,
    trouble: Option<String>,
}

/// Notes what is read.
pub(super) struct Notes<'a> {
    repository: &'a Repository,
    clock: &'a dyn Clock,
    host: &'a str,
    budget: Option<Budget>,
    stretch: Stretch,
    pending: Mutex<Pending>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(repository: &'a Repository, noting: &Noting<'a>) -> Self {
        let Noting { clock, host, budget, stretch, .. } = *noting;
        let (began, since) = (clock.wall(), clock.boottime());
        let pending = Pending { starts: Vec::new(), bytes: 0, began, since, trouble: None };
        Self { repository, clock, host, budget, stretch, pending: Mutex::new(pending) }
    }

    /// Until when packs may be begun, by the clock since the machine was started.
    pub(super) fn until(&self) -> Option<Duration> {
        match self.budget {
            Some(Budget::Time(time)) => Some(lock(&self.pending).since.saturating_add(time)),
            _ => None,
        }
    }

    pub(super) fn is_over(&self, until: Option<Duration>) -> bool {
        until.is_some_and(|until| self.clock.boottime() >= until)
    }

    /// A pack was read and found whole.
    pub(super) fn whole(&self, name: &PackName, size: u64) {
        let mut pending = lock(&self.pending);
        pending.starts.push(Packs::start(&name.id));
        pending.bytes = pending.bytes.saturating_add(size);
        let elapsed = self.clock.boottime().saturating_sub(pending.since);
        if pending.bytes >= self.stretch.bytes || elapsed >= self.stretch.time {
            self.write(&mut pending);
        }
    }

    /// Notes the rest; gives why something could not be noted.
    pub(super) fn finish(&self) -> Option<String> {
        let mut pending = lock(&self.pending);
        self.write(&mut pending);
        pending.trouble.take()
    }

    /// The time of the fact is that of the first of its packs: none of them was read before.
    fn write(&self, pending: &mut Pending) {
        if pending.starts.is_empty() {
            return;
        }
        pending.starts.sort_unstable();
        let fact = Fact {
            kind: FactKind::PackRead,
            time: pending.began,
            host: self.host.to_owned(),
            snapshot: None,
            pack: Some(Packs::Starts(pending.starts.clone())),
            detail: None,
        };
        match add_facts(self.repository, &[fact]) {
            Ok(_) => {
                pending.starts.clear();
                pending.trouble = None;
                pending.began = self.clock.wall();
            }
            // Tried again with the next stretch: what is away now may come back.
            Err(error) => pending.trouble = Some(error.to_string()),
        }
        pending.bytes = 0;
        pending.since = self.clock.boottime();
    }
}
