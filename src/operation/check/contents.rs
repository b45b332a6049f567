//! Everything outside packs, read and decoded; and what the index says of packs against what the store lists.
//!
//! Snapshots are listed before the index and the index before the packs: a writer puts them in the opposite order, so
//! whatever a snapshot of the list needs is in the lists that come after it.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Checker;
use super::report::{Counts, Finding, Severity, hint};
use super::turn::Unread;
use crate::format::cbor::Writer as CborWriter;
use crate::format::config::Config;
use crate::format::fact::{self, Fact, FactKind};
use crate::format::index_file::{IndexFile, IndexedPack, PackName};
use crate::format::key_slot::KeySlot;
use crate::format::mark::Mark;
use crate::format::node::Timestamp;
use crate::format::object::{self, MAX_PAYLOAD_LEN};
use crate::format::pack::{PackKind, encode_table};
use crate::format::snapshot::Snapshot;
use crate::format::{DecodeError, Header, Kind};
use crate::id::{RepositoryId, SnapshotId};
use crate::repository::{Facts, Index, RepositoryError, SnapshotInfo};
use crate::store::{Area, Listed, ObjectName};

/// Lists are made again at most so often when objects vanish between list and look.
const ROUNDS: usize = 3;
/// A longer object outside packs is not read at all, in bytes.
const MAX_OBJECT_LEN: u64 = MAX_PAYLOAD_LEN as u64 / 8 * 9 + (1 << 20);

/// What the index says of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Described {
    /// Length, in bytes.
    pub(super) size: u64,
    /// Hash of all that is said.
    pub(super) digest: [u8; 32],
}

/// A hash of all that an index object or the pack itself says of a pack.
pub(super) fn digest(pack: &IndexedPack) -> [u8; 32] {
    let mut writer = CborWriter::new();
    writer.uint(pack.size).bytes(pack.header.bytes());
    encode_table(&pack.segments, &mut writer);
    *blake3::hash(&writer.into_bytes()).as_bytes()
}

/// What is in a repository, as far as it can be read.
pub(super) struct Contents {
    /// Where data blobs are.
    pub(super) data: Index,
    /// Where tree and list blobs are.
    pub(super) trees: Index,
    /// Packs that the index names.
    pub(super) described: HashMap<PackName, Described>,
    /// Packs that the store lists, with their sizes in bytes.
    pub(super) stored: HashMap<PackName, u64>,
    /// When the store took them, by its own clock.
    pub(super) times: HashMap<PackName, Timestamp>,
    /// When packs were read.
    pub(super) readings: Facts,
    /// Snapshots that are not forgotten, oldest first.
    pub(super) snapshots: Vec<SnapshotInfo>,
    /// Snapshots that are.
    pub(super) forgotten: HashSet<SnapshotId>,
    /// Objects that are not whole.
    pub(super) findings: Vec<Finding>,
    /// Objects of each kind.
    pub(super) counts: Counts,
    /// Bytes read.
    pub(super) read_bytes: u64,
}

/// Reads areas one after the other and collects what is wrong.
struct Reading<'a> {
    checker: &'a Checker<'a>,
    findings: Vec<Finding>,
    counts: Counts,
    read_bytes: u64,
}

