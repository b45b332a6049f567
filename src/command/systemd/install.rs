//! Units on disk: written whole or not at all, and only where bk wrote before or nothing was.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::super::Session;
use super::super::session::variable;
use super::unit::Unit;
use super::{Setting, is_ours_or_missing, is_root, next, say_next};
use crate::source::command::{CommandError, Program};
use crate::ui::{Exit, Failure};

/// systemd that does not answer any more is not waited for.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Every name that a unit of bk can have.
const NAMES: [&str; 7] = [
    "bk.timer",
    "bk-check.timer",
    "bk-verify.timer",
    "bk.service",
    "bk-check.service",
    "bk-verify.service",
    "bk-failed@.service",
];

/// Where systemd looks for units that somebody wrote.
pub(super) fn folder(user: bool) -> Result<PathBuf, Failure> {
    if !user {
        return Ok("/etc/systemd/system".into());
    }
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let config = config.filter(|folder| folder.is_absolute());
    config.map(|folder| folder.join("systemd/user")).ok_or_else(|| {
        Failure::usage("there is no home folder to keep units in", "set HOME, or name a folder with --folder")
    })
}

/// The version of systemd on this machine.
pub(super) fn version_here() -> Option<u32> {
    let of = |program: &str| {
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
        String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1)?.parse().ok()
    };
    of("systemctl").or_else(|| of("systemd-analyze"))
}

/// Whether systemd runs here, for root or for this user.
fn is_running(user: bool) -> bool {
    if !user {
        return Path::new("/run/systemd/system").is_dir();
    }
    variable("XDG_RUNTIME_DIR").is_some_and(|folder| folder.join("systemd").is_dir())
}

/// Runs a program of systemd; the error is what it said.
fn run(program: &str, user: bool, arguments: &[&str]) -> Result<(), String> {
    let user = user.then_some("--user");
    let words = std::iter::once(program).chain(user).chain(arguments.iter().copied());
    let argv: Vec<OsString> = words.map(OsString::from).collect();
    let said = |error: CommandError| match error.stderr().map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => text.to_owned(),
        None => Failure::from(error).in_one_line(),
    };
    let started = Program { argv: &argv, time_limit: Some(TIME_LIMIT), ..Default::default() }.start(|_| {});
    let mut running = started.map_err(said)?;
    // What it prints is of no interest; how it ends is told by `finish`.
    let _ = std::io::copy(&mut running, &mut std::io::sink());
    running.finish().map(drop).map_err(said)
}

fn systemctl(user: bool, arguments: &[&str]) -> Result<(), Failure> {
    run("systemctl", user, arguments).map_err(|said| {
        let user = if user { " --user" } else { "" };
        let line = format!("systemctl{user} {}", arguments.join(" "));
        let mut failure = Failure::new(Exit::Failed, format!("`{line}` failed"), format!("run `{line}` to see why"));
        failure.causes.extend((!said.is_empty()).then_some(said));
        failure
    })
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "run it as root, or use --user for units of your own",
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "on NixOS use `bk systemd show --nixos`; else name a folder with --folder"
        }
        _ => "check that the folder can be written, or name another with --folder",
    };
    let mut failure = Failure::of(Exit::Failed, error, hint);
    let cause = std::mem::replace(&mut failure.message, format!("cannot {what} {}", path.display()));
    failure.causes.insert(0, cause);
    failure
}

fn check_not_foreign(path: &Path) -> Result<(), Failure> {
    if is_ours_or_missing(path).map_err(|error| cannot("read", path, &error))? {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failed,
        format!("{} was not written by bk, and is left as it is; nothing was changed", path.display()),
        "move it away, or write the units elsewhere with --folder",
    ))
}

/// Writes the units and starts the timers; with `only_into` it starts nothing.
pub(super) fn install(
    session: &Session,
    setting: &Setting,
    units: &[Unit],
    only_into: Option<PathBuf>,
) -> Result<(), Failure> {
    let live = only_into.is_none() && is_running(setting.user);
    let elsewhere = only_into.is_some();
    let folder = only_into.map_or_else(|| folder(setting.user), Ok)?;
    for name in NAMES {
        check_not_foreign(&folder.join(name))?;
    }
    examine(session, setting, units);
    let dropped = NAMES.into_iter().filter(|name| !units.iter().any(|unit| unit.name == *name));
    let dropped = take_away(&folder, dropped, setting.user, live)?;
    let mut written = Vec::new();
    for unit in units {
        let path = folder.join(unit.name);
        write(&path, &unit.text(&setting.source())).map_err(|error| cannot("write", &path, &error))?;
        written.push(path);
    }
    let timers: Vec<&str> = units.iter().map(|unit| unit.name).filter(|name| name.ends_with(".timer")).collect();
    if live {
        systemctl(setting.user, &["daemon-reload"])?;
        systemctl(setting.user, &[&["enable", "--now"], timers.as_slice()].concat())?;
        // A timer that runs already goes on by its old times otherwise.
        systemctl(setting.user, &[&["restart"], timers.as_slice()].concat())?;
    }
    if session.screen.json {
        session.screen.json_line(&json!({
            "message_type": "systemd", "written": written, "removed": dropped, "started": live, "next": next(session),
        }));
        return Ok(());
    }
    written.iter().for_each(|path| session.screen.line(&format!("wrote {}", path.display())));
    dropped.iter().for_each(|path| session.screen.line(&format!("removed {}", path.display())));
    say_what_remains(session, setting, &timers, live, elsewhere);
    Ok(())
}

