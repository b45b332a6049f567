//! What a run is asked to do.

use std::io::Read;
use std::path::PathBuf;

use crate::chunk::Class;
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
    /// The bytes. An error means that there will be no snapshot.
    pub bytes: Box<dyn Read + Send + 'a>,
}

/// A run.
pub struct BackupOptions {
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
    /// Threads that read, and as many that seal.
    pub threads: usize,
}
