//! From a target to its store: mounted, with what its server wants, and copies of what is far away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credentials::server_credentials;
use super::session::{Target, variable};
use crate::store::cache::TREE_BYTES;
use crate::store::location::Service;
use crate::store::remote::{Credentials, RemoteStore, Settings};
use crate::store::{CachedStore, Format, LocalStore, Location, SftpStore, Stop, Store, StoreError};
use crate::ui::Failure;

/// Whether copies of what is far away may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// They may.
    Kept,
    /// What lies there is to be looked at.
    None,
}

/// Where copies of what is far away are kept.
fn cache_folder(location: &Location) -> Option<PathBuf> {
    let data = || variable("BK_DATA_DIR").map(|data| data.join("cache"));
    let of_root = || rustix::process::geteuid().is_root().then(|| PathBuf::from("/var/cache/bk"));
    let of_user = || {
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .map(|all| all.join("bk"))
    };
    let folder = variable("BK_CACHE_DIR").or_else(|| variable("CACHE_DIRECTORY")).or_else(data);
    let name = blake3::hash(location.to_string().as_bytes());
    let folder = folder.or_else(of_root).or_else(of_user)?;
    Some(folder.join(crate::id::to_hex(&name.as_bytes()[..8])))
}

/// What opens the store of a target, wherever and whenever it is called: all that it needs has been read.
///
/// # Errors
/// When the credentials of its server cannot be read.
pub(super) fn store_opener(
    target: &Target,
    copies: Copies,
    stop: Stop,
) -> Result<impl FnOnce() -> Result<Arc<dyn Store>, StoreError> + Send + use<>, Failure> {
    let credentials = match &target.location {
        Location::Remote(remote) => server_credentials(target, remote)?,
        Location::Local(_) => None,
    };
    let mut target = target.clone();
    target.remote.stop = stop;
    Ok(move || open_store(&target, credentials, copies))
}

fn open_store(target: &Target, credentials: Option<Credentials>, copies: Copies) -> Result<Arc<dyn Store>, StoreError> {
    check_mounted(target)?;
    if target.format == Format::Restic {
        return open_restic_store(target, credentials);
    }
    let far: Arc<dyn Store> = match &target.location {
        Location::Local(path) => {
            let store = LocalStore::open(path)?.with_min_free(target.min_free_bytes);
            return Ok(Arc::new(store.stamped_by(target.stamps.clone())));
        }
        Location::Remote(remote) if remote.service == Service::Sftp => {
            Arc::new(SftpStore::open(remote, &target.remote)?)
        }
        Location::Remote(remote) => Arc::new(RemoteStore::open(remote, &target.remote, credentials)?),
    };
    Ok(match cache_folder(&target.location).filter(|_| copies == Copies::Kept) {
        Some(folder) => Arc::new(CachedStore::new(far, folder, TREE_BYTES)),
        None => far,
    })
}

/// Copies of what is far away are no use here: they are kept by names of ours.
fn open_restic_store(target: &Target, credentials: Option<Credentials>) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &target.location {
        Location::Local(path) => Arc::new(LocalStore::open_restic(path)?.with_min_free(target.min_free_bytes)),
        Location::Remote(remote) if remote.service == Service::Sftp => {
            Arc::new(SftpStore::open_restic(remote, &target.remote)?)
        }
        Location::Remote(remote) => Arc::new(RemoteStore::open_restic(remote, &target.remote, credentials)?),
    })
}

/// Makes the place of a new repository in restic's format.
///
/// # Errors
/// When the credentials of its server cannot be read; [`StoreError::NotEmpty`] when anything is there.
pub(super) fn create_restic_store(target: &Target, stop: Stop) -> Result<Arc<dyn Store>, Failure> {
    check_mounted(target)?;
    let settings = Settings { stop, ..target.remote.clone() };
    Ok(match &target.location {
        Location::Local(path) => Arc::new(LocalStore::create_restic(path)?.with_min_free(target.min_free_bytes)),
        Location::Remote(remote) if remote.service == Service::Sftp => {
            server_credentials(target, remote)?;
            Arc::new(SftpStore::create_restic(remote, &settings)?)
        }
        Location::Remote(remote) => {
            Arc::new(RemoteStore::create_restic(remote, &settings, server_credentials(target, remote)?)?)
        }
    })
}

/// Refuses a target whose file system is not mounted.
pub(super) fn check_mounted(target: &Target) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(mount) = &target.require_mount else { return Ok(()) };
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let is_mount = match (device(mount), device(&mount.join(".."))) {
        // The root of a file system has another device than the folder above; `/` is its own parent.
        (Ok(here), Ok(above)) => here.0 != above.0 || here == above,
        _ => false,
    };
    if is_mount {
        return Ok(());
    }
    Err(StoreError::NotMounted { mount: mount.clone(), location: target.location.to_string() })
}
