//! Repositories in the format of restic and rustic: read in place, imported from, exported to.
//!
//! rustic_core does the format; what it leaves undone is done here. It swallows errors of what it reads: our own threads
//! read, and note every error (`export`). It does not see what it wrote itself: the index is read anew for each
//! snapshot. It knows no locks: restic's are heeded and held (`lock`). It gives words for errors: the store's own
//! are kept (`backend`). It stops at the first damaged object: each is read alone (`read`, `check`).

mod backend;
mod check;
mod error;
mod export;
mod key;
mod lock;
mod node;
mod packs;
mod prune;
mod read;
mod seal;
mod snapshot;
mod tree;

use std::sync::Arc;

use rustic_core::repofile::{IndexFile, IndexId, KeyId};
use rustic_core::{
    ConfigOptions, Credentials, FileType, Id, IndexedFullStatus, KeyOptions, OpenStatus, ReadBackend as _, Repository,
    RepositoryBackends, RepositoryOptions, RusticError,
};

pub use check::{CheckFinding, CheckReport};
pub use error::ResticError;
pub use export::ExportStats;
pub use lock::Access;
pub use prune::PruneStats;
pub use snapshot::Exported;

use crate::crypto::Passphrase;
use crate::store::{Area, ResticArea, Store, StoreError};
use backend::{Backend, Shared};
use lock::Lock;
use seal::Seal;

/// An open repository in restic's format. It is locked as long as this, or what was made of it, lives.
pub struct Restic {
    backend: Arc<Backend>,
    repository: Repository<OpenStatus>,
    id: String,
    lock: Option<Lock>,
    /// Whether the packs that the index names were looked for.
    packs_are_there: bool,
}

impl std::fmt::Debug for Restic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restic").field("location", &self.location()).finish_non_exhaustive()
    }
}

fn unopened(backend: &Arc<Backend>) -> Result<Repository<()>, Box<RusticError>> {
    // Its cache would lie where no configuration of ours says, and hold what is read once.
    let options = RepositoryOptions::default().no_cache(true);
    Repository::new(&options, &RepositoryBackends::new(Arc::new(Shared(Arc::clone(backend))), None))
}

/// Opens with the first key that the password fits. A damaged one does not keep the others from being tried.
fn open_with_any_key(
    backend: &Arc<Backend>,
    password: &Passphrase,
    warn: &dyn Fn(&str),
) -> Result<Repository<OpenStatus>, ResticError> {
    let failed = |error: Box<RusticError>| backend.error("open", &error);
    let location = backend.store().location();
    let keys: Vec<Id> = Shared(Arc::clone(backend)).list(FileType::Key).map_err(failed)?;
    let credentials = Credentials::password(password.as_text());
    let mut damaged = None;
    for key in &keys {
        backend.show_only_key(&keys, *key);
        match unopened(backend).map_err(failed)?.open(&credentials) {
            Ok(repository) => {
                backend.show_every_key();
                return Ok(repository);
            }
            Err(error) if error.is_incorrect_password() => {}
            Err(error) => {
                let error = match backend.error("open", &error) {
                    // Its key opened; what it should open is another version, or not what it was.
                    ResticError::Library { location, reason, .. } if !reason.contains("ersion") => {
                        ResticError::Damaged { location, object: "the configuration or a key".into(), reason }
                    }
                    error => error,
                };
                warn(&format!("key {} of {location} cannot be used: {error}", KeyId::from(*key)));
                damaged = Some(error);
            }
        }
    }
    Err(damaged.unwrap_or(ResticError::WrongPassword { location, keys: keys.len() }))
}

fn seal(backend: &Backend, repository: &Repository<OpenStatus>) -> Result<Seal, ResticError> {
    Seal::new(&repository.key()).ok_or_else(|| ResticError::Damaged {
        location: backend.store().location(),
        object: "the master key".into(),
        reason: "it has not the length of one".into(),
    })
}

