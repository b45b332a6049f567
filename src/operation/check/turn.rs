//! Whose turn it is: which packs a check reads when it does not read all of them.
//!
//! The longest unread comes first. A pack counts as unread since it was read last or, when that was never, since it was
//! stored. Packs that are equally old are read in the order of their names, the same on every machine: two machines
//! that check at the same time may read some of them twice, one after the other goes on where the first stopped.
//!
//! # Promises
//! "Whole in 90 days" promises that no pack stays unread for longer. A check that is due reads every pack whose promise
//! would be broken before the check after the next one, so that one check may be missed; and at least its share of all
//! bytes, so that no check has much more to read than the others. What was never read counts from the first check that
//! knew of the promise: it is not broken on the day on which it is made.

use std::time::Duration;

use crate::format::index_file::PackName;
use crate::format::node::Timestamp;
use crate::repository::{Readings, is_past};
use crate::size::ByteSize;

/// Promises are counted in days: a check that begins a little later than a week after the last one, or takes some
/// hours, breaks none. In seconds.
pub const GRACE: i64 = 86_400;
/// So far a store's clock may be behind the machine's, in seconds.
const SKEW: i64 = 3600;

/// How much a check may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// So many bytes; the pack that uses them up is still read.
    Bytes(u64),
    /// So long, by a clock that goes on while the machine sleeps; what is being read then is finished.
    Time(Duration),
}

/// A text that is no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no budget: write a size such as 20GiB or a time such as 30min")]
pub struct BudgetError(String);

impl std::str::FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let size = text.parse::<ByteSize>().ok().filter(|size| size.0 > 0).map(|size| Self::Bytes(size.0));
        let time = || {
            let span: jiff::Span = text.trim().parse().ok()?;
            let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
            Duration::try_from(span).ok().filter(|span| !span.is_zero()).map(Self::Time)
        };
        size.or_else(time).ok_or_else(|| BudgetError(text.to_owned()))
    }
}

/// What a check that is due has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// No pack stays unread for longer, in seconds.
    pub seconds: i64,
    /// When the next check is due.
    pub next: Timestamp,
    /// From then to the check after it, in seconds.
    pub interval: i64,
    /// When the last check ended that kept to this promise in full; `None` when that is not known.
    pub last: Option<Timestamp>,
    /// When the first one began; `None` when this is the first.
    pub first: Option<Timestamp>,
}

impl Promise {
    /// Until when a pack has to be read, without the day that is not counted.
    fn until(&self, pack: &Unread, now: Timestamp) -> i64 {
        let since = match pack.read {
            Some(read) => Some(read).max(pack.stored),
            None => pack.stored.max(Some(self.first.unwrap_or(now))),
        };
        since.map_or(i64::MIN, |since| since.seconds.saturating_add(self.seconds))
    }

    /// Whether the promise for a pack is broken at `time`, in seconds since 1970.
    fn is_broken(&self, pack: &Unread, now: Timestamp, time: i64) -> bool {
        self.until(pack, now).saturating_add(GRACE) < time
    }

    /// Until when nothing may become broken that is not read now, in seconds since 1970: one check may be missed,
    /// where the promise leaves room for that.
    fn horizon(&self) -> i64 {
        let margin = self.interval.min(self.seconds.saturating_sub(self.interval)).max(0);
        self.next.seconds.saturating_add(margin)
    }

    /// How many bytes are to be read at least.
    fn share(&self, packs: &[Unread], now: Timestamp) -> u64 {
        let last = self.last.filter(|last| *last <= now).map_or(now.seconds - self.interval, |last| last.seconds);
        let size = |pack: &Unread| u128::from(pack.size);
        let all: u128 = packs.iter().map(size).sum();
        let elapsed = u128::try_from(now.seconds.saturating_sub(last)).unwrap_or(0);
        let share = all.saturating_mul(elapsed) / u128::try_from(self.seconds.max(1)).unwrap_or(1);
        let read_since = |pack: &&Unread| pack.read.is_some_and(|read| read.seconds > last);
        let done: u128 = packs.iter().filter(read_since).map(size).sum();
        u64::try_from(share.min(all).saturating_sub(done)).unwrap_or(u64::MAX)
    }
}

/// A pack and what is known of its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Its name.
    pub name: PackName,
    /// Its length, in bytes.
    pub size: u64,
    /// When it was stored, where the store says so.
    pub stored: Option<Timestamp>,
    /// When it was last read and found whole.
    pub read: Option<Timestamp>,
}

impl Unread {
    /// From what a store lists and facts say. What lies in the future is not believed, and a reading of what was stored
    /// under this name before was one of other bytes.
    #[must_use]
    pub fn new(name: PackName, size: u64, stored: Timestamp, readings: &Readings, now: Timestamp) -> Self {
        let stored = Some(stored).filter(|stored| stored.seconds > 0 && is_past(*stored, now));
        let is_of_it = |read: &Timestamp| stored.is_none_or(|stored| read.seconds + SKEW >= stored.seconds);
        Self { name, size, stored, read: readings.last_read(&name.id).filter(is_of_it) }
    }

    /// Since when it is unread; `None` when nothing is known, which counts as longest.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.read.max(self.stored)
    }
}

/// All packs, the longest unread first.
#[must_use]
pub fn longest_first(mut packs: Vec<Unread>) -> Vec<Unread> {
    packs.sort_unstable_by_key(|pack| (pack.since(), pack.name));
    packs
}

