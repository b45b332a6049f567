//! What is told: one notice, for all channels.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::clock::Timestamp;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// The profile that it is about.
    pub profile: Option<String>,
    /// The repository that it is about. What has recovered names the one that had failed.
    pub repository: Option<String>,
    /// One line for people. Neither names of files of the backup nor secrets belong into it.
    pub text: String,
    /// The next step.
    pub hint: Option<String>,
}

/// What is told at once. It can be kept, and sent later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// The name of this machine.
    pub host: String,
    /// When it happened; RFC 3339 where it is kept.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// What happened.
    pub entries: Vec<Entry>,
    /// The exit code of the run.
    pub exit: Option<u8>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// How much was new, in bytes.
    pub new_bytes: Option<u64>,
    /// The text of a digest, in lines.
    pub table: Option<String>,
}

impl Notice {
    /// A notice that says nothing but that telling works.
    #[must_use]
    pub fn test(host: &str, at: Timestamp) -> Self {
        let text = format!("This is a test from bk on {host}");
        let entry = Entry { event: Event::Complete, profile: None, repository: None, text, hint: None };
        Self {
            host: host.to_owned(),
            at,
            entries: vec![entry],
            exit: None,
            seconds: None,
            new_bytes: None,
            table: None,
        }
    }

    /// The worst thing in it; `None` when it is empty.
    #[must_use]
    pub fn worst(&self) -> Option<Event> {
        self.entries.iter().map(|entry| entry.event).min()
    }

    /// What of it whoever wants to hear of `on` is told; `None` when that is nothing. What is complete stays beside what
    /// is not: it says of how many backups these are.
    #[must_use]
    pub fn only(&self, on: &[Event]) -> Option<Self> {
        if !self.entries.iter().any(|entry| on.contains(&entry.event)) {
            return None;
        }
        let wanted = |entry: &&Entry| on.contains(&entry.event) || entry.event == Event::Complete;
        let entries = self.entries.iter().filter(wanted).cloned().collect();
        let table = self.table.clone().filter(|_| on.contains(&Event::Digest));
        Some(Self { entries, table, ..self.clone() })
    }

    /// The time in UTC, as RFC 3339.
    pub(super) fn time(&self) -> String {
        rfc3339::text(self.at)
    }
}

pub(super) mod rfc3339 {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::clock::Timestamp;

    /// What no calendar reaches is told as its beginning.
    pub fn text(time: Timestamp) -> String {
        let nanos = i32::try_from(time.nanos).unwrap_or(0);
        jiff::Timestamp::new(time.seconds, nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    }

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        // Before 1970 the parts of a second are counted from the second above.
        let (seconds, nanos) = match u32::try_from(time.subsec_nanosecond()) {
            Ok(nanos) => (time.as_second(), nanos),
            Err(_) => (time.as_second() - 1, (time.subsec_nanosecond() + 1_000_000_000).unsigned_abs()),
        };
        Ok(Timestamp { seconds, nanos })
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{entry, notice};
    use super::*;

    #[test]
    fn a_notice_that_was_kept_is_the_same_afterwards() {
        for at in [Timestamp { seconds: 1_772_330_400, nanos: 5 }, Timestamp { seconds: -2, nanos: 900_000_000 }] {
            let kept = Notice {
                at,
                seconds: Some(1.5),
                table: Some("a\nb".into()),
                ..notice(vec![entry(Event::Behind, "x")])
            };
            let text = serde_json::to_string(&kept).unwrap();
            assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), kept, "{text}");
        }
        let text = serde_json::to_string(&notice(vec![entry(Event::Incomplete, "x")])).unwrap();
        assert!(text.contains("\"at\":\"2026-03-01T02:00:00Z\"") && text.contains("\"incomplete\""), "{text}");
    }

    #[test]
    fn only_what_is_wanted_is_told_and_what_is_complete_beside_it() {
        let all = notice(vec![entry(Event::Complete, "a"), entry(Event::Failed, "b"), entry(Event::Behind, "c")]);
        let events =
            |on: &[Event]| all.only(on).map(|told| told.entries.iter().map(|one| one.event).collect::<Vec<_>>());
        assert_eq!(events(&[Event::Failed]), Some(vec![Event::Complete, Event::Failed]));
        assert_eq!(events(&[Event::Overdue, Event::Digest]), None);
        assert_eq!(events(&[Event::Complete]), Some(vec![Event::Complete]));
        assert_eq!(all.worst(), Some(Event::Failed));
        assert_eq!(notice(Vec::new()).worst(), None);
        let digest =
            Notice { table: Some("t".into()), ..notice(vec![entry(Event::Digest, "d"), entry(Event::Failed, "b")]) };
        assert_eq!(digest.only(&[Event::Failed]).unwrap().table, None);
        assert_eq!(digest.only(&[Event::Digest]).unwrap().table.as_deref(), Some("t"));
    }
}
