//! Quarantine: what a repair has taken out, whole as it was, with a note that says why. bk-repository(7), "REPAIRING".

use std::collections::HashMap;

use super::{RepairError, Tools};
use crate::clock::Clock;
use crate::id::{IdPrefix, SHORT_DIGITS};
use crate::repository::Repository;
use crate::store::{Area, ObjectName, Quarantined, StoreError};

/// First line of a note.
const FIRST_LINE: &str = "taken out of a bk repository by bk repair";
/// A longer note is not read, in bytes.
const MAX_NOTE_LEN: u64 = 16 << 10;

/// An object in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name there.
    pub name: Quarantined,
    /// The name that it had.
    pub original: ObjectName,
    /// Length, in bytes.
    pub size: u64,
    /// Why it was taken out, when the note can be read.
    pub reason: Option<String>,
}

/// Takes an object out of the repository; `false` when it is gone already. The note is put first, so that nothing is ever
/// there without one.
pub(super) fn take_out(
    repository: &Repository,
    name: &ObjectName,
    reason: &str,
    clock: &dyn Clock,
) -> Result<bool, RepairError> {
    let seconds = clock.wall().seconds;
    let Some(held) = name.quarantined(seconds) else { return Ok(false) };
    let store = repository.store();
    let reason: String = reason.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    let note = format!("{FIRST_LINE}\nobject: {name}\nseconds since 1970: {seconds}\nreason: {reason}\n");
    match store.put_new(&held.note(), note.as_bytes()) {
        // An earlier try in the same second.
        Ok(()) | Err(StoreError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    store.drop_copy(name);
    match store.move_new(name, &ObjectName::Quarantined(held)) {
        Ok(()) => Ok(true),
        Err(StoreError::Missing { .. }) => {
            let _ = store.delete(&held.note());
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Everything in quarantine, oldest first.
///
/// # Errors
/// When the store cannot be listed or read.
pub fn list(repository: &Repository) -> Result<Vec<Held>, RepairError> {
    let mut notes: HashMap<ObjectName, u64> = HashMap::new();
    let mut held = Vec::new();
    for listed in repository.store().list(Area::Quarantine)? {
        let ObjectName::Quarantined(name) = listed.name else { continue };
        match name.original() {
            _ if name.is_note => drop(notes.insert(listed.name, listed.size)),
            Some(original) => held.push(Held { name, original, size: listed.size, reason: None }),
            None => {}
        }
    }
    for one in &mut held {
        let note = one.name.note();
        if notes.get(&note).is_some_and(|size| *size <= MAX_NOTE_LEN) {
            one.reason = repository.store().get(&note).ok().and_then(|bytes| reason_of(&bytes));
        }
    }
    held.sort_by_key(|one| (one.name.seconds, one.name));
    Ok(held)
}

fn reason_of(note: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(note).ok()?;
    text.lines().find_map(|line| line.strip_prefix("reason: ")).map(str::to_owned)
}

/// The one in quarantine that a user means: by its name there or the one that it had, with or without the folder, or by
/// the first eight digits of its hash at least.
///
/// # Errors
/// [`RepairError::NoSuch`] when none is meant, or more than one.
pub fn find<'a>(all: &'a [Held], text: &str) -> Result<&'a Held, RepairError> {
    let prefix = IdPrefix::new(text).ok();
    let is_meant = |one: &&Held| {
        let (name, original) = (ObjectName::Quarantined(one.name), one.original);
        let names = [name.to_string(), name.file_name(), original.to_string(), original.file_name()];
        names.iter().any(|known| known == text) || prefix.as_ref().is_some_and(|prefix| prefix.matches(name.hash()))
    };
    let mut meant = all.iter().filter(is_meant);
    let hint = "see `bk repair quarantine` for the names";
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            Err(RepairError::NoSuch { message: format!("there is nothing called `{text}` in quarantine"), hint })
        }
        _ => Err(RepairError::NoSuch {
            message: format!("more than one object in quarantine is called `{text}`"),
            hint: "type its whole name, as `bk repair quarantine` shows it",
        }),
    }
}

/// Gives an object the name back that it had.
///
/// # Errors
/// As they come; it is still in quarantine then.
pub fn put_back(repository: &Repository, held: &Held) -> Result<(), RepairError> {
    repository.check_prunable()?;
    repository.store().move_new(&ObjectName::Quarantined(held.name), &held.original)?;
    repository.store().delete(&held.name.note())?;
    Ok(())
}

/// Deletes what is in quarantine, for good.
///
/// # Errors
/// As they come.
pub fn remove(repository: &Repository, all: &[Held], tools: &Tools<'_>) -> Result<(), RepairError> {
    repository.check_prunable()?;
    for one in all {
        tools.go_on()?;
        repository.store().delete(&ObjectName::Quarantined(one.name))?;
        repository.store().delete(&one.name.note())?;
    }
    Ok(())
}

/// The beginning of its hash, as it can be typed.
#[must_use]
pub fn short(held: &Held) -> String {
    let mut text = crate::id::to_hex(held.original.hash());
    text.truncate(SHORT_DIGITS);
    text
}
