//! Which database an application uses: read from its own configuration.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::config_file::look_up;
use super::prepare::below;
use crate::profile::{Detect, Format};

/// No configuration of an application is larger, in bytes.
const MAX_LEN: u64 = 4 << 20;

/// What an application says about its database.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Detected {
    /// `sqlite`, `postgres`, `mariadb`, or what the application calls it.
    pub engine: String,
    /// The file that says so; none when it is the default of the application.
    pub file: Option<PathBuf>,
    /// Name of the database.
    pub name: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Machine.
    pub host: Option<String>,
    /// Port.
    pub port: Option<String>,
    /// Path of a socket.
    pub socket: Option<String>,
    /// Password; never printed.
    pub password: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Detected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { engine, file, name, user, host, port, socket, .. } = self;
        write!(formatter, "Detected({engine} {name:?} {user:?} {host:?} {port:?} {socket:?} by {file:?})")
    }
}

/// Reads the environment of the service where the application is told so, else the first of the files that exists.
#[must_use]
pub fn detect(detect: &Detect, roots: &[PathBuf], environment: &str) -> Option<Detected> {
    let told = Detect { format: Format::Env, default: None, ..detect.clone() };
    if detect.env
        && let Some(found) = in_text(&told, environment)
    {
        return Some(found);
    }
    let files = detect.files.iter().flat_map(|pattern| below(roots, pattern));
    for file in files {
        let Some(text) = read(&file) else { continue };
        let found = in_text(detect, &text);
        if let Some(found) = found {
            return Some(Detected { file: Some(file), ..found });
        }
    }
    detect.default.clone().map(|engine| Detected { engine, ..Detected::default() })
}

fn read(file: &Path) -> Option<Zeroizing<String>> {
    let metadata = std::fs::metadata(file).ok()?;
    (metadata.is_file() && metadata.len() <= MAX_LEN).then_some(())?;
    std::fs::read_to_string(file).ok().map(Zeroizing::new)
}

fn in_text(detect: &Detect, text: &str) -> Option<Detected> {
    let value = |key: &Option<String>| key.as_ref().and_then(|key| look_up(detect.format, text, key));
    let word = value(&detect.engine);
    let url = value(&detect.url);
    let engine = word.as_ref().map(|word| engine_of(detect, word));
    let mut found = url.as_deref().map(of_url).unwrap_or_default();
    if let Some(engine) = engine {
        found.engine = engine;
    } else if found.engine.is_empty() {
        // A key that is only there with a server, such as its host, tells that there is one.
        let server = value(&detect.host).is_some();
        let only = detect.engines.values().find(|engine| engine.as_str() != "sqlite");
        found.engine = match (server, only, &detect.default) {
            (true, Some(engine), _) => engine.clone(),
            (_, _, Some(engine)) => engine.clone(),
            _ => return None,
        };
    }
    found.name = value(&detect.name).or(found.name);
    found.user = value(&detect.user).or(found.user);
    found.port = value(&detect.port).or(found.port);
    found.socket = value(&detect.socket).or(found.socket);
    found.password = value(&detect.password).map(Zeroizing::new).or(found.password);
    if let Some(host) = value(&detect.host) {
        found.set_host(&host);
    }
    Some(found)
}

/// The engine that a word of the application means; a value of several lines is several words, of which one is known.
/// The words of a profile may hold wildcards, the longest that matches counts.
fn engine_of(detect: &Detect, word: &str) -> String {
    let mut known: Vec<_> = detect.engines.iter().collect();
    known.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    let words = || word.lines().map(|word| word.trim().to_lowercase());
    let found = known.iter().find(|(pattern, _)| words().any(|word| matches(&pattern.to_lowercase(), &word)));
    found.map_or_else(|| word.trim().to_lowercase(), |(_, engine)| (*engine).clone())
}

/// `*` stands for anything.
fn matches(pattern: &str, word: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == word };
    let Some(word) = word.strip_prefix(start) else { return false };
    rest.is_empty() || word.char_indices().any(|(at, _)| word.get(at..).is_some_and(|word| matches(rest, word)))
}

