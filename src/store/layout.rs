//! The names of objects: bk-repository(7), "OBJECTS AND THEIR NAMES".

use std::fmt;

use crate::format::index_file::PackName;
use crate::id::{ObjectId, PackId, from_hex, to_hex};

/// A folder of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// The configuration.
    Config,
    /// Key slots.
    Keys,
    /// Packs.
    Packs,
    /// Index objects.
    Index,
    /// Snapshots.
    Snapshots,
    /// Facts.
    Facts,
    /// Marks.
    Marks,
    /// What is on its way, and what a store is tried out with. No part of the repository: no reader looks there.
    Temporary,
    /// What a repair has taken out. No part of the repository either: only `bk repair quarantine` looks there.
    Quarantine,
    /// A folder of a repository in restic's format, which lies in a place of its own.
    Restic(ResticArea),
}

/// A folder of a repository in restic's format: restic's design document, "Repository Layout".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResticArea {
    /// One file, at the top, that is called `config` and has no hash.
    Config,
    /// Passwords that open it.
    Keys,
    /// Packs, in folders of their first two digits.
    Data,
    /// Which blob is in which pack.
    Index,
    /// Snapshots.
    Snapshots,
    /// Who works with it at the moment.
    Locks,
}

impl ResticArea {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Config, Self::Keys, Self::Data, Self::Index, Self::Snapshots, Self::Locks];

    /// The name of the configuration: a place is a repository when it has one.
    pub const CONFIG: ObjectName = Self::Config.object([0; 32]);

    /// The folders that objects of this area lie in: of packs those of their first two digits, of the configuration none.
    pub fn folders(self) -> impl Iterator<Item = String> {
        let count = match self {
            Self::Config => 0,
            Self::Data => 256,
            _ => 1_u16,
        };
        (0..count).map(move |first| match self {
            Self::Data => format!("{}/{first:02x}", self.folder()),
            _ => self.folder().to_owned(),
        })
    }

    /// Name of the folder; of the configuration, which has none, its own.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Keys => "keys",
            Self::Data => "data",
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Locks => "locks",
        }
    }

    /// The name of an object; that of the configuration has no use for `id`.
    #[must_use]
    pub const fn object(self, id: [u8; 32]) -> ObjectName {
        match self {
            Self::Config => ObjectName::Plain(Area::Restic(self), ObjectId([0; 32])),
            _ => ObjectName::Plain(Area::Restic(self), ObjectId(id)),
        }
    }
}

impl Area {
    /// All that are parts of a repository.
    pub const ALL: [Self; 7] =
        [Self::Config, Self::Keys, Self::Packs, Self::Index, Self::Snapshots, Self::Facts, Self::Marks];

    /// Name of the folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Keys => "keys",
            Self::Packs => "packs",
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Facts => "facts",
            Self::Marks => "marks",
            Self::Temporary => "tmp",
            Self::Quarantine => "quarantine",
            Self::Restic(area) => area.folder(),
        }
    }
}

/// The name of one object. Every name holds the hash of the object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// A configuration of some generation.
    Config(u32, ObjectId),
    /// A pack.
    Pack(PackName),
    /// Anything else, by area and hash.
    Plain(Area, ObjectId),
    /// An object in quarantine, or the note that says why it is there.
    Quarantined(Quarantined),
}

/// The name of an object in quarantine: the one that it had, and when it came there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quarantined {
    area: Area,
    hash: [u8; 32],
    /// The nonce of a pack, the generation of a configuration; else zeros.
    rest: [u8; 8],
    /// When it was taken out, in seconds since 1970 by the clock of the machine that did.
    pub seconds: i64,
    /// Whether it is the note beside the object.
    pub is_note: bool,
}

