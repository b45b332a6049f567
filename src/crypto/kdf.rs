//! From a passphrase to the key that wraps a slot: Argon2id, RFC 9106.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::Secret;

/// A passphrase; wiped when dropped, never printed.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Holds `text` as it is: no trimming, no normalisation.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for a library that derives a key of its own from it.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are the same text.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// What one guess costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PassphraseCost {
    /// For new slots: about 0.6 s and 256 MiB a guess.
    pub const DEFAULT: Self = Self { memory_kib: 256 << 10, passes: 3, lanes: 4 };
    /// The most that is accepted from a repository; more would let it exhaust the machine.
    pub const MAX: Self = Self { memory_kib: 2 << 20, passes: 16, lanes: 16 };
    /// The least that is accepted (RFC 9106: 8 KiB a lane).
    pub const MIN: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    /// Whether it is within the bounds and consistent.
    #[must_use]
    pub const fn is_acceptable(&self) -> bool {
        self.memory_kib <= Self::MAX.memory_kib
            && self.passes >= 1
            && self.passes <= Self::MAX.passes
            && self.lanes >= 1
            && self.lanes <= Self::MAX.lanes
            && self.memory_kib >= 8 * self.lanes
    }
}

/// Why no key came out.
#[derive(Debug, thiserror::Error)]
pub enum KdfError {
    /// The slot asks for more than is acceptable.
    #[error("the slot asks for Argon2id with {} KiB, {} passes and {} lanes, which is out of bounds", .0.memory_kib, .0.passes, .0.lanes)]
    Cost(PassphraseCost),
    /// Argon2 refused.
    #[error("Argon2id failed: {0}")]
    Argon2(String),
}

impl Passphrase {
    /// The key that wraps a slot with this salt.
    ///
    /// # Errors
    /// [`KdfError::Cost`] for parameters out of bounds, before any memory is taken.
    pub fn wrapping_key(&self, salt: &[u8; 32], cost: PassphraseCost) -> Result<Secret, KdfError> {
        if !cost.is_acceptable() {
            return Err(KdfError::Cost(cost));
        }
        let argon2_error = |error: argon2::Error| KdfError::Argon2(error.to_string());
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(argon2_error)?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.0.as_bytes(), salt, &mut key)
            .map_err(argon2_error)?;
        Ok(Secret::new(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_out_of_bounds_are_refused_before_any_work() {
        let passphrase = Passphrase::new("x".into());
        for cost in [
            PassphraseCost { memory_kib: u32::MAX, ..PassphraseCost::DEFAULT },
            PassphraseCost { passes: 17, ..PassphraseCost::DEFAULT },
            PassphraseCost { passes: 0, ..PassphraseCost::DEFAULT },
            PassphraseCost { lanes: 0, ..PassphraseCost::DEFAULT },
            PassphraseCost { memory_kib: 16, passes: 1, lanes: 4 },
        ] {
            assert!(matches!(passphrase.wrapping_key(&[0; 32], cost), Err(KdfError::Cost(_))), "{cost:?}");
        }
    }

    #[test]
    fn every_letter_and_every_salt_matters() {
        let cost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };
        let key = |text: &str, salt| *Passphrase::new(text.into()).wrapping_key(&[salt; 32], cost).unwrap().bytes();
        assert_eq!(key("secret", 1), key("secret", 1));
        assert_ne!(key("secret", 1), key("secret ", 1));
        assert_ne!(key("secret", 1), key("secret", 2));
    }
}
