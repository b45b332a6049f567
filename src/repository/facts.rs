//! What became known after snapshots were made: bk-repository(7), "FACTS".

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Repository, RepositoryError, Verification};
use crate::format::Kind;
use crate::format::fact::{self, Fact, FactKind, PackStart, Packs};
use crate::format::node::Timestamp;
use crate::format::object::MAX_PAYLOAD_LEN;
use crate::id::{PackId, RunId, SnapshotId, to_hex};
use crate::retention::Pin;
use crate::store::{Area, ObjectName};

/// So far two clocks may be apart, in seconds: what was noted later than that is not believed.
const SKEW: i64 = 3600;

/// Whether something can have been noted at `time` when it is `now`.
pub(crate) const fn is_past(time: Timestamp, now: Timestamp) -> bool {
    time.seconds <= now.seconds.saturating_add(SKEW)
}

/// All facts of a repository.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    forgotten: HashMap<SnapshotId, Option<RunId>>,
    pins: HashMap<SnapshotId, (Timestamp, Pin)>,
    verified: HashMap<SnapshotId, Timestamp>,
    verifications: HashMap<SnapshotId, Verification>,
    acknowledged: HashSet<SnapshotId>,
    read: Vec<(Timestamp, Vec<PackStart>)>,
    set_aside: HashSet<SnapshotId>,
    /// Objects that cannot be read, with the reason.
    pub damaged: Vec<(String, String)>,
    /// Every object that can.
    pub objects: Vec<ObjectName>,
}

