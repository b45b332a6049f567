//! `bk config`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Session;
use crate::clock::Clock as _;
use crate::metrics;
use crate::profile::{self, Config, Level, Origin, Shown, Warning};
use crate::ui::{Exit, Failure};

/// Show, check or begin the configuration
///
/// Read are /etc/bk/bk.toml (by root) and ~/.config/bk/bk.toml, each with conf.d/*.toml beside it; or only the file of
/// --config. See bk.toml(5).
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print every setting that counts, and where it comes from; secrets are left out
    Show,
    /// Check the configuration, and say which files it is read from
    ///
    /// Exits with 0 when it can be used, even if there are warnings, and with 2 when it cannot.
    Validate,
    /// Print a configuration with every key explained, to begin with
    Example,
    /// Print a JSON Schema of bk.toml, for editors
    Schema,
    /// Print alert rules for Prometheus, on the numbers that [metrics] writes
    Alerts,
    /// Print a dashboard for Grafana, on the same numbers
    Dashboard,
}

impl ConfigArgs {
    /// Does it.
    ///
    /// # Errors
    /// When the configuration is wrong, and is looked at.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self.what {
            What::Show => show(session)?,
            What::Validate => validate(session)?,
            What::Example => session.screen.bytes(profile::EXAMPLE.as_bytes()),
            What::Alerts => session.screen.bytes(metrics::RULES.as_bytes()),
            What::Dashboard => session.screen.bytes(metrics::DASHBOARD.as_bytes()),
            What::Schema => session.screen.line(&format!("{:#}", profile::schema())),
        }
        Ok(Exit::Complete)
    }
}

fn show(session: &Session) -> Result<(), Failure> {
    let shown = session.load_config()?.show();
    if session.screen.json {
        session.screen.json_line(&shown.iter().map(shown_json).collect());
        return Ok(());
    }
    for line in shown_lines(&shown) {
        session.screen.line(&line);
    }
    Ok(())
}

/// Lines that are TOML, the origins as comments below each other.
fn shown_lines(shown: &[Shown]) -> Vec<String> {
    /// Longer settings do not push the comments of all others to the right.
    const MAX_COLUMN: usize = 60;
    let settings: Vec<String> = shown.iter().map(|one| format!("{} = {}", one.key, one.value)).collect();
    let widths = settings.iter().map(|text| text.chars().count());
    let column = widths.filter(|width| *width <= MAX_COLUMN).max().unwrap_or(0);
    settings.iter().zip(shown).map(|(setting, one)| format!("{setting:column$}  # {}", one.origin)).collect()
}

fn shown_json(shown: &Shown) -> Value {
    let table: Option<toml::Table> = format!("value = {}", shown.value).parse().ok();
    let value = table.and_then(|table| serde_json::to_value(table.get("value")?).ok());
    json!({ "key": shown.key, "value": value, "origin": shown.origin })
}

fn validate(session: &Session) -> Result<(), Failure> {
    let config = session.load_config()?;
    let mut warnings = config.validate();
    warnings.extend(config.clock_warnings(session.clock.wall()));
    if session.screen.json {
        session.screen.json_line(&validation_json(&config, &warnings));
        return Ok(());
    }
    for line in validation_lines(&config, &warnings, session) {
        session.screen.line(&line);
    }
    Ok(())
}

fn validation_lines(config: &Config, warnings: &[Warning], session: &Session) -> Vec<String> {
    let mut lines: Vec<String> = config.files.iter().map(|file| format!("read {}", file.display())).collect();
    if lines.is_empty() {
        let looked_for = session.config_candidates();
        lines.push("there is no configuration file, which is fine; looked for:".to_owned());
        lines.extend(looked_for.iter().map(|file| format!("  {}", file.display())));
    }
    lines.extend(warnings.iter().map(warning_line));
    let told = |level| warnings.iter().filter(|warning| warning.level == level).count();
    let (warned, noted) = (told(Level::Warning), told(Level::Info));
    lines.push(match (warned, noted) {
        (0, 0) => "ok".to_owned(),
        (0, _) => "ok, with remarks".to_owned(),
        _ => "ok, with warnings".to_owned(),
    });
    lines
}

/// `FILE:LINE: warning: …`, as compilers write it, so that editors can go there.
fn warning_line(warning: &Warning) -> String {
    let level = level_word(warning.level);
    match &warning.origin {
        Origin::Default => format!("{level}: {}: {}", warning.key, warning.message),
        origin => format!("{origin}: {level}: {}", warning.message),
    }
}

const fn level_word(level: Level) -> &'static str {
    match level {
        Level::Info => "remark",
        Level::Warning => "warning",
    }
}

fn validation_json(config: &Config, warnings: &[Warning]) -> Value {
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|warning| {
            json!({
                "level": level_word(warning.level),
                "key": warning.key,
                "origin": warning.origin.to_string(),
                "message": warning.message,
            })
        })
        .collect();
    json!({ "message_type": "config_validation", "valid": true, "files": config.files, "warnings": warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(key: &str, value: &str, origin: &str) -> Shown {
        Shown { key: key.into(), value: value.into(), origin: origin.into() }
    }

    #[test]
    fn what_is_shown_is_toml_with_the_origins_as_comments() {
        let all = [
            shown("defaults.sqlite", "true", "default"),
            shown("profile.wiki.paths", "[\"/srv/wiki\"]", "/etc/bk/bk.toml:7"),
        ];
        let lines = shown_lines(&all);
        assert_eq!(lines[0], "defaults.sqlite = true              # default");
        assert_eq!(lines[1], "profile.wiki.paths = [\"/srv/wiki\"]  # /etc/bk/bk.toml:7");
        let read: toml::Table = lines.join("\n").parse().unwrap();
        assert_eq!(read["profile"]["wiki"]["paths"][0].as_str(), Some("/srv/wiki"));
    }

    #[test]
    fn programs_get_values_and_not_their_text() {
        let value = shown_json(&shown("profile.wiki.paths", "['/srv/wiki']", "default"));
        assert_eq!(value, json!({ "key": "profile.wiki.paths", "value": ["/srv/wiki"], "origin": "default" }));
    }

    #[test]
    fn a_warning_names_its_file_and_line_first() {
        let place = profile::Place { file: std::sync::Arc::new("/etc/bk/bk.toml".into()), line: 7 };
        let mut warning = Warning {
            level: Level::Warning,
            key: "profile.wiki.paths".into(),
            origin: Origin::File(place),
            message: "/a already lies in /".into(),
        };
        assert_eq!(warning_line(&warning), "/etc/bk/bk.toml:7: warning: /a already lies in /");
        warning.origin = Origin::Default;
        assert_eq!(warning_line(&warning), "warning: profile.wiki.paths: /a already lies in /");
    }
}
