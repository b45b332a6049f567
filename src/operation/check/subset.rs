//! Which packs are read: all, a part chosen at random, or the n-th of so many parts, so that a schedule of parts
//! reads everything in turn.

use crate::crypto::{RandomError, random};
use crate::format::index_file::PackName;
use crate::size::ByteSize;

/// A part of the packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// So many hundredths of a percent of all bytes, at random.
    Share(u32),
    /// So many bytes, at random.
    Bytes(u64),
    /// Part `part` of `of`, counted from 1: always the same packs.
    Part {
        /// Which part.
        part: u64,
        /// Of how many.
        of: u64,
    },
}

/// A text that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no part of the packs: write a percentage such as 10%, a size such as 5GiB, or a part such as 3/7")]
pub struct SubsetError(String);

impl std::str::FromStr for Subset {
    type Err = SubsetError;

    fn from_str(text: &str) -> Result<Self, SubsetError> {
        let error = || SubsetError(text.to_owned());
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| error())?;
            let is_share = percent > 0.0 && percent <= 100.0;
            return if is_share { Ok(Self::Share((percent * 100.0).ceil() as u32)) } else { Err(error()) };
        }
        if let Some((part, of)) = text.split_once('/') {
            let number = |text: &str| text.trim().parse::<u64>().map_err(|_| error());
            let (part, of) = (number(part)?, number(of)?);
            return if (1..=of).contains(&part) { Ok(Self::Part { part, of }) } else { Err(error()) };
        }
        match text.parse() {
            Ok(ByteSize(bytes)) if bytes > 0 => Ok(Self::Bytes(bytes)),
            _ => Err(error()),
        }
    }
}

impl Subset {
    /// The packs of this part among `packs`, given with their sizes in bytes; never none of some, but for `Part`.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub fn choose(self, mut packs: Vec<(PackName, u64)>) -> Result<Vec<(PackName, u64)>, RandomError> {
        let wanted_bytes = match self {
            Self::Part { part, of } => {
                let number = |name: &PackName| {
                    let [a, b, c, d, e, f, g, h, ..] = name.id.0;
                    u64::from_be_bytes([a, b, c, d, e, f, g, h])
                };
                packs.retain(|(name, _)| number(name) % of == part - 1);
                packs.sort_unstable();
                return Ok(packs);
            }
            Self::Bytes(bytes) => bytes,
            Self::Share(share) => {
                let all: u128 = packs.iter().map(|(_, size)| u128::from(*size)).sum();
                u64::try_from((all * u128::from(share)).div_ceil(10_000)).unwrap_or(u64::MAX)
            }
        };
        let key = random()?;
        packs.sort_by_cached_key(|(name, _)| *blake3::keyed_hash(&key, name.to_string().as_bytes()).as_bytes());
        let mut bytes = 0_u64;
        let enough = packs.iter().position(|(_, size)| {
            bytes = bytes.saturating_add(*size);
            bytes >= wanted_bytes
        });
        packs.truncate(enough.map_or(packs.len(), |last| last + 1));
        packs.sort_unstable();
        Ok(packs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackId;

    fn packs(count: u64) -> Vec<(PackName, u64)> {
        let name = |at: u64| PackName { id: PackId(*blake3::hash(&at.to_le_bytes()).as_bytes()), nonce: [0; 8] };
        (0..count).map(|at| (name(at), 10)).collect()
    }

    #[test]
    fn parts_are_read_as_the_manual_says() {
        assert_eq!("10%".parse(), Ok(Subset::Share(1000)));
        assert_eq!("0.5%".parse(), Ok(Subset::Share(50)));
        assert_eq!("5GiB".parse(), Ok(Subset::Bytes(5 << 30)));
        assert_eq!("3/7".parse(), Ok(Subset::Part { part: 3, of: 7 }));
        for wrong in ["", "0%", "101%", "-1%", "NaN%", "0/7", "8/7", "1/0", "0", "half"] {
            assert!(wrong.parse::<Subset>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_parts_together_are_all_packs_and_each_is_in_one() {
        let mut together: Vec<_> =
            (1..=7).flat_map(|part| Subset::Part { part, of: 7 }.choose(packs(100)).unwrap()).collect();
        let mut all = packs(100);
        together.sort_unstable();
        all.sort_unstable();
        assert_eq!(together, all);
    }

    #[test]
    fn a_share_or_size_is_reached_but_hardly_passed() {
        assert_eq!(Subset::Share(1000).choose(packs(100)).unwrap().len(), 10);
        assert_eq!(Subset::Share(10_000).choose(packs(100)).unwrap().len(), 100);
        assert_eq!(Subset::Bytes(25).choose(packs(100)).unwrap().len(), 3);
        assert_eq!(Subset::Bytes(1).choose(packs(0)).unwrap().len(), 0);
        assert_eq!(Subset::Bytes(u64::MAX).choose(packs(5)).unwrap().len(), 5);
    }
}
