//! What the store of a repository can do, in words and for programs.

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::job::examine::{Finding, Level};
use crate::size::ByteSize;
use crate::store::Store;
use crate::store::probe::{self, ClockDifference, ProbeError, ProbeReport, Rates, Step};
use crate::ui::text::duration;
use crate::ui::{Exit, Failure};

/// More matters: a prune goes by the clock of the store, and a server refuses signatures that are some minutes off.
const MOST_SECONDS: f64 = 60.0;

/// The same, twice.
pub(super) struct Tried {
    pub(super) findings: Vec<Finding>,
    pub(super) json: Value,
}

/// Tries out a store, and measures how fast it is when that is wanted.
pub(super) fn tried(store: &dyn Store, clock: &dyn Clock, speed: bool) -> Tried {
    let report = probe::probe(store, clock);
    let measured = (speed && report.is_sound()).then(|| probe::measure(store));
    let mut findings = requests(&report);
    findings.extend(report.clock.and_then(|difference| of_clock(difference, store.is_far())));
    if store.is_far() {
        findings.extend(report.answer_time.map(|time| {
            let milliseconds = time.as_secs_f64() * 1000.0;
            Finding::ok("answers", format!("a request takes {milliseconds:.1} ms"))
        }));
    }
    findings.extend(match &measured {
        None if speed => Some(not_measured(&report)),
        None => None,
        Some(Ok(rates)) => Some(of_rates(*rates)),
        Some(Err((step, error))) => Some(failed(*step, error)),
    });
    if report.keeps_deleted == Some(true) {
        let message = "it keeps what is deleted, as older versions: `bk prune` frees no room by itself";
        let hint = "let its lifecycle rule delete older versions after some days; until then they can be brought back";
        findings.push(Finding::new(Level::Note, "versions", message, hint));
    }
    if !store.syncs() {
        let message = "this server cannot be asked to make files durable: after a power cut there the newest packs may \
                       be gone";
        findings.push(Finding::new(Level::Warning, "durability", message, "run `bk check` after one: it finds that"));
    }
    let json = json(&report, measured.and_then(Result::ok), store.syncs());
    Tried { findings, json }
}

/// A step as it is called.
const fn verb(step: Step) -> &'static str {
    match step {
        Step::Write => "writing",
        Step::Read => "reading back",
        Step::List => "listing",
        Step::Size => "asking for a length",
        Step::Delete => "deleting",
        Step::Gone => "seeing it gone",
    }
}

/// A step as it was done to an object; what is gone was deleted.
const fn done(step: Step) -> Option<&'static str> {
    match step {
        Step::Write => Some("written"),
        Step::Read => Some("read back"),
        Step::List => Some("listed"),
        Step::Size => Some("looked at"),
        Step::Delete => Some("deleted"),
        Step::Gone => None,
    }
}

fn requests(report: &ProbeReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    let well = report.steps.iter().filter(|(_, result)| result.is_ok());
    let words: Vec<&str> = well.filter_map(|(step, _)| done(*step)).collect();
    if let Some((last, first)) = words.split_last() {
        let all = if first.is_empty() { (*last).to_owned() } else { format!("{} and {last}", first.join(", ")) };
        findings.push(Finding::ok("store", format!("an object was {all}")));
    }
    let left = if report.is_left() { format!("; {} stays there", report.name) } else { String::new() };
    for (step, result) in &report.steps {
        let Err(error) = result else { continue };
        if *step == Step::Delete && report.is_delete_refused() {
            let message =
                format!("deleting is refused: backups and restores work, `bk prune` does not, from this machine{left}");
            let hint = "nothing, when that is meant; otherwise give it the right to delete";
            findings.push(Finding::new(Level::Note, "store", message, hint));
            continue;
        }
        let mut finding = failed(*step, error);
        if matches!(step, Step::Delete | Step::Gone) {
            finding.message.push_str(&left);
        }
        findings.push(finding);
    }
    findings
}

