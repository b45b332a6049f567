//! What a bucket does on a bad day, request by request.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeSet;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body as _, Frame, SizeHint};

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// It is answered so and not served.
    Answer { status: u16, code: &'static str, message: &'static str, retry_after: Option<u64> },
    /// The connection ends before it is served.
    Reset,
    /// It is served, and the connection ends before the answer.
    LoseAnswer,
    /// The answer says its right length and ends in the middle.
    CutAnswer,
    /// A put that is answered as any, and of which a half is kept.
    Truncate,
    /// A list shows so many entries and calls itself whole.
    CutList(usize),
    /// A list shows only these objects.
    StaleList(BTreeSet<String>),
    /// It takes so long.
    Delay(Duration),
    /// The server is away from now on, for so long, with all its connections.
    GoAway(Duration),
    /// It is never answered; served before or not.
    Hold { served: bool },
    /// It waits until this is true, and is served then.
    Gate(Arc<AtomicBool>),
}

impl Trouble {
    /// An answer of a status and a code.
    pub const fn answer(status: u16, code: &'static str) -> Self {
        Self::Answer { status, code, message: "a bad day", retry_after: None }
    }

    /// Whether the request is served all the same.
    pub const fn is_served(&self) -> bool {
        !matches!(self, Self::Answer { .. } | Self::Reset | Self::GoAway(_) | Self::Hold { served: false })
    }
}

/// Requests whose kind, such as `PUT packs`, begins with `what`: some pass, then some meet the trouble.
#[derive(Debug, Clone)]
pub struct Rule {
    pub what: &'static str,
    pub skip: usize,
    pub times: usize,
    pub trouble: Trouble,
}

impl Rule {
    /// The next one.
    pub const fn once(what: &'static str, trouble: Trouble) -> Self {
        Self { what, skip: 0, times: 1, trouble }
    }

    /// All from now on.
    pub const fn always(what: &'static str, trouble: Trouble) -> Self {
        Self { what, skip: 0, times: usize::MAX, trouble }
    }

    /// After so many that pass.
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }
}

/// The trouble of this request: that of the first rule it meets.
pub fn meet(rules: &mut [Rule], kind: &str) -> Option<Trouble> {
    for rule in rules.iter_mut().filter(|rule| kind.starts_with(rule.what) && rule.times > 0) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        return Some(rule.trouble.clone());
    }
    None
}

/// All of a body.
pub async fn gather(mut body: s3s::Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.unwrap().into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes
}

/// A list with only the entries that are kept, by their place and key.
pub fn shorten(list: &str, keep: impl Fn(usize, &str) -> bool) -> String {
    let mut out = String::new();
    let mut rest = list;
    let mut at = 0;
    while let Some((before, after)) = rest.split_once("<Contents>") {
        let (entry, after) = after.split_once("</Contents>").unwrap();
        let key = entry.split_once("<Key>").unwrap().1.split_once("</Key>").unwrap().0;
        out.push_str(before);
        if keep(at, key) {
            out.push_str(&format!("<Contents>{entry}</Contents>"));
        }
        at += 1;
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A body that says its length and ends in the middle.
pub struct Cut {
    bytes: Vec<u8>,
    length: u64,
    /// What was sent shall arrive before the connection ends.
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Cut {
    pub fn of(mut bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        bytes.truncate(bytes.len() / 2);
        Self { bytes, length, wait: None }
    }
}

impl http_body::Body for Cut {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, std::io::Error>>> {
        if self.bytes.is_empty() {
            let wait = self.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(50))));
            std::task::ready!(wait.as_mut().poll(context));
            return Poll::Ready(Some(Err(std::io::Error::other("cut"))));
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes).into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
