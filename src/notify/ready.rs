//! What the services that bk knows understand, each as its own documentation has it. Notices come here plain, see
//! `Notice::plain`.

use serde_json::{Value, json};

use super::notice::rfc3339;
use super::words::cut;
use super::{Entry, Event, Notice, What};
use crate::clock::Timestamp;

/// The most characters of a message of Discord.
const DISCORD: usize = 2000;
/// Of Mattermost.
const MATTERMOST: usize = 16_383;
/// Slack takes 40,000 and cuts there.
const SLACK: usize = 40_000;
/// So long an alert that nobody resolved stays, in seconds: a backup that failed is not well because nobody says so
/// again, but a profile that is gone must not alert for ever.
const ALERT_SECONDS: i64 = 7 * 24 * 3600;
/// The alert of a test, in seconds.
const TEST_SECONDS: i64 = 300;

/// How bad it is, for programs.
pub(super) const fn severity(event: Event) -> &'static str {
    match event {
        Event::Failed | Event::Damage => "critical",
        Event::Incomplete | Event::Anomaly | Event::Overdue | Event::Behind => "warning",
        Event::Recovered | Event::Complete | Event::Digest => "info",
    }
}

/// How loud it is, from 1 to 5 as ntfy has it; 3 is the default there.
pub(super) const fn priority(event: Event) -> u8 {
    match event {
        Event::Failed | Event::Damage => 5,
        Event::Incomplete | Event::Anomaly | Event::Overdue => 4,
        Event::Behind | Event::Recovered => 3,
        Event::Complete | Event::Digest => 2,
    }
}

fn loudness(what: What<'_>) -> u8 {
    match what {
        What::Notice(notice) => notice.worst().map_or(2, priority),
        What::Start | What::Test(_) => 3,
    }
}

/// Title and body in one text, the title between `mark`s.
fn in_one(title: &str, body: &str, mark: &str, longest: usize) -> String {
    cut(&format!("{mark}{title}{mark}\n{body}"), longest)
}

/// <https://discord.com/developers/docs/resources/webhook#execute-webhook>: `content` has at most 2000 characters, and
/// with an empty `parse` nobody is mentioned, whatever is in it.
pub(super) fn discord(notice: &Notice) -> Value {
    let content = in_one(&notice.title(), &notice.body(), "**", DISCORD);
    json!({ "content": content, "allowed_mentions": { "parse": [] } })
}

/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>: these three characters, and no others.
fn slack_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>
pub(super) fn slack(notice: &Notice) -> Value {
    let (title, body) = (slack_escaped(&notice.title()), slack_escaped(&notice.body()));
    json!({ "text": in_one(&title, &body, "*", SLACK) })
}

/// <https://developers.mattermost.com/integrate/webhooks/incoming/>: `@all` and `@channel` in a text call everybody, so
/// nothing may stand behind an `@`.
pub(super) fn mattermost(notice: &Notice) -> Value {
    let text = in_one(&notice.title(), &notice.body(), "**", MATTERMOST);
    json!({ "text": cut(&text.replace('@', "@\u{200b}"), MATTERMOST) })
}

/// <https://gotify.net/api-docs#/message/createMessage>: priorities go to 10; from 8 on a phone makes a noise.
pub(super) fn gotify(notice: &Notice, what: What<'_>) -> Value {
    let priority = match loudness(what) {
        5 => 8,
        4 => 6,
        3 => 4,
        _ => 2,
    };
    json!({ "title": notice.title(), "message": notice.body(), "priority": priority })
}

/// The tags of ntfy, which it shows as pictures: <https://docs.ntfy.sh/emojis/>.
pub(super) fn ntfy_headers(what: What<'_>) -> (u8, &'static str) {
    let tag = match what {
        What::Notice(notice) => match notice.worst() {
            Some(Event::Failed | Event::Damage) => "rotating_light",
            Some(Event::Digest) => "clipboard",
            Some(event) if event.is_good() => "white_check_mark",
            _ => "warning",
        },
        What::Start | What::Test(_) => "test_tube",
    };
    (loudness(what), tag)
}

const fn alert_name(event: Event) -> &'static str {
    match event {
        Event::Failed => "BackupFailed",
        Event::Damage => "BackupDamage",
        Event::Incomplete => "BackupIncomplete",
        Event::Anomaly => "BackupAnomaly",
        Event::Overdue => "BackupOverdue",
        Event::Behind => "BackupBehind",
        Event::Recovered | Event::Complete | Event::Digest => "BackupTest",
    }
}

