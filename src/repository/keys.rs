//! The key slots of a repository: opening, adding, removing. A slot is read back and opened before any other goes.
//!
//! A slot is sealed for its family, not for one repository: siblings hold the same slots, byte for byte, so a slot has
//! one name in all of them.

use super::{RepositoryError, read_named};
use crate::crypto::{Keys, PassphraseCost};
use crate::format::key_slot::{Credential, Derivation, KeySlot, MAX_SLOT_LEN, Note, SlotError};
use crate::id::ObjectId;
use crate::store::{Area, Listed, ObjectName, Store, StoreError};

/// A slot as a list shows it.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its name.
    pub name: ObjectName,
    /// How its key is derived.
    pub derivation: Derivation,
    /// What it says about itself.
    pub note: Note,
}

/// Every slot of a repository.
#[derive(Debug, Default)]
pub struct Slots {
    /// Those that can be read, oldest first.
    pub sound: Vec<Slot>,
    /// Those that cannot, with the reason.
    pub damaged: Vec<(ObjectName, RepositoryError)>,
}

fn slot_error(name: &ObjectName) -> impl FnOnce(SlotError) -> RepositoryError {
    let name = name.to_string();
    move |source| RepositoryError::Slot { name, source }
}

fn read_slot(store: &dyn Store, object: &Listed) -> Result<(KeySlot, Vec<u8>), RepositoryError> {
    if object.size > MAX_SLOT_LEN {
        return Err(RepositoryError::Damaged { name: object.name.to_string() });
    }
    let bytes = read_named(store, &object.name)?;
    let slot = KeySlot::decode(&bytes).map_err(slot_error(&object.name))?;
    Ok((slot, bytes))
}

/// Opens the keys with whatever slot `credential` fits.
///
/// # Errors
/// [`RepositoryError::WrongKey`] when it fits none. A damaged slot does not keep others from opening.
pub fn open_slots(store: &dyn Store, credential: &Credential) -> Result<Keys, RepositoryError> {
    open_each(store, credential, Ok)
}

