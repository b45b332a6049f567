//! What the user wants backed up and to where: `bk.toml`, from its text to checked values.
//!
//! The way of a setting: `files` finds and reads the files → `check` compares every key with the table in `keys`
//! and says file and line of what it does not know → `raw` is the shape serde fills → `resolve` turns it into
//! a [`Config`] whose names exist, paths are absolute and patterns can be used → `definition` writes that down again
//! for the snapshot, without secrets.
//!
//! Strict on purpose: a key that is misspelt would otherwise be a backup that silently lacks something. Keys of later
//! versions are refused too, by name, instead of being ignored.

mod builtin;
mod check;
mod config;
mod definition;
mod detect;
mod dumps;
mod error;
mod example;
mod files;
mod formats;
mod keep;
mod keys;
mod metrics;
mod notify;
mod origin;
mod question;
mod raw;
mod repository;
mod resolve;
mod schedule;
mod schema;
mod scope;
mod service;
mod verify;

pub use check::profile_name_problem;
pub use config::{
    AD_HOC, ChunkChoice, Config, Defaults, Family, Level, Login, Profile, Repository, RepositoryPassword, Shown,
    Warning,
};
pub use detect::{Detect, EnvironmentKeys, Format, Keys, Names};
pub use dumps::{
    Container, HookUse, Moments, OnFailure, Role, SqliteFile, UserCommand, duration, hooks_of_definition,
    patterns_of_definition,
};
pub use error::ConfigError;
pub use example::EXAMPLE;
pub use files::{Environment, Given, candidates};
pub use keys::nearest;
pub use metrics::Metrics;
pub use notify::{
    Address, Channel, ChannelKind, Email, Event, Hidden, Http, MailTls, Method, Ready, Template, WebAddress,
};
pub use origin::{Origin, Place};
pub use question::{MOST_ROWS, Question};
pub use schedule::{CheckPromise, IoClass, ProfileSchedule, Timetable};
pub use schema::schema;
pub use service::{Need, Service, State};
pub use verify::{Depth, Every, Verify, VerifySaid};

/// Reads the configuration: every file there is for this user, merged and checked.
///
/// # Order
/// The file of [`Environment::config`] alone, which must exist; else `bk.toml` in the system folder (for root only),
/// then `bk/bk.toml` in the user's configuration folder. After each file comes `conf.d/*.toml` beside it, by name.
/// Later files add; what two files both say is an error. No file at all is an empty configuration.
/// # Errors
/// [`ConfigError`] names the file, the line and the key of the first thing that is wrong.
pub fn load(environment: &Environment) -> Result<Config, ConfigError> {
    let files = files::read_all(environment)?;
    resolve::resolve(&files, environment)
}