impl Reading<'_> {
    /// The bytes of an object, if they fit its name; `None` when it has vanished.
    fn bytes(&mut self, listed: &Listed) -> Result<Option<Vec<u8>>, RepositoryError> {
        let name = listed.name.to_string();
        if listed.size > MAX_OBJECT_LEN {
            let source = DecodeError { what: "it is longer than any such object", at: 0 };
            return Err(RepositoryError::Malformed { name, source });
        }
        let bytes = match self.checker.repository.store().get(&listed.name) {
            Err(error) if error.is_missing() => return Ok(None),
            bytes => bytes?,
        };
        self.read_bytes += bytes.len() as u64;
        if blake3::hash(&bytes).as_bytes() == listed.name.hash() {
            Ok(Some(bytes))
        } else {
            Err(RepositoryError::Damaged { name })
        }
    }

    fn payload(&self, kind: Kind, name: &ObjectName, bytes: Vec<u8>) -> Result<Vec<u8>, RepositoryError> {
        let repository = self.checker.repository;
        object::decode(repository.keys(), repository.config().repository, kind, bytes)
            .map_err(|source| RepositoryError::Object { name: name.to_string(), source })
    }

    /// Hands every object of an area to `take` and keeps what is wrong with them.
    fn area(
        &mut self,
        area: Area,
        mut take: impl FnMut(&Self, &ObjectName, Vec<u8>) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut seen = HashSet::new();
        for round in 1..=ROUNDS {
            let mut vanished = false;
            for listed in self.checker.repository.store().list(area)? {
                self.checker.go_on()?;
                if seen.contains(&listed.name) {
                    continue;
                }
                let result = match self.bytes(&listed) {
                    Ok(Some(bytes)) => take(self, &listed.name, bytes),
                    Ok(None) if round < ROUNDS => {
                        vanished = true;
                        continue;
                    }
                    Ok(None) => Err(gone(&listed.name, self.checker)),
                    Err(error) => Err(error),
                };
                seen.insert(listed.name);
                self.counts.add(area, 1);
                self.checker.progress.advance(1, listed.size);
                if let Err(error) = result {
                    self.findings.push(Finding::of_error(listed.name.to_string(), area, &error));
                }
            }
            if !vanished {
                break;
            }
        }
        Ok(())
    }

    fn configs(&mut self) -> Result<(), RepositoryError> {
        self.area(Area::Config, |reading, object, bytes| {
            let name = object.to_string();
            let malformed = |source| RepositoryError::Malformed { name: name.clone(), source };
            let wrong = |what| malformed(DecodeError { what, at: 0 });
            let repository = reading.checker.repository;
            let header = Header::decode(&bytes).map_err(malformed)?;
            let scope = RepositoryId(header.scope.unwrap_or_default());
            let payload = object::decode(repository.keys(), scope, Kind::Config, bytes)
                .map_err(|source| RepositoryError::Object { name: name.clone(), source })?;
            let config = Config::decode(&payload).map_err(malformed)?;
            let ObjectName::Config(generation, _) = object else { return Err(wrong("its name is of another area")) };
            if config.repository != repository.config().repository || config.repository != scope {
                return Err(wrong("it is the configuration of another repository"));
            }
            if config.family != repository.keys().family() {
                return Err(wrong("it is the configuration of another family"));
            }
            if config.generation != *generation {
                return Err(wrong("its name has another generation than the configuration itself"));
            }
            Ok(())
        })
    }

    fn key_slots(&mut self) -> Result<(), RepositoryError> {
        self.area(Area::Keys, |reading, object, bytes| {
            let keys = reading.checker.repository.keys();
            KeySlot::decode(&bytes)
                .and_then(|slot| slot.note(keys))
                .map(drop)
                .map_err(|source| RepositoryError::Slot { name: object.to_string(), source })
        })
    }

    /// Reads the sealed objects of an area.
    fn sealed<T>(
        &mut self,
        area: Area,
        kind: Kind,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
        mut take: impl FnMut(&ObjectName, &[u8], T),
    ) -> Result<(), RepositoryError> {
        self.area(area, |reading, object, bytes| {
            let payload = reading.payload(kind, object, bytes)?;
            let value =
                decode(&payload).map_err(|source| RepositoryError::Malformed { name: object.to_string(), source })?;
            take(object, &payload, value);
            Ok(())
        })
    }
}

fn gone(name: &ObjectName, checker: &Checker<'_>) -> RepositoryError {
    let (name, location) = (name.to_string(), checker.repository.location());
    crate::store::StoreError::Missing { name, location }.into()
}

impl Contents {
    /// Reads all of it.
    pub(super) fn load(checker: &Checker<'_>) -> Result<Self, RepositoryError> {
        let mut reading = Reading { checker, findings: Vec::new(), counts: Counts::default(), read_bytes: 0 };
        checker.progress.phase("reading what describes the backups", None);
        reading.configs()?;
        reading.key_slots()?;
        // A marked pack serves as long as it is there.
        reading.sealed(Area::Marks, Kind::Mark, Mark::decode, |_, _, _| {})?;
        let (mut forgotten, mut read) = (HashSet::new(), Vec::new());
        reading.sealed(Area::Facts, Kind::Facts, fact::decode, |_, _, facts| {
            let is_forgotten = |fact: &&Fact| fact.kind == FactKind::Forgotten;
            forgotten.extend(facts.iter().filter(is_forgotten).filter_map(|fact| fact.snapshot));
            read.extend(facts.into_iter().filter(|fact| fact.kind == FactKind::PackRead));
        })?;
        let mut snapshots = Vec::new();
        reading.sealed(Area::Snapshots, Kind::Snapshot, Snapshot::decode, |name, payload, snapshot| {
            let id = checker.repository.keys().identifier().snapshot(payload);
            if !forgotten.contains(&id) {
                snapshots.push(SnapshotInfo { id, name: *name, snapshot, stored: None });
            }
        })?;
        snapshots.sort_by_key(|info| (info.snapshot.start, info.snapshot.end, info.id));
        let mut objects = IndexObjects::new(reading);
        let data = Index::of_packs(&mut objects);
        if let Some(error) = objects.error {
            return Err(error);
        }
        let trees = Index::of_packs(objects.trees);
        let Reading { findings, counts, read_bytes, .. } = objects.reading;
        let mut contents = Self {
            data,
            trees,
            described: objects.described,
            stored: HashMap::new(),
            times: HashMap::new(),
            readings: Facts::of(&read),
            snapshots,
            forgotten,
            findings,
            counts,
            read_bytes,
        };
        for listed in checker.repository.store().list(Area::Packs)? {
            if let ObjectName::Pack(name) = listed.name {
                contents.stored.insert(name, listed.size);
                contents.times.insert(name, listed.time);
            }
        }
        contents.counts.packs = contents.stored.len() as u64;
        Ok(contents)
    }

