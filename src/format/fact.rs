//! Facts: what becomes known after a snapshot was made. bk-repository(7), "FACTS".

use super::DecodeError;
use super::cbor::{Fields, Reader, Writer};
use super::node::Timestamp;
use super::tree::{decode_time, encode_time};
use crate::id::{PackId, SnapshotId};

/// The first bytes of a pack's id, as a reading of many packs keeps them: among a million packs two begin alike once in
/// ten million repositories, and one of those would be read a little later.
pub type PackStart = [u8; 8];

/// Which packs a fact is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packs {
    /// One.
    One(PackId),
    /// Many, by how their ids begin.
    Starts(Vec<PackStart>),
}

impl Packs {
    /// How a pack's id begins.
    #[must_use]
    pub const fn start(id: &PackId) -> PackStart {
        let [a, b, c, d, e, f, g, h, ..] = id.0;
        [a, b, c, d, e, f, g, h]
    }

    /// How the ids of all of them begin.
    #[must_use]
    pub fn starts(&self) -> Vec<PackStart> {
        match self {
            Self::One(id) => vec![Self::start(id)],
            Self::Starts(starts) => starts.clone(),
        }
    }
}

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
    /// Packs were read from end to end and found whole.
    PackRead,
    /// Somebody looked at an anomaly and accepted it.
    AnomalyAcknowledged,
    /// A snapshot is no longer wanted.
    Forgotten,
    /// The object of a snapshot is in quarantine; what stands for it is in the detail.
    SetAside,
    /// A kind of a later version.
    Unknown(u64),
}

impl FactKind {
    const KNOWN: [Self; 8] = [
        Self::Verified,
        Self::Drilled,
        Self::Pinned,
        Self::Unpinned,
        Self::PackRead,
        Self::AnomalyAcknowledged,
        Self::Forgotten,
        Self::SetAside,
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
    /// The pack it is about, or the packs.
    pub pack: Option<Packs>,
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
        if let Some(Packs::One(pack)) = &fact.pack {
            fields.field(5).bytes(&pack.0);
        }
        if let Some(detail) = &fact.detail {
            fields.field(6).text(detail);
        }
        if let Some(Packs::Starts(starts)) = &fact.pack {
            fields.field(7).bytes(starts.as_flattened());
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
                5 => pack = Some(Packs::One(PackId(reader.fixed()?))),
                6 => detail = Some(reader.text()?.to_owned()),
                7 if pack.is_some() => return Err(reader.error("a fact has both one pack and many")),
                7 => pack = Some(Packs::Starts(starts(reader)?)),
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

fn starts(reader: &mut Reader<'_>) -> Result<Vec<PackStart>, DecodeError> {
    match reader.bytes()?.as_chunks() {
        (starts, []) => Ok(starts.to_vec()),
        _ => Err(reader.error("the packs of a fact are cut off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(packs: Packs) -> Fact {
        let (time, host) = (Timestamp { seconds: 5, nanos: 0 }, "h".to_owned());
        Fact { kind: FactKind::PackRead, time, host, snapshot: None, pack: Some(packs), detail: None }
    }

    #[test]
    fn readings_of_one_pack_and_of_many_survive() {
        let id = PackId([7; 32]);
        assert_eq!(Packs::One(id).starts(), [[7; 8]]);
        for packs in [Packs::One(id), Packs::Starts(Vec::new()), Packs::Starts(vec![[1; 8], [2; 8]])] {
            let facts = vec![reading(packs)];
            assert_eq!(decode(&encode(&facts)), Ok(facts));
        }
    }

    #[test]
    fn packs_that_are_cut_off_or_said_twice_are_no_fact() {
        let bytes = |packs: &[u8], one: bool| {
            let mut writer = Writer::new();
            writer.array(1);
            let mut fields = Fields::new();
            fields.field(1).uint(5_u64);
            encode_time(fields.field(2), Timestamp::default());
            fields.field(3).text("h");
            if one {
                fields.field(5).bytes(&[9; 32]);
            }
            fields.field(7).bytes(packs);
            fields.finish(&mut writer);
            writer.into_bytes()
        };
        assert!(decode(&bytes(&[0; 16], false)).is_ok());
        for (packs, one) in [(&[0; 15][..], false), (&[0; 1], false), (&[0; 17], false), (&[0; 16], true)] {
            assert!(decode(&bytes(packs, one)).is_err(), "{} {one}", packs.len());
        }
    }

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
