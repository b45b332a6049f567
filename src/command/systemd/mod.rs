//! `bk systemd`: the schedule of the configuration as timers of systemd, as lines for cron, or as a module of NixOS.

mod crontab;
mod install;
mod needs;
mod nixos;
mod service;
mod unit;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::Session;
use super::session::variable;
use crate::clock::Clock as _;
use crate::profile::Config;
use crate::ui::text::time_text;
use crate::ui::{Exit, Failure};
use unit::Unit;

/// What is written for when nobody knows which systemd there is.
const USUAL_VERSION: u32 = 252;

/// Run bk by itself: timers of systemd from the schedule of bk.toml
///
/// The times are those of `[schedule]` and of the profiles, see bk.toml(5). What was missed while the machine was off is
/// made up for. The units are closed off from the machine as far as the configuration allows, and say why where not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk systemd show                                # what would be written
  bk systemd install                             # write it, and start the timers
  bk systemd show --cron > /etc/cron.d/bk        # where there is no systemd
  bk systemd show --nixos > /etc/nixos/bk.nix    # where nobody writes into /etc")]
pub struct SystemdArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the units, and start the timers
    ///
    /// The units of root are written to /etc/systemd/system, those of others to ~/.config/systemd/user. Running it again
    /// brings them up to date. A unit of the same name that bk did not write is never touched.
    Install {
        #[command(flatten)]
        kind: KindArgs,
        /// Write the units into this folder, and start nothing
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Print the units, and change nothing
    Show {
        #[command(flatten)]
        kind: KindArgs,
        /// Print lines for cron instead, for /etc/cron.d or crontab
        #[arg(long, conflicts_with = "nixos")]
        cron: bool,
        /// Print a module of NixOS instead
        #[arg(long)]
        nixos: bool,
    },
    /// Stop the timers and remove the units that bk wrote
    Remove {
        /// Those of the user's own systemd; what others than root have anyway
        #[arg(long)]
        user: bool,
        /// Remove them from this folder, and stop nothing
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct KindArgs {
    /// For the user's own systemd; what others than root have anyway
    #[arg(long)]
    user: bool,
    /// For this version of systemd instead of the one that is here
    #[arg(long, value_name = "N")]
    systemd_version: Option<u32>,
}

/// What units are written for.
#[derive(Debug, Clone)]
struct Setting {
    /// This program.
    program: PathBuf,
    /// The configuration that it is to read.
    config_file: Option<PathBuf>,
    /// Of systemd.
    version: u32,
    /// Whether they are units of a user.
    user: bool,
    /// `BK_DATA_DIR`, when it is set.
    data: Option<PathBuf>,
    /// Whoever installs them lives here.
    home: Option<PathBuf>,
    /// Where the machine's own hooks lie.
    hooks: PathBuf,
}

impl Setting {
    /// Where the schedule stands, for people.
    fn source(&self) -> String {
        self.config_file.as_ref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string())
    }
}

impl SystemdArgs {
    /// Units can be removed whatever has become of the configuration.
    pub(super) const fn needs_config(&self) -> bool {
        !matches!(self.what, What::Remove { .. })
    }

    /// Does it.
    ///
    /// # Errors
    /// When nothing is scheduled, a unit of that name is somebody else's, or it cannot be written.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self.what {
            What::Install { kind, folder } => {
                let setting = setting(session, kind)?;
                install::install(session, &setting, &scheduled(session, &setting)?, folder)?;
            }
            What::Show { kind, cron, nixos } => {
                let setting = setting(session, kind)?;
                let units = scheduled(session, &setting)?;
                show(session, &setting, &units, cron, nixos);
            }
            What::Remove { user, folder } => install::remove(session, user || !is_root(), folder)?,
        }
        Ok(Exit::Complete)
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn setting(session: &Session, kind: KindArgs) -> Result<Setting, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::of(Exit::Failed, &error, "start bk by its full path, such as /usr/local/bin/bk"))?;
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    Ok(Setting {
        program,
        config_file: config_file(session)?.map(absolute),
        version: kind.systemd_version.or_else(install::version_here).unwrap_or(USUAL_VERSION),
        user: kind.user || !is_root(),
        data: variable("BK_DATA_DIR").map(absolute),
        home: variable("HOME"),
        hooks: super::service::hooks_folder(),
    })
}

