//! Marks: packs that a prune is going to delete. bk-repository(7), "MARK".

use super::DecodeError;
use super::cbor::{Fields, Reader};
use super::index_file::PackName;
use super::node::Timestamp;
use super::tree::{decode_time, encode_time};
use crate::id::{PackId, RunId, SnapshotId};

/// One prune's announcement. It is never taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Wall clock of the pruner.
    pub time: Timestamp,
    /// What will be deleted.
    pub packs: Vec<PackName>,
    /// The pruner's run.
    pub run: RunId,
    /// Every snapshot that the pruner saw. One that is neither there nor noted as forgotten when the packs are to be
    /// deleted has been lost from a list, and nothing is deleted.
    pub snapshots: Vec<SnapshotId>,
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
        if !self.snapshots.is_empty() {
            let ids: Vec<u8> = self.snapshots.iter().flat_map(|id| id.0).collect();
            fields.field(4).bytes(&ids);
        }
        fields.into_bytes()
    }

    /// Reads the payload of the sealed object.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let (mut time, mut packs, mut run) = (None, None, None);
        let mut snapshots = Vec::new();
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
                4 => {
                    let bytes = reader.bytes()?;
                    let (ids, rest) = bytes.as_chunks::<32>();
                    if !rest.is_empty() {
                        return Err(reader.error("the snapshots of a mark are cut short"));
                    }
                    snapshots = ids.iter().map(|id| SnapshotId(*id)).collect();
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        reader.end()?;
        match (time, packs, run) {
            (Some(time), Some(packs), Some(run)) => Ok(Self { time, packs, run, snapshots }),
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
        for snapshots in [vec![], vec![SnapshotId([3; 32]), SnapshotId([4; 32])]] {
            let time = Timestamp { seconds: 7, nanos: 8 };
            let mark = Mark { time, packs: packs.clone(), run: RunId([9; 16]), snapshots };
            assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
        }
    }
}
