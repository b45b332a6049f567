//! The shape of one file as serde fills it: what was typed and where, before anything is known to make sense.
//!
//! [`super::check`] has compared every key and value with [`super::keys`] before this is filled, so that people read
//! messages about their keys and not about serde's.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::dumps::{Container, RawCommand, RawDatabase, RawHook, RawQuiesce, RawSnapshot};
use super::keep::RawKeep;
use super::metrics::RawMetrics;
use super::notify::RawNotify;
use super::question::RawQuestion;
use super::schedule::RawSchedule;
use super::verify::RawVerify;
use crate::size::ByteSize;

/// A value and the bytes of the file it stands in.
pub(super) type Typed<T> = Option<Spanned<T>>;

/// A list, and each of its entries by itself.
pub(super) type Listed<T> = Typed<Vec<Spanned<T>>>;

/// `[[so]]`, and each of them by itself.
pub(super) type Tables<T> = Vec<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawFile {
    pub family: RawFamily,
    pub repository: BTreeMap<String, Spanned<RawRepository>>,
    pub defaults: RawDefaults,
    pub schedule: RawSchedule,
    pub metrics: RawMetrics,
    pub profile: BTreeMap<String, Spanned<RawProfile>>,
    pub notify: BTreeMap<String, Spanned<RawNotify>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawFamily {
    pub key_file: Typed<String>,
    pub password_file: Typed<String>,
    pub password_command: Listed<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawRepository {
    pub location: Typed<String>,
    pub format: Typed<String>,
    pub password_file: Typed<String>,
    pub password_command: Listed<String>,
    pub require_mount: Typed<String>,
    pub min_free: Typed<ByteSize>,
    pub endpoint: Typed<String>,
    pub region: Typed<String>,
    pub path_style: Typed<bool>,
    pub storage_class: Typed<String>,
    pub sse: Typed<String>,
    pub sse_kms_key: Typed<String>,
    pub limit_upload: Typed<ByteSize>,
    pub limit_download: Typed<ByteSize>,
    pub retry_for: Typed<String>,
    pub ssh_options: Listed<String>,
    pub credentials_file: Typed<String>,
    pub credentials_command: Listed<String>,
    pub aws_profile: Typed<String>,
    pub keep: Typed<RawKeep>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawDefaults {
    pub to: Listed<String>,
    pub one_file_system: Typed<bool>,
    pub sqlite: Typed<bool>,
    pub scratch: Typed<String>,
    pub max_age: Typed<String>,
    pub verify: Typed<RawVerify>,
    pub before: Tables<RawCommand>,
    pub after: Tables<RawCommand>,
    pub failed: Tables<RawCommand>,
    pub finally: Tables<RawCommand>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawProfile {
    pub paths: Listed<String>,
    pub root: Typed<String>,
    pub to: Listed<String>,
    pub exclude: Listed<String>,
    pub include: Listed<String>,
    pub tags: Listed<String>,
    pub chunk_class: Typed<String>,
    pub one_file_system: Typed<bool>,
    pub exclude_caches: Typed<bool>,
    pub exclude_larger_than: Typed<ByteSize>,
    pub exclude_if_present: Listed<String>,
    pub sqlite: Typed<bool>,
    pub r#use: Typed<String>,
    pub database: Tables<RawDatabase>,
    pub hook: Tables<RawHook>,
    pub container: Typed<Container>,
    pub quiesce: Typed<RawQuiesce>,
    pub snapshot: Typed<RawSnapshot>,
    pub keep: BTreeMap<String, Spanned<RawKeep>>,
    pub schedule: Typed<String>,
    pub max_age: Typed<String>,
    pub verify: Typed<RawVerify>,
    pub drill: Tables<RawQuestion>,
    pub before: Tables<RawCommand>,
    pub after: Tables<RawCommand>,
    pub failed: Tables<RawCommand>,
    pub finally: Tables<RawCommand>,
}

#[cfg(test)]
mod tests {
    use super::super::keys::section;
    use super::*;

    /// The fields of `T`, as serde lists them when it meets one it does not know.
    fn fields<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
        let message = toml::from_str::<T>("zzz = 1").unwrap_err().message().to_owned();
        let (_, list) = message.split_once("expected").unwrap();
        let mut names: Vec<String> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        names.sort();
        names
    }

    fn keys(name: &str) -> Vec<String> {
        let mut names: Vec<String> = section(name).unwrap().keys.iter().map(|key| key.name.to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_table_of_keys_and_the_shape_have_the_same_names() {
        assert_eq!(
            fields::<RawFile>(),
            ["defaults", "family", "metrics", "notify", "profile", "repository", "schedule"]
        );
        assert_eq!(fields::<RawFamily>(), keys("family"));
        assert_eq!(fields::<RawRepository>(), keys("repository"));
        assert_eq!(fields::<RawDefaults>(), keys("defaults"));
        assert_eq!(fields::<RawSchedule>(), keys("schedule"));
        assert_eq!(fields::<RawMetrics>(), keys("metrics"));
        assert_eq!(fields::<RawProfile>(), keys("profile"));
        assert_eq!(fields::<RawNotify>(), keys("notify"));
    }
}
