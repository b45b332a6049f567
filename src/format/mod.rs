//! What is on disk: encoding and decoding only. bk-repository(7) is the authority; this folder follows it.
//!
//! Nothing here may panic on any bytes: they come from a store that may lie.
#![warn(clippy::indexing_slicing)]

pub mod cbor;
pub mod config;
pub mod content;
pub mod fact;
pub mod header;
pub mod index_file;
pub mod key_slot;
pub mod mark;
pub mod node;
pub mod object;
pub mod pack;
pub mod snapshot;
pub mod tree;

pub use cbor::DecodeError;
pub use header::{Header, Kind};
