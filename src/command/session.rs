//! What commands share: configuration, credentials, opening of repositories, interruption.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::Global;
use super::credentials::output_of_program;
use super::opening::{Copies, store_opener};
use super::restic::{not_of_restic, open_foreign};
use crate::clock::{Clock, Stamps, SystemClock};
use crate::crypto::{KeyFile, Passphrase};
use crate::format::key_slot::Credential;
use crate::profile::{self, Config, Environment, Given, Login, Origin, RepositoryPassword};
use crate::repository::{Index, Purpose, Repository, Snapshots};
use crate::store::location::Service;
use crate::store::remote::Settings;
use crate::store::{Format, LocalStore, Location, Stop, Store, StoreError};
use crate::ui::{Exit, Failure, Screen};

/// Name of the repository that needs no configuration.
pub const EMBEDDED: &str = "default";

/// One run of the program.
pub struct Session {
    /// Configuration as it counts.
    pub config: Config,
    /// Where results go.
    pub screen: Screen,
    /// Time.
    pub clock: Arc<dyn Clock>,
    stamps: Option<Stamps>,
    global: Global,
    /// Passwords of repositories in restic's format that were typed, by their locations.
    typed: Mutex<BTreeMap<String, Arc<Passphrase>>>,
    interrupted: Arc<AtomicBool>,
    on_hangup: Vec<signal_hook::SigId>,
}

/// Whose time it is.
#[derive(Clone)]
pub struct Time {
    /// What every decision is made by.
    pub clock: Arc<dyn Clock>,
    /// What local repositories stamp their files with; `None`: the machine does.
    pub stamps: Option<Stamps>,
}

impl Default for Time {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), stamps: None }
    }
}

/// A repository of the session, open.
pub struct Opened {
    /// Its name in the configuration, or its location.
    pub name: String,
    /// Open.
    pub repository: Repository,
}

/// Which repository is meant, before it is opened.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in the configuration, or its location.
    pub name: String,
    /// What it is written in.
    pub format: Format,
    /// Where it is.
    pub location: Location,
    /// Mount point that must be mounted.
    pub require_mount: Option<PathBuf>,
    /// Bytes to be kept free.
    pub min_free_bytes: u64,
    /// How its server is spoken to, when it is on another machine.
    pub remote: Settings,
    /// What opens its server.
    pub login: Option<Login>,
    /// What opens it when it is in restic's format, as its section says.
    pub password: Option<RepositoryPassword>,
    /// Whether it is the one that needs no configuration.
    pub embedded: bool,
    /// What its files are stamped with, when that is not the machine's clock.
    pub stamps: Option<Stamps>,
}

impl Target {
    /// One of which nothing but its place is said.
    #[must_use]
    pub fn plain(name: &str, location: Location) -> Self {
        Self {
            name: name.to_owned(),
            format: Format::Bk,
            location,
            require_mount: None,
            min_free_bytes: 0,
            remote: Settings::default(),
            login: None,
            password: None,
            embedded: false,
            stamps: None,
        }
    }

    /// Whether it is in restic's format.
    #[must_use]
    pub fn is_restic(&self) -> bool {
        self.format == Format::Restic
    }

    /// In which order repositories are read from: the nearest first, those in restic's format last.
    #[must_use]
    pub fn distance(&self) -> (bool, bool) {
        (self.is_restic(), self.location.local().is_none())
    }
}

pub(super) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder of the embedded repository, its key and local state.
///
/// # Errors
/// When the user has no home and `BK_DATA_DIR` is not set.
pub fn data_folder() -> Result<PathBuf, Failure> {
    if let Some(folder) = variable("BK_DATA_DIR") {
        return std::path::absolute(&folder)
            .map_err(|error| Failure::of(Exit::Usage, &error, "set BK_DATA_DIR to an absolute path"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/bk".into());
    }
    let data = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("bk")).ok_or_else(|| {
        Failure::usage(
            "there is no home folder to keep a repository in",
            "set BK_DATA_DIR, or name a repository with --repo",
        )
    })
}

/// The name of this machine.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

/// Whoever runs the program.
#[must_use]
pub fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let names = crate::source::metadata::Names::of_this_machine();
    names.user(uid).map_or_else(|| uid.to_string(), |name| name.to_string())
}