fn joined(names: &[&str]) -> String {
    match names {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        names => names.concat(),
    }
}

fn say_what_remains(session: &Session, setting: &Setting, timers: &[&str], live: bool, elsewhere: bool) {
    let user = if setting.user { " --user" } else { "" };
    if live {
        session.screen.line(&format!("started {}", joined(timers)));
        say_next(session);
    } else {
        let why = if elsewhere { "" } else { "systemd does not run here; " };
        session.screen.line(&format!(
            "{why}to start the timers: `systemctl{user} daemon-reload`, then `systemctl{user} enable --now {}`",
            timers.join(" ")
        ));
    }
    if setting.user {
        session
            .screen
            .note("note: they run only while you are logged in, unless `loginctl enable-linger` says otherwise");
        session.screen.note("note: the systemd of a user can close off little of the machine");
    }
}

/// Asks systemd, where it is installed, whether it understands the units; what it finds is said and stops nothing.
fn examine(session: &Session, setting: &Setting, units: &[Unit]) {
    let Ok(scratch) = tempfile::tempdir() else { return };
    let here = |error: &String| !error.contains("No such file or directory");
    let times = session.config.run_schedules().into_iter().chain(&session.config.schedule.check);
    for event in times.flat_map(|one| one.on_calendar(session.config.schedule.zone.as_deref())) {
        if let Err(said) = run("systemd-analyze", false, &["calendar", &event])
            && here(&said)
        {
            session.screen.warning(&format!("systemd does not understand the time `{event}`: {said}"));
        }
    }
    // Without it systemd could not even begin to look at the units of a user.
    if setting.user && variable("XDG_RUNTIME_DIR").is_none() {
        return;
    }
    let mut paths = Vec::new();
    for unit in units {
        let path = scratch.path().join(unit.name);
        if std::fs::write(&path, unit.text(&setting.source())).is_err() {
            return;
        }
        paths.push(path.to_string_lossy().into_owned());
    }
    let arguments: Vec<&str> = ["verify", "--man=no"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    if let Err(said) = run("systemd-analyze", setting.user, &arguments)
        && here(&said)
    {
        session.screen.warning(&format!("systemd-analyze verify finds in the units: {said}"));
    }
}

/// In place of what was there, whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".bk-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Stops and removes those units that are there and were written by bk.
fn take_away<'a>(
    folder: &Path,
    names: impl Iterator<Item = &'a str>,
    user: bool,
    live: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let mut removed = Vec::new();
    for name in names {
        let path = folder.join(name);
        let there = path.symlink_metadata().is_ok();
        if !there || !is_ours_or_missing(&path).map_err(|error| cannot("read", &path, &error))? {
            continue;
        }
        if live && name.ends_with(".timer") {
            systemctl(user, &["disable", "--now", name])?;
        }
        std::fs::remove_file(&path).map_err(|error| cannot("remove", &path, &error))?;
        removed.push(path);
    }
    Ok(removed)
}

/// Stops the timers and removes what bk wrote.
pub(super) fn remove(session: &Session, user: bool, only_from: Option<PathBuf>) -> Result<(), Failure> {
    let live = only_from.is_none() && is_running(user);
    let folder = only_from.map_or_else(|| folder(user), Ok)?;
    let removed = take_away(&folder, NAMES.into_iter(), user, live)?;
    if live && !removed.is_empty() {
        systemctl(user, &["daemon-reload"])?;
    }
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({ "message_type": "systemd", "removed": removed }));
        return Ok(());
    }
    removed.iter().for_each(|path| screen.line(&format!("removed {}", path.display())));
    for name in NAMES.iter().filter(|name| folder.join(name).symlink_metadata().is_ok()) {
        screen.note(&format!("note: {} was not written by bk, and stays", folder.join(name).display()));
    }
    if removed.is_empty() {
        let other = if user && is_root() { "; without --user those of the machine" } else { "" };
        screen.line(&format!("there are no units of bk in {}{other}", folder.display()));
    }
    Ok(())
}
