//! What a run is asked to do.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::chunk::Class;
use crate::format::snapshot::{HookResult, Problem};
use crate::source::exclude::Rules;

/// Who and what a snapshot says it is of.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// This machine.
    pub host: String,
    /// Whoever runs this.
    pub user: String,
    /// The profile, unless paths were named.
    pub profile: Option<String>,
}

/// What is taken and what is left out.
#[derive(Debug, Clone, Default)]
pub struct SourceRules {
    /// Patterns, anchored at each root.
    pub exclude: Rules,
    /// Stay on the file system of each root.
    pub one_file_system: bool,
    /// Leave out the contents of folders that say they are caches (`CACHEDIR.TAG`).
    pub exclude_caches: bool,
    /// Leave out files longer than this, in bytes.
    pub exclude_larger_than: Option<u64>,
    /// Leave out the contents of folders that hold an entry of such a name.
    pub exclude_if_present: Vec<String>,
    /// Take SQLite databases by the online backup of SQLite.
    pub databases: bool,
    /// Cut everything by this class; by the rule of the repository when absent.
    pub class: Option<Class>,
}

/// Bytes that become one file of the snapshot.
pub struct Stream<'a> {
    /// Its name in the snapshot: relative, `/` allowed.
    pub name: String,
    /// The bytes. Their end is a good one only when reading gives 0; an error means that they are not whole.
    pub bytes: Box<dyn Read + Send + 'a>,
    /// What it means when they are not whole.
    pub when_broken: WhenBroken,
    /// What is found out about it, filled in by whoever gives the bytes before their end.
    pub found: Found,
    /// What a whole one has at least, in bytes; when not said, half of what the one before had.
    pub min_bytes: Option<u64>,
}

/// What is found out about a stream while it is read.
#[derive(Debug, Default)]
pub struct StreamFacts {
    /// Rows by table.
    pub rows: BTreeMap<String, u64>,
    /// What is wrong with it, though it is whole.
    pub problems: Vec<String>,
}

/// Shared between the one who reads a stream and the one who gives it.
pub type Found = Arc<Mutex<StreamFacts>>;

/// What hooks did, filled in while the run goes on.
pub type HookResults = Arc<Mutex<Vec<HookResult>>>;

/// What it means that a stream is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBroken {
    /// There will be no snapshot.
    Fail,
    /// The snapshot is made without it, and is incomplete.
    LeaveOut,
}

/// A folder that is read in place of another: a snapshot of its file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitute {
    /// Where to read.
    pub source: PathBuf,
    /// What it stands for.
    pub stands_for: PathBuf,
}

/// Called once all streams are read and before the walk begins; says what is read in place of what, and what is wrong.
pub type AfterStreams<'a> = &'a (dyn Fn() -> (Vec<Substitute>, Vec<Problem>) + Sync);

/// A run.
#[derive(Default)]
pub struct BackupOptions<'a> {
    /// Who and what.
    pub origin: Origin,
    /// Absolute paths.
    pub roots: Vec<PathBuf>,
    /// What is left out.
    pub rules: SourceRules,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Free text.
    pub description: Option<String>,
    /// The profile as TOML.
    pub definition: String,
    /// The configuration as TOML, without secrets.
    pub configuration: String,
    /// Folder for copies of databases.
    pub scratch: PathBuf,
    /// Put no snapshot when nothing changed since the parent.
    pub skip_if_unchanged: bool,
    /// Do all but put a snapshot; the store should keep nothing either.
    pub dry_run: bool,
    /// Read everything, whatever the parent says.
    pub ignore_parent: bool,
    /// Threads that read, and as many that seal; at least one.
    pub threads: usize,
    /// Tables that must be in SQLite databases and have rows, by the path of the database.
    pub tables: BTreeMap<Vec<u8>, Vec<String>>,
    /// What is known to be missing before anything was read.
    pub known_problems: Vec<Problem>,
    /// What hooks did.
    pub hook_results: HookResults,
    /// What happens between the streams and the walk.
    pub after_streams: Option<AfterStreams<'a>>,
}

impl BackupOptions<'_> {
    /// The tables that the database at `path` must have; none where databases are read like other files.
    pub(super) fn tables_of(&self, path: &[u8]) -> Option<&[String]> {
        self.tables.get(path).filter(|_| self.rules.databases).map(Vec::as_slice)
    }
}
