//! Keys of a repository in restic's format, looked at before a password is tried on them.

use serde::Deserialize;

/// The most memory that a key may ask for, in bytes; restic's own ask for 32 to 128 MiB.
const MAX_BYTES: u64 = 1 << 30;

/// What a key says of its derivation: scrypt, RFC 7914.
#[derive(Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
}

/// Whether trying a password on this key cannot exhaust the machine. What is no key at all is left to whoever reads it.
pub(super) fn is_acceptable(key: &[u8]) -> bool {
    let Ok(Cost { n, r, p }) = serde_json::from_slice(key) else { return true };
    let bytes = n.checked_mul(r).and_then(|cost| cost.checked_mul(128));
    bytes.is_some_and(|bytes| bytes <= MAX_BYTES) && p <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_restic_are_accepted_and_those_that_would_exhaust_the_machine_are_not() {
        let key = |n: u64, r: u64, p: u64| format!(r#"{{"kdf":"scrypt","N":{n},"r":{r},"p":{p},"salt":"","data":""}}"#);
        for (n, r, p) in [(32768, 8, 6), (1 << 17, 8, 1)] {
            assert!(is_acceptable(key(n, r, p).as_bytes()));
        }
        for (n, r, p) in [(1 << 40, 8, 1), (u64::MAX, 8, 1), (1 << 15, 1 << 20, 1), (1024, 8, 1 << 30)] {
            assert!(!is_acceptable(key(n, r, p).as_bytes()), "{n} {r} {p}");
        }
        assert!(is_acceptable(b"no key"));
    }
}
