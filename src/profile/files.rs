//! Which files make up the configuration, and whether root may believe them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check;
use super::error::ConfigError;
use super::origin::{Origin, Place};
use super::raw::RawFile;

/// A value that was given outside the files, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// [`Origin::Flag`] or [`Origin::Environment`].
    pub origin: Origin,
}

/// Everything about the process that decides what the configuration is. The caller fills it; nothing is read behind it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The effective user; 0 is root.
    pub uid: u32,
    /// Where the system's configuration lies, `/etc/bk`; nowhere when it is not absolute.
    pub system_folder: PathBuf,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`; used only when it is absolute, as its specification says.
    pub xdg_config_home: Option<PathBuf>,
    /// The file to use instead of those found: `--config` or `BK_CONFIG`.
    pub config: Option<Given<PathBuf>>,
    /// `--key-file` or `BK_KEY_FILE`.
    pub key_file: Option<Given<PathBuf>>,
    /// `--password-file` or `BK_PASSWORD_FILE`.
    pub password_file: Option<Given<PathBuf>>,
    /// `--password-command` or `BK_PASSWORD_COMMAND`, split into program and arguments.
    pub password_command: Option<Given<Vec<String>>>,
}

/// The text of one file.
#[derive(Debug)]
pub(super) struct Text {
    pub file: Arc<PathBuf>,
    pub content: String,
}

impl Text {
    /// The line in which `span` begins.
    pub fn place(&self, span: Range<usize>) -> Place {
        let before = self.content.bytes().take(span.start);
        Place { file: Arc::clone(&self.file), line: before.filter(|byte| *byte == b'\n').count() + 1 }
    }
}

/// One file: its text and what it says.
#[derive(Debug)]
pub(super) struct Source {
    pub text: Text,
    pub raw: RawFile,
}

/// Reads every file there is, in the order in which they are merged.
pub(super) fn read_all(environment: &Environment) -> Result<Vec<Source>, ConfigError> {
    let mut sources = Vec::new();
    if let Some(given) = environment.config.as_ref().filter(|given| !given.value.as_os_str().is_empty()) {
        let path = &given.value;
        if !read_with_parts(path, environment, &mut sources)? {
            return Err(ConfigError::Missing { path: path.clone(), origin: given.origin.clone() });
        }
        return Ok(sources);
    }
    for folder in folders(environment) {
        read_with_parts(&folder.join("bk.toml"), environment, &mut sources)?;
    }
    Ok(sources)
}

/// Where [`super::load`] looks, in its order; not all of these are there. `conf.d/*.toml` beside each is read too.
#[must_use]
pub fn candidates(environment: &Environment) -> Vec<PathBuf> {
    match environment.config.as_ref().filter(|given| !given.value.as_os_str().is_empty()) {
        Some(given) => vec![given.value.clone()],
        None => folders(environment).into_iter().map(|folder| folder.join("bk.toml")).collect(),
    }
}

fn folders(environment: &Environment) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if environment.uid == 0 && environment.system_folder.is_absolute() {
        folders.push(environment.system_folder.clone());
    }
    let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    let home = || absolute(&environment.home).map(|home| home.join(".config"));
    if let Some(own) = absolute(&environment.xdg_config_home).or_else(home).map(|folder| folder.join("bk"))
        && !folders.contains(&own)
    {
        folders.push(own);
    }
    folders
}

/// Reads `path` and then `conf.d/*.toml` beside it; false when `path` is not there.
fn read_with_parts(path: &Path, environment: &Environment, sources: &mut Vec<Source>) -> Result<bool, ConfigError> {
    let own = read(path, environment)?;
    let found = own.is_some();
    sources.extend(own);
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(found);
        }
        Err(source) => return Err(ConfigError::Read { path: folder, source }),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| ConfigError::Read { path: folder.clone(), source })?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".toml") && !name.starts_with('.') {
            parts.push(entry.path());
        }
    }
    parts.sort();
    for part in parts {
        sources.extend(read(&part, environment)?);
    }
    Ok(found)
}

fn read(path: &Path, environment: &Environment) -> Result<Option<Source>, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    // Everybody may write there, and nobody ever reads what: "no configuration", as people say it.
    let is_null = metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3);
    if environment.uid == 0 && !is_null {
        // Of the open file, so that what was looked at is what is read.
        trust(path, &metadata, false)?;
        trust_folders(path)?;
    }
    let mut content = String::new();
    file.read_to_string(&mut content).map_err(unreadable)?;
    let text = Text { file: Arc::new(path.to_owned()), content };
    let raw = check::parse(&text)?;
    Ok(Some(Source { text, raw }))
}

/// Looks at the folder of `path`, and at that of the file behind it when it is a link. There a sticky folder will do,
/// such as `/nix/store`: others can add files to it, but not replace root's.
fn trust_folders(path: &Path) -> Result<(), ConfigError> {
    let metadata =
        |folder: &Path| fs::metadata(folder).map_err(|source| ConfigError::Read { path: folder.to_owned(), source });
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    trust(folder, &metadata(folder)?, false)?;
    let behind = path.canonicalize().map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    match behind.parent() {
        Some(folder) => trust(folder, &metadata(folder)?, true),
        None => Ok(()),
    }
}

fn trust(path: &Path, metadata: &Metadata, sticky_will_do: bool) -> Result<(), ConfigError> {
    let sticky = metadata.mode() & 0o1000 != 0 && metadata.is_dir();
    let Some((problem, command)) = distrust(metadata.uid(), metadata.mode(), sticky && sticky_will_do) else {
        return Ok(());
    };
    let command = format!("{command} {}", quoted(path));
    Err(ConfigError::Untrusted { path: path.to_owned(), problem, command })
}

/// Why root does not believe something with this owner and mode, and the command that changes it.
fn distrust(owner: u32, mode: u32, protected: bool) -> Option<(String, &'static str)> {
    let who = match mode & 0o022 {
        0o020 => "its group",
        0o002 => "everyone",
        _ => "its group and everyone",
    };
    match (owner, mode & 0o022 != 0 && !protected) {
        (0, false) => None,
        (0, true) => Some((format!("can be written by {who}"), "chmod go-w")),
        _ => Some((format!("belongs to user {owner}"), "chown root")),
    }
}

/// `path` as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:".contains(&byte);
    if text.bytes().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn names(environment: &Environment) -> Vec<String> {
        let root = environment.system_folder.parent().unwrap();
        let sources = read_all(environment).unwrap();
        let relative = |source: &Source| source.text.file.strip_prefix(root).unwrap().display().to_string();
        sources.iter().map(relative).collect()
    }

    fn user(root: &Path) -> Environment {
        Environment {
            uid: 1000,
            system_folder: root.join("etc"),
            home: Some(root.join("home")),
            ..Environment::default()
        }
    }

    #[test]
    fn no_file_at_all_is_an_empty_configuration() {
        let root = folder();
        assert!(names(&user(root.path())).is_empty());
        assert!(read_all(&Environment { uid: 1000, ..Environment::default() }).unwrap().is_empty());
    }

    #[test]
    fn a_user_reads_only_the_own_file_and_then_its_parts_by_name() {
        let root = folder();
        for name in ["etc/bk.toml", "home/.config/bk/bk.toml", "home/.config/bk/conf.d/b.toml"] {
            write(root.path(), name, "");
        }
        for name in ["a.toml", ".hidden.toml", "c.toml.bak"] {
            write(root.path(), &format!("home/.config/bk/conf.d/{name}"), "");
        }
        let own = ["home/.config/bk/bk.toml", "home/.config/bk/conf.d/a.toml", "home/.config/bk/conf.d/b.toml"];
        assert_eq!(names(&user(root.path())), own);
    }

    #[test]
    fn parts_are_read_without_a_main_file() {
        let root = folder();
        write(root.path(), "home/.config/bk/conf.d/a.toml", "");
        assert_eq!(names(&user(root.path())), ["home/.config/bk/conf.d/a.toml"]);
    }

    #[test]
    fn the_xdg_folder_goes_before_the_home_folder_but_only_when_it_is_absolute() {
        let root = folder();
        write(root.path(), "xdg/bk/bk.toml", "");
        write(root.path(), "home/.config/bk/bk.toml", "");
        let with = |xdg: PathBuf| Environment { xdg_config_home: Some(xdg), ..user(root.path()) };
        assert_eq!(names(&with(root.path().join("xdg"))), ["xdg/bk/bk.toml"]);
        assert_eq!(names(&with("xdg".into())), ["home/.config/bk/bk.toml"]);
        assert_eq!(names(&with("".into())), ["home/.config/bk/bk.toml"]);
    }

    #[test]
    fn a_file_that_was_named_is_the_only_one_and_must_exist() {
        let root = folder();
        write(root.path(), "home/.config/bk/bk.toml", "");
        let path = write(root.path(), "other/mine.toml", "");
        let given = |value| Some(Given { value, origin: Origin::Flag("--config") });
        let with = |path| Environment { config: given(path), ..user(root.path()) };
        assert_eq!(names(&with(path)), ["other/mine.toml"]);
        let error = read_all(&with("/nowhere/bk.toml".into())).unwrap_err();
        assert_eq!(error.to_string(), "there is no configuration file /nowhere/bk.toml (named by flag --config)");
        assert_eq!(error.hint(), "check the path, or make a file with `bk config example`");
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_by_name() {
        let root = folder();
        let path = root.path().join("home/.config/bk/bk.toml");
        write(root.path(), "home/.config/bk/bk.toml", "");
        fs::write(&path, b"\xff\xfe").unwrap();
        let error = read_all(&user(root.path())).unwrap_err();
        assert_eq!(error.to_string(), format!("the configuration {} cannot be read", path.display()));
        assert_eq!(error.hint(), "check that the file is readable and is UTF-8 text");
    }

    #[test]
    fn root_believes_only_what_root_alone_can_write() {
        let cases = [
            (0, 0o100_644, false, None),
            (0, 0o100_400, false, None),
            (0, 0o100_664, false, Some(("can be written by its group", "chmod go-w"))),
            (0, 0o100_646, false, Some(("can be written by everyone", "chmod go-w"))),
            (0, 0o041_777, false, Some(("can be written by its group and everyone", "chmod go-w"))),
            (0, 0o041_777, true, None),
            (1000, 0o100_600, false, Some(("belongs to user 1000", "chown root"))),
            (1000, 0o041_777, true, Some(("belongs to user 1000", "chown root"))),
        ];
        for (owner, mode, protected, expected) in cases {
            let answer = distrust(owner, mode, protected);
            let answer = answer.as_ref().map(|(problem, command)| (problem.as_str(), *command));
            assert_eq!(answer, expected, "{owner} {mode:o}");
        }
    }

    #[test]
    fn root_refuses_a_file_or_folder_of_others_with_the_command_to_run() {
        let root = folder();
        let path = write(root.path(), "etc/bk.toml", "");
        let as_root = Environment { uid: 0, home: None, ..user(root.path()) };
        let owner = fs::metadata(&path).unwrap().uid();
        let refused = |path: &Path, problem: &str, command: &str| {
            let (problem, command) = match owner {
                0 => (problem.to_owned(), command.to_owned()),
                _ => (format!("belongs to user {owner}"), "chown root".to_owned()),
            };
            let error = read_all(&as_root).unwrap_err();
            let shown = path.display();
            assert_eq!(error.to_string(), format!("{shown} {problem}, but root would follow what it says"));
            let hint = format!("run `{command} {shown}`, or name a file of root's own with --config");
            assert_eq!(error.hint(), hint);
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        refused(&path, "can be written by its group and everyone", "chmod go-w");
        if owner != 0 {
            return;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let etc = path.parent().unwrap();
        fs::set_permissions(etc, fs::Permissions::from_mode(0o775)).unwrap();
        refused(etc, "can be written by its group", "chmod go-w");
        fs::set_permissions(etc, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(names(&as_root), ["etc/bk.toml"]);
    }

    #[test]
    fn root_reads_the_system_file_and_then_the_own_one() {
        let root = folder();
        let path = write(root.path(), "etc/bk.toml", "");
        write(root.path(), "home/.config/bk/bk.toml", "");
        if fs::metadata(&path).unwrap().uid() == 0 {
            let as_root = Environment { uid: 0, ..user(root.path()) };
            assert_eq!(names(&as_root), ["etc/bk.toml", "home/.config/bk/bk.toml"]);
        }
    }

    #[test]
    fn a_path_in_a_command_to_run_is_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/etc/bk/bk.toml")), "/etc/bk/bk.toml");
        assert_eq!(quoted(Path::new("/my files/it's")), "'/my files/it'\\''s'");
    }
}
