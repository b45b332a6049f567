//! Deterministic CBOR (RFC 8949 §4.2), the part that the format uses: unsigned and negative integers, byte and
//! text strings, arrays, maps with ascending unsigned keys.
//!
//! It is our own because strictness is the point: one plaintext must have one encoding, or equal trees would get
//! different ids and a snapshot two names. The libraries write deterministically but accept anything.

/// Bytes that are not what the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at byte {at})")]
pub struct DecodeError {
    /// What is wrong.
    pub what: &'static str,
    /// Offset in the decoded item, in bytes.
    pub at: usize,
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Deepest nesting of items that is skipped over.
const MAX_DEPTH: u8 = 16;

/// Writes items one after the other; what is counted in an array or map is up to the caller.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        if value < 24 {
            self.bytes.push(major | value as u8);
        } else if let Ok(value) = u8::try_from(value) {
            self.bytes.extend([major | 24, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.bytes.push(major | 25);
            self.bytes.extend(value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.bytes.push(major | 26);
            self.bytes.extend(value.to_be_bytes());
        } else {
            self.bytes.push(major | 27);
            self.bytes.extend(value.to_be_bytes());
        }
        self
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: impl Into<u64>) -> &mut Self {
        self.head(UNSIGNED, value.into())
    }

    /// A signed integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            Err(_) => self.head(NEGATIVE, (-1 - i128::from(value)) as u64),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
        self
    }

    /// The head of an array; `items` items follow.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(ARRAY, items as u64)
    }

    /// The head of a map; `entries` pairs follow, keys ascending. See [`Fields`] for maps with optional entries.
    pub fn map(&mut self, entries: usize) -> &mut Self {
        self.head(MAP, entries as u64)
    }

    /// Items that are encoded already.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(encoded);
        self
    }
}

/// Collects the entries of a map, so that they need not be counted before.
#[derive(Debug, Default)]
pub struct Fields {
    entries: usize,
    body: Writer,
}

impl Fields {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the entry `key`; its value must be written next. Keys must come in ascending order.
    pub fn field(&mut self, key: u64) -> &mut Writer {
        self.entries += 1;
        self.body.uint(key)
    }

    /// Writes the map at the end of `writer`.
    pub fn finish(self, writer: &mut Writer) {
        writer.map(self.entries).raw(&self.body.bytes);
    }

    /// The map alone.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.finish(&mut writer);
        writer.into_bytes()
    }
}

