//! A clock that stands still until it is told otherwise.

use std::sync::Mutex;
use std::time::Duration;

use bk::clock::{Clock, SystemClock};
use bk::format::node::Timestamp;

/// Wall and boot time, set apart from each other.
#[derive(Debug)]
pub struct TestClock {
    times: Mutex<(Timestamp, Duration)>,
}

impl TestClock {
    /// A day from now, so that everything a test has just written looks old enough to be trusted.
    pub fn tomorrow() -> Self {
        let now = SystemClock.wall();
        let wall = Timestamp { seconds: now.seconds + 86_400, ..now };
        Self { times: Mutex::new((wall, Duration::from_secs(1_000_000))) }
    }

    /// Lets both clocks go on, as they do while the machine sleeps.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times.lock().unwrap();
        times.0.seconds += by.as_secs() as i64;
        times.1 += by;
    }

    /// Sets the time of day alone.
    pub fn set_wall(&self, wall: Timestamp) {
        self.times.lock().unwrap().0 = wall;
    }

    /// Sets the time since boot alone.
    pub fn set_boottime(&self, boottime: Duration) {
        self.times.lock().unwrap().1 = boottime;
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        self.times.lock().unwrap().0
    }

    fn boottime(&self) -> Duration {
        self.times.lock().unwrap().1
    }
}
