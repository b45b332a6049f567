//! What is backed up: the file system, databases, the output of programs. Knows no repository.

pub mod command;
pub mod exclude;
pub mod extents;
pub mod folder;
pub mod metadata;
pub mod sqlite;
