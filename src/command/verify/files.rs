//! The files of a snapshot: what there is, and how much of it comes back as it was.

use rustix::fs::statvfs;

use super::Place;
use crate::command::Session;
use crate::command::look::{progress, read_ahead};
use crate::command::restore::failure;
use crate::command::service::scratch;
use crate::command::session::host_name;
use crate::command::workers::workers;
use crate::drill;
use crate::operation::verify::{
    Survey, Verifier, VerifyStats, Wanted, restore_sample, stream_all, stream_files, stream_part, survey as look,
};
use crate::profile::{Depth, Verify};
use crate::repository::{BlobReader, Files, SnapshotInfo};
use crate::size::ByteSize;
use crate::ui::{Exit, Failure};

/// What there is, and the sample.
///
/// # Errors
/// When a tree cannot be read: then nothing below it can be restored.
pub(super) fn survey(session: &Session, place: &Place, info: &SnapshotInfo, rules: Verify) -> Result<Survey, Failure> {
    let sample_bytes = match rules.files {
        Depth::Bytes(bytes) => bytes,
        Depth::All | Depth::Nothing => 0,
    };
    let seed = crate::crypto::random().map_err(|error| Failure::of(Exit::Failed, &error, "run the command again"))?;
    let wanted = Wanted { sample_bytes, seed, without_databases: rules.databases };
    let mut reader = BlobReader::new(&place.opened.repository, &place.index)?;
    look(&mut reader, &info.snapshot, wanted, session.interrupted()).map_err(|error| {
        let damaged = error.is_damage();
        let mut failure = Failure::from(error);
        if damaged {
            failure.exit = Exit::Verification;
            failure.causes.insert(0, failure.message.clone());
            failure.message = format!("snapshot {} does not restore: a folder of it cannot be read", info.id.short());
            failure.hint =
                Some("run `bk check --read-data` to see all that is affected, then `bk repair packs`".into());
        }
        failure
    })
}

/// Restores what the rules say, and compares.
///
/// # Errors
/// When it could not go on.
pub(super) fn verify(
    session: &Session,
    place: &Place,
    info: &SnapshotInfo,
    rules: Verify,
    survey: Survey,
) -> Result<(Files, VerifyStats), Failure> {
    let shown = progress(session, "verify");
    let result = verify_with(session, place, info, rules, survey, &*shown);
    shown.finish();
    result
}

fn verify_with(
    session: &Session,
    place: &Place,
    info: &SnapshotInfo,
    rules: Verify,
    survey: Survey,
    shown: &dyn crate::progress::Progress,
) -> Result<(Files, VerifyStats), Failure> {
    let repository = &place.opened.repository;
    let is_own = info.snapshot.host == host_name();
    let interrupted = session.interrupted();
    let mut reader = BlobReader::new(repository, &place.index)?;
    match rules.files {
        Depth::Nothing => Ok((Files::None, VerifyStats::default())),
        Depth::All => {
            if repository.store().is_far() {
                let size = ByteSize(survey.bytes);
                session.screen.note(&format!("up to {size} will be fetched from {}", place.opened.name));
            }
            shown.phase("reading files", Some(survey.bytes));
            shown.total(survey.files, survey.bytes);
            let mut verifier = Verifier { reader: &mut reader, is_own, progress: shown, interrupted };
            // A database differs from the machine's own as soon as somebody works with it; its own drill reads it.
            let stats = stream_all(&mut verifier, &info.snapshot, &|_| false)?;
            Ok((Files::All, stats))
        }
        Depth::Bytes(_) => {
            shown.phase("restoring a sample", Some(survey.sample_bytes()));
            shown.total((survey.whole.len() + survey.parts.len()) as u64, survey.sample_bytes());
            let folder = drill::Place::private(&scratch(session)?)
                .map_err(|error| Failure::of(Exit::Failed, &error, "make room there, or set `scratch`"))?;
            let nodes = survey.whole.iter().map(|one| &one.node);
            let ahead = read_ahead(session, &place.opened, &place.index, nodes, folder.path())?;
            let mut verifier = Verifier { reader: &mut reader, is_own, progress: shown, interrupted };
            let free = statvfs(folder.path()).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
            let whole_bytes: u64 = survey.sample_bytes();
            let mut stats = if free > whole_bytes.saturating_add(whole_bytes / 8) {
                let from = (&place.index, ahead.as_ref());
                restore_sample(&mut verifier, from, &survey.whole, folder.path(), workers(16)).map_err(failure)?
            } else {
                session.screen.note(&format!(
                    "{} has no room for a sample of {}, so it is only read and compared",
                    folder.path().display(),
                    ByteSize(whole_bytes)
                ));
                stream_files(&mut verifier, &survey.whole)?
            };
            for (file, from) in &survey.parts {
                stream_part(&mut verifier, file, *from, survey.part_len, &mut stats)?;
            }
            // A sample of everything is everything.
            let all = survey.parts.is_empty() && survey.whole.len() as u64 + databases(rules, &survey) == survey.files;
            Ok((if all { Files::All } else { Files::Sample }, stats))
        }
    }
}

/// Files that are no part of a sample because they are drilled.
fn databases(rules: Verify, survey: &Survey) -> u64 {
    if rules.databases { survey.databases.len() as u64 } else { 0 }
}