impl Quarantined {
    /// The name that the object had; `None` for a name that no part of a repository has.
    #[must_use]
    pub fn original(&self) -> Option<ObjectName> {
        match self.area {
            Area::Config => {
                let [a, b, c, d, ..] = self.rest;
                Some(ObjectName::Config(u32::from_be_bytes([a, b, c, d]), ObjectId(self.hash)))
            }
            Area::Packs => Some(ObjectName::Pack(PackName { id: PackId(self.hash), nonce: self.rest })),
            Area::Temporary | Area::Quarantine | Area::Restic(_) => None,
            area => Some(ObjectName::Plain(area, ObjectId(self.hash))),
        }
    }

    /// The name of the note beside the object.
    #[must_use]
    pub const fn note(self) -> ObjectName {
        ObjectName::Quarantined(Self { is_note: true, ..self })
    }

    fn file_name(&self) -> String {
        let original = self.original().map_or_else(String::new, |name| name.file_name());
        let note = if self.is_note { NOTE } else { "" };
        format!("{}-{original}-{:016x}{note}", self.area.folder(), self.seconds.cast_unsigned())
    }

    fn parse(file_name: &str) -> Option<Self> {
        let (name, is_note) = match file_name.strip_suffix(NOTE) {
            Some(name) => (name, true),
            None => (file_name, false),
        };
        let (name, seconds) = name.rsplit_once('-')?;
        let seconds = u64::from_be_bytes(from_hex(seconds)?).cast_signed();
        let (folder, original) = name.split_once('-')?;
        let area = Area::ALL.into_iter().find(|area| area.folder() == folder)?;
        Some(Self { is_note, ..ObjectName::parse(area, original)?.quarantined(seconds)? })
    }
}

/// End of the name of a note.
const NOTE: &str = ".note";

impl ObjectName {
    /// The folder it is in.
    #[must_use]
    pub const fn area(&self) -> Area {
        match self {
            Self::Config(..) => Area::Config,
            Self::Pack(_) => Area::Packs,
            Self::Plain(area, _) => *area,
            Self::Quarantined(_) => Area::Quarantine,
        }
    }

