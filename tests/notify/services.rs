//! What each service gets is what its documentation asks for.

use bk::notify::{Event, Notice, heard};
use serde_json::json;

use super::servers::{Alertmanager, Answer, WebServer};
use super::{AT, BODY, TITLE, channel, channels, complete, digest, entry, failed, notice, now, sender, write};

/// The JSON that a webhook with a ready template gets.
fn told(template: &str) -> serde_json::Value {
    let server = WebServer::new([]);
    let url = server.url("/hook");
    sender()
        .deliver(&channel(&format!("kind = \"webhook\"\nurl = \"{url}\"\ntemplate = \"{template}\"")), &failed())
        .unwrap();
    let got = server.only();
    assert_eq!((got.method.as_str(), got.target.as_str()), ("POST", "/hook"));
    got.json()
}

/// <https://docs.ntfy.sh/publish/>: the topic is the path, the message the body, the rest are headers.
#[test]
fn ntfy_gets_the_body_as_message_and_title_priority_and_tags_as_headers() {
    let (server, folder) = (WebServer::new([]), tempfile::tempdir().unwrap());
    let token = write(folder.path(), "token", "tk_canary\n");
    let channel = channel(&format!("kind = \"ntfy\"\nurl = \"{}\"\ntoken-file = \"{token}\"", server.url("/bk")));
    sender().deliver(&channel, &failed()).unwrap();
    let got = server.only();
    assert_eq!((got.method.as_str(), got.target.as_str(), got.body.as_str()), ("POST", "/bk", BODY));
    assert_eq!((got.header("title"), got.header("priority")), (TITLE, "5"));
    assert_eq!((got.header("tags"), got.header("authorization")), ("rotating_light", "Bearer tk_canary"));
    assert!(got.header("user-agent").starts_with("bk/"));
}

#[test]
fn ntfy_gets_no_more_than_it_takes_as_a_message_and_other_letters_in_a_title() {
    let server = WebServer::new([]);
    let channel = channel(&format!("kind = \"ntfy\"\nurl = \"{}\"", server.url("/bk")));
    let many = (0..100).map(|at| entry(Event::Incomplete, &format!("p{at}"), &"ü".repeat(400))).collect();
    sender().deliver(&channel, &Notice { host: "büro".into(), ..notice(many) }).unwrap();
    let got = server.only();
    assert!(got.body.len() <= 4096 && got.body.ends_with('…'), "{}", got.body.len());
    assert!(got.header("title").starts_with("=?utf-8?Q?b=C3=BCro=3A=20100=20backups=20are=20not"), "{got:?}");
    assert_eq!((got.header("priority"), got.header("tags")), ("4", "warning"));
}

/// <https://healthchecks.io/docs/http_api/>: `/start`, the URL itself, `/fail`; `/log` changes no state.
#[test]
fn a_check_hears_of_the_start_and_of_every_end_but_not_of_a_digest() {
    let server = WebServer::new([]);
    let text = format!("[notify.hc]\nkind = \"ping\"\nurl = \"{}\"\n", server.url("/0123-uuid?create=1"));
    let all = channels(&text);
    assert!(sender().start_all(&all).is_empty());
    for notice in [complete(), failed(), digest(), notice(vec![entry(Event::Recovered, "plex", "well")])] {
        assert!(sender().deliver_all(&all, &notice).is_empty());
    }
    // What is no run: that something else is well again is not that the run was.
    let look = |event| Notice { exit: None, seconds: None, ..notice(vec![entry(event, "plex", "since noon")]) };
    for event in [Event::Overdue, Event::Recovered] {
        assert!(sender().deliver_all(&all, &look(event)).is_empty());
    }
    let answers = sender().test_all(&all, "nas", AT);
    assert_eq!(answers[0].1.as_ref().unwrap(), &format!("{} answered with 200", server.host()));
    let got = server.received();
    let targets: Vec<&str> = got.iter().map(|one| one.target.as_str()).collect();
    let expected =
        ["/0123-uuid/start", "/0123-uuid", "/0123-uuid/fail", "/0123-uuid", "/0123-uuid/fail", "/0123-uuid/log"];
    assert_eq!(targets, expected.map(|path| format!("{path}?create=1")));
    assert!(got.iter().all(|one| one.method == "POST"));
    assert_eq!(got[2].body, format!("{TITLE}\n{BODY}"));
    assert!(got[5].body.contains("This is a test from bk on nas"), "{}", got[5].body);
}

#[test]
fn a_check_that_the_service_does_not_know_is_no_success() {
    let server = WebServer::always(Answer { status: 200, body: "OK (not found)".into(), ..Answer::default() });
    let error = sender().deliver(&channel(&format!("kind = \"ping\"\nurl = \"{}\"", server.url("/x"))), &complete());
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), format!("[notify.one]: {} refuses it with 200: OK (not found)", server.host()));
    assert_eq!(server.received().len(), 1);
}