impl Session {
    /// Reads the configuration and prepares for Ctrl-C.
    ///
    /// # Errors
    /// When the configuration is wrong.
    pub fn new(global: Global, screen: Screen, time: Time) -> Result<Self, Failure> {
        let mut session = Self::without_config(global, screen, time)?;
        session.config = session.load_config()?;
        Ok(session)
    }

    /// Prepares for Ctrl-C; what is configured does not matter, and need not be right.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn without_config(global: Global, screen: Screen, time: Time) -> Result<Self, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut on_hangup = Vec::new();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            // The second signal ends the program at once.
            let register = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))
                .and_then(|end| Ok([end, signal_hook::flag::register(signal, Arc::clone(&interrupted))?]));
            let ids = register.map_err(|error| Failure::of(Exit::Failed, &error, "run the command again"))?;
            if signal == signal_hook::consts::SIGHUP {
                on_hangup.extend(ids);
            }
        }
        Ok(Self {
            config: Config::default(),
            screen,
            clock: time.clock,
            stamps: time.stamps,
            global,
            typed: Mutex::default(),
            interrupted,
            on_hangup,
        })
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn load_config(&self) -> Result<Config, Failure> {
        Ok(profile::load(&environment(&self.global))?)
    }

    /// Where the configuration is looked for.
    #[must_use]
    pub fn config_candidates(&self) -> Vec<PathBuf> {
        profile::candidates(&environment(&self.global))
    }

    /// Set when the user wants the run to end.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// The same, for stores: nobody waits for a server then.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop::when(self.stop_flag())
    }

    /// From now on SIGHUP does not end the run, but sets this: the configuration is to be read again.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn reload_on_hangup(&self) -> Result<Arc<AtomicBool>, Failure> {
        for id in &self.on_hangup {
            signal_hook::low_level::unregister(*id);
        }
        let reload = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&reload))
            .map_err(|error| Failure::of(Exit::Failed, &error, "run the command again"))?;
        Ok(reload)
    }

    /// Whether the user wants it to end.
    #[must_use]
    pub fn interrupted(&self) -> &AtomicBool {
        &self.interrupted
    }

    /// Whether the user wants the run to end.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The repositories that `names` or `--repo` or the configuration mean; the embedded one when none does.
    ///
    /// # Errors
    /// When a name is not configured, or a location cannot be used.
    pub fn targets(&self, names: &[String]) -> Result<Vec<Target>, Failure> {
        if let Some(repo) = &self.global.repo {
            return Ok(vec![self.target(repo)?]);
        }
        let names = if names.is_empty() { self.config.default_repositories() } else { names.to_vec() };
        if names.is_empty() {
            return Ok(vec![self.embedded()?]);
        }
        names.iter().map(|name| self.target(name)).collect()
    }

    /// As [`Self::targets`], without those in restic's format.
    ///
    /// # Errors
    /// As [`Self::targets`]; and when there are none but those in restic's format, as when one was named.
    pub fn own_targets(&self, names: &[String]) -> Result<Vec<Target>, Failure> {
        let (foreign, own): (Vec<_>, Vec<_>) = self.targets(names)?.into_iter().partition(Target::is_restic);
        match foreign.first() {
            Some(target) if own.is_empty() => Err(not_of_restic(target)),
            _ => Ok(own),
        }
    }

    /// As [`Self::target`], for what works with repositories of bk only.
    ///
    /// # Errors
    /// As [`Self::target`]; and when it is in restic's format.
    pub(super) fn own_target(&self, text: &str) -> Result<Target, Failure> {
        let target = self.target(text)?;
        if target.is_restic() { Err(not_of_restic(&target)) } else { Ok(target) }
    }

    /// Every repository that is configured, by name.
    ///
    /// # Errors
    /// When a location cannot be used.
    pub fn configured(&self) -> Result<Vec<Target>, Failure> {
        self.config.repositories.keys().map(|name| self.target(name)).collect()
    }

    /// Every repository of bk on this machine, whatever --repo says: the configured ones, else the embedded one if it is
    /// there.
    ///
    /// # Errors
    /// When a location cannot be used.
    pub fn own_everywhere(&self) -> Result<Vec<Target>, Failure> {
        let mut own = self.configured()?;
        own.retain(|target| !target.is_restic());
        if own.is_empty() {
            let embedded = self.embedded()?;
            own.extend(Some(embedded).filter(|one| one.location.local().is_some_and(LocalStore::is_finished)));
        }
        Ok(own)
    }

    /// The repository that needs no configuration.
    fn embedded(&self) -> Result<Target, Failure> {
        let location = Location::Local(data_folder()?.join("repository"));
        Ok(Target { embedded: true, stamps: self.stamps.clone(), ..Target::plain(EMBEDDED, location) })
    }

    /// Whether --repo names this repository.
    #[must_use]
    pub fn repo_names(&self, target: &Target) -> bool {
        self.global.repo.as_ref() == Some(&target.name)
    }

    /// What `ask` gives the first time, when nobody was asked for this before.
    ///
    /// # Errors
    /// As `ask`.
    pub(super) fn typed_once(
        &self,
        what: &str,
        ask: impl FnOnce() -> Result<Passphrase, Failure>,
    ) -> Result<Arc<Passphrase>, Failure> {
        let mut typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = typed.get(what) {
            return Ok(Arc::clone(known));
        }
        let password = Arc::new(ask()?);
        typed.insert(what.to_owned(), Arc::clone(&password));
        Ok(password)
    }

    /// The repository that a name of the configuration or a location means.
    pub(super) fn target(&self, text: &str) -> Result<Target, Failure> {
        let here = std::env::current_dir().unwrap_or_default();
        if let Some(repository) = self.config.repositories.get(text) {
            return Ok(Target {
                require_mount: repository.require_mount.clone(),
                min_free_bytes: repository.min_free_bytes.unwrap_or(0),
                remote: repository.remote.clone(),
                login: repository.login.clone(),
                format: repository.format,
                password: repository.password.clone(),
                stamps: self.stamps.clone(),
                ..Target::plain(text, Location::parse_as(repository.format, &repository.location, &here)?)
            });
        }
        let (format, place) = Format::split(text);
        let is_place = place.contains('/') || format == Format::Restic && place.contains(':');
        if !is_place && !Path::new(place).exists() {
            let known: Vec<_> = self.config.repositories.keys().map(String::as_str).collect();
            let hint = if known.is_empty() {
                "give its folder with a `/` in it, such as ./backups".to_owned()
            } else {
                format!("configured are: {}; a folder is written with a `/`", known.join(", "))
            };
            return Err(Failure::usage(format!("there is no repository called `{text}`"), hint));
        }
        let location = Location::parse_as(format, place, &here)?;
        // What is configured for a place holds for it under its URL, too.
        let is_known = |known: &&profile::Repository| known.format == format && known.location == place;
        let known = self.config.repositories.iter().find(|(_, known)| is_known(known));
        match known {
            Some((name, _)) if location.local().is_none() || format == Format::Restic => {
                Ok(Target { name: text.to_owned(), ..self.target(name)? })
            }
            _ => {
                let remote = bucket_of_environment(&location);
                Ok(Target { format, stamps: self.stamps.clone(), remote, ..Target::plain(text, location) })
            }
        }
    }

    /// Whether a target is one of the configuration, or the one that needs none: what is done with others is not
    /// remembered.
    #[must_use]
    pub fn is_known(&self, target: &Target) -> bool {
        self.is_known_name(&target.name)
    }

    /// Whether runs are remembered: not of a repository that only the command line names.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.global.repo.as_ref().is_none_or(|repo| self.config.repositories.contains_key(repo))
    }

    /// As [`Self::is_known`], by its name.
    #[must_use]
    pub fn is_known_name(&self, name: &str) -> bool {
        name == EMBEDDED || self.config.repositories.contains_key(name)
    }

    /// Opens the store of a target.
    ///
    /// # Errors
    /// When there is no repository, or its file system is not mounted.
    pub fn open_store(&self, target: &Target, copies: Copies) -> Result<Arc<dyn Store>, Failure> {
        let opened = store_opener(target, copies, self.stop())?();
        opened.map_err(|error| {
            let is_missing = matches!(error, StoreError::NoRepository { .. });
            let mut failure = Failure::from(error);
            if is_missing && !target.is_restic() && target.location.local().is_some_and(LocalStore::is_of_restic) {
                failure.hint = Some(format!(
                    "what is there is in restic's format: write restic:{} to read it or import from it",
                    target.location
                ));
            }
            failure
        })
    }

    /// Opens a target with the credential that counts for it; one in restic's format with its password, to be read.
    ///
    /// # Errors
    /// As they come, with their exit code.
    pub fn open(&self, target: &Target) -> Result<Opened, Failure> {
        if target.is_restic() {
            return open_foreign(self, target);
        }
        self.unlock(target, self.open_store(target, Copies::Kept)?)
    }

    /// Opens what is in the store of a target, with the credential that counts for it.
    ///
    /// # Errors
    /// As they come, with their exit code.
    pub fn unlock(&self, target: &Target, store: Arc<dyn Store>) -> Result<Opened, Failure> {
        let credential = self.credential(target)?;
        let repository = Repository::open(store, &credential)?;
        Ok(Opened { name: target.name.clone(), repository })
    }

    /// Opens the repository that reading commands use, the nearest that can be opened, with its snapshots.
    ///
    /// # Errors
    /// As they come, when none can be opened. Snapshots that cannot be read are warned about.
    pub fn open_for_reading(&self) -> Result<(Opened, Snapshots), Failure> {
        self.open_nearest(self.targets(&[])?)
    }

    /// Opens the nearest of `targets` that can be opened, with its snapshots.
    ///
    /// # Errors
    /// As [`Self::open_for_reading`].
    pub fn open_nearest(&self, mut targets: Vec<Target>) -> Result<(Opened, Snapshots), Failure> {
        targets.sort_by_key(Target::distance);
        let mut first: Option<Failure> = None;
        for target in &targets {
            let opened = self.open(target).and_then(|opened| {
                let snapshots = Snapshots::load(&opened.repository)?;
                Ok((opened, snapshots))
            });
            match opened {
                Ok((opened, snapshots)) => {
                    if targets.len() > 1 {
                        self.screen.note(&format!("reading from {} ({})", target.name, target.location));
                    }
                    for (name, reason) in &snapshots.damaged {
                        self.screen.warning(&format!("{name} cannot be read and is left out: {reason}"));
                    }
                    return Ok((opened, snapshots));
                }
                Err(failure) if targets.len() == 1 => return Err(failure),
                Err(failure) => {
                    self.screen.warning(&format!("{} cannot be read: {}", target.name, failure.in_one_line()));
                    first = first.or(Some(failure));
                }
            }
        }
        Err(first.unwrap_or_else(|| Failure::usage("no repository is configured", "name one with --repo")))
    }

    /// The index of a repository, for reading.
    ///
    /// # Errors
    /// As they come.
    pub fn index(&self, opened: &Opened) -> Result<Index, Failure> {
        let index = Index::load(&opened.repository, Purpose::Read, &self.clock)?;
        for (_, reason) in index.damaged() {
            self.screen.warning(reason);
        }
        Ok(index)
    }

    /// Where the key file of a target is, when one counts.
    ///
    /// # Errors
    /// When there is no data folder.
    pub fn key_file(&self, target: &Target) -> Result<Option<PathBuf>, Failure> {
        let family = &self.config.family;
        let other =
            family.password_file.is_some() || family.password_command.is_some() || variable("BK_PASSWORD").is_some();
        match &family.key_file {
            Some(path) => Ok(Some(path.clone())),
            None if target.embedded && !other => Ok(Some(data_folder()?.join("key"))),
            None => Ok(None),
        }
    }

    /// What opens a target: flags before environment before configuration; asked for on a terminal.
    ///
    /// # Errors
    /// When there is none, or its file or program cannot be used. No secret is ever in the error.
    pub fn credential(&self, target: &Target) -> Result<Credential, Failure> {
        if let Some(path) = self.key_file(target)? {
            let text = read_secret(&path, "key file")?;
            let key = KeyFile::parse(&text).map_err(|error| {
                Failure::new(
                    Exit::WrongKey,
                    format!("{} is no key file: {error}", path.display()),
                    "use --password-file for a password",
                )
            })?;
            return Ok(Credential::KeyFile(key));
        }
        self.passphrase()?.map(Credential::Passphrase).ok_or_else(|| {
            Failure::new(
                Exit::WrongKey,
                format!("no key or password was given for {}", target.location),
                "use --key-file, --password-file, --password-command, or run in a terminal to be asked",
            )
        })
    }

    /// A password from a file, a program, the environment or the terminal.
    ///
    /// # Errors
    /// When its file or program cannot be used.
    pub fn passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        let family = &self.config.family;
        if let Some(path) = &family.password_file {
            return Ok(Some(passphrase_of(&read_secret(path, "password file")?)));
        }
        if let Some(argv) = &family.password_command {
            return password_of_program(argv).map(Some);
        }
        if let Ok(password) = std::env::var("BK_PASSWORD") {
            return Ok(Some(Passphrase::new(password)));
        }
        if std::io::stdin().is_terminal() { ask("password: ").map(Some) } else { Ok(None) }
    }
}

