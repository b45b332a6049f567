//! Whoever is to hear of a backup does: each kind of channel against a server, and on the days when that is not well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod mail;
mod program;
mod secrets;
mod servers;
mod services;
mod trouble;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bk::clock::{Clock as _, SystemClock, Timestamp};
use bk::notify::{Channel, Entry, Event, Notice, Patience, Sender};
use bk::profile::{self, Environment, Given, Origin};

/// 2026-03-01T02:00:00Z
const AT: Timestamp = Timestamp { seconds: 1_772_330_400, nanos: 0 };

/// The channels of a configuration.
fn channels(text: &str) -> BTreeMap<String, Channel> {
    config(text).channels
}

fn config(text: &str) -> profile::Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bk.toml");
    std::fs::write(&path, text).unwrap();
    let config = Some(Given { value: path, origin: Origin::Flag("--config") });
    profile::load(&Environment { uid: 1000, config, ..Environment::default() }).unwrap()
}

/// The only channel of a configuration.
fn channel(lines: &str) -> Channel {
    channels(&format!("[notify.one]\n{lines}\n")).into_values().next().unwrap()
}

fn entry(event: Event, profile: &str, text: &str) -> Entry {
    Entry { event, profile: Some(profile.into()), repository: None, text: text.into(), hint: None }
}

fn notice(entries: Vec<Entry>) -> Notice {
    Notice { host: "nas".into(), at: AT, entries, exit: Some(4), seconds: Some(61.0), new_bytes: None, table: None }
}

/// The title is `nas: gitea failed`.
fn failed() -> Notice {
    let gitea = Entry {
        repository: Some("b2".into()),
        hint: Some("run `bk backup gitea`".into()),
        ..entry(Event::Failed, "gitea", "gitea: pg_dump ended with \"1\" <&>")
    };
    notice(vec![gitea, entry(Event::Complete, "plex", "plex is complete")])
}

const TITLE: &str = "nas: gitea failed";
const BODY: &str = "gitea: pg_dump ended with \"1\" <&>\n  run `bk backup gitea`\ncomplete: plex\ntook 1 min 1 s";

fn complete() -> Notice {
    Notice { exit: Some(0), ..notice(vec![entry(Event::Complete, "plex", "plex is complete")]) }
}

fn digest() -> Notice {
    let fine = Entry { profile: None, ..entry(Event::Digest, "", "all 5 profiles are fine") };
    Notice { exit: None, seconds: None, table: Some("plex  ok\nwiki  ok".into()), ..notice(vec![fine]) }
}

/// Does not let a test wait.
fn sender() -> Sender {
    let milliseconds = Duration::from_millis;
    Sender {
        patience: Patience {
            connect: milliseconds(2000),
            whole: milliseconds(1500),
            pauses: vec![milliseconds(50); 3],
            longest_pause: milliseconds(2500),
            total: milliseconds(12_000),
            program: milliseconds(2000),
        },
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn now() -> Timestamp {
    SystemClock.wall()
}
