//! What is stopped, paused or set apart right now, written down before it happens: when bk or the machine dies, the
//! next run sets it going again.
//!
//! One file for each `begin`: the first line says which hook with which settings, then come the facts of `begin` as it
//! says them. The file is locked while its run lives, and removed once `end` has done its work.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::facts::MAX_LEN;
use super::{Call, Facts};

/// How much this process has begun.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// A folder of such files.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

/// Something that was begun and is still to be ended.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
    /// The hook that began it.
    pub hook: String,
    /// The profile it was for.
    pub profile: String,
    /// What the hook was told.
    pub variables: Vec<(OsString, OsString)>,
    /// What the hook said when it began.
    pub facts: Facts,
}

#[derive(Serialize, Deserialize)]
struct Header {
    hook: String,
    profile: String,
    /// Names and values as bytes: they need not be text.
    variables: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Journal {
    /// The journal in `folder`, which need not exist.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes down that `call` is about to begin; gives the file for its facts.
    ///
    /// # Errors
    /// As the system says; nothing may be begun then.
    pub fn write_down(&self, call: &Call, profile: &str) -> io::Result<(Pending, File)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let header = Header {
            hook: call.hook.name.clone(),
            profile: profile.to_owned(),
            variables: call
                .variables
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
        };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        // Named so that the last that was begun sorts last.
        let prefix = format!("begun-{:06}-", BEGUN.fetch_add(1, Ordering::Relaxed));
        let mut named = tempfile::Builder::new().prefix(&prefix).suffix(".new").tempfile_in(&self.folder)?;
        named.write_all(&line)?;
        named.as_file().sync_all()?;
        // Locked before it has its name, or another run could take it for one that was left behind.
        flock(named.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        let path = named.path().with_extension("journal");
        let lock = named.persist_noclobber(&path).map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()?;
        let facts = OpenOptions::new().read(true).append(true).mode(0o600).open(&path)?;
        let pending = Pending {
            path,
            _lock: lock,
            hook: header.hook,
            profile: header.profile,
            variables: call.variables.clone(),
            facts: Facts::default(),
        };
        Ok((pending, facts))
    }

    /// What runs that are no more have begun and not ended, the last that was begun first, and files that cannot be
    /// understood.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn left_behind(&self) -> io::Result<(Vec<Pending>, Vec<PathBuf>)> {
        let (mut left, mut broken) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((left, broken)),
            entries => entries?,
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths.into_iter().rev() {
            if path.extension().is_none_or(|extension| extension != "journal") {
                continue;
            }
            match read(&path) {
                Ok(Some(pending)) => left.push(pending),
                Ok(None) => {}
                Err(_) => broken.push(path),
            }
        }
        Ok((left, broken))
    }
}

/// `None` when the run that wrote it still lives, or ended meanwhile.
fn read(path: &Path) -> io::Result<Option<Pending>> {
    let lock = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() || !path.exists() {
        return Ok(None);
    }
    let (header, facts) = said(path)?;
    let variables = header.variables.into_iter();
    Ok(Some(Pending {
        path: path.to_owned(),
        _lock: lock,
        hook: header.hook,
        profile: header.profile,
        variables: variables.map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value))).collect(),
        facts,
    }))
}

fn said(path: &Path) -> io::Result<(Header, Facts)> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let header: Header = serde_json::from_str(&line)?;
    let mut said = Vec::new();
    reader.take(MAX_LEN).read_to_end(&mut said)?;
    Ok((header, Facts::parse(&said)))
}

impl Pending {
    /// What the hook has said so far, also when it failed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_again(&self) -> io::Result<Facts> {
        Ok(said(&self.path)?.1)
    }

    /// It has been ended.
    ///
    /// # Errors
    /// When the file cannot be removed: it will be ended once more then.
    pub fn forget(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Where it is written down.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
