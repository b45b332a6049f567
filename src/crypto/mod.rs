//! Keys, identifiers and sealing: everything that needs a secret.

mod hash;
mod kdf;
mod key;
mod seal;

pub use hash::Identifier;
pub use kdf::{KdfError, Passphrase, PassphraseCost};
pub use key::{KeyFile, KeyFileError, KeyKind, Keys, Secret};
pub use seal::{PREFIX_LEN, SEAL_OVERHEAD, SealError, Sealer};

/// Fills an array with random bytes from the kernel.
///
/// # Errors
/// When the kernel has none to give, which no working system does.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| RandomError(error.to_string()))?;
    Ok(bytes)
}

/// The kernel gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the kernel gave no random bytes: {0}")]
pub struct RandomError(String);
