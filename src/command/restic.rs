//! Repositories in restic's format: what opens them, and opening and making them.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::create::{ask_twice, not_empty};
use super::credentials::output_of_program;
use super::opening::{Copies, create_restic_store};
use super::session::{Target, ask, passphrase_of, read_secret};
use super::{Opened, Session};
use crate::crypto::Passphrase;
use crate::interop::restic::{Access, Restic};
use crate::profile::{Origin, RepositoryPassword};
use crate::ui::{Exit, Failure};

/// What opens a repository in restic's format, when its section and the environment do not say it.
#[derive(Debug, Clone, Default, Args)]
pub struct ResticPasswordArgs {
    /// File that holds the password of the repository in restic's format
    #[arg(long, value_name = "FILE", conflicts_with = "restic_password_command")]
    restic_password_file: Option<PathBuf>,
    /// Program that prints that password, with its arguments separated by spaces
    #[arg(long, value_name = "COMMAND")]
    restic_password_command: Option<String>,
}

/// Opens a repository in restic's format, and locks it as `access` needs.
///
/// # Errors
/// When there is none, no password was given, it does not open it, or somebody else has locked it.
pub(super) fn open_restic(
    session: &Session,
    target: &Target,
    access: Access,
    given: &ResticPasswordArgs,
) -> Result<Restic, Failure> {
    let store = session.open_store(target, Copies::None)?;
    let password = match given_password(session, target, given)? {
        Some(password) => Arc::new(password),
        None => session.typed_once(&target.location.to_string(), || asked(target))?,
    };
    Ok(Restic::open(store, &password, access, &|text| session.screen.warning(text))?)
}

/// Opens a repository in restic's format as those of bk are, to be read.
///
/// # Errors
/// As [`open_restic`].
pub(super) fn open_foreign(session: &Session, target: &Target) -> Result<Opened, Failure> {
    let restic = open_restic(session, target, Access::Read, &ResticPasswordArgs::default())?;
    Ok(Opened { name: target.name.clone(), repository: restic.into_repository(&|text| session.screen.warning(text))? })
}

/// Makes a repository in restic's format, opened by the password that is given for it; without one it is asked for twice.
///
/// # Errors
/// When something is there already, there is no password or an empty one; others as they come.
pub(super) fn create_restic(session: &Session, target: &Target, given: &ResticPasswordArgs) -> Result<Restic, Failure> {
    let password = match given_password(session, target, given)? {
        Some(password) => Arc::new(not_empty(password)?),
        None => session.typed_once(&target.location.to_string(), || {
            ask_twice(&format!("new password for {}: ", target.location), HINT)
        })?,
    };
    let store = create_restic_store(target, session.stop())?;
    let restic = Restic::create(store, &password)?;
    session.screen.note(&format!("made the repository {} in restic's format", target.location));
    Ok(restic)
}

const HINT: &str = "say `password-file` in its section, set RESTIC_PASSWORD_FILE, or run in a terminal to be asked; \
                    `bk import` and `bk export` have --restic-password-file, others --password-file with --repo";

/// The password that counts for a repository, first that is there: of the flags of the command; of the global ones,
/// when --repo names it; of its section; of restic's variables.
fn given_password(
    session: &Session,
    target: &Target,
    given: &ResticPasswordArgs,
) -> Result<Option<Passphrase>, Failure> {
    let of_file = |path: &PathBuf| read_secret(path, "password file").map(|text| passphrase_of(&text));
    let of_program = |argv: &[String]| {
        output_of_program(argv, "the program must print the password as text").map(|text| passphrase_of(&text))
    };
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_flag = |key: &str| matches!(session.config.origin(key), Origin::Flag(_));
    let family = &session.config.family;
    let of_flags = |key: &str| session.repo_names(target) && is_flag(key);
    let password = if let Some(path) = &given.restic_password_file {
        of_file(path)
    } else if let Some(command) = &given.restic_password_command {
        of_program(&words(command))
    } else if let Some(path) = family.password_file.as_ref().filter(|_| of_flags("family.password-file")) {
        of_file(path)
    } else if let Some(argv) = family.password_command.as_ref().filter(|_| of_flags("family.password-command")) {
        of_program(argv)
    } else if let Some(RepositoryPassword::File(path)) = &target.password {
        of_file(path)
    } else if let Some(RepositoryPassword::Command(argv)) = &target.password {
        of_program(argv)
    } else if let Some(password) = variable("RESTIC_PASSWORD") {
        Ok(Passphrase::new(password))
    } else if let Some(path) = variable("RESTIC_PASSWORD_FILE") {
        of_file(&path.into())
    } else if let Some(command) = variable("RESTIC_PASSWORD_COMMAND") {
        of_program(&words(&command))
    } else {
        return Ok(None);
    };
    password.map(Some)
}

fn asked(target: &Target) -> Result<Passphrase, Failure> {
    use std::io::IsTerminal as _;
    if std::io::stdin().is_terminal() {
        return ask(&format!("password of {}: ", target.location));
    }
    Err(Failure::new(Exit::WrongKey, format!("no password was given for {}", target.location), HINT))
}

/// That a command does nothing with repositories in restic's format.
pub(super) fn not_of_restic(target: &Target) -> Failure {
    Failure::usage(
        format!("{} is in restic's format, and this command works with repositories of bk only", target.name),
        "name another one with --repo; `bk export` writes to it, `bk import` brings its snapshots to one of bk",
    )
}
