//! Mail through a real server.

use std::path::Path;

use bk::notify::{Channel, Event, Notice, NotifyError};

use super::servers::{MailServer, make_certificate};
use super::{channel, complete, entry, failed, notice, sender, write};

const PASSWORD: &str = "canary-mail-password";

fn bench(mode: &str) -> (tempfile::TempDir, MailServer) {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let server = MailServer::start(folder.path(), mode);
    (folder, server)
}

/// A channel that logs in, and knows the authority of the server.
fn mail(folder: &Path, server: &MailServer, tls: &str, password: &str) -> Channel {
    let password = write(folder, "password", password);
    let ca = folder.join("ca.pem").display().to_string();
    channel(&format!(
        "{}\ntls = \"{tls}\"\nuser = \"bk\"\npassword-file = \"{password}\"\nca-file = \"{ca}\"",
        lines(server.port)
    ))
}

fn lines(port: u16) -> String {
    format!(
        "kind = \"email\"\nto = [\"me@example.org\", \"Ann <ann@example.org>\"]\nfrom = \"bk <bk@example.org>\"\n\
         host = \"localhost\"\nport = {port}"
    )
}

#[test]
fn mail_goes_encrypted_after_a_login_and_is_one_that_can_be_read() {
    for tls in ["starttls", "tls"] {
        let (folder, server) = bench(tls);
        sender().deliver(&mail(folder.path(), &server, tls, PASSWORD), &failed()).unwrap();
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{:?}", server.log());
        let mail = &mails[0];
        assert_eq!((mail["encrypted"].as_bool(), mail["authenticated"].as_bool()), (Some(true), Some(true)), "{tls}");
        assert_eq!(mail["sender"], "bk@example.org");
        assert_eq!(mail["to"], serde_json::json!(["me@example.org", "ann@example.org"]));
        assert_eq!(mail["hello"], "nas");
        let data = mail["data"].as_str().unwrap();
        for header in [
            "Subject: nas: gitea failed\r\n",
            "From: bk <bk@example.org>\r\n",
            "Date: Sun, 01 Mar 2026 02:00:00 +0000\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "@nas>\r\n",
        ] {
            assert!(data.contains(header), "{header:?} is not in\n{data}");
        }
        let (_, body) = data.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, super::BODY.replace('\n', "\r\n") + "\r\n");
    }
}

#[test]
fn nothing_in_a_notice_adds_a_header_a_recipient_or_an_end() {
    let (folder, server) = bench("starttls");
    let text = "x\r\n.\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<evil@example.org>";
    let mut told = entry(Event::Failed, "x\r\nBcc: evil@example.org\r\n\r\nhello", text);
    told.hint = Some(".".into());
    let told = Notice { host: "nas\nX-Evil: 1".into(), ..notice(vec![told]) };
    sender().deliver(&mail(folder.path(), &server, "starttls", PASSWORD), &told).unwrap();
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["to"].as_array().unwrap().len(), 2);
    let (head, _) = mails[0]["data"].as_str().unwrap().split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("\r\nBcc") && !head.contains("\r\nX-Evil"), "{head}");
}

#[test]
fn a_server_without_starttls_gets_neither_the_password_nor_the_mail() {
    let (folder, server) = bench("bare");
    let error = sender().deliver(&mail(folder.path(), &server, "starttls", PASSWORD), &failed()).unwrap_err();
    assert!(error.to_string().contains("STARTTLS is not supported"), "{error}");
    assert!(server.log().is_empty(), "{:?}", server.log());
}

#[test]
fn a_server_that_nobody_vouches_for_gets_neither_the_password_nor_the_mail() {
    for tls in ["starttls", "tls"] {
        let (folder, server) = bench(tls);
        let password = write(folder.path(), "password", PASSWORD);
        let lines = format!("{}\ntls = \"{tls}\"\nuser = \"bk\"\npassword-file = \"{password}\"", lines(server.port));
        let error = sender().deliver(&channel(&lines), &failed()).unwrap_err();
        assert!(matches!(error, NotifyError::Certificate { .. }), "{error:?}");
        assert!(server.log().is_empty(), "{:?}", server.log());
    }
}

#[test]
fn a_wrong_password_is_told_once_and_without_it() {
    let (folder, server) = bench("starttls");
    let channel = mail(folder.path(), &server, "starttls", "canary-wrong");
    let error = sender().deliver(&channel, &failed()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.starts_with("[notify.one]: localhost refuses it with 535: ") && !text.contains("canary"), "{text}");
    assert!(error.hint().contains("`password-file`"), "{}", error.hint());
    assert!(server.mails().is_empty());
}

#[test]
fn a_server_that_wants_to_be_asked_later_is_asked_later() {
    let (folder, server) = bench("busy");
    sender().deliver(&mail(folder.path(), &server, "starttls", PASSWORD), &complete()).unwrap();
    assert_eq!((server.mails().len(), server.log()[1]["refused"].as_bool()), (1, Some(true)), "{:?}", server.log());
}

#[test]
fn a_server_of_this_machine_may_be_told_in_the_open() {
    let (_folder, server) = bench("plain");
    sender().deliver(&channel(&format!("{}\ntls = \"none\"", lines(server.port))), &complete()).unwrap();
    assert_eq!(server.mails()[0]["encrypted"], false);
}

#[test]
fn a_mail_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut sender = sender();
    sender.patience.total = std::time::Duration::from_millis(800);
    let begin = std::time::Instant::now();
    let lines =
        format!("{}\ntls = \"none\"", lines(listener.local_addr().unwrap().port())).replace("localhost", "127.0.0.1");
    let error = sender.deliver(&channel(&lines), &complete()).unwrap_err();
    assert!(matches!(error, NotifyError::TimeLimit { .. }), "{error:?}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
}