impl Facts {
    /// Reads them all. A damaged object does not hide the others.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub fn load(repository: &Repository) -> Result<Self, RepositoryError> {
        let mut facts = Self::default();
        for listed in repository.store().list(Area::Facts)? {
            match read(repository, &listed.name) {
                Ok(read) => {
                    facts.objects.push(listed.name);
                    read.iter().for_each(|fact| facts.take(fact));
                }
                Err(RepositoryError::Store(error)) if error.is_missing() => {}
                Err(error) if error.is_damage() => facts.damaged.push((listed.name.to_string(), error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(facts)
    }

    /// Those of facts that are at hand.
    #[must_use]
    pub fn of(facts: &[Fact]) -> Self {
        let mut all = Self::default();
        facts.iter().for_each(|fact| all.take(fact));
        all
    }

    fn take(&mut self, fact: &Fact) {
        if let (FactKind::PackRead, Some(packs)) = (fact.kind, &fact.pack) {
            self.read.push((fact.time, packs.starts()));
        }
        let Some(snapshot) = fact.snapshot else { return };
        match fact.kind {
            FactKind::Forgotten => {
                let run = fact.detail.as_deref().and_then(run_of);
                let known = self.forgotten.entry(snapshot).or_default();
                *known = known.or(run);
            }
            FactKind::Verified | FactKind::Drilled => {
                let read = |detail: &str| Verification::parse(detail, fact.time, &fact.host);
                let proved = fact.detail.as_deref().and_then(read);
                let whole = fact.kind == FactKind::Verified && proved.as_ref().is_none_or(Verification::is_full);
                if whole {
                    let known = self.verified.entry(snapshot).or_insert(fact.time);
                    *known = (*known).max(fact.time);
                }
                let Some(proved) = proved else { return };
                let known = self.verifications.entry(snapshot).or_insert_with(|| proved.clone());
                if known.time < proved.time {
                    *known = proved;
                }
            }
            FactKind::AnomalyAcknowledged => drop(self.acknowledged.insert(snapshot)),
            FactKind::SetAside => drop(self.set_aside.insert(snapshot)),
            FactKind::Pinned | FactKind::Unpinned => {
                let pin = match (fact.kind, fact.detail.as_deref().and_then(time_of)) {
                    (FactKind::Unpinned, _) => Pin::None,
                    (_, Some(until)) => Pin::Until(until),
                    _ => Pin::Forever,
                };
                let known = self.pins.entry(snapshot).or_insert((fact.time, pin));
                // Of two at the same time, the one that keeps the snapshot counts.
                if fact.time > known.0 || (fact.time == known.0 && pin != Pin::None) {
                    *known = (fact.time, pin);
                }
            }
            FactKind::PackRead | FactKind::Unknown(_) => {}
        }
    }

    /// Whether a snapshot is forgotten.
    #[must_use]
    pub fn is_forgotten(&self, snapshot: &SnapshotId) -> bool {
        self.forgotten.contains_key(snapshot)
    }

    /// Whether a repair has put the object of a snapshot into quarantine. One that is listed was put back.
    #[must_use]
    pub fn is_set_aside(&self, snapshot: &SnapshotId) -> bool {
        self.set_aside.contains(snapshot)
    }

    /// The runs that made forgotten snapshots, as far as it was noted.
    pub fn forgotten_runs(&self) -> impl Iterator<Item = RunId> + '_ {
        self.forgotten.values().filter_map(|run| *run)
    }

    /// Whether a snapshot is pinned. A date is not looked at.
    #[must_use]
    pub fn pin(&self, snapshot: &SnapshotId) -> Pin {
        self.pins.get(snapshot).map_or(Pin::None, |(_, pin)| *pin)
    }

    /// When the pin of a snapshot was last set or taken away.
    #[must_use]
    pub fn pin_time(&self, snapshot: &SnapshotId) -> Option<Timestamp> {
        self.pins.get(snapshot).map(|(time, _)| *time)
    }

    /// What the last verification of a snapshot proved.
    #[must_use]
    pub fn verification(&self, snapshot: &SnapshotId) -> Option<&Verification> {
        self.verifications.get(snapshot)
    }

    /// When a snapshot was last verified with success, files and databases.
    #[must_use]
    pub fn verified(&self, snapshot: &SnapshotId) -> Option<Timestamp> {
        self.verified.get(snapshot).copied()
    }

    /// When each pack was last read, as far as that was before `now`: what a clock that ran ahead has noted is not
    /// believed.
    #[must_use]
    pub fn readings(&self, now: Timestamp) -> Readings {
        let mut newest = HashMap::new();
        for (time, starts) in self.read.iter().filter(|(time, _)| is_past(*time, now)) {
            for start in starts {
                let known = newest.entry(*start).or_insert(*time);
                *known = (*known).max(*time);
            }
        }
        Readings(newest)
    }

    /// Whether somebody accepted the anomalies of a snapshot.
    #[must_use]
    pub fn is_acknowledged(&self, snapshot: &SnapshotId) -> bool {
        self.acknowledged.contains(snapshot)
    }
}

/// When packs were last read from end to end and found whole.
#[derive(Debug, Clone, Default)]
pub struct Readings(HashMap<PackStart, Timestamp>);

impl Readings {
    /// The last time of a pack; `None` when it was never read.
    #[must_use]
    pub fn last_read(&self, pack: &PackId) -> Option<Timestamp> {
        self.0.get(&Packs::start(pack)).copied()
    }
}

/// Adds facts to a repository, in one object.
///
/// # Errors
/// As they come.
pub fn add_facts(repository: &Repository, facts: &[Fact]) -> Result<ObjectName, RepositoryError> {
    let (name, _) = repository.write_object(Kind::Facts, &fact::encode(facts))?;
    Ok(name)
}

/// Joins many objects of facts into one, which holds all that they held; gives how many there were. Of each pack only
/// the newest reading until `now` stays, and none of packs that are gone.
///
/// # Errors
/// As they come; nothing is taken away before what replaces it was read back.
pub fn join_facts(repository: &Repository, objects: &[ObjectName], now: Timestamp) -> Result<usize, RepositoryError> {
    // Keyed by its encoded form: equal facts are one.
    let mut all: BTreeMap<Vec<u8>, Fact> = BTreeMap::new();
    let mut joined = Vec::new();
    for name in objects {
        match read(repository, name) {
            Ok(facts) => {
                all.extend(facts.into_iter().map(|fact| (fact::encode(std::slice::from_ref(&fact)), fact)));
                joined.push(*name);
            }
            Err(RepositoryError::Store(error)) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    if joined.len() < 2 {
        return Ok(0);
    }
    let is_reading = |fact: &Fact| fact.kind == FactKind::PackRead && fact.pack.is_some();
    let (readings, mut facts): (Vec<_>, Vec<_>) = all.into_values().partition(is_reading);
    if !readings.is_empty() {
        // Listed after the facts were read: what they name and this list lacks was there, and is gone.
        let listed = repository.store().list(Area::Packs)?.into_iter().filter_map(|listed| match listed.name {
            ObjectName::Pack(name) => Some(Packs::start(&name.id)),
            _ => None,
        });
        facts.extend(newest_readings(readings, &listed.collect(), now));
    }
    if fact::encode(&facts).len() > MAX_PAYLOAD_LEN / 2 {
        return Ok(0);
    }
    let name = add_facts(repository, &facts)?;
    if read(repository, &name)? != facts {
        return Err(RepositoryError::Damaged { name: name.to_string() });
    }
    for old in &joined {
        repository.store().delete(old)?;
    }
    Ok(joined.len())
}

/// Of each pack that is `listed` its newest reading until `now`, in one fact for each host and time.
fn newest_readings(readings: Vec<Fact>, listed: &HashSet<PackStart>, now: Timestamp) -> Vec<Fact> {
    let mut newest: HashMap<PackStart, (Timestamp, &str)> = HashMap::new();
    for fact in readings.iter().filter(|fact| is_past(fact.time, now)) {
        for start in fact.pack.iter().flat_map(Packs::starts).filter(|start| listed.contains(start)) {
            let known = newest.entry(start).or_insert((fact.time, &fact.host));
            *known = (*known).max((fact.time, &fact.host));
        }
    }
    let mut joined: BTreeMap<(Timestamp, &str), BTreeSet<PackStart>> = BTreeMap::new();
    for (start, reading) in newest {
        joined.entry(reading).or_default().insert(start);
    }
    let fact = |((time, host), starts): ((Timestamp, &str), BTreeSet<PackStart>)| {
        let pack = Some(Packs::Starts(starts.into_iter().collect()));
        Fact { kind: FactKind::PackRead, time, host: host.to_owned(), snapshot: None, pack, detail: None }
    };
    joined.into_iter().map(fact).collect()
}

fn read(repository: &Repository, name: &ObjectName) -> Result<Vec<Fact>, RepositoryError> {
    let payload = repository.read_object(Kind::Facts, name)?;
    fact::decode(&payload).map_err(|source| RepositoryError::Malformed { name: name.to_string(), source })
}

/// What a fact says of the run that made a forgotten snapshot.
#[must_use]
pub fn run_detail(run: RunId) -> String {
    format!("run {}", to_hex(&run.0))
}

fn run_of(detail: &str) -> Option<RunId> {
    crate::id::from_hex(detail.strip_prefix("run ")?).map(RunId)
}

/// What a fact says of the end of a pin.
#[must_use]
pub fn until_detail(until: Timestamp) -> String {
    format!("until {}", until.seconds)
}

fn time_of(detail: &str) -> Option<Timestamp> {
    Some(Timestamp { seconds: detail.strip_prefix("until ")?.parse().ok()?, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(kind: FactKind, seconds: i64, detail: Option<String>) -> Fact {
        let (time, snapshot) = (Timestamp { seconds, nanos: 0 }, Some(SnapshotId([1; 32])));
        Fact { kind, time, host: "h".into(), snapshot, pack: None, detail }
    }

    fn of(all: &[Fact]) -> Facts {
        Facts::of(all)
    }

    fn reading(seconds: i64, packs: Packs) -> Fact {
        Fact { snapshot: None, pack: Some(packs), ..fact(FactKind::PackRead, seconds, None) }
    }

    const NOW: Timestamp = Timestamp { seconds: 100_000, nanos: 0 };

    #[test]
    fn the_newest_reading_counts_unless_a_clock_ran_ahead() {
        let id = |byte| PackId([byte; 32]);
        let history = [
            reading(50, Packs::Starts(vec![[1; 8], [2; 8]])),
            reading(70, Packs::One(id(1))),
            reading(60, Packs::Starts(vec![[1; 8]])),
            reading(NOW.seconds + 2 * SKEW, Packs::Starts(vec![[2; 8], [3; 8]])),
        ];
        let readings = of(&history).readings(NOW);
        let seconds = |byte| readings.last_read(&id(byte)).map(|time| time.seconds);
        assert_eq!([seconds(1), seconds(2), seconds(3), seconds(4)], [Some(70), Some(50), None, None]);
        let skewed = of(&[reading(NOW.seconds + SKEW, Packs::One(id(5)))]).readings(NOW);
        assert!(skewed.last_read(&id(5)).is_some(), "clocks are a little apart");
    }

    #[test]
    fn of_readings_the_newest_of_packs_that_are_there_is_left() {
        let listed = [[1; 8], [2; 8]].into();
        let history = vec![
            reading(50, Packs::Starts(vec![[1; 8], [2; 8], [9; 8]])),
            reading(70, Packs::Starts(vec![[1; 8]])),
            reading(NOW.seconds + 2 * SKEW, Packs::Starts(vec![[1; 8], [2; 8]])),
        ];
        let joined = newest_readings(history, &listed, NOW);
        assert_eq!(joined, [reading(50, Packs::Starts(vec![[2; 8]])), reading(70, Packs::Starts(vec![[1; 8]]))]);
    }

    #[test]
    fn the_last_word_on_a_pin_counts_whatever_the_order_of_reading() {
        let id = SnapshotId([1; 32]);
        let until = Timestamp { seconds: 99, nanos: 0 };
        let history = [
            fact(FactKind::Pinned, 1, None),
            fact(FactKind::Unpinned, 2, None),
            fact(FactKind::Pinned, 3, Some(until_detail(until))),
        ];
        let expected = [Pin::Forever, Pin::None, Pin::Until(until)];
        for count in 1..=3 {
            let mut part = history[..count].to_vec();
            assert_eq!(of(&part).pin(&id), expected[count - 1]);
            part.reverse();
            assert_eq!(of(&part).pin(&id), expected[count - 1]);
        }
        let at_once = [fact(FactKind::Unpinned, 1, None), fact(FactKind::Pinned, 1, None)];
        assert_eq!(of(&at_once).pin(&id), Pin::Forever);
    }

    #[test]
    fn a_verification_without_the_databases_is_known_but_is_none_to_rely_on() {
        let id = SnapshotId([1; 32]);
        let proved = |files, not_run| Verification { files, not_run, ..Verification::default() }.detail();
        let facts = of(&[
            fact(FactKind::Verified, 5, Some(proved(super::super::Files::Sample, 1))),
            fact(FactKind::Drilled, 7, Some(proved(super::super::Files::None, 0))),
        ]);
        assert_eq!(facts.verified(&id), None);
        assert_eq!(facts.verification(&id).unwrap().time.seconds, 7);
        let facts = of(&[
            fact(FactKind::Verified, 9, Some(proved(super::super::Files::All, 0))),
            fact(FactKind::Verified, 4, None),
        ]);
        assert_eq!(facts.verified(&id).unwrap().seconds, 9);
    }

    #[test]
    fn the_run_of_a_forgotten_snapshot_is_remembered() {
        let run = RunId([7; 16]);
        let facts = of(&[fact(FactKind::Forgotten, 1, Some(run_detail(run))), fact(FactKind::Forgotten, 2, None)]);
        assert!(facts.is_forgotten(&SnapshotId([1; 32])) && !facts.is_forgotten(&SnapshotId([2; 32])));
        assert_eq!(facts.forgotten_runs().collect::<Vec<_>>(), [run]);
    }
}
