//! A bucket: every promise, and what only a bucket can do wrong.

use bk::id::ObjectId;
use bk::store::remote::{Credentials, RemoteStore, Settings, Trouble};
use bk::store::{Area, Location, ObjectName, Store, StoreError};

use super::claims::{Names, every_claim_holds};
use super::s3_server::{BUCKET, KEY_ID, Refusal, S3Server, SECRET};

fn remote(text: &str) -> bk::store::location::Remote {
    match Location::parse(text, std::path::Path::new("/")).unwrap() {
        Location::Remote(remote) => remote,
        Location::Local(_) => panic!("{text} is remote"),
    }
}

fn settings(endpoint: &str) -> Settings {
    Settings { endpoint: Some(endpoint.to_owned()), region: Some("us-east-1".to_owned()), ..Settings::default() }
}

fn credentials() -> Option<Credentials> {
    Some(Credentials::new(KEY_ID.to_owned(), SECRET.to_owned(), None))
}

fn create(server: &S3Server, prefix: &str) -> RemoteStore {
    let place = remote(&format!("s3://{BUCKET}{prefix}"));
    RemoteStore::create(&place, &settings(server.endpoint()), credentials()).unwrap()
}

fn some(text: &str) -> (ObjectName, &[u8]) {
    (ObjectName::Plain(Area::Index, ObjectId(*blake3::hash(text.as_bytes()).as_bytes())), text.as_bytes())
}

#[test]
fn a_bucket_and_a_folder_of_a_bucket_keep_every_promise() {
    let server = S3Server::start();
    every_claim_holds(&create(&server, "/host1/bk"), Names::Repeatable);
    let server = S3Server::start();
    every_claim_holds(&create(&server, ""), Names::Repeatable);
}

#[test]
fn a_place_is_a_repository_when_it_has_a_configuration_and_is_not_taken_twice() {
    let server = S3Server::start();
    let place = remote(&format!("s3://{BUCKET}/host1"));
    let open = || RemoteStore::open(&place, &settings(server.endpoint()), credentials());
    assert!(matches!(open(), Err(StoreError::NoRepository { .. })));
    let store = create(&server, "/host1");
    let id = ObjectId(*blake3::hash(b"x").as_bytes());
    store.put_new(&ObjectName::Plain(Area::Keys, id), b"x").unwrap();
    drop(create(&server, "/host1"));
    store.put_new(&ObjectName::Config(0, id), b"x").unwrap();
    open().unwrap();
    let second = RemoteStore::create(&place, &settings(server.endpoint()), credentials());
    assert!(matches!(second, Err(StoreError::NotEmpty { .. })));
    // A neighbour whose name begins alike is another place.
    drop(create(&server, "/host"));
}

#[test]
fn every_part_of_a_long_list_is_there() {
    let server = S3Server::start();
    let store = create(&server, "/x");
    for number in 0..1100 {
        let path = server.object(format!("x/marks/{}", blake3::hash(&[number as u8, (number >> 8) as u8]).to_hex()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"m").unwrap();
    }
    assert_eq!(store.list(Area::Marks).unwrap().len(), 1100, "a page holds 1000");
}

#[test]
fn what_passes_is_tried_again_and_what_stays_is_not() {
    let server = S3Server::start();
    let store = create(&server, "/x");
    let busy = Refusal { status: 503, code: "SlowDown", method: "PUT" };
    server.refuse([busy, Refusal { status: 500, code: "InternalError", ..busy }]);
    let (name, bytes) = some("tried again");
    store.put_new(&name, bytes).unwrap();
    assert_eq!((server.refusals_left(), store.get(&name).unwrap().as_slice()), (0, bytes));
    let denied = Refusal { status: 403, code: "AccessDenied", method: "PUT" };
    server.refuse([denied, denied]);
    let (name, bytes) = some("never");
    let error = store.put_new(&name, bytes).unwrap_err();
    assert!(matches!(error, StoreError::Remote { trouble: Trouble::Denied, .. }), "{error}");
    assert_eq!(server.refusals_left(), 1, "once is enough");
    server.refuse_no_more();
}

#[test]
fn a_list_that_breaks_off_is_an_error_and_no_shorter_list() {
    let server = S3Server::start();
    let store = create(&server, "/x");
    store.put_new(&some("a").0, some("a").1).unwrap();
    let refusal = Refusal { status: 403, code: "AccessDenied", method: "GET" };
    server.refuse([refusal]);
    assert!(store.list(Area::Index).is_err());
    assert_eq!(store.list(Area::Index).unwrap().len(), 1);
}

#[test]
fn where_deleting_is_refused_everything_else_works() {
    let server = S3Server::start();
    let store = create(&server, "/x");
    let refusal = Refusal { status: 403, code: "AccessDenied", method: "DELETE" };
    server.refuse([refusal; 8]);
    let (name, bytes) = some("stays");
    store.put_new(&name, bytes).unwrap();
    let listed = store.list(Area::Index).unwrap();
    assert!((store.time().unwrap().seconds - listed[0].time.seconds).abs() < 60);
    store.clean().unwrap();
    let error = store.delete(&name).unwrap_err();
    assert!(error.to_string().contains("these credentials do not allow it"), "{error}");
    assert_eq!(store.get(&name).unwrap(), bytes);
}

#[test]
fn what_cannot_be_used_is_named_with_its_reason_and_without_the_key() {
    let server = S3Server::start();
    let wrong = Some(Credentials::new(KEY_ID.to_owned(), "canary-of-a-wrong-secret".to_owned(), None));
    let stranger = Some(Credentials::new("canary-stranger".to_owned(), "canary-of-a-wrong-secret".to_owned(), None));
    let nobody = "http://127.0.0.1:1";
    let here = server.endpoint();
    let cases = [
        ("s3://backups/x", here, wrong, Trouble::WrongKey),
        ("s3://backups/x", here, stranger, Trouble::WrongKey),
        ("s3://no-such-bucket/x", here, credentials(), Trouble::NoBucket),
        ("s3://backups/x", nobody, credentials(), Trouble::Unreachable),
    ];
    for (place, endpoint, credentials, expected) in cases {
        let opened = RemoteStore::open(&remote(place), &settings(endpoint), credentials.clone());
        let made = RemoteStore::create(&remote(place), &settings(endpoint), credentials);
        for error in [opened.err().unwrap(), made.err().unwrap()] {
            let told = format!("{error} {error:?} {:?} {}", std::error::Error::source(&error), error.hint());
            let trouble = matches!(&error, StoreError::Remote { trouble, .. } if *trouble == expected);
            assert!(trouble && told.contains(place), "{place} {expected:?}: {told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }
    let skewed = Refusal { status: 403, code: "RequestTimeTooSkewed", method: "GET" };
    server.refuse([skewed]);
    let error = RemoteStore::open(&remote("s3://backups/x"), &settings(here), credentials()).unwrap_err();
    assert!(matches!(error, StoreError::Remote { trouble: Trouble::ClockSkew, .. }), "{error}");
}

#[test]
fn what_a_store_shows_of_itself_holds_no_secret() {
    let server = S3Server::start();
    let store = create(&server, "/x");
    assert_eq!(store.location(), "s3://backups/x");
    assert!(!format!("{store:?}").contains("canary"));
}
