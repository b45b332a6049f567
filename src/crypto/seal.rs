//! Sealing: bk-repository(7), "SEALED SEGMENT".
//!
//! The key of a segment depends on what is in it, so a repeated salt (a cloned machine, a broken random source)
//! can repeat a key only for equal bytes.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};

use super::Secret;
use crate::id::BlobId;

/// Bytes in front of the ciphertext: callers leave this room so that sealing copies nothing.
pub const PREFIX_LEN: usize = 16;
const TAG_LEN: usize = 16;
/// How much longer a sealed segment is than what it holds, in bytes.
pub const SEAL_OVERHEAD: usize = PREFIX_LEN + TAG_LEN;

/// Why a segment could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are not what was sealed under this key, number and header.
    #[error("it fails authentication")]
    Forged,
    /// Too short to be a sealed segment, or too long to seal.
    #[error("it has an impossible length")]
    Length,
}

/// Seals and opens the segments of one object.
pub struct Sealer {
    key: Secret,
    salt: [u8; 32],
    associated: Vec<u8>,
}

impl Sealer {
    /// For the object with this object key, salt, header bytes and scope (family or repository id).
    #[must_use]
    pub fn new(key: Secret, salt: [u8; 32], header: &[u8], scope: &[u8; 16]) -> Self {
        Self { key, salt, associated: [header, scope].concat() }
    }

    fn cipher(&self, number: u32, prefix: &[u8]) -> (ChaCha20Poly1305, Vec<u8>) {
        let mut input = [0; 4 + PREFIX_LEN];
        input[..4].copy_from_slice(&number.to_le_bytes());
        input[4..].copy_from_slice(prefix);
        let key = Secret::new(*blake3::keyed_hash(self.key.bytes(), &input).as_bytes());
        let associated = [self.associated.as_slice(), &number.to_le_bytes()].concat();
        (ChaCha20Poly1305::new(key.bytes().into()), associated)
    }

    /// Seals segment `number` in place.
    ///
    /// # Shape
    /// `buffer` holds [`PREFIX_LEN`] bytes of room and then the encoded bytes; afterwards it is the sealed segment,
    /// 16 bytes longer. `ids` are the blobs in it; `raw` says that they are stored as they are, so that the ids
    /// already stand for the bytes.
    /// # Errors
    /// [`SealError::Length`] when there is no room or ChaCha20's limit of 256 GiB is passed; nothing is sealed then.
    /// # Source
    /// ChaCha20-Poly1305, RFC 8439 §2.8.
    pub fn seal(&self, number: u32, ids: &[BlobId], raw: bool, buffer: &mut Vec<u8>) -> Result<(), SealError> {
        let (prefix, encoded) = buffer.split_at_mut_checked(PREFIX_LEN).ok_or(SealError::Length)?;
        let mut hasher = blake3::Hasher::new_keyed(self.key.bytes());
        let count = u32::try_from(ids.len()).map_err(|_| SealError::Length)?;
        hasher.update(&self.salt).update(&number.to_le_bytes()).update(&count.to_le_bytes());
        for id in ids {
            hasher.update(&id.0);
        }
        if !raw || ids.is_empty() {
            hasher.update(blake3::hash(encoded).as_bytes());
        }
        prefix.copy_from_slice(&hasher.finalize().as_bytes()[..PREFIX_LEN]);
        let (cipher, associated) = self.cipher(number, prefix);
        let tag = cipher
            .encrypt_inout_detached(&Nonce::default(), &associated, encoded.into())
            .map_err(|_| SealError::Length)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens segment `number` in place and gives the encoded bytes inside `sealed`.
    ///
    /// # Errors
    /// [`SealError::Forged`] when anything about it differs from what was sealed.
    pub fn unseal<'a>(&self, number: u32, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        let (prefix, rest) = sealed.split_at_mut_checked(PREFIX_LEN).ok_or(SealError::Length)?;
        let encoded_len = rest.len().checked_sub(TAG_LEN).ok_or(SealError::Length)?;
        let (encoded, tag) = rest.split_at_mut(encoded_len);
        let (cipher, associated) = self.cipher(number, prefix);
        let tag = Tag::try_from(&*tag).map_err(|_| SealError::Length)?;
        cipher
            .decrypt_inout_detached(&Nonce::default(), &associated, (&mut *encoded).into(), &tag)
            .map_err(|_| SealError::Forged)?;
        Ok(encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(salt: u8) -> Sealer {
        Sealer::new(Secret::new([7; 32]), [salt; 32], b"header", &[3; 16])
    }

    fn sealed(sealer: &Sealer, number: u32, ids: &[BlobId], raw: bool, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = [&[0; PREFIX_LEN], bytes].concat();
        sealer.seal(number, ids, raw, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn what_was_sealed_opens() {
        let mut segment = sealed(&sealer(1), 5, &[], false, b"content");
        assert_eq!(segment.len(), 7 + SEAL_OVERHEAD);
        assert_eq!(sealer(1).unseal(5, &mut segment), Ok(&mut b"content".to_vec()[..]));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let segment = sealed(&sealer(1), 5, &[], false, b"content");
        for bit in 0..segment.len() * 8 {
            let mut changed = segment.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer(1).unseal(5, &mut changed), Err(SealError::Forged), "bit {bit}");
        }
        for length in 0..segment.len() {
            assert!(sealer(1).unseal(5, &mut segment.clone()[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_segment_cannot_pass_for_another_number_header_or_scope() {
        let segment = sealed(&sealer(1), 5, &[], false, b"content");
        let key = || Secret::new([7; 32]);
        for other in
            [Sealer::new(key(), [1; 32], b"headex", &[3; 16]), Sealer::new(key(), [1; 32], b"header", &[4; 16])]
        {
            assert_eq!(other.unseal(5, &mut segment.clone()), Err(SealError::Forged));
        }
        assert_eq!(sealer(1).unseal(6, &mut segment.clone()), Err(SealError::Forged));
    }

    #[test]
    fn a_repeated_salt_never_repeats_a_key_for_other_bytes() {
        let ids = [BlobId([1; 32]), BlobId([2; 32])];
        let mut prefixes = std::collections::HashSet::new();
        for salt in [1, 2] {
            for number in [0, 1] {
                for (some, raw, bytes) in [
                    (&ids[..0], false, &b"one"[..]),
                    (&ids[..0], false, b"two"),
                    (&ids[..1], true, b"one"),
                    (&ids[..1], false, b"one"),
                    (&ids[..1], false, b"two"),
                    (&ids[..2], true, b"two"),
                ] {
                    let segment = sealed(&sealer(salt), number, some, raw, bytes);
                    assert!(prefixes.insert((salt, number, segment[..PREFIX_LEN].to_vec())));
                }
            }
        }
        assert_eq!(prefixes.len(), 24);
    }
}
