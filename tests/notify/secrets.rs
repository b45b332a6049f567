//! No secret of a channel is seen anywhere, and `bk doctor --notify` says what each of them answered.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::servers::{Answer, MailServer, WebServer, make_certificate, status};
use super::{config, write};

/// Channels of every kind, with a secret in every place that may have one.
fn configuration(folder: &Path, web: &WebServer, mail: &MailServer) -> String {
    let file = |name: &str, text: &str| write(folder, name, text);
    let program =
        file("tell", &format!("#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ >{}/seen\n", folder.display()));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!(
        "[notify.phone]\nkind = \"ntfy\"\nurl = \"{ntfy}\"\ntoken-file = \"{token}\"\n\
         [notify.watch]\nkind = \"ping\"\nurl-file = \"{url}\"\n\
         [notify.kuma]\nkind = \"webhook\"\nurl = \"{kuma}\"\ntemplate = \"uptime-kuma\"\n\
         [notify.chat]\nkind = \"webhook\"\nurl = \"{discord}\"\ntemplate = \"discord\"\n\
         headers = {{ \"X-Key\" = \"canary-header\" }}\nheader-files = {{ \"X-More\" = \"{header}\" }}\n\
         [notify.mail]\nkind = \"email\"\nto = [\"me@example.org\"]\nfrom = \"bk@example.org\"\nhost = \"localhost\"\n\
         port = {port}\nuser = \"bk\"\npassword-file = \"{password}\"\nca-file = \"{ca}\"\n\
         [notify.own]\nkind = \"program\"\ncommand = [\"{program}\", \"plain\"]\n",
        ntfy = web.url("/canary-topic"),
        token = file("token", "canary-token\n"),
        url = file("url", &web.url("/canary-uuid")),
        kuma = web.url("/api/push/canary-push?status=up"),
        discord = web.url("/api/webhooks/1/canary-discord?thread_id=canary-thread"),
        header = file("header", "canary-header-file"),
        port = mail.port,
        password = file("password", "canary-mail-password"),
        ca = folder.join("ca.pem").display(),
    )
}

fn bk(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bk"))
        .args(["--config", "bk.toml"])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("BK_DATA_DIR", folder.join("data"))
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!text.contains("canary"), "bk {arguments:?}: a secret is shown:\n{text}");
    (output.status.code(), text)
}

#[test]
fn the_doctor_sends_a_test_to_everybody_and_shows_no_secret_whether_it_arrives_or_not() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let mail = MailServer::start(folder.path(), "starttls");
    let web = WebServer::new([]);
    write(folder.path(), "bk.toml", &configuration(folder.path(), &web, &mail));
    let (_, text) = bk(folder.path(), &["doctor", "--notify"]);
    for told in ["notify chat", "notify kuma", "notify mail", "notify own", "notify phone", "notify watch"] {
        assert!(text.contains(told), "{told}\n{text}");
    }
    assert_eq!(text.matches("test: sent: ").count(), 6, "{text}");
    assert!(text.contains("localhost took it with 250") && text.contains("answered with 200"), "{text}");
    let got = web.received();
    assert_eq!(got.len(), 4, "{got:?}");
    let phone = got.iter().find(|one| one.target == "/canary-topic").unwrap();
    assert!(phone.header("title").contains(": This is a test from bk on "), "{phone:?}");
    assert!(got.iter().any(|one| one.target == "/canary-uuid/log"), "a test is no run");
    assert!(mail.mails()[0]["data"].as_str().unwrap().contains("This is a test from bk on "));
    let seen = std::fs::read(folder.path().join("seen")).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("plain") && seen.contains("BK_EVENT=test") && !seen.contains("canary"), "{seen}");

    // The same when nothing of it is wanted, and the server repeats what it was told.
    let web = WebServer::always(Answer { echoes: true, ..status(403) });
    let text = configuration(folder.path(), &web, &mail);
    write(folder.path(), "password", "canary-wrong");
    write(folder.path(), "bk.toml", &text);
    let (code, text) = bk(folder.path(), &["doctor", "--notify"]);
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(text.matches("PROBLEM  test: ").count(), 5, "{text}");
    assert_eq!(text.matches("with 403: ").count(), 4, "{text}");
    assert!(text.contains("-> check the token, and that it may write there"), "{text}");
    let (_, json) = bk(folder.path(), &["--json", "doctor", "--notify"]);
    assert!(json.contains("\"kind\":\"notify\""), "{json}");
}

#[test]
fn the_configuration_is_shown_and_kept_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let (web, mail) = (WebServer::new([]), MailServer::start(folder.path(), "starttls"));
    let text = configuration(folder.path(), &web, &mail);
    write(folder.path(), "bk.toml", &text);
    let (code, shown) = bk(folder.path(), &["config", "show"]);
    assert_eq!(code, Some(0), "{shown}");
    for part in [format!("notify.phone.url = \"{}\"", web.url("/***")), "notify.watch.url-file = ".into()] {
        assert!(shown.contains(&part), "{part} is not in\n{shown}");
    }
    for arguments in [["config", "validate"].as_slice(), &["--json", "config", "show"], &["-v", "config", "validate"]] {
        assert_eq!(bk(folder.path(), arguments).0, Some(0));
    }
    let config = config(&text);
    let all = format!("{} {config:?} {:?}", config.definition(), config.show());
    assert!(!all.contains("canary"), "{all}");
    assert!(web.received().is_empty() && mail.log().is_empty(), "looking tells nobody");
}

#[test]
fn a_doctor_who_is_not_asked_tells_nobody() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let (web, mail) = (WebServer::new([]), MailServer::start(folder.path(), "starttls"));
    write(folder.path(), "bk.toml", &configuration(folder.path(), &web, &mail));
    bk(folder.path(), &["doctor"]);
    assert!(web.received().is_empty() && mail.log().is_empty());
    write(folder.path(), "bk.toml", "");
    let (_, text) = bk(folder.path(), &["doctor", "--notify"]);
    assert!(text.contains("nobody is told how backups went"), "{text}");
}
