//! `[detect]` of a built-in profile: how to learn which database an application uses.
//!
//! # Where it is said
//! `files` are the application's own configuration, written in `format`; `engine`, `name`, `host` and so on are keys of
//! it. `[detect.env]` holds the names of the same things in the environment of the application, which is that of its
//! container, or lies in the files that `[detect.env] files` names. Of several names the first that is set counts.
//! In the environment `NAME=WORD` means WORD when NAME is set, and `NAME_FILE` names a file that holds what NAME would.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Names of one thing; the first that is set counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrSeveral")]
pub struct Names(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

impl From<OneOrSeveral> for Names {
    fn from(names: OneOrSeveral) -> Self {
        match names {
            OneOrSeveral::One(name) => Self(vec![name]),
            OneOrSeveral::Several(names) => Self(names),
        }
    }
}

/// What an application calls the things that tell its database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The engine.
    pub engine: Names,
    /// The name of the database.
    pub name: Names,
    /// The user.
    pub user: Names,
    /// The machine.
    pub host: Names,
    /// The port.
    pub port: Names,
    /// The password.
    pub password: Names,
    /// The socket.
    pub socket: Names,
    /// The path of a database file.
    pub path: Names,
    /// A URL, or what a driver takes in its place, that says it all.
    pub url: Names,
}

/// The environment of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvironmentKeys {
    /// Files of `NAME=value` lines: below a data folder, or absolute.
    pub files: Vec<String>,
    /// Names of variables.
    pub keys: Keys,
    /// The application reads it when it is installed; later its own configuration counts.
    pub at_installation: bool,
}

/// How to learn which database an application uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct Detect {
    /// Its own configuration, below a data folder, or absolute; the first that exists.
    pub files: Vec<String>,
    /// How that is written.
    pub format: Option<Format>,
    /// Keys of it.
    pub keys: Keys,
    /// The same in the environment.
    pub environment: EnvironmentKeys,
    /// Word of the application, and the engine it means.
    pub engines: BTreeMap<String, String>,
    /// The engine when nothing is said.
    pub default: Option<String>,
}

/// How the configuration of an application is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `[section]` and `KEY = value`.
    Ini,
    /// `'key' => 'value',` in a PHP array.
    Php,
    /// `<Key>value</Key>`.
    Xml,
    /// RFC 8259.
    Json,
    /// Nested by indentation.
    Yaml,
    /// `toml.io`.
    Toml,
    /// `KEY=value`.
    Env,
}

/// As the file has it: all keys side by side.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    #[serde(default)]
    files: Vec<String>,
    format: Option<Format>,
    #[serde(default)]
    env: RawEnvironment,
    #[serde(default)]
    engines: BTreeMap<String, String>,
    default: Option<String>,
    #[serde(default)]
    engine: Names,
    #[serde(default)]
    name: Names,
    #[serde(default)]
    user: Names,
    #[serde(default)]
    host: Names,
    #[serde(default)]
    port: Names,
    #[serde(default)]
    password: Names,
    #[serde(default)]
    socket: Names,
    #[serde(default)]
    path: Names,
    #[serde(default)]
    url: Names,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawEnvironment {
    files: Vec<String>,
    at_installation: bool,
    engine: Names,
    name: Names,
    user: Names,
    host: Names,
    port: Names,
    password: Names,
    socket: Names,
    path: Names,
    url: Names,
}

impl From<Raw> for Detect {
    fn from(raw: Raw) -> Self {
        let Raw { files, format, env, engines, default, engine, name, user, host, port, password, socket, path, url } =
            raw;
        let keys = Keys { engine, name, user, host, port, password, socket, path, url };
        let environment = EnvironmentKeys {
            files: env.files,
            at_installation: env.at_installation,
            keys: Keys {
                engine: env.engine,
                name: env.name,
                user: env.user,
                host: env.host,
                port: env.port,
                password: env.password,
                socket: env.socket,
                path: env.path,
                url: env.url,
            },
        };
        Self { files, format, keys, environment, engines, default }
    }
}
