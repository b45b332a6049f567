//! Where a database is, in one line, as drivers take it: a URL, `key=value` words of libpq, or the DSN of Go's MySQL
//! driver.

use zeroize::Zeroizing;

/// What such a line says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// `sqlite`, `postgres`, `mariadb`, or what stands there instead.
    pub(super) engine: Option<String>,
    pub(super) name: Option<String>,
    pub(super) user: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) socket: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
}

impl Parts {
    /// `host`, `host:port`, `tcp://host:port`, the path of a socket, or `localhost:/its/path` as PHP has it.
    pub(super) fn set_host(&mut self, text: &str) {
        let text = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("unix://")).unwrap_or(text);
        if text.starts_with('/') {
            self.socket = Some(text.to_owned());
            return;
        }
        if let Some((_, path)) = text.split_once(":/") {
            self.socket = Some(format!("/{path}"));
            return;
        }
        // `[::1]:5432`, and `::1` without a port.
        if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            self.host = Some(host.to_owned());
            self.port = rest.strip_prefix(':').map(str::to_owned).or(self.port.take());
            return;
        }
        match text.rsplit_once(':') {
            Some((host, port))
                if !host.contains(':') && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                self.host = Some(host.to_owned());
                self.port = Some(port.to_owned());
            }
            _ => self.host = Some(text.to_owned()),
        }
    }

    /// What this leaves open, as `other` says it. A server is told as a whole: a socket here and a host there are two.
    pub(super) fn or(self, other: Self) -> Self {
        let place = self.host.is_some() || self.socket.is_some();
        Self {
            engine: self.engine.or(other.engine),
            name: self.name.or(other.name),
            user: self.user.or(other.user),
            host: if place { self.host } else { other.host },
            socket: if place { self.socket } else { other.socket },
            port: self.port.or(other.port),
            password: self.password.or(other.password),
        }
    }

    fn set(&mut self, key: &str, value: String) {
        let value = Some(value).filter(|value| !value.is_empty());
        match key {
            "dbname" | "database" => self.name = value,
            "user" => self.user = value,
            "host" | "hostaddr" => value.iter().for_each(|host| self.set_host(host)),
            "port" => self.port = value,
            "socket" => self.socket = value,
            "password" => self.password = value.map(Zeroizing::new),
            _ => {}
        }
    }
}

/// Takes such a line apart.
pub(super) fn parts_of(text: &str) -> Parts {
    let text = text.trim();
    if let Some(parts) = of_words(text).or_else(|| of_go(text)) {
        return parts;
    }
    of_url(text)
}

/// `scheme://user:password@host:port/name?…`; the scheme tells the engine. A plain path is a file.
fn of_url(url: &str) -> Parts {
    let mut found = Parts::default();
    let Some((scheme, rest)) = url.split_once(':') else {
        found.engine = Some("sqlite".to_owned());
        return found;
    };
    // `postgresql+psycopg`: the driver behind `+` is nobody's business.
    let scheme = scheme.split('+').next().unwrap_or_default();
    let engine = match scheme {
        "postgres" | "postgresql" => "postgres",
        "mysql" | "mariadb" => "mariadb",
        scheme if scheme.starts_with("sqlite") || scheme == "file" => "sqlite",
        scheme => scheme,
    };
    found.engine = Some(engine.to_owned());
    if engine == "sqlite" {
        return found;
    }
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let rest = rest.split('#').next().unwrap_or_default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    let host = found.log_in(authority, decoded);
    if !host.is_empty() {
        found.set_host(&decoded(host));
    }
    found.name = Some(decoded(name)).filter(|name| !name.is_empty());
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        found.set(key, decoded(value));
    }
    found
}

/// `user:password@net(address)/name?…`, <https://github.com/go-sql-driver/mysql#dsn-data-source-name>.
fn of_go(text: &str) -> Option<Parts> {
    let (before, name) = text.split_once('?').map_or(text, |(text, _)| text).rsplit_once('/')?;
    let (before, address) = before.strip_suffix(')')?.rsplit_once('(')?;
    let mut found = Parts { engine: Some("mariadb".to_owned()), ..Parts::default() };
    let net = found.log_in(before, str::to_owned);
    if !["tcp", "tcp6", "unix"].contains(&net) {
        return None;
    }
    found.set_host(address);
    found.name = Some(decoded(name)).filter(|name| !name.is_empty());
    Some(found)
}

