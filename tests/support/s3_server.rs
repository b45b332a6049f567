//! A real S3 server in the test's process, on a free port of the loopback, which checks signatures and counts requests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[path = "bad_day.rs"]
pub mod bad_day;

use bad_day::{Cut, Rule, Trouble};

pub const KEY_ID: &str = "test-access-key";
pub const SECRET: &str = "canary-Xw3-secret-access-key";
pub const BUCKET: &str = "backups";

#[derive(Default)]
struct State {
    /// Requests by method and the first folder of the object, such as `PUT packs`.
    counts: BTreeMap<String, usize>,
    /// All of them with their times.
    log: Vec<(String, Instant)>,
    /// What happens to the next requests instead of being served, or besides.
    rules: Vec<Rule>,
    /// Requests that are never answered, or wait at a gate.
    held: usize,
    /// The server is away until then.
    away: Option<Instant>,
    /// When objects are taken, in seconds since 1970, where that is not now.
    takes_at: Option<u64>,
}

/// An answer that the service would give on a bad day.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    /// Only requests of this method.
    pub method: &'static str,
}

/// Stops when it goes.
pub struct S3Server {
    endpoint: String,
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    runtime: Option<Runtime>,
}

/// `GET keys`, `PUT packs`, `LIST marks`.
fn kind(method: &str, path: &str, query: &str) -> String {
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix="));
    let below = prefix.map(|prefix| prefix.replace("%2F", "/")).unwrap_or_else(|| path.to_owned());
    let areas = ["config", "keys", "packs", "index", "snapshots", "facts", "marks", "tmp"];
    let area = below.split('/').find(|part| areas.contains(part)).unwrap_or("other");
    let method = if query.contains("list-type=2") { "LIST" } else { method };
    format!("{method} {area}")
}

