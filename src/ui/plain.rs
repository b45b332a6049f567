//! Progress where there is no terminal: a line in the log now and then, or JSON for a program that watches.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::line::log_line;
use super::tally::{Pace, Tally, View};
use super::ticker::Ticker;
use crate::progress::Progress;

/// How often a log is told; shorter runs tell nothing.
const LOG_PERIOD: Duration = Duration::from_secs(30);
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// Tells progress line by line, or only warns.
pub(super) struct Plain {
    tally: Arc<Tally>,
    ticker: Option<Ticker>,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

impl Plain {
    /// A line in words every half minute.
    pub fn log(what: &str, write: impl Fn(&str) + Send + 'static, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let what = what.to_owned();
        Self::telling(LOG_PERIOD, warn, move |view, pace| write(&log_line(&what, view, pace)))
    }

    /// A JSON object every second, in restic's shape.
    pub fn json(write: impl Fn(&str) + Send + 'static, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self::telling(STATUS_PERIOD, warn, move |view, pace| write(&status(view, pace).to_string()))
    }

    /// Nothing but warnings.
    pub fn quiet(warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { tally: Arc::new(Tally::new()), ticker: None, warn: Box::new(warn) }
    }

    fn telling(
        period: Duration,
        warn: impl Fn(&str) + Send + Sync + 'static,
        tell: impl Fn(&View, &Pace) + Send + 'static,
    ) -> Self {
        let tally = Arc::new(Tally::new());
        let watched = Arc::clone(&tally);
        let mut pace = Pace::default();
        let tick = move || {
            let view = watched.view();
            pace.update(&view);
            tell(&view, &pace);
        };
        Self { tally, ticker: Some(Ticker::start(period, period, tick)), warn: Box::new(warn) }
    }
}

impl Progress for Plain {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.tally.phase(name, total_bytes);
    }

    fn total(&self, items: u64, bytes: u64) {
        self.tally.total(items, bytes);
    }

    fn advance(&self, items: u64, bytes: u64) {
        self.tally.advance(items, bytes);
    }

    fn current(&self, path: &[u8]) {
        self.tally.current(path);
    }

    fn warn(&self, message: &str) {
        (self.warn)(message);
    }

    fn finish(&self) {
        if let Some(ticker) = &self.ticker {
            ticker.stop();
        }
    }
}

/// What restic prints as `status`; what is not known is left out.
fn status(view: &View, pace: &Pace) -> Value {
    let mut status = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            status.insert(key.to_owned(), value);
        }
    };
    put("message_type", Some("status".into()));
    put("phase", Some(view.phase.as_str()).filter(|phase| !phase.is_empty()).map(Value::from));
    put("seconds_elapsed", Some(view.elapsed.as_secs().into()));
    put("seconds_remaining", pace.remaining(view).map(|left| left.as_secs().into()));
    put("percent_done", view.fraction().map(Value::from));
    put("total_files", view.total_items.map(Value::from));
    put("files_done", Some(view.items.into()));
    put("total_bytes", view.total_bytes.map(Value::from));
    put("bytes_done", Some(view.bytes.into()));
    // JSON has no bytes: what is not UTF-8 becomes U+FFFD here, as in restic.
    let current = String::from_utf8_lossy(&view.current);
    put("current_files", Some(json!([current])).filter(|_| !current.is_empty()));
    Value::Object(status)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_status_has_restics_keys_and_leaves_out_what_is_not_known() {
        let view = View {
            phase: "backing up".into(),
            items: 3,
            bytes: 50,
            total_items: Some(4),
            total_bytes: Some(200),
            elapsed: Duration::from_millis(12_700),
            phase_elapsed: Duration::from_secs(10),
            current: b"/srv/a\xff".to_vec(),
        };
        let mut pace = Pace::default();
        pace.update(&view);
        let expected = json!({
            "message_type": "status", "phase": "backing up", "seconds_elapsed": 12, "seconds_remaining": 30,
            "percent_done": 0.25, "total_files": 4, "files_done": 3, "total_bytes": 200, "bytes_done": 50,
            "current_files": ["/srv/a\u{fffd}"],
        });
        assert_eq!(status(&view, &pace), expected);
        let expected = json!({ "message_type": "status", "seconds_elapsed": 0, "files_done": 0, "bytes_done": 0 });
        assert_eq!(status(&View::default(), &Pace::default()), expected);
    }

    #[test]
    fn a_short_run_tells_nothing_but_its_warnings() {
        let (lines, told) = channel();
        let warnings = lines.clone();
        let warn = move |text: &str| warnings.send(format!("warning {text}")).unwrap();
        let plain = Plain::log("backup", move |line| lines.send(line.to_owned()).unwrap(), warn);
        plain.advance(1, 1);
        plain.warn("disk on fire");
        plain.finish();
        drop(plain);
        assert_eq!(told.iter().collect::<Vec<_>>(), ["warning disk on fire"]);
    }

    #[test]
    fn a_long_run_tells_each_period() {
        let (lines, told) = channel();
        let tell = move |view: &View, _: &Pace| lines.send(view.items).unwrap();
        let plain = Plain::telling(Duration::from_millis(1), |_| {}, tell);
        plain.advance(2, 0);
        assert!(told.iter().take(1000).any(|items| items == 2));
        plain.finish();
    }
}
