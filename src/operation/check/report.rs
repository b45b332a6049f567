//! What a check says: what is damaged, what that touches, and what to do next.

use super::turn::Standing;
use crate::format::node::Timestamp;
use crate::id::SnapshotId;
use crate::repository::RepositoryError;
use crate::store::{Area, StoreError};

/// How sure it is that something is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It is not what was stored, or it is gone.
    Damage,
    /// It could not be looked at: no permission, no memory, a store that does not answer.
    Unread,
}

/// One object that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name in the store; a word such as `index` where there is no object to name.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// How sure that is.
    pub severity: Severity,
    /// Snapshots that need it.
    pub snapshots: Vec<SnapshotId>,
    /// Entries of those snapshots that cannot be restored whole because of it, counted in each snapshot.
    pub entries: u64,
    /// The next step for the user.
    pub hint: &'static str,
}

/// A snapshot of which something cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffectedSnapshot {
    /// Which one.
    pub id: SnapshotId,
    /// When it was begun.
    pub start: Timestamp,
    /// The machine.
    pub host: String,
    /// The profile, unless paths were named.
    pub profile: Option<String>,
    /// The first paths that are affected; one with a `/` at its end stands for everything below.
    pub paths: Vec<Vec<u8>>,
    /// All that are affected.
    pub entries: u64,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Configuration objects.
    pub configs: u64,
    /// Key slots.
    pub keys: u64,
    /// Packs whose presence and size were compared with the index.
    pub packs: u64,
    /// Packs that were read from end to end.
    pub read_packs: u64,
    /// Index objects.
    pub indexes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Facts objects.
    pub facts: u64,
    /// Marks.
    pub marks: u64,
    /// Trees and content lists that were read, each once.
    pub trees: u64,
    /// Entries of those trees.
    pub entries: u64,
}

impl Counts {
    /// Counts objects of an area.
    pub(super) const fn add(&mut self, area: Area, objects: u64) {
        let count = match area {
            Area::Config => &mut self.configs,
            Area::Keys => &mut self.keys,
            Area::Packs => &mut self.packs,
            Area::Index => &mut self.indexes,
            Area::Snapshots => &mut self.snapshots,
            Area::Facts => &mut self.facts,
            Area::Marks => &mut self.marks,
            Area::Temporary | Area::Quarantine | Area::Restic(_) => return,
        };
        *count += objects;
    }
}

/// How deep the check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The bytes of objects against their names; nothing was opened.
    Names,
    /// Everything outside packs was opened and every tree walked; packs were only listed.
    Structure,
    /// The same, and some packs were read.
    SomeContents,
    /// The same, and every pack was read.
    AllContents,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The repository.
    pub location: String,
    /// How deep it went.
    pub depth: Depth,
    /// Objects that are not whole.
    pub findings: Vec<Finding>,
    /// Snapshots that suffer from it, oldest first.
    pub affected: Vec<AffectedSnapshot>,
    /// Things worth knowing that are no damage.
    pub notes: Vec<String>,
    /// What was looked at.
    pub counts: Counts,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// How long packs were not read; `None` when nothing was to be noted.
    pub standing: Option<Standing>,
}

impl CheckReport {
    pub(super) fn new(location: String, depth: Depth) -> Self {
        let (findings, affected, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { location, depth, findings, affected, notes, counts: Counts::default(), read_bytes: 0, standing: None }
    }

    /// Whether damage was found.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage) || !self.affected.is_empty()
    }

    /// Whether something could not be looked at.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Unread)
    }
}

impl Finding {
    pub(super) fn new(object: impl Into<String>, severity: Severity, reason: String, hint: &'static str) -> Self {
        Self { object: object.into(), reason, severity, snapshots: Vec::new(), entries: 0, hint }
    }

    /// Of an object outside packs that an error is about.
    pub(super) fn of_error(object: impl Into<String>, area: Area, error: &RepositoryError) -> Self {
        let severity = severity(error);
        let hint = match severity {
            Severity::Damage => hint(area),
            Severity::Unread => UNREAD,
        };
        Self::new(object, severity, reason(error), hint)
    }
}

/// For blobs that no index object lists while there are packs that none describes.
pub(super) const REMAKE_INDEX: &str = "run `bk repair index`: it reads from the packs themselves what they hold";
/// For a pack that is gone or of the wrong size: a writer sees that by itself.
pub(super) const STORE_ANEW: &str = "run `bk backup` again: it stores anew what the machine still has";
/// For a pack that looks right from outside: a writer would rely on it.
pub(super) const REPLACE_PACK: &str = "`bk repair packs` (it plans first) saves what is whole in it, and takes the rest \
                                       from a sibling or from the next `bk backup`";
/// For a damaged pack of which nothing is missed.
pub(super) const NOTHING_LOST: &str = "no snapshot has lost anything by it; look after the disk";
/// For what could not be looked at.
pub(super) const UNREAD: &str = "see that the store answers and may be read, then check again";

/// The next step when an object of `area` is damaged.
pub(super) const fn hint(area: Area) -> &'static str {
    match area {
        Area::Config => "put it back from a copy of the repository; the other generations serve meanwhile",
        Area::Keys => "add the password or key again with `bk key add`, then remove this slot with `bk key remove`",
        Area::Packs => REPLACE_PACK,
        Area::Index => "`bk repair index` (it plans first) makes it anew from the packs",
        Area::Snapshots => {
            "`bk repair snapshots` (it plans first) takes it out; what it backed up is in its neighbours too"
        }
        Area::Facts => "put it back from a copy or take it out: pins and verifications that it noted are lost then",
        Area::Marks => "put it back from a copy; without one, take it out when no prune has run for three days",
        Area::Temporary | Area::Quarantine | Area::Restic(_) => "leave it: it is no part of the repository",
    }
}

/// Whether an error says that stored bytes are lost.
pub(super) fn severity(error: &RepositoryError) -> Severity {
    let is_lost = match error {
        RepositoryError::Store(StoreError::Io { source, .. }) => {
            source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        }
        RepositoryError::Slot { .. } | RepositoryError::Version { .. } => true,
        error => error.is_damage(),
    };
    if is_lost { Severity::Damage } else { Severity::Unread }
}

/// What an error says of its object, without the object's name.
pub(super) fn reason(error: &RepositoryError) -> String {
    match error {
        RepositoryError::Damaged { .. } => "its bytes do not match its name".into(),
        RepositoryError::Object { source, .. } => format!("it cannot be opened: {source}"),
        RepositoryError::Malformed { source, .. } => format!("it is malformed: {source}"),
        RepositoryError::Slot { source, .. } => format!("it cannot be opened: {source}"),
        RepositoryError::Segment { offset, reason, .. } => {
            format!("the segment at byte {offset} cannot be used: {reason}")
        }
        RepositoryError::Store(StoreError::Missing { .. }) => "it is gone".into(),
        RepositoryError::Store(StoreError::Short { size, .. }) => format!("it was cut short at byte {size}"),
        RepositoryError::Store(StoreError::Io { source, .. }) => format!("it cannot be read: {source}"),
        error => error.to_string(),
    }
}
