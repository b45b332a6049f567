//! A repository's configuration. bk-repository(7), "CONFIG".

use super::DecodeError;
use super::cbor::{Fields, Reader};
use super::node::Timestamp;
use super::tree::{decode_time, encode_time};
use crate::id::{FamilyId, RepositoryId};

/// The format version that this program reads and writes.
pub const FORMAT_VERSION: u64 = 1;
/// The only chunker: a gear table drawn from the key.
pub const CHUNKER_KEYED_GEAR: u64 = 1;

/// What holds for the whole repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Version of the format.
    pub version: u64,
    /// This repository.
    pub repository: RepositoryId,
    /// Its siblings share this, and the master key.
    pub family: FamilyId,
    /// How contents are cut.
    pub chunker: u64,
    /// Which rule chooses chunk classes.
    pub class_rule: u64,
    /// Features that a reader must know.
    pub read_features: Vec<u64>,
    /// Features that a writer must know.
    pub write_features: Vec<u64>,
    /// Features that a prune must know.
    pub prune_features: Vec<u64>,
    /// When the repository was made.
    pub created: Timestamp,
    /// Counts up with each change.
    pub generation: u32,
}

impl Config {
    /// The payload of the sealed object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields::new();
        fields.field(1).uint(self.version);
        fields.field(2).bytes(&self.repository.0);
        fields.field(3).bytes(&self.family.0);
        fields.field(4).uint(self.chunker);
        fields.field(5).uint(self.class_rule);
        for (key, features) in [(6, &self.read_features), (7, &self.write_features), (8, &self.prune_features)] {
            let writer = fields.field(key).array(features.len());
            for feature in features {
                writer.uint(*feature);
            }
        }
        encode_time(fields.field(9), self.created);
        fields.field(10).uint(self.generation);
        fields.into_bytes()
    }

    /// Reads the payload of the sealed object.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else. Versions and features are left for the caller to judge.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let (mut version, mut repository, mut family, mut chunker) = (None, None, None, None);
        let (mut class_rule, mut created, mut generation) = (None, None, None);
        let (mut read_features, mut write_features, mut prune_features) = (Vec::new(), Vec::new(), Vec::new());
        reader.map(|key, reader| {
            match key {
                1 => version = Some(reader.uint()?),
                2 => repository = Some(RepositoryId(reader.fixed()?)),
                3 => family = Some(FamilyId(reader.fixed()?)),
                4 => chunker = Some(reader.uint()?),
                5 => class_rule = Some(reader.uint()?),
                6 => read_features = features(reader)?,
                7 => write_features = features(reader)?,
                8 => prune_features = features(reader)?,
                9 => created = Some(decode_time(reader)?),
                10 => generation = Some(reader.small()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        reader.end()?;
        let incomplete = || reader.error("the configuration is not complete");
        Ok(Self {
            version: version.ok_or_else(incomplete)?,
            repository: repository.ok_or_else(incomplete)?,
            family: family.ok_or_else(incomplete)?,
            chunker: chunker.ok_or_else(incomplete)?,
            class_rule: class_rule.ok_or_else(incomplete)?,
            read_features,
            write_features,
            prune_features,
            created: created.ok_or_else(incomplete)?,
            generation: generation.ok_or_else(incomplete)?,
        })
    }
}

fn features(reader: &mut Reader<'_>) -> Result<Vec<u64>, DecodeError> {
    (0..reader.array()?).map(|_| reader.uint()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives() {
        let config = Config {
            version: 1,
            repository: RepositoryId([1; 16]),
            family: FamilyId([2; 16]),
            chunker: 1,
            class_rule: 1,
            read_features: vec![],
            write_features: vec![3],
            prune_features: vec![4, 5],
            created: Timestamp { seconds: 1, nanos: 2 },
            generation: 7,
        };
        assert_eq!(Config::decode(&config.encode()), Ok(config));
    }
}
