//! HTTP for all remote stores: bodies flow in slices, at a pace; what stands still is given up; what the server asks to
//! wait is waited; and what moved is counted.
//!
//! There is no time for a whole request: 64 MiB take half an hour on a narrow way, and are alive all the time. A
//! request is dead when nothing of it has moved for a while.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use jiff::fmt::rfc2822;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use tokio::time::Sleep;

use super::pace::Pace;
use crate::store::Traffic;

/// A server that asks for more patience than this is asked again all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long nothing may move. A body is looked at so often: it is dead after one to two of these.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stillness {
    /// Of a question without a body, until its answer begins.
    pub answer: Duration,
    /// Of a body, ours or the server's. The last bytes of ours may lie in the system for as long.
    pub body: Duration,
}

/// What moved so far, of all connections of a store.
#[derive(Debug, Default)]
pub(super) struct Counted {
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counted {
    pub fn traffic(&self) -> Traffic {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Traffic { requests: read(&self.requests), sent_bytes: read(&self.sent), received_bytes: read(&self.received) }
    }
}

/// The connections of one store.
pub(super) struct Transport {
    client: reqwest::Client,
    stillness: Stillness,
    up: Option<Arc<Pace>>,
    down: Option<Arc<Pace>>,
    counted: Arc<Counted>,
}

impl Transport {
    /// Limits are in bytes per second.
    pub fn new(
        client: reqwest::Client,
        stillness: Stillness,
        limit_upload: Option<u64>,
        limit_download: Option<u64>,
    ) -> Self {
        let pace = |limit: Option<u64>| limit.map(Pace::new).map(Arc::new);
        Self { client, stillness, up: pace(limit_upload), down: pace(limit_download), counted: Arc::default() }
    }

    pub fn counted(&self) -> Arc<Counted> {
        Arc::clone(&self.counted)
    }

