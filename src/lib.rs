//! Encrypted, deduplicating backups. A run goes down the house as bytes and comes back up as a report:
//! *walk → chunk → hash → known? → compress → seal → pack → store*, and for a restore
//! *store → unpack → unseal → decompress → check the hash → write*.
//!
//! # The floors
//! A module names only modules of the floors above it in this list; `tests/house.rs` holds the order.
//!
//! **Words** do no I/O: [`id`] (what things are called), [`size`], [`clock`] (the only reader of the time),
//! [`environment`] (what of it others may see) and [`progress`] (what a run tells whoever watches it).
//!
//! **Transforms** turn bytes into bytes: [`compress`], [`crypto`], [`chunk`] (content-defined boundaries) and
//! [`format`](mod@format), which is bk-repository(7) as code: encode and decode only. [`retention`] turns rules and
//! snapshots into what stays, and why; [`schedule`] turns a line of crontab(5) into times.
//!
//! **Edges** meet the outside world and know no repository: [`store`] (where objects lie), [`source`] (what is backed
//! up: the walk, excludes, programs, live SQLite databases) [`destination`] (where a restore writes, and which it
//! never leaves) and [`state`] (what is remembered on this machine, and not needed for a restore).
//!
//! **[`repository`]** is what is kept: keys, the index, packs, snapshots, and the commit that makes a snapshot visible
//! only once all that it needs is stored.
//!
//! **Operations**, one verb a module of [`operation`], take a repository, options and a progress, and give statistics.
//!
//! **Interop**: [`interop`] reads and writes repositories of other programs; only it names rustic_core.
//!
//! **Service**: [`hook`] runs the programs that know a service, [`profile`] turns configuration files into what is to be
//! done, and says where each value came from, [`status`] says how things stand, [`metrics`] says it in numbers,
//! [`notify`] tells people how it went, [`job`] does it for one profile, and looks whether it can, [`drill`] proves that a
//! restored database is one.
//!
//! **The door**: [`ui`] is all that a person or a program reads, [`command`] all that they type.

pub mod id;
pub mod size;

pub mod clock;
pub mod environment;
pub mod progress;

pub mod chunk;
pub mod compress;
pub mod crypto;
pub mod format;
pub mod retention;
pub mod schedule;

pub mod destination;
pub mod source;
pub mod state;
pub mod store;

pub mod repository;

pub mod operation;

pub mod interop;

pub mod drill;
pub mod hook;
pub mod job;
pub mod metrics;
pub mod notify;
pub mod profile;
pub mod status;

pub mod command;
pub mod ui;
