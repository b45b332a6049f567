//! From a location and its settings to connections: what is spoken, how long is waited, what is tried again.

use std::sync::Arc;
use std::time::Duration;

use opendal::layers::{RetryEvent, RetryLayer, TimeoutLayer};
use opendal::services::{S3, Webdav};
use opendal::{Error, HttpTransporter, OperationContext, Operator};

use super::rest::Rest;
use super::transport::{Counted, Stillness, Transport};
use super::{Credentials, trouble};
use crate::store::location::{Remote, Service};
use crate::store::{Stop, StoreError};

/// How long nothing may move.
const STILLNESS: Stillness = Stillness { answer: Duration::from_secs(60), body: Duration::from_secs(90) };

/// A net below that: no single request takes so long, not even at the pace of a narrow limit.
const LONGEST_REQUEST: Duration = Duration::from_secs(24 * 3600);

/// For how long a server that is away or busy is asked again, unless the configuration says.
const RETRY_FOR: Duration = Duration::from_secs(180);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The first pause between two tries; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Bytes on their way that nobody has confirmed for so long: the connection is dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// What the configuration says about a remote repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// URL of the server.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// Whether the bucket is a part of the path and not of the host name.
    pub path_style: Option<bool>,
    /// Storage class of new objects.
    pub storage_class: Option<String>,
    /// How the server encrypts new objects once more.
    pub sse: Option<String>,
    /// The key of its key service that it does that with.
    pub sse_kms_key: Option<String>,
    /// At most so many bytes per second to the server.
    pub limit_upload: Option<u64>,
    /// At most so many bytes per second from the server.
    pub limit_download: Option<u64>,
    /// For how long a server that is away or busy is asked again.
    pub retry_for: Option<Duration>,
    /// Arguments for ssh.
    pub ssh_options: Vec<String>,
    /// Set when nobody waits any more.
    pub stop: Stop,
}

pub(super) struct Operators {
    pub first: Operator,
    pub patient: Operator,
    pub counted: Arc<Counted>,
}

/// Retries are told to nobody: OpenDAL would log headers.
fn silent(_: RetryEvent<'_>) {}

/// How everything in bk speaks HTTP: with the certificate authorities of the system, and nowhere but where it was told
/// to. A redirect could lead what is secret to another host.
pub(crate) fn http_client() -> reqwest::ClientBuilder {
    // Another part of the process may have chosen one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("bk/", env!("CARGO_PKG_VERSION")))
}

fn client(location: &str) -> Result<reqwest::Client, StoreError> {
    http_client()
        .connect_timeout(Duration::from_secs(20))
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_user_timeout(DEAD_AFTER)
        .build()
        .map_err(|error| StoreError::from_io("open", "connections", location, std::io::Error::other(error)))
}

/// How many pauses, none longer than `longest`, make up `time`.
fn tries(time: Duration, longest: Duration) -> usize {
    let pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(longest)));
    let mut left = time;
    let within = pauses.take_while(|pause| {
        let fits = !left.is_zero();
        left = left.saturating_sub(*pause);
        fits
    });
    within.count()
}

/// Retries only what OpenDAL knows to be temporary.
fn with_patience(operator: Operator, retries: usize, longest_wait: Duration) -> Operator {
    let retry = RetryLayer::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(longest_wait)
        .with_max_times(retries)
        .with_jitter()
        .with_notify(silent);
    // In this order: a try that timed out is tried again.
    let timeout = TimeoutLayer::new().with_timeout(LONGEST_REQUEST).with_io_timeout(LONGEST_REQUEST);
    operator.layer(timeout).layer(retry)
}