/// The one file that units can name; those in `conf.d` follow from it.
fn config_file(session: &Session) -> Result<Option<PathBuf>, Failure> {
    let mut main = session.config_candidates();
    main.retain(|file| session.config.files.contains(file));
    match main.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [first, second, ..] => Err(Failure::usage(
            format!("two configurations count here, {} and {}; a unit reads one", first.display(), second.display()),
            format!("name the one that is meant: `bk -c {} systemd …`", first.display()),
        )),
    }
}

/// The units of what is scheduled.
fn scheduled(session: &Session, setting: &Setting) -> Result<Vec<Unit>, Failure> {
    let units = service::units(&session.config, setting);
    if !units.is_empty() {
        return Ok(units);
    }
    let hint =
        "add to bk.toml, for 01:30 every night:\n    [schedule]\n    run = \"30 1 * * *\"\n    check = \"0 5 * * 0\"";
    Err(Failure::usage("nothing is scheduled: the configuration has no times", hint))
}

fn show(session: &Session, setting: &Setting, units: &[Unit], cron: bool, nixos: bool) {
    let screen = &session.screen;
    if cron || nixos {
        let text = if cron { crontab::text(&session.config, setting) } else { nixos::text(units, setting) };
        match screen.json {
            true => screen.json_line(&json!({ "text": text })),
            false => screen.bytes(text.as_bytes()),
        }
        return;
    }
    let folder = install::folder(setting.user).unwrap_or_else(|_| PathBuf::from("."));
    let with_text = units.iter().map(|unit| (folder.join(unit.name), unit.text(&setting.source())));
    if screen.json {
        let units: Vec<_> = with_text.map(|(path, text)| json!({ "path": path, "text": text })).collect();
        screen.json_line(&json!({ "systemd_version": setting.version, "units": units, "next": next(session) }));
        return;
    }
    for (at, (path, text)) in with_text.enumerate() {
        let gap = if at > 0 { "\n" } else { "" };
        screen.bytes(format!("{gap}# {}\n{text}", path.display()).as_bytes());
    }
}

/// When each timer comes next by the schedule, without the random delay: what, and a time for programs.
fn next(session: &Session) -> serde_json::Value {
    let text = |time: Option<crate::clock::Timestamp>| time.map(crate::ui::text::rfc3339);
    let (run, check) = next_times(&session.config, session.clock.wall());
    json!({ "run": text(run), "check": text(check) })
}

type NextTimes = (Option<crate::clock::Timestamp>, Option<crate::clock::Timestamp>);

fn next_times(config: &Config, now: crate::clock::Timestamp) -> NextTimes {
    let zone = config.zone();
    let run = config.run_schedules().into_iter().filter_map(|one| one.next_after(now, &zone)).min();
    let check = config.schedule.check.as_ref().and_then(|one| one.next_after(now, &zone));
    (run, check)
}

/// The same for people.
fn say_next(session: &Session) {
    let (run, check) = next_times(&session.config, session.clock.wall());
    for (what, time) in [("run", run), ("check", check)] {
        if let Some(time) = time {
            session.screen.line(&format!("the next {what} is at {}", time_text(time)));
        }
    }
    let jitter = session.config.schedule.jitter.as_secs();
    if jitter > 0 {
        session
            .screen
            .note(&format!("each starts up to {} later, by chance", crate::ui::text::duration(jitter as f64)));
    }
}

/// Whether bk wrote this file; true when there is none.
fn is_ours_or_missing(path: &Path) -> std::io::Result<bool> {
    match std::fs::read(path) {
        Ok(text) => Ok(text.starts_with(unit::MARK.as_bytes())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
