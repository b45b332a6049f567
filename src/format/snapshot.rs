//! Snapshots: what a run kept. bk-repository(7), "SNAPSHOT".

use std::collections::BTreeMap;

use super::DecodeError;
use super::cbor::{Fields, Reader};
use super::node::{Node, Timestamp};
use super::tree::{decode_node, decode_time, encode_node, encode_time};
use crate::id::{RunId, SnapshotId};

/// More problems than this are only counted.
pub const MAX_PROBLEMS: usize = 1000;

/// How a run ended, as far as it made a snapshot at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was asked for is in it.
    Complete,
    /// Something could not be read, changed while it was read, or is missing.
    Incomplete,
}

/// Something that is not in the snapshot as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A word for programs: `unreadable`, `changed`, `missing`, `database`, `metadata`, `dump`.
    pub kind: String,
    /// The entry.
    pub path: Vec<u8>,
    /// What happened, for people.
    pub message: String,
}

/// What a hook did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// Its name.
    pub name: String,
    /// A word for programs.
    pub outcome: String,
    /// For people.
    pub message: String,
    /// What the hook wants to be told when its dump is drilled, by key.
    pub notes: BTreeMap<String, String>,
}

/// One thing that was backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Absolute path on the machine, or the name of a stream.
    pub path: Vec<u8>,
    /// Where it is put below a restore's destination: relative, no `.` and `..`.
    pub restore_name: Vec<u8>,
    /// The entry itself.
    pub node: Node,
}

/// What a run counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Regular files in the snapshot.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, devices, pipes, sockets.
    pub others: u64,
    /// Sum of the sizes of the files.
    pub total_bytes: u64,
    /// Files that the parent does not have.
    pub new_files: u64,
    /// Files that differ from the parent's.
    pub changed_files: u64,
    /// Files taken over from the parent unread.
    pub unchanged_files: u64,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Blobs the repository did not have.
    pub new_blobs: u64,
    /// Their length before compression.
    pub new_bytes: u64,
    /// Bytes put into the store.
    pub stored_bytes: u64,
}

impl Statistics {
    /// All entries of the snapshot, as it says itself.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.files.saturating_add(self.directories).saturating_add(self.others)
    }

    const fn values(&self) -> [u64; 11] {
        [
            self.files,
            self.directories,
            self.others,
            self.total_bytes,
            self.new_files,
            self.changed_files,
            self.unchanged_files,
            self.read_bytes,
            self.new_blobs,
            self.new_bytes,
            self.stored_bytes,
        ]
    }

    const fn slot(&mut self, key: u64) -> Option<&mut u64> {
        Some(match key {
            1 => &mut self.files,
            2 => &mut self.directories,
            3 => &mut self.others,
            4 => &mut self.total_bytes,
            5 => &mut self.new_files,
            6 => &mut self.changed_files,
            7 => &mut self.unchanged_files,
            8 => &mut self.read_bytes,
            9 => &mut self.new_blobs,
            10 => &mut self.new_bytes,
            11 => &mut self.stored_bytes,
            _ => return None,
        })
    }
}

/// Whence a snapshot came that was made by another program, or in a repository of other keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Imported {
    /// Format of the repository it came from: `restic` or `bk`.
    pub format: String,
    /// Id of that repository, in hexadecimal digits.
    pub repository: String,
    /// The id that the snapshot has there.
    pub snapshot: [u8; 32],
    /// Hash of what it holds there: another snapshot with the same tree and start is the same one, tagged anew.
    pub tree: [u8; 32],
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When reading began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The machine.
    pub host: String,
    /// The profile, unless paths were named.
    pub profile: Option<String>,
    /// Sorted, distinct.
    pub tags: Vec<String>,
    /// What was backed up.
    pub roots: Vec<Root>,
    /// What was counted.
    pub statistics: Statistics,
    /// Whether it is all there.
    pub outcome: Outcome,
    /// The first [`MAX_PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    /// All of them.
    pub problem_count: u64,
    /// What the hooks did.
    pub hooks: Vec<HookResult>,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// The profile as it was resolved, TOML.
    pub definition: String,
    /// The configuration, TOML, without secrets.
    pub configuration: String,
    /// Who wrote it.
    pub program: String,
    /// Who ran it.
    pub user: String,
    /// Rule that chose the chunk classes.
    pub class_rule: u64,
    /// The run, as in its index objects.
    pub run: RunId,
    /// Free text.
    pub description: Option<String>,
    /// In what the run left the usual band of its profile, for people; empty when it did not.
    pub anomalies: Vec<String>,
    /// When the newest complete snapshot of the same profile and host was begun that was there then. Retention measures
    /// breaks by it, as forgetting thins out what lies between.
    pub previous: Option<Timestamp>,
    /// Whence it came, when it was not made here.
    pub imported: Option<Imported>,
}