/// `host=db user=me password='it''s'`, as libpq has it.
fn of_words(text: &str) -> Option<Parts> {
    const KEYS: [&str; 5] = ["host", "hostaddr", "dbname", "user", "port"];
    let (first, _) = text.split_once('=')?;
    if !first.trim_end().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return None;
    }
    let mut found = Parts { engine: Some("postgres".to_owned()), ..Parts::default() };
    let (mut rest, mut known) = (text, false);
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim();
        let (value, after) = word(after.trim_start());
        known |= KEYS.contains(&key);
        found.set(key, value);
        rest = after;
    }
    known.then_some(found)
}

/// A value of libpq up to a space, or in quotes, with what stands behind it.
fn word(text: &str) -> (String, &str) {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut letters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted => return (value, text.get(at + 1..).unwrap_or_default()),
            letter if letter.is_whitespace() && !quoted => return (value, text.get(at..).unwrap_or_default()),
            letter => value.push(letter),
        }
    }
    (value, "")
}

impl Parts {
    /// Takes `user:password@` away; gives the rest.
    fn log_in<'a>(&mut self, text: &'a str, read: impl Fn(&str) -> String) -> &'a str {
        let Some((login, rest)) = text.rsplit_once('@') else { return text };
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        self.user = Some(read(user)).filter(|user| !user.is_empty());
        self.password = password.map(|password| Zeroizing::new(read(password)));
        rest
    }
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

    /// `engine user:password@host:port/name`
    fn told(text: &str) -> String {
        let found = parts_of(text);
        let text = |value: &Option<String>| value.clone().unwrap_or("-".into());
        let password = found.password.as_ref().map_or("-", |password| password.as_str());
        let place = found.socket.as_ref().or(found.host.as_ref()).cloned();
        format!(
            "{} {}:{password}@{}:{}/{}",
            text(&found.engine),
            text(&found.user),
            text(&place),
            text(&found.port),
            text(&found.name)
        )
    }

    #[test]
    fn every_way_of_writing_where_a_database_is_is_taken_apart() {
        let cases = [
            ("postgresql://me:p%40ss@db.example:5433/shop?sslmode=disable", "postgres me:p@ss@db.example:5433/shop"),
            ("postgresql+psycopg://me@h/d", "postgres me:-@h:-/d"),
            ("postgresql:///d?host=/run/postgresql&user=me&password=p%26w", "postgres me:p&w@/run/postgresql:-/d"),
            ("postgres://me:p@[::1]:5433/d", "postgres me:p@::1:5433/d"),
            ("mysql://u@h/d", "mariadb u:-@h:-/d"),
            ("mysql://u:p@localhost/d?socket=/run/mysqld/mysqld.sock", "mariadb u:p@/run/mysqld/mysqld.sock:-/d"),
            ("sqlite:///data/x.db", "sqlite -:-@-:-/-"),
            ("data/db.sqlite3", "sqlite -:-@-:-/-"),
            ("u:p@s:s@tcp(db:3306)/d?parseTime=true", "mariadb u:p@s:s@db:3306/d"),
            ("u:p/(x)@unix(/run/mysqld/mysqld.sock)/d", "mariadb u:p/(x)@/run/mysqld/mysqld.sock:-/d"),
            ("u@tcp([de:ad:be:ef::1]:3306)/d", "mariadb u:-@de:ad:be:ef::1:3306/d"),
            ("host=db port=5433 dbname=d user=u password=p sslmode=disable", "postgres u:p@db:5433/d"),
            (
                "user = u password = 'it\\'s = so' dbname='my d' host=/run/postgresql",
                "postgres u:it's = so@/run/postgresql:-/my d",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn a_host_may_be_a_socket_or_have_colons() {
        let place = |text: &str| {
            let mut found = Parts::default();
            found.set_host(text);
            (found.host, found.port, found.socket)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(place("localhost:/run/mysqld/mysqld.sock"), (None, None, some("/run/mysqld/mysqld.sock")));
        assert_eq!(place("tcp://db:5433"), (some("db"), some("5433"), None));
        assert_eq!(place("fe80::1"), (some("fe80::1"), None, None));
    }

    #[test]
    fn a_socket_of_one_and_a_host_of_another_are_not_mixed() {
        let mut socket = Parts::default();
        socket.set_host("/run/x");
        let mut host = Parts { name: Some("d".into()), ..Parts::default() };
        host.set_host("db");
        let both = socket.or(host);
        assert_eq!((both.host, both.socket, both.name), (None, Some("/run/x".into()), Some("d".into())));
    }
}
