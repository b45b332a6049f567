//! The command line: one file a subcommand, each with its arguments and what it does with them.

mod accept;
mod backup;
mod check;
mod completions;
mod config;
mod copy;
mod create;
mod credentials;
mod daemon;
mod diff;
mod doctor;
mod dump;
mod export;
mod find;
mod forget;
mod guide;
mod help;
mod import;
mod init;
mod keep_args;
mod key;
mod load;
mod lock;
mod look;
mod ls;
mod man;
mod opening;
mod pin;
mod profile;
mod prune;
mod record;
mod recovery_kit;
mod repair;
mod restic;
mod restore;
mod restore_note;
mod rollback;
mod run;
pub mod select;
mod service;
pub mod session;
mod siblings;
mod snapshots;
mod stats;
mod status;
mod systemd;
mod traffic;
mod verify;
mod workers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use session::{Opened, Session, Time};

use crate::ui::screen::Verbosity;
use crate::ui::{Exit, Failure, Screen};

/// Encrypted, deduplicating backups for people who run their own services.
///
/// A bare word is a profile, a path has a `/` in it, a snapshot is an id of at least 8 digits or `latest`.
/// Without a configuration, bk uses a repository of its own below your data folder.
#[derive(Debug, Parser)]
#[command(name = "bk", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Repository: a name from the configuration, a folder, or a URL
    #[arg(
        short,
        long,
        global = true,
        env = "BK_REPOSITORY",
        value_name = "NAME|LOCATION",
        help_heading = "Global options"
    )]
    pub repo: Option<String>,
    /// File that holds the key
    #[arg(long, global = true, env = "BK_KEY_FILE", value_name = "FILE", help_heading = "Global options")]
    pub key_file: Option<PathBuf>,
    /// File that holds the password
    #[arg(long, global = true, env = "BK_PASSWORD_FILE", value_name = "FILE", help_heading = "Global options")]
    pub password_file: Option<PathBuf>,
    /// Program that prints the password, with its arguments separated by spaces
    #[arg(long, global = true, env = "BK_PASSWORD_COMMAND", value_name = "COMMAND", help_heading = "Global options")]
    pub password_command: Option<String>,
    /// Configuration file
    #[arg(short, long, global = true, env = "BK_CONFIG", value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Say only what was asked for, and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Say more: what is being done; twice: every new and changed file, too
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the documentation of its arguments is the help of each; one here would hide it")]
pub enum Command {
    /// Make every configured repository that is missing
    Init(init::InitArgs),
    Backup(backup::BackupArgs),
    Run(run::RunArgs),
    Restore(restore::RestoreArgs),
    Status(status::StatusArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Ls(ls::LsArgs),
    Find(find::FindArgs),
    Diff(diff::DiffArgs),
    Dump(dump::DumpArgs),
    /// Is the repository whole?
    Check(check::CheckArgs),
    /// Does it restore?
    Verify(verify::VerifyArgs),
    Doctor(doctor::DoctorArgs),
    Forget(Box<forget::ForgetArgs>),
    Prune(prune::PruneArgs),
    Pin(pin::PinArgs),
    Accept(accept::AcceptArgs),
    Copy(copy::CopyArgs),
    Export(export::ExportArgs),
    Import(Box<import::ImportArgs>),
    Stats(stats::StatsArgs),
    /// Put right what `bk check` has found, as far as anything still holds it
    #[command(subcommand)]
    Repair(repair::RepairCommand),
    /// The passwords and keys that open the repositories
    #[command(subcommand)]
    Key(key::KeyCommand),
    Profile(profile::ProfileArgs),
    Daemon(daemon::DaemonArgs),
    Config(config::ConfigArgs),
    Systemd(systemd::SystemdArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Help(help::HelpArgs),
}

impl Command {
    fn run(self, session: Session) -> Result<Exit, Failure> {
        // It reads the configuration again as it goes.
        if let Self::Daemon(args) = self {
            return args.run(session);
        }
        let session = &session;
        match self {
            Self::Daemon(_) => Ok(Exit::Complete),
            Self::Init(args) => args.run(session),
            Self::Backup(args) => args.run(session),
            Self::Run(args) => args.run(session),
            Self::Restore(args) => args.run(session),
            Self::Status(args) => args.run(session),
            Self::Snapshots(args) => args.run(session),
            Self::Ls(args) => args.run(session),
            Self::Find(args) => args.run(session),
            Self::Diff(args) => args.run(session),
            Self::Dump(args) => args.run(session),
            Self::Check(args) => args.run(session),
            Self::Verify(args) => args.run(session),
            Self::Doctor(args) => args.run(session),
            Self::Forget(args) => args.run(session),
            Self::Prune(args) => args.run(session),
            Self::Pin(args) => args.run(session),
            Self::Accept(args) => args.run(session),
            Self::Copy(args) => args.run(session),
            Self::Export(args) => args.run(session),
            Self::Import(args) => args.run(session),
            Self::Stats(args) => args.run(session),
            Self::Repair(command) => command.run(session),
            Self::Key(command) => command.run(session),
            Self::Profile(args) => args.run(session),
            Self::Config(args) => args.run(session),
            Self::Systemd(args) => args.run(session),
            Self::Completions(args) => args.run(session),
            Self::Man(args) => args.run(session),
            Self::Help(args) => args.run(session),
        }
    }

    /// Whether it acts on what is configured; the others also work while the configuration is wrong.
    const fn needs_config(&self) -> bool {
        match self {
            Self::Config(_) | Self::Completions(_) | Self::Man(_) | Self::Help(_) => false,
            Self::Systemd(args) => args.needs_config(),
            _ => true,
        }
    }
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os(), Time::default())
}

/// Allows as many open files as the system lets us: every folder between a root and the entry being worked on is one.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Not fatal: only deeply nested folders need it.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Runs the program with these arguments, the first of which is its name, at a time that is not the machine's: for
/// simulations of many nights.
#[must_use]
pub fn run_at(arguments: impl IntoIterator<Item = OsString>, time: Time) -> ExitCode {
    run(arguments, time)
}

fn run(arguments: impl IntoIterator<Item = OsString>, time: Time) -> ExitCode {
    raise_open_files();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Complete }.code());
        }
    };
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, 0) => Verbosity::Normal,
        (_, 1) => Verbosity::Verbose,
        _ => Verbosity::Entries,
    };
    let screen = Screen::new(cli.global.json, verbosity);
    let session = if cli.command.needs_config() {
        Session::new(cli.global, screen.clone(), time)
    } else {
        Session::without_config(cli.global, screen.clone(), time)
    };
    let exit = session.and_then(|session| cli.command.run(session)).unwrap_or_else(|failure| {
        screen.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// The command line as clap knows it, for help, completions and manual pages.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Every manual page with its file name, as `bk man --output` writes them.
#[must_use]
pub fn manual() -> Vec<(String, Vec<u8>)> {
    man::pages()
}