/// Whether `name` may be the restore name of a root: relative, and every part a valid name.
#[must_use]
pub fn is_valid_restore_name(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'/').all(super::tree::is_valid_name)
}

impl Snapshot {
    /// Whether it says how much it holds; what older programs of another format made does not.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.imported.is_none() || self.statistics.entries() > 0
    }

    /// The payload of the sealed object; the snapshot's id is the keyed hash of it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields::new();
        encode_time(fields.field(1), self.start);
        encode_time(fields.field(2), self.end);
        fields.field(3).text(&self.host);
        if let Some(profile) = &self.profile {
            fields.field(4).text(profile);
        }
        let writer = fields.field(5).array(self.tags.len());
        for tag in &self.tags {
            writer.text(tag);
        }
        let writer = fields.field(6).array(self.roots.len());
        for root in &self.roots {
            writer.array(3).bytes(&root.path).bytes(&root.restore_name).raw(&encode_node(&root.node));
        }
        let mut statistics = Fields::new();
        for (key, value) in (1..).zip(self.statistics.values()) {
            statistics.field(key).uint(value);
        }
        statistics.finish(fields.field(7));
        fields.field(8).uint(u8::from(self.outcome == Outcome::Incomplete));
        self.encode_problems(&mut fields);
        let writer = fields.field(11).array(self.hooks.len());
        for hook in &self.hooks {
            let mut result = Fields::new();
            for (key, text) in (1..).zip([&hook.name, &hook.outcome, &hook.message]) {
                result.field(key).text(text);
            }
            if !hook.notes.is_empty() {
                let writer = result.field(4).array(hook.notes.len());
                for (key, value) in &hook.notes {
                    writer.array(2).text(key).text(value);
                }
            }
            result.finish(writer);
        }
        if let Some(parent) = self.parent {
            fields.field(12).bytes(&parent.0);
        }
        fields.field(13).text(&self.definition);
        fields.field(14).text(&self.configuration);
        fields.field(15).text(&self.program);
        fields.field(16).text(&self.user);
        fields.field(17).uint(self.class_rule);
        fields.field(18).bytes(&self.run.0);
        if let Some(description) = &self.description {
            fields.field(19).text(description);
        }
        if !self.anomalies.is_empty() {
            let writer = fields.field(20).array(self.anomalies.len());
            for anomaly in &self.anomalies {
                writer.text(anomaly);
            }
        }
        if let Some(previous) = self.previous {
            encode_time(fields.field(21), previous);
        }
        if let Some(imported) = &self.imported {
            let writer = fields.field(22).array(4);
            writer.text(&imported.format).text(&imported.repository);
            writer.bytes(&imported.snapshot).bytes(&imported.tree);
        }
        fields.into_bytes()
    }

    fn encode_problems(&self, fields: &mut Fields) {
        let shown = self.problems.get(..MAX_PROBLEMS).unwrap_or(&self.problems);
        let writer = fields.field(9).array(shown.len());
        for problem in shown {
            writer.array(3).text(&problem.kind).bytes(&problem.path).text(&problem.message);
        }
        if self.problem_count > shown.len() as u64 {
            fields.field(10).uint(self.problem_count);
        }
    }

    /// Reads the payload of the sealed object.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that a restore could not trust, restore names that lead elsewhere included.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let mut parts = Parts::default();
        reader.map(|key, reader| parts.field(key, reader))?;
        reader.end()?;
        parts.into_snapshot().ok_or_else(|| reader.error("a snapshot is not complete"))
    }
}

