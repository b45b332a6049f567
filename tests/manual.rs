//! The manual says what the program does: every command, flag and key is in it, and its examples work.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot run fails")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bk::profile::{self, Environment, Given, Origin};

fn page(name: &str) -> String {
    let pages = bk::command::manual();
    let (_, page) = pages.into_iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no page {name}"));
    String::from_utf8(page).unwrap()
}

/// What a reader sees of a line, nearly: without fonts and escapes.
fn shown(roff: &str) -> String {
    let mut text = roff.to_owned();
    for (escape, plain) in
        [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\&", ""), ("\\-", "-"), ("\\(dq", "\""), ("\\e", "\\")]
    {
        text = text.replace(escape, plain);
    }
    text
}

fn each_command(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
    visit(command);
    for below in command.get_subcommands() {
        each_command(below, visit);
    }
}

#[test]
fn every_command_has_a_page_with_all_its_flags_and_is_in_the_page_above() {
    let mut root = bk::command::definition();
    root.build();
    each_command(&root, &mut |command| {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        let page = shown(&page(&format!("{name}.1")));
        for below in command.get_subcommands() {
            assert!(page.contains(&format!("{name}-{}(1)", below.get_name())), "{name}: {}", below.get_name());
            assert!(below.get_about().is_some(), "{name} {} has no help", below.get_name());
        }
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let flag = argument.get_long().map(|long| format!("--{long}"));
            assert!(flag.is_none_or(|flag| page.contains(&flag)), "{name}: {}", argument.get_id());
            assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
        }
    });
}

#[test]
fn every_environment_variable_of_a_flag_is_in_the_manual() {
    let (bk, toml) = (page("bk.1"), page("bk.toml.5"));
    for argument in bk::command::definition().get_arguments() {
        if let Some(variable) = argument.get_env().and_then(|variable| variable.to_str()) {
            assert!(bk.contains(variable) && toml.contains(variable), "{variable}");
        }
    }
}

/// The keys that the page explains below the heading that begins with `heading`.
fn explained(page: &str, heading: &str) -> BTreeSet<String> {
    let begin = page.find(&format!("\n.SH {heading}")).unwrap_or_else(|| panic!("no section {heading}"));
    let text = &page[begin + 1..];
    let text = &text[..text.find("\n.SH").unwrap()];
    let entries = text.split("\n.TP\n").skip(1);
    entries.filter_map(|entry| entry.strip_prefix(".BR ")?.split(' ').next()).map(str::to_owned).collect()
}

/// The sections of the schema, each with its keys.
fn sections() -> Vec<(String, Vec<String>)> {
    let schema = profile::schema();
    let keys = |section: &serde_json::Value| -> Vec<String> {
        let table = if section["properties"].is_object() { section } else { &section["additionalProperties"] };
        table["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let sections = schema["properties"].as_object().unwrap();
    sections.iter().map(|(name, section)| (name.clone(), keys(section))).collect()
}

#[test]
fn every_key_of_the_configuration_is_explained_under_its_section() {
    let page = shown(&page("bk.toml.5"));
    for (section, keys) in sections() {
        assert_eq!(explained(&page, &format!("[{section}")), keys.into_iter().collect(), "{section}");
    }
}

#[test]
fn every_key_of_the_tables_of_a_profile_is_explained_under_their_heading() {
    let page = shown(&page("bk.toml.5"));
    let schema = profile::schema();
    let profile = schema["properties"]["profile"]["additionalProperties"]["properties"].as_object().unwrap();
    let mut tables = 0;
    for (key, value) in profile {
        // The four moments share one.
        let key = if ["after", "failed", "finally"].contains(&key.as_str()) { "before" } else { key };
        let (heading, table) = match (&value["properties"], &value["items"]["properties"]) {
            (table, _) if table.is_object() => (format!("[profile.NAME.{key}]"), table),
            (_, table) if table.is_object() => (format!("[[profile.NAME.{key}]]"), table),
            _ => continue,
        };
        tables += 1;
        let keys: BTreeSet<String> = table.as_object().unwrap().keys().cloned().collect();
        assert_eq!(explained(&page, &heading), keys, "{heading}");
    }
    assert_eq!(tables, 11);
}

#[test]
fn the_examples_of_the_configuration_manual_are_right_and_show_every_key() {
    let page = page("bk.toml.5");
    let examples = &page[page.find("\n.SH EXAMPLES").unwrap()..];
    let texts: Vec<String> =
        examples.split("\n.nf\n").skip(1).map(|text| shown(text.split("\n.fi").next().unwrap())).collect();
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("bk.toml");
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    std::fs::write(&main, &texts[0]).unwrap();
    for (at, text) in texts.iter().enumerate().skip(1) {
        std::fs::write(folder.path().join(format!("conf.d/{at}.toml")), text).unwrap();
    }
    let config = Some(Given { value: main, origin: Origin::Flag("--config") });
    let config = profile::load(&Environment { uid: 1000, config, ..Environment::default() }).unwrap();
    assert_eq!(config.files.len(), texts.len());
    assert_eq!(config.validate().iter().filter(|one| one.level == profile::Level::Warning).count(), 0);
    // A password cannot stand beside the key file.
    let others = ["password-file", "password-command"];
    for key in sections().into_iter().flat_map(|(_, keys)| keys).filter(|key| !others.contains(&key.as_str())) {
        let shown = texts[0].contains(&format!("\n{key} = ")) || texts[0].contains(&format!(".{key}]"));
        assert!(shown, "{key}");
    }
}

#[test]
fn the_pages_are_right_for_a_formatter() {
    if Command::new("mandoc").arg("-h").stderr(Stdio::null()).output().is_err() {
        return;
    }
    for (name, page) in bk::command::manual() {
        let mut mandoc = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        mandoc.stdin.take().unwrap().write_all(&page).unwrap();
        let out = mandoc.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        // Pages have no date: it would say when they were made and not what they describe. Lists of possible values
        // are clap_mangen's.
        let wrong = |line: &&str| !line.contains("missing date") && !line.contains("skipping paragraph macro: br");
        let wrong: Vec<&str> = said.lines().filter(wrong).collect();
        assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    }
}

#[test]
fn every_number_for_monitoring_is_in_the_manual_with_what_it_means() {
    let page = shown(&page("bk-metrics.7"));
    for (name, help) in bk::metrics::names() {
        let at = page.find(&format!("\n.B {name}\n")).unwrap_or_else(|| panic!("{name} is not in bk-metrics(7)"));
        assert!(page[at..].lines().nth(2).unwrap().starts_with(help), "{name}: {help}");
    }
    let told = page.matches("\n.B bk_").count();
    assert_eq!(told, bk::metrics::names().len(), "the page has one that is not told");
}
