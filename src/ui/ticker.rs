//! A thread that does something at regular times, such as drawing a bar.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The thread; it ends with this value.
pub(super) struct Ticker {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ticker {
    /// Calls `tick` after `first` and then every `period`.
    ///
    /// Where the system gives no more threads nothing is called: what ticks is never worth the run that it tells of.
    pub fn start(first: Duration, period: Duration, mut tick: impl FnMut() + Send + 'static) -> Self {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&stopped);
        let run = move || {
            let (stopped, changed) = &*shared;
            let mut wait = first;
            loop {
                let guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = changed.wait_timeout_while(guard, wait, |stopped| !*stopped);
                if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                tick();
                wait = period;
            }
        };
        let thread = Builder::new().name("progress".into()).spawn(run).ok();
        Self { stopped, thread: Mutex::new(thread) }
    }

    /// Ends the thread, once what it is doing now is done.
    pub fn stop(&self) {
        let (stopped, changed) = &*self.stopped;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A tick that panicked has said so itself.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    #[test]
    fn it_ticks_until_it_is_stopped_and_not_once_more() {
        let (sender, ticks) = channel();
        let ticker = Ticker::start(Duration::ZERO, Duration::from_millis(1), move || {
            let _ = sender.send(());
        });
        for _ in 0..3 {
            ticks.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        ticker.stop();
        ticker.stop();
        while ticks.try_recv().is_ok() {}
        assert_eq!(ticks.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn stopping_does_not_wait_for_the_next_tick() {
        let ticker = Ticker::start(Duration::from_secs(3600), Duration::from_secs(3600), || {});
        ticker.stop();
    }
}
