//! Facts: what becomes known after a snapshot was made. bk-repository(7), "FACTS".

use super::DecodeError;
use super::cbor::{Fields, Reader, Writer};
use super::node::Timestamp;
use super::tree::{decode_time, encode_time};
use crate::id::{PackId, SnapshotId};

/// What a fact says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// A snapshot was restored and compared.
    Verified,
    /// A restored service was proved to work.
    Drilled,
    /// A snapshot must be kept.
    Pinned,
    /// A pin was taken away.
    Unpinned,
    /// A pack was read and found whole.
    PackRead,
    /// Somebody looked at an anomaly and accepted it.
    AnomalyAcknowledged,
    /// A snapshot is no longer wanted.
    Forgotten,
    /// A kind of a later version.
    Unknown(u64),
}

impl FactKind {
    const KNOWN: [Self; 7] = [
        Self::Verified,
        Self::Drilled,
        Self::Pinned,
        Self::Unpinned,
        Self::PackRead,
        Self::AnomalyAcknowledged,
        Self::Forgotten,
    ];

    fn number(self) -> u64 {
        match self {
            Self::Unknown(number) => number,
            known => Self::KNOWN.iter().position(|kind| *kind == known).map_or(0, |at| at as u64 + 1),
        }
    }

    fn from_number(number: u64) -> Self {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        at.and_then(|at| Self::KNOWN.get(at).copied()).unwrap_or(Self::Unknown(number))
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it says.
    pub kind: FactKind,
    /// When it became known.
    pub time: Timestamp,
    /// Who says so.
    pub host: String,
    /// The snapshot it is about.
    pub snapshot: Option<SnapshotId>,
    /// The pack it is about.
    pub pack: Option<PackId>,
    /// Anything else.
    pub detail: Option<String>,
}

/// The payload of a facts object.
#[must_use]
pub fn encode(facts: &[Fact]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(facts.len());
    for fact in facts {
        let mut fields = Fields::new();
        fields.field(1).uint(fact.kind.number());
        encode_time(fields.field(2), fact.time);
        fields.field(3).text(&fact.host);
        if let Some(snapshot) = fact.snapshot {
            fields.field(4).bytes(&snapshot.0);
        }
        if let Some(pack) = fact.pack {
            fields.field(5).bytes(&pack.0);
        }
        if let Some(detail) = &fact.detail {
            fields.field(6).text(detail);
        }
        fields.finish(&mut writer);
    }
    writer.into_bytes()
}

/// Reads the payload of a facts object.
///
/// # Errors
/// [`DecodeError`] for anything else.
pub fn decode(payload: &[u8]) -> Result<Vec<Fact>, DecodeError> {
    let mut reader = Reader::new(payload);
    let mut facts = Vec::new();
    for _ in 0..reader.array()? {
        let (mut kind, mut time, mut host) = (None, None, None);
        let (mut snapshot, mut pack, mut detail) = (None, None, None);
        reader.map(|key, reader| {
            match key {
                1 => kind = Some(FactKind::from_number(reader.uint()?)),
                2 => time = Some(decode_time(reader)?),
                3 => host = Some(reader.text()?.to_owned()),
                4 => snapshot = Some(SnapshotId(reader.fixed()?)),
                5 => pack = Some(PackId(reader.fixed()?)),
                6 => detail = Some(reader.text()?.to_owned()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let (Some(kind), Some(time), Some(host)) = (kind, time, host) else {
            return Err(reader.error("a fact is not complete"));
        };
        facts.push(Fact { kind, time, host, snapshot, pack, detail });
    }
    reader.end()?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_every_kind_survive() {
        let fact = |kind| Fact {
            kind,
            time: Timestamp::default(),
            host: "h".into(),
            snapshot: Some(SnapshotId([1; 32])),
            pack: None,
            detail: Some("d".into()),
        };
        let mut facts: Vec<_> = FactKind::KNOWN.map(fact).into();
        facts.push(fact(FactKind::Unknown(99)));
        assert_eq!(decode(&encode(&facts)), Ok(facts));
    }
}