fn after(at: Timestamp, seconds: i64) -> String {
    rfc3339::text(Timestamp { seconds: at.seconds.saturating_add(seconds), ..at })
}

/// An alert is who it is by its labels: one that ends has those with which it began.
fn alert(notice: &Notice, event: Event, entry: &Entry, ends: String) -> Value {
    let mut labels = json!({
        "alertname": alert_name(event),
        "severity": severity(event),
        "host": notice.host,
    });
    for (name, value) in [("profile", &entry.profile), ("repository", &entry.repository)] {
        if let Some(value) = value {
            labels[name] = value.as_str().into();
        }
    }
    let mut annotations = json!({ "summary": entry.text });
    if let Some(hint) = &entry.hint {
        annotations["description"] = hint.as_str().into();
    }
    json!({ "labels": labels, "annotations": annotations, "startsAt": notice.time(), "endsAt": ends })
}

/// <https://prometheus.io/docs/alerting/latest/alerts_api/>: without `endsAt` an alert ends after minutes, since
/// Prometheus sends it again and again. What is sent once says itself how long it holds.
pub(super) fn alertmanager(notice: &Notice, what: What<'_>) -> Vec<Value> {
    let mut alerts = Vec::new();
    for entry in &notice.entries {
        match entry.event {
            Event::Recovered => {
                // What it has recovered from is not said; of what never began, the end is told to nobody.
                let ended = Event::ALL.into_iter().filter(|event| !event.is_good());
                let ended = ended.filter(|event| *event != Event::Damage || entry.profile.is_none());
                alerts.extend(ended.map(|event| alert(notice, event, entry, notice.time())));
            }
            Event::Complete | Event::Digest => {
                if let What::Test(_) = what {
                    alerts.push(alert(notice, entry.event, entry, after(notice.at, TEST_SECONDS)));
                }
            }
            event => alerts.push(alert(notice, event, entry, after(notice.at, ALERT_SECONDS))),
        }
    }
    alerts
}

/// Everything, for programs.
pub(super) fn document(notice: &Notice, what: What<'_>) -> Value {
    let mut document = serde_json::to_value(notice).unwrap_or_default();
    document["event"] = what.word().into();
    document["title"] = notice.title().into();
    document["body"] = notice.body().into();
    document
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{entry, notice};
    use super::*;

    fn nasty() -> Notice {
        let text = format!("@everyone @channel <!here> a & b {}", "x".repeat(450));
        notice((0..100).map(|_| Entry { text: text.clone(), ..entry(Event::Failed, "plex") }).collect())
    }

    #[test]
    fn no_service_gets_more_than_it_takes_and_nobody_is_mentioned() {
        let length = |value: &Value| value.as_str().unwrap().chars().count();
        let discord = discord(&nasty());
        assert_eq!((length(&discord["content"]), &discord["allowed_mentions"]), (DISCORD, &json!({ "parse": [] })));
        let slack = slack(&nasty());
        assert_eq!(length(&slack["text"]), SLACK);
        assert!(!slack["text"].as_str().unwrap().contains(['<', '>']));
        assert!(slack["text"].as_str().unwrap().contains("&lt;!here&gt; a &amp; b"), "{slack}");
        let mattermost = mattermost(&nasty());
        assert_eq!(length(&mattermost["text"]), MATTERMOST);
        assert!(!mattermost["text"].as_str().unwrap().contains("@c"), "nobody is called");
    }

    #[test]
    fn what_has_recovered_ends_the_alerts_with_the_labels_that_they_began_with() {
        let at = |event| notice(vec![Entry { repository: Some("b2".into()), ..entry(event, "plex") }]);
        let failed = at(Event::Behind);
        let recovered = at(Event::Recovered);
        let began = alertmanager(&failed, What::Notice(&failed));
        let ended = alertmanager(&recovered, What::Notice(&recovered));
        assert_eq!(began.len(), 1);
        assert_eq!(began[0]["endsAt"], "2026-03-08T02:00:00Z");
        let same: Vec<&Value> = ended.iter().filter(|alert| alert["labels"] == began[0]["labels"]).collect();
        assert_eq!(same.len(), 1);
        assert_eq!(same[0]["endsAt"], "2026-03-01T02:00:00Z");
        assert!(
            ended.iter().all(|alert| alert["labels"]["alertname"] != "BackupDamage"),
            "damage is not mended by a backup"
        );
        let complete = at(Event::Complete);
        assert!(alertmanager(&complete, What::Notice(&complete)).is_empty());
    }
}
