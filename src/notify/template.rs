//! A text of the user's with names in it: `{{title}}`.
//!
//! No loops and no conditions: whoever needs those gives a program instead. A name that is not known is an error, not an
//! empty place in a message that nobody sees before the day it matters.

/// The names that a template may have, in the order of the manual.
pub(super) const NAMES: [&str; 12] = [
    "title",
    "body",
    "event",
    "severity",
    "priority",
    "host",
    "profile",
    "repository",
    "time",
    "exit",
    "seconds",
    "new_bytes",
];

/// What stands around the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON: values are escaped for the inside of a string.
    Json,
    /// Anything else: values as they are.
    Text,
}

/// Puts the values into the template.
///
/// # Errors
/// What is wrong with the template, as the rest of a sentence.
pub(super) fn fill(template: &str, form: Form, value: impl Fn(&str) -> String) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len() + 500);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let line = || template.len() - after.len();
        let place = || format!("line {}", template.get(..line()).unwrap_or_default().matches('\n').count() + 1);
        let (name, behind) =
            after.split_once("}}").ok_or_else(|| format!("has a `{{{{` without `}}}}` in {}", place()))?;
        let name = name.trim();
        if !NAMES.contains(&name) {
            return Err(format!(
                "has `{{{{{}}}}}` in {}, which bk does not know",
                super::words::line(name, 40),
                place()
            ));
        }
        filled.push_str(before);
        let text = value(name);
        filled.push_str(&if form == Form::Json { escaped(&text) } else { text });
        rest = behind;
    }
    filled.push_str(rest);
    if form == Form::Json
        && let Err(error) = serde_json::from_str::<serde_json::Value>(&filled)
    {
        return Err(format!("is no JSON once it is filled: line {} column {}", error.line(), error.column()));
    }
    Ok(filled)
}

/// For the inside of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> String {
        if name == "exit" { "3".into() } else { format!("<{name} \"{{{{body}}}}\"\n\\>") }
    }

    #[test]
    fn values_are_put_in_as_they_are_or_escaped_for_json_and_never_looked_at_again() {
        let text = fill("a {{title}} {{ exit }}b", Form::Text, value).unwrap();
        assert_eq!(text, "a <title \"{{body}}\"\n\\> 3b");
        let json = fill("{\"t\": \"{{title}}\", \"n\": {{exit}}}", Form::Json, value).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((json["t"].as_str(), json["n"].as_u64()), (Some("<title \"{{body}}\"\n\\>"), Some(3)));
        for name in NAMES {
            assert!(fill(&format!("{{{{{name}}}}}"), Form::Text, value).is_ok());
        }
    }

    #[test]
    fn what_is_wrong_with_a_template_is_told_with_its_line() {
        for (template, problem) in [
            ("x\n{{titel}}", "has `{{titel}}` in line 2, which bk does not know"),
            ("{{title", "has a `{{` without `}}` in line 1"),
            ("{\"a\": \"{{title}}\",}", "is no JSON once it is filled: line 1 column"),
        ] {
            let found = fill(template, Form::Json, value).unwrap_err();
            assert!(found.starts_with(problem), "{found}");
        }
    }
}
