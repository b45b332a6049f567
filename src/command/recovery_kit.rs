//! `bk key recovery-kit`: a page of paper that opens the backups when the machines and their keys are gone.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::Session;
use super::create::write_secret;
use super::key::{SlotMaker, short};
use super::session::{Target, host_name};
use super::siblings::Siblings;
use crate::clock::Clock;
use crate::crypto::KeyFile;
use crate::format::key_slot::Credential;
use crate::repository::RepositoryError;
use crate::store::location::Service;
use crate::store::{Location, ObjectName};
use crate::ui::text::time_text;
use crate::ui::{Exit, Failure};

/// What the slot is called in lists.
const LABEL: &str = "recovery kit";

/// Print a page with a key of its own, to restore with on a bare machine
#[derive(Debug, Args)]
pub struct RecoveryKitArgs {
    /// Write the page to a new file that only you can read
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A repository that the page opens.
struct Place {
    name: String,
    location: String,
    /// What of a bucket its location does not say, as variables.
    variables: Vec<String>,
    slot: ObjectName,
}

/// What whoever stands before a bare machine has to say of a bucket beside its location.
fn variables(target: &Target) -> Vec<String> {
    let is_bucket = matches!(&target.location, Location::Remote(remote)
        if matches!(remote.service, Service::S3 | Service::B2));
    if !is_bucket {
        return Vec::new();
    }
    let said = [("AWS_REGION", &target.remote.region), ("AWS_ENDPOINT_URL", &target.remote.endpoint)];
    let said = said.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(value.as_ref()?))));
    said.chain(["AWS_ACCESS_KEY_ID=...", "AWS_SECRET_ACCESS_KEY=..."].map(str::to_owned)).collect()
}

impl RecoveryKitArgs {
    /// Adds a key to every repository and prints the page.
    pub(super) fn run(&self, session: &Session, siblings: &Siblings) -> Result<Exit, Failure> {
        if let Some(path) = self.output.as_ref().filter(|path| std::fs::symlink_metadata(path).is_ok()) {
            return Err(Failure::usage(format!("{} exists already", path.display()), "name another file"));
        }
        let key = KeyFile::generate().map_err(RepositoryError::from)?;
        let lines = key.groups();
        let credential = Credential::KeyFile(key);
        let mut maker = SlotMaker::new(session, &credential, LABEL);
        let mut exit = Exit::Complete;
        let mut places = Vec::new();
        for (target, opened) in &siblings.open {
            match maker.add(&opened.repository) {
                Ok(slot) => {
                    let (name, location) = (target.name.clone(), target.location.to_string());
                    places.push(Place { name, location, variables: variables(target), slot });
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    session.screen.warning(&format!("{} will not open with this page", target.name));
                    session.screen.failure(&failure);
                    exit = exit.worst(failure.exit);
                }
            }
        }
        if places.is_empty() {
            return Ok(exit);
        }
        let unreached: Vec<_> =
            siblings.failed.iter().chain(&siblings.missing).map(|(target, _)| target.name.clone()).collect();
        let page = page(&places, &unreached, &lines, &time_text(session.clock.wall()));
        match &self.output {
            Some(path) => {
                write_secret(path, page.as_bytes())?;
                session.screen.note(&format!("wrote {}: print it, then delete it", path.display()));
            }
            None => session.screen.bytes(page.as_bytes()),
        }
        Ok(exit)
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+,=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn page(places: &[Place], unreached: &[String], key: &[Zeroizing<String>; 2], date: &str) -> Zeroizing<String> {
    // Room for all of it, so that no part of the key stays in memory that was given back.
    let mut page = Zeroizing::new(String::with_capacity((places.len() + 1) * (8 << 10)));
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        page,
        "BK RECOVERY KIT                          {date}, {host}, bk {version}

This page opens your backups without any other password or key. Keep it on paper, away from
the machines that are backed up, where a fire or a thief does not get both.

REPOSITORIES
{places}
RECOVERY KEY
    Type these three lines into a file called recovery.key. Spaces and line ends do not matter;
    the digits are 0 to 9 and a to f.

        bk-key-1-
        {first}
        {second}

ON A BARE MACHINE
    1. Install bk {version} or newer, and connect or mount the disk with the repository.
    2. See what there is, then restore the newest snapshot:
{commands}
    One that lies elsewhere now opens the same way: give --repo its present place.

WHAT THIS PAGE DOES NOT DO
    It holds no data. When all repositories are lost, so are the backups.
    Whoever holds it and reaches a repository can read everything that is in it.
    When it is lost, make a new one and run `bk key remove {slots}`. That does not change the
    master key: whoever has opened a repository with this page may have kept that. Then only
    a new repository is safe.
",
        host = host_name(),
        places = list(places, unreached),
        first = *key[0],
        second = *key[1],
        commands = commands(places),
        slots = slots(places).join("` and `bk key remove "),
    );
    page
}

fn list(places: &[Place], unreached: &[String]) -> String {
    let mut list = String::new();
    for Place { name, location, slot, .. } in places {
        let shown = if name == location { String::new() } else { format!("{name}: ") };
        let _ = writeln!(list, "    {shown}{location}   (key slot {})", short(slot));
    }
    if !unreached.is_empty() {
        let _ = writeln!(list, "    NOT opened by this page, because not reached: {}", unreached.join(", "));
    }
    list
}

fn commands(places: &[Place]) -> String {
    let mut commands = String::new();
    for Place { location, variables, .. } in places {
        if !variables.is_empty() {
            commands
                .push_str("\n        # The access key: make a new one on the page of the provider when it is lost.\n");
            variables.iter().for_each(|one| commands.push_str(&format!("        export {one}\n")));
        }
        let start = format!("        bk --repo {} --key-file recovery.key", quoted(location));
        let _ = write!(commands, "\n{start} snapshots\n{start} restore latest --to /tmp/restore\n");
    }
    commands
}

/// The slots that the key opens; siblings have the same.
fn slots(places: &[Place]) -> Vec<String> {
    let mut slots: Vec<_> = places.iter().map(|place| short(&place.slot)).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::store::Area;

    #[test]
    fn the_key_typed_from_the_page_is_the_key_of_the_slot() {
        let key = KeyFile::generate().unwrap();
        let slot = ObjectName::Plain(Area::Keys, ObjectId([0xab; 32]));
        let places = [Place { name: "ssd".into(), location: "/mnt/my disk/bk".into(), variables: Vec::new(), slot }];
        let page = page(&places, &["b2".into()], &key.groups(), "today");
        let typed: Vec<_> = page.lines().skip_while(|line| !line.contains("bk-key-1-")).take(3).collect();
        assert!(KeyFile::parse(&typed.join("\n")).unwrap().matches(&key), "{typed:?}");
        assert!(page.contains("bk --repo '/mnt/my disk/bk' --key-file recovery.key restore latest --to /tmp/restore"));
        assert!(page.contains("not reached: b2") && page.contains("abababab"));
        assert!(page.lines().all(|line| line.chars().count() <= 100), "{}", *page);
    }
}
