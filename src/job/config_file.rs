//! One value out of the configuration of an application, in the ways in which they are written.

use crate::profile::Format;

/// The value of `key`: names joined by `.` where the format nests. `None` when it is not there, or the file is not
/// what it should be: an application that cannot read its configuration has other troubles.
pub(super) fn look_up(format: Format, text: &str, key: &str) -> Option<String> {
    let value = match format {
        Format::Env => env(text, key),
        Format::Ini => ini(text, key),
        Format::Php => php(text, key),
        Format::Xml => xml(text, key),
        Format::Json => json(text, key),
        Format::Yaml => yaml(text, key),
        Format::Toml => toml_value(text, key),
    }?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let pairs = ['"', '\'', '`'];
    let inside = pairs.iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inside.unwrap_or(value)
}

fn env(text: &str, key: &str) -> Option<String> {
    let set = |line: &str| {
        let line = line.trim().trim_start_matches("export ");
        let line = line.strip_prefix("Environment=").map_or(line, unquoted);
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| unquoted(value).to_owned())
    };
    // The last one counts, as in a shell.
    text.lines().rev().find_map(set)
}

fn ini(text: &str, key: &str) -> Option<String> {
    let (wanted, key) = key.rsplit_once('.').unwrap_or(("", key));
    let mut section = String::new();
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
        } else if !line.starts_with(['#', ';'])
            && section.eq_ignore_ascii_case(wanted)
            && let Some((name, value)) = line.split_once('=')
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(unquoted(value).to_owned());
        }
    }
    found
}

/// `'key' => 'value'`, with either quote, escapes of PHP's single quotes undone.
fn php(text: &str, key: &str) -> Option<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with(['#', '*'])).collect::<Vec<_>>().join("\n");
    let after = ['\'', '"'].iter().find_map(|quote| {
        let (_, after) = code.split_once(&format!("{quote}{key}{quote}"))?;
        after.trim_start().strip_prefix("=>")
    })?;
    let after = after.trim_start();
    let quote = after.chars().next()?;
    if quote != '\'' && quote != '"' {
        let end = after.find([',', '\n', ')'])?;
        return after.get(..end).map(|value| value.trim().to_owned());
    }
    let mut value = String::new();
    let mut letters = after.chars().skip(1);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next()),
            letter if letter == quote => return Some(value),
            letter => value.push(letter),
        }
    }
    None
}

fn xml(text: &str, key: &str) -> Option<String> {
    let document = roxmltree::Document::parse(text).ok()?;
    let mut node = document.root();
    for name in key.split('.') {
        node = node.descendants().find(|node| node.is_element() && node.tag_name().name() == name)?;
    }
    node.text().map(str::to_owned)
}

fn json(text: &str, key: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    match key.split('.').try_fold(&document, |value, name| value.get(name))? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn yaml(text: &str, key: &str) -> Option<String> {
    let documents = yaml_rust2::YamlLoader::load_from_str(text).ok()?;
    let mut value = documents.first()?;
    for name in key.split('.') {
        let table = value.as_hash()?;
        // `*` is the one section that is there, whatever it is called.
        value = match name {
            "*" => table.values().find(|value| value.as_hash().is_some())?,
            name => table.get(&yaml_rust2::Yaml::String(name.to_owned()))?,
        };
    }
    match value {
        yaml_rust2::Yaml::String(text) | yaml_rust2::Yaml::Real(text) => Some(text.clone()),
        yaml_rust2::Yaml::Integer(number) => Some(number.to_string()),
        // A table says by the names in it what there is.
        yaml_rust2::Yaml::Hash(table) => {
            let names: Vec<&str> = table.keys().filter_map(|name| name.as_str()).collect();
            Some(names.join("\n"))
        }
        _ => None,
    }
}

fn toml_value(text: &str, key: &str) -> Option<String> {
    let document: toml::Table = text.parse().ok()?;
    let document = toml::Value::Table(document);
    match key.split('.').try_fold(&document, |value, name| value.get(name))? {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_every_format() {
        let cases = [
            (
                Format::Ini,
                "APP = x\n[database]\n; DB_TYPE = no\nDB_TYPE = postgres\nPASSWD = `a\"b`\n",
                "database.DB_TYPE",
                "postgres",
            ),
            (Format::Ini, "[database]\nPASSWD = `a\"b=c`\n", "database.PASSWD", "a\"b=c"),
            (
                Format::Php,
                "<?php\n$CONFIG = array (\n  'dbtype' => 'mysql',\n  'dbpassword' => 'it\\'s',\n);",
                "dbpassword",
                "it's",
            ),
            (Format::Php, "<?php $C = ['maintenance' => true,];", "maintenance", "true"),
            (Format::Xml, "<Config>\n  <PostgresHost>db</PostgresHost>\n</Config>", "PostgresHost", "db"),
            (Format::Json, "{\"SqlSettings\":{\"DriverName\":\"postgres\"}}", "SqlSettings.DriverName", "postgres"),
            (
                Format::Yaml,
                "storage:\n  postgres:\n    address: 'tcp://db:5432'\n",
                "storage.postgres.address",
                "tcp://db:5432",
            ),
            (
                Format::Yaml,
                "storage:\n  encryption_key: k\n  postgres:\n    address: 'x'\n",
                "storage",
                "encryption_key\npostgres",
            ),
            (Format::Yaml, "storage:\n  encryption_key: k\n  postgres:\n    address: 'x'\n", "storage.*.address", "x"),
            (Format::Toml, "database_url = \"sqlite://x\"\n[a]\nb = 3\n", "a.b", "3"),
            (Format::Env, "# x\nexport DB_TYPE='mysqldb'\nDB_TYPE=\"postgresdb\"\n", "DB_TYPE", "postgresdb"),
            (
                Format::Env,
                "[Service]\nEnvironment=\"DATABASE_URL=postgres://u@h/d\"\n",
                "DATABASE_URL",
                "postgres://u@h/d",
            ),
        ];
        for (format, text, key, value) in cases {
            assert_eq!(look_up(format, text, key).as_deref(), Some(value), "{format:?} {key}");
        }
    }

    #[test]
    fn what_is_not_there_or_cannot_be_read_is_nothing() {
        for format in [Format::Ini, Format::Php, Format::Xml, Format::Json, Format::Yaml, Format::Toml, Format::Env] {
            for text in ["", "\0\u{1}<<<", "{", "[", "'key' =>", "key", "key:\n- ["] {
                assert_eq!(look_up(format, text, "key"), None, "{format:?} {text:?}");
            }
        }
    }
}
