//! What a person expects who knows the story and the manual: which snapshots there are, how things stand, who is told.
//!
//! It shares nothing with the program. Sentences in quotes are those of bk.toml(5).

use std::collections::{BTreeMap, BTreeSet};

use super::time::{DAY, NANO, days_before};

pub const PROFILES: [&str; 2] = ["shop", "wiki"];
/// With the days that each keeps by default.
pub const REPOSITORIES: [(&str, i64); 2] = [("b2", 90), ("ssd", 30)];

/// `max-age`.
const MAX_AGE: i64 = 26 * 3600;
/// What is overdue is told about once a day; whoever looks again sooner says nothing.
const AGAIN: i64 = 20 * 3600;

/// A snapshot as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub night: u64,
    /// When its run began, in nanoseconds since 1970.
    pub start: i64,
    pub complete: bool,
    /// It is unlike those before, and nobody has accepted it.
    pub strange: bool,
    /// The newest complete one before it, when it was made.
    pub previous: Option<i64>,
}

/// What a night did to a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    Complete,
    /// The command before it failed: there is no snapshot.
    Refused,
    /// The dump failed: what there is besides is kept.
    WithoutDump,
    /// Complete, but unlike the nights before.
    Strange,
}

impl Came {
    pub fn code(self) -> i64 {
        match self {
            Self::Complete => 0,
            Self::Refused | Self::WithoutDump => 4,
            Self::Strange => 9,
        }
    }

    pub const fn has_snapshot(self) -> bool {
        !matches!(self, Self::Refused)
    }
}

/// What forgetting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    pub code: i64,
    pub kept: usize,
    pub gone: usize,
}

/// Event, profile, repository.
pub type Told = (&'static str, Option<&'static str>, Option<&'static str>);

/// One profile in one repository.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
    /// What the last run came to here, by its exit code.
    pub last: i64,
    pub last_at: i64,
    pub forgotten: Option<Forgotten>,
    /// Whether the last forgetting waited for somebody to accept a snapshot.
    pub waits: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub places: BTreeMap<(&'static str, &'static str), Place>,
    /// What is told and not over, with the time when it was told.
    told: BTreeMap<Told, i64>,
    digest: Option<i64>,
    pub is_away: bool,
}

impl Place {
    pub fn newest_complete(&self) -> Option<&Snapshot> {
        self.snapshots.iter().rev().find(|snapshot| snapshot.complete)
    }

    fn is_overdue(&self, now: i64) -> bool {
        self.newest_complete().is_some_and(|newest| now - newest.start / NANO > MAX_AGE)
    }

    /// How it stands, in the word of `bk status`; `asked`: the repository itself was.
    pub fn verdict(&self, now: i64, asked: bool) -> &'static str {
        let is_strange = if asked { self.snapshots.iter().any(|one| one.strange) } else { self.waits };
        match self.last {
            _ if self.newest_complete().is_none() => "never",
            _ if self.is_overdue(now) => "overdue",
            _ if is_strange => "anomaly",
            4 if self.snapshots.last().is_some_and(|newest| newest.start / NANO >= self.last_at) => "incomplete",
            4 => "failed",
            7 => "behind",
            _ => "fine",
        }
    }

    /// Lets go of what is older than `days`, as the manual says under WHAT IS KEPT.
    fn forget(&mut self, now: i64, days: i64) {
        let all = self.snapshots.len();
        self.waits = self.snapshots.iter().any(|one| one.strange);
        // "Nothing of a profile is forgotten as long as …"
        let code = match (self.waits, self.is_overdue(now)) {
            (true, _) => 9,
            (_, true) => 8,
            _ => 0,
        };
        if code == 0 {
            let kept = kept(&self.snapshots, days);
            self.snapshots.retain(|one| kept.contains(&one.start));
        }
        let kept = self.snapshots.len();
        self.forgotten = Some(Forgotten { code, kept, gone: all - kept });
    }
}

