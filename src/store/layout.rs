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
}

impl ObjectName {
    /// The folder it is in.
    #[must_use]
    pub const fn area(&self) -> Area {
        match self {
            Self::Config(..) => Area::Config,
            Self::Pack(_) => Area::Packs,
            Self::Plain(area, _) => *area,
        }
    }

    /// The hash that its bytes must have.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        match self {
            Self::Config(_, id) | Self::Plain(_, id) => &id.0,
            Self::Pack(name) => &name.id.0,
        }
    }

    /// The name inside its folder; packs lie in a folder of their first two digits.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Config(generation, id) => format!("{generation:08x}-{id}"),
            Self::Pack(name) => name.to_string(),
            Self::Plain(_, id) => id.to_string(),
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
            _ => Some(Self::Plain(area, file_name.parse().ok()?)),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.area().folder();
        match self {
            Self::Pack(name) => write!(f, "{folder}/{}/{name}", to_hex(&name.id.0[..1])),
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
    fn other_names_are_not_objects() {
        for (area, name) in [(Area::Index, "x"), (Area::Packs, &"a".repeat(64)), (Area::Config, &"a".repeat(64))] {
            assert_eq!(ObjectName::parse(area, name), None);
        }
    }
}
