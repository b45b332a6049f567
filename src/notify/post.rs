//! What is sent to a place that speaks HTTP, before it is known where that is.

use super::ready::{self, ntfy_headers};
use super::template::{Form, fill};
use super::words::{cut_bytes, line};
use super::{Event, Notice, NotifyError, What, is_switch, secret};
use crate::profile::{ChannelKind, Method, Ready, Template};

/// ntfy makes a file of a longer message, in bytes: <https://docs.ntfy.sh/publish/#limitations>.
const NTFY_BYTES: usize = 4000;
/// healthchecks.io keeps the first 100 kB; nobody reads so much.
const PING_BYTES: usize = 10_000;

/// A request, but for its URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub method: http::Method,
    /// Behind the path of the URL.
    pub below: &'static str,
    /// Pairs of the query that take the place of those of the URL.
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Post {
    fn new(content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self { method: http::Method::POST, below: "", query: Vec::new(), headers, body }
    }

    fn text(body: &str, longest_bytes: usize) -> Self {
        Self::new("text/plain; charset=utf-8", cut_bytes(body, longest_bytes).into_bytes())
    }

    fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", value.to_string().into_bytes())
    }
}

/// What is to be sent; `None` when the place does not want to hear of it.
pub(super) fn post(channel: &str, kind: &ChannelKind, what: What<'_>) -> Result<Option<Post>, NotifyError> {
    let Some(notice) = what.notice() else {
        let start = Post { below: "/start", ..Post::text("", 0) };
        return Ok(matches!(kind, ChannelKind::Ping(_)).then_some(start));
    };
    if is_switch(kind) && notice.worst() == Some(Event::Digest) {
        return Ok(None);
    }
    Ok(match kind {
        ChannelKind::Ntfy(_) => Some(ntfy(notice, what)),
        ChannelKind::Ping(_) => Some(ping(notice, what)),
        ChannelKind::Webhook { method, template, .. } => webhook(channel, *method, template, notice, what)?,
        ChannelKind::Email(_) | ChannelKind::Program(_) => None,
    })
}

/// <https://docs.ntfy.sh/publish/>
fn ntfy(notice: &Notice, what: What<'_>) -> Post {
    let mut post = Post::text(&notice.body(), NTFY_BYTES);
    let (priority, tag) = ntfy_headers(what);
    let title = encoded_word(&notice.title());
    post.headers.extend([("title", title), ("priority", priority.to_string()), ("tags", tag.to_owned())]);
    post
}

/// A header is ASCII; the rest goes as RFC 2047 has it, which ntfy reads.
fn encoded_word(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("={byte:02X}"),
    };
    format!("=?utf-8?Q?{}?=", text.bytes().map(encode).collect::<String>())
}

/// <https://healthchecks.io/docs/http_api/>: the URL itself when all is well, `/fail` when not. `/EXIT-STATUS` would say
/// no more: everything but 0 is a failure there, and what went wrong is in the body.
fn ping(notice: &Notice, what: What<'_>) -> Post {
    let body = format!("{}\n{}", notice.title(), notice.body());
    let below = match what {
        What::Test(_) => "/log",
        _ if notice.worst().is_none_or(Event::is_good) => "",
        _ => "/fail",
    };
    Post { below, ..Post::text(&body, PING_BYTES) }
}

/// <https://github.com/louislam/uptime-kuma/wiki/API-Documentation>, "Push Monitor"
fn uptime_kuma(notice: &Notice) -> Post {
    let status = if notice.worst().is_none_or(Event::is_good) { "up" } else { "down" };
    let milliseconds = notice.seconds.map(|seconds| format!("{:.0}", seconds.max(0.0) * 1000.0));
    let query = vec![
        ("status", status.to_owned()),
        ("msg", line(&notice.title(), 200)),
        ("ping", milliseconds.unwrap_or_default()),
    ];
    Post { method: http::Method::GET, below: "", query, headers: Vec::new(), body: Vec::new() }
}

fn webhook(
    channel: &str,
    method: Method,
    template: &Template,
    notice: &Notice,
    what: What<'_>,
) -> Result<Option<Post>, NotifyError> {
    let mut post = match template {
        Template::Document => Post::json(&ready::document(notice, what)),
        Template::File(path) => filled(channel, path, notice, what)?,
        Template::Ready(Ready::Discord) => Post::json(&ready::discord(notice)),
        Template::Ready(Ready::Slack) => Post::json(&ready::slack(notice)),
        Template::Ready(Ready::Mattermost) => Post::json(&ready::mattermost(notice)),
        Template::Ready(Ready::Gotify) => Post::json(&ready::gotify(notice, what)),
        Template::Ready(Ready::UptimeKuma) => return Ok(Some(uptime_kuma(notice))),
        Template::Ready(Ready::Alertmanager) => {
            let alerts = ready::alertmanager(notice, what);
            if alerts.is_empty() {
                return Ok(None);
            }
            Post::json(&alerts.into())
        }
    };
    if method == Method::Put {
        post.method = http::Method::PUT;
    }
    Ok(Some(post))
}

/// The text of the user's; its name says whether it is JSON.
fn filled(channel: &str, path: &std::path::Path, notice: &Notice, what: What<'_>) -> Result<Post, NotifyError> {
    const KEY: &str = "template-file";
    let bytes = secret::file(channel, KEY, path)?;
    let wrong = |problem: &str, hint: &str| secret::content(channel, KEY, path, problem, hint);
    let template = std::str::from_utf8(&bytes).map_err(|_| wrong("is no text", "save it as UTF-8"))?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let form = if is_json { Form::Json } else { Form::Text };
    let hint = format!("the names are {}", super::template::NAMES.join(", "));
    let text = fill(template, form, |name| value(name, notice, what)).map_err(|problem| wrong(&problem, &hint))?;
    let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    Ok(Post::new(content_type, text.into_bytes()))
}

/// The value of a name in a template; numbers that are not known are 0, so that JSON stays JSON.
fn value(name: &str, notice: &Notice, what: What<'_>) -> String {
    let worst = notice.entries.iter().min_by_key(|entry| entry.event);
    let event = worst.map_or(Event::Complete, |entry| entry.event);
    match name {
        "title" => notice.title(),
        "body" => notice.body(),
        "event" => what.word().to_owned(),
        "severity" => ready::severity(event).to_owned(),
        "priority" => ready::priority(event).to_string(),
        "host" => notice.host.clone(),
        "profile" => worst.and_then(|entry| entry.profile.clone()).unwrap_or_default(),
        "repository" => worst.and_then(|entry| entry.repository.clone()).unwrap_or_default(),
        "time" => notice.time(),
        "exit" => notice.exit.unwrap_or_default().to_string(),
        "seconds" => format!("{:.1}", notice.seconds.filter(|seconds| seconds.is_finite()).unwrap_or_default()),
        "new_bytes" => notice.new_bytes.unwrap_or_default().to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_with_other_letters_is_a_header_all_the_same() {
        assert_eq!(encoded_word("nas: plex failed"), "nas: plex failed");
        assert_eq!(encoded_word("ü x?"), "=?utf-8?Q?=C3=BC=20x=3F?=");
    }
}
