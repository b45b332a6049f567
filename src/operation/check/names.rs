//! The check that needs no key: the bytes of every object against its name, and its header against its place.
//!
//! It finds whatever has changed by itself. It cannot tell whether objects are missing, nor whether somebody put
//! objects of his own there under right names.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::packs::{chosen, lock};
use super::report::{CheckReport, Counts, Depth, Finding, Severity, UNREAD, hint};
use super::{CheckOptions, ReadData};
use crate::format::header::MAX_HEADER_LEN;
use crate::format::{Header, Kind};
use crate::progress::Progress;
use crate::repository::RepositoryError;
use crate::store::{Area, ObjectName, Store};

/// Bytes that are read at once.
const PIECE_LEN: u64 = 4 << 20;

/// Checks the names of everything in `store`; of packs as many as the options say.
///
/// # Errors
/// When the store cannot be listed, or the user stops it.
pub fn check_names(
    store: &dyn Store,
    options: &CheckOptions<'_>,
    progress: &dyn Progress,
) -> Result<CheckReport, RepositoryError> {
    let mut report = CheckReport::new(store.location(), Depth::Names);
    let mut objects = Vec::new();
    for area in Area::ALL {
        let listed = store.list(area)?;
        report.counts.add(area, listed.len() as u64);
        if area != Area::Packs {
            objects.extend(listed.into_iter().map(|listed| (listed.name, listed.size)));
            continue;
        }
        let packs = listed.into_iter().filter_map(|listed| match listed.name {
            ObjectName::Pack(name) => Some((name, listed.size)),
            _ => None,
        });
        let packs = chosen(options.read, packs.collect())?;
        report.counts.read_packs = packs.len() as u64;
        objects.extend(packs.into_iter().map(|(name, size)| (ObjectName::Pack(name), size)));
    }
    check_layout(&mut report);
    let bytes = objects.iter().map(|(_, size)| size).sum();
    progress.phase("reading objects", Some(bytes));
    progress.total(objects.len() as u64, bytes);
    let (next, findings) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = options.threads.clamp(1, objects.len().max(1));
    std::thread::scope(|scope| {
        let work = || -> Result<(), RepositoryError> {
            let mut piece = Vec::new();
            while let Some((name, size)) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                options.go_on()?;
                if let Some(finding) = look_at(store, name, *size, &mut piece) {
                    lock(&findings).push(finding);
                }
                progress.advance(1, *size);
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(RepositoryError::Stopped)));
        joined.collect::<Result<(), _>>()
    })?;
    report.findings.append(&mut lock(&findings));
    report.findings.sort_by(|a, b| a.object.cmp(&b.object));
    report.read_bytes = bytes;
    if options.read == ReadData::Nothing {
        report.notes.push("packs were listed but not read".into());
    }
    Ok(report)
}

fn check_layout(report: &mut CheckReport) {
    let Counts { configs, keys, packs, indexes, .. } = report.counts;
    let mut missing = |area: Area, reason: &str| {
        let finding = Finding::new(area.folder(), Severity::Damage, reason.to_owned(), hint(area));
        report.findings.push(finding);
    };
    if configs == 0 {
        missing(Area::Config, "there is no configuration: nothing can open the repository");
    }
    if keys == 0 {
        missing(Area::Keys, "there is no key slot: nothing can open the repository");
    }
    if packs > 0 && indexes == 0 {
        missing(Area::Index, "there are packs but no index object");
    }
    if packs == 0 && indexes > 0 {
        missing(Area::Packs, "there are index objects but no packs");
    }
}

const fn fits(kind: Kind, area: Area) -> bool {
    matches!(
        (kind, area),
        (Kind::Config, Area::Config)
            | (Kind::KeySlot, Area::Keys)
            | (Kind::DataPack | Kind::TreePack, Area::Packs)
            | (Kind::Index, Area::Index)
            | (Kind::Snapshot, Area::Snapshots)
            | (Kind::Facts, Area::Facts)
            | (Kind::Mark, Area::Marks)
    )
}

/// What is wrong with an object; nothing when it was taken away since it was listed.
fn look_at(store: &dyn Store, name: &ObjectName, size: u64, piece: &mut Vec<u8>) -> Option<Finding> {
    let area = name.area();
    let damage = |reason: String| Some(Finding::new(name.to_string(), Severity::Damage, reason, hint(area)));
    let mut hasher = blake3::Hasher::new();
    let mut header = Vec::new();
    let mut offset = 0;
    while offset < size || offset == 0 {
        let length = PIECE_LEN.min(size - offset);
        match store.get_range(name, offset, length, piece) {
            Ok(()) => {}
            Err(error) if error.is_missing() && matches!(store.stat(name), Ok(None)) => return None,
            Err(error) => {
                let mut finding = Finding::of_error(name.to_string(), area, &error.into());
                if finding.severity == Severity::Unread {
                    finding.hint = UNREAD;
                }
                return Some(finding);
            }
        }
        if offset == 0 {
            header = piece.get(..MAX_HEADER_LEN.min(piece.len())).unwrap_or_default().to_vec();
        }
        hasher.update(piece);
        offset += length;
        if length == 0 {
            break;
        }
    }
    if hasher.finalize().as_bytes() != name.hash() {
        return damage("its bytes do not match its name".into());
    }
    match Header::decode(&header) {
        Err(error) => damage(format!("it is malformed: {error}")),
        Ok(header) if !fits(header.kind, area) => damage(format!("it is a {} in the wrong place", header.kind.word())),
        Ok(_) => None,
    }
}
