//! restic's REST protocol, version 2, as a service of OpenDAL: its manual, "REST Backend API".
//!
//! It knows the objects of restic's format and no others, no folders but those of its areas, and no times: an object
//! seems to be as old as the answer that names it, so that nobody takes it for one that was forgotten.
//!
//! Whether an object appears whole or not at all is up to the server. rest-server sees to it; others may show what they
//! have so far.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use opendal::raw::{
    OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir, RpPresign,
    RpRead, RpRename, RpStat, Service, ServiceInfo, Timestamp, format_authorization_by_basic, new_request_build_error,
    oio, parse_content_length, parse_content_range,
};
use opendal::{
    Buffer, Builder, BytesRange, Capability, Error, ErrorKind, HttpBody, Metadata, MetadataBuilder, OperationContext,
    Result,
};
use serde::Deserialize;

use super::trouble::UNKNOWN_LOGIN;
use crate::clock::{Clock as _, SystemClock};
use crate::store::ResticArea;

/// Asks for lists with lengths.
const VERSION_2: &str = "application/vnd.x.restic.rest.v2";

/// As many characters of an answer as an error repeats.
const MOST_WORDS: usize = 200;

/// A repository behind a server.
#[derive(Clone, Default)]
pub(super) struct Rest {
    /// URL, with `/` at its end.
    root: String,
    authorization: Option<String>,
}

/// What is in it may be a password.
impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("root", &self.root).finish_non_exhaustive()
    }
}

/// An object as a list of version 2 shows it.
#[derive(Deserialize)]
struct Entry {
    name: String,
    size: u64,
}

impl Rest {
    /// The server at `place`, with a user and password where it wants them.
    pub fn new(scheme: &str, place: &str, path: &str, login: Option<(&str, &str)>) -> Result<Self> {
        let slash = if path.is_empty() { "" } else { "/" };
        let authorization = login.map(|(user, password)| format_authorization_by_basic(user, password)).transpose()?;
        Ok(Self { root: format!("{scheme}://{place}/{path}{slash}"), authorization })
    }

    /// Where an object is, or a folder: packs lie in no folders of their first digits here.
    fn url(&self, path: &str) -> Result<String> {
        let folders = || ResticArea::ALL.into_iter().filter(|area| *area != ResticArea::Config);
        let is_area = |name: &str| folders().any(|area| area.folder() == name);
        let path = match path.split('/').collect::<Vec<_>>()[..] {
            ["config"] => path.to_owned(),
            ["data", _, name] => format!("data/{name}"),
            [area, _] if is_area(area) => path.to_owned(),
            _ => return Err(Error::new(ErrorKind::Unsupported, "a REST server takes objects of restic's format only")),
        };
        Ok(format!("{}{path}", self.root))
    }

    fn request(&self, method: Method, url: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(url).header(header::ACCEPT, VERSION_2);
        match &self.authorization {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        }
    }

    async fn send(
        &self,
        context: &OperationContext,
        method: Method,
        url: &str,
        body: Buffer,
    ) -> Result<Response<Buffer>> {
        let mut request = self.request(method.clone(), url);
        if method == Method::POST {
            request = request.header(header::CONTENT_LENGTH, body.len());
            request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        }
        let request = request.body(body).map_err(new_request_build_error)?;
        context.http_transport().send(request).await
    }

    async fn look(&self, context: &OperationContext, path: &str) -> Result<Metadata> {
        let answer = self.send(context, Method::HEAD, &self.url(path)?, Buffer::new()).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer));
        }
        let size = parse_content_length(answer.headers())?;
        let size = size.ok_or_else(|| strange("the server does not say how long the object is"))?;
        let mut metadata = MetadataBuilder::file(size);
        metadata.last_modified(time_of(answer.headers())?);
        Ok(metadata.build())
    }
}

/// When the server answered, by its clock; by ours where it does not say.
fn time_of(headers: &HeaderMap) -> Result<Timestamp> {
    let said = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    match said.and_then(|date| Timestamp::parse_rfc2822(date).ok()) {
        Some(time) => Ok(time),
        None => Timestamp::from_second(SystemClock.wall().seconds),
    }
}

fn strange(words: &'static str) -> Error {
    Error::new(ErrorKind::Unexpected, words)
}