#[derive(Default)]
struct Parts {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    host: Option<String>,
    profile: Option<String>,
    tags: Vec<String>,
    roots: Option<Vec<Root>>,
    statistics: Statistics,
    outcome: Option<Outcome>,
    problems: Vec<Problem>,
    problem_count: u64,
    hooks: Vec<HookResult>,
    parent: Option<SnapshotId>,
    definition: String,
    configuration: String,
    program: Option<String>,
    user: String,
    class_rule: Option<u64>,
    run: Option<RunId>,
    description: Option<String>,
    anomalies: Vec<String>,
    previous: Option<Timestamp>,
    imported: Option<Imported>,
}

impl Parts {
    fn field(&mut self, key: u64, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
        match key {
            1 => self.start = Some(decode_time(reader)?),
            2 => self.end = Some(decode_time(reader)?),
            3 => self.host = Some(reader.text()?.to_owned()),
            4 => self.profile = Some(reader.text()?.to_owned()),
            5 => self.tags = decode_texts(reader)?,
            6 => self.roots = Some((0..reader.array()?).map(|_| decode_root(reader)).collect::<Result<_, _>>()?),
            7 => {
                let statistics = &mut self.statistics;
                reader.map(|key, reader| match statistics.slot(key) {
                    Some(slot) => reader.uint().map(|value| *slot = value).map(|()| true),
                    None => Ok(false),
                })?;
            }
            8 => {
                self.outcome = Some(match reader.uint()? {
                    0 => Outcome::Complete,
                    1 => Outcome::Incomplete,
                    _ => return Err(reader.error("the outcome is unknown")),
                });
            }
            9 => {
                self.problems = (0..reader.array()?).map(|_| decode_problem(reader)).collect::<Result<_, _>>()?;
                self.problem_count = self.problems.len() as u64;
            }
            10 => self.problem_count = reader.uint()?,
            11 => self.hooks = (0..reader.array()?).map(|_| decode_hook(reader)).collect::<Result<_, _>>()?,
            12 => self.parent = Some(SnapshotId(reader.fixed()?)),
            13 => self.definition = reader.text()?.to_owned(),
            14 => self.configuration = reader.text()?.to_owned(),
            15 => self.program = Some(reader.text()?.to_owned()),
            16 => self.user = reader.text()?.to_owned(),
            17 => self.class_rule = Some(reader.uint()?),
            18 => self.run = Some(RunId(reader.fixed()?)),
            19 => self.description = Some(reader.text()?.to_owned()),
            20 => self.anomalies = decode_texts(reader)?,
            21 => self.previous = Some(decode_time(reader)?),
            22 => {
                reader.tuple::<4>()?;
                let (format, repository) = (reader.text()?.to_owned(), reader.text()?.to_owned());
                let (snapshot, tree) = (reader.fixed()?, reader.fixed()?);
                self.imported = Some(Imported { format, repository, snapshot, tree });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn into_snapshot(self) -> Option<Snapshot> {
        Some(Snapshot {
            start: self.start?,
            end: self.end?,
            host: self.host?,
            profile: self.profile,
            tags: self.tags,
            roots: self.roots?,
            statistics: self.statistics,
            outcome: self.outcome?,
            problems: self.problems,
            problem_count: self.problem_count,
            hooks: self.hooks,
            parent: self.parent,
            definition: self.definition,
            configuration: self.configuration,
            program: self.program?,
            user: self.user,
            class_rule: self.class_rule?,
            run: self.run?,
            description: self.description,
            anomalies: self.anomalies,
            previous: self.previous,
            imported: self.imported,
        })
    }
}

fn decode_texts(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    (0..reader.array()?).map(|_| reader.text().map(str::to_owned)).collect()
}

fn decode_root(reader: &mut Reader<'_>) -> Result<Root, DecodeError> {
    reader.tuple::<3>()?;
    let path = reader.bytes()?.to_vec();
    let restore_name = reader.bytes()?.to_vec();
    let node = decode_node(reader)?;
    if !is_valid_restore_name(&restore_name) || restore_name.rsplit(|byte| *byte == b'/').next() != Some(&node.name) {
        return Err(reader.error("the restore name of a root is not allowed"));
    }
    Ok(Root { path, restore_name, node })
}

fn decode_problem(reader: &mut Reader<'_>) -> Result<Problem, DecodeError> {
    reader.tuple::<3>()?;
    Ok(Problem { kind: reader.text()?.to_owned(), path: reader.bytes()?.to_vec(), message: reader.text()?.to_owned() })
}

fn decode_hook(reader: &mut Reader<'_>) -> Result<HookResult, DecodeError> {
    let (mut name, mut outcome, mut message) = (String::new(), String::new(), String::new());
    let mut notes = BTreeMap::new();
    reader.map(|key, reader| {
        let text = match key {
            1 => &mut name,
            2 => &mut outcome,
            3 => &mut message,
            4 => {
                notes = (0..reader.array()?).map(|_| decode_note(reader)).collect::<Result<_, _>>()?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *text = reader.text()?.to_owned();
        Ok(true)
    })?;
    Ok(HookResult { name, outcome, message, notes })
}

fn decode_note(reader: &mut Reader<'_>) -> Result<(String, String), DecodeError> {
    match reader.array()? {
        2 => Ok((reader.text()?.to_owned(), reader.text()?.to_owned())),
        _ => Err(reader.error("a note of a hook is not a key and a value")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{Metadata, NodeKind};
    use super::*;

    fn snapshot(restore_name: &[u8], node_name: &[u8]) -> Snapshot {
        let node = Node { name: node_name.to_vec(), metadata: Metadata::default(), links: None, kind: NodeKind::Fifo };
        Snapshot {
            start: Timestamp { seconds: 1, nanos: 0 },
            end: Timestamp { seconds: 2, nanos: 0 },
            host: "h".into(),
            profile: Some("plex".into()),
            tags: vec!["a".into()],
            roots: vec![Root { path: b"/mnt/x".to_vec(), restore_name: restore_name.to_vec(), node }],
            statistics: Statistics { files: 1, stored_bytes: 2, ..Statistics::default() },
            outcome: Outcome::Incomplete,
            problems: vec![Problem { kind: "changed".into(), path: b"/x".to_vec(), message: "m".into() }],
            problem_count: 5000,
            hooks: vec![HookResult {
                name: "n".into(),
                outcome: "ok".into(),
                message: String::new(),
                notes: BTreeMap::from([("image".into(), "sha256:1".into())]),
            }],
            parent: Some(SnapshotId([7; 32])),
            definition: "d".into(),
            configuration: "c".into(),
            program: "bk".into(),
            user: "root".into(),
            class_rule: 1,
            run: RunId([1; 16]),
            description: None,
            anomalies: vec!["a".into(), "b".into()],
            previous: Some(Timestamp { seconds: 0, nanos: 5 }),
            imported: Some(Imported {
                format: "restic".into(),
                repository: "ab".into(),
                snapshot: [3; 32],
                tree: [4; 32],
            }),
        }
    }

    #[test]
    fn a_snapshot_survives() {
        let snapshot = snapshot(b"mnt/x", b"x");
        assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
    }

    #[test]
    fn restore_names_that_lead_elsewhere_are_refused() {
        for (restore_name, name) in [
            (&b"/x"[..], &b"x"[..]),
            (b"../x", b"x"),
            (b"a/../x", b"x"),
            (b"a//x", b"x"),
            (b"x/", b"x"),
            (b"a/y", b"x"),
        ] {
            assert!(Snapshot::decode(&snapshot(restore_name, name).encode()).is_err(), "{restore_name:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Snapshot::decode(&bytes);
        }
    }
}
