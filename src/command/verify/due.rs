//! Whether a verification is due.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::profile::{Every, Verify};
use crate::repository::Snapshots;
use crate::ui::text::coarse;

/// A timer that comes a little sooner than the last time finds it due all the same: at most by so much.
const EARLY: Duration = Duration::from_secs(12 * 3600);

/// Whether it is only done by hand.
pub(super) const fn is_never(rules: &Verify) -> bool {
    matches!(rules.every, Every::Never)
}

/// Why nothing is due yet; `None` when it is. What some machine proved for all of them counts, what failed or left
/// something out does not.
pub(super) fn not_before(rules: &Verify, snapshots: &Snapshots, profile: &str, now: Timestamp) -> Option<String> {
    let Every::Span(span) = rules.every else { return None };
    let of_profile = snapshots.all.iter().filter(|info| info.snapshot.profile.as_deref() == Some(profile));
    let last = of_profile.filter_map(|info| snapshots.facts.verified(&info.id)).max()?;
    // A time to come is that of a wrong clock.
    let age = u64::try_from(now.seconds - last.seconds).ok()?;
    let early = EARLY.min(span / 10).as_secs();
    let left = span.as_secs().saturating_sub(early).checked_sub(age).filter(|left| *left > 0)?;
    let (age, left) = (coarse(age.cast_signed()), coarse((left + early).cast_signed()));
    Some(format!("not due: verified {age} ago, due in {left}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::fact::{Fact, FactKind};
    use crate::operation::bench::{Bench, file, folder};
    use crate::profile::{Depth, VerifySaid};
    use crate::repository::add_facts;

    const DAY: i64 = 86_400;

    fn due_after(seconds: i64, every: Every, kind: FactKind) -> bool {
        let bench = Bench::new();
        let info = bench.snapshot_with(vec![("/srv", folder("x", vec![file("f", b"1")]))], |snapshot| {
            snapshot.profile = Some("plex".into());
        });
        let time = Timestamp { seconds: 1_700_000_000, nanos: 0 };
        let fact = Fact { kind, time, host: "h".into(), snapshot: Some(info.id), pack: None, detail: None };
        add_facts(&bench.repository, &[fact]).unwrap();
        let snapshots = Snapshots::load(&bench.repository).unwrap();
        let rules = Verify { every, databases: true, files: Depth::All };
        let now = Timestamp { seconds: time.seconds + seconds, nanos: 0 };
        assert_eq!(not_before(&rules, &snapshots, "other", now), None);
        not_before(&rules, &snapshots, "plex", now).is_none()
    }

    #[test]
    fn a_weekly_verification_is_due_after_a_week_and_a_little_before() {
        let week = VerifySaid::default().filled().every;
        assert!(!due_after(6 * DAY, week, FactKind::Verified));
        assert!(due_after(7 * DAY - 600, week, FactKind::Verified), "the timer comes ten minutes early");
        assert!(due_after(8 * DAY, week, FactKind::Verified));
        assert!(due_after(DAY, week, FactKind::Drilled), "a drill alone is no verification");
        assert!(due_after(-DAY, week, FactKind::Verified), "a time to come proves nothing");
        let hour = Every::Span(Duration::from_secs(3600));
        assert!(!due_after(3000, hour, FactKind::Verified) && due_after(3300, hour, FactKind::Verified));
    }
}