/// Opens slot after slot that `credential` fits until `accept` takes the keys.
///
/// # Errors
/// As [`open_slots`]; that of `accept` when it took none.
pub(super) fn open_each<T>(
    store: &dyn Store,
    credential: &Credential,
    accept: impl Fn(Keys) -> Result<T, RepositoryError>,
) -> Result<T, RepositoryError> {
    let listed = store.list(Area::Keys)?;
    let mut trouble = None;
    let mut refused = None;
    for object in &listed {
        let open = || read_slot(store, object)?.0.open(credential).map_err(slot_error(&object.name));
        match open() {
            Ok(keys) => match accept(keys) {
                Ok(accepted) => return Ok(accepted),
                Err(error) => refused = refused.or(Some(error)),
            },
            Err(RepositoryError::Slot { source: SlotError::Wrong, .. }) => {}
            Err(error) => trouble = Some(error),
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    let location = store.location();
    match (trouble, listed.len()) {
        (_, 0) => Err(RepositoryError::NoSlots { location }),
        // With one slot, its trouble is the reason; with several the key may simply be wrong for the sound ones.
        (Some(error), 1) => Err(error),
        (_, slots) => Err(RepositoryError::WrongKey { location, slots }),
    }
}

/// Every slot that `credential` opens.
///
/// # Errors
/// When a slot cannot be listed or read now: it might be one of them. Damaged ones are passed over.
pub fn opened_by(store: &dyn Store, credential: &Credential) -> Result<Vec<ObjectName>, RepositoryError> {
    let mut opened = Vec::new();
    for object in store.list(Area::Keys)? {
        match read_slot(store, &object) {
            Ok((slot, _)) if slot.open(credential).is_ok() => opened.push(object.name),
            Err(RepositoryError::Store(error)) if !error.is_missing() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(opened)
}

/// Makes a slot that opens `keys`, to be put into every sibling.
///
/// # Errors
/// As they come.
pub fn seal_slot(keys: &Keys, credential: &Credential, note: &Note) -> Result<Vec<u8>, RepositoryError> {
    let new = |source| RepositoryError::Slot { name: "(new)".to_owned(), source };
    KeySlot::encode(keys, credential, PassphraseCost::DEFAULT, note).map_err(new)
}

/// Puts a slot of [`seal_slot`], reads it back and opens it.
///
/// # Errors
/// As they come; the slot is good when there is none.
pub fn put_slot(
    store: &dyn Store,
    keys: &Keys,
    credential: &Credential,
    bytes: &[u8],
) -> Result<ObjectName, RepositoryError> {
    let name = ObjectName::Plain(Area::Keys, ObjectId(*blake3::hash(bytes).as_bytes()));
    match store.put_new(&name, bytes) {
        // A lost answer: the slot is ours, its name is the hash of what we wrote.
        Ok(()) | Err(StoreError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let back = read_named(store, &name)?;
    let opened = KeySlot::decode(&back).and_then(|slot| slot.open(credential)).map_err(slot_error(&name))?;
    let same = opened.masters().len() == keys.masters().len()
        && opened.masters().iter().zip(keys.masters()).all(|(a, b)| a.0 == b.0 && a.1.bytes() == b.1.bytes());
    if same { Ok(name) } else { Err(RepositoryError::Damaged { name: name.to_string() }) }
}

/// Adds a slot: [`seal_slot`], then [`put_slot`].
///
/// # Errors
/// As they come; the slot is good when there is none.
pub fn add_slot(
    store: &dyn Store,
    keys: &Keys,
    credential: &Credential,
    note: &Note,
) -> Result<ObjectName, RepositoryError> {
    put_slot(store, keys, credential, &seal_slot(keys, credential, note)?)
}

/// Copies every sound slot of one sibling to another.
///
/// # Errors
/// [`RepositoryError::NoSlots`] when there is none; others as they come.
pub(super) fn copy_slots(from: &dyn Store, to: &dyn Store, keys: &Keys) -> Result<(), RepositoryError> {
    let mut copied = 0_usize;
    for object in from.list(Area::Keys)? {
        let Ok((_, bytes)) = read_slot(from, &object).and_then(|(slot, bytes)| {
            slot.note(keys).map_err(slot_error(&object.name))?;
            Ok((slot, bytes))
        }) else {
            continue;
        };
        match to.put_new(&object.name, &bytes) {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        read_named(to, &object.name)?;
        copied += 1;
    }
    if copied == 0 { Err(RepositoryError::NoSlots { location: from.location() }) } else { Ok(()) }
}

/// Every slot with its note. A damaged one does not hide the others.
///
/// # Errors
/// When the slots cannot be listed.
pub fn slots(store: &dyn Store, keys: &Keys) -> Result<Slots, RepositoryError> {
    let mut slots = Slots::default();
    for object in store.list(Area::Keys)? {
        let read = || {
            let (slot, _) = read_slot(store, &object)?;
            let note = slot.note(keys).map_err(slot_error(&object.name))?;
            Ok(Slot { name: object.name, derivation: slot.derivation, note })
        };
        match read() {
            Ok(slot) => slots.sound.push(slot),
            Err(RepositoryError::Store(error)) if error.is_missing() => {}
            Err(error) => slots.damaged.push((object.name, error)),
        }
    }
    slots.sound.sort_by_key(|slot| (slot.note.created, slot.name));
    Ok(slots)
}

/// Removes the slot whose hash begins with `prefix`, unless it is the last one that can be read.
///
/// # Errors
/// [`RepositoryError::NoSuchSlot`], [`RepositoryError::LastSlot`]; others as they come.
pub fn remove_slot(store: &dyn Store, keys: &Keys, prefix: &str) -> Result<ObjectName, RepositoryError> {
    let all = slots(store, keys)?;
    let sound = all.sound.iter().map(|slot| (slot.name, true));
    let mut matching = sound
        .chain(all.damaged.iter().map(|(name, _)| (*name, false)))
        .filter(|(name, _)| name.file_name().starts_with(prefix));
    let (Some((name, is_sound)), None, false) = (matching.next(), matching.next(), prefix.is_empty()) else {
        return Err(RepositoryError::NoSuchSlot { prefix: prefix.to_owned() });
    };
    if all.sound.len() == usize::from(is_sound) {
        return Err(RepositoryError::LastSlot { name: name.to_string() });
    }
    store.delete(&name)?;
    Ok(name)
}
