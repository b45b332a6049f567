//! The same as a module of NixOS, where nobody writes into /etc.

use super::Setting;
use super::unit::{Entry, MARK, Section, Unit};

/// The text of the module.
pub(super) fn text(units: &[Unit], setting: &Setting) -> String {
    let mut lines = vec![
        format!("{MARK} show --nixos` from {}. Name it in `imports`.", setting.source()),
        "{ ... }:".to_owned(),
        "{".to_owned(),
    ];
    for unit in units {
        let (name, kind) = unit.name.rsplit_once('.').unwrap_or((unit.name, "service"));
        lines.push(format!("  systemd.{kind}s.{} = {{", string(name)));
        for section in &unit.sections {
            add_section(section, kind, &mut lines);
        }
        lines.push("  };".to_owned());
    }
    lines.push("}".to_owned());
    lines.join("\n") + "\n"
}

fn add_section(section: &Section, kind: &str, lines: &mut Vec<String>) {
    let set = match section.name {
        "Install" => {
            lines.push("    wantedBy = [ \"timers.target\" ];".to_owned());
            return;
        }
        "Unit" => "unitConfig".to_owned(),
        _ => format!("{kind}Config"),
    };
    let described = |entry: &&Entry| matches!(entry, Entry::Set("Description", _));
    if let Some(Entry::Set(_, text)) = section.entries.iter().find(described) {
        lines.push(format!("    description = {};", string(text)));
    }
    if section.name == "Service" {
        // Hooks need the programs of the machine, and setuid ones of which rootless containers are made.
        lines.push("    path = [ \"/run/wrappers\" \"/run/current-system/sw\" ];".to_owned());
    }
    let rest: Vec<&Entry> = section.entries.iter().filter(|entry| !described(entry)).collect();
    if rest.is_empty() {
        return;
    }
    lines.push(format!("    {set} = {{"));
    let mut written: Vec<&str> = Vec::new();
    for entry in &rest {
        match entry {
            Entry::Comment(text) => {
                lines.extend(crate::ui::text::wrapped(text, 100).into_iter().map(|line| format!("      # {line}")));
            }
            Entry::Set(key, _) if written.contains(key) => {}
            Entry::Set(key, _) => {
                written.push(key);
                let all = rest.iter().filter_map(|other| match other {
                    Entry::Set(same, value) if same == key => Some(string(value)),
                    _ => None,
                });
                let all: Vec<String> = all.collect();
                let value = match all.as_slice() {
                    [one] => one.clone(),
                    several => format!("[ {} ]", several.join(" ")),
                };
                lines.push(format!("      {key} = {value};"));
            }
        }
    }
    lines.push("    };".to_owned());
}

fn string(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{text}\"")
}