/// The starts of what stays.
fn kept(all: &[Snapshot], days: i64) -> BTreeSet<i64> {
    let complete: Vec<&Snapshot> = all.iter().filter(|one| one.complete).collect();
    let Some(newest) = complete.last() else { return all.iter().map(|one| one.start).collect() };
    let mut stays = BTreeSet::new();
    // "the newest 3 complete snapshots, whatever the rules say"
    stays.extend(complete.iter().rev().take(3).map(|one| one.start));
    // "incomplete snapshots that are newer than the newest complete one"
    stays.extend(all.iter().filter(|one| !one.complete && one.start > newest.start).map(|one| one.start));
    // "Spans are counted back from the newest complete snapshot", or, until backups have gone on for 2 days after a
    // break, "from the last snapshot before the break".
    let mut reference = newest.start;
    for place in breaks(&complete) {
        let (before, after) = (complete[place - 1].start, complete[place].start);
        let goes_on = newest.start - after >= 2 * DAY * NANO;
        if !goes_on {
            reference = reference.min(before);
        }
        // "The snapshots next to a break stay for 30 days more."
        if !goes_on || newest.start - after < 30 * DAY * NANO {
            stays.extend(complete[place.saturating_sub(3)..=place].iter().map(|one| one.start));
        }
    }
    // "Every snapshot of this span, the incomplete ones too."
    let from = days_before(reference, days);
    stays.extend(all.iter().filter(|one| one.start >= from).map(|one| one.start));
    stays
}

/// Places after "a time without a complete snapshot, longer than 2 days and longer than 4 times what was usual just
/// before it".
fn breaks(complete: &[&Snapshot]) -> Vec<usize> {
    let distance = |place: usize| complete[place].previous.map(|previous| complete[place].start - previous);
    let is_break = |place: &usize| {
        let usual = [1, 2].into_iter().filter_map(|back| distance(place.checked_sub(back)?)).min().unwrap_or(0);
        distance(*place).is_some_and(|long| long > 2 * DAY * NANO && long > 4 * usual)
    };
    (1..complete.len()).filter(is_break).collect()
}

impl Model {
    pub fn place(&self, profile: &'static str, repository: &'static str) -> &Place {
        &self.places[&(profile, repository)]
    }

    fn reaches(&self, repository: &str) -> bool {
        !(self.is_away && repository == "b2")
    }

