//! Making a repository, and what opens it.

use std::fs::{DirBuilder, File};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::credentials::server_credentials;
use super::opening::check_mounted;
use super::session::{Target, ask, host_name, read_secret};
use super::{Opened, Session};
use crate::clock::Clock;
use crate::crypto::{KeyFile, Keys, Passphrase};
use crate::format::key_slot::Credential;
use crate::repository::{Repository, RepositoryError, note};
use crate::store::location::Service;
use crate::store::{LocalStore, Location, RemoteStore, SftpStore, Store, StoreError};
use crate::ui::{Exit, Failure};

/// Makes the repository of `target`: a sibling of another that is open, with its keys, or the first of a family, with
/// the key file or password that counts for it. A key file that does not exist is made.
///
/// # Errors
/// When the location holds anything already, there is no password or an empty one, or as they come. The key file stays
/// then; it is used by the next attempt.
pub fn create(session: &Session, target: &Target, sibling: Option<&Repository>) -> Result<Opened, Failure> {
    check_mounted(target)?;
    let created = session.clock.wall();
    let mut target = target.clone();
    target.remote.stop = session.stop();
    let target = &target;
    let place = Place::look(target)?;
    let make_store = || place.make(target);
    let repository = match sibling {
        Some(sibling) => sibling.create_sibling(make_store()?, created)?,
        None => {
            let credential = first_credential(session, target)?;
            let keys = Keys::generate().map_err(RepositoryError::from)?;
            let note = note(label(&credential), created, &host_name());
            Repository::create(make_store()?, keys, &credential, &note)?
        }
    };
    Ok(Opened { name: target.name.clone(), repository })
}

/// A place that may be used for a new repository.
enum Place<'a> {
    Folder(&'a Path),
    Remote(Arc<dyn Store>),
}

impl<'a> Place<'a> {
    /// Refuses what holds anything, before a key is made for it.
    fn look(target: &'a Target) -> Result<Self, Failure> {
        match &target.location {
            Location::Local(path) => refuse_occupied(path).map(|()| Self::Folder(path)),
            Location::Remote(remote) if remote.service == Service::Sftp => {
                server_credentials(target, remote)?;
                let store = SftpStore::create(remote, &target.remote);
                store.map(|store| Self::Remote(Arc::new(store))).map_err(occupied)
            }
            Location::Remote(remote) => {
                let store = RemoteStore::create(remote, &target.remote, server_credentials(target, remote)?);
                store.map(|store| Self::Remote(Arc::new(store))).map_err(occupied)
            }
        }
    }

    fn make(&self, target: &Target) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::Folder(path) => Ok(Arc::new(LocalStore::create(path)?.with_min_free(target.min_free_bytes))),
            Self::Remote(store) => Ok(Arc::clone(store)),
        }
    }
}

/// To name a place that is in use is a mistake of the user.
fn occupied(error: StoreError) -> Failure {
    let is_occupied = matches!(error, StoreError::NotEmpty { .. });
    let mut failure = Failure::from(error);
    if is_occupied {
        failure.exit = Exit::Usage;
    }
    failure
}

/// Says where a new repository and its key are, and what they are worth.
pub fn announce(session: &Session, target: &Target) {
    let screen = &session.screen;
    screen.note(&format!("made the repository {}", target.location));
    let key = match session.key_file(target) {
        Ok(Some(path)) => format!("its key, {},", path.display()),
        _ => "its password".to_owned(),
    };
    screen.note(&format!("without {key} nobody can read the backups: print a copy with `bk key recovery-kit`"));
}

/// What a slot for `credential` is called when the user says nothing.
pub(super) const fn label(credential: &Credential) -> &'static str {
    match credential {
        Credential::Passphrase(_) => "password",
        Credential::KeyFile(_) => "key file",
    }
}

/// Opens a repository; the one that needs no configuration is made when there is none yet.
///
/// # Errors
/// As they come.
pub(super) fn open_or_create(session: &Session, target: &Target) -> Result<Opened, Failure> {
    if target.embedded && target.location.local().is_some_and(|path| !LocalStore::is_finished(path)) {
        let created = create(session, target, None)?;
        announce(session, target);
        return Ok(created);
    }
    session.open(target)
}