impl Restic {
    /// Opens the repository and takes the lock that `access` needs. What is unusual and does not stop it goes to `warn`.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`], [`ResticError::WrongPassword`], [`ResticError::Locked`]; others as they come.
    pub fn open(
        store: Arc<dyn Store>,
        password: &Passphrase,
        access: Access,
        warn: &dyn Fn(&str),
    ) -> Result<Self, ResticError> {
        if store.list(Area::Restic(ResticArea::Config))?.is_empty() {
            return Err(StoreError::NoRepository { location: store.location() }.into());
        }
        let backend = Arc::new(Backend::new(store));
        let repository = open_with_any_key(&backend, password, warn)?;
        Self::locked(backend, repository, access, warn)
    }

    /// Makes a repository in an empty place, as restic 0.14 and later make them, and opens it for writing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn create(store: Arc<dyn Store>, password: &Passphrase) -> Result<Self, ResticError> {
        let backend = Arc::new(Backend::new(store));
        let failed = |error: Box<RusticError>| backend.error("make a repository in", &error);
        let credentials = Credentials::password(password.as_text());
        let made = unopened(&backend).map_err(failed)?;
        let repository = made.init(&credentials, &KeyOptions::default(), &ConfigOptions::default()).map_err(failed)?;
        Self::locked(backend, repository, Access::Write, &|_| ())
    }

    fn locked(
        backend: Arc<Backend>,
        repository: Repository<OpenStatus>,
        access: Access,
        warn: &dyn Fn(&str),
    ) -> Result<Self, ResticError> {
        let lock = Lock::take(&backend, seal(&backend, &repository)?, access, warn)?;
        let id = repository.config().id.to_hex().as_str().to_owned();
        Ok(Self { backend, repository, id, lock, packs_are_there: false })
    }

    /// The id of the repository, in hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> String {
        self.backend.store().location()
    }

    fn failed(&self, action: &'static str) -> impl Fn(Box<RusticError>) -> ResticError {
        let backend = Arc::clone(&self.backend);
        move |error| backend.error(action, &error)
    }

    fn check_lock(&self) -> Result<(), ResticError> {
        self.lock.as_ref().map_or(Ok(()), Lock::check)
    }

    /// Names of index objects that cannot be used, each with the reason. They are hidden from then on.
    fn hide_damaged_indexes(&self) -> Result<Vec<(String, String)>, ResticError> {
        let shared = Shared(Arc::clone(&self.backend));
        let mut damaged = Vec::new();
        for id in shared.list(FileType::Index).map_err(self.failed("list the index of"))? {
            let read = self.repository.get_file::<IndexFile>(&IndexId::from(id));
            if let Err(error) = read {
                let error = self.backend.error("read an index of", &error);
                if matches!(error, ResticError::Store(ref error) if !error.is_missing()) {
                    return Err(error);
                }
                self.backend.hide(FileType::Index, id);
                damaged.push((ResticArea::Index.object(backend::bytes_of(id)).to_string(), error.to_string()));
            }
        }
        Ok(damaged)
    }

    /// The repository once more, to be given an index.
    fn reopened(&self) -> Result<Repository<OpenStatus>, ResticError> {
        let failed = self.failed("open");
        let key = Credentials::Masterkey(self.repository.key());
        unopened(&self.backend).map_err(&failed)?.open(&key).map_err(failed)
    }

    /// The repository with its index. When an index object is damaged, packs that only it knew are read for their own
    /// headers instead, and `warn` is told.
    fn indexed(&self, warn: &dyn Fn(&str)) -> Result<Repository<IndexedFullStatus>, ResticError> {
        let failed = self.failed("read the index of");
        let error = match self.reopened()?.to_indexed() {
            Ok(indexed) => return Ok(indexed),
            Err(error) => failed(error),
        };
        if matches!(error, ResticError::Store(ref error) if !error.is_missing()) {
            return Err(error);
        }
        let damaged = self.hide_damaged_indexes()?;
        if damaged.is_empty() {
            return Err(error);
        }
        for (name, reason) in &damaged {
            warn(&format!("{name} of {} cannot be used, packs are read for what it said: {reason}", self.location()));
        }
        self.reopened()?.to_indexed_checked().map_err(failed)
    }
}
