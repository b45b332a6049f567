//! A server of restic's REST protocol: what only it can do wrong.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bk::id::ObjectId;
use bk::store::remote::{Credentials, RemoteStore, Settings, Trouble};
use bk::store::{Area, ObjectName, ResticArea, Store, StoreError};

use super::claims::{fresh, range};
use super::rclone_server::{RcloneServer, USER};
use super::restic::{login, remote};

const HASH: [u8; 32] = [0xab; 32];

fn patient_for(milliseconds: u64) -> Settings {
    Settings { retry_for: Some(Duration::from_millis(milliseconds)), ..Settings::default() }
}

/// Does not wait for a server that will not become better.
fn settings() -> Settings {
    patient_for(500)
}

/// Answers every request with what is said of its first line, and ends the connection.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let place = format!("rest:http://{}/r", listener.local_addr().unwrap());
    let serve = move |mut stream: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let _ = stream.write_all(answer(head.lines().next().unwrap_or_default()).as_bytes());
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(&serve));
    place
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Opened at a server that has a configuration, and else answers so.
fn open(answer: impl Fn(&str) -> String + Send + 'static) -> RemoteStore {
    open_with(&settings(), answer)
}

fn open_with(settings: &Settings, answer: impl Fn(&str) -> String + Send + 'static) -> RemoteStore {
    let place = server(move |line| if line.contains("/config") { whole("200 OK", "sealed") } else { answer(line) });
    RemoteStore::open_restic(&remote(&place), settings, None).unwrap()
}

fn told(error: &StoreError) -> String {
    format!("{error:?} {error} {}", error.hint())
}

#[test]
fn a_wrong_password_or_none_is_said_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let server = RcloneServer::restic(folder.path());
    let place = remote(&format!("rest:http://{}/r", server.place));
    let wrong = Credentials::new(USER.to_owned(), "canary-that-is-wrong".to_owned(), None);
    for credentials in [Some(wrong), None] {
        for result in [
            RemoteStore::open_restic(&place, &settings(), credentials.clone()),
            RemoteStore::create_restic(&place, &settings(), credentials.clone()),
        ] {
            let error = result.unwrap_err();
            let is_password = matches!(&error, StoreError::Remote { trouble: Trouble::WrongPassword, .. });
            assert!(is_password && error.hint().contains("RESTIC_REST_PASSWORD"), "{error:?}");
            assert!(!told(&error).contains("canary"), "{}", told(&error));
        }
    }
    let store = RemoteStore::create_restic(&place, &settings(), login()).unwrap();
    assert!(!told(&store.get(&ResticArea::CONFIG).unwrap_err()).contains("canary"));
    assert!(!format!("{store:?}").contains("canary"));
}

#[test]
fn a_server_that_only_adds_replaces_nothing_and_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = RcloneServer::restic_that_only_adds(folder.path());
    let place = remote(&format!("rest:http://{}/r", server.place));
    let store = RemoteStore::create_restic(&place, &settings(), login()).unwrap();
    let (name, bytes) = (ResticArea::Index.object(HASH), fresh(1000));
    store.put_new(&name, &bytes).unwrap();
    let again = store.put_new(&name, &bytes);
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    let refused = store.delete(&name).unwrap_err();
    assert!(refused.is_refused(), "{refused:?}");
    assert!(store.get(&name).unwrap() == bytes);
}

#[test]
fn no_objects_of_ours_are_put_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = RcloneServer::restic(folder.path());
    let place = remote(&format!("rest:http://{}/r", server.place));
    let store = RemoteStore::create_restic(&place, &settings(), login()).unwrap();
    for area in [Area::Temporary, Area::Facts, Area::Marks] {
        let error = store.put_new(&ObjectName::Plain(area, ObjectId(HASH)), b"x").unwrap_err();
        assert!(error.to_string().contains(area.folder()), "{error}");
        assert!(store.list(area).is_err(), "{area:?}");
    }
    assert!(store.list(Area::Packs).is_err());
}

#[test]
fn an_answer_that_breaks_off_is_an_error() {
    let cut = |_: &str| "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n[{\"name\":".to_owned();
    let store = open(cut);
    assert!(store.list(Area::Restic(ResticArea::Data)).is_err());
    assert!(store.get(&ResticArea::Data.object(HASH)).is_err());
    // Without its length nobody could tell that it is not whole.
    let endless = |_: &str| "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf".to_owned();
    let error = open(endless).get(&ResticArea::Data.object(HASH)).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("how much it sends"), "{error:?}");
}

#[test]
fn a_list_that_is_none_is_an_error_and_no_empty_list() {
    for body in ["", "{}", "[\"0123\"]", "<html></html>", "[{\"name\":\"x\"}]"] {
        let error = open(move |_| whole("200 OK", body)).list(Area::Restic(ResticArea::Data)).unwrap_err();
        assert!(std::error::Error::source(&error).is_some(), "{body}: {error:?}");
    }
    for status in ["403 Forbidden", "301 Moved Permanently", "500 Internal Server Error", "507 Insufficient Storage"] {
        assert!(open(move |_| whole(status, "")).list(Area::Restic(ResticArea::Keys)).is_err(), "{status}");
    }
    // What is not there may be empty: there is a configuration, and names that are none are no objects.
    for (status, body) in [("404 Not Found", ""), ("200 OK", "null"), ("200 OK", "[{\"name\":\"x\",\"size\":1}]")] {
        let store = open(move |_| whole(status, body));
        assert!(store.list(Area::Restic(ResticArea::Data)).unwrap().is_empty(), "{status} {body}");
    }
}

#[test]
fn a_part_that_was_not_asked_for_is_an_error() {
    let name = ResticArea::Data.object(HASH);
    let partly = |range: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {range}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
    };
    let whole_object = open(|line| whole("200 OK", if line.starts_with("HEAD") { "" } else { "0123456789" }));
    assert!(range(&whole_object, &name, 2, 4).is_err(), "it does not know ranges");
    for (said, body) in [("0-3/10", "0123"), ("2-9/10", "23456789"), ("2-5/10", "234"), ("3-6/10", "3456")] {
        assert!(range(&open(move |_| partly(said, body)), &name, 2, 4).is_err(), "{said}");
    }
    assert_eq!(range(&open(move |_| partly("2-5/10", "2345")), &name, 2, 4).unwrap(), b"2345");
}

#[test]
fn what_passes_is_tried_again() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let count = AtomicU32::new(0);
    let store = open_with(&patient_for(3000), move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => whole("503 Service Unavailable", ""),
        1 => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n[".to_owned(),
        _ => whole("200 OK", "[]"),
    });
    assert!(store.list(Area::Restic(ResticArea::Locks)).unwrap().is_empty());
}