impl Detected {
    /// `host`, `host:port`, `tcp://host:port`, the path of a socket, or `localhost:/its/path` as PHP has it.
    fn set_host(&mut self, text: &str) {
        let text = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("unix://")).unwrap_or(text);
        if text.starts_with('/') {
            self.socket = Some(text.to_owned());
            return;
        }
        if let Some((_, path)) = text.split_once(":/") {
            self.socket = Some(format!("/{path}"));
            return;
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.host = Some(host.to_owned());
                self.port = Some(port.to_owned());
            }
            _ => self.host = Some(text.to_owned()),
        }
    }
}

/// `scheme://user:password@host:port/name?…`; the scheme tells the engine.
pub(super) fn of_url(url: &str) -> Detected {
    let mut found = Detected::default();
    let Some((scheme, rest)) = url.split_once(':') else {
        // A plain path is a file.
        found.engine = "sqlite".to_owned();
        return found;
    };
    found.engine = match scheme {
        "postgres" | "postgresql" => "postgres".to_owned(),
        "mysql" | "mariadb" => "mariadb".to_owned(),
        scheme if scheme.starts_with("sqlite") || scheme == "file" => "sqlite".to_owned(),
        scheme => scheme.to_owned(),
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    if found.engine == "sqlite" {
        return found;
    }
    let (login, host) = authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        found.user = Some(decoded(user)).filter(|user| !user.is_empty());
        found.password = password.map(|password| Zeroizing::new(decoded(password)));
    }
    if !host.is_empty() {
        found.set_host(&decoded(host));
    }
    found.name = Some(decoded(name)).filter(|name| !name.is_empty());
    found
}

/// `%41` is `A` (RFC 3986 §2.1).
#[must_use]
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.filter(|_| *byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let found = of_url("postgresql://me:p%40ss@db.example:5433/shop?sslmode=disable");
        assert_eq!(found.engine, "postgres");
        assert_eq!(found.user.as_deref(), Some("me"));
        assert_eq!(found.password.as_deref().map(String::as_str), Some("p@ss"));
        assert_eq!((found.host.as_deref(), found.port.as_deref()), (Some("db.example"), Some("5433")));
        assert_eq!(found.name.as_deref(), Some("shop"));
        assert_eq!(of_url("mysql://u@h/d").engine, "mariadb");
        assert_eq!(of_url("sqlite:///data/x.db").engine, "sqlite");
        assert_eq!(of_url("data/db.sqlite3").engine, "sqlite");
    }

    #[test]
    fn a_host_may_be_a_socket() {
        let mut found = Detected::default();
        found.set_host("localhost:/run/mysqld/mysqld.sock");
        assert_eq!((found.host.as_deref(), found.socket.as_deref()), (None, Some("/run/mysqld/mysqld.sock")));
        found.set_host("tcp://db:5433");
        assert_eq!((found.host.as_deref(), found.port.as_deref()), (Some("db"), Some("5433")));
    }

    #[test]
    fn the_longest_word_that_matches_tells_the_engine() {
        let engines = [("*", "sqlite"), ("postgres*", "postgres"), ("mysql", "mariadb")];
        let detect = Detect {
            files: Vec::new(),
            format: Format::Env,
            engine: Some("X".into()),
            name: None,
            user: None,
            host: None,
            port: None,
            password: None,
            socket: None,
            path: None,
            url: None,
            env: false,
            engines: engines.into_iter().map(|(word, engine)| (word.into(), engine.into())).collect(),
            default: None,
        };
        for (word, engine) in
            [("postgresql://x", "postgres"), ("MySQL", "mariadb"), ("data/x.db", "sqlite"), ("a\nmysql\nb", "mariadb")]
        {
            assert_eq!(engine_of(&detect, word), engine, "{word}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert!(!format!("{:?}", of_url("postgres://u:hunter2@h/d")).contains("hunter2"));
    }
}