/// Connections to a remote place. No request is made yet.
pub(super) fn operators(
    remote: &Remote,
    settings: &Settings,
    credentials: Option<&Credentials>,
) -> Result<Operators, StoreError> {
    let location = remote.to_string();
    if !settings.ssh_options.is_empty() {
        return Err(Wrong("is not behind SSH", "take `ssh-options` out of its section").of(&location));
    }
    let failed = |error: Error| trouble::store_error("open", "it", &location, credentials, &error);
    let operator = match remote.service {
        Service::S3 | Service::B2 => {
            Operator::new(s3(remote, settings, credentials).map_err(|wrong| wrong.of(&location))?)
        }
        Service::WebDav | Service::WebDavs => {
            Operator::new(webdav(remote, settings, credentials).map_err(|wrong| wrong.of(&location))?)
        }
        Service::Rest | Service::Rests => {
            Operator::new(rest(remote, settings, credentials).map_err(|wrong| wrong.of(&location))?)
        }
        Service::Sftp => return Err(Wrong("is no place of HTTP", "open it as a folder behind SSH").of(&location)),
    };
    let transport = Transport::new(client(&location)?, STILLNESS, settings.limit_upload, settings.limit_download);
    let counted = transport.counted();
    let transport = HttpTransporter::new(transport);
    let operator = operator.map_err(failed)?.with_context(OperationContext::new().with_http_transport(transport));
    let retry_for = settings.retry_for.unwrap_or(RETRY_FOR);
    Ok(Operators {
        first: with_patience(operator.clone(), tries(retry_for, LONGEST_PAUSE).min(2), Duration::from_secs(2)),
        patient: with_patience(operator, tries(retry_for, LONGEST_PAUSE), LONGEST_PAUSE),
        counted,
    })
}

/// What is wrong with the settings, and the next step.
struct Wrong(&'static str, &'static str);

impl Wrong {
    fn of(self, location: &str) -> StoreError {
        StoreError::Settings { location: location.to_owned(), problem: self.0, hint: self.1 }
    }
}

const NO_CREDENTIALS: Wrong = Wrong(
    "has no credentials",
    "say `credentials-file` in its section of bk.toml, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
);

fn endpoint(settings: &Settings) -> Result<Option<&str>, Wrong> {
    let Some(endpoint) = settings.endpoint.as_deref() else { return Ok(None) };
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty() || host.contains(['@', '?', '#']) || host.contains(char::is_whitespace) {
        return Err(Wrong("has an `endpoint` that is no URL of a server", "write it so: \"https://s3.example.org\""));
    }
    Ok(Some(endpoint.trim_end_matches('/')))
}

fn s3(remote: &Remote, settings: &Settings, credentials: Option<&Credentials>) -> Result<S3, Wrong> {
    let credentials = credentials.ok_or(NO_CREDENTIALS)?;
    // A location that names its server means that one, whatever the environment says of others.
    let endpoint = match &remote.endpoint {
        Some(endpoint) => Some(endpoint.clone()),
        None => endpoint(settings)?.map(str::to_owned),
    };
    let has_server = endpoint.is_some();
    let region = settings.region.as_deref().or_else(|| remote.endpoint.as_deref().and_then(region_of));
    let (endpoint, region) = match (remote.service, endpoint, region) {
        (Service::B2, None, Some(region)) => (format!("https://s3.{region}.backblazeb2.com"), region),
        (Service::B2, None, None) => {
            return Err(Wrong(
                "needs the region of its bucket",
                "say `region = \"eu-central-003\"` in its section of bk.toml, or AWS_REGION; the page of your buckets shows it",
            ));
        }
        (_, None, Some(region)) => (format!("https://s3.{region}.amazonaws.com"), region),
        (_, None, None) => {
            return Err(Wrong(
                "needs the region of its bucket, or the endpoint of its server",
                "say `region = \"eu-central-1\"`, or `endpoint = \"https://…\"`, in its section of bk.toml, or AWS_REGION",
            ));
        }
        // Most servers of one's own sign for this one, or for none.
        (_, Some(endpoint), region) => (endpoint, region.unwrap_or("us-east-1")),
    };
    let mut s3 = S3::default()
        .bucket(&remote.place)
        .root(&format!("/{}", remote.path))
        .endpoint(&endpoint)
        .region(region)
        .access_key_id(&credentials.id)
        .secret_access_key(&credentials.secret)
        // Neither files nor services of the cloud are asked: what opens a repository is said in its configuration.
        .disable_config_load()
        .disable_ec2_metadata()
        .checksum_algorithm("crc32c");
    if let Some(token) = &credentials.token {
        s3 = s3.session_token(token);
    }
    if let Some(class) = &settings.storage_class {
        s3 = s3.default_storage_class(class);
    }
    if let Some(way) = &settings.sse {
        s3 = s3.server_side_encryption(way);
    }
    if let Some(key) = &settings.sse_kms_key {
        s3 = s3.server_side_encryption_aws_kms_key_id(key);
    }
    // AWS wants the bucket in the host name; servers of one's own rarely have such names.
    let path_style = settings.path_style.unwrap_or(has_server || remote.service == Service::B2);
    Ok(if path_style { s3 } else { s3.enable_virtual_host_style() })
}

