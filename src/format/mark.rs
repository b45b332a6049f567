//! Marks: packs that a prune is going to delete. bk-repository(7), "MARK".

use super::DecodeError;
use super::cbor::{Fields, Reader};
use super::index_file::PackName;
use super::node::Timestamp;
use super::tree::{decode_time, encode_time};
use crate::id::{PackId, RunId};

/// One prune's announcement. It is never taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Wall clock of the pruner.
    pub time: Timestamp,
    /// What will be deleted.
    pub packs: Vec<PackName>,
    /// The pruner's run.
    pub run: RunId,
}

impl Mark {
    /// The payload of the sealed object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields::new();
        encode_time(fields.field(1), self.time);
        let writer = fields.field(2).array(self.packs.len());
        for pack in &self.packs {
            writer.array(2).bytes(&pack.id.0).bytes(&pack.nonce);
        }
        fields.field(3).bytes(&self.run.0);
        fields.into_bytes()
    }

    /// Reads the payload of the sealed object.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let (mut time, mut packs, mut run) = (None, None, None);
        reader.map(|key, reader| {
            match key {
                1 => time = Some(decode_time(reader)?),
                2 => {
                    let mut list = Vec::new();
                    for _ in 0..reader.array()? {
                        reader.tuple::<2>()?;
                        list.push(PackName { id: PackId(reader.fixed()?), nonce: reader.fixed()? });
                    }
                    packs = Some(list);
                }
                3 => run = Some(RunId(reader.fixed()?)),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        reader.end()?;
        match (time, packs, run) {
            (Some(time), Some(packs), Some(run)) => Ok(Self { time, packs, run }),
            _ => Err(reader.error("a mark is not complete")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives() {
        let packs = vec![PackName { id: PackId([1; 32]), nonce: [2; 8] }];
        let mark = Mark { time: Timestamp { seconds: 7, nanos: 8 }, packs, run: RunId([9; 16]) };
        assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
    }
}