/// <https://github.com/louislam/uptime-kuma/wiki/Internal-API>: GET with `status`, `msg` and `ping` in milliseconds.
#[test]
fn uptime_kuma_gets_a_heartbeat_of_every_run_in_the_query() {
    let server = WebServer::new([]);
    let url = server.url("/api/push/token1?status=up&msg=OK&ping=");
    let all = channels(&format!("[notify.k]\nkind = \"webhook\"\nurl = \"{url}\"\ntemplate = \"uptime-kuma\"\n"));
    assert!(sender().start_all(&all).is_empty());
    for notice in [complete(), failed(), digest()] {
        assert!(sender().deliver_all(&all, &notice).is_empty());
    }
    let got = server.received();
    let targets: Vec<&str> = got.iter().map(|one| one.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/api/push/token1?status=up&msg=nas%3A+plex+is+backed+up&ping=61000",
            "/api/push/token1?status=down&msg=nas%3A+gitea+failed&ping=61000"
        ]
    );
    assert!(got.iter().all(|one| one.method == "GET"));
}

/// <https://discord.com/developers/docs/resources/webhook#execute-webhook>
#[test]
fn discord_gets_content_and_may_mention_nobody() {
    assert_eq!(
        told("discord"),
        json!({ "content": format!("**{TITLE}**\n{BODY}"), "allowed_mentions": { "parse": [] } })
    );
}

/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>, and for the three characters
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>
#[test]
fn slack_gets_text_with_its_three_characters_escaped() {
    let body = BODY.replace("<&>", "&lt;&amp;&gt;");
    assert_eq!(told("slack"), json!({ "text": format!("*{TITLE}*\n{body}") }));
}

/// <https://developers.mattermost.com/integrate/webhooks/incoming/>
#[test]
fn mattermost_gets_text() {
    assert_eq!(told("mattermost"), json!({ "text": format!("**{TITLE}**\n{BODY}") }));
}

/// <https://gotify.net/api-docs#/message/createMessage>; the token is a header:
/// <https://gotify.net/docs/pushmsg>.
#[test]
fn gotify_gets_title_message_and_priority_and_its_token_as_a_header() {
    assert_eq!(told("gotify"), json!({ "title": TITLE, "message": BODY, "priority": 8 }));
    let (server, folder) = (WebServer::new([]), tempfile::tempdir().unwrap());
    let file = write(folder.path(), "key", "A-canary");
    let lines = "kind = \"webhook\"\ntemplate = \"gotify\"\nheaders = { \"X-Source\" = \"bk\" }";
    let channel = channel(&format!(
        "{lines}\nurl = \"{}\"\nheader-files = {{ \"X-Gotify-Key\" = \"{file}\" }}",
        server.url("/message")
    ));
    sender().deliver(&channel, &complete()).unwrap();
    let got = server.only();
    assert_eq!((got.header("x-gotify-key"), got.header("x-source")), ("A-canary", "bk"));
    assert_eq!(got.json()["priority"], 2);
}

#[test]
fn a_webhook_without_a_template_gets_everything_as_json() {
    let server = WebServer::new([]);
    sender().deliver(&channel(&format!("kind = \"webhook\"\nurl = \"{}\"", server.url("/"))), &failed()).unwrap();
    let expected = json!({
        "event": "failed", "title": TITLE, "body": BODY, "host": "nas", "at": "2026-03-01T02:00:00Z",
        "exit": 4, "seconds": 61.0, "new-bytes": null, "table": null,
        "entries": [
            { "event": "failed", "profile": "gitea", "repository": "b2",
              "text": "gitea: pg_dump ended with \"1\" <&>", "hint": "run `bk backup gitea`" },
            { "event": "complete", "profile": "plex", "repository": null, "text": "plex is complete", "hint": null },
        ],
    });
    assert_eq!(server.only().json(), expected);
}

#[test]
fn programs_too_get_texts_that_are_one_line_and_not_endless() {
    let server = WebServer::new([]);
    let bad = format!("a\u{1b}[31m\r\nb\u{202e}{}", "y".repeat(5000));
    let told = bk::notify::Entry { hint: Some(bad.clone()), ..entry(Event::Failed, &bad, &bad) };
    let told = Notice { host: bad.clone(), table: Some(format!("x   y\n{bad}")), ..notice(vec![told]) };
    sender().deliver(&channel(&format!("kind = \"webhook\"\nurl = \"{}\"", server.url("/"))), &told).unwrap();
    let got = server.only();
    assert!(got.body.len() < 10_000 && !got.body.contains("\\u001b") && !got.body.contains('\u{202e}'), "{}", got.body);
    let json = got.json();
    assert!(json["entries"][0]["text"].as_str().unwrap().starts_with("a [31m b yyy"), "{json}");
    assert!(json["table"].as_str().unwrap().starts_with("x   y\n"), "{json}");
}

