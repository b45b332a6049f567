//! A real S3 server in the test's process, on a free port of the loopback, which checks signatures and counts requests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub const KEY_ID: &str = "test-access-key";
pub const SECRET: &str = "canary-Xw3-secret-access-key";
pub const BUCKET: &str = "backups";

#[derive(Default)]
struct State {
    /// Requests by method and the first folder of the object, such as `PUT packs`.
    counts: BTreeMap<String, usize>,
    /// How the next requests are answered instead of being served.
    refusals: Vec<Refusal>,
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
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (service, state) = (service.clone(), Arc::clone(&shared));
                let serve = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let service = service.clone();
                    let refusal = note(&state, &request);
                    async move {
                        let Some(refusal) = refusal else {
                            return hyper::service::Service::call(&service, request).await;
                        };
                        let Refusal { status, code, .. } = refusal;
                        let text = format!("<Error><Code>{code}</Code><Message>a bad day</Message></Error>");
                        let body = if request.method() == http::Method::HEAD { String::new() } else { text };
                        Ok(http::Response::builder().status(status).body(s3s::Body::from(body)).unwrap())
                    }
                });
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), serve).await;
                });
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
        self.state.lock().unwrap().refusals.extend(refusals);
    }

    /// Refusals that no request has met yet.
    pub fn refusals_left(&self) -> usize {
        self.state.lock().unwrap().refusals.len()
    }

    /// Forgets those.
    pub fn refuse_no_more(&self) {
        self.state.lock().unwrap().refusals.clear();
    }

    /// The requests since the last call, by kind.
    pub fn take_counts(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.state.lock().unwrap().counts)
    }
}

fn note<B>(state: &Mutex<State>, request: &http::Request<B>) -> Option<Refusal> {
    let method = request.method().as_str();
    let kind = kind(method, request.uri().path(), request.uri().query().unwrap_or_default());
    let mut state = state.lock().unwrap();
    *state.counts.entry(kind).or_default() += 1;
    let at = state.refusals.iter().position(|refusal| refusal.method == method)?;
    Some(state.refusals.remove(at))
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
