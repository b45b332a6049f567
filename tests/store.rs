//! Every store keeps what [`Store`] promises: one suite of claims, run on each of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

#[path = "store/claims.rs"]
mod claims;
#[path = "support/rclone_server.rs"]
mod rclone_server;
#[path = "store/rest.rs"]
mod rest;
#[path = "store/restic.rs"]
mod restic;
#[path = "store/s3.rs"]
mod s3;
#[path = "support/s3_server.rs"]
mod s3_server;
#[path = "store/sftp.rs"]
mod sftp;
#[path = "support/ssh_server.rs"]
mod ssh_server;
#[path = "store/webdav.rs"]
mod webdav;

use std::sync::Arc;

use bk::store::{CachedStore, LocalStore};
use claims::{Names, every_claim_holds};
use support::MemoryStore;

#[test]
fn a_store_in_memory_keeps_every_promise() {
    every_claim_holds(&MemoryStore::new(), Names::Exclusive);
}

#[test]
fn a_store_with_copies_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let copies = folder.path().join("copies");
    every_claim_holds(&CachedStore::new(Arc::new(MemoryStore::new()), copies.clone(), 1 << 20), Names::Exclusive);
    // Where nothing can be kept, everything is read from where it is.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let nowhere = folder.path().join("file");
    every_claim_holds(&CachedStore::new(Arc::new(MemoryStore::new()), nowhere, 1 << 20), Names::Exclusive);
}

#[test]
fn a_folder_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let store = LocalStore::create(&path).unwrap();
    every_claim_holds(&store, Names::Exclusive);
    drop(store);
    every_claim_holds(&LocalStore::open(&path).unwrap(), Names::Exclusive);
}