/// Reads items and refuses whatever is not deterministic.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next item, in bytes.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to the current position.
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// An error at the current position.
    #[must_use]
    pub const fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| self.error("a length is out of bounds"))?;
        let end = self.at.checked_add(length).ok_or_else(|| self.error("a length is out of bounds"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.error("the data ends too early"))?;
        self.at = end;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let &first = self.bytes.get(self.at).ok_or_else(|| self.error("the data ends too early"))?;
        let (major, short) = (first >> 5, first & 31);
        let (width, least) = match short {
            0..=23 => {
                self.at += 1;
                return Ok((major, u64::from(short)));
            }
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(self.error("an item has no definite length")),
        };
        self.at += 1;
        let value = self.take(width)?.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if value < least {
            return Err(self.error("a number is not in its shortest form"));
        }
        Ok((major, value))
    }

    fn expect(&mut self, major: u8, what: &'static str) -> Result<u64, DecodeError> {
        let at = self.at;
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(DecodeError { what, at }),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.expect(UNSIGNED, "an unsigned number is expected")
    }

    /// An unsigned integer that fits `T`.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next, or a larger number.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        let value = self.uint()?;
        T::try_from(value).map_err(|_| self.error("a number is out of bounds"))
    }

    /// A signed integer.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next, or it does not fit.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let out_of_bounds = |reader: &Self| reader.error("a number is out of bounds");
        match self.head()? {
            (UNSIGNED, value) => i64::try_from(value).map_err(|_| out_of_bounds(self)),
            (NEGATIVE, value) => i64::try_from(value).map(|value| -1 - value).map_err(|_| out_of_bounds(self)),
            _ => Err(self.error("a number is expected")),
        }
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.expect(BYTES, "bytes are expected")?;
        self.take(length)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|_| self.error("bytes have the wrong length"))
    }

    /// A text string.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next, or no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.expect(TEXT, "text is expected")?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.error("text is not UTF-8"))
    }

    /// The head of an array. The count is at most the bytes left, so it may be used to reserve memory.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next.
    pub fn array(&mut self) -> Result<usize, DecodeError> {
        let count = self.expect(ARRAY, "an array is expected")?;
        self.count(count)
    }

    /// An array of exactly `N` items.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next.
    pub fn tuple<const N: usize>(&mut self) -> Result<(), DecodeError> {
        if self.array()? == N { Ok(()) } else { Err(self.error("an array has the wrong length")) }
    }

    fn count(&self, count: u64) -> Result<usize, DecodeError> {
        match usize::try_from(count) {
            Ok(count) if count <= self.bytes.len() - self.at => Ok(count),
            _ => Err(self.error("a count is larger than the data")),
        }
    }

    /// A whole map: `field` is called for each key and reads the value, or returns `false` for a key that it
    /// does not know, whose value is then skipped.
    ///
    /// # Errors
    /// [`DecodeError`] when something else comes next or keys do not ascend; and what `field` returns.
    pub fn map(
        &mut self,
        mut field: impl FnMut(u64, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.expect(MAP, "a map is expected")?;
        let mut least = 0;
        for _ in 0..self.count(count)? {
            let key = self.uint()?;
            if key < least {
                return Err(self.error("keys of a map do not ascend"));
            }
            least = key.checked_add(1).ok_or_else(|| self.error("a key is out of bounds"))?;
            if !field(key, self)? {
                self.skip(0)?;
            }
        }
        Ok(())
    }

    fn skip(&mut self, depth: u8) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(self.error("items are nested too deeply"));
        }
        let at = self.at;
        let (major, value) = self.head()?;
        match major {
            UNSIGNED | NEGATIVE => {}
            BYTES => drop(self.take(value)?),
            TEXT => {
                self.at = at;
                self.text()?;
            }
            ARRAY => {
                for _ in 0..self.count(value)? {
                    self.skip(depth + 1)?;
                }
            }
            MAP => {
                self.at = at;
                self.map(|_, reader| reader.skip(depth + 1).map(|()| true))?;
            }
            _ => return Err(self.error("an item has a type that the format does not use")),
        }
        Ok(())
    }

    /// Refuses bytes after the last item.
    ///
    /// # Errors
    /// [`DecodeError`] when there are any.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error("there are bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_at_every_width() {
        for value in [0, 1, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut writer = Writer::new();
            writer.uint(value);
            assert_eq!(Reader::new(&writer.into_bytes()).uint(), Ok(value));
        }
        for value in [0, -1, -24, -25, -256, -257, i64::MIN, i64::MAX] {
            let mut writer = Writer::new();
            writer.int(value);
            assert_eq!(Reader::new(&writer.into_bytes()).int(), Ok(value));
        }
    }

    #[test]
    fn longer_forms_indefinite_lengths_floats_and_tags_are_refused() {
        let refused: [&[u8]; 9] = [
            &[0x18, 23],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
            &[0x5f, 0xff],
            &[0x9f, 0xff],
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xc0, 0],
            &[0xf6],
        ];
        for bytes in refused {
            assert!(Reader::new(bytes).skip(0).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn map_keys_must_ascend_and_unknown_ones_are_skipped() {
        let read = |bytes: &[u8]| Reader::new(bytes).map(|_, _| Ok(false));
        assert!(read(&[0xa2, 1, 0, 2, 0]).is_ok());
        assert!(read(&[0xa2, 1, 0, 1, 0]).is_err());
        assert!(read(&[0xa2, 2, 0, 1, 0]).is_err());
        assert!(read(&[0xa1, 0x61, b'x', 0]).is_err());
    }

    #[test]
    fn a_count_larger_than_the_data_is_refused_before_memory_is_taken() {
        assert!(Reader::new(&[0x9b, 0, 0, 1, 0, 0, 0, 0, 0]).array().is_err());
        assert!(Reader::new(&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255]).bytes().is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(Reader::new(&[0x81; 1000]).skip(0).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes).skip(0);
            let _ = Reader::new(&bytes).text();
            let _ = Reader::new(&bytes).int();
        }
    }
}
