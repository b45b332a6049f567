//! Numbers of bytes as people write and read them.
//!
//! `KiB MiB GiB TiB` and the bare letters `K M G T` are powers of 1024; `KB MB GB TB` are powers of 1000. Upper and
//! lower case are the same. A number without a unit is bytes.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// What a size looks like, for messages.
pub const EXPECTED: &str = "a size such as \"20GiB\", \"500 MB\" or 4096";

const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It does not begin with a whole number.
    #[error("`{0}` is not a size: write a whole number and a unit, such as `20GiB` or `500 MB`")]
    NotANumber(String),
    /// The unit is none of those known.
    #[error("`{unit}` in `{text}` is not a unit of size: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")]
    Unit {
        /// The whole text.
        text: String,
        /// What follows the number.
        unit: String,
    },
    /// More bytes than 64 bits can count.
    #[error("`{0}` is too large: sizes end at 16 EiB")]
    TooLarge(String),
}

fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

impl ByteSize {
    /// The sum, or the largest size there is when it would overflow.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The text that means exactly this number of bytes: the largest binary unit that divides it, else plain bytes.
    #[must_use]
    pub fn exact(self) -> String {
        match BINARY.iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => format!("{}{unit}", self.0 / bytes),
            None => self.0.to_string(),
        }
    }
}

impl std::str::FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        if number.is_empty() || unit.starts_with(['.', ',']) {
            return Err(SizeError::NotANumber(text.to_owned()));
        }
        let unit = unit.trim_start();
        let factor =
            unit_bytes(unit).ok_or_else(|| SizeError::Unit { text: text.to_owned(), unit: unit.to_owned() })?;
        let number: Option<u64> = number.parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(factor));
        bytes.map(Self).ok_or_else(|| SizeError::TooLarge(text.to_owned()))
    }
}

/// For people: at most one decimal, such as `1.4 GiB` or `812 B`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut divisor = 1024_u128;
        let mut unit = 0;
        // In tenths, rounded to the nearest; 1023.96 KiB must read "1 MiB", never "1024 KiB".
        let tenths = |divisor: u128| (u128::from(self.0) * 10 + divisor / 2) / divisor;
        while tenths(divisor) >= 10_240 && unit + 1 < UNITS.len() {
            divisor *= 1024;
            unit += 1;
        }
        let (whole, tenth) = (tenths(divisor) / 10, tenths(divisor) % 10);
        let unit = UNITS.get(unit).copied().unwrap_or("EiB");
        match tenth {
            0 => f.pad(&format!("{whole} {unit}")),
            _ => f.pad(&format!("{whole}.{tenth} {unit}")),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.exact())
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let size = u64::try_from(bytes).map(ByteSize);
                size.map_err(|_| E::custom(SizeError::NotANumber(bytes.to_string())))
            }
        }
        deserializer.deserialize_any(Size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("812 B", 812),
            ("16MiB", 16 << 20),
            ("20GiB", 20 << 30),
            ("500 MB", 500_000_000),
            ("3kB", 3000),
            ("3 KB", 3000),
            ("2K", 2048),
            ("2m", 2 << 20),
            ("1G", 1 << 30),
            ("4T", 4 << 40),
            ("1TB", 1_000_000_000_000),
            (" 7 gib ", 7 << 30),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_size_is_refused_and_named() {
        let cases = [
            ("", "`` is not a size: write a whole number and a unit, such as `20GiB` or `500 MB`"),
            ("GiB", "`GiB` is not a size: write a whole number and a unit, such as `20GiB` or `500 MB`"),
            ("-1", "`-1` is not a size: write a whole number and a unit, such as `20GiB` or `500 MB`"),
            ("1.5GiB", "`1.5GiB` is not a size: write a whole number and a unit, such as `20GiB` or `500 MB`"),
            ("5 apples", "`apples` in `5 apples` is not a unit of size: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"),
            ("16777216TiB", "`16777216TiB` is too large: sizes end at 16 EiB"),
            ("18446744073709551616", "`18446744073709551616` is too large: sizes end at 16 EiB"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn people_see_at_most_one_decimal_and_never_1024_of_a_unit() {
        let cases = [
            (0, "0 B"),
            (812, "812 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (1_503_238_554, "1.4 GiB"),
            (20 << 30, "20 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>8}", ByteSize(812)), "   812 B");
    }

    #[test]
    fn the_exact_text_is_read_back_as_the_same_number() {
        for bytes in [0, 1, 1023, 1024, 1536, 500_000_000, 20 << 30, 3 << 40, u64::MAX] {
            assert_eq!(ByteSize(bytes).exact().parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!(ByteSize(20 << 30).exact(), "20GiB");
        assert_eq!(ByteSize(1536).exact(), "1536");
    }

    #[test]
    fn adding_stops_at_the_largest_size() {
        assert_eq!(ByteSize(u64::MAX - 1).saturating_add(ByteSize(5)), ByteSize(u64::MAX));
    }

    #[test]
    fn json_and_toml_hold_a_size_as_text_or_as_a_number() {
        assert_eq!(serde_json::from_str::<ByteSize>("\"1KiB\"").unwrap(), ByteSize(1024));
        assert_eq!(serde_json::from_str::<ByteSize>("7").unwrap(), ByteSize(7));
        assert!(serde_json::from_str::<ByteSize>("-7").unwrap_err().to_string().starts_with("`-7` is not a size"));
        assert!(serde_json::from_str::<ByteSize>("true").unwrap_err().to_string().contains("expected a size such as"));
        assert_eq!(serde_json::to_string(&ByteSize(1 << 20)).unwrap(), "\"1MiB\"");
    }
}