/// The region that the name of a server says, of services that have one for each.
fn region_of(endpoint: &str) -> Option<&str> {
    let (_, host) = endpoint.split_once("://")?;
    let region = host.strip_prefix("s3.")?;
    let region = region.strip_suffix(".amazonaws.com").or_else(|| region.strip_suffix(".backblazeb2.com"))?;
    Some(region).filter(|region| !region.contains('.'))
}

fn refuse_settings_of_buckets(settings: &Settings) -> Result<(), Wrong> {
    let of_buckets =
        [&settings.endpoint, &settings.region, &settings.storage_class, &settings.sse, &settings.sse_kms_key];
    if of_buckets.iter().all(|setting| setting.is_none()) {
        return Ok(());
    }
    Err(Wrong("is no bucket", "take `endpoint`, `region`, `storage-class`, `sse` and `sse-kms-key` out of its section"))
}

fn rest(remote: &Remote, settings: &Settings, credentials: Option<&Credentials>) -> Result<Rest, Wrong> {
    refuse_settings_of_buckets(settings)?;
    let scheme = if remote.service == Service::Rests { "https" } else { "http" };
    let login = credentials.map(|known| (remote.user.as_deref().unwrap_or(&known.id), known.secret.as_str()));
    let no_header = "has a user or password that cannot be sent";
    Rest::new(scheme, &remote.place, &remote.path, login).map_err(|_| {
        Wrong(no_header, "give both in `credentials-file`, or RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD")
    })
}

fn webdav(remote: &Remote, settings: &Settings, credentials: Option<&Credentials>) -> Result<Webdav, Wrong> {
    refuse_settings_of_buckets(settings)?;
    let scheme = if remote.service == Service::WebDavs { "https" } else { "http" };
    let mut webdav =
        Webdav::default().endpoint(&format!("{scheme}://{}", remote.place)).root(&format!("/{}", remote.path));
    if let Some(credentials) = credentials {
        webdav = webdav.username(remote.user.as_deref().unwrap_or(&credentials.id)).password(&credentials.secret);
    }
    Ok(webdav)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(location: &str, settings: &Settings, credentials: Option<&Credentials>) -> String {
        let crate::store::Location::Remote(remote) =
            crate::store::Location::parse(location, std::path::Path::new("/")).unwrap()
        else {
            panic!("{location} is remote");
        };
        operators(&remote, settings, credentials)
            .err()
            .map(|error| format!("{error}; {}", error.hint()))
            .unwrap_or_default()
    }

    #[test]
    fn pauses_make_up_the_time_that_was_asked_for() {
        let seconds = |seconds| tries(Duration::from_secs(seconds), LONGEST_PAUSE);
        assert_eq!((seconds(0), seconds(1), seconds(3), seconds(180), seconds(3600)), (0, 2, 3, 9, 66));
    }

    #[test]
    fn the_name_of_a_server_says_the_region_where_there_is_one_for_each() {
        assert_eq!(region_of("https://s3.eu-central-1.amazonaws.com"), Some("eu-central-1"));
        assert_eq!(region_of("https://s3.eu-central-003.backblazeb2.com"), Some("eu-central-003"));
        for endpoint in ["https://s3.amazonaws.com", "https://s3.example.org", "http://127.0.0.1:9000"] {
            assert_eq!(region_of(endpoint), None, "{endpoint}");
        }
    }

    #[test]
    fn what_is_missing_in_the_settings_is_said_with_the_next_step() {
        let credentials = Credentials::new("id".into(), "secret-canary".into(), None);
        let region = Settings { region: Some("eu-central-003".into()), ..Settings::default() };
        assert!(problem("b2://b/x", &region, None).contains("has no credentials; say `credentials-file`"));
        assert!(problem("b2://b/x", &Settings::default(), Some(&credentials)).contains("needs the region"));
        assert!(problem("s3://b/x", &Settings::default(), Some(&credentials)).contains("or the endpoint"));
        for endpoint in ["s3.example.org", "https://me:pw@host", "https://"] {
            let settings = Settings { endpoint: Some(endpoint.into()), ..Settings::default() };
            assert!(problem("s3://b/x", &settings, Some(&credentials)).contains("no URL of a server"), "{endpoint}");
        }
        assert_eq!(problem("b2://b/x", &region, Some(&credentials)), "");
        assert!(problem("webdavs://h/x", &region, Some(&credentials)).contains("is no bucket"));
    }
}
