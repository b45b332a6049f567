//! One `[notify.NAME]`: who hears of what, where it is sent, and what opens that place.
//!
//! Of many services the URL is the secret. So neither it nor a header is in `Debug`, in a message, or in what is
//! written into a snapshot: of a URL only the scheme and the host are shown.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use zeroize::Zeroizing;

use super::error::ConfigError;
use super::keys::nearest;
use super::raw::{Listed, Typed};
use super::scope::{Problem, Scope, absolute};

/// When a digest is sent unless the configuration says: on Monday mornings.
const DEFAULT_DIGEST: &str = "0 8 * * 1";

/// What a notice is about, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// There is no backup.
    Failed,
    /// A repository is damaged.
    Damage,
    /// There is a snapshot, but something is not in it.
    Incomplete,
    /// A backup is unlike those before it; nothing is forgotten until somebody looked.
    Anomaly,
    /// The newest complete snapshot is older than it may be.
    Overdue,
    /// A repository lacks what others have.
    Behind,
    /// What was not well is well again.
    Recovered,
    /// All is well.
    Complete,
    /// How everything stands, whether well or not.
    Digest,
}

impl Event {
    /// All of them, worst first.
    pub const ALL: [Self; 9] = [
        Self::Failed,
        Self::Damage,
        Self::Incomplete,
        Self::Anomaly,
        Self::Overdue,
        Self::Behind,
        Self::Recovered,
        Self::Complete,
        Self::Digest,
    ];

    /// What is told where the configuration does not say.
    pub const DEFAULT: [Self; 7] =
        [Self::Failed, Self::Damage, Self::Incomplete, Self::Anomaly, Self::Overdue, Self::Behind, Self::Recovered];

    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Damage => "damage",
            Self::Incomplete => "incomplete",
            Self::Anomaly => "anomaly",
            Self::Overdue => "overdue",
            Self::Behind => "behind",
            Self::Recovered => "recovered",
            Self::Complete => "complete",
            Self::Digest => "digest",
        }
    }

    /// Whether nobody has to do anything about it.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Recovered | Self::Complete | Self::Digest)
    }
}

/// A text that may be a secret; `Debug` does not show it, and it is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    /// Hides it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Who hears of what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name in the configuration.
    pub name: String,
    /// What it hears of; of no meaning when it [hears every run](Self::hears_every_run).
    pub on: Vec<Event>,
    /// When it gets a digest, as a line of cron; set exactly when `on` has [`Event::Digest`].
    pub digest: Option<String>,
    /// How it is said there.
    pub kind: ChannelKind,
}

/// How something is said, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelKind {
    /// A topic of ntfy.
    Ntfy(Http),
    /// A check that expects to hear of every run, as those of healthchecks.io.
    Ping(Http),
    /// Anything else that takes HTTP.
    Webhook {
        /// Where.
        http: Http,
        /// How it is sent.
        method: Method,
        /// What is sent.
        template: Template,
    },
    /// Mail.
    Email(Email),
    /// A program and its arguments.
    Program(Vec<String>),
}

impl ChannelKind {
    /// The word in the configuration.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ntfy(_) => "ntfy",
            Self::Ping(_) => "ping",
            Self::Webhook { .. } => "webhook",
            Self::Email(_) => "email",
            Self::Program(_) => "program",
        }
    }

    /// Where it is sent, when that is HTTP.
    #[must_use]
    pub const fn http(&self) -> Option<&Http> {
        match self {
            Self::Ntfy(http) | Self::Ping(http) | Self::Webhook { http, .. } => Some(http),
            Self::Email(_) | Self::Program(_) => None,
        }
    }
}

/// Where HTTP goes, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The URL.
    pub address: Address,
    /// File that holds the token of `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// File with certificates, as PEM, that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Headers to send besides.
    pub headers: BTreeMap<String, Hidden>,
    /// Such headers, each by the file that holds its value.
    pub header_files: BTreeMap<String, PathBuf>,
}

/// A URL, or the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// As it was written; a [`WebAddress`] can be made of it.
    Said(Hidden),
    /// The file.
    File(PathBuf),
}

/// How a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

impl Method {
    /// The word in the configuration and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What a webhook gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// The JSON document of bk.
    Document,
    /// What a service that bk knows understands.
    Ready(Ready),
    /// A text of the user's with names in it.
    File(PathBuf),
}