    /// A night that backed up these, in this order. `starts` are those of the new snapshots, as the program reports them.
    pub fn run(&mut self, night: u64, now: i64, came: &[(&'static str, Came)], starts: &BTreeMap<&str, i64>) {
        for &(profile, came) in came {
            let before = self.places.get(&(profile, "ssd")).and_then(Place::newest_complete).map(|newest| newest.start);
            let new = came.has_snapshot().then(|| Snapshot {
                night,
                start: starts[profile],
                complete: came != Came::WithoutDump,
                strange: came == Came::Strange,
                previous: before,
            });
            for (repository, _) in REPOSITORIES {
                let reaches = self.reaches(repository);
                let near = self.places.get(&(profile, "ssd")).map(|near| near.snapshots.clone()).unwrap_or_default();
                let place = self.places.entry((profile, repository)).or_default();
                place.last_at = now;
                place.last = if reaches || new.is_none() { came.code() } else { 7 };
                if !reaches || new.is_none() {
                    continue;
                }
                // "the next run brings it up to date from the others"
                let newest = place.snapshots.last().map(|newest| newest.start);
                if newest.is_some() {
                    place.snapshots.extend(near.into_iter().filter(|one| Some(one.start) > newest));
                }
                place.snapshots.extend(new.clone());
            }
            for (repository, days) in REPOSITORIES {
                if self.reaches(repository) && new.is_some() {
                    self.places.get_mut(&(profile, repository)).unwrap().forget(now, days);
                }
            }
        }
    }

    /// The exit code of a night: the worst of all, and what failed is worse than what is behind or strange.
    pub fn code(&self, came: &[(&'static str, Came)]) -> i64 {
        let waits = self.places.values().any(|place| place.waits);
        let is_hook = came.iter().any(|(_, came)| came.code() == 4);
        match (is_hook, waits, self.is_away) {
            (true, ..) => 4,
            (_, true, _) => 9,
            (_, _, true) => 7,
            _ => 0,
        }
    }

    /// Somebody looked at what is strange, and accepts it.
    pub fn accept(&mut self) {
        for place in self.places.values_mut() {
            place.waits = false;
            place.snapshots.iter_mut().for_each(|one| one.strange = false);
        }
    }

    fn case(&mut self, now: i64, subject: Told, wrong: Option<&'static str>) -> Option<Told> {
        let (_, profile, repository) = subject;
        match wrong {
            Some(event) => {
                self.told.insert(subject, now);
                Some((event, profile, repository))
            }
            // "recovered (well again)": only who heard that something was wrong.
            None => self.told.remove(&subject).map(|_| ("recovered", profile, repository)),
        }
    }

    /// What a night tells at its end: what it came to, then what somebody has to be told in any case.
    pub fn tell_run(&mut self, now: i64, came: &[(&'static str, Came)]) -> Vec<BTreeSet<Told>> {
        let mut told = BTreeSet::new();
        for &(profile, came) in came {
            let waits = REPOSITORIES.iter().any(|(repository, _)| self.place(profile, repository).waits);
            let wrong = match came {
                Came::Refused => Some("failed"),
                Came::WithoutDump => Some("incomplete"),
                // It is said every night until somebody has looked.
                _ if waits => Some("anomaly"),
                _ => None,
            };
            told.extend(self.case(now, ("profile", Some(profile), None), wrong));
            let mut is_complete = wrong.is_none();
            for (repository, _) in REPOSITORIES {
                let is_behind = !self.reaches(repository) && came.has_snapshot();
                is_complete &= !is_behind;
                if came.has_snapshot() {
                    let subject = ("profile", Some(profile), Some(repository));
                    told.extend(self.case(now, subject, is_behind.then_some("behind")));
                }
            }
            told.extend(is_complete.then_some(("complete", Some(profile), None)));
        }
        std::iter::once(told).chain(self.tell_look(now)).filter(|told| !told.is_empty()).collect()
    }

    /// What a check tells.
    pub fn tell_check(&mut self, now: i64) -> Vec<BTreeSet<Told>> {
        let mut told = BTreeSet::new();
        for (repository, _) in REPOSITORIES {
            let wrong = (!self.reaches(repository)).then_some("failed");
            told.extend(self.case(now, ("check", None, Some(repository)), wrong));
        }
        std::iter::once(told).chain(self.tell_look(now)).filter(|told| !told.is_empty()).collect()
    }

    /// What is told whenever somebody looks: what is overdue, and on Mondays from eight on how everything stands.
    pub fn tell_look(&mut self, now: i64) -> Vec<BTreeSet<Told>> {
        let mut told = BTreeSet::new();
        for profile in PROFILES {
            for (repository, _) in REPOSITORIES {
                let subject = ("overdue", Some(profile), Some(repository));
                let is_over = self.place(profile, repository).is_overdue(now);
                let said = self.told.get(&subject).copied();
                if is_over && said.is_some_and(|said| now - said < AGAIN) {
                    continue;
                }
                told.extend(self.case(now, subject, is_over.then_some("overdue")));
            }
        }
        let monday = (now - super::time::at(super::time::OCTOBER_1 - 3, 8, 0)).div_euclid(7 * DAY);
        let is_news = self.digest.is_some_and(|last| last < monday);
        self.digest = Some(monday);
        let digest = BTreeSet::from([("digest", None, None)]);
        [told].into_iter().chain(is_news.then_some(digest)).filter(|told| !told.is_empty()).collect()
    }

    /// The exit code of `bk status`: that of the worst.
    pub fn status_code(&self, now: i64) -> i32 {
        let words: Vec<_> =
            self.places.iter().map(|((_, repository), place)| self.word(place, repository, now)).collect();
        // Worst first.
        let order =
            [("unreachable", 1), ("failed", 1), ("anomaly", 9), ("overdue", 8), ("incomplete", 3), ("behind", 7)];
        order.iter().find(|(word, _)| words.contains(word)).map_or(0, |(_, code)| *code)
    }

    /// How it stands when the repositories are asked.
    pub fn word(&self, place: &Place, repository: &str, now: i64) -> &'static str {
        match (self.reaches(repository), place.verdict(now, self.reaches(repository))) {
            (false, "fine" | "behind") => "unreachable",
            (_, word) => word,
        }
    }
}
