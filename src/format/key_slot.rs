//! Key slots: the master key, wrapped for one passphrase or key file. bk-repository(7), "Key slot".

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::DecodeError;
use super::cbor::{Fields, Reader, Writer};
use super::header::{Header, Kind};
use super::node::Timestamp;
use super::tree::{decode_time, encode_time};
use crate::crypto::{
    KdfError, KeyFile, KeyKind, Keys, PREFIX_LEN, Passphrase, PassphraseCost, RandomError, SealError, Sealer, Secret,
    random,
};
use crate::id::FamilyId;

/// Slots longer than this are refused, in bytes.
pub const MAX_SLOT_LEN: u64 = 1 << 20;

/// What opens a slot.
#[derive(Debug)]
pub enum Credential {
    /// A passphrase, through Argon2id.
    Passphrase(Passphrase),
    /// A key file or recovery key.
    KeyFile(KeyFile),
}

/// What a slot says about itself to whoever holds the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// For people.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
    /// Where.
    pub host: String,
}

/// How a slot's wrapping key is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derivation {
    /// Argon2id of a passphrase.
    Passphrase(PassphraseCost),
    /// From a key file.
    KeyFile,
}

/// Why a slot could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Its bytes are not what the format says.
    #[error("it is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The passphrase or key is not this slot's.
    #[error("the passphrase or key does not open it")]
    Wrong,
    /// The key is right and yet the contents do not open.
    #[error("{0}")]
    Sealed(#[from] SealError),
    /// The derivation failed.
    #[error("{0}")]
    Kdf(#[from] KdfError),
    /// No random bytes.
    #[error("{0}")]
    Random(#[from] RandomError),
}

/// A slot as it is stored, not opened.
pub struct KeySlot {
    header: Header,
    family: FamilyId,
    parameters: Vec<u8>,
    /// How its wrapping key is derived.
    pub derivation: Derivation,
    commitment: [u8; 32],
    bundle: Vec<u8>,
    note: Vec<u8>,
}

fn wrapping_key(credential: &Credential, derivation: Derivation, salt: &[u8; 32]) -> Result<Secret, SlotError> {
    match (credential, derivation) {
        (Credential::Passphrase(passphrase), Derivation::Passphrase(cost)) => Ok(passphrase.wrapping_key(salt, cost)?),
        (Credential::KeyFile(file), Derivation::KeyFile) => Ok(file.wrapping_key(salt)),
        _ => Err(SlotError::Wrong),
    }
}

impl KeySlot {
    fn sealer(&self, key: Secret) -> Sealer {
        let associated = [self.header.bytes(), &self.parameters].concat();
        Sealer::new(key, self.header.salt, &associated, &self.family.0)
    }

    fn note_sealer(&self, keys: &Keys) -> Option<Sealer> {
        let config = keys.key(KeyKind::Config, 0)?;
        Some(self.sealer(config.derive("bk v1 slot note", &self.header.salt)))
    }

    /// Makes the stored form of a slot that opens `keys` with `credential`.
    ///
    /// # Errors
    /// [`SlotError::Kdf`] for a cost out of bounds; the rest only on a broken machine.
    pub fn encode(
        keys: &Keys,
        credential: &Credential,
        cost: PassphraseCost,
        note: &Note,
    ) -> Result<Vec<u8>, SlotError> {
        let family = keys.family();
        let header = Header::new(Kind::KeySlot, 0, random()?, Some(family.0));
        let mut fields = Fields::new();
        let derivation = match credential {
            Credential::Passphrase(_) => {
                fields.field(1).uint(1_u8);
                for (key, value) in (2..).zip([cost.memory_kib, cost.passes, cost.lanes]) {
                    fields.field(key).uint(value);
                }
                Derivation::Passphrase(cost)
            }
            Credential::KeyFile(_) => {
                fields.field(1).uint(2_u8);
                Derivation::KeyFile
            }
        };
        let wrapping = wrapping_key(credential, derivation, &header.salt)?;
        let commitment = *wrapping.derive("bk v1 slot commit", &[]).bytes();
        let mut slot = Self {
            header,
            family,
            parameters: fields.into_bytes(),
            derivation,
            commitment,
            bundle: Vec::new(),
            note: Vec::new(),
        };
        let mut bundle = slot.encode_bundle(keys);
        slot.sealer(wrapping.derive("bk v1 slot key", &[])).seal(0, &[], false, &mut bundle)?;
        slot.bundle = std::mem::take(&mut *bundle);
        let mut fields = Fields::new();
        fields.field(1).text(&note.label);
        encode_time(fields.field(2), note.created);
        fields.field(3).text(&note.host);
        let mut sealed_note = [&[0; PREFIX_LEN], fields.into_bytes().as_slice()].concat();
        slot.note_sealer(keys).ok_or(SlotError::Wrong)?.seal(1, &[], false, &mut sealed_note)?;
        slot.note = sealed_note;
        Ok(slot.bytes())
    }

    /// The bundle's plaintext behind room for the seal; wiped when dropped unsealed.
    fn encode_bundle(&self, keys: &Keys) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        writer.raw(&[0; PREFIX_LEN]).array(keys.masters().len());
        for (epoch, master) in keys.masters() {
            writer.array(3).uint(1_u8).uint(*epoch).bytes(master.bytes());
        }
        Zeroizing::new(writer.into_bytes())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.bytes().to_vec();
        for (part, prefixed) in
            [(&self.parameters[..], true), (&self.commitment[..], false), (&self.bundle, true), (&self.note, true)]
        {
            if prefixed {
                bytes.extend((part.len() as u32).to_le_bytes());
            }
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`SlotError::Malformed`] for anything else.
    pub fn decode(object: &[u8]) -> Result<Self, SlotError> {
        let header = Header::decode(object)?;
        let mut at = header.bytes().len();
        let mut take = |length: usize| {
            let end = at.saturating_add(length);
            let part = object.get(at..end).ok_or(DecodeError { what: "the key slot is cut short", at })?;
            at = end;
            Ok::<_, DecodeError>(part)
        };
        let length = |bytes: &[u8]| bytes.try_into().map_or(usize::MAX, |bytes| u32::from_le_bytes(bytes) as usize);
        let parameters_len = length(take(4)?);
        let parameters = take(parameters_len)?.to_vec();
        let mut commitment = [0; 32];
        commitment.copy_from_slice(take(32)?);
        let bundle_len = length(take(4)?);
        let bundle = take(bundle_len)?.to_vec();
        let note_len = length(take(4)?);
        let note = take(note_len)?.to_vec();
        let error = |what| SlotError::Malformed(DecodeError { what, at });
        if at != object.len() {
            return Err(error("there are bytes after the key slot"));
        }
        let Some(family) = header.scope.filter(|_| header.kind == Kind::KeySlot) else {
            return Err(error("it is not a key slot"));
        };
        let derivation = decode_parameters(&parameters)?;
        Ok(Self { header, family: FamilyId(family), parameters, derivation, commitment, bundle, note })
    }

    /// Opens the slot.
    ///
    /// # Errors
    /// [`SlotError::Wrong`] when `credential` is another slot's: nothing was decrypted then.
    pub fn open(&self, credential: &Credential) -> Result<Keys, SlotError> {
        let wrapping = wrapping_key(credential, self.derivation, &self.header.salt)?;
        let commitment = wrapping.derive("bk v1 slot commit", &[]);
        if !bool::from(commitment.bytes().ct_eq(&self.commitment)) {
            return Err(SlotError::Wrong);
        }
        let mut bundle = Zeroizing::new(self.bundle.clone());
        let plain = self.sealer(wrapping.derive("bk v1 slot key", &[])).unseal(0, &mut bundle)?;
        let mut reader = Reader::new(plain);
        let mut masters = Vec::new();
        for _ in 0..reader.array()? {
            reader.tuple::<3>()?;
            let (kind, epoch, key) = (reader.uint()?, reader.small()?, reader.fixed()?);
            if kind == 1 {
                masters.push((epoch, Secret::new(key)));
            }
        }
        reader.end()?;
        Keys::derive(self.family, masters).ok_or_else(|| reader.error("the slot holds no master key").into())
    }

    /// Reads what the slot says about itself.
    ///
    /// # Errors
    /// [`SlotError::Sealed`] when it was changed.
    pub fn note(&self, keys: &Keys) -> Result<Note, SlotError> {
        let mut sealed = self.note.clone();
        let plain = self.note_sealer(keys).ok_or(SlotError::Wrong)?.unseal(1, &mut sealed)?;
        let mut note = Note::default();
        let mut reader = Reader::new(plain);
        reader.map(|key, reader| {
            match key {
                1 => note.label = reader.text()?.to_owned(),
                2 => note.created = decode_time(reader)?,
                3 => note.host = reader.text()?.to_owned(),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        reader.end()?;
        Ok(note)
    }
}

fn decode_parameters(parameters: &[u8]) -> Result<Derivation, SlotError> {
    let mut reader = Reader::new(parameters);
    let mut kind = None;
    let mut cost = PassphraseCost { memory_kib: 0, passes: 0, lanes: 0 };
    reader.map(|key, reader| {
        match key {
            1 => kind = Some(reader.uint()?),
            2 => cost.memory_kib = reader.small()?,
            3 => cost.passes = reader.small()?,
            4 => cost.lanes = reader.small()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    reader.end()?;
    match kind {
        Some(1) if cost.is_acceptable() => Ok(Derivation::Passphrase(cost)),
        Some(1) => Err(KdfError::Cost(cost).into()),
        Some(2) => Ok(Derivation::KeyFile),
        _ => Err(reader.error("the derivation of the key is unknown").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };

    fn passphrase(text: &str) -> Credential {
        Credential::Passphrase(Passphrase::new(text.into()))
    }

    #[test]
    fn a_slot_opens_with_its_own_credential_only() {
        let keys = Keys::generate().unwrap();
        let note = Note { label: "laptop".into(), created: Timestamp { seconds: 1, nanos: 2 }, host: "h".into() };
        let file = KeyFile::generate().unwrap();
        for (right, wrong) in [
            (passphrase("right"), passphrase("wrong")),
            (Credential::KeyFile(file), Credential::KeyFile(KeyFile::generate().unwrap())),
        ] {
            let slot = KeySlot::decode(&KeySlot::encode(&keys, &right, CHEAP, &note).unwrap()).unwrap();
            assert_eq!(slot.open(&right).unwrap().masters()[0].1.bytes(), keys.masters()[0].1.bytes());
            assert_eq!(slot.note(&keys).unwrap(), note);
            assert!(matches!(slot.open(&wrong), Err(SlotError::Wrong)));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let keys = Keys::generate().unwrap();
        let right = passphrase("right");
        let bytes = KeySlot::encode(&keys, &right, CHEAP, &Note::default()).unwrap();
        let intact = |bytes: &[u8]| -> bool {
            KeySlot::decode(bytes).is_ok_and(|slot| slot.open(&right).is_ok() && slot.note(&keys).is_ok())
        };
        assert!(intact(&bytes));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(!intact(&changed), "byte {at}");
            assert!(!intact(&bytes[..at]), "cut {at}");
        }
    }

    #[test]
    fn hostile_parameters_are_refused_when_read() {
        let mut fields = Fields::new();
        for (key, value) in [(1, 1), (2, u32::MAX), (3, 1), (4, 1)] {
            fields.field(key).uint(value);
        }
        assert!(matches!(decode_parameters(&fields.into_bytes()), Err(SlotError::Kdf(_))));
    }
}
