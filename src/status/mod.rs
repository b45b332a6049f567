//! How things stand: of each profile in each repository the newest complete snapshot, whether that is too old, and what
//! came of the last runs. Pure: what is known comes in, verdicts come out.

mod verdict;

use std::time::Duration;

pub use verdict::Verdict;

use crate::clock::Timestamp;
use crate::state::{Done, Figures, Verb};

/// How long a run that is due may take to get going and to be done, when nothing is known of it.
pub const GRACE: Duration = Duration::from_secs(2 * 3600);

/// Exit code of a run whose backup is unlike those before it, and of forgetting that waits because of one.
const STRANGE: u8 = 9;

/// Exit code of a verification that found something that does not restore.
const UNRESTORABLE: u8 = 6;

/// What growth is told of.
pub const GROWTH: Duration = Duration::from_secs(30 * 86_400);

/// Everything that is known.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// When it was looked at.
    pub at: Timestamp,
    /// The machine.
    pub host: String,
    /// The profiles, by name.
    pub profiles: Vec<ProfileStatus>,
    /// The repositories, by name.
    pub repositories: Vec<RepositoryStatus>,
}

/// One profile, or what was backed up without one.
#[derive(Debug, Clone)]
pub struct ProfileStatus {
    /// Its name; `None` of paths.
    pub name: Option<String>,
    /// How old its newest complete snapshot may be, when that is configured.
    pub max_age: Option<Duration>,
    /// When it runs next.
    pub next: Option<Timestamp>,
    /// Its repositories, nearest first.
    pub destinations: Vec<Destination>,
}

/// One profile in one repository.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The repository.
    pub repository: String,
    /// Whether that was asked; else what is known is what this machine remembers.
    pub asked: bool,
    /// The newest complete snapshot.
    pub complete: Option<Seen>,
    /// The newest that is unlike those before it and that nobody has accepted: nothing old is forgotten.
    pub strange: Option<Seen>,
    /// How many snapshots there are, when that is known.
    pub snapshots: Option<u64>,
    /// The last run, complete or not.
    pub last: Option<Done>,
    /// The last restore that was compared with the snapshot.
    pub verified: Option<Done>,
    /// The last whole restore.
    pub restored: Option<Done>,
    /// By how many bytes the repository grew for it in the last 30 days.
    pub growth_bytes: Option<u64>,
    /// How it stands.
    pub verdict: Verdict,
}

/// A snapshot, as far as this needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its id in hexadecimal.
    pub id: String,
    /// When its run began.
    pub start: Timestamp,
    /// Bytes in it before deduplication.
    pub total_bytes: u64,
    /// Whether it is unlike those before, and nobody has said that this is right.
    pub strange: bool,
    /// When some machine last proved that it restores, in seconds since 1970, and how long that took, in seconds.
    pub verified: Option<(i64, f64)>,
}

/// One repository.
#[derive(Debug, Clone)]
pub struct RepositoryStatus {
    /// Its name.
    pub name: String,
    /// Why it could not be asked, with the exit code of that.
    pub unreachable: Option<(u8, String)>,
    /// The last check.
    pub checked: Option<Done>,
    /// The last check that found nothing wrong.
    pub checked_whole: Option<Done>,
    /// The last prune.
    pub pruned: Option<Done>,
    /// Bytes of its packs, when last counted.
    pub bytes: Option<u64>,
}

/// What is known of one profile in one repository.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its snapshots, oldest first, when the repository was asked: start, whether it is complete, and what it is.
    pub snapshots: Option<Vec<(bool, Seen)>>,
    /// The newest of each verb, whatever came of it.
    pub newest: Vec<Done>,
    /// The newest backup that this machine remembers as complete.
    pub remembered: Option<Done>,
    /// Backups of the last 30 days.
    pub recent: Vec<Done>,
    /// When somebody last accepted a snapshot of it, on this machine, in seconds since 1970.
    pub accepted: Option<i64>,
}

