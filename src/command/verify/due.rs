//! Whether a verification is due.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::profile::{Depth, Every, Verify};
use crate::repository::{SnapshotInfo, Snapshots};
use crate::ui::text::coarse;

/// A timer that comes a little sooner than the last time finds it due all the same: at most by so much.
const EARLY: Duration = Duration::from_secs(12 * 3600);

/// Whether it is only done by hand.
pub(super) const fn is_never(rules: &Verify) -> bool {
    matches!(rules.every, Every::Never)
}

/// Why nothing is due yet; `None` when it is. What some machine proved for all of them counts, what failed or left
/// something out does not.
/// `of` is the profile, and the machine whose snapshots count.
pub(super) fn not_before(
    rules: &Verify,
    snapshots: &Snapshots,
    of: (&str, Option<String>),
    now: Timestamp,
) -> Option<String> {
    let Every::Span(span) = rules.every else { return None };
    let (profile, host) = of;
    let is_meant = |info: &&SnapshotInfo| {
        info.snapshot.profile.as_deref() == Some(profile)
            && host.as_ref().is_none_or(|host| info.snapshot.host == *host)
    };
    let last = snapshots.all.iter().filter(is_meant).filter_map(|info| done(rules, snapshots, info)).max()?;
    // A time to come is that of a wrong clock.
    let age = u64::try_from(now.seconds - last.seconds).ok()?;
    let early = EARLY.min(span / 10).as_secs();
    let left = span.as_secs().saturating_sub(early).checked_sub(age).filter(|left| *left > 0)?;
    let (age, left) = (coarse(age.cast_signed()), coarse((left + early).cast_signed()));
    Some(format!("not due: verified {age} ago, due in {left}"))
}

/// When all that the rules ask for was proved of a snapshot. Where they ask for no files, the drill is all of it.
fn done(rules: &Verify, snapshots: &Snapshots, info: &SnapshotInfo) -> Option<Timestamp> {
    let drilled = snapshots.facts.verification(&info.id).filter(|proved| proved.not_run == 0).map(|proved| proved.time);
    let drilled = drilled.filter(|_| rules.files == Depth::Nothing);
    drilled.max(snapshots.facts.verified(&info.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::fact::{Fact, FactKind};
    use crate::operation::bench::{Bench, file, folder};
    use crate::profile::VerifySaid;
    use crate::repository::{Verification, add_facts};

    const DAY: i64 = 86_400;

    fn due_after(seconds: i64, every: Every, kind: FactKind) -> bool {
        due_by(seconds, Verify { every, databases: true, files: Depth::All }, kind, None)
    }

    fn due_by(seconds: i64, rules: Verify, kind: FactKind, proved: Option<Verification>) -> bool {
        let bench = Bench::new();
        let info = bench.snapshot_with(vec![("/srv", folder("x", vec![file("f", b"1")]))], |snapshot| {
            snapshot.profile = Some("plex".into());
        });
        let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
        let detail = proved.map(|proved| proved.detail());
        let fact = Fact { kind, time, host: "h".into(), snapshot: Some(info.id), pack: None, detail };
        add_facts(&bench.repository, &[fact]).unwrap();
        let snapshots = Snapshots::load(&bench.repository).unwrap();
        let now = Timestamp { seconds: time.seconds + seconds, nanos: 0 };
        assert_eq!(not_before(&rules, &snapshots, ("other", None), now), None);
        assert_eq!(not_before(&rules, &snapshots, ("plex", Some("another machine".into())), now), None);
        not_before(&rules, &snapshots, ("plex", None), now).is_none()
    }

    #[test]
    fn a_weekly_verification_is_due_after_a_week_and_a_little_before() {
        let week = VerifySaid::default().filled().every;
        assert!(!due_after(6 * DAY, week, FactKind::Verified));
        assert!(due_after(7 * DAY - 600, week, FactKind::Verified), "the timer comes ten minutes early");
        assert!(due_after(8 * DAY, week, FactKind::Verified));
        assert!(due_after(DAY, week, FactKind::Drilled), "a drill alone is no verification");
        assert!(due_after(-DAY, week, FactKind::Verified), "a time to come proves nothing");
        // Whoever asks for no files has all that he asks for with the drill.
        let of_databases = Verify { every: week, databases: true, files: Depth::Nothing };
        let proved = Verification { databases: 1, ..Verification::default() };
        assert!(!due_by(DAY, of_databases, FactKind::Drilled, Some(proved.clone())));
        let in_part = Verification { not_run: 1, ..proved };
        assert!(due_by(DAY, of_databases, FactKind::Drilled, Some(in_part)));
        let hour = Every::Span(Duration::from_secs(3600));
        assert!(!due_after(3000, hour, FactKind::Verified) && due_after(3300, hour, FactKind::Verified));
    }
}
