//! HTTP: one request, tried again while that may help, and never led elsewhere.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Certificate, Client, Url};
use zeroize::Zeroizing;

use super::post::{Post, post};
use super::secret::{self, Secrets};
use super::{NotifyError, Patience, What};
use crate::profile::{Address, ChannelKind, Http, WebAddress};
use crate::store::remote::{asked_wait, http_client};

/// As much of an answer is read, in bytes.
const LONGEST_ANSWER: usize = 4 << 10;

/// A place that is ready to be asked.
struct Place<'a> {
    channel: &'a str,
    host: String,
    url: Url,
    headers: http::HeaderMap,
    client: Client,
    secrets: Secrets,
}

/// Why one try failed, and whether another one may help.
struct Trouble {
    error: Box<NotifyError>,
    /// The pause that the server asks for; `None` when it says nothing.
    wait: Option<Duration>,
    is_final: bool,
}

/// Sends it; gives what the server answered.
pub(super) fn tell(
    channel: &str,
    kind: &ChannelKind,
    what: What<'_>,
    patience: &Patience,
) -> Result<String, NotifyError> {
    let (Some(http), Some(post)) = (kind.http(), post(channel, kind, what)?) else { return Ok(String::new()) };
    let place = Place::new(channel, http, &post, patience)?;
    let prepare = |problem: String| NotifyError::Prepare { channel: channel.to_owned(), problem };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| prepare(error.to_string()))?;
    let is_ping = matches!(kind, ChannelKind::Ping(_));
    let told = runtime.block_on(async {
        let tries = place.tries(&post, is_ping, patience);
        tokio::time::timeout(patience.total, tries).await.unwrap_or_else(|_| Err(place.too_late(patience.total)))
    });
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    told
}

/// The URL with what the request puts at its end.
fn complete(mut url: Url, post: &Post) -> Url {
    if !post.below.is_empty() {
        let path = format!("{}{}", url.path().trim_end_matches('/'), post.below);
        url.set_path(&path);
    }
    if !post.query.is_empty() {
        let others: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| !post.query.iter().any(|(own, _)| own == name))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(others).extend_pairs(&post.query);
    }
    url
}

impl<'a> Place<'a> {
    fn new(channel: &'a str, http: &Http, post: &Post, patience: &Patience) -> Result<Self, NotifyError> {
        let (address, url) = url(channel, http)?;
        let mut secrets = Secrets::default();
        secrets.add_url(&url);
        let mut headers = http::HeaderMap::new();
        for (name, value) in &post.headers {
            put(&mut headers, name, value);
        }
        for (name, value) in &http.headers {
            secrets.add(value.text());
            put(&mut headers, name, value.text());
        }
        for (name, path) in &http.header_files {
            let value = secret::read(channel, "header-files", path)?;
            secrets.add(&value);
            put(&mut headers, name, &value);
        }
        if let Some(path) = &http.token_file {
            let token = secret::read(channel, "token-file", path)?;
            secrets.add(&token);
            put(&mut headers, "authorization", &Zeroizing::new(format!("Bearer {}", token.as_str())));
        }
        let client = client(channel, http, patience)?;
        Ok(Self { channel, host: address.host, url: complete(url, post), headers, client, secrets })
    }

    async fn tries(&self, post: &Post, is_ping: bool, patience: &Patience) -> Result<String, NotifyError> {
        let mut pauses = patience.pauses.iter();
        loop {
            let trouble = match self.one_try(post, is_ping, patience).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let Some(pause) = pauses.next().filter(|_| !trouble.is_final) else { return Err(*trouble.error) };
            tokio::time::sleep(trouble.wait.map_or(*pause, |wait| wait.min(patience.longest_pause))).await;
        }
    }

    async fn one_try(&self, post: &Post, is_ping: bool, patience: &Patience) -> Result<String, Trouble> {
        let request = self.client.request(post.method.clone(), self.url.clone()).headers(self.headers.clone());
        let answered = async {
            let mut answer = request.body(post.body.clone()).send().await?;
            let (status, wait) = (answer.status(), asked_wait(answer.status(), answer.headers()));
            let to = answer.headers().get(http::header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
            let mut words = Vec::new();
            // The code says enough where the words do not come.
            while let Ok(Some(piece)) = answer.chunk().await {
                words.extend_from_slice(&piece);
                if words.len() >= LONGEST_ANSWER {
                    break;
                }
            }
            Ok((status, wait, to, String::from_utf8_lossy(&words).into_owned()))
        };
        let answered = tokio::time::timeout(patience.whole, answered).await;
        match answered {
            Err(_) => Err(Trouble { error: Box::new(self.too_late(patience.whole)), wait: None, is_final: false }),
            Ok(Err(error)) => Err(self.unreached(error)),
            Ok(Ok((status, wait, to, words))) => self.judge(status, wait, to.as_deref(), &words, is_ping),
        }
    }

    fn judge(
        &self,
        status: http::StatusCode,
        wait: Option<Duration>,
        to: Option<&str>,
        words: &str,
        is_ping: bool,
    ) -> Result<String, Trouble> {
        // healthchecks.io says 200 to what it does not know: "OK (not found)", "OK (rate limited)".
        let ignored = is_ping && words.starts_with("OK (");
        if status.is_success() && !ignored {
            return Ok(format!("{} answered with {}", self.host, status.as_u16()));
        }
        let (words, hint) = match status.as_u16() {
            300..=399 => {
                let target = to.and_then(|to| self.url.join(to).ok()).map(|to| to.origin().ascii_serialization());
                let words = target.map(|target| format!("it would be led to {target}")).unwrap_or_default();
                (words, "write the address that it leads to into the section: bk does not follow with a secret")
            }
            200..=299 => {
                (self.secrets.words(words), "check the URL: the service does not know this check, or is too busy")
            }
            401 | 403 => (self.secrets.words(words), "check the token, and that it may write there"),
            404 | 410 => (self.secrets.words(words), "check the URL: the service does not know it any more"),
            429 => (self.secrets.words(words), "send less often there, or wait"),
            500.. => (self.secrets.words(words), "look at the log of that server"),
            _ => (self.secrets.words(words), "check the URL, and that its kind and template are those of the service"),
        };
        let error = NotifyError::Refused {
            channel: self.channel.to_owned(),
            host: self.host.clone(),
            status: status.as_u16(),
            words,
            hint,
        };
        let is_final = !(status.is_server_error() || status.as_u16() == 429);
        Err(Trouble { error: Box::new(error), wait, is_final })
    }

    fn unreached(&self, error: reqwest::Error) -> Trouble {
        let error = error.without_url();
        if let Some(problem) = certificate_problem(&error) {
            let (channel, host) = (self.channel.to_owned(), self.host.clone());
            let error = Box::new(NotifyError::Certificate { channel, host, problem });
            return Trouble { error, wait: None, is_final: true };
        }
        let timed_out = error.is_timeout();
        let mut problem = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            // The last cause is what the system said; those before it are layers.
            problem = cause.to_string();
            source = cause.source();
        }
        let problem = if timed_out { "it does not answer".to_owned() } else { self.secrets.words(&problem) };
        let error = NotifyError::NotReached { channel: self.channel.to_owned(), host: self.host.clone(), problem };
        Trouble { error: Box::new(error), wait: None, is_final: false }
    }