/// A service whose form of a message bk knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Prometheus Alertmanager, API v2.
    Alertmanager,
    /// A webhook of Discord.
    Discord,
    /// Gotify.
    Gotify,
    /// An incoming webhook of Mattermost.
    Mattermost,
    /// An incoming webhook of Slack.
    Slack,
    /// A push monitor of Uptime Kuma.
    UptimeKuma,
}

impl Ready {
    const ALL: [Self; 6] =
        [Self::Alertmanager, Self::Discord, Self::Gotify, Self::Mattermost, Self::Slack, Self::UptimeKuma];

    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Discord => "discord",
            Self::Gotify => "gotify",
            Self::Mattermost => "mattermost",
            Self::Slack => "slack",
            Self::UptimeKuma => "uptime-kuma",
        }
    }
}

/// Who mail goes to, and through which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// Addresses, each as `me@example.org` or `Me <me@example.org>`.
    pub to: Vec<String>,
    /// The address it comes from.
    pub from: String,
    /// The server that takes it: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: MailTls,
    /// The user of the server; set exactly when `password_file` is.
    pub user: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// File with certificates, as PEM, that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How the connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailTls {
    /// From `STARTTLS` on, without which nothing is sent.
    #[default]
    StartTls,
    /// From the beginning.
    Tls,
    /// Not at all.
    None,
}

impl MailTls {
    const ALL: [Self; 3] = [Self::StartTls, Self::Tls, Self::None];

    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// The parts of a URL that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    /// `http` or `https`.
    pub scheme: String,
    /// The host, and the port when it was said.
    pub host: String,
}