impl Known {
    /// The last verification: the one that this machine remembers, or a later one that some machine noted in the
    /// repository. Nothing is noted of one that failed.
    fn proved(&self, remembered: Option<Done>) -> Option<Done> {
        let noted = self.snapshots.iter().flatten().filter_map(|(_, seen)| Some((seen.verified?, seen)));
        let Some(((ended, seconds), seen)) = noted.max_by_key(|((ended, _), _)| *ended) else { return remembered };
        let began = ended - seconds as i64;
        // The one that is remembered ended when it was noted, give or take a moment.
        let is_later = remembered.as_ref().is_none_or(|done| ended > done.began + done.seconds as i64 + 60);
        let noted = || Done {
            verb: Verb::Verify,
            profile: None,
            repository: String::new(),
            began,
            seconds,
            exit: 0,
            snapshot: Some(seen.id.clone()),
            figures: Figures::default(),
            message: None,
        };
        if is_later { Some(noted()) } else { remembered }
    }

    /// The newest snapshot that waits to be accepted. Without the repository it is known from the last time that
    /// forgetting waited for that.
    fn strange(&self) -> Option<Seen> {
        if let Some(all) = &self.snapshots {
            return all.iter().rev().map(|(_, seen)| seen).find(|seen| seen.strange).cloned();
        }
        let forgot = self.newest.iter().rev().find(|done| done.verb == Verb::Forget)?;
        let waits = forgot.exit == STRANGE && self.accepted.is_none_or(|accepted| accepted < forgot.began);
        let backups = self.recent.iter().chain(&self.remembered);
        let strange = backups.filter(|done| done.exit == STRANGE).max_by_key(|done| done.began);
        strange.or(self.remembered.as_ref()).filter(|_| waits).and_then(seen)
    }
}

/// When a snapshot of a profile is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// Never.
    #[default]
    None,
    /// When it is older than this.
    Age(Duration),
    /// When it was made before this run should have begun.
    Since(Timestamp),
}

impl Limit {
    /// Whether a run that began at `start` is too old at `now`.
    #[must_use]
    pub fn is_over(self, start: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::Age(age) => now.seconds - start.seconds > i64::try_from(age.as_secs()).unwrap_or(i64::MAX),
            Self::Since(since) => start < since,
        }
    }
}

impl Destination {
    /// What is known of one profile in one repository.
    #[must_use]
    pub fn new(repository: &str, known: Known, limit: Limit, now: Timestamp) -> Self {
        let newest = |verb| known.newest.iter().rev().find(|done| done.verb == verb).cloned();
        let asked = known.snapshots.is_some();
        let remembered = known.remembered.as_ref().and_then(seen);
        let complete = match &known.snapshots {
            Some(all) => all.iter().rev().find(|(complete, _)| *complete).map(|(_, seen)| seen.clone()),
            None => remembered,
        };
        let growth = known.recent.iter().filter_map(|done| done.figures.stored_bytes).sum();
        let last = newest(Verb::Backup);
        let strange = known.strange();
        let mut verdict = Verdict::of(complete.as_ref(), strange.is_some(), last.as_ref(), limit, now);
        let verified = known.proved(newest(Verb::Verify));
        if verified.as_ref().is_some_and(|done| done.exit == UNRESTORABLE) {
            verdict = verdict.max(Verdict::Broken);
        }
        Self {
            repository: repository.to_owned(),
            asked,
            complete,
            strange,
            snapshots: known.snapshots.as_ref().map(|all| all.len() as u64),
            last,
            verified,
            restored: newest(Verb::Restore),
            growth_bytes: (!known.recent.is_empty()).then_some(growth),
            verdict,
        }
    }
}

/// The snapshot of a run that is remembered.
fn seen(done: &Done) -> Option<Seen> {
    Some(Seen {
        id: done.snapshot.clone()?,
        start: Timestamp { seconds: done.began, nanos: 0 },
        total_bytes: done.figures.total_bytes.unwrap_or(0),
        strange: false,
        verified: None,
    })
}

impl ProfileStatus {
    /// One profile, with what its repositories say of each other: one that lacks the newest complete snapshot of
    /// another is behind.
    #[must_use]
    pub fn new(name: Option<String>, max_age: Option<Duration>, next: Option<Timestamp>) -> Self {
        Self { name, max_age, next, destinations: Vec::new() }
    }