impl S3Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = format!("http://{address}");
        let state = Arc::new(Mutex::new(State::default()));
        let bucket = Arc::new(Bucket { service, state: Arc::clone(&state), folder: folder.path().to_owned() });
        runtime.spawn(async move {
            let mut listener = Some(listener);
            let mut connections = Vec::new();
            loop {
                let away = bucket.state.lock().unwrap().away;
                if let Some(until) = away {
                    drop(listener.take());
                    connections.drain(..).for_each(|connection: tokio::task::JoinHandle<()>| connection.abort());
                    // It may come back earlier.
                    while bucket.state.lock().unwrap().away.is_some() && Instant::now() < until {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    bucket.state.lock().unwrap().away = None;
                }
                if listener.is_none() {
                    listener = Some(TcpListener::bind(address).await.unwrap());
                }
                let Some(open) = &listener else { continue };
                // Now and then somebody may want it to go away.
                let accepted = tokio::time::timeout(Duration::from_millis(20), open.accept()).await;
                let Ok(Ok((socket, _))) = accepted else { continue };
                let _ = socket.set_nodelay(true);
                let bucket = Arc::clone(&bucket);
                let serve = hyper::service::service_fn(move |request| Arc::clone(&bucket).serve(request));
                connections.push(tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), serve).await;
                }));
            }
        });
        Self { endpoint, folder, state, runtime: Some(runtime) }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where an object lies on the server's disk.
    pub fn object(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(BUCKET).join(path)
    }

    /// The next request of the method is answered so, and the one after it by the next refusal.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = Refusal>) {
        let rule = |Refusal { status, code, method }| Rule::once(method, Trouble::answer(status, code));
        self.plan(refusals.into_iter().map(rule));
    }

    /// What happens to the next requests, besides what is planned already.
    pub fn plan(&self, rules: impl IntoIterator<Item = Rule>) {
        self.state.lock().unwrap().rules.extend(rules);
    }

    /// Refusals that no request has met yet.
    pub fn refusals_left(&self) -> usize {
        self.state.lock().unwrap().rules.iter().map(|rule| rule.times).sum()
    }

    /// It is away from now on, with all its connections, until it is told to come back.
    pub fn go_away(&self) {
        self.state.lock().unwrap().away = Some(Instant::now() + Duration::from_secs(3600));
        let address = self.endpoint.trim_start_matches("http://");
        let begin = Instant::now();
        while std::net::TcpStream::connect(address).is_ok() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the server does not go away");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// From now on objects are as old as if they came at this time, in seconds since 1970: for simulations.
    pub fn take_at(&self, seconds: u64) {
        self.state.lock().unwrap().takes_at = Some(seconds);
    }

    /// One that went away is there again, at once. Whoever asks before it listens is refused.
    pub fn come_back(&self) {
        self.state.lock().unwrap().away = None;
        let address = self.endpoint.trim_start_matches("http://");
        let begin = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the server does not come back");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// From now on it is a good day.
    pub fn refuse_no_more(&self) {
        self.state.lock().unwrap().rules.clear();
    }

    /// Requests that are never answered, or came to a gate.
    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held
    }

    /// When requests of a kind came.
    pub fn times_of(&self, kind: &str) -> Vec<Instant> {
        let state = self.state.lock().unwrap();
        state.log.iter().filter(|(logged, _)| logged == kind).map(|(_, time)| *time).collect()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> BTreeSet<String> {
        fn below(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    below(&entry.path(), root, found);
                } else {
                    found.insert(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = BTreeSet::new();
        below(&self.object(""), &self.object(""), &mut found);
        found
    }

    /// The requests since the last call, by kind.
    pub fn take_counts(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.state.lock().unwrap().counts)
    }
}

/// What serves a request.
struct Bucket {
    service: S3Service,
    state: Arc<Mutex<State>>,
    folder: PathBuf,
}

type Answer = http::Response<s3s::Body>;

impl Bucket {
    /// Notes it, and looks whether it meets a trouble.
    fn note(&self, request: &http::Request<Incoming>) -> Option<Trouble> {
        let uri = request.uri();
        let kind = kind(request.method().as_str(), uri.path(), uri.query().unwrap_or_default());
        let mut state = self.state.lock().unwrap();
        *state.counts.entry(kind.clone()).or_default() += 1;
        state.log.push((kind.clone(), Instant::now()));
        let by_kind = bad_day::meet(&mut state.rules, &kind);
        // A list is a GET, too.
        by_kind.or_else(|| kind.starts_with("LIST").then(|| bad_day::meet(&mut state.rules, "GET")).flatten())
    }

    /// What was just written is as old as the simulation wants: Last-Modified is the time of the file.
    fn stamp(&self, object: &Path) {
        let Some(seconds) = self.state.lock().unwrap().takes_at else { return };
        // A part of an upload is no file under this name yet.
        if let Ok(file) = std::fs::File::options().write(true).open(object) {
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
    }

    async fn serve(self: Arc<Self>, request: http::Request<Incoming>) -> Result<Answer, std::io::Error> {
        let trouble = self.note(&request);
        let is_head = request.method() == http::Method::HEAD;
        let object = self.folder.join(request.uri().path().trim_start_matches('/'));
        let lost = || Err(std::io::Error::other("a bad day"));
        if let Some(Trouble::Gate(open)) = &trouble {
            self.state.lock().unwrap().held += 1;
            while !open.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let writes = [http::Method::PUT, http::Method::POST].contains(request.method());
        let served = match trouble.as_ref().is_none_or(Trouble::is_served) {
            true => Some(hyper::service::Service::call(&self.service, request).await.unwrap()),
            false => None,
        };
        if writes {
            self.stamp(&object);
        }
        match (trouble, served) {
            (None | Some(Trouble::Gate(_)), Some(answer)) => Ok(answer),
            (Some(Trouble::Delay(time)), Some(answer)) => {
                tokio::time::sleep(time).await;
                Ok(answer)
            }
            (Some(Trouble::Answer { status, code, message, retry_after }), _) => {
                let text = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
                let mut answer = http::Response::builder().status(status);
                if let Some(seconds) = retry_after {
                    answer = answer.header("Retry-After", seconds);
                }
                Ok(answer.body(s3s::Body::from(if is_head { String::new() } else { text })).unwrap())
            }
            (Some(Trouble::CutAnswer), Some(answer)) => {
                let (parts, body) = answer.into_parts();
                Ok(http::Response::from_parts(parts, s3s::Body::http_body(Cut::of(bad_day::gather(body).await))))
            }
            (Some(Trouble::Truncate), Some(answer)) => {
                let file = std::fs::OpenOptions::new().write(true).open(object).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
                Ok(answer)
            }
            (Some(Trouble::CutList(length)), Some(answer)) => Ok(relisted(answer, |at, _| at < length).await),
            (Some(Trouble::StaleList(known)), Some(answer)) => Ok(relisted(answer, |_, key| known.contains(key)).await),
            (Some(Trouble::GoAway(time)), _) => {
                self.state.lock().unwrap().away = Some(Instant::now() + time);
                lost()
            }
            (Some(Trouble::Hold { .. }), _) => {
                self.state.lock().unwrap().held += 1;
                std::future::pending().await
            }
            _ => lost(),
        }
    }
}

async fn relisted(answer: Answer, keep: impl Fn(usize, &str) -> bool) -> Answer {
    let (mut parts, body) = answer.into_parts();
    let list = String::from_utf8(bad_day::gather(body).await).unwrap();
    parts.headers.remove(http::header::CONTENT_LENGTH);
    http::Response::from_parts(parts, s3s::Body::from(bad_day::shorten(&list, keep)))
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
