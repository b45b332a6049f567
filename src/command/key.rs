//! `bk key`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Session;
use super::check::rfc3339;
use super::create::{ask_twice, label, new_password_of, read_or_make_key_file};
use super::recovery_kit::RecoveryKitArgs;
use super::session::host_name;
use super::siblings::Siblings;
use crate::clock::Clock;
use crate::format::key_slot::{Credential, Derivation};
use crate::id::{FamilyId, IdPrefix, SHORT_DIGITS};
use crate::operation::key::change;
use crate::repository::{Repository, RepositoryError, Slots, note, opened_by, put_slot, remove_slot, seal_slot, slots};
use crate::store::ObjectName;
use crate::ui::text::{path_text, time_text};
use crate::ui::{Exit, Failure};

/// What removing a slot is not.
pub(super) const NOT_REVOKED: &str = "removing a slot does not change the master key: whoever has opened the \
     repository with it may have kept that. When it has leaked, make a new repository with `bk init` and back up anew";

/// The passwords and keys that open the repositories
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the key slots
    List,
    /// Add a password or key file
    Add(AddArgs),
    /// Replace the password or key file that is used now
    Change(ChangeArgs),
    /// Remove a key slot
    Remove(RemoveArgs),
    /// Print a page with a key of its own, to restore with on a bare machine
    RecoveryKit(RecoveryKitArgs),
}

/// A new password or key.
#[derive(Debug, Args)]
struct NewKey {
    /// File that holds the new password; without it and --new-key-file it is asked for
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    new_password_file: Option<PathBuf>,
    /// File that holds the new key; it is made when it does not exist
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// What the slot is called in lists
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Arguments of `bk key add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    #[command(flatten)]
    new: NewKey,
}

/// Arguments of `bk key change`.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    new: NewKey,
}

/// Arguments of `bk key remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The slot, as `bk key list` shows it
    #[arg(value_name = "ID")]
    id: String,
}

impl KeyCommand {
    /// Does it in every repository.
    ///
    /// # Errors
    /// When no repository can be opened, or as they come. Those not reached are named.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let siblings = Siblings::open(session, session.own_targets(&[])?)?;
        let unreached = siblings.tell_unreached(session);
        if siblings.open.is_empty() {
            return Ok(unreached);
        }
        let done = match self {
            Self::List => list(session, &siblings),
            Self::Add(args) => add(session, &siblings, &args.new),
            Self::Change(args) => change_all(session, &siblings, &args.new),
            Self::Remove(args) => remove(session, &siblings, &args.id),
            Self::RecoveryKit(args) => args.run(session, &siblings),
        };
        done.map(|exit| exit.worst(unreached))
    }
}

/// The digits of a slot that people see.
pub(super) fn short(name: &ObjectName) -> String {
    let mut digits = name.file_name();
    digits.truncate(SHORT_DIGITS);
    digits
}

fn list(session: &Session, siblings: &Siblings) -> Result<Exit, Failure> {
    let mut exit = Exit::Complete;
    let mut all = Vec::new();
    for (target, opened) in &siblings.open {
        let slots = slots(opened.repository.store(), opened.repository.keys())?;
        if !slots.damaged.is_empty() {
            exit = exit.worst(Exit::Damage);
        }
        if session.screen.json {
            all.extend(slots_json(&target.name, &slots));
            continue;
        }
        if siblings.open.len() > 1 {
            session.screen.line(&format!("{} ({})", target.name, target.location));
        }
        for line in slot_lines(&slots) {
            session.screen.line(&line);
        }
    }
    if session.screen.json {
        session.screen.json_line(&json!(all));
    }
    Ok(exit)
}

const fn kind(derivation: Derivation) -> &'static str {
    match derivation {
        Derivation::Passphrase(_) => "password",
        Derivation::KeyFile => "key file",
    }
}

fn slot_lines(slots: &Slots) -> Vec<String> {
    let mut rows = vec![["ID", "KIND", "CREATED", "HOST", "LABEL"].map(str::to_owned)];
    rows.extend(slots.sound.iter().map(|slot| {
        let (created, host) = (time_text(slot.note.created), path_text(slot.note.host.as_bytes()));
        [short(&slot.name), kind(slot.derivation).into(), created, host, path_text(slot.note.label.as_bytes())]
    }));
    let widths: Vec<_> = (0..4).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ", width = *width));
            cells.collect::<String>() + &row[4]
        })
        .collect();
    lines.extend(slots.damaged.iter().map(|(name, error)| format!("{}  damaged: {error}", short(name))));
    lines
}

fn slots_json(repository: &str, slots: &Slots) -> Vec<serde_json::Value> {
    let sound = slots.sound.iter().map(|slot| {
        json!({
            "repository": repository,
            "id": slot.name.file_name(),
            "kind": kind(slot.derivation),
            "label": slot.note.label,
            "created": rfc3339(slot.note.created),
            "host": slot.note.host,
        })
    });
    let damaged = slots.damaged.iter().map(|(name, error)| {
        json!({ "repository": repository, "id": name.file_name(), "kind": "damaged", "message": error.to_string() })
    });
    sound.chain(damaged).collect()
}

impl NewKey {
    fn credential(&self, session: &Session) -> Result<Credential, Failure> {
        if let Some(path) = &self.new_password_file {
            return new_password_of(path).map(Credential::Passphrase);
        }
        if let Some(path) = &self.new_key_file {
            return read_or_make_key_file(session, path).map(Credential::KeyFile);
        }
        ask_twice("new password: ", "give --new-password-file or --new-key-file").map(Credential::Passphrase)
    }
}

