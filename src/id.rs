//! Names of things: 32-byte identifiers, and the prefixes of them that users type.
//!
//! Each kind is its own type, so that a tree cannot be looked up as a blob by mistake. The text form is
//! lower-case hexadecimal, 64 digits; users see and type the first eight.

use std::fmt;

/// How many hexadecimal digits of an id are shown to people.
pub const SHORT_DIGITS: usize = 8;

/// A text that is not an identifier, or not a usable prefix of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not exactly 64 lower-case hexadecimal digits.
    #[error("`{0}` is not an identifier: 64 lower-case hexadecimal digits are expected")]
    NotAnId(String),
    /// A prefix needs at least [`SHORT_DIGITS`] digits.
    #[error("`{0}` is too short for an identifier: type at least {SHORT_DIGITS} hexadecimal digits")]
    TooShort(String),
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Writes `bytes` as lower-case hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads exactly `N` bytes written as `2 N` lower-case hexadecimal digits.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first [`SHORT_DIGITS`] digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                let mut text = to_hex(&self.0);
                text.truncate(SHORT_DIGITS);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                from_hex(text).map(Self).ok_or_else(|| IdError::NotAnId(text.to_owned()))
            }
        }
    };
}

identifier! {
    /// A blob: the keyed BLAKE3 hash of its content. Data and trees are hashed under different keys.
    BlobId
}
identifier! {
    /// A pack: the plain BLAKE3 hash of its stored bytes, so that it can be checked without a key.
    PackId
}
identifier! {
    /// Any other stored object: the plain BLAKE3 hash of its stored bytes.
    ObjectId
}
identifier! {
    /// A snapshot as users see it: the keyed hash of its plaintext, equal in all sibling repositories.
    SnapshotId
}

macro_rules! short_identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

short_identifier! {
    /// One repository; drawn at random when it is made.
    RepositoryId
}
short_identifier! {
    /// The sibling repositories that share one master key; drawn at random with it.
    FamilyId
}
short_identifier! {
    /// One run of a writer; drawn at random when it starts.
    RunId
}

/// The beginning of an identifier, as a user types it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Whether `text` looks like an id at all: hexadecimal digits and nothing else.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.len() >= SHORT_DIGITS && text.len() <= 64 && text.bytes().all(|digit| nibble(digit).is_some())
    }

    /// Takes `text` as a prefix.
    ///
    /// # Errors
    /// [`IdError::TooShort`] below eight digits, [`IdError::NotAnId`] when it holds anything but lower-case digits.
    pub fn new(text: &str) -> Result<Self, IdError> {
        if !text.bytes().all(|digit| nibble(digit).is_some()) || text.len() > 64 {
            return Err(IdError::NotAnId(text.to_owned()));
        }
        if text.len() < SHORT_DIGITS {
            return Err(IdError::TooShort(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether `id` begins with this prefix.
    #[must_use]
    pub fn matches(&self, id: &[u8; 32]) -> bool {
        to_hex(id).starts_with(&self.0)
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = BlobId(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(id.to_string().parse::<BlobId>(), Ok(id));
    }

    #[test]
    fn upper_case_and_wrong_lengths_are_refused() {
        for text in ["", "ab", &"AB".repeat(32), &"0".repeat(63), &"0".repeat(66)] {
            assert!(text.parse::<PackId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_needs_eight_digits_and_matches_only_the_beginning() {
        assert_eq!(IdPrefix::new("abc"), Err(IdError::TooShort("abc".into())));
        let mut id = [0; 32];
        id[..4].copy_from_slice(&[0xab, 0xcd, 0xef, 0x01]);
        assert!(IdPrefix::new("abcdef01").unwrap().matches(&id));
        assert!(!IdPrefix::new("abcdef02").unwrap().matches(&id));
    }
}