    /// Every pack that the store lists, with its age at `now`.
    pub(super) fn ages(&self, now: Timestamp) -> Vec<Unread> {
        let readings = self.readings.readings(now);
        let age = |(name, size): (&PackName, &u64)| {
            let stored = self.times.get(name).copied().unwrap_or_default();
            Unread::new(*name, *size, stored, &readings, now)
        };
        self.stored.iter().map(age).collect()
    }

    /// Every pack that the index names and that is not as it says, with what is wrong.
    pub(super) fn misfits(&self) -> impl Iterator<Item = (PackName, Misfit)> + '_ {
        self.described.iter().filter_map(|(name, described)| match self.stored.get(name) {
            None => Some((*name, Misfit::Gone)),
            Some(size) if *size != described.size => {
                Some((*name, Misfit::Size { stored: *size, described: described.size }))
            }
            Some(_) => None,
        })
    }
}

/// How the store differs from the index about a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is not there.
    Gone,
    /// It has another length, in bytes.
    Size { stored: u64, described: u64 },
}

/// The packs of all index objects, read as they are asked for; those of trees are put aside.
struct IndexObjects<'a> {
    reading: Reading<'a>,
    listed: VecDeque<Listed>,
    seen: HashSet<ObjectName>,
    rounds: usize,
    vanished: bool,
    current: std::vec::IntoIter<IndexedPack>,
    described: HashMap<PackName, Described>,
    trees: Vec<IndexedPack>,
    error: Option<RepositoryError>,
}

impl<'a> IndexObjects<'a> {
    fn new(reading: Reading<'a>) -> Self {
        Self {
            reading,
            listed: VecDeque::new(),
            seen: HashSet::new(),
            rounds: 0,
            vanished: true,
            current: Vec::new().into_iter(),
            described: HashMap::new(),
            trees: Vec::new(),
            error: None,
        }
    }

    /// Reads the next index object into `current`; `false` at the end.
    fn advance(&mut self) -> Result<bool, RepositoryError> {
        let Some(listed) = self.listed.pop_front() else {
            if !self.vanished || self.rounds == ROUNDS {
                return Ok(false);
            }
            self.rounds += 1;
            self.vanished = false;
            self.listed = self.reading.checker.repository.store().list(Area::Index)?.into();
            return Ok(true);
        };
        self.reading.checker.go_on()?;
        if self.seen.contains(&listed.name) {
            return Ok(true);
        }
        let decoded = match self.reading.bytes(&listed) {
            Ok(None) if self.rounds < ROUNDS => {
                self.vanished = true;
                return Ok(true);
            }
            Ok(None) => Err(gone(&listed.name, self.reading.checker)),
            Ok(Some(bytes)) => self.reading.payload(Kind::Index, &listed.name, bytes).and_then(|payload| {
                IndexFile::decode(&payload)
                    .map_err(|source| RepositoryError::Malformed { name: listed.name.to_string(), source })
            }),
            Err(error) => Err(error),
        };
        self.seen.insert(listed.name);
        self.reading.counts.indexes += 1;
        self.reading.checker.progress.advance(1, listed.size);
        match decoded {
            Ok(file) => self.current = self.new_packs(&listed.name, file).into_iter(),
            Err(error) => {
                self.reading.findings.push(Finding::of_error(listed.name.to_string(), Area::Index, &error));
            }
        }
        Ok(true)
    }

    /// The packs of an index object that no other has named.
    fn new_packs(&mut self, object: &ObjectName, file: IndexFile) -> Vec<IndexedPack> {
        let mut new = Vec::new();
        for pack in file.packs {
            let described = Described { size: pack.size, digest: digest(&pack) };
            match self.described.insert(pack.name, described) {
                None => new.push(pack),
                Some(before) if before == described => {}
                Some(before) => {
                    self.described.insert(pack.name, before);
                    let reason = format!("it says something else of {} than another index object", pack.name);
                    let finding = Finding::new(object.to_string(), Severity::Damage, reason, hint(Area::Index));
                    self.reading.findings.push(finding);
                }
            }
        }
        new
    }
}

impl Iterator for IndexObjects<'_> {
    type Item = IndexedPack;

    fn next(&mut self) -> Option<IndexedPack> {
        loop {
            for pack in self.current.by_ref() {
                match pack.kind() {
                    PackKind::Data => return Some(pack),
                    PackKind::Tree => self.trees.push(pack),
                }
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.error = Some(error);
                    return None;
                }
            }
        }
    }
}
