//! The page that people read, in the order in which one asks at night: is it here, what is kept, what is not, can it be
//! restored, and how.

use super::facts::{Exclude, Shown};
use crate::command::service;
use crate::profile::{HookUse, Role, Service, State};
use crate::ui::text::{line_text, path_text, wrapped};
use crate::ui::{Align, Table};

/// Lines of running text end here, in characters.
const WIDTH: usize = 100;

/// A page of titled parts.
#[derive(Default)]
struct Page {
    lines: Vec<String>,
}

impl Page {
    fn part(&mut self, title: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.lines.push(title.to_owned());
    }

    fn line(&mut self, text: &str) {
        self.lines.push(format!("  {text}"));
    }

    /// Running text.
    fn say(&mut self, text: &str) {
        self.item("", text);
    }

    /// Running text behind a mark, under which nothing else stands.
    fn item(&mut self, mark: &str, text: &str) {
        let room = " ".repeat(mark.chars().count());
        for (at, line) in wrapped(&line_text(text), WIDTH - 2 - room.len()).iter().enumerate() {
            self.line(&format!("{}{line}", if at == 0 { mark } else { &room }));
        }
    }

    /// Rows of cells; the last cell is running text.
    fn rows(&mut self, rows: Vec<Vec<String>>) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut table = Table::untitled(&vec![Align::Left; columns]);
        let before = |row: &Vec<String>| row.iter().rev().skip(1).rev().map(|cell| line_text(cell)).collect::<Vec<_>>();
        let widest =
            |at: usize| rows.iter().filter_map(|row| before(row).get(at).map(|cell| cell.chars().count())).max();
        let used: usize = (0..columns.saturating_sub(1)).map(|at| widest(at).unwrap_or(0) + 2).sum();
        for row in &rows {
            let text =
                wrapped(&line_text(row.last().map_or("", String::as_str)), (WIDTH - 2).saturating_sub(used).max(40));
            for (at, line) in text.iter().enumerate() {
                let cells = before(row).into_iter().map(|cell| if at == 0 { cell } else { String::new() });
                table.row(cells.chain([line.clone()]));
            }
        }
        for line in table.lines() {
            self.line(&line);
        }
    }

    fn list(&mut self, title: &str, mark: impl Fn(usize) -> String, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        self.part(title);
        for (at, text) in texts.iter().enumerate() {
            self.item(&mark(at), text);
        }
    }
}

/// The lines of the page.
pub(super) fn lines(shown: &Shown<'_>) -> Vec<String> {
    let mut page = Page::default();
    head(&mut page, shown);
    folders(&mut page, shown);
    excludes(&mut page, shown);
    databases(&mut page, shown);
    quiesce(&mut page, shown);
    commands(&mut page, shown);
    needs(&mut page, shown);
    if let Some(service) = shown.known() {
        page.list("Pitfalls", |_| "- ".to_owned(), &service.pitfalls);
        page.list("To restore it", |at| format!("{:>2}. ", at + 1), &service.restore);
        page.list("What proves a restore good", |_| "- ".to_owned(), &service.proof);
    }
    page.lines
}

fn head(page: &mut Page, shown: &Shown<'_>) {
    let (profile, known) = (shown.profile, shown.known());
    page.part(&match known {
        Some(service) => format!("{}: {}", profile.name, service.about),
        None => format!("{}: a profile of your own", profile.name),
    });
    let origin = match (&shown.origin, known) {
        (Some(origin), Some(service)) => format!("configured at {origin}, uses the built-in `{}`", service.slug),
        (Some(origin), None) => format!("configured at {origin}"),
        (None, _) if shown.plan.roots.is_empty() && !shown.plan.stateless => "built in".to_owned(),
        (None, _) => format!("built in; `bk backup {}` works without configuration", profile.name),
    };
    let mut rows = vec![vec!["profile".to_owned(), origin]];
    let to = if profile.to.is_empty() {
        "the repository that needs no configuration".to_owned()
    } else {
        profile.to.join(", ")
    };
    if let Some(container) = &profile.container {
        rows.push(vec![
            "container".to_owned(),
            format!("{}, which {} is asked about", container.name, container.runtime),
        ]);
    }
    rows.push(vec!["goes to".to_owned(), to]);
    if let Some(service) = known {
        rows.insert(0, vec!["service".to_owned(), format!("{} ({})", service.service, service.category)]);
        rows.push(vec!["facts".to_owned(), facts(service).to_owned()]);
        if !service.aliases.is_empty() {
            rows.push(vec!["other names".to_owned(), service.aliases.join(", ")]);
        }
        rows.push(vec!["value".to_owned(), format!("{}, {}", service.value, size(service))]);
        let texts = [("kept", &service.keep), ("secret", &service.secrets)];
        rows.extend(
            texts
                .iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(key, text)| vec![(*key).to_owned(), (*text).clone()]),
        );
    }
    page.rows(rows);
}