/// One slot for all siblings of a family, made when the first of them needs it.
pub(super) struct SlotMaker<'a> {
    session: &'a Session,
    credential: &'a Credential,
    label: &'a str,
    made: Vec<(FamilyId, Vec<u8>)>,
}

impl<'a> SlotMaker<'a> {
    /// Makes slots that `credential` opens.
    pub(super) const fn new(session: &'a Session, credential: &'a Credential, label: &'a str) -> Self {
        Self { session, credential, label, made: Vec::new() }
    }

    fn slot(&mut self, repository: &Repository) -> Result<Vec<u8>, RepositoryError> {
        let family = repository.keys().family();
        if let Some((_, slot)) = self.made.iter().find(|(of, _)| *of == family) {
            return Ok(slot.clone());
        }
        let note = note(self.label, self.session.clock.wall(), &host_name());
        let slot = seal_slot(repository.keys(), self.credential, &note)?;
        self.made.push((family, slot.clone()));
        Ok(slot)
    }

    /// Adds the slot to a repository.
    pub(super) fn add(&mut self, repository: &Repository) -> Result<ObjectName, RepositoryError> {
        repository.check_writable()?;
        let slot = self.slot(repository)?;
        put_slot(repository.store(), repository.keys(), self.credential, &slot)
    }
}

/// Does `each` in every repository; one that fails does not keep the others from it.
fn in_each(
    session: &Session,
    siblings: &Siblings,
    mut each: impl FnMut(&Repository, &str) -> Result<(), Failure>,
) -> Exit {
    let mut exit = Exit::Complete;
    for (target, opened) in &siblings.open {
        if let Err(failure) = each(&opened.repository, &target.name) {
            session.screen.warning(&format!("{} was not changed, or only in part", target.name));
            session.screen.failure(&failure);
            exit = exit.worst(failure.exit);
        }
    }
    exit
}

fn said(session: &Session, message: &str, name: &ObjectName, repository: &str) {
    if session.screen.json {
        session.screen.json_line(&json!({
            "message_type": "key",
            "repository": repository,
            "action": message,
            "id": name.file_name(),
        }));
    } else {
        session.screen.line(&format!("{message} key slot {} in {repository}", short(name)));
    }
}

fn add(session: &Session, siblings: &Siblings, new: &NewKey) -> Result<Exit, Failure> {
    let credential = new.credential(session)?;
    let mut maker = SlotMaker::new(session, &credential, new.label.as_deref().unwrap_or(label(&credential)));
    Ok(in_each(session, siblings, |repository, name| {
        said(session, "added", &maker.add(repository)?, name);
        Ok(())
    }))
}

fn change_all(session: &Session, siblings: &Siblings, new: &NewKey) -> Result<Exit, Failure> {
    let Some(current) = &siblings.credential else { return Ok(Exit::Failed) };
    let credential = new.credential(session)?;
    let is_same = match (current, &credential) {
        (Credential::Passphrase(old), Credential::Passphrase(new)) => old.matches(new),
        (Credential::KeyFile(old), Credential::KeyFile(new)) => old.matches(new),
        _ => false,
    };
    if is_same {
        return Err(Failure::usage("the new password or key is the one that is used now", "give another one"));
    }
    let mut maker = SlotMaker::new(session, &credential, new.label.as_deref().unwrap_or(label(&credential)));
    let exit = in_each(session, siblings, |repository, name| {
        repository.check_writable()?;
        let changed = change(repository, current, &credential, &maker.slot(repository)?)?;
        said(session, "added", &changed.added, name);
        changed.removed.iter().for_each(|removed| said(session, "removed", removed, name));
        Ok(())
    });
    let place = siblings.open.first().and_then(|(target, _)| session.key_file(target).ok().flatten());
    let family = &session.config.family;
    match place.or_else(|| family.password_file.clone()) {
        Some(path) => session.screen.note(&format!(
            "bk still reads the old one from {}: put the new one there, or name it in the configuration",
            path.display()
        )),
        None => session.screen.note("whatever gives bk the old one has to give the new one from now on"),
    }
    session.screen.note(NOT_REVOKED);
    Ok(exit)
}

fn remove(session: &Session, siblings: &Siblings, id: &str) -> Result<Exit, Failure> {
    if !IdPrefix::looks_like(id) {
        return Err(Failure::usage(
            format!("`{id}` is no key slot"),
            "type at least 8 digits, as `bk key list` shows them",
        ));
    }
    let mut removed = false;
    let mut exit = Exit::Complete;
    for (target, opened) in &siblings.open {
        let repository = &opened.repository;
        match remove_one(siblings, repository, id) {
            Ok(name) => {
                removed = true;
                said(session, "removed", &name, &target.name);
            }
            // Siblings need not have the same slots.
            Err(failure) if failure.exit == Exit::Usage && siblings.open.len() > 1 => {
                session.screen.warning(&format!("{}: {}", target.name, failure.message));
                exit = exit.worst(Exit::Failed);
            }
            Err(failure) => return Err(failure),
        }
    }
    if removed {
        session.screen.note(NOT_REVOKED);
    }
    Ok(exit)
}

fn remove_one(siblings: &Siblings, repository: &Repository, id: &str) -> Result<ObjectName, Failure> {
    repository.check_writable()?;
    let (store, keys) = (repository.store(), repository.keys());
    let all = slots(store, keys)?;
    if let (Some(current), true) = (&siblings.credential, all.sound.len() > 1)
        && opened_by(store, current)?.iter().any(|name| name.file_name().starts_with(id))
    {
        return Err(Failure::usage(
            format!("key slot {id} is the one that is used now"),
            "use `bk key change`, or open the repository with another password or key to remove this one",
        ));
    }
    Ok(remove_slot(store, keys, id)?)
}