impl WebAddress {
    /// Looks at a URL.
    ///
    /// # Errors
    /// Why it cannot be used, as the rest of a sentence that repeats nothing of it, and the next step.
    pub fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        const EXAMPLE: &str = "write it so: \"https://ntfy.example.org/bk\"";
        let uri: http::Uri = text.parse().map_err(|_| ("is no URL", EXAMPLE))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(("is no URL", EXAMPLE));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(("is no URL of HTTP", EXAMPLE));
        }
        if authority.as_str().contains('@') {
            return Err(("has a user or a password in it", "send them as a header: `token-file` or `header-files`"));
        }
        if text.contains('#') {
            return Err(("has a `#` in it, behind which nothing is sent", "remove what begins there"));
        }
        Ok(Self { scheme: scheme.to_owned(), host: authority.to_string() })
    }

    /// `scheme://host`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }

    /// Whether others could read on the way what is sent there.
    fn is_open(&self) -> bool {
        let name = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        self.scheme == "http" && !is_loopback(name)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Channel {
    /// Whether it is told of every run, well or not: what watches for silence needs that.
    #[must_use]
    pub const fn hears_every_run(&self) -> bool {
        match &self.kind {
            ChannelKind::Ping(_) => true,
            ChannelKind::Webhook { template, .. } => matches!(template, Template::Ready(Ready::UptimeKuma)),
            ChannelKind::Ntfy(_) | ChannelKind::Email(_) | ChannelKind::Program(_) => false,
        }
    }

    /// A key that can be used but may not be meant, and why.
    pub(super) fn warning(&self) -> Option<(&'static str, String)> {
        match &self.kind {
            ChannelKind::Email(email) if email.tls == MailTls::None && !is_loopback(&email.host) => Some((
                "tls",
                format!("mail goes to {} without encryption: everybody on the way can read it", email.host),
            )),
            kind => {
                let http = kind.http()?;
                let Address::Said(url) = &http.address else { return None };
                let secret = http.token_file.is_some() || !http.headers.is_empty() || !http.header_files.is_empty();
                let url = WebAddress::parse(url.text()).ok().filter(|url| secret && url.is_open())?;
                Some(("url", format!("the token or headers go to {} without encryption: use https", url.host)))
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawNotify {
    kind: Typed<String>,
    on: Listed<String>,
    digest: Typed<String>,
    url: Typed<String>,
    url_file: Typed<String>,
    token_file: Typed<String>,
    ca_file: Typed<String>,
    headers: Typed<BTreeMap<String, Spanned<String>>>,
    header_files: Typed<BTreeMap<String, Spanned<String>>>,
    method: Typed<String>,
    template: Typed<String>,
    template_file: Typed<String>,
    to: Listed<String>,
    from: Typed<String>,
    host: Typed<String>,
    port: Typed<u16>,
    tls: Typed<String>,
    user: Typed<String>,
    password_file: Typed<String>,
    command: Listed<String>,
}

fn span<T>(typed: &Typed<T>) -> Option<Range<usize>> {
    typed.as_ref().map(Spanned::span)
}

impl RawNotify {
    /// Every key but `kind` that was said.
    fn said(&self) -> Vec<(&'static str, Range<usize>)> {
        let all = [
            ("on", span(&self.on)),
            ("digest", span(&self.digest)),
            ("url", span(&self.url)),
            ("url-file", span(&self.url_file)),
            ("token-file", span(&self.token_file)),
            ("ca-file", span(&self.ca_file)),
            ("headers", span(&self.headers)),
            ("header-files", span(&self.header_files)),
            ("method", span(&self.method)),
            ("template", span(&self.template)),
            ("template-file", span(&self.template_file)),
            ("to", span(&self.to)),
            ("from", span(&self.from)),
            ("host", span(&self.host)),
            ("port", span(&self.port)),
            ("tls", span(&self.tls)),
            ("user", span(&self.user)),
            ("password-file", span(&self.password_file)),
            ("command", span(&self.command)),
        ];
        all.into_iter().filter_map(|(key, span)| Some((key, span?))).collect()
    }
}

const EVENTS: &[&str] = &["on", "digest"];
const HTTP: &[&str] = &["url", "url-file", "token-file", "ca-file", "headers", "header-files"];
const WEBHOOK: &[&str] = &["method", "template", "template-file"];
const EMAIL: &[&str] = &["to", "from", "host", "port", "tls", "user", "password-file", "ca-file"];

/// The groups of keys that belong to a kind.
fn keys_of(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "ntfy" => &[EVENTS, HTTP],
        "ping" => &[HTTP],
        "webhook" => &[EVENTS, HTTP, WEBHOOK],
        "email" => &[EVENTS, EMAIL],
        _ => &[EVENTS, &["command"]],
    }
}

const EVERY_RUN: &str = "remove it: this hears of every run, whether it went well or not";

pub(super) fn read_channel(
    name: &str,
    raw: &RawNotify,
    section: Range<usize>,
    scope: &mut Scope<'_>,
) -> Result<Channel, ConfigError> {
    let Some(kind) = scope.value("kind", &raw.kind)? else {
        let hint = "say what is spoken there: `kind = \"ntfy\"`, \"ping\", \"webhook\", \"email\" or \"program\"";
        return Err(scope.section_wrong(section, "has no `kind`", hint));
    };
    let foreign = raw.said().into_iter().find(|(key, _)| !keys_of(&kind).iter().any(|keys| keys.contains(key)));
    if let Some((key, span)) = foreign {
        let hint =
            if kind == "ping" && EVENTS.contains(&key) { EVERY_RUN } else { "remove it, or choose another kind" };
        return Err(scope.wrong(key, span, (format!("does not belong to the kind \"{kind}\""), hint)));
    }
    let kind = match kind.as_str() {
        "ntfy" => ChannelKind::Ntfy(read_http(raw, section, scope)?),
        "ping" => ChannelKind::Ping(read_http(raw, section, scope)?),
        "webhook" => read_webhook(raw, section, scope)?,
        "email" => ChannelKind::Email(read_email(raw, section, scope)?),
        _ => ChannelKind::Program(read_command(raw, section, scope)?),
    };
    let mut channel = Channel { name: name.to_owned(), on: Vec::new(), digest: None, kind };
    if channel.hears_every_run() {
        let said = raw.said().into_iter().find(|(key, _)| EVENTS.contains(key));
        return match said {
            Some((key, span)) => {
                let problem = "does not belong to the template \"uptime-kuma\"".to_owned();
                Err(scope.wrong(key, span, (problem, EVERY_RUN)))
            }
            None => Ok(channel),
        };
    }
    (channel.on, channel.digest) = read_events(raw, scope)?;
    Ok(channel)
}

fn read_events(raw: &RawNotify, scope: &mut Scope<'_>) -> Result<(Vec<Event>, Option<String>), ConfigError> {
    let find = |word: &str| Event::ALL.into_iter().find(|event| event.word() == word);
    let words = scope.list("on", &raw.on, |word| match find(word) {
        Some(_) => Ok(()),
        None => {
            let meant = nearest(word, Event::ALL.map(Event::word));
            let meant = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
            Err((format!("has \"{}\", which never happens{meant}", word.escape_debug()), ON_HINT))
        }
    })?;
    let digest = scope.value("digest", &raw.digest)?.map(|line| line.trim().to_owned());
    if let (Some(true), Some(typed)) = (digest.as_ref().map(String::is_empty), &raw.digest) {
        let problem = ("is empty".to_owned(), "write a line of cron such as \"0 8 * * 1\", or remove it");
        return Err(scope.wrong("digest", typed.span(), problem));
    }
    let mut on = match &words {
        None => Event::DEFAULT.to_vec(),
        Some(words) => Event::ALL.into_iter().filter(|event| words.iter().any(|word| word == event.word())).collect(),
    };
    if digest.is_some() && !on.contains(&Event::Digest) {
        on.push(Event::Digest);
    }
    if let (true, Some(typed)) = (on.is_empty(), &raw.on) {
        let problem = ("is empty: nothing would ever be sent".to_owned(), "remove it for the default");
        return Err(scope.wrong("on", typed.span(), problem));
    }
    let digest = digest.or_else(|| on.contains(&Event::Digest).then(|| DEFAULT_DIGEST.to_owned()));
    Ok((on, digest))
}

const ON_HINT: &str = "use failed, damage, incomplete, anomaly, overdue, behind, recovered, complete or digest";

fn read_http(raw: &RawNotify, section: Range<usize>, scope: &mut Scope<'_>) -> Result<Http, ConfigError> {
    let file = scope.path("url-file", &raw.url_file)?;
    let url = scope.value("url", &raw.url)?;
    let address = match (url, file, &raw.url) {
        (Some(_), Some(_), Some(typed)) => {
            return Err(scope.section_wrong(typed.span(), "has both `url` and `url-file`", "keep one of them"));
        }
        (Some(url), _, Some(typed)) => {
            WebAddress::parse(&url)
                .map_err(|(problem, hint)| scope.wrong("url", typed.span(), (problem.to_owned(), hint)))?;
            Address::Said(Hidden::new(&url))
        }
        (_, Some(file), _) => Address::File(file),
        _ => {
            let hint =
                "say where it is sent: `url = \"https://ntfy.example.org/bk\"`, or `url-file` when that is secret";
            return Err(scope.section_wrong(section, "has neither `url` nor `url-file`", hint));
        }
    };
    let token_file = scope.path("token-file", &raw.token_file)?;
    let (mut headers, mut header_files) = (BTreeMap::new(), BTreeMap::new());
    for (key, table) in [("headers", &raw.headers), ("header-files", &raw.header_files)] {
        let Some(table) = table else { continue };
        scope.claim(key, table.span())?;
        for (name, value) in table.get_ref() {
            let wrong = |problem| scope.wrong(key, value.span(), problem);
            header_problem(name, value.get_ref(), token_file.is_some()).map_or(Ok(()), Err).map_err(wrong)?;
            if key == "headers" {
                headers.insert(name.clone(), Hidden::new(value.get_ref()));
            } else {
                header_files.insert(name.clone(), absolute(value.get_ref()).map_err(wrong)?);
            }
        }
    }
    let ca_file = scope.path("ca-file", &raw.ca_file)?;
    Ok(Http { address, token_file, ca_file, headers, header_files })
}

fn header_problem(name: &str, value: &str, has_token: bool) -> Option<Problem> {
    let shown = name.escape_debug();
    if http::HeaderName::try_from(name).is_err() {
        return Some((format!("has `{shown}`, which is no name of a header"), "write it so: \"X-Key\" = \"…\""));
    }
    if http::HeaderValue::try_from(value).is_err() {
        return Some((format!("has a value of `{shown}` that no header can have"), "write it in one line"));
    }
    let name = name.to_ascii_lowercase();
    if matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "connection") {
        return Some((format!("has `{shown}`, which bk says itself"), "remove it"));
    }
    let twice = name == "authorization" && has_token;
    twice.then(|| (format!("has `{shown}`, which `token-file` says too"), "keep one of the two"))
}

fn read_webhook(raw: &RawNotify, section: Range<usize>, scope: &mut Scope<'_>) -> Result<ChannelKind, ConfigError> {
    let http = read_http(raw, section, scope)?;
    let file = scope.path("template-file", &raw.template_file)?;
    let word = scope.value("template", &raw.template)?;
    let ready = word.and_then(|word| Ready::ALL.into_iter().find(|ready| ready.word() == word));
    let template = match (ready, file, &raw.template) {
        (Some(_), Some(_), Some(typed)) => {
            let problem = "has both `template` and `template-file`";
            return Err(scope.section_wrong(typed.span(), problem, "keep one of them"));
        }
        (Some(ready), ..) => Template::Ready(ready),
        (None, Some(file), _) => Template::File(file),
        (None, None, _) => Template::Document,
    };
    if let (Template::Ready(Ready::UptimeKuma), Some(typed)) = (&template, &raw.method) {
        let problem = ("does not belong to the template \"uptime-kuma\"".to_owned(), "remove it: that takes only GET");
        return Err(scope.wrong("method", typed.span(), problem));
    }
    let method = if scope.value("method", &raw.method)?.as_deref() == Some("PUT") { Method::Put } else { Method::Post };
    Ok(ChannelKind::Webhook { http, method, template })
}

fn mailbox(text: &str) -> Result<(), Problem> {
    let hint = "write it so: \"me@example.org\", or \"Me <me@example.org>\"";
    let problem = || (format!("has `{}`, which is no address", text.escape_debug()), hint);
    // What parses could still hold what ends a header.
    if text.contains(char::is_control) || text.parse::<Mailbox>().is_err() { Err(problem()) } else { Ok(()) }
}

fn read_email(raw: &RawNotify, section: Range<usize>, scope: &mut Scope<'_>) -> Result<Email, ConfigError> {
    let to = scope.list("to", &raw.to, mailbox)?.unwrap_or_default();
    let from = scope.value("from", &raw.from)?;
    let host = scope.value("host", &raw.host)?;
    let missing = [("to", to.is_empty()), ("from", from.is_none()), ("host", host.is_none())];
    let missing = missing.into_iter().find(|(_, is_missing)| *is_missing);
    let (Some(from), Some(host), None) = (from, host, missing) else {
        let problem = format!("has no `{}`", missing.map_or("from", |(key, _)| key));
        let hint =
            "mail needs `to = [\"me@example.org\"]`, `from = \"bk@example.org\"` and `host = \"mail.example.org\"`";
        return Err(scope.section_wrong(section, &problem, hint));
    };
    if let Some(typed) = &raw.from {
        mailbox(&from).map_err(|problem| scope.wrong("from", typed.span(), problem))?;
    }
    if let Some(typed) = &raw.host {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) || host.contains("://") {
            let problem = ("is no name or address of a server".to_owned(), "write only its name; its port is `port`");
            return Err(scope.wrong("host", typed.span(), problem));
        }
    }
    let word = scope.value("tls", &raw.tls)?;
    let tls = word.and_then(|word| MailTls::ALL.into_iter().find(|tls| tls.word() == word)).unwrap_or_default();
    let user = scope.value("user", &raw.user)?;
    let password_file = scope.path("password-file", &raw.password_file)?;
    if user.is_some() != password_file.is_some() {
        let span = span(&raw.user).or_else(|| span(&raw.password_file)).unwrap_or(section);
        let problem = "has only one of `user` and `password-file`";
        return Err(scope.section_wrong(span, problem, "say both, or none when the server asks for none"));
    }
    if let (MailTls::None, Some(typed), false) = (tls, &raw.password_file, is_loopback(&host)) {
        let problem = "would go to another machine without encryption".to_owned();
        return Err(scope.wrong("password-file", typed.span(), (problem, "use `tls = \"starttls\"` or \"tls\"")));
    }
    let port = scope.value("port", &raw.port)?.unwrap_or(tls.port());
    let ca_file = scope.path("ca-file", &raw.ca_file)?;
    Ok(Email { to, from, host, port, tls, user, password_file, ca_file })
}

fn read_command(raw: &RawNotify, section: Range<usize>, scope: &mut Scope<'_>) -> Result<Vec<String>, ConfigError> {
    let hint = "write the program and its arguments: `command = [\"/usr/local/bin/tell\"]`";
    let command = scope.list("command", &raw.command, |_| Ok(()))?;
    match (command, &raw.command) {
        (Some(command), _) if command.first().is_some_and(|program| !program.is_empty()) => Ok(command),
        (_, Some(typed)) => Err(scope.wrong("command", typed.span(), ("names no program".to_owned(), hint))),
        _ => Err(scope.section_wrong(section, "has no `command`", hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::{Source, Text};
    use super::super::{Config, Environment, check, resolve};
    use super::*;

    fn config(lines: &str) -> Result<Config, (String, String)> {
        let told = |error: ConfigError| (error.to_string(), error.hint().into_owned());
        let text = Text { file: std::sync::Arc::new("/bk.toml".into()), content: format!("[notify.chat]\n{lines}\n") };
        let raw = check::parse(&text).map_err(told)?;
        resolve::resolve(&[Source { text, raw }], &Environment::default()).map_err(told)
    }

    fn read(lines: &str) -> Channel {
        config(lines).unwrap().channels.remove("chat").unwrap()
    }

    const NTFY: &str = "kind = \"ntfy\"\nurl = \"https://ntfy.example/canary\"";
    const MAIL: &str = "kind = \"email\"\nto = [\"me@example.org\"]\nfrom = \"Me <bk@example.org>\"\nhost = \"mail\"";

    #[test]
    fn what_is_not_said_is_what_people_want_to_hear() {
        let channel = read(NTFY);
        assert_eq!((channel.on.as_slice(), channel.digest), (Event::DEFAULT.as_slice(), None));
        let channel = read(&format!("{NTFY}\non = [\"digest\", \"failed\"]"));
        assert_eq!(channel.on, [Event::Failed, Event::Digest]);
        assert_eq!(channel.digest.as_deref(), Some(DEFAULT_DIGEST));
        let channel = read(&format!("{NTFY}\ndigest = \"0 7 1 * *\""));
        assert_eq!((channel.on.last(), channel.digest.as_deref()), (Some(&Event::Digest), Some("0 7 1 * *")));
        for (tls, port) in [("", 587), ("tls = \"tls\"", 465), ("tls = \"none\"", 25), ("port = 2525", 2525)] {
            let ChannelKind::Email(email) = read(&format!("{MAIL}\n{tls}")).kind else { panic!("mail") };
            assert_eq!(email.port, port);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_its_line() {
        let webhook = "kind = \"webhook\"\nurl = \"https://h/x\"";
        let cases = [
            ("url = \"https://h/x\"".to_owned(), "1: [notify.chat] has no `kind`"),
            ("kind = \"ntfy\"".to_owned(), "1: [notify.chat] has neither `url` nor `url-file`"),
            (format!("{NTFY}\nurl-file = \"/u\""), "3: [notify.chat] has both `url` and `url-file`"),
            (format!("{NTFY}\nto = [\"a@b\"]"), "4: `to` in [notify.chat] does not belong to the kind \"ntfy\""),
            (format!("{NTFY}\ntemplate = \"slack\""), "4: `template` in [notify.chat] does not belong to the kind"),
            (
                "kind = \"ping\"\nurl = \"https://h/x\"\non = [\"failed\"]".to_owned(),
                "4: `on` in [notify.chat] does not belong to the kind \"ping\"",
            ),
            (
                format!("{webhook}\ntemplate = \"uptime-kuma\"\ndigest = \"x\""),
                "5: `digest` in [notify.chat] does not belong to the template \"uptime-kuma\"",
            ),
            (
                format!("{webhook}\ntemplate = \"slack\"\ntemplate-file = \"/t\""),
                "4: [notify.chat] has both `template` and `template-file`",
            ),
            (
                format!("{NTFY}\non = [\"faild\"]"),
                "4: `on` in [notify.chat] has \"faild\", which never happens; did you mean \"failed\"?",
            ),
            (format!("{NTFY}\non = []"), "4: `on` in [notify.chat] is empty"),
            (format!("{NTFY}\ndigest = \" \""), "4: `digest` in [notify.chat] is empty"),
            (
                format!("{NTFY}\nheaders = {{ \"a b\" = \"x\" }}"),
                "4: `headers` in [notify.chat] has `a b`, which is no name of a header",
            ),
            (
                format!("{NTFY}\nheaders = {{ \"X-A\" = \"canary\\nX-B: c\" }}"),
                "4: `headers` in [notify.chat] has a value of `X-A` that no header can have",
            ),
            (
                format!("{NTFY}\ntoken-file = \"/t\"\nheader-files = {{ Authorization = \"/a\" }}"),
                "5: `header-files` in [notify.chat] has `Authorization`, which `token-file` says too",
            ),
            (
                format!("{NTFY}\nheaders = {{ X = 1 }}"),
                "4: `X` in [notify.chat.headers] must be a string, not the number 1",
            ),
            ("kind = \"email\"\nto = [\"a@b\"]".to_owned(), "1: [notify.chat] has no `from`"),
            (format!("{MAIL}\nuser = \"me\""), "6: [notify.chat] has only one of `user` and `password-file`"),
            (
                format!("{MAIL}\nuser = \"me\"\npassword-file = \"/p\"\ntls = \"none\""),
                "7: `password-file` in [notify.chat] would go to another machine without encryption",
            ),
            ("kind = \"program\"".to_owned(), "1: [notify.chat] has no `command`"),
            ("kind = \"program\"\ncommand = [\"\"]".to_owned(), "3: `command` in [notify.chat] names no program"),
        ];
        for (lines, message) in cases {
            let (found, hint) = config(&lines).unwrap_err();
            assert!(found.starts_with(&format!("/bk.toml:{message}")), "{lines}\n{found}");
            assert!(!hint.is_empty() && !format!("{found}{hint}").contains("canary"), "{found} {hint}");
        }
    }

    #[test]
    fn an_address_that_could_end_a_header_is_refused() {
        for address in ["me", "", "me@example.org\\nBcc: x@y.z", "a@b, c@d", "\\r\\n me@example.org"] {
            let (message, _) = config(&MAIL.replace("me@example.org", address)).unwrap_err();
            assert!(message.contains("which is no address"), "{address}: {message}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_repeating_it() {
        for (url, problem) in [
            ("ntfy.example/canary", "is no URL"),
            ("ftp://h/canary", "is no URL of HTTP"),
            ("https://me:canary@h/x", "has a user or a password in it"),
            ("https://h/x#canary", "has a `#` in it"),
            ("https:///canary", "is no URL"),
        ] {
            let (message, hint) = config(&format!("kind = \"ntfy\"\nurl = \"{url}\"")).unwrap_err();
            assert!(message.contains(problem) && !message.contains("canary"), "{url}: {message}");
            assert!(!hint.contains("canary"));
        }
    }

    #[test]
    fn what_others_could_read_on_the_way_is_warned_about() {
        let warned = |lines: &str| {
            let found = config(lines).unwrap().validate();
            found.into_iter().map(|one| format!("{}: {}", one.origin, one.message)).collect::<Vec<_>>()
        };
        let token = "token-file = \"/t\"";
        let ntfy = |url: &str| format!("kind = \"ntfy\"\nurl = \"{url}\"\n{token}");
        let expected = "/bk.toml:3: the token or headers go to ntfy.lan:80 without encryption: use https";
        assert_eq!(warned(&ntfy("http://ntfy.lan:80/canary")), [expected]);
        for url in ["https://ntfy.lan/x", "http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]:80/x"] {
            assert!(warned(&ntfy(url)).is_empty(), "{url}");
        }
        assert_eq!(warned(&format!("{MAIL}\ntls = \"none\"")).len(), 1);
        assert!(warned(&format!("{}\ntls = \"none\"", MAIL.replace("\"mail\"", "\"::1\""))).is_empty());
    }

    #[test]
    fn neither_debug_nor_what_is_written_down_shows_a_secret() {
        for lines in [
            format!("{NTFY}\nheaders = {{ \"X-Key\" = \"canary\" }}\nheader-files = {{ \"X-More\" = \"/run/more\" }}"),
            "kind = \"webhook\"\nurl = \"https://discord.com/api/webhooks/canary/canary?x=canary\"".to_owned(),
            "kind = \"webhook\"\nurl = \"https://k/canary\"\ntemplate = \"uptime-kuma\"".to_owned(),
            "kind = \"webhook\"\nurl-file = \"/u\"\ntemplate-file = \"/t.json\"\nmethod = \"PUT\"".to_owned(),
            "kind = \"ping\"\nurl-file = \"/run/hc\"\nca-file = \"/ca\"".to_owned(),
            "kind = \"program\"\ncommand = [\"/bin/tell\", \"canary\"]".to_owned(),
            format!("{MAIL}\nuser = \"me\"\npassword-file = \"/run/mail\"\ndigest = \"0 8 * * 1\""),
        ] {
            let config = config(&lines).unwrap();
            let all = format!("{config:?} {} {:?}", config.definition(), config.show());
            assert!(!all.contains("canary") || lines.contains("program") && !config.definition().contains("canary"));
            let section = config.definition();
            let (_, section) = section.split_once("[notify.chat]\n").unwrap();
            let again = self::config(section).unwrap();
            assert_eq!(again.definition(), config.definition(), "it is read back as the same");
        }
    }
}