/// How far the facts were checked, in a sentence.
fn facts(service: &Service) -> &'static str {
    match service.facts.as_str() {
        "verified" => "verified: read in the sources or documentation of the program; exceptions say (unverified)",
        "partly" => "partly verified: some were read in the sources or documentation of the program",
        _ => "NOT VERIFIED: nobody read them in the sources of the program; look twice",
    }
}

fn size(service: &Service) -> &'static str {
    match service.size.as_str() {
        "XS" => "tiny",
        "S" => "small",
        "M" => "of middle size",
        "L" => "large",
        _ => "very large",
    }
}

fn folders(page: &mut Page, shown: &Shown<'_>) {
    page.part("Data folders");
    let missing = shown.missing();
    let (plan, stateless) = (shown.plan, shown.plan.stateless);
    let mut rows = Vec::new();
    for root in &plan.roots {
        let word = if missing.contains(&root.as_path()) { "MISSING" } else { "backed up" };
        rows.push(vec![word.to_owned(), root.to_string_lossy().into_owned()]);
    }
    rows.extend(plan.absent.iter().map(|path| vec!["not here".to_owned(), path.to_string_lossy().into_owned()]));
    page.rows(rows);
    if stateless {
        page.say("This service keeps nothing, so there is nothing to back up; a backup of it succeeds and makes no snapshot.");
    } else if plan.roots.is_empty() {
        let name = &shown.profile.name;
        let all_in_dumps = !shown.profile.candidates || shown.known().is_none_or(Service::is_database_server);
        let dumps = all_in_dumps && shown.hooks(&[Role::Database]).any(|hook| !hook.optional);
        page.say(&if dumps {
            "No folder is here; only dumps are backed up.".to_owned()
        } else {
            format!(
                "NOTHING IS HERE TO BACK UP. If its data lies elsewhere, say where: `bk profile new {name} --root /its/folder` \
                 prints what to write into bk.toml."
            )
        });
    }
    if !plan.include.is_empty() {
        page.part("Kept of it is only");
        let patterns = shown.profile.include.iter();
        patterns.for_each(|pattern| page.line(&line_text(pattern)));
    }
}

fn excludes(page: &mut Page, shown: &Shown<'_>) {
    let all = shown.excludes();
    if !all.is_empty() {
        page.part("Left out, and why");
        let reason = |one: &Exclude<'_>| {
            if one.taken_back {
                format!("NOT left out: the configuration takes it back ({})", one.reason)
            } else {
                one.reason.clone()
            }
        };
        page.rows(all.iter().map(|one| vec![one.pattern.to_owned(), reason(one)]).collect());
        let anchors: Vec<_> = shown.plan.anchors.iter().map(|path| path.to_string_lossy()).collect();
        if !anchors.is_empty() {
            let prefix = service::prefixes(shown.plan).join("` or `");
            page.say(&format!(
                "These patterns begin at {}. In `exclude` they mean the same, also behind `!`; patterns of your own begin at \
                 the data folder: write `{prefix}` in front of them.",
                anchors.join(" and at ")
            ));
        }
    }
    let optional = shown.known().map(|service| &service.optional_exclude).filter(|all| !all.is_empty());
    if let Some(optional) = optional {
        let said = |pattern: &String| shown.profile.exclude.contains(pattern);
        let rows: Vec<_> = optional
            .iter()
            .filter(|(pattern, _)| !said(pattern))
            .map(|(pattern, why)| vec![pattern.clone(), why.clone()])
            .collect();
        if !rows.is_empty() {
            page.part("Kept, but you may leave it out: add it to `exclude`");
            page.rows(rows);
        }
    }
}

fn databases(page: &mut Page, shown: &Shown<'_>) {
    let plan = shown.plan;
    let dumps: Vec<_> = shown.hooks(&[Role::Database, Role::Other]).collect();
    if plan.stateless && plan.roots.is_empty() {
        return;
    }
    page.part("Databases");
    let mut rows = Vec::new();
    if let Some(found) = &plan.detected {
        let why = match &found.file {
            Some(file) => format!("{}, as {} says", found.engine, file.display()),
            None if found.by_container => format!("{}, as the environment of its container says", found.engine),
            None => format!("{}, which it uses when nothing else is said; no configuration was found", found.engine),
        };
        rows.push(vec!["engine".to_owned(), why]);
    }
    for (file, found) in &plan.sqlite_files {
        let text = match (found.is_empty(), file.optional || plan.roots.is_empty()) {
            (true, true) => format!("{} is not here", file.path),
            (true, false) => format!("{} is MISSING: the backup will be incomplete", file.path),
            (false, _) => String::new(),
        };
        if found.is_empty() {
            rows.push(vec!["sqlite".to_owned(), text]);
        }
        let tables = filled(&file.tables).map(|text| format!(", {text}")).unwrap_or_default();
        let said = |path: &std::path::PathBuf| format!("{}{tables}", path.to_string_lossy());
        rows.extend(found.iter().map(|path| vec!["sqlite".to_owned(), said(path)]));
    }
    for hook in dumps {
        rows.push(vec![if hook.role == Role::Database { "dump" } else { "hook" }.to_owned(), described(shown, hook)]);
        rows.extend(provenance(shown, hook).into_iter().map(|text| vec![String::new(), text]));
    }
    let live = if shown.profile.sqlite {
        "every live SQLite file in the data folders is copied through SQLite, so that each copy is whole"
    } else {
        "`sqlite = false`: live SQLite files are read like other files, and may be torn"
    };
    if !plan.roots.is_empty() {
        rows.push(vec!["sqlite".to_owned(), live.to_owned()]);
    }
    if rows.is_empty() {
        page.say("None that bk knows of.");
    }
    page.rows(rows);
}