fn environment(global: &Global) -> Environment {
    let given = |flag: bool, name: &'static str, variable: &'static str| {
        if flag { Origin::Flag(name) } else { Origin::Environment(variable) }
    };
    // clap does not tell whence a value came; the variable being equal to it is as good.
    let from_flag = |value: Option<&PathBuf>, name: &str| value.is_some() && variable(name).as_ref() != value;
    let path = |value: &Option<PathBuf>, flag: &'static str, name: &'static str| {
        value.clone().map(|value| Given { origin: given(from_flag(Some(&value), name), flag, name), value })
    };
    let command = global.password_command.as_ref().map(|text| {
        let flag = std::env::var("BK_PASSWORD_COMMAND").ok().as_ref() != Some(text);
        Given {
            value: text.split_whitespace().map(str::to_owned).collect(),
            origin: given(flag, "--password-command", "BK_PASSWORD_COMMAND"),
        }
    });
    Environment {
        uid: rustix::process::geteuid().as_raw(),
        system_folder: "/etc/bk".into(),
        home: variable("HOME"),
        xdg_config_home: variable("XDG_CONFIG_HOME"),
        config: path(&global.config, "--config", "BK_CONFIG"),
        key_file: path(&global.key_file, "--key-file", "BK_KEY_FILE"),
        password_file: path(&global.password_file, "--password-file", "BK_PASSWORD_FILE"),
        password_command: command,
    }
}

