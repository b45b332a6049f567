//! How a user names a snapshot: a profile, `latest`, `latest~2`, or digits of its id.

use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::{Timestamp as Instant, tz::TimeZone};

use crate::format::node::Timestamp;
use crate::id::IdPrefix;
use crate::repository::{Filter, SnapshotInfo, Snapshots};
use crate::ui::Failure;

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only snapshots of this machine
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Only snapshots with this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only snapshots begun at or before this time, such as 2026-03-01 or 2026-03-01T14:30
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

impl FilterArgs {
    /// The filter that the arguments mean.
    ///
    /// # Errors
    /// When the time cannot be read.
    pub fn filter(&self, profile: Option<&str>) -> Result<Filter, Failure> {
        let before = self.at.as_deref().map(parse_time).transpose()?;
        Ok(Filter { host: self.host.clone(), profile: profile.map(str::to_owned), tags: self.tag.clone(), before })
    }
}

/// Reads a time: RFC 3339, a date and time of this machine's zone, or a date, which means the end of that day.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    let zone = TimeZone::system();
    let local = |time: DateTime| time.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp());
    // A date alone; jiff would take one out of a date and time too.
    let is_date = text.len() == "2026-03-01".len();
    let end_of_day = |date: Date| local(date.at(23, 59, 59, 999_999_999));
    let instant = text
        .parse::<Instant>()
        .ok()
        .or_else(|| text.parse::<Date>().ok().filter(|_| is_date).and_then(end_of_day))
        .or_else(|| text.parse::<DateTime>().ok().and_then(local));
    let instant = instant.ok_or_else(|| {
        Failure::usage(
            format!("`{text}` is not a time"),
            "write a date such as 2026-03-01, or a time such as 2026-03-01T14:30 or 2026-03-01T14:30:00Z",
        )
    })?;
    let nanos = instant.as_nanosecond();
    Ok(Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0),
        nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    })
}

/// What a word on the command line stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest complete snapshot that fits, or the one so many steps before it.
    Latest(usize),
    /// The one whose id begins so.
    Id(IdPrefix),
    /// The newest complete one of a profile, or the one so many steps before it.
    Profile(String, usize),
}

impl Selector {
    /// Reads a word.
    ///
    /// # Errors
    /// When it looks like a path.
    pub fn parse(word: &str) -> Result<Self, Failure> {
        if word.contains('/') {
            return Err(Failure::usage(
                format!("`{word}` is a path, where a snapshot is expected"),
                "name a profile, `latest`, `latest~1`, or at least 8 digits of an id; the path comes after it",
            ));
        }
        let (name, back) = match word.rsplit_once('~') {
            Some((name, back)) => match back.parse() {
                Ok(back) => (name, back),
                Err(_) => {
                    return Err(Failure::usage(format!("`~{back}` is not a number of steps"), "write `latest~1`"));
                }
            },
            None => (word, 0),
        };
        Ok(match name {
            "latest" => Self::Latest(back),
            _ if back == 0 && IdPrefix::looks_like(name) => Self::Id(
                IdPrefix::new(name)
                    .map_err(|error| Failure::of(crate::ui::Exit::Usage, &error, "see `bk snapshots`"))?,
            ),
            _ => Self::Profile(name.to_owned(), back),
        })
    }

    /// The snapshot it means among those that `filter` lets through.
    ///
    /// # Errors
    /// When there is none; for a profile the message lists those that there are.
    pub fn find<'a>(&self, snapshots: &'a Snapshots, filter: &FilterArgs) -> Result<&'a SnapshotInfo, Failure> {
        match self {
            Self::Id(prefix) => Ok(snapshots.by_id(prefix)?),
            Self::Latest(back) => Ok(snapshots.latest(&filter.filter(None)?, *back)?),
            Self::Profile(name, back) => snapshots.latest(&filter.filter(Some(name))?, *back).map_err(|error| {
                let mut failure = Failure::from(error);
                let mut known: Vec<_> =
                    snapshots.all.iter().filter_map(|info| info.snapshot.profile.as_deref()).collect();
                known.sort_unstable();
                known.dedup();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                failure.message = format!("there is no snapshot of profile `{name}` that fits");
                failure.hint = Some(format!("profiles with snapshots: {known}; `bk snapshots` lists all"));
                failure
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_the_manual_says() {
        assert_eq!(Selector::parse("latest").unwrap(), Selector::Latest(0));
        assert_eq!(Selector::parse("latest~2").unwrap(), Selector::Latest(2));
        assert_eq!(Selector::parse("plex~1").unwrap(), Selector::Profile("plex".into(), 1));
        assert_eq!(Selector::parse("deadbeef").unwrap(), Selector::Id(IdPrefix::new("deadbeef").unwrap()));
        assert_eq!(Selector::parse("beef").unwrap(), Selector::Profile("beef".into(), 0));
        assert!(Selector::parse("./x").is_err());
        assert!(Selector::parse("latest~x").is_err());
    }

    #[test]
    fn a_date_means_the_end_of_its_day() {
        let (day, noon) = (parse_time("2026-03-01").unwrap(), parse_time("2026-03-01T12:00").unwrap());
        assert!(day > noon && day.seconds - noon.seconds < 12 * 3600);
        assert!(parse_time("yesterday").is_err());
    }
}