/// Which tables must have rows.
fn filled(tables: &[String]) -> Option<String> {
    (!tables.is_empty()).then(|| format!("which must have rows in {}", tables.join(" and ")))
}

/// What a hook does and with what, in a sentence.
fn described(shown: &Shown<'_>, hook: &HookUse) -> String {
    let mut parts = Vec::new();
    for (key, value) in shown.settings(hook) {
        let key = if hook.role == Role::Database && key == "name" { "database".to_owned() } else { key };
        parts.push(value.map_or_else(|| format!("{key} is set"), |value| format!("{key} {value}")));
    }
    if hook.role == Role::Database && !hook.settings.contains_key("name") && !hook.settings.contains_key("names") {
        parts.insert(0, "every database".to_owned());
    }
    if shown.password_was_found(hook) {
        parts.push("with the password of the application".to_owned());
    }
    if let Some(container) = hook.container.as_ref().filter(|container| !container.name.is_empty()) {
        let owner = container.owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
        parts.push(format!("in the {} container {}{owner}", container.runtime, container.name));
    }
    if hook.optional {
        parts.push("if there is any".to_owned());
    }
    parts.extend(filled(&hook.tables));
    let told = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{}{told}", hook.hook)
}

fn provenance(shown: &Shown<'_>, hook: &HookUse) -> Vec<String> {
    match shown.provenance(hook) {
        Err((problem, hint)) => vec![format!("PROBLEM: {problem}; {hint}")],
        Ok(one) => vec![match one.tried_with {
            Some(tried) => format!("the hook is {}, tried with {tried}", one.origin),
            None if one.origin == "built in" => "the hook is built in".to_owned(),
            None => format!("the hook is this machine's own, {}", one.origin),
        }],
    }
}

fn quiesce(page: &mut Page, shown: &Shown<'_>) {
    let set: Vec<_> = shown.hooks(&[Role::Quiesce, Role::Snapshot]).collect();
    let known = shown.known();
    if known.is_some_and(|service| service.state == State::Stateless) && set.is_empty() {
        return;
    }
    page.part("While it is read");
    if set.is_empty() {
        let possible = known.and_then(|service| service.quiesce.as_deref()).map(|how| {
            let name = &shown.profile.name;
            format!(
                " If you want it to: `[profile.{name}.quiesce]` with `how = \"{how}\"`, see `bk profile new {name}`."
            )
        });
        page.say(&format!("Nothing is stopped or paused.{}", possible.unwrap_or_default()));
    }
    let mut rows = Vec::new();
    for hook in set {
        let word = if hook.role == Role::Snapshot { "snapshot" } else { "stands still" };
        rows.push(vec![word.to_owned(), described(shown, hook)]);
        rows.extend(provenance(shown, hook).into_iter().map(|text| vec![String::new(), text]));
    }
    page.rows(rows);
}

fn commands(page: &mut Page, shown: &Shown<'_>) {
    let commands = shown.commands();
    if !commands.is_empty() {
        page.part("Commands of your own");
        page.rows(commands.into_iter().map(|(moment, program)| vec![moment.to_owned(), program]).collect());
    }
}

fn needs(page: &mut Page, shown: &Shown<'_>) {
    let needs = shown.known().map(|service| service.need.as_slice()).unwrap_or_default();
    if needs.is_empty() {
        return;
    }
    page.part("A restore cannot do without");
    let mut rows = Vec::new();
    for need in needs {
        let word = match (shown.plan.roots.is_empty(), shown.is_met(need)) {
            (true, _) => "-",
            (_, true) => "present",
            (_, false) => "MISSING",
        };
        let what = need.contains.as_ref().map(|text| format!("{text} in ")).unwrap_or_default();
        let places = path_text(need.any.join(" or ").as_bytes());
        let instead = need.or_env.as_ref().filter(|_| word == "MISSING").map(|variable| {
            format!("; it may be in the environment only, as {variable}: back up the file that sets it, too")
        });
        rows.push(vec![word.to_owned(), format!("{what}{places}: {}{}", need.why, instead.unwrap_or_default())]);
    }
    page.rows(rows);
}
