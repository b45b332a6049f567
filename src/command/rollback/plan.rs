//! What a rollback consists of: the snapshot, the profile as it is now, and where each dump goes.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::RollBack;
use super::check::Obstacle;
use crate::command::load::dumps;
use crate::command::restore::failure;
use crate::command::session::data_folder;
use crate::command::{Opened, Session, service};
use crate::format::node::{Node, NodeKind, TableRows};
use crate::format::snapshot::Snapshot;
use crate::job::{Plan, Surroundings, WayBack, way_back};
use crate::operation::restore::{Placement, Selected, Spared, select};
use crate::profile::{HookUse, Profile, hooks_of_definition, patterns_of_definition};
use crate::repository::{BlobReader, SnapshotInfo};
use crate::source::exclude::Rules;
use crate::ui::Failure;

/// A dump and the database it goes into.
pub(super) struct Dump {
    /// `postgres/shop.dump`.
    pub name: String,
    pub stream: String,
    pub node: Node,
    pub way: WayBack,
}

impl Dump {
    /// Rows by table when it was made.
    pub fn rows(&self) -> &[TableRows] {
        if let NodeKind::File { rows, .. } = &self.node.kind { rows } else { &[] }
    }
}

/// All that a rollback consists of.
pub(super) struct Planned<'a> {
    pub info: &'a SnapshotInfo,
    /// What the user calls it.
    pub name: String,
    /// The profile of the snapshot.
    pub profile_name: Option<String>,
    pub profile: Profile,
    /// What the profile means now. Holds the passwords that hooks are told.
    pub plan: Plan,
    pub selected: Vec<Selected>,
    pub dumps: Vec<Dump>,
    /// Accounts of servers, which stay as they are.
    pub left_alone: Vec<String>,
    pub spared: Spared,
    /// When the newest complete snapshot of the profile began, in seconds since 1970.
    pub newest_seconds: i64,
    /// Dumps without a way back.
    pub obstacles: Vec<Obstacle>,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// When the snapshot cannot be read, or this machine cannot be looked at.
    pub fn of(
        of: &RollBack<'_>,
        opened: &Opened,
        info: &'a SnapshotInfo,
        newest_seconds: i64,
        surroundings: &Surroundings,
        reader: &mut BlobReader<'_>,
    ) -> Result<Self, Failure> {
        let snapshot = &info.snapshot;
        let mut selected = select(reader, snapshot, &[], Placement::Original).map_err(failure)?;
        // Dumps and other streams came from no place of the file system.
        selected.retain(|entry| entry.original.starts_with(b"/"));
        let (_, then) = hooks_of_definition(&snapshot.definition);
        let (profile, is_known) = profile_now(of.session, snapshot, &then);
        let plan = service::plan(&profile, surroundings)?;
        let now = if is_known { plan.hooks.as_slice() } else { &[] };
        let (mut ways, mut left_alone, mut obstacles) = (Vec::new(), Vec::new(), Vec::new());
        let all = dumps(snapshot);
        for (folder, stream, entry) in &all {
            let of_server = |(other, stream, _): &(String, String, _)| other == folder && stream == "globals.sql";
            let name = format!("{folder}/{stream}");
            match way_back(folder, stream, &then, now, all.iter().any(of_server)) {
                Ok(Some(way)) => ways.push(Dump { name, stream: stream.clone(), node: entry.node.clone(), way }),
                Ok(None) => left_alone.push(name),
                Err((problem, hint)) => obstacles.push(Obstacle::new(problem, hint)),
            }
        }
        let paths = selected.iter().map(|entry| String::from_utf8_lossy(&entry.original).into_owned());
        let name = snapshot.profile.clone().or_else(|| paths.into_iter().next()).unwrap_or_default();
        let spared = spared(of.session, opened, &profile, &plan, snapshot)?;
        let profile_name = snapshot.profile.clone();
        Ok(Self {
            info,
            name,
            profile_name,
            profile,
            plan,
            selected,
            dumps: ways,
            left_alone,
            spared,
            newest_seconds,
            obstacles,
        })
    }
}

/// The profile as it is configured, else as the snapshot knows it; whether it is configured.
fn profile_now(session: &Session, snapshot: &Snapshot, then: &[HookUse]) -> (Profile, bool) {
    let known = snapshot.profile.as_deref().and_then(|name| service::profile(session, name));
    if let Some(profile) = known {
        return (profile, true);
    }
    let roots = snapshot.roots.iter().filter(|root| root.path.starts_with(b"/"));
    let paths = roots.map(|root| PathBuf::from(std::ffi::OsString::from_vec(root.path.clone()))).collect();
    let ad_hoc = session.config.ad_hoc(paths);
    let name = snapshot.profile.clone().unwrap_or_else(|| ad_hoc.name.clone());
    (Profile { name, hooks: then.to_vec(), ..ad_hoc }, false)
}

/// What no backup holds stays, whether it was left out when the snapshot was made or is left out now.
fn spared(
    session: &Session,
    opened: &Opened,
    profile: &Profile,
    plan: &Plan,
    snapshot: &Snapshot,
) -> Result<Spared, Failure> {
    let now = Rules::new(&plan.exclude, &plan.include)
        .map_err(|error| Failure::of(crate::ui::Exit::Usage, &error, error.hint()))?;
    let (exclude, include) = patterns_of_definition(&snapshot.definition);
    let mut own = vec![data_folder()?, service::scratch(session)?, PathBuf::from(opened.repository.location())];
    for target in session.targets(&profile.to)? {
        own.extend(target.location.local().map(PathBuf::from));
    }
    let identity = |path: &PathBuf| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    Ok(Spared {
        rules: std::iter::once(now).chain(Rules::new(&exclude, &include)).collect(),
        one_file_system: profile.one_file_system,
        larger_than: profile.exclude_larger_than,
        caches: profile.exclude_caches,
        if_present: profile.exclude_if_present.clone(),
        own: own.iter().filter_map(identity).collect(),
    })
}

/// The path of an entry on this machine.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
