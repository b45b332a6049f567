//! Days when telling is not easy.

use std::time::{Duration, Instant};

use bk::notify::{Channel, NotifyError};

use super::servers::{Answer, WebServer, free_port, make_certificate, status};
use super::{channel, complete, failed, sender, write};

fn to(url: &str) -> Channel {
    channel(&format!("kind = \"ntfy\"\nurl = \"{url}\""))
}

#[test]
fn a_server_that_fails_or_is_busy_is_asked_again() {
    let server = WebServer::new([status(500), status(502), status(503)]);
    sender().deliver(&to(&server.url("/t")), &failed()).unwrap();
    let got = server.received();
    assert_eq!(got.len(), 4);
    assert!(got.iter().all(|one| one.body == got[0].body && one.header("title") == "nas: gitea failed"));
    let server = WebServer::always(Answer { status: 500, body: "out of\nmemory".into(), ..Answer::default() });
    let error = sender().deliver(&to(&server.url("/t")), &failed()).unwrap_err();
    assert_eq!(error.to_string(), format!("[notify.one]: {} refuses it with 500: out of memory", server.host()));
    assert_eq!(server.received().len(), 4, "three more times, and no more");
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for_but_not_for_ever() {
    for (asked, least, most) in [("1", 1000, 2400), ("3600", 2500, 4000)] {
        let busy = Answer { headers: vec![("Retry-After", asked.into())], ..status(429) };
        let server = WebServer::new([busy]);
        sender().deliver(&to(&server.url("/t")), &failed()).unwrap();
        let times = server.times();
        let pause = times[1] - times[0];
        assert!(pause >= Duration::from_millis(least) && pause < Duration::from_millis(most), "{asked}: {pause:?}");
    }
}

#[test]
fn what_a_server_does_not_want_is_told_at_once_in_its_words_without_the_secret() {
    for code in [400, 401, 404, 413] {
        let server = WebServer::always(Answer { echoes: true, ..status(code) });
        let error = sender().deliver(&to(&server.url("/hooks/canary-url?auth=canary-query")), &failed()).unwrap_err();
        let text = format!("{error} {error:?} {}", error.hint());
        assert!(text.contains(&format!("refuses it with {code}: ")) && text.contains("is not here"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(server.received().len(), 1, "asking again would not help");
    }
    let server = WebServer::always(Answer { body: format!("\u{1b}[31m{}", "x".repeat(9000)), ..status(400) });
    let NotifyError::Refused { words, .. } = sender().deliver(&to(&server.url("/t")), &failed()).unwrap_err() else {
        panic!("refused")
    };
    assert!(words.chars().count() == 200 && !words.contains(char::is_control), "{words:?}");
}

#[test]
fn a_server_that_never_answers_holds_nobody_for_longer_than_its_time() {
    let server = WebServer::always(Answer { hangs: true, ..status(200) });
    let mut sender = sender();
    sender.patience.whole = Duration::from_millis(300);
    let begin = Instant::now();
    let error = sender.deliver(&to(&server.url("/t")), &failed()).unwrap_err();
    assert!(matches!(error, NotifyError::TimeLimit { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(4) && server.received().len() == 4);
    sender.patience.total = Duration::from_millis(700);
    let begin = Instant::now();
    sender.deliver(&to(&server.url("/t")), &failed()).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(2), "the whole is bounded too");
}

#[test]
fn who_cannot_be_reached_is_named_with_what_the_system_says() {
    let url = format!("http://127.0.0.1:{}/canary", free_port());
    let error = sender().deliver(&to(&url), &failed()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot be reached: Connection refused") && !text.contains("canary"), "{text}");
    let error = sender().deliver(&to("https://nowhere.invalid/canary"), &failed()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.starts_with("[notify.one]: nowhere.invalid cannot be reached: ") && !text.contains("canary"),
        "{text}"
    );
}

#[test]
fn nobody_is_led_elsewhere_with_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = write(folder.path(), "token", "tk_canary");
    let other = WebServer::new([]);
    for code in [301, 302, 307, 308] {
        let server = WebServer::always(Answer { headers: vec![("Location", other.url("/canary"))], ..status(code) });
        let lines = format!("kind = \"ntfy\"\nurl = \"{}\"\ntoken-file = \"{token}\"", server.url("/t"));
        let error = sender().deliver(&channel(&lines), &failed()).unwrap_err();
        let expected =
            format!("[notify.one]: {} refuses it with {code}: it would be led to {}", server.host(), other.url(""));
        assert_eq!(error.to_string(), expected);
        assert_eq!(server.received().len(), 1);
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_and_one_of_an_own_authority_taken() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let server = WebServer::encrypted(folder.path());
    let error = sender().deliver(&to(&server.url("/canary")), &complete()).unwrap_err();
    let expected = "has no certificate that can be trusted: nobody whom this machine trusts has signed it";
    assert!(error.to_string().ends_with(expected), "{error:?}");
    assert!(error.hint().contains("`ca-file`") && !format!("{error:?}").contains("canary"));
    assert_eq!((server.received().len(), server.connections()), (0, 1), "asked once, and told nothing");
    let ca = folder.path().join("ca.pem").display().to_string();
    let with_ca = |url: &str| channel(&format!("kind = \"ntfy\"\nurl = \"{url}\"\nca-file = \"{ca}\""));
    sender().deliver(&with_ca(&server.url("/t").replace("127.0.0.1", "localhost")), &complete()).unwrap();
    assert_eq!(server.received().len(), 1);
    // The certificate is for the name, not for the address.
    let error = sender().deliver(&with_ca(&server.url("/t")), &complete()).unwrap_err();
    assert!(error.to_string().ends_with("it is for another name"), "{error}");
    assert_eq!(server.received().len(), 1);
    let empty = write(folder.path(), "empty.pem", "no certificate");
    let lines = format!("kind = \"ntfy\"\nurl = \"{}\"\nca-file = \"{empty}\"", server.url("/t"));
    let error = sender().deliver(&channel(&lines), &complete()).unwrap_err();
    assert!(error.to_string().ends_with("of `ca-file` holds no certificate"), "{error}");
}