#[test]
fn a_template_of_the_users_is_filled_and_what_is_wrong_with_it_is_told() {
    let (server, folder) = (WebServer::new([]), tempfile::tempdir().unwrap());
    let with = |name: &str, text: &str| {
        let file = write(folder.path(), name, text);
        let lines = format!("kind = \"webhook\"\nurl = \"{}\"\nmethod = \"PUT\"", server.url("/own"));
        sender().deliver(&channel(&format!("{lines}\ntemplate-file = \"{file}\"")), &failed())
    };
    with("a.json", "{\"what\": \"{{title}}: {{body}}\", \"n\": {{exit}}, \"e\": \"{{event}} {{profile}}\"}").unwrap();
    with("a.txt", "{{title}} at {{ time }} in {{repository}}").unwrap();
    let got = server.received();
    assert_eq!(got[0].json(), json!({ "what": format!("{TITLE}: {BODY}"), "n": 4, "e": "failed gitea" }));
    assert_eq!((got[1].method.as_str(), got[1].header("content-type")), ("PUT", "text/plain; charset=utf-8"));
    assert_eq!(got[1].body, format!("{TITLE} at 2026-03-01T02:00:00Z in b2"));
    let error = with("b.json", "{\"a\": \"{{titel}}\"}").unwrap_err();
    assert!(error.to_string().ends_with("has `{{titel}}` in line 1, which bk does not know"), "{error}");
    assert!(error.hint().starts_with("the names are title, body, event"), "{}", error.hint());
    assert!(with("c.json", "{{title}}").unwrap_err().to_string().contains("is no JSON once it is filled"));
    assert_eq!(server.received().len(), 2);
}

/// <https://prometheus.io/docs/alerting/latest/alerts_api/>, by a real Alertmanager.
#[test]
fn alertmanager_shows_what_failed_until_it_has_recovered() {
    let server = Alertmanager::start();
    let all = channels(&format!(
        "[notify.am]\nkind = \"webhook\"\nurl = \"{}/api/v2/alerts\"\ntemplate = \"alertmanager\"\n",
        server.url()
    ));
    let bad = Notice {
        at: now(),
        entries: vec![failed().entries[0].clone(), entry(Event::Overdue, "wiki", "late")],
        ..failed()
    };
    assert!(sender().deliver_all(&all, &bad).is_empty());
    let alerts = server.alerts();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert_eq!(
        alerts[0]["labels"],
        json!({ "alertname": "BackupFailed", "severity": "critical", "host": "nas", "profile": "gitea", "repository": "b2" })
    );
    assert_eq!(alerts[0]["annotations"]["summary"], "gitea: pg_dump ended with \"1\" <&>");
    assert_eq!(alerts[0]["annotations"]["description"], "run `bk backup gitea`");
    assert_eq!(alerts[1]["labels"]["alertname"], "BackupOverdue");
    let ends: jiff::Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(ends.as_second(), bad.at.seconds + 7 * 24 * 3600, "Alertmanager alone would end it after minutes");
    let mut well = entry(Event::Recovered, "gitea", "well");
    well.repository = Some("b2".into());
    assert!(sender().deliver_all(&all, &Notice { at: now(), ..notice(vec![well]) }).is_empty());
    let names: Vec<String> = server.alerts().iter().map(|alert| alert["labels"]["profile"].to_string()).collect();
    assert_eq!(names, ["\"wiki\""], "of the other one nothing was said");
    let answers = sender().test_all(&all, "nas", now());
    assert!(answers[0].1.is_ok(), "{answers:?}");
    assert!(server.alerts().iter().any(|alert| alert["labels"]["alertname"] == "BackupTest"));
}

#[test]
fn everybody_hears_what_they_asked_for_at_the_same_time_and_what_did_not_arrive_can_be_sent_later() {
    let (phone, log, away) = (WebServer::new([]), WebServer::new([]), WebServer::new([]));
    let gone = away.url("/x");
    drop(away);
    let all = channels(&format!(
        "[notify.phone]\nkind = \"ntfy\"\nurl = \"{}\"\n[notify.away]\nkind = \"ntfy\"\nurl = \"{gone}\"\n\
         [notify.log]\nkind = \"webhook\"\nurl = \"{}\"\non = [\"complete\"]\ndigest = \"0 8 * * 1\"\n",
        phone.url("/a"),
        log.url("/b")
    ));
    let undelivered = sender().deliver_all(&all, &failed());
    assert_eq!(undelivered.len(), 1);
    assert_eq!(undelivered[0].channel, "away");
    assert!(undelivered[0].error.to_string().starts_with("[notify.away]: 127.0.0.1:"), "{}", undelivered[0].error);
    assert_eq!(phone.only().header("title"), TITLE);
    assert_eq!(log.only().json()["title"], "nas: plex is backed up", "of what failed it does not want to hear");
    assert!(sender().deliver_all(&all, &digest()).is_empty());
    assert_eq!(phone.received().len(), 1);
    assert_eq!(log.received()[1].json()["table"], "plex  ok\nwiki  ok");
    assert!(heard(&all["phone"], &complete()).is_none());
    // Kept as text, and sent when it can be.
    let kept = serde_json::to_string(&undelivered[0].notice).unwrap();
    sender().deliver(&all["phone"], &serde_json::from_str(&kept).unwrap()).unwrap();
    assert_eq!(phone.received()[1].body, BODY);
}
