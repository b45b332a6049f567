//! Nights, one after the other, under a clock of the test: the program is called as timers would call it, and every exit
//! code, report, status, notice, number and snapshot is compared with what a person expects who has read the manual.
//!
//! What is expected comes from [`model`], which shares no code with the program: it knows the story and the manual.
//! What runs is the program itself, in a process of its own: this test binary, see [`as_bk`].
//!
//! Every day it is 45 nights with all that can happen; with `BK_TORTURE` it is 120, with a bucket that is away for a week,
//! which takes some minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod expect;
mod machine;
mod model;
mod numbers;
mod rules;
mod story;
mod time;

use std::sync::Arc;
use std::time::Duration;

use bk::clock::{Clock, Stamps, Stopwatch, SystemClock, Timestamp};
use bk::command::{Time, run_at};
use story::Story;

/// A clock that was set when the process began, and goes on from there.
struct SetClock {
    at: i64,
    since: Stopwatch,
}

impl Clock for SetClock {
    fn wall(&self) -> Timestamp {
        let since = self.since.elapsed();
        Timestamp { seconds: self.at + since.as_secs() as i64, nanos: since.subsec_nanos() }
    }

    fn boottime(&self) -> Duration {
        SystemClock.boottime()
    }
}

/// Not a test: it is the program, when a test starts this binary again with a time and arguments.
#[test]
fn as_bk() {
    let (Ok(at), Ok(arguments)) = (std::env::var("BK_AT"), std::env::var("BK_ARGUMENTS")) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SetClock { at: at.parse().unwrap(), since: Stopwatch::start() });
    let time = Time { clock: Arc::clone(&clock), stamps: Some(Stamps(clock)) };
    let code = run_at(std::iter::once("bk".into()).chain(arguments.into_iter().map(Into::into)), time);
    // An exit code cannot be read, only returned from `main`, which is not ours.
    let digits: String = format!("{code:?}").chars().filter(char::is_ascii_digit).collect();
    std::process::exit(digits.parse().unwrap());
}

/// Everything that can happen, and the end of summer time.
#[test]
fn forty_five_nights_are_as_a_person_expects() {
    story::play(&Story {
        nights: 45,
        refused: 8..12,
        dump_fails: 16..19,
        away: 24..27,
        off: 33..35,
        changed_at_once: Some(39),
        accepted: 41,
        ..Story::quiet()
    });
}

/// Long enough for a bucket to let go of what is 90 days old.
#[test]
fn a_hundred_and_twenty_nights_are_as_a_person_expects() {
    if std::env::var_os("BK_TORTURE").is_none() {
        println!("skipped: BK_TORTURE is not set");
        return;
    }
    story::play(&Story {
        nights: 120,
        refused: 20..24,
        dump_fails: 40..43,
        away: 59..66,
        off: 75..77,
        changed_at_once: Some(90),
        accepted: 93,
        ..Story::quiet()
    });
}

#[test]
fn when_the_clock_skips_half_past_two_the_night_comes_at_three() {
    story::play(&Story { first_day: time::MARCH_28 - 4, nights: 8, ..Story::quiet() });
}
