//! What a run asked of the server of a repository, for people and for programs.

use serde_json::{Value, json};

use super::{Opened, Session};
use crate::size::ByteSize;
use crate::store::Traffic;
use crate::ui::screen::Verbosity;
use crate::ui::text::count;

/// `null` where there is no server.
pub(super) fn value(opened: &Opened) -> Value {
    let shown = |Traffic { requests, sent_bytes, received_bytes }| json!({ "requests": requests, "sent_bytes": sent_bytes, "received_bytes": received_bytes });
    opened.repository.store().traffic().map_or(Value::Null, shown)
}

/// Says it to those who want to know everything.
pub(super) fn tell(session: &Session, opened: &Opened) {
    if session.screen.verbosity >= Verbosity::Verbose
        && let Some(traffic) = opened.repository.store().traffic()
    {
        session.screen.note(&sentence(traffic));
    }
}

fn sentence(traffic: Traffic) -> String {
    let (up, down) = (ByteSize(traffic.sent_bytes), ByteSize(traffic.received_bytes));
    format!("asked the server {}; {up} up, {down} down", count(traffic.requests, "time", "times"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_how_often_and_how_much() {
        let traffic = Traffic { requests: 18, sent_bytes: 1_258_291, received_bytes: 3072 };
        assert_eq!(sentence(traffic), "asked the server 18 times; 1.2 MiB up, 3 KiB down");
    }
}