/// The packs that a check that is due reads at `now`, the most urgent first.
#[must_use]
pub fn due(mut packs: Vec<Unread>, promise: &Promise, now: Timestamp) -> Vec<Unread> {
    let mut share = promise.share(&packs, now);
    packs.sort_by_cached_key(|pack| (promise.until(pack, now), pack.since(), pack.name));
    let horizon = promise.horizon();
    let enough = packs.iter().position(|pack| {
        let is_done = share == 0 && !promise.is_broken(pack, now, horizon);
        share = share.saturating_sub(pack.size);
        is_done
    });
    packs.truncate(enough.unwrap_or(packs.len()));
    packs
}

/// The first of `packs` that a budget of bytes is enough for; one of time is looked at while they are read.
#[must_use]
pub fn within(budget: Option<Budget>, mut packs: Vec<Unread>) -> Vec<Unread> {
    let Some(Budget::Bytes(most)) = budget else { return packs };
    let mut bytes = 0_u64;
    let last = packs.iter().position(|pack| {
        bytes = bytes.saturating_add(pack.size);
        bytes >= most
    });
    packs.truncate(last.map_or(packs.len(), |last| last + 1));
    packs
}

/// How long the packs of a repository were not read, after a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// All packs.
    pub packs: u64,
    /// Those of them that were never read.
    pub never_read: u64,
    /// The reading that is longest ago, of those that were read.
    pub oldest_reading: Option<Timestamp>,
    /// Since when every byte was read or stored; `None` when nothing is known of some pack, or there are none.
    pub unread_since: Option<Timestamp>,
    /// What became of the promise, when there is one.
    pub kept: Option<Kept>,
}

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The promise, in seconds.
    pub promise: i64,
    /// Packs that had been unread for too long when the check began.
    pub late: u64,
    /// Packs that were stored before the promise reaches back, and never read.
    pub waiting: u64,
    /// When all of those will have been read, as the checks go on now.
    pub read_by: Option<Timestamp>,
    /// When it will be broken, before the next check can do something about it or because the budget is too small.
    pub broken: Option<Timestamp>,
    /// Bytes that were due and that the budget was not enough for.
    pub left_bytes: u64,
}

impl Kept {
    /// Whether every byte was read in time, and will be until the next check.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.is_on_time() && self.waiting == 0
    }

    /// Whether nothing was late and nothing will be: what waits for its first reading may.
    #[must_use]
    pub const fn is_on_time(&self) -> bool {
        self.late == 0 && self.broken.is_none()
    }
}

/// What a check was to read and what it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// When it began.
    pub began: Timestamp,
    /// Packs that were unread for too long then.
    pub late: u64,
    /// Bytes of the packs that were due and not read.
    pub left_bytes: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// How many packs have been unread for too long at `now`.
#[must_use]
pub fn late(packs: &[Unread], promise: &Promise, now: Timestamp) -> u64 {
    packs.iter().filter(|pack| promise.is_broken(pack, now, now.seconds)).count() as u64
}

/// How things stand with `packs` after a check.
#[must_use]
pub fn standing(packs: &[Unread], promise: Option<&Promise>, done: &Done) -> Standing {
    Standing {
        packs: packs.len() as u64,
        never_read: packs.iter().filter(|pack| pack.read.is_none()).count() as u64,
        oldest_reading: packs.iter().filter_map(|pack| pack.read).min(),
        unread_since: packs.iter().map(Unread::since).min().flatten(),
        kept: promise.map(|promise| kept(packs, promise, done)),
    }
}

fn kept(packs: &[Unread], promise: &Promise, done: &Done) -> Kept {
    let now = done.began;
    let reaches_back = now.seconds.saturating_sub(promise.seconds.saturating_add(GRACE));
    let is_waiting =
        |pack: &&Unread| pack.read.is_none() && pack.stored.is_none_or(|stored| stored.seconds < reaches_back);
    let (mut waiting, mut bytes) = (0, 0_u64);
    for pack in packs.iter().filter(is_waiting) {
        waiting += 1;
        bytes = bytes.saturating_add(pack.size);
    }
    let read_by = (waiting > 0).then(|| read_by(packs, bytes, promise, done));
    let last = promise.first.unwrap_or(now).seconds.saturating_add(promise.seconds);
    let too_slow = read_by.filter(|by| done.left_bytes > 0 && by.seconds > last.saturating_add(GRACE));
    let next = promise.next.seconds;
    let broken = packs.iter().filter(|pack| promise.is_broken(pack, now, next)).map(|pack| promise.until(pack, now));
    let broken = broken.min().or_else(|| too_slow.map(|_| last)).map(|seconds| Timestamp { seconds, nanos: 0 });
    Kept { promise: promise.seconds, late: done.late, waiting, read_by, broken, left_bytes: done.left_bytes }
}

/// When `bytes` that wait for their first reading will have been read, at the latest.
fn read_by(packs: &[Unread], bytes: u64, promise: &Promise, done: &Done) -> Timestamp {
    let all: u128 = packs.iter().map(|pack| u128::from(pack.size)).sum();
    let interval = promise.interval.max(1);
    let share = all * u128::try_from(interval).unwrap_or(1) / u128::try_from(promise.seconds.max(1)).unwrap_or(1);
    let each = if done.left_bytes > 0 { u128::from(done.read_bytes) } else { share };
    let checks = u128::from(bytes).div_ceil(each.max(1)).saturating_sub(1);
    let wait = i64::try_from(checks).unwrap_or(i64::MAX).saturating_mul(interval);
    let by = promise.next.seconds.saturating_add(wait);
    // With nothing in the way what is promised is what is done.
    let last = promise.first.unwrap_or(done.began).seconds.saturating_add(promise.seconds).max(promise.next.seconds);
    Timestamp { seconds: if done.left_bytes > 0 { by } else { by.min(last) }, nanos: 0 }
}
