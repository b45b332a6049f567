//! One verb a file. Each takes a repository, its options and a [`crate::progress::Progress`], and gives what it did.

pub mod backup;
#[cfg(test)]
pub(crate) mod bench;
pub mod check;
pub mod copy;
mod cut;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
mod freshness;
pub mod import;
pub mod key;
pub mod list;
pub mod promise;
pub mod prune;
pub(crate) mod reach;
pub mod repair;
pub mod restore;
pub mod stats;
pub mod tar;
pub mod verify;