    fn too_late(&self, limit: Duration) -> NotifyError {
        let seconds = limit.as_secs_f64().ceil() as u64;
        NotifyError::TimeLimit { channel: self.channel.to_owned(), host: self.host.clone(), seconds }
    }
}

/// What was checked with the configuration cannot fail; what comes from a file is one line without control characters.
fn put(headers: &mut http::HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(mut value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

fn url(channel: &str, http: &Http) -> Result<(WebAddress, Url), NotifyError> {
    let (text, path) = match &http.address {
        Address::Said(url) => (Zeroizing::new(url.text().to_owned()), None),
        Address::File(path) => (secret::read(channel, "url-file", path)?, Some(path)),
    };
    let wrong = |problem: &str, hint: &str| match path {
        Some(path) => secret::content(channel, "url-file", path, problem, hint),
        None => NotifyError::Prepare { channel: channel.to_owned(), problem: format!("`url` {problem}") },
    };
    let address = WebAddress::parse(&text).map_err(|(problem, hint)| wrong(problem, hint))?;
    let url = Url::parse(&text).map_err(|_| wrong("is no URL", "copy it as the service shows it"))?;
    Ok((address, url))
}

fn client(channel: &str, http: &Http, patience: &Patience) -> Result<Client, NotifyError> {
    let mut building = http_client().connect_timeout(patience.connect);
    if let Some(path) = &http.ca_file {
        let pem = secret::file(channel, "ca-file", path)?;
        let wrong = || secret::content(channel, "ca-file", path, "holds no certificate", "write it as PEM");
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| wrong())?;
        if certificates.is_empty() {
            return Err(wrong());
        }
        building = certificates.into_iter().fold(building, reqwest::ClientBuilder::add_root_certificate);
    }
    building.build().map_err(|error| {
        let cause = error.source().map(ToString::to_string);
        NotifyError::Prepare { channel: channel.to_owned(), problem: cause.unwrap_or_else(|| error.to_string()) }
    })
}

/// What is wrong with the certificate of a server, when that is why an error came.
pub(super) fn certificate_problem(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(problem) = error.downcast_ref::<rustls::Error>() {
            return Some(in_words(problem));
        }
        // `io::Error` gives the source of what it holds, but not that itself; and it may hold another of its kind.
        cause = match error.downcast_ref::<std::io::Error>().map(std::io::Error::get_ref) {
            Some(inner) => inner.map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn in_words(problem: &rustls::Error) -> String {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    let rustls::Error::InvalidCertificate(certificate) = problem else { return problem.to_string() };
    match certificate {
        UnknownIssuer => "nobody whom this machine trusts has signed it".to_owned(),
        Expired | ExpiredContext { .. } => "it has expired".to_owned(),
        NotValidYet | NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        NotValidForName | NotValidForNameContext { .. } => "it is for another name".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_puts_at_the_end_of_a_url_leaves_the_rest_as_it_is() {
        let post = |below, query: Vec<(&'static str, String)>| Post {
            method: http::Method::GET,
            below,
            query,
            headers: Vec::new(),
            body: Vec::new(),
        };
        let to = |url: &str, post: &Post| complete(url.parse().unwrap(), post).to_string();
        assert_eq!(to("https://h/uuid/", &post("/fail", Vec::new())), "https://h/uuid/fail");
        assert_eq!(to("https://h/p/slug?create=1", &post("/start", Vec::new())), "https://h/p/slug/start?create=1");
        assert_eq!(to("https://h/x/", &post("", Vec::new())), "https://h/x/");
        let query = vec![("status", "down".to_owned()), ("msg", "a b&c".to_owned())];
        let expected = "https://h/api/push/t?x=1&status=down&msg=a+b%26c";
        assert_eq!(to("https://h/api/push/t?status=up&msg=OK&x=1", &post("", query)), expected);
    }
}