/// Refuses a folder that holds anything, before a key is made for it.
fn refuse_occupied(path: &Path) -> Result<(), Failure> {
    // What an interrupted attempt left, an empty folder included, is taken over.
    if !path.exists() || LocalStore::is_unfinished(path).unwrap_or(false) {
        return Ok(());
    }
    Err(occupied(StoreError::NotEmpty { location: path.display().to_string() }))
}

/// What shall open the first repository of a family.
fn first_credential(session: &Session, target: &Target) -> Result<Credential, Failure> {
    if let Some(path) = session.key_file(target)? {
        if let (true, Some(folder)) = (target.embedded, path.parent()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| cannot_make(folder, &error))?;
        }
        return read_or_make_key_file(session, &path).map(Credential::KeyFile);
    }
    let family = &session.config.family;
    let is_given = family.password_file.is_some()
        || family.password_command.is_some()
        || std::env::var_os("BK_PASSWORD").is_some();
    let passphrase = if is_given { session.passphrase()? } else { None };
    match passphrase {
        Some(passphrase) => not_empty(passphrase),
        None => ask_twice(
            &format!("new password for {}: ", target.location),
            "use --key-file with the path of a new file, --password-file, or run in a terminal to be asked",
        ),
    }
    .map(Credential::Passphrase)
}

/// Gives a new password back, unless there is nothing in it.
pub(super) fn not_empty(passphrase: Passphrase) -> Result<Passphrase, Failure> {
    if passphrase.is_empty() {
        return Err(Failure::usage("the password is empty", "use one that nobody can guess, or a key file"));
    }
    Ok(passphrase)
}

/// Asks for a new password, twice so that it is what was meant.
///
/// # Errors
/// When there is no terminal (`otherwise` says what to do then), it is empty, or the two differ.
pub(super) fn ask_twice(prompt: &str, otherwise: &str) -> Result<Passphrase, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("no new password or key was given, and there is no terminal to ask on", otherwise));
    }
    let first = not_empty(ask(prompt)?)?;
    if ask("the same again: ")?.matches(&first) {
        Ok(first)
    } else {
        Err(Failure::usage("the two passwords differ", "run the command again"))
    }
}

/// A new password from a file.
///
/// # Errors
/// When it cannot be read, or is empty.
pub(super) fn new_password_of(path: &Path) -> Result<Passphrase, Failure> {
    not_empty(super::session::passphrase_of(&read_secret(path, "password file")?))
}

/// The key in a file, which is made, readable by its owner only, when it does not exist.
///
/// # Errors
/// When the file holds something else, or cannot be made.
pub(super) fn read_or_make_key_file(session: &Session, path: &Path) -> Result<KeyFile, Failure> {
    if std::fs::symlink_metadata(path).is_ok() {
        return KeyFile::parse(&read_secret(path, "key file")?).map_err(|error| {
            let mut failure = Failure::of(Exit::WrongKey, &error, "name a file that does not exist, and it is made");
            failure.message = format!("{} is no key file: {error}", path.display());
            failure
        });
    }
    let key = KeyFile::generate().map_err(RepositoryError::from)?;
    write_secret(path, key.text().as_bytes())?;
    session.screen.note(&format!("made the key file {}", path.display()));
    if is_in_memory(path) {
        session.screen.warning(&format!(
            "{} lies in memory and is gone after a restart: copy it to a safe place now",
            path.display()
        ));
    }
    Ok(key)
}

/// Keeps a secret in a new file that only its owner may read; durable when this returns.
///
/// # Errors
/// When the file exists already, or as they come; nothing stays then.
pub(super) fn write_secret(path: &Path, text: &[u8]) -> Result<(), Failure> {
    // Under another name first: half a key would stand in the way of every later run.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".bk-new-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(|error| cannot_make(path, &error))?;
    file.write_all(text).and_then(|()| file.as_file().sync_all()).map_err(|error| cannot_make(path, &error))?;
    file.persist_noclobber(path).map_err(|error| cannot_make(path, &error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        cannot_make(path, &error)
    })
}

fn cannot_make(path: &Path, error: &std::io::Error) -> Failure {
    let mut failure = Failure::of(Exit::Failed, error, "check the path, and that you may write there");
    failure.causes.push(std::mem::replace(&mut failure.message, format!("cannot make {}", path.display())));
    failure
}

/// Whether a path is on a file system that a restart empties.
fn is_in_memory(path: &Path) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    rustix::fs::statfs(path).is_ok_and(|system| [TMPFS, RAMFS].contains(&i128::from(system.f_type)))
}