/// What an answer that is no success means.
fn refusal(answer: Response<Buffer>) -> Error {
    let (parts, body) = answer.into_parts();
    let status = parts.status;
    let (kind, code) = match status {
        StatusCode::NOT_FOUND => (ErrorKind::NotFound, ""),
        StatusCode::UNAUTHORIZED => (ErrorKind::PermissionDenied, UNKNOWN_LOGIN),
        StatusCode::FORBIDDEN => (ErrorKind::PermissionDenied, "AccessDenied"),
        StatusCode::RANGE_NOT_SATISFIABLE => (ErrorKind::RangeNotSatisfied, ""),
        StatusCode::TOO_MANY_REQUESTS => (ErrorKind::RateLimited, ""),
        _ => (ErrorKind::Unexpected, ""),
    };
    let words: String = String::from_utf8_lossy(&body.to_bytes())
        .chars()
        .map(|one| if one == '"' || one.is_control() { ' ' } else { one })
        .take(MOST_WORDS)
        .collect();
    let message = match (code, words.trim()) {
        ("", "") => status.to_string(),
        ("", words) => format!("{status}: {words}"),
        (code, words) => format!("code: \"{code}\", message: \"{words}\""),
    };
    // Where `trouble` looks for it.
    let error = Error::new(kind, message).with_context("status", status.as_u16());
    let passes = matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504);
    if passes { error.set_temporary() } else { error }
}

impl Builder for Rest {
    type Config = ();

    fn build(self) -> Result<impl Service> {
        Ok(self)
    }
}

impl Service for Rest {
    type Reader = oio::StreamReader<Reading>;
    type Writer = oio::OneShotWriter<Writing>;
    type Lister = oio::PageLister<Listing>;
    type Deleter = oio::OneShotDeleter<Deleting>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::new("restic-rest", "/", "")
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_empty: true,
            create_dir: true,
            delete: true,
            list: true,
            list_with_recursive: true,
            shared: true,
            ..Capability::default()
        }
    }

    /// Only of the whole repository: there are no other folders.
    async fn create_dir(&self, context: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        let url = format!("{}?create=true", self.root);
        let answer = self.send(context, Method::POST, &url, Buffer::new()).await?;
        if answer.status().is_success() { Ok(RpCreateDir::default()) } else { Err(refusal(answer)) }
    }

    async fn stat(&self, context: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        self.look(context, path).await.map(RpStat::new)
    }

    fn read(&self, context: &OperationContext, path: &str, _: OpRead) -> Result<Self::Reader> {
        Ok(oio::StreamReader::new(Reading(Asked::new(self, context, path)?)))
    }

    fn write(&self, context: &OperationContext, path: &str, _: OpWrite) -> Result<Self::Writer> {
        let asked = Asked::new(self, context, path)?;
        Ok(oio::OneShotWriter::new(Writing { asked, was_tried: AtomicBool::new(false) }))
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(Deleting { rest: self.clone(), context: context.clone() }))
    }

    fn list(&self, context: &OperationContext, path: &str, _: OpList) -> Result<Self::Lister> {
        Ok(oio::PageLister::new(Listing(Asked::new(self, context, path)?)))
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<()> {
        Err(unsupported())
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        Err(unsupported())
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(unsupported())
    }
}

fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "the REST protocol knows no such request")
}

/// One object or folder that something is asked of.
pub(super) struct Asked {
    rest: Rest,
    context: OperationContext,
    path: String,
    url: String,
}

impl Asked {
    fn new(rest: &Rest, context: &OperationContext, path: &str) -> Result<Self> {
        Ok(Self { rest: rest.clone(), context: context.clone(), path: path.to_owned(), url: rest.url(path)? })
    }
}

/// An object that is read.
pub(super) struct Reading(Asked);

impl oio::StreamRead for Reading {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let Self(asked) = self;
        let mut request = asked.rest.request(Method::GET, &asked.url);
        if !range.is_full() {
            request = request.header(header::RANGE, range.to_header());
        }
        let request = request.body(Buffer::new()).map_err(new_request_build_error)?;
        let (parts, mut body) = asked.context.http_transport().fetch(request).await?.into_parts();
        if !parts.status.is_success() {
            let words = body.to_buffer().await?;
            return Err(refusal(Response::from_parts(parts, words)));
        }
        let answer = Response::from_parts(parts, body);
        let size = size_of_answer(&answer, &range)?;
        Ok((RpRead::new(MetadataBuilder::file(size).build()), Box::new(answer.into_body())))
    }
}

/// The length of the object, when the answer is what was asked for and not something else of it.
fn size_of_answer(answer: &Response<HttpBody>, range: &BytesRange) -> Result<u64> {
    let length = parse_content_length(answer.headers())?;
    let length = length.ok_or_else(|| strange("the server does not say how much it sends"))?;
    if range.is_full() {
        return Ok(length);
    }
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(strange("the server sends the whole object where a part of it was asked for"));
    }
    let said = parse_content_range(answer.headers())?;
    let is_asked = said.as_ref().and_then(|said| said.range_inclusive()).is_some_and(|bytes| {
        let (first, last) = bytes.into_inner();
        let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
        first == range.offset() && count == Some(length) && range.size().is_none_or(|size| length <= size)
    });
    if !is_asked {
        return Err(strange("the server sends another part of the object than was asked for"));
    }
    Ok(said.and_then(|said| said.size()).unwrap_or(range.offset().saturating_add(length)))
}

