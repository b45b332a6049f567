//! What opens the server of a repository: a file, a program, a section of the AWS command line's file, what systemd
//! hands over, or the environment.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::session::{Target, read_secret, variable};
use crate::profile::Login;
use crate::source::command::Program;
use crate::store::location::{Remote, Service};
use crate::store::remote::{Credentials, CredentialsError};
use crate::ui::{Exit, Failure};

/// A program that prints a secret has waited for somebody who is not there.
const TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// The first of them that counts for the target.
///
/// # Errors
/// When a file or program cannot be used, or gives no credentials. Nothing of them is in the error.
pub(super) fn server_credentials(target: &Target, remote: &Remote) -> Result<Option<Credentials>, Failure> {
    if remote.service == Service::Sftp {
        return if target.login.is_some() { Err(not_of_ssh(target)) } else { Ok(None) };
    }
    match &target.login {
        Some(Login::File(path)) => return of_file(path).map(Some),
        Some(Login::Command(argv)) => return of_program(argv).map(Some),
        Some(Login::AwsProfile(name)) => return of_section(name).map(Some),
        None => {}
    }
    let handed_over = variable("CREDENTIALS_DIRECTORY").map(|folder| folder.join(format!("bk-{}", target.name)));
    if let Some(path) = handed_over.filter(|path| path.is_file()) {
        return of_file(&path).map(Some);
    }
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if remote.service.is_rest() {
        // As restic reads them; the user may be in the location.
        let user = remote.user.clone().or_else(|| given("RESTIC_REST_USERNAME"));
        let login = user.zip(given("RESTIC_REST_PASSWORD"));
        return Ok(login.map(|(user, password)| Credentials::new(user, password, None)));
    }
    let keys = (given("AWS_ACCESS_KEY_ID"), given("AWS_SECRET_ACCESS_KEY"));
    Ok(match (remote.service.has_buckets(), keys) {
        (true, (Some(id), Some(secret))) => Some(Credentials::new(id, secret, given("AWS_SESSION_TOKEN"))),
        _ => None,
    })
}

/// They would not be shown to the server.
fn not_of_ssh(target: &Target) -> Failure {
    Failure::usage(
        format!("{} is opened by the keys of ssh, not by credentials", target.location),
        "take them out of its section; `ssh-options = [\"-i\", \"/path/of/key\"]` names a key",
    )
}

const LINES: &str = "write AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, each on a line of its own";

fn of_file(path: &Path) -> Result<Credentials, Failure> {
    Credentials::parse(&read_secret(path, "credentials file")?).map_err(|error| {
        let hint = match error {
            CredentialsError::Sections(_) => "name the section that counts with `aws-profile` instead",
            _ => LINES,
        };
        Failure::usage(format!("{} is no credentials file: {error}", path.display()), hint)
    })
}

fn of_program(argv: &[String]) -> Result<Credentials, Failure> {
    let text = output_of_program(argv, "the program must print text")?;
    Credentials::parse(&text).map_err(|error| {
        let program = argv.first().map_or("", String::as_str);
        let hint = "let it print AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, each on a line of its own";
        Failure::usage(format!("what `{program}` of `credentials-command` prints are no credentials: {error}"), hint)
    })
}

fn of_section(name: &str) -> Result<Credentials, Failure> {
    let home = || variable("HOME").map(|home| home.join(".aws/credentials"));
    let path: PathBuf = variable("AWS_SHARED_CREDENTIALS_FILE").or_else(home).ok_or_else(|| {
        let hint = "set AWS_SHARED_CREDENTIALS_FILE, or use `credentials-file`";
        Failure::usage(format!("there is no home folder with the credentials of `aws-profile = \"{name}\"`"), hint)
    })?;
    Credentials::parse_section(&read_secret(&path, "credentials file")?, name).map_err(|error| {
        let hint = match error {
            CredentialsError::NoSection => "check `aws-profile`, or set AWS_SHARED_CREDENTIALS_FILE to another file",
            _ => LINES,
        };
        Failure::usage(format!("{} gives no credentials for the profile `{name}`: {error}", path.display()), hint)
    })
}

/// What a program prints that knows a secret.
///
/// # Errors
/// When it fails, takes too long or prints no text.
pub(super) fn output_of_program(argv: &[String], hint: &'static str) -> Result<Zeroizing<String>, Failure> {
    let argv: Vec<_> = argv.iter().map(std::ffi::OsString::from).collect();
    let mut running = Program { argv: &argv, time_limit: Some(TIME_LIMIT), ..Default::default() }.start(|_| {})?;
    let mut text = Zeroizing::new(String::new());
    let read = (&mut running).take(64 << 10).read_to_string(&mut text);
    running.finish()?;
    read.map_err(|error| Failure::of(Exit::WrongKey, &error, hint))?;
    Ok(text)
}
