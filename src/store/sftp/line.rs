//! The line to the server: opened when it is needed, opened again when it was lost, one for all threads.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::ssh::{Address, Connection};
use super::trouble::Failure;

/// Waits before each further try, of a server that was never reached: it has probably been misspelt.
const FIRST: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// And of one that was: together about three minutes.
const PATIENT: [Duration; 9] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(60),
];

pub(super) struct Line {
    address: Address,
    state: Mutex<State>,
    /// How often a connection was tried to be opened.
    attempts: AtomicU64,
    reached: AtomicBool,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    failure: Option<Failure>,
}

impl Line {
    pub fn new(address: Address) -> Self {
        Self { address, state: Mutex::default(), attempts: AtomicU64::new(0), reached: AtomicBool::new(false) }
    }

    /// The connection that is open, or a new one.
    async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let seen = self.attempts.load(Ordering::SeqCst);
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| !connection.is_broken()) {
            return Ok(Arc::clone(connection));
        }
        // Another thread has just tried while this one waited: threads do not queue up to find out the same.
        if let Some(failure) = state.failure.clone().filter(|_| self.attempts.load(Ordering::SeqCst) != seen) {
            return Err(failure);
        }
        state.connection = None;
        let opened = Connection::open(&self.address).await;
        self.attempts.fetch_add(1, Ordering::SeqCst);
        match opened {
            Ok(connection) => {
                self.reached.store(true, Ordering::Relaxed);
                let connection = Arc::new(connection);
                *state = State { connection: Some(Arc::clone(&connection)), failure: None };
                Ok(connection)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    async fn once<T, F>(&self, request: impl Fn(Arc<Connection>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let connection = self.connection().await?;
        match request(Arc::clone(&connection)).await {
            Err(failure @ Failure::Broken(..)) => Err(connection.give_up(failure).await),
            answer => answer,
        }
    }

    /// Does something with the server that may be done twice, and does it again after the connection was lost.
    pub async fn ask<T, F>(&self, request: impl Fn(Arc<Connection>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = 0;
        loop {
            let failure = match self.once(&request).await {
                Err(failure @ Failure::Broken(..)) => failure,
                answer => return answer,
            };
            let reached = self.reached.load(Ordering::Relaxed);
            let waits: &[Duration] = if reached { &PATIENT } else { &FIRST };
            let may_pass = matches!(failure, Failure::Broken(trouble, _) if trouble.may_pass(reached));
            match waits.get(tries).filter(|_| may_pass) {
                Some(wait) => sleep(*wait).await,
                None => {
                    // Who waited for so long in vain does not wait again for what is asked next.
                    self.reached.store(false, Ordering::Relaxed);
                    return Err(failure);
                }
            }
            tries += 1;
        }
    }

    /// Does something once, where a failure does not matter.
    pub async fn try_once<T, F>(&self, request: impl Fn(Arc<Connection>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.once(request).await
    }
}
