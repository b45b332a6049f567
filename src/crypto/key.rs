//! The master key and what is derived from it: bk-repository(7), "KEYS".

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Identifier, RandomError, random};
use crate::id::{FamilyId, from_hex, to_hex};

/// 32 bytes that must not be seen: wiped when dropped, not printable, not comparable.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Holds `bytes`.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Draws a new one.
    ///
    /// # Errors
    /// [`RandomError`] when the kernel has no random bytes.
    pub fn random() -> Result<Self, RandomError> {
        random().map(Self)
    }

    /// The bytes, for cryptography only.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `DERIVE(context, self ‖ salt)`.
    #[must_use]
    pub fn derive(&self, context: &str, salt: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(salt);
        let secret = Self(*hasher.finalize().as_bytes());
        hasher.zeroize();
        secret
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Data packs.
    Data,
    /// Tree packs, snapshots, facts.
    Meta,
    /// Index objects.
    Index,
    /// Configuration and the notes of key slots.
    Config,
    /// Marks.
    Mark,
}

impl KeyKind {
    const fn context(self) -> &'static str {
        match self {
            Self::Data => "bk v1 data",
            Self::Meta => "bk v1 meta",
            Self::Index => "bk v1 index",
            Self::Config => "bk v1 config",
            Self::Mark => "bk v1 mark",
        }
    }
}

/// All keys of a family, as opened from one slot.
#[derive(Debug)]
pub struct Keys {
    family: FamilyId,
    masters: Vec<(u16, Secret)>,
    chunk: Secret,
    identifier: Identifier,
}

impl Keys {
    /// Draws a new master key for a new family.
    ///
    /// # Errors
    /// [`RandomError`] when the kernel has no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        let master = Secret::random()?;
        let (chunk, identifier) = Self::of_first(&master);
        Ok(Self { family: FamilyId(random()?), masters: vec![(0, master)], chunk, identifier })
    }

    /// Derives everything from the masters; `None` without one of epoch 0.
    #[must_use]
    pub fn derive(family: FamilyId, mut masters: Vec<(u16, Secret)>) -> Option<Self> {
        masters.sort_by_key(|(epoch, _)| *epoch);
        let (_, first) = masters.iter().find(|(epoch, _)| *epoch == 0)?;
        let (chunk, identifier) = Self::of_first(first);
        Some(Self { family, masters, chunk, identifier })
    }

    /// What outlives every epoch: `K_chunk` and the keys of identifiers.
    fn of_first(master: &Secret) -> (Secret, Identifier) {
        (master.derive("bk v1 chunk", &[]), Identifier::new(&master.derive("bk v1 id", &[])))
    }

    /// The family these keys belong to.
    #[must_use]
    pub const fn family(&self) -> FamilyId {
        self.family
    }

    /// Makes identifiers.
    #[must_use]
    pub const fn identifier(&self) -> &Identifier {
        &self.identifier
    }

    /// `K_chunk`.
    #[must_use]
    pub const fn chunk(&self) -> &Secret {
        &self.chunk
    }

    /// Every epoch with its master, ascending; for the bundle of a slot.
    #[must_use]
    pub fn masters(&self) -> &[(u16, Secret)] {
        &self.masters
    }

    /// The epoch that new objects are sealed under.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        self.masters.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// The key of `kind` in `epoch`; `None` when these keys do not reach that epoch.
    #[must_use]
    pub fn key(&self, kind: KeyKind, epoch: u16) -> Option<Secret> {
        let (_, master) = self.masters.iter().find(|(known, _)| *known == epoch)?;
        Some(master.derive(kind.context(), &[]))
    }
}

/// A key file: one random secret that opens a slot without a slow derivation.
#[derive(Debug, Clone)]
pub struct KeyFile(Secret);

/// A text that is no key file.
#[derive(Debug, thiserror::Error)]
#[error("it does not hold a bk key: one line of `bk-key-1-` and 64 hexadecimal digits is expected")]
pub struct KeyFileError;

const KEY_FILE_PREFIX: &str = "bk-key-1-";

impl KeyFile {
    /// Draws a new secret.
    ///
    /// # Errors
    /// [`RandomError`] when the kernel has no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        Secret::random().map(Self)
    }

    /// Reads the text of a key file or a recovery key. White space and dashes between the digits do not matter, so
    /// that it can be typed from paper as it is printed there.
    ///
    /// # Errors
    /// [`KeyFileError`] when it is anything else; the text is not repeated in it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let typed = text.trim().strip_prefix(KEY_FILE_PREFIX).ok_or(KeyFileError)?;
        let mut digits = zeroize::Zeroizing::new(String::with_capacity(typed.len()));
        digits.extend(typed.chars().filter(|typed| !typed.is_whitespace() && *typed != '-'));
        from_hex::<32>(&digits).map(|bytes| Self(Secret::new(bytes))).ok_or(KeyFileError)
    }

    /// The text to write into a file or on paper; the caller wipes it.
    #[must_use]
    pub fn text(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(format!("{KEY_FILE_PREFIX}{}\n", to_hex(self.0.bytes())))
    }

    /// The text in groups of four digits, two lines of them, for paper.
    #[must_use]
    pub fn groups(&self) -> [zeroize::Zeroizing<String>; 2] {
        let digits = zeroize::Zeroizing::new(to_hex(self.0.bytes()));
        let (first, second) = digits.split_at(32);
        [first, second].map(|half| {
            let mut line = zeroize::Zeroizing::new(String::with_capacity(40));
            for (at, digit) in half.chars().enumerate() {
                if at > 0 && at % 4 == 0 {
                    line.push(' ');
                }
                line.push(digit);
            }
            line
        })
    }

    /// Whether both are the same secret.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.bytes() == other.0.bytes()
    }

    /// The key that wraps a slot with this salt.
    #[must_use]
    pub fn wrapping_key(&self, salt: &[u8; 32]) -> Secret {
        self.0.derive("bk v1 key file", salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_kinds_and_epochs_differ() {
        let masters = vec![(1, Secret::new([2; 32])), (0, Secret::new([1; 32]))];
        let keys = Keys::derive(FamilyId([0; 16]), masters).unwrap();
        assert_eq!(keys.epoch(), 1);
        let all: Vec<_> = [KeyKind::Data, KeyKind::Meta, KeyKind::Index, KeyKind::Config, KeyKind::Mark]
            .iter()
            .flat_map(|kind| [0, 1].map(|epoch| *keys.key(*kind, epoch).unwrap().bytes()))
            .collect();
        for (at, key) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(key));
        }
        assert!(keys.key(KeyKind::Data, 2).is_none());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new([0x5a; 32]);
        assert!(!format!("{secret:?}").contains("5a"));
    }

    #[test]
    fn a_key_file_survives_its_text_and_refuses_others() {
        let file = KeyFile::generate().unwrap();
        let again = KeyFile::parse(&format!("\n  {}  ", *file.text())).unwrap();
        assert_eq!(file.0.bytes(), again.0.bytes());
        let [first, second] = file.groups();
        let typed = KeyFile::parse(&format!("bk-key-1-\n  {}\r\n  {}\n", *first, second.replace(' ', "-"))).unwrap();
        assert!(file.matches(&typed));
        assert!(KeyFile::parse("password").is_err());
        assert!(KeyFile::parse("bk-key-1-00").is_err());
    }
}
