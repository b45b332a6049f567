//! How restic seals small objects: a random IV, AES-256 in counter mode, Poly1305-AES. Used for locks, of
//! which rustic_core knows nothing, and for looking into packs without it. Source: restic's design document, "Keys, Encryption and MAC" and "Locks".

use aes256ctr_poly1305aes::aead::Aead as _;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce};
use zeroize::Zeroizing;

use rustic_core::repofile::MasterKey;

use crate::crypto::RandomError;

/// Bytes of the IV in front.
const IV_LEN: usize = 16;
/// An unpacked object that is compressed begins so.
const COMPRESSED: u8 = 2;
/// A lock is some hundred bytes.
const MAX_LEN: usize = 1 << 20;

/// Seals and opens with the master key of a repository.
pub(super) struct Seal {
    key: Zeroizing<[u8; 64]>,
}

impl Seal {
    /// `None` when the key has not the lengths of one.
    pub(super) fn new(key: &MasterKey) -> Option<Self> {
        let parts = Zeroizing::new([key.encrypt.as_slice(), &key.mac.k, &key.mac.r].concat());
        Some(Self { key: Zeroizing::new(parts.as_slice().try_into().ok()?) })
    }

    fn cipher(&self) -> Aes256CtrPoly1305Aes {
        Aes256CtrPoly1305Aes::new(Key::from_slice(&*self.key))
    }

    /// IV ‖ ciphertext ‖ tag.
    pub(super) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, RandomError> {
        let iv: [u8; IV_LEN] = crate::crypto::random()?;
        let sealed = self.cipher().encrypt(Nonce::from_slice(&iv), plain).unwrap_or_default();
        Ok([iv.as_slice(), &sealed].concat())
    }

    /// A blob of a pack; `compressed_from` is its length in bytes where it is compressed.
    pub(super) fn open_blob(&self, sealed: &[u8], compressed_from: Option<usize>) -> Option<Vec<u8>> {
        let (iv, rest) = sealed.split_at_checked(IV_LEN)?;
        let plain = self.cipher().decrypt(Nonce::from_slice(iv), rest).ok()?;
        match compressed_from {
            Some(length) => zstd::bulk::decompress(&plain, length).ok(),
            None => Some(plain),
        }
    }

    /// The JSON text inside, or `None` when it was not sealed with this key or makes no sense.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (iv, rest) = sealed.split_at_checked(IV_LEN)?;
        let plain = self.cipher().decrypt(Nonce::from_slice(iv), rest).ok()?;
        match plain.split_first() {
            Some((&COMPRESSED, compressed)) => zstd::bulk::decompress(compressed, MAX_LEN).ok(),
            _ => Some(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_what_was_changed_does_not() {
        let seal = Seal::new(&MasterKey::new()).unwrap();
        let sealed = seal.seal(b"{\"a\":1}").unwrap();
        assert_eq!(seal.open(&sealed).unwrap(), b"{\"a\":1}");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open(&changed), None, "byte {at}");
        }
        assert_eq!(seal.open(&sealed[..10]), None);
        assert_eq!(Seal::new(&MasterKey::new()).unwrap().open(&sealed), None);
    }
}
