//! The configuration as a JSON Schema, for editors that complete and check while one types.

use serde_json::{Map, Value, json};

use super::keys::{CHECK, Key, Kind, LATER_SECTIONS, SECTIONS, Section};

/// What is promised of a repository when it is checked.
const PROMISE: &str = "^\\s*(structure|whole\\s+in\\s+[0-9a-z]+)\\s*$";
const NAME: &str = "^[a-z0-9][a-z0-9_-]*$";

/// The JSON Schema of `bk.toml`.
///
/// It checks shapes and names. That a `to` names a repository and a pattern can be used, only [`super::load`] knows.
#[must_use]
pub fn schema() -> Value {
    let sections: Map<String, Value> = SECTIONS.iter().map(|one| (one.name.to_owned(), section(one))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bk.toml",
        "description": "Configuration of bk, the encrypted deduplicating backup tool.",
        "$comment": format!("not supported by this version: {}", LATER_SECTIONS.join(", ")),
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

fn table(keys: &[Key]) -> Value {
    let keys: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), value(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": keys })
}

fn section(section: &Section) -> Value {
    let mut table = table(section.keys);
    if section.name == "repository" {
        table["required"] = json!(["location"]);
    } else if section.name == "notify" {
        table["required"] = json!(["kind"]);
    }
    if section.named {
        table = json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": table });
    }
    table["description"] = json!(section.about);
    table
}

fn value(key: &Key) -> Value {
    let path = json!({ "type": "string", "pattern": "^/" });
    let mut value = match key.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Path => path,
        Kind::Paths => json!({ "type": "array", "minItems": 1, "items": path }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Size => {
            json!({ "type": ["string", "integer"], "minimum": 0, "pattern": "^\\s*[0-9]+\\s*[A-Za-z]*\\s*$" })
        }
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Kind::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Duration | Kind::Delay => json!({ "type": "string" }),
        Kind::Check => {
            let mut table = table(CHECK);
            table["required"] = json!(["at"]);
            table["additionalProperties"] = json!({ "type": "string", "pattern": PROMISE });
            json!({ "type": ["string", "object"], "anyOf": [{ "type": "string" }, table] })
        }
        Kind::Table(keys) => table(keys),
        Kind::Tables(keys) => json!({ "type": "array", "items": table(keys) }),
        Kind::Keep => keep(),
        Kind::KeepOf => {
            json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": keep() })
        }
        Kind::Settings => {
            let texts = json!({ "type": "array", "items": { "type": "string" } });
            json!({ "type": "object", "additionalProperties": { "anyOf": [{ "type": "string" }, texts] } })
        }
        Kind::Names => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    };
    value["description"] = json!(key.about);
    value
}

fn keep() -> Value {
    let rule = |name: &str| match name {
        "tags" => json!({ "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 } }),
        name if name.starts_with("within") => json!({ "type": "string" }),
        _ => json!({ "type": ["integer", "string"], "minimum": 1 }),
    };
    let rules: Map<String, Value> = super::keep::rules().map(|name| (name.to_owned(), rule(name))).collect();
    json!({ "type": "object", "minProperties": 1, "additionalProperties": false, "properties": rules })
}

#[cfg(test)]
mod tests {
    use super::super::EXAMPLE;
    use super::*;

    /// The properties that hold for `[section]` or `[section.NAME]`.
    fn properties<'a>(schema: &'a Value, name: &str) -> &'a Map<String, Value> {
        let section = &schema["properties"][name];
        let table = if section["properties"].is_object() { section } else { &section["additionalProperties"] };
        table["properties"].as_object().unwrap()
    }

    fn has_type(schema: &Value, value: &toml::Value) -> bool {
        let found = match value {
            toml::Value::String(_) => "string",
            toml::Value::Integer(_) => "integer",
            toml::Value::Boolean(_) => "boolean",
            toml::Value::Array(_) => "array",
            toml::Value::Table(_) => "object",
            _ => return false,
        };
        let types = &schema["type"];
        types == found || types.as_array().is_some_and(|types| types.contains(&json!(found)))
    }

    #[test]
    fn every_key_of_the_table_is_in_the_schema_with_a_description() {
        let schema = schema();
        for section in SECTIONS {
            assert!(!schema["properties"][section.name]["description"].as_str().unwrap().is_empty());
            let properties = properties(&schema, section.name);
            let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            assert_eq!(properties.len(), names.len());
            for name in names {
                assert!(!properties[name]["description"].as_str().unwrap().is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn every_key_of_the_example_is_in_the_schema_with_its_type() {
        let schema = schema();
        let example: toml::Table = EXAMPLE.parse().unwrap();
        for (section, table) in &example {
            let table = table.as_table().unwrap();
            let named = SECTIONS.iter().any(|one| one.name == section && one.named);
            let tables: Vec<&toml::Table> =
                if named { table.values().filter_map(toml::Value::as_table).collect() } else { vec![table] };
            for (key, value) in tables.into_iter().flatten() {
                assert!(has_type(&properties(&schema, section)[key], value), "{section} {key}");
            }
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_the_schema_too() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["profile"]["additionalProperties"]["additionalProperties"], false);
        assert_eq!(schema["properties"]["repository"]["additionalProperties"]["required"], json!(["location"]));
        assert_eq!(
            schema["properties"]["profile"]["additionalProperties"]["properties"]["chunk-class"]["enum"][2],
            "fine"
        );
    }
}
