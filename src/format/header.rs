//! The header of every object: bk-repository(7), "HEADER".

use super::DecodeError;
use super::cbor::{Fields, Reader};

const MAGIC: &[u8; 4] = b"bkv1";
/// Length of a header with neither wrapped key nor extensions, in bytes.
pub const PLAIN_HEADER_LEN: usize = 44;
/// The longest header that is accepted, in bytes.
pub const MAX_HEADER_LEN: usize = PLAIN_HEADER_LEN + 2 * 65_535;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The repository's configuration.
    Config,
    /// A key slot.
    KeySlot,
    /// A pack of file contents.
    DataPack,
    /// A pack of trees and content lists.
    TreePack,
    /// An index object.
    Index,
    /// A snapshot.
    Snapshot,
    /// Facts.
    Facts,
    /// A mark.
    Mark,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Config,
        Self::KeySlot,
        Self::DataPack,
        Self::TreePack,
        Self::Index,
        Self::Snapshot,
        Self::Facts,
        Self::Mark,
    ];

    const fn number(self) -> u8 {
        self as u8 + 1
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The word for it in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Config => "configuration",
            Self::KeySlot => "key slot",
            Self::DataPack => "data pack",
            Self::TreePack => "tree pack",
            Self::Index => "index object",
            Self::Snapshot => "snapshot",
            Self::Facts => "facts object",
            Self::Mark => "mark",
        }
    }
}

/// A header, with its exact bytes, which are authenticated with all that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: Kind,
    /// Which master key its key comes from.
    pub epoch: u16,
    /// Random; makes the object's key its own.
    pub salt: [u8; 32],
    /// Extension 1: the repository id of a config, the family id of a key slot.
    pub scope: Option<[u8; 16]>,
    bytes: Vec<u8>,
}

impl Header {
    /// A header for a new object.
    #[must_use]
    pub fn new(kind: Kind, epoch: u16, salt: [u8; 32], scope: Option<[u8; 16]>) -> Self {
        let extensions = scope.map_or_else(Vec::new, |scope| {
            let mut fields = Fields::new();
            fields.field(1).bytes(&scope);
            fields.into_bytes()
        });
        let mut bytes = MAGIC.to_vec();
        bytes.extend([kind.number(), 0]);
        bytes.extend(epoch.to_le_bytes());
        bytes.extend(0_u16.to_le_bytes());
        bytes.extend((extensions.len() as u16).to_le_bytes());
        bytes.extend(salt);
        bytes.extend(extensions);
        Self { kind, epoch, salt, scope, bytes }
    }

    /// The stored form.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the header at the beginning of `object`; what follows it begins at `header.bytes().len()`.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but a complete header of version 1 with a known kind and no wrapped key.
    pub fn decode(object: &[u8]) -> Result<Self, DecodeError> {
        let error = |what, at| DecodeError { what, at };
        let (plain, rest) =
            object.split_first_chunk::<PLAIN_HEADER_LEN>().ok_or(error("the header is cut short", object.len()))?;
        let [m0, m1, m2, m3, kind, wrap, e0, e1, w0, w1, x0, x1, salt @ ..] = *plain;
        if [m0, m1, m2, m3] != *MAGIC {
            return Err(error("it does not begin like an object of a bk repository", 0));
        }
        let kind = Kind::from_number(kind).ok_or(error("the kind of object is unknown", 4))?;
        if wrap != 0 || [w0, w1] != [0, 0] {
            return Err(error("its key is wrapped in a way this version does not know", 5));
        }
        let extensions_len = usize::from(u16::from_le_bytes([x0, x1]));
        let extensions = rest.get(..extensions_len).ok_or(error("the header is cut short", object.len()))?;
        let bytes = object.get(..PLAIN_HEADER_LEN + extensions_len).unwrap_or_default().to_vec();
        let mut scope = None;
        if !extensions.is_empty() {
            let mut reader = Reader::new(extensions);
            reader.map(|key, reader| {
                if key == 1 {
                    scope = Some(reader.fixed()?);
                }
                Ok(key == 1)
            })?;
            reader.end()?;
        }
        Ok(Self { kind, epoch: u16::from_le_bytes([e0, e1]), salt, scope, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_every_cut_is_refused() {
        for scope in [None, Some([9; 16])] {
            for kind in Kind::ALL {
                let header = Header::new(kind, 3, [5; 32], scope);
                assert_eq!(Header::decode(header.bytes()), Ok(header.clone()));
                for length in 0..header.bytes().len() {
                    assert!(Header::decode(&header.bytes()[..length]).is_err());
                }
            }
        }
    }

    #[test]
    fn foreign_bytes_unknown_kinds_and_wraps_are_refused() {
        let good = Header::new(Kind::Index, 0, [0; 32], None);
        for (at, value) in [(0, b'x'), (3, b'2'), (4, 0), (4, 9), (5, 1), (8, 1)] {
            let mut bytes = good.bytes().to_vec();
            bytes[at] = value;
            assert!(Header::decode(&bytes).is_err(), "byte {at} = {value}");
        }
    }
}
