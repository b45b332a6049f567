//! Repositories of other programs.

pub mod restic;