    /// Compares its repositories with each other.
    pub fn compare(&mut self) {
        let newest = self.destinations.iter().filter_map(|one| Some(one.complete.as_ref()?.start)).max();
        for one in &mut self.destinations {
            let start = one.complete.as_ref().map(|seen| seen.start);
            if one.verdict == Verdict::Fine && start < newest {
                one.verdict = Verdict::Behind;
            }
        }
    }

    /// Notes that a repository could not be asked: what is remembered of it may be true no more.
    pub fn not_asked(&mut self, repository: &str) {
        for one in self.destinations.iter_mut().filter(|one| one.repository == repository) {
            one.verdict = one.verdict.max(Verdict::Unreachable);
        }
    }

    /// The worst of its verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.destinations.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Fine)
    }

    /// Its name, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or("(paths)")
    }
}

impl RepositoryStatus {
    /// Whether the last check found damage, and none since found the repository whole.
    #[must_use]
    pub fn is_damaged(&self, damage: u8) -> bool {
        self.checked.as_ref().is_some_and(|done| done.exit == damage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp { seconds: hours * 3600, nanos: 0 }
    }

    fn snapshot(hours: i64, complete: bool) -> (bool, Seen) {
        (
            complete,
            Seen { id: format!("{hours:08x}"), start: at(hours), total_bytes: 5, strange: false, verified: None },
        )
    }

    fn done(hours: i64, exit: u8) -> Done {
        Done {
            verb: Verb::Backup,
            profile: Some("plex".into()),
            repository: "ssd".into(),
            began: hours * 3600,
            seconds: 60.0,
            exit,
            snapshot: (exit == 0).then(|| format!("{hours:08x}")),
            figures: Figures { stored_bytes: Some(10), total_bytes: Some(5), ..Figures::default() },
            message: None,
        }
    }

    fn judged(known: Known, limit: Limit) -> Destination {
        Destination::new("ssd", known, limit, at(100))
    }

    #[test]
    fn the_newest_complete_snapshot_counts_and_not_the_newest() {
        let snapshots = Some(vec![snapshot(50, true), snapshot(90, false)]);
        let found = judged(Known { snapshots, ..Known::default() }, Limit::Age(Duration::from_secs(40 * 3600)));
        assert_eq!((found.complete.unwrap().start, found.verdict), (at(50), Verdict::Overdue));
        assert_eq!(found.snapshots, Some(2));
    }

    #[test]
    fn what_the_repository_says_counts_more_than_what_is_remembered() {
        let remembered = Some(done(99, 0));
        let known = Known { snapshots: Some(vec![]), remembered: remembered.clone(), ..Known::default() };
        assert_eq!(judged(known, Limit::None).verdict, Verdict::Never, "somebody has deleted it");
        let found = judged(Known { remembered, ..Known::default() }, Limit::None);
        assert_eq!((found.asked, found.complete.unwrap().start, found.verdict), (false, at(99), Verdict::Fine));
    }

    #[test]
    fn a_run_that_should_have_been_is_missed_once_its_time_is_over() {
        let known = || Known { snapshots: Some(vec![snapshot(70, true)]), ..Known::default() };
        assert_eq!(judged(known(), Limit::Since(at(71))).verdict, Verdict::Overdue);
        assert_eq!(judged(known(), Limit::Since(at(70))).verdict, Verdict::Fine);
        assert_eq!(judged(known(), Limit::None).verdict, Verdict::Fine);
    }

    #[test]
    fn a_repository_without_the_newest_snapshot_of_another_is_behind() {
        let mut profile = ProfileStatus::new(Some("plex".into()), None, None);
        for hours in [90, 80] {
            let known = Known { snapshots: Some(vec![snapshot(hours, true)]), ..Known::default() };
            profile.destinations.push(judged(known, Limit::None));
        }
        profile.compare();
        assert_eq!(
            profile.destinations.iter().map(|one| one.verdict).collect::<Vec<_>>(),
            [Verdict::Fine, Verdict::Behind]
        );
        assert_eq!(profile.verdict(), Verdict::Behind);
    }

    #[test]
    fn what_could_not_be_asked_is_not_fine() {
        let mut profile = ProfileStatus::new(Some("plex".into()), None, None);
        profile.destinations.push(judged(Known { remembered: Some(done(99, 0)), ..Known::default() }, Limit::None));
        profile.not_asked("b2");
        assert_eq!(profile.verdict(), Verdict::Fine);
        profile.not_asked("ssd");
        assert_eq!(profile.verdict(), Verdict::Unreachable);
    }

    #[test]
    fn what_does_not_restore_is_not_fine_until_a_verification_passes() {
        let snapshots = || Some(vec![snapshot(90, true)]);
        let verified = |hours, exit| Done { verb: Verb::Verify, ..done(hours, exit) };
        let known = |newest| Known { snapshots: snapshots(), newest, ..Known::default() };
        assert_eq!(judged(known(vec![verified(95, 6)]), Limit::None).verdict, Verdict::Broken);
        assert_eq!(judged(known(vec![verified(95, 6)]), Limit::Since(at(91))).verdict, Verdict::Overdue);
        assert_eq!(judged(known(vec![verified(95, 6), verified(96, 0)]), Limit::None).verdict, Verdict::Fine);
        assert_eq!(
            judged(known(vec![verified(95, 8)]), Limit::None).verdict,
            Verdict::Fine,
            "not tried, but not wrong"
        );
    }

    #[test]
    fn what_another_machine_proved_later_counts_and_what_this_one_remembers_is_not_told_twice() {
        let snapshots = |ended| {
            let mut all = vec![snapshot(90, true)];
            all[0].1.verified = Some((ended, 120.0));
            Some(all)
        };
        let known = |ended, newest| Known { snapshots: snapshots(ended), newest, ..Known::default() };
        let own = |exit| Done { verb: Verb::Verify, seconds: 100.0, ..done(95, exit) };
        let later = judged(known(99 * 3600, vec![own(6)]), Limit::None);
        assert_eq!((later.verdict, later.verified.unwrap().began), (Verdict::Fine, 99 * 3600 - 120));
        let same = judged(known(95 * 3600 + 101, vec![own(0)]), Limit::None);
        assert_eq!(same.verified.unwrap().began, 95 * 3600);
        let earlier = judged(known(91 * 3600, vec![own(6)]), Limit::None);
        assert_eq!(earlier.verdict, Verdict::Broken);
    }

    #[test]
    fn a_strange_snapshot_counts_until_somebody_accepts_it_also_when_newer_ones_came() {
        let mut all = vec![snapshot(80, true), snapshot(90, true)];
        all[0].1.strange = true;
        let found = judged(Known { snapshots: Some(all), ..Known::default() }, Limit::None);
        assert_eq!((found.strange.unwrap().start, found.verdict), (at(80), Verdict::Anomaly));
        // Without the repository: the backup that was strange, a later one, and forgetting that waited in both nights.
        let forgot = Done { verb: Verb::Forget, ..done(90, 9) };
        let known = |accepted| Known {
            newest: vec![done(90, 0), forgot.clone()],
            remembered: Some(done(90, 0)),
            recent: vec![Done { snapshot: Some("strange".into()), ..done(80, 9) }, done(90, 0)],
            accepted,
            ..Known::default()
        };
        for accepted in [None, Some(85 * 3600)] {
            let found = judged(known(accepted), Limit::None);
            assert_eq!((found.strange.unwrap().id, found.verdict), ("strange".into(), Verdict::Anomaly));
        }
        assert_eq!(judged(known(Some(91 * 3600)), Limit::None).verdict, Verdict::Fine);
    }

    #[test]
    fn a_service_that_keeps_nothing_is_fine_without_a_snapshot() {
        let last = |snapshot| vec![Done { snapshot, ..done(90, 0) }];
        let known = |newest| Known { snapshots: Some(vec![]), newest, ..Known::default() };
        assert_eq!(judged(known(last(None)), Limit::Age(Duration::from_secs(1))).verdict, Verdict::Fine);
        assert_eq!(judged(known(last(Some("1".into()))), Limit::None).verdict, Verdict::Never, "it was deleted");
    }

    #[test]
    fn growth_is_what_was_stored_in_the_last_runs() {
        let known = Known { recent: vec![done(80, 0), done(90, 3)], newest: vec![done(90, 3)], ..Known::default() };
        assert_eq!(judged(known, Limit::None).growth_bytes, Some(20));
    }
}