    async fn send(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, Error> {
        let (parts, body) = request.into_parts();
        let uri = parts.uri.to_string();
        let is_head = parts.method == http::Method::HEAD;
        let url = reqwest::Url::parse(&uri)
            .map_err(|error| Error::new(ErrorKind::Unexpected, "request url is invalid").set_source(error))?;
        let mut building = self.client.request(parts.method, url).headers(parts.headers).version(parts.version);
        let moved = Arc::new(AtomicU64::new(0));
        let mut still = self.stillness.answer;
        if !body.is_empty() {
            still = self.stillness.body;
            building = building.body(reqwest::Body::wrap(Sending {
                rest: body,
                pace: self.up.clone(),
                wait: None,
                moved: Arc::clone(&moved),
                counted: self.counted(),
            }));
        }
        let answer = match unless_still(building.send(), &moved, still).await {
            Some(answer) => answer.map_err(|error| {
                let temporary = error.is_request() || error.is_body() || error.is_decode();
                let source = error.without_url();
                Error::new(ErrorKind::Unexpected, "send http request").with_temporary(temporary).set_source(source)
            })?,
            None => return Err(stands_still("send http request", still)),
        };
        let (mut parts, body) = Response::from(answer).into_parts();
        let is_encoded = parts.headers.contains_key(header::CONTENT_ENCODING);
        let length = if is_head || is_encoded { None } else { content_length(&parts.headers) };
        // OpenDAL looks for it there.
        parts.extensions.insert(uri.parse::<http::Uri>().unwrap_or_default());
        let (pace, counted) = (self.down.clone(), self.counted());
        let still = self.stillness.body;
        let body = Receiving { body, pace, counted, still, ahead: None, waiting: None };
        Ok(Response::from_parts(parts, HttpBody::new(body, length)))
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        self.counted.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.send(request).await?;
        let Some(wait) = asked_wait(answer.status(), answer.headers()) else { return Ok(answer) };
        let (parts, mut body) = answer.into_parts();
        // The connection may not live as long.
        let words = body.to_buffer().await.unwrap_or_default();
        tokio::time::sleep(wait).await;
        Ok(Response::from_parts(parts, HttpBody::new(Once(Some(words)), None)))
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long the server asks to be left alone.
pub(crate) fn asked_wait(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    let wait = match asked.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // By the clock of the server, whatever that of this machine says.
        Err(_) => {
            let time = |text| rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
            let seconds = time(asked)?.as_second().saturating_sub(time(text(header::DATE)?)?.as_second());
            Duration::from_secs(u64::try_from(seconds).ok()?)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

fn stands_still(what: &str, still: Duration) -> Error {
    Error::new(ErrorKind::Unexpected, format!("{what}: nothing has moved for {} s", still.as_secs())).set_temporary()
}

/// Does it for as long as something moves.
async fn unless_still<T>(work: impl Future<Output = T>, moved: &AtomicU64, still: Duration) -> Option<T> {
    let mut work = pin!(work);
    let mut before = 0;
    loop {
        if let Ok(done) = tokio::time::timeout(still, work.as_mut()).await {
            return Some(done);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return None;
        }
        before = now;
    }
}

/// A body on its way to the server; its length is known from the beginning.
struct Sending {
    rest: Buffer,
    pace: Option<Arc<Pace>>,
    wait: Option<Pin<Box<Sleep>>>,
    moved: Arc<AtomicU64>,
    counted: Arc<Counted>,
}

/// Bytes that go at once where nothing limits them.
const SLICE: usize = 64 << 10;

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(self.pace.as_ref().map_or(SLICE, |pace| pace.slice_len()));
        if let Some(pace) = self.pace.clone() {
            let wait = self.wait.get_or_insert_with(|| pace.wait_for(length));
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        let slice = self.rest.slice(..length).to_bytes();
        self.rest = self.rest.slice(length..);
        self.moved.fetch_add(length as u64, Ordering::Relaxed);
        self.counted.sent.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A body on its way from the server.
struct Receiving {
    body: reqwest::Body,
    pace: Option<Arc<Pace>>,
    counted: Arc<Counted>,
    still: Duration,
    /// What has come before its time.
    ahead: Option<(Bytes, Pin<Box<Sleep>>)>,
    /// Since when nothing has come.
    waiting: Option<Pin<Box<Sleep>>>,
}

const RECEIVE: &str = "read data from http response";

impl Receiving {
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let still = self.still;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(still)));
                ready!(waiting.as_mut().poll(context));
                return Poll::Ready(Some(Err(stands_still(RECEIVE, still))));
            };
            self.waiting = None;
            let data = match frame {
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(error)) => {
                    let error = Error::new(ErrorKind::Unexpected, RECEIVE).set_source(error.without_url());
                    return Poll::Ready(Some(Err(error.set_temporary())));
                }
            };
            // Trailers are no data.
            if let Some(data) = data.ok().filter(|data| !data.is_empty()) {
                self.counted.received.fetch_add(data.len() as u64, Ordering::Relaxed);
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }
}

impl Stream for Receiving {
    type Item = Result<Buffer, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ahead.is_none() {
            let data = match ready!(self.poll_bytes(context)) {
                Some(Ok(data)) => data,
                other => return Poll::Ready(other.map(|result| result.map(Buffer::from))),
            };
            let Some(pace) = &self.pace else { return Poll::Ready(Some(Ok(Buffer::from(data)))) };
            let wait = pace.wait_for(data.len());
            self.ahead = Some((data, wait));
        }
        if let Some((_, wait)) = &mut self.ahead {
            ready!(wait.as_mut().poll(context));
        }
        Poll::Ready(self.ahead.take().map(|(data, _)| Ok(Buffer::from(data))))
    }
}

/// A body that is here already.
struct Once(Option<Buffer>);

impl Stream for Once {
    type Item = Result<Buffer, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().filter(|words| !words.is_empty()).map(Ok))
    }
}

#[cfg(test)]
mod tests;