fn failed(step: Step, error: &ProbeError) -> Finding {
    let why = Failure::of(Exit::Failed, error, "").in_one_line();
    Finding::new(Level::Problem, "store", format!("{} does not work: {why}", verb(step)), error.hint())
}

/// A file system of this machine has its clock: only when it has not there is something to say.
fn of_clock(difference: ClockDifference, is_far: bool) -> Option<Finding> {
    let ClockDifference { ahead_seconds, uncertain_seconds } = difference;
    let way = if ahead_seconds < 0.0 { "behind" } else { "ahead of" };
    let message = format!("that of the store is {} {way} that of this machine", duration(ahead_seconds.abs()));
    if ahead_seconds.abs() - uncertain_seconds > MOST_SECONDS {
        let hint = "set the one that is wrong, as `timedatectl` shows it here: a prune goes by that of the store, and \
                    servers refuse who is some minutes off";
        return Some(Finding::new(Level::Warning, "clock", message, hint));
    }
    is_far.then(|| Finding::ok("clock", message))
}

fn of_rates(rates: Rates) -> Finding {
    let size = |bytes| ByteSize(bytes).to_string();
    let (put, got) = (size(rates.put_bytes_per_second), size(rates.got_bytes_per_second));
    Finding::ok("speed", format!("takes {put}/s, gives {got}/s"))
}

fn not_measured(report: &ProbeReport) -> Finding {
    let size = ByteSize(probe::SPEED_BYTES as u64);
    if report.is_delete_refused() {
        let message = format!("not measured: {size} would stay there, since deleting is refused");
        return Finding::new(Level::Note, "speed", message, "measure with a key that may delete");
    }
    Finding::new(Level::Note, "speed", "not measured", "first see to what does not work")
}

fn json(report: &ProbeReport, rates: Option<Rates>, syncs: bool) -> Value {
    let word = |step| match report.step(step) {
        None => Value::Null,
        Some(Ok(())) => "ok".into(),
        Some(Err(_)) if step == Step::Delete && report.is_delete_refused() => "refused".into(),
        Some(Err(_)) => "failed".into(),
    };
    json!({
        "write": word(Step::Write),
        "read": word(Step::Read),
        "list": word(Step::List),
        "size": word(Step::Size),
        "delete": word(Step::Delete),
        "gone": word(Step::Gone),
        "left": report.is_left().then_some(&report.name),
        "clock_ahead_seconds": report.clock.map(|clock| clock.ahead_seconds),
        "answer_seconds": report.answer_time.map(|time| time.as_secs_f64()),
        "put_bytes_per_second": rates.map(|rates| rates.put_bytes_per_second),
        "got_bytes_per_second": rates.map(|rates| rates.got_bytes_per_second),
        "makes_durable": syncs,
        "keeps_deleted": report.keeps_deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_more_than_a_minute_off_for_certain_is_warned_about() {
        let found = |ahead_seconds, uncertain_seconds, is_far| {
            let found = of_clock(ClockDifference { ahead_seconds, uncertain_seconds }, is_far);
            found.map(|finding| (finding.level, finding.message))
        };
        let said = |way: &str| format!("that of the store is {way} that of this machine");
        assert_eq!(found(0.4, 0.1, true), Some((Level::Ok, said("0.4 s ahead of"))));
        assert_eq!(found(-50.0, 0.1, true), Some((Level::Ok, said("50.0 s behind"))));
        assert_eq!(found(-50.0, 0.1, false), None);
        for is_far in [false, true] {
            assert_eq!(found(-90.0, 0.1, is_far), Some((Level::Warning, said("1 min 30 s behind"))));
            assert_eq!(found(7200.0, 0.1, is_far), Some((Level::Warning, said("2 h 0 min ahead of"))));
        }
        // A put that had to be tried again and again says less of the clock.
        assert_eq!(found(-90.0, 45.0, true).map(|(level, _)| level), Some(Level::Ok));
    }
}
