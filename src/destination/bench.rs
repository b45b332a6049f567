//! The bench for the tests of this folder: a fresh directory, and a way to lose root's powers.

use std::path::PathBuf;
use std::process::Command;

use super::{Destination, Folder, OwnerPolicy};
use crate::format::node::{Metadata, Timestamp, Xattr, XattrValue};

const CHILD: &str = "BK_TEST_UNPRIVILEGED";

pub(super) struct Bench(tempfile::TempDir);

impl Bench {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() { self.0.path().to_owned() } else { self.0.path().join(below) }
    }

    pub(super) fn destination(&self) -> Destination {
        Destination::open(self.0.path(), OwnerPolicy::Numeric).unwrap()
    }

    pub(super) fn folder(&self) -> Folder {
        self.destination().root()
    }
}

/// Metadata of something the current user owns.
pub(super) fn metadata(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Timestamp { seconds: 1_000_000_000, nanos: 123_456_789 },
        ..Metadata::default()
    }
}

pub(super) fn inline(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: XattrValue::Inline(value.to_vec()) }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the test body is to run here and now, without root's powers. As root, runs the named test again as user
/// 65534 and answers no.
pub(super) fn unprivileged(test: &str) -> bool {
    if !is_root() || std::env::var_os(CHILD).is_some() {
        return true;
    }
    let program = tempfile::Builder::new().prefix("bk-test-").tempdir().unwrap();
    let copy = program.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(&copy)
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .current_dir("/")
        .output();
    match ran {
        Err(_) => eprintln!("skipped: no setpriv here"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
    }
    false
}
