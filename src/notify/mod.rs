//! Who hears how it went: what is sent, how, and to whom. When something is sent is decided by whoever calls this.
//!
//! A [`Notice`] is made once and told to every [`Channel`] that wants to hear of it. Telling never fails a backup: what
//! could not be told comes back as [`Undelivered`], with what to send again later.
//!
//! # What leaves the machine
//! Titles, one line an entry, names of profiles and repositories. No names of files. Texts are cut and stripped of what
//! could end a line, move a cursor, or mention somebody.
//!
//! # Secrets
//! Of many services the URL is the secret. They are read when they are needed and are in no message: an error names the
//! channel and the host, and what a server says is searched for them first.
//!
//! # Time
//! Each place has its own thread and at most [`Patience::total`]; what a network or a busy server refuses is tried again
//! within that.

mod email;
mod error;
mod notice;
mod post;
mod program;
mod ready;
mod secret;
mod template;
mod web;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

pub use error::NotifyError;
pub use notice::{Entry, Notice};

use crate::clock::Timestamp;
pub use crate::profile::{Channel, Event};
use crate::profile::{ChannelKind, Ready, Template};

/// How long a place is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until one try has been answered in full.
    pub whole: Duration,
    /// The pauses before further tries; so many there are.
    pub pauses: Vec<Duration>,
    /// The longest pause that a server may ask for.
    pub longest_pause: Duration,
    /// All tries and pauses together.
    pub total: Duration,
    /// How long a program may run.
    pub program: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(10),
            whole: seconds(30),
            pauses: vec![seconds(1), seconds(4), seconds(10)],
            longest_pause: seconds(30),
            total: seconds(110),
            program: seconds(60),
        }
    }
}

/// What is told.
#[derive(Debug, Clone, Copy)]
enum What<'a> {
    /// A run begins; only checks that measure it hear of that.
    Start,
    /// How it went.
    Notice(&'a Notice),
    /// Nothing but that telling works.
    Test(&'a Notice),
}

impl What<'_> {
    const fn notice(&self) -> Option<&Notice> {
        match self {
            Self::Start => None,
            Self::Notice(notice) | Self::Test(notice) => Some(notice),
        }
    }

    /// The word for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Test(_) => "test",
            Self::Notice(notice) => notice.worst().map_or("complete", Event::word),
        }
    }
}

/// A notice that did not reach a channel, with what to send there later.
#[derive(Debug)]
pub struct Undelivered {
    /// The name of the channel.
    pub channel: String,
    /// What it would have heard.
    pub notice: Notice,
    /// Why it has not.
    pub error: NotifyError,
}

/// Tells channels.
#[derive(Debug, Clone, Default)]
pub struct Sender {
    /// How long each is waited for.
    pub patience: Patience,
}

impl Sender {
    /// Tells all channels what each wants to hear, at the same time. It takes at most [`Patience::total`], or
    /// [`Patience::program`].
    #[must_use]
    pub fn deliver_all(&self, channels: &BTreeMap<String, Channel>, notice: &Notice) -> Vec<Undelivered> {
        let heard = channels.values().filter_map(|channel| Some((channel, heard(channel, notice)?)));
        let told = in_parallel(heard.collect(), |(channel, notice)| {
            let error = self.deliver(channel, &notice).err()?;
            Some(Undelivered { channel: channel.name.clone(), notice, error })
        });
        told.into_iter().flatten().collect()
    }

    /// Tells one channel, whatever it wants to hear; for what [`heard`] gave or could not be delivered before.
    ///
    /// # Errors
    /// [`NotifyError`] after all tries; no secret is in it.
    pub fn deliver(&self, channel: &Channel, notice: &Notice) -> Result<(), NotifyError> {
        self.tell(channel, What::Notice(notice)).map(drop)
    }

    /// Tells the checks among the channels that a run begins, so that they can say how long it took, and notice one that
    /// never ends. Other channels hear nothing.
    #[must_use]
    pub fn start_all(&self, channels: &BTreeMap<String, Channel>) -> Vec<(String, NotifyError)> {
        let checks = channels.values().filter(|channel| matches!(channel.kind, ChannelKind::Ping(_))).collect();
        let told =
            in_parallel(checks, |channel: &Channel| Some((channel.name.clone(), self.ping_start(channel).err()?)));
        told.into_iter().flatten().collect()
    }

    /// Tells a check that a run begins; nothing when the channel is of another kind.
    ///
    /// # Errors
    /// As [`Self::deliver`].
    pub fn ping_start(&self, channel: &Channel) -> Result<(), NotifyError> {
        match channel.kind {
            ChannelKind::Ping(_) => self.tell(channel, What::Start).map(drop),
            _ => Ok(()),
        }
    }

    /// Sends every channel a test, at the same time: by name, what it answered.
    #[must_use]
    pub fn test_all(
        &self,
        channels: &BTreeMap<String, Channel>,
        host: &str,
        at: Timestamp,
    ) -> Vec<(String, Result<String, NotifyError>)> {
        let test = Notice::test(host, at);
        in_parallel(channels.values().collect(), |channel: &Channel| {
            (channel.name.clone(), self.tell(channel, What::Test(&test)))
        })
    }

    fn tell(&self, channel: &Channel, what: What<'_>) -> Result<String, NotifyError> {
        let plain = what.notice().map(Notice::plain);
        let what = match (what, &plain) {
            (What::Notice(_), Some(plain)) => What::Notice(plain),
            (What::Test(_), Some(plain)) => What::Test(plain),
            (what, _) => what,
        };
        match &channel.kind {
            ChannelKind::Program(command) => program::tell(&channel.name, command, what, &self.patience),
            ChannelKind::Email(email) => email::tell(&channel.name, email, what, &self.patience),
            kind => web::tell(&channel.name, kind, what, &self.patience),
        }
    }
}

/// What of a notice a channel wants to hear; `None` when that is nothing.
#[must_use]
pub fn heard(channel: &Channel, notice: &Notice) -> Option<Notice> {
    if channel.hears_every_run() {
        // A run, or something that is wrong besides. That something else is well again does not make well what a run
        // has told, and how everything stands says nothing about a run.
        let is_wrong = notice.entries.iter().any(|entry| !entry.event.is_good());
        return (notice.exit.is_some() || is_wrong).then(|| notice.clone());
    }
    notice.only(&channel.on)
}

/// Each in a thread of its own; in the order of `all`.
fn in_parallel<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Whether the place only understands that all is well or is not.
const fn is_switch(kind: &ChannelKind) -> bool {
    matches!(kind, ChannelKind::Ping(_) | ChannelKind::Webhook { template: Template::Ready(Ready::UptimeKuma), .. })
}
