//! Loading a dump into a server, through its hook.

use std::io::{self, Write};

use super::{Ready, Surroundings};
use crate::hook::{Facts, Finished, HookError};
use crate::profile::{Container, HookUse, Role};
use crate::source::command::Input;

/// Why a dump was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E: std::error::Error + 'static> {
    /// The hook.
    #[error("{0}")]
    Hook(#[from] HookError),
    /// The hook has no way of loading.
    #[error("hook {0} cannot load dumps")]
    NoWay(String),
    /// The repository.
    #[error("{0}")]
    Source(E),
}

/// A place that `bk restore --database` loads into, as a user writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The hook, with the server and the database.
    pub used: HookUse,
}

/// What is wrong with a place as it was written, and the next step.
pub type Wrong = (String, &'static str);

impl Server {
    /// Reads `postgres://user@host:port/name?socket=/run/postgresql&container=db`. What stands after `?` are settings of
    /// the hook, and `container`, `runtime`, `owner`, `exec-user`.
    ///
    /// # Errors
    /// What is wrong, and the next step; a password among it: every user of the machine can read arguments.
    pub fn parse(url: &str) -> Result<Self, Wrong> {
        let form = "write it like postgres://user@host:5432/name, or postgres:///name?socket=/run/postgresql";
        if !url.contains("://") {
            return Err((format!("`{url}` is not a database"), form));
        }
        let found = super::location::parts_of(url);
        if found.password.is_some() {
            let hint = "put it into a file and add `?password-file=/path` to the URL";
            return Err(("the URL holds a password, which everybody on this machine could read".into(), hint));
        }
        let mut used = HookUse::of(found.engine.as_deref().unwrap_or_default(), Role::Database);
        let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let single = [
            ("name", found.name),
            ("user", found.user),
            ("host", found.host),
            ("port", found.port),
            ("socket", found.socket),
        ];
        used.settings.extend(single.into_iter().filter_map(|(key, value)| Some((key.to_owned(), vec![value?]))));
        let mut container = Container { runtime: "podman".into(), name: String::new(), owner: None, exec_user: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = super::location::decoded(value);
            match key {
                "container" => container.name = value,
                "runtime" => container.runtime = value,
                "owner" => container.owner = Some(value),
                "exec-user" => container.exec_user = Some(value),
                "password" => return Err(("the URL holds a password".into(), "use `password-file=/path` instead")),
                key => drop(used.settings.insert(key.to_owned(), vec![value])),
            }
        }
        if !container.name.is_empty() {
            used.container = Some(container);
        }
        Ok(Self { used })
    }

    /// The URL that [`Self::parse`] reads as this.
    #[must_use]
    pub fn url(used: &HookUse, name: &str) -> String {
        let mut settings = used.settings.clone();
        settings.remove("name");
        settings.remove("names");
        let mut take = |key: &str| settings.remove(key).and_then(|values| values.into_iter().next());
        let (user, host, port) = (take("user"), take("host"), take("port"));
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut url = format!("{}://", used.hook);
        match host {
            Some(host) => {
                url.push_str(&user.map(|user| format!("{}@", encoded(&user))).unwrap_or_default());
                url.push_str(&encoded(&host));
                url.push_str(&port.map(|port| format!(":{port}")).unwrap_or_default());
            }
            None => {
                pairs.extend(user.map(|user| ("user".to_owned(), user)));
                pairs.extend(port.map(|port| ("port".to_owned(), port)));
            }
        }
        url.push('/');
        url.push_str(&encoded(name));
        pairs.extend(settings.into_iter().filter_map(|(key, values)| Some((key, values.into_iter().next()?))));
        if let Some(container) = &used.container {
            pairs.push(("container".into(), container.name.clone()));
            pairs.push(("runtime".into(), container.runtime.clone()));
            pairs.extend(container.owner.clone().map(|owner| ("owner".into(), owner)));
            pairs.extend(container.exec_user.clone().map(|user| ("exec-user".into(), user)));
        }
        for (at, (key, value)) in pairs.iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(&format!("{key}={}", encoded(value)));
        }
        url
    }
}

/// RFC 3986 §2.1, but for what reads well.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Loads what `write` writes as the dump `stream`. Gives what the hook counted in what it loaded.
///
/// # Errors
/// [`LoadError`]; whether something was loaded then, the hook says.
pub fn load<E: std::error::Error + From<io::Error> + 'static>(
    surroundings: &Surroundings,
    profile: &str,
    server: &Server,
    stream: &str,
    replace: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<Facts, LoadError<E>> {
    let mut ready = surroundings.ready(profile, &[], &server.used)?;
    if replace {
        ready.call.variables.push(("BK_OVERWRITE".into(), "1".into()));
    }
    let finished = feed(&ready, "restore", stream, surroundings.hear(&server.used.hook), write)?;
    if finished.skipped {
        return Err(LoadError::NoWay(server.used.hook.clone()));
    }
    Ok(finished.facts)
}

/// Runs a hook that reads what `write` writes.
///
/// # Errors
/// [`LoadError`].
pub(crate) fn feed<E: std::error::Error + From<io::Error> + 'static>(
    ready: &Ready,
    verb: &str,
    stream: &str,
    hears: impl FnMut(&str) + Send + 'static,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<Finished, LoadError<E>> {
    let mut started = ready.call.start(verb, Some(stream), Input::Piped, hears)?;
    let mut broken = false;
    if let Some(input) = started.running().take_input() {
        let mut gathered = io::BufWriter::with_capacity(256 << 10, Watched { input, broken: &mut broken });
        let written = write(&mut gathered).and_then(|()| Ok(gathered.flush()?));
        drop(gathered);
        if let Err(error) = written
            && !broken
        {
            // The end of the input must not look like the end of the dump: the hook is stopped, not told.
            drop(started);
            return Err(LoadError::Source(error));
        }
    }
    // Only whoever has seen the end of its output knows that it ended well.
    let _ = io::copy(started.running(), &mut io::sink());
    Ok(started.finish()?)
}

/// Knows whether writing failed because the hook does not read any more: then the hook says why.
struct Watched<'a, W> {
    input: W,
    broken: &'a mut bool,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.input.write(bytes);
        *self.broken |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_as_it_is_written() {
        let urls = [
            "postgres://me@db.example:5433/shop",
            "postgres:///shop%20x?user=me&port=5999&socket=/run/pg",
            "mariadb:///wiki?container=wiki-db&runtime=docker&owner=svc",
        ];
        for url in urls {
            let server = Server::parse(url).unwrap();
            let name = server.used.settings["name"][0].clone();
            let again = Server::parse(&Server::url(&server.used, &name)).unwrap();
            assert_eq!(again, server, "{url}");
        }
        assert_eq!(Server::parse(urls[1]).unwrap().used.settings["name"], ["shop x"]);
        assert_eq!(Server::parse("mysql://h/d").unwrap().used.hook, "mariadb");
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for url in ["postgres://me:hunter2@h/d", "postgres://h/d?password=hunter2"] {
            let (problem, hint) = Server::parse(url).unwrap_err();
            assert!(!problem.contains("hunter2") && hint.contains("password-file"), "{problem}");
        }
        assert!(Server::parse("shop").is_err());
    }
}
