//! zstd for segments, with a bound on the way back and a look before trying.

use zstd::bulk::{Compressor, Decompressor};

/// How the bytes of a segment or object are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// One zstd frame (RFC 8878).
    Zstd,
}

impl Encoding {
    /// The number that stands for it on disk.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    /// The encoding that `number` stands for.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Compression failed, or what came back is not what went in.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// zstd refused.
    #[error("zstd failed")]
    Zstd(#[source] std::io::Error),
    /// The compressed form does not decode to the original: a defect of memory, processor or library.
    #[error("data did not survive compression: this machine's memory or processor is not reliable")]
    Mismatch,
    /// More or fewer bytes came out than were announced.
    #[error("compressed data decodes to {actual} bytes where {expected} were announced")]
    Length {
        /// Announced length in bytes.
        expected: usize,
        /// What came out, in bytes.
        actual: usize,
    },
}

/// Level used for everything: a notch below it costs size on text, one above costs time (benches/engine.rs).
pub const LEVEL: i32 = 3;
/// Stretch that is tried before a long buffer is compressed, in bytes.
const PROBE_LEN: usize = 16 << 10;
/// A compressed form must save at least one part in so many.
const LEAST_SAVING: usize = 32;

/// Compresses and checks; one per thread, its memory is reused.
pub struct Encoder {
    compressor: Compressor<'static>,
    decoder: Decoder,
    back: Vec<u8>,
}

impl Encoder {
    /// Makes the contexts.
    ///
    /// # Errors
    /// [`CompressError::Zstd`] when there is no memory for them.
    pub fn new() -> Result<Self, CompressError> {
        let compressor = Compressor::new(LEVEL).map_err(CompressError::Zstd)?;
        Ok(Self { compressor, decoder: Decoder::new()?, back: Vec::new() })
    }

    /// Compresses `raw` behind the first `room` bytes of `out`, when that is worth it.
    ///
    /// # Shape
    /// With [`Encoding::Zstd`], `out` holds `room` bytes of no meaning and then the frame, which has been decoded
    /// again and compared with `raw`. With [`Encoding::Raw`] its contents mean nothing.
    /// # Errors
    /// [`CompressError`]; nothing may be stored then.
    pub fn encode(&mut self, raw: &[u8], room: usize, out: &mut Vec<u8>) -> Result<Encoding, CompressError> {
        if raw.len() < 64 || (raw.len() >= 4 * PROBE_LEN && !self.looks_compressible(raw, out)?) {
            return Ok(Encoding::Raw);
        }
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        if out.len() < room + bound {
            out.resize(room + bound, 0);
        }
        let target = out.get_mut(room..).unwrap_or_default();
        let length = self.compressor.compress_to_buffer(raw, target).map_err(CompressError::Zstd)?;
        if length + raw.len() / LEAST_SAVING > raw.len() {
            return Ok(Encoding::Raw);
        }
        out.truncate(room + length);
        let mut back = std::mem::take(&mut self.back);
        self.decoder.decode(out.get(room..).unwrap_or_default(), raw.len(), &mut back)?;
        let same = back == raw;
        self.back = back;
        if same { Ok(Encoding::Zstd) } else { Err(CompressError::Mismatch) }
    }

    /// Tries three short stretches of a long buffer. Media shows at once that it cannot be compressed.
    fn looks_compressible(&mut self, raw: &[u8], scratch: &mut Vec<u8>) -> Result<bool, CompressError> {
        let bound = zstd::zstd_safe::compress_bound(PROBE_LEN);
        if scratch.len() < bound {
            scratch.resize(bound, 0);
        }
        for start in [0, raw.len() / 2, raw.len() - PROBE_LEN] {
            let probe = raw.get(start..start + PROBE_LEN).unwrap_or_default();
            let length = self.compressor.compress_to_buffer(probe, &mut scratch[..]).map_err(CompressError::Zstd)?;
            if length + PROBE_LEN / LEAST_SAVING <= PROBE_LEN {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Decodes within a bound; one per thread.
pub struct Decoder(Decompressor<'static>);

impl Decoder {
    /// Makes the context.
    ///
    /// # Errors
    /// [`CompressError::Zstd`] when there is no memory for it.
    pub fn new() -> Result<Self, CompressError> {
        Decompressor::new().map(Self).map_err(CompressError::Zstd)
    }

    /// Decodes one frame into `out`, which then holds exactly `expected` bytes.
    ///
    /// # Errors
    /// [`CompressError`] when the frame is damaged or has another length; never uses more than `expected` bytes.
    pub fn decode(&mut self, frame: &[u8], expected: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
        out.resize(expected, 0);
        let actual = self.0.decompress_to_buffer(frame, &mut out[..]).map_err(CompressError::Zstd)?;
        if actual == expected { Ok(()) } else { Err(CompressError::Length { expected, actual }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_comes_back() {
        let raw = b"the same line again and again\n".repeat(5000);
        let mut out = Vec::new();
        assert_eq!(Encoder::new().unwrap().encode(&raw, 16, &mut out).unwrap(), Encoding::Zstd);
        assert!(out.len() < raw.len() / 10);
        let mut back = Vec::new();
        Decoder::new().unwrap().decode(&out[16..], raw.len(), &mut back).unwrap();
        assert_eq!(back, raw);
    }

    #[test]
    fn noise_is_left_raw() {
        let mut raw = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut raw);
        assert_eq!(Encoder::new().unwrap().encode(&raw, 16, &mut Vec::new()).unwrap(), Encoding::Raw);
    }

    #[test]
    fn a_frame_that_decodes_to_more_than_announced_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
        assert!(Decoder::new().unwrap().decode(&bomb, 1000, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_frame_that_decodes_to_less_than_announced_is_refused() {
        let short = zstd::bulk::compress(b"short", 3).unwrap();
        assert!(Decoder::new().unwrap().decode(&short, 1000, &mut Vec::new()).is_err());
    }
}
