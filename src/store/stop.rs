//! Waiting for a server that may never answer, on behalf of somebody who may not want to wait any longer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is on its way when the user stops the run gets so much longer: enough to note what is stored.
const GRACE: Duration = Duration::from_secs(10);
/// How often somebody looks whether the user has stopped it.
const LOOK: Duration = Duration::from_millis(200);

/// Set when the user wants the run to end; the default is never set.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set when `flag` is.
    #[must_use]
    pub const fn when(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Waits for `request`; `None` when it was not done soon after the user had stopped the run.
    pub(super) async fn wait<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        let mut request = std::pin::pin!(request);
        loop {
            match tokio::time::timeout(LOOK, request.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.0.load(Ordering::Relaxed) => return tokio::time::timeout(GRACE, request).await.ok(),
                Err(_) => {}
            }
        }
    }
}

/// Settings are the same whoever may stop what is done with them.
impl PartialEq for Stop {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Stop {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_until_the_run_is_stopped_and_a_little_longer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
            let stop = Stop::default();
            assert_eq!(stop.wait(sleep(3600)).await, Some(()));
            stop.0.store(true, Ordering::Relaxed);
            assert_eq!(stop.wait(sleep(5)).await, Some(()));
            assert_eq!(stop.wait(sleep(3600)).await, None);
        });
    }
}
