//! Repositories in the format of restic, proven with the real restic and the real rustic: read in place, imported,
//! exported and brought back, damaged, locked, and on every kind of store. Trees are compared by a script that shares
//! nothing with any of the three.
//!
//! Every day it is small; with `BK_TORTURE` every repository that restic and rustic can make holds the large tree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::indexing_slicing, reason = "as above")]

mod damage;
mod escape;
mod export;
mod import;
mod in_place;
mod locks;
mod place;
mod refused;
mod remote;
mod round_trip;
mod running;
mod secrets;
mod stores;

#[path = "../support/rclone_server.rs"]
mod rclone_server;
#[path = "../support/s3_server.rs"]
mod s3_server;
#[path = "../support/ssh_server.rs"]
mod ssh_server;
#[path = "../support/trees.rs"]
mod trees;