    /// The hash that its bytes must have; of one in quarantine, should have had.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        match self {
            Self::Config(_, id) | Self::Plain(_, id) => &id.0,
            Self::Pack(name) => &name.id.0,
            Self::Quarantined(name) => &name.hash,
        }
    }

    /// The name inside its folder; packs lie in a folder of their first two digits.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Config(generation, id) => format!("{generation:08x}-{id}"),
            Self::Pack(name) => name.to_string(),
            Self::Plain(Area::Restic(ResticArea::Config), _) => ResticArea::Config.folder().to_owned(),
            Self::Plain(_, id) => id.to_string(),
            Self::Quarantined(name) => name.file_name(),
        }
    }

    /// Reads the name that an object has inside the folder of `area`.
    #[must_use]
    pub fn parse(area: Area, file_name: &str) -> Option<Self> {
        match area {
            Area::Config => {
                let (generation, id) = file_name.split_once('-')?;
                let generation = from_hex::<4>(generation)?;
                Some(Self::Config(u32::from_be_bytes(generation), id.parse().ok()?))
            }
            Area::Packs => {
                let (id, nonce) = file_name.split_once('.')?;
                Some(Self::Pack(PackName { id: id.parse::<PackId>().ok()?, nonce: from_hex(nonce)? }))
            }
            Area::Quarantine => Quarantined::parse(file_name).map(Self::Quarantined),
            Area::Restic(ResticArea::Config) => {
                (file_name == ResticArea::Config.folder()).then(|| ResticArea::Config.object([0; 32]))
            }
            _ => Some(Self::Plain(area, file_name.parse().ok()?)),
        }
    }

    /// The name that the object gets in quarantine, taken out so many seconds after 1970; `None` when it is there.
    #[must_use]
    pub fn quarantined(&self, seconds: i64) -> Option<Quarantined> {
        let mut rest = [0; 8];
        match self {
            Self::Config(generation, _) => {
                for (byte, value) in rest.iter_mut().zip(generation.to_be_bytes()) {
                    *byte = value;
                }
            }
            Self::Pack(name) => rest = name.nonce,
            Self::Plain(Area::Temporary | Area::Quarantine | Area::Restic(_), _) | Self::Quarantined(_) => return None,
            Self::Plain(..) => {}
        }
        Some(Quarantined { area: self.area(), hash: *self.hash(), rest, seconds, is_note: false })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.area().folder();
        match self {
            Self::Pack(name) => write!(f, "{folder}/{}/{name}", to_hex(&name.id.0[..1])),
            Self::Plain(Area::Restic(ResticArea::Config), _) => f.write_str(folder),
            Self::Plain(Area::Restic(ResticArea::Data), id) => write!(f, "{folder}/{}/{id}", to_hex(&id.0[..1])),
            _ => write!(f, "{folder}/{}", self.file_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text() {
        let id = ObjectId([0xab; 32]);
        let pack = PackName { id: PackId([0xcd; 32]), nonce: [1, 2, 3, 4, 5, 6, 7, 8] };
        for name in [ObjectName::Config(17, id), ObjectName::Pack(pack), ObjectName::Plain(Area::Index, id)] {
            assert_eq!(ObjectName::parse(name.area(), &name.file_name()), Some(name));
        }
        let shown = ObjectName::Pack(pack).to_string();
        assert!(shown.starts_with("packs/cd/cdcd") && shown.ends_with(".0102030405060708"), "{shown}");
    }

    #[test]
    fn a_name_in_quarantine_tells_the_one_before_it_and_when() {
        let id = ObjectId([0xab; 32]);
        let pack = PackName { id: PackId([0xcd; 32]), nonce: [1, 2, 3, 4, 5, 6, 7, 8] };
        for name in [ObjectName::Config(17, id), ObjectName::Pack(pack), ObjectName::Plain(Area::Index, id)] {
            for seconds in [1_800_000_000, -5] {
                let held = name.quarantined(seconds).unwrap();
                for held in [ObjectName::Quarantined(held), held.note()] {
                    assert_eq!(ObjectName::parse(Area::Quarantine, &held.file_name()), Some(held));
                    assert_eq!((held.area(), held.hash()), (Area::Quarantine, name.hash()));
                    assert_eq!(held.quarantined(0), None);
                }
                assert_eq!((held.original(), held.seconds), (Some(name), seconds));
            }
        }
        let held = ObjectName::Quarantined(ObjectName::Pack(pack).quarantined(255).unwrap()).to_string();
        assert!(
            held.starts_with("quarantine/packs-cdcd") && held.ends_with(".0102030405060708-00000000000000ff"),
            "{held}"
        );
        for wrong in ["packs-x-00000000000000ff", "tmp-00-00000000000000ff", "packs", "index--00000000000000ff", ""] {
            assert_eq!(ObjectName::parse(Area::Quarantine, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_of_restic_are_those_that_restic_uses() {
        for area in ResticArea::ALL {
            let name = area.object([0xab; 32]);
            assert_eq!(ObjectName::parse(Area::Restic(area), &name.file_name()), Some(name));
            assert_eq!(name.quarantined(0), None);
        }
        assert_eq!(ResticArea::Config.object([1; 32]).to_string(), "config");
        assert_eq!((ResticArea::Data.folders().count(), ResticArea::Config.folders().count()), (256, 0));
        assert!(ResticArea::Data.folders().any(|folder| folder == "data/0f"));
        assert_eq!(ResticArea::Locks.folders().collect::<Vec<_>>(), ["locks"]);
        let data = ResticArea::Data.object([0xcd; 32]).to_string();
        assert!(data.starts_with("data/cd/cdcd") && data.len() == 8 + 64, "{data}");
        assert!(ResticArea::Locks.object([1; 32]).to_string().starts_with("locks/0101"));
    }

    #[test]
    fn other_names_are_not_objects() {
        for (area, name) in [(Area::Index, "x"), (Area::Packs, &"a".repeat(64)), (Area::Config, &"a".repeat(64))] {
            assert_eq!(ObjectName::parse(area, name), None);
        }
    }
}
