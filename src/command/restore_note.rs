//! `RESTORE.txt`: what was restored, and how to bring the service back with it.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;

use super::load::{database_of, dumps, is_meant};
use crate::format::node::NodeKind;
use crate::format::snapshot::Outcome;
use crate::job::{Server, hook_of, is_of_server};
use crate::profile::{HookUse, Service, hooks_of_definition};
use crate::repository::SnapshotInfo;
use crate::size::ByteSize;
use crate::ui::text::{count, line_text, path_text, time_text};

/// Where it lies in the folder that was restored to.
pub(super) const NAME: &str = ".bk/RESTORE.txt";

/// The text; `None` when there is nothing to say beyond the files.
pub(super) fn text(info: &SnapshotInfo, place: &Path) -> Option<String> {
    let snapshot = &info.snapshot;
    let profile = snapshot.profile.as_deref()?;
    let (service, hooks) = hooks_of_definition(&snapshot.definition);
    let service = service.as_deref().or(Some(profile)).and_then(Service::find);
    let dumped = dumps(snapshot);
    if service.is_none() && dumped.is_empty() {
        return None;
    }
    let mut lines = vec![
        format!("How to bring {} back", line_text(profile)),
        String::new(),
        format!(
            "Snapshot {} of host {}, {}, {}, made by {}.",
            info.id.short(),
            line_text(&snapshot.host),
            time_text(snapshot.start),
            if snapshot.outcome == Outcome::Complete {
                "complete"
            } else {
                "INCOMPLETE: `bk snapshots ID` says what is missing"
            },
            line_text(&snapshot.program),
        ),
    ];
    let files: Vec<_> = snapshot.roots.iter().filter(|root| root.path.first() == Some(&b'/')).collect();
    if !files.is_empty() {
        lines.extend([String::new(), "FILES, below this folder under the full paths they came from:".to_owned()]);
    }
    for root in files {
        let below = String::from_utf8_lossy(&root.restore_name).into_owned();
        lines.push(format!("    {}", path_text(place.join(below).as_os_str().as_encoded_bytes())));
    }
    if !dumped.is_empty() {
        lines.extend([String::new(), "DUMPS, and how to load each:".to_owned()]);
    }
    for (folder, stream, entry) in &dumped {
        let NodeKind::File { size, rows, .. } = &entry.node.kind else { continue };
        let total: u64 = rows.iter().map(|one| one.rows).sum();
        let counted = if rows.is_empty() {
            String::new()
        } else {
            format!(", {}, {}", count(rows.len() as u64, "table", "tables"), count(total, "row", "rows"))
        };
        lines.push(format!("    {} ({}{counted})", path_text(&entry.path), ByteSize(*size)));
        let of_server = is_of_server(stream);
        let plain = if of_server { stream.clone() } else { database_of(stream) };
        let meant = |(other, stream, _): &&(String, String, _)| {
            hook_of(other).0 == hook_of(folder).0 && is_meant(&plain, other, stream)
        };
        // What several dumps are called says too little.
        let name = if dumped.iter().filter(meant).count() > 1 { format!("{folder}/{stream}") } else { plain };
        let used = used_for(&hooks, folder);
        let command = command(info, &used, stream, &name);
        lines.push(format!("        {command}"));
        let by_name =
            used.container.is_none() && (used.settings.contains_key("user") || used.settings.contains_key("host"));
        if by_name && !used.settings.contains_key("password-file") {
            let mark = if command.contains('?') { '&' } else { '?' };
            lines.push(format!(
                "        (a password belongs into a file, which the end of the URL names: {mark}password-file=/its/path)"
            ));
        }
    }
    if let Some(service) = service {
        let list = |lines: &mut Vec<String>, title: &str, texts: &[String], numbered: bool| {
            if texts.is_empty() {
                return;
            }
            lines.extend([String::new(), title.to_owned()]);
            for (at, text) in texts.iter().enumerate() {
                let mark = if numbered { format!("{}.", at + 1) } else { "-".to_owned() };
                lines.push(format!("    {mark} {text}"));
            }
        };
        list(&mut lines, &format!("STEPS for {}", service.service), &service.restore, true);
        list(&mut lines, "BEWARE", &service.pitfalls, false);
        list(&mut lines, "IT IS BACK when", &service.proof, false);
        lines.extend([String::new(), format!("How far these facts were checked: {}.", service.facts)]);
    }
    lines.push(String::new());
    Some(lines.join("\n"))
}

/// The hook that dumped into a folder, with the settings that the snapshot carries.
fn used_for(hooks: &[HookUse], folder: &str) -> HookUse {
    let (hook, before) = hook_of(folder);
    let used = hooks.iter().filter(|used| used.hook == hook).nth(before).cloned();
    used.unwrap_or_else(|| HookUse::of(hook, crate::profile::Role::Database))
}

/// The command that loads a dump into where it came from.
fn command(info: &SnapshotInfo, used: &HookUse, stream: &str, name: &str) -> String {
    let database = if is_of_server(stream) { String::new() } else { database_of(stream) };
    let url = Server::url(used, &database).replace('\'', "%27");
    // Joined by `=`, a name that begins like an option is none.
    let between = if name.starts_with('-') { '=' } else { ' ' };
    format!("bk restore {} --database{between}{} --to '{url}'", info.id.short(), quoted(name))
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Writes it, following no link that the snapshot may have planted.
pub(super) fn write(place: &Path, text: &str) -> std::io::Result<()> {
    let folder = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let outer: OwnedFd = open(place, folder, Mode::empty())?;
    match mkdirat(&outer, ".bk", Mode::from_raw_mode(0o700)) {
        Err(error) if error != Errno::EXIST => return Err(error.into()),
        _ => {}
    }
    let inner = openat(&outer, ".bk", folder, Mode::empty())?;
    match unlinkat(&inner, "RESTORE.txt", AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&inner, "RESTORE.txt", flags, Mode::from_raw_mode(0o600))?;
    std::fs::File::from(file).write_all(text.as_bytes())
}