/// What the environment says of a bucket that is not configured, in the words of other programs for buckets: whoever
/// stands before a bare machine has no configuration.
fn bucket_of_environment(location: &Location) -> Settings {
    let is_bucket = matches!(location, Location::Remote(remote) if matches!(remote.service, Service::S3 | Service::B2));
    let said = |name: &str| std::env::var(name).ok().filter(|value| is_bucket && !value.is_empty());
    Settings {
        region: said("AWS_REGION").or_else(|| said("AWS_DEFAULT_REGION")),
        endpoint: said("AWS_ENDPOINT_URL_S3").or_else(|| said("AWS_ENDPOINT_URL")),
        ..Settings::default()
    }
}

/// The text of a key or password file.
pub(super) fn read_secret(path: &Path, what: &str) -> Result<Zeroizing<String>, Failure> {
    let failure = |error: &std::io::Error| {
        let mut failure = Failure::of(Exit::WrongKey, error, "check the path, and that you may read the file");
        failure.causes.push(std::mem::replace(&mut failure.message, format!("cannot read {what} {}", path.display())));
        failure
    };
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(|error| failure(&error))?;
    file.take(64 << 10).read_to_string(&mut text).map_err(|error| failure(&error))?;
    Ok(text)
}

/// A password as it is in a file or a program's output: one line end at the end is not part of it.
pub(super) fn passphrase_of(text: &str) -> Passphrase {
    let text = text.strip_suffix('\n').unwrap_or(text);
    Passphrase::new(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn password_of_program(argv: &[String]) -> Result<Passphrase, Failure> {
    let text = output_of_program(argv, "the program must print the password as text")?;
    Ok(passphrase_of(&text))
}

/// Asks on the terminal without showing what is typed.
///
/// # Errors
/// When the terminal cannot be used.
pub fn ask(prompt: &str) -> Result<Passphrase, Failure> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let failure = |error: std::io::Error| Failure::of(Exit::Failed, &error, "use --password-file instead");
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(|error| failure(error.into()))?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    eprint!("{prompt}");
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| failure(error.into()))?;
    let mut text = Zeroizing::new(String::new());
    let read = stdin.read_line(&mut text);
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
    read.map_err(failure)?;
    restored.map_err(|error| failure(error.into()))?;
    Ok(passphrase_of(&text))
}
