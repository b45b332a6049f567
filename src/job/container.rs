//! What the runtime of containers says about one: where its folders lie on this machine, and what it is told.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::profile::Container;
use crate::source::command::{CommandError, Program};

const TIME_LIMIT: Duration = Duration::from_secs(60);
/// No description of a container is longer, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// A container as its runtime describes it.
#[derive(Default)]
pub(super) struct Described {
    /// Folder of this machine, and where it is inside.
    mounts: Vec<(PathBuf, PathBuf)>,
    /// `KEY=value` lines; may hold secrets.
    pub(super) environment: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    mounts: Vec<Mount>,
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    source: PathBuf,
    #[serde(default)]
    destination: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    env: Vec<String>,
}

/// Why nothing is known about a container.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("there is no system user {0}")]
    NoOwner(String),
    #[error("the description of a container cannot be understood: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the description of a container cannot be read: {0}")]
    Unread(#[from] std::io::Error),
}

/// Asks the runtime, as the user whose container it is.
pub(super) fn describe(container: &Container) -> Result<Described, Unknown> {
    let mut argv: Vec<OsString> = Vec::new();
    if let Some(owner) = container.owner.as_ref().filter(|_| rustix::process::geteuid().is_root()) {
        let names = std::fs::read_to_string("/etc/passwd")?;
        let line = names.lines().find(|line| line.split(':').next() == Some(owner));
        let uid = line.and_then(|line| line.split(':').nth(2)).ok_or_else(|| Unknown::NoOwner(owner.clone()))?;
        argv.extend(["runuser", "-u", owner, "--", "env"].map(OsString::from));
        argv.push(format!("XDG_RUNTIME_DIR=/run/user/{uid}").into());
    }
    argv.extend(
        [container.runtime.as_str(), "inspect", "--type", "container", "--", &container.name].map(OsString::from),
    );
    // In /: the owner may not enter where bk was started.
    let program = Program {
        argv: &argv,
        time_limit: Some(TIME_LIMIT),
        label: Some(&container.runtime),
        folder: Some(Path::new("/")),
        ..Program::default()
    };
    let mut running = program.start(|_| {})?;
    let mut text = Zeroizing::new(Vec::new());
    (&mut running).take(MAX_LEN).read_to_end(&mut text)?;
    running.finish()?;
    read(&text)
}

fn read(text: &[u8]) -> Result<Described, Unknown> {
    let inspected: Vec<Inspected> = serde_json::from_slice(text)?;
    let Some(inspected) = inspected.into_iter().next() else { return Ok(Described::default()) };
    let mounts = inspected.mounts.into_iter().map(|mount| (mount.source, mount.destination));
    let environment = inspected.config.map(|config| config.env.join("\n")).unwrap_or_default();
    Ok(Described { mounts: mounts.collect(), environment: Zeroizing::new(environment) })
}

impl Described {
    #[cfg(test)]
    pub(super) fn new(mounts: Vec<(PathBuf, PathBuf)>, environment: &str) -> Self {
        Self { mounts, environment: Zeroizing::new(environment.to_owned()) }
    }

    /// Where a folder inside the container lies on this machine.
    pub(super) fn on_this_machine(&self, inside: &Path) -> Option<PathBuf> {
        let holds = |(_, place): &&(PathBuf, PathBuf)| inside.starts_with(place);
        let (source, place) = self.mounts.iter().filter(holds).max_by_key(|(_, place)| place.components().count())?;
        let below = inside.strip_prefix(place).ok()?;
        Some(if below.as_os_str().is_empty() { source.clone() } else { source.join(below) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_inside_is_found_by_the_innermost_mount() {
        let text = br#"[{"Mounts":[{"Type":"bind","Source":"/srv/app","Destination":"/config"},
            {"Source":"/srv/db","Destination":"/config/db"}],"Config":{"Env":["A=1","B=x=y"]}}]"#;
        let described = read(text).unwrap();
        let place = |inside: &str| described.on_this_machine(Path::new(inside));
        assert_eq!(place("/config/Library/X"), Some("/srv/app/Library/X".into()));
        assert_eq!(place("/config/db"), Some("/srv/db".into()));
        assert_eq!(place("/data"), None);
        assert_eq!(described.environment.as_str(), "A=1\nB=x=y");
        assert!(read(b"nonsense").is_err());
    }
}