/// An object that is put.
pub(super) struct Writing {
    asked: Asked,
    was_tried: AtomicBool,
}

impl oio::OneShotWrite for Writing {
    async fn write_once(&self, bytes: Buffer) -> Result<Metadata> {
        let Asked { rest, context, path, url } = &self.asked;
        let metadata = MetadataBuilder::file(bytes.len() as u64).build();
        let was_tried = self.was_tried.swap(true, Ordering::Relaxed);
        let answer = rest.send(context, Method::POST, url, bytes).await?;
        if answer.status().is_success() {
            return Ok(metadata);
        }
        // So servers say that the name is taken.
        if answer.status() == StatusCode::FORBIDDEN
            && let Ok(there) = rest.look(context, path).await
        {
            // Of the try before only the answer was lost.
            if was_tried && there.content_length() == metadata.content_length() {
                return Ok(metadata);
            }
            return Err(Error::new(ErrorKind::AlreadyExists, "the server has the object already"));
        }
        Err(refusal(answer))
    }
}

/// Objects that are deleted.
pub(super) struct Deleting {
    rest: Rest,
    context: OperationContext,
}

impl oio::OneShotDelete for Deleting {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        let url = self.rest.url(&path)?;
        let answer = self.rest.send(&self.context, Method::DELETE, &url, Buffer::new()).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(refusal(answer)),
        }
    }
}

/// A folder that is listed, all at once.
pub(super) struct Listing(Asked);

impl oio::PageList for Listing {
    async fn next_page(&self, page: &mut oio::PageContext) -> Result<()> {
        let Self(Asked { rest, context, path, url }) = self;
        let answer = rest.send(context, Method::GET, url, Buffer::new()).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer));
        }
        let time = time_of(answer.headers())?;
        // Of an empty folder some say `null`.
        let entries: Option<Vec<Entry>> = serde_json::from_slice(&answer.body().to_bytes())
            .map_err(|error| strange("the server sends no list of version 2 of the REST protocol").set_source(error))?;
        for Entry { name, size } in entries.unwrap_or_default() {
            let folder = name.get(..2).filter(|_| path == "data/").map_or(String::new(), |first| format!("{first}/"));
            let mut metadata = MetadataBuilder::file(size);
            metadata.last_modified(time);
            page.entries.push_back(oio::Entry::new(&format!("{path}{folder}{name}"), metadata.build()));
        }
        page.done = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: StatusCode, words: &str) -> Error {
        let mut answer = Response::new(Buffer::from(words.to_owned()));
        *answer.status_mut() = status;
        refusal(answer)
    }

    #[test]
    fn objects_lie_where_the_protocol_says() {
        let rest = Rest::new("https", "host:8000", "a/b", None).unwrap();
        let cases = [
            ("config", "config"),
            ("data/ab/abcd", "data/abcd"),
            ("data/", "data/"),
            ("locks/abcd", "locks/abcd"),
            ("snapshots/", "snapshots/"),
        ];
        for (path, expected) in cases {
            assert_eq!(rest.url(path).unwrap(), format!("https://host:8000/a/b/{expected}"));
        }
        for path in ["packs/ab/abcd", "tmp/x", "config/x", "", "x"] {
            assert_eq!(rest.url(path).unwrap_err().kind(), ErrorKind::Unsupported, "{path}");
        }
        assert_eq!(Rest::new("http", "host", "", None).unwrap().url("config").unwrap(), "http://host/config");
    }

    #[test]
    fn a_password_is_sent_and_never_shown() {
        let rest = Rest::new("https", "host", "", Some(("me", "canary"))).unwrap();
        assert_eq!(rest.authorization.as_deref(), Some("Basic bWU6Y2FuYXJ5"));
        assert!(!format!("{rest:?}").contains("bWU6") && !format!("{rest:?}").contains("canary"));
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for status in [500, 502, 503, 504, 429] {
            assert!(refused(StatusCode::from_u16(status).unwrap(), "x").is_temporary(), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 416, 507] {
            assert!(!refused(StatusCode::from_u16(status).unwrap(), "x").is_temporary(), "{status}");
        }
        assert_eq!(refused(StatusCode::NOT_FOUND, "no such file").kind(), ErrorKind::NotFound);
    }
}
