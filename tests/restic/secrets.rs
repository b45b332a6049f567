//! The password of a restic repository is in no list of processes, no message, no log, and in no snapshot.

use std::path::Path;

use super::place::{Made, PASSWORD, Place};
use super::running::Running;
use super::trees::Said;

/// Whether a process or one below it has the password among its arguments.
fn is_in_arguments() -> Option<String> {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(PASSWORD) {
            return Some(line);
        }
    }
    None
}

#[test]
fn no_command_shows_the_password_whatever_happens() {
    let place = Place::new();
    let source = place.small_tree("source");
    place.make(Made::V2("auto"), "there", &source);
    place.bench.backs_up(&[&source]);
    let location = place.location("there");
    let escape = format!(
        "[repository.old]\nlocation = {location:?}\nformat = \"restic\"\npassword-command = [\"cat\", {:?}]\n",
        place.name("password")
    );
    std::fs::write(place.path("bk.toml"), escape).unwrap();
    // The password where something else is expected, and every verb with all that it says.
    for arguments in [
        &["-v", "--repo", &location, "snapshots"][..],
        &["-vv", "import", &location],
        &["-vv", "export", &location],
        &["-v", "--json", "import", &location],
        &["-v", "export", "restic:/proc/nothing"],
        &["-v", "import", &location, "--restic-password-command", "cat password; false"],
        &["--key-file", "password", "--repo", &location, "snapshots"],
        &["--repo", "old", "-v", "snapshots"],
        &["config", "show"],
        &["--json", "config", "show"],
        &["doctor"],
    ] {
        let said = place.bk(arguments);
        assert!(!said.text().contains(PASSWORD), "{arguments:?}: {}", said.text());
        assert!(said.status.code().is_some(), "{arguments:?}");
    }
    let secret = "rest:http://user:canary-in-a-location@127.0.0.1:1/".to_owned();
    let said = place.expect(2, &["import", &format!("restic:{secret}")]);
    assert!(said.contains("hint: ") && !said.contains("canary"), "{said}");
}

#[test]
fn the_password_is_in_no_arguments_and_in_no_program_that_is_run() {
    let place = Place::new();
    let source = place.small_tree("source");
    for number in 0..3 {
        place.bench.file(&format!("source/{number}"), crate::trees::noise(10 + number, 15_000_000));
    }
    place.bench.backs_up(&[&source]);
    let location = place.location("out");
    for arguments in [&["export", &location, "--restic-password-file", "password"][..], &["import", &location]] {
        let mut running = Running::start(&mut place.bk_command(arguments));
        while !running.is_over() {
            assert_eq!(is_in_arguments(), None);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let (code, said) = running.ends();
        assert_eq!(code, 0, "{said}");
    }
    let dump = place.bk(&["backup", "--name", "environment", "--command", "--", "env"]);
    assert_eq!(dump.status.code(), Some(0), "{}", dump.text());
    let said = place.bk(&["dump", "latest", "environment"]);
    assert!(said.stdout.contains("PATH=") && !said.stdout.contains(PASSWORD), "a program is given it: {}", said.stdout);
}

#[test]
fn the_password_is_in_nothing_that_bk_keeps() {
    let place = Place::new();
    let source = place.small_tree("source");
    let config = format!(
        "[family]\nkey-file = {:?}\n[repository.ssd]\nlocation = {:?}\n[repository.escape]\nlocation = {:?}\nformat = \"restic\"\n\
         password-file = {:?}\n[profile.wiki]\nroot = {source:?}\nto = [\"ssd\", \"escape\"]\n",
        place.name("key"),
        place.name("ssd"),
        place.name("escape"),
        place.name("password"),
    );
    std::fs::write(place.path("bk.toml"), config).unwrap();
    place.expect(0, &["init"]);
    place.expect(0, &["run"]);
    place.expect(0, &["import", "escape"]);
    let full = place.bk(&["--json", "--repo", "ssd", "ls", "latest"]);
    assert!(!full.text().contains(PASSWORD));
    for folder in ["data", "home", "ssd", "escape"] {
        assert!(!is_below(&place.path(folder)), "{folder} holds the password");
    }
}

fn is_below(folder: &Path) -> bool {
    let mut command = std::process::Command::new("grep");
    Said::by(command.args(["-r", "-q", "-F", "-a", PASSWORD]).arg(folder)).status.code() == Some(0)
}
