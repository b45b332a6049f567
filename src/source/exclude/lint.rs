//! What is wrong, or probably not meant, in a list of patterns.

use super::pattern::{Component, Pattern};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintLevel {
    /// Right as it is, but easily read as something else.
    Info,
    /// Probably drops more than was meant.
    Warning,
    /// Cannot be used.
    Error,
}

/// Something to say about one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// The pattern as it was written.
    pub pattern: String,
    /// How much it matters.
    pub level: LintLevel,
    /// One sentence that names the pattern and what to write instead.
    pub message: String,
}

/// Looks over exclude `patterns`: malformed ones are errors, floating ones warnings.
///
/// A floating pattern is `**/` and a plain word, such as `**/log/**`: it also drops what people named so themselves, a
/// git branch `log/x` for one. Names nobody chooses (`.cache`, `node_modules`, `Thumbs.db`, `*.tmp`) are let pass.
#[must_use]
pub fn lint(patterns: &[String]) -> Vec<LintFinding> {
    patterns.iter().filter_map(|pattern| finding(pattern)).collect()
}

fn finding(text: &str) -> Option<LintFinding> {
    let found = |level, message| Some(LintFinding { pattern: text.to_owned(), level, message });
    let pattern = match Pattern::parse(text) {
        Ok(pattern) => pattern,
        Err(error) => return found(LintLevel::Error, error.to_string()),
    };
    if let Some(word) = floating(&pattern).filter(|_| !pattern.negated) {
        let anchored = text.replacen("**/", "", 1);
        return found(
            LintLevel::Warning,
            format!(
                "`{text}` drops everything called `{word}` at any depth, also what people named so themselves; \
                 anchor it: `{anchored}` or `PATH/TO/{}`",
                anchored.trim_start_matches('/')
            ),
        );
    }
    let wild = matches!(pattern.components.as_slice(), [Component::Glob(tokens)] if tokens.len() > 1);
    if wild && !pattern.absolute && !pattern.negated {
        return found(
            LintLevel::Info,
            format!("`{text}` matches only at the top of the data folder; for any depth write `**/{text}`"),
        );
    }
    if text.contains('{') && text.contains(',') && text.contains('}') {
        return found(
            LintLevel::Info,
            format!("`{text}` matches the braces themselves; write one pattern for each alternative"),
        );
    }
    None
}

/// The plain word that follows a `**`: letters only, as people name things.
fn floating(pattern: &Pattern) -> Option<String> {
    pattern.components.windows(2).find_map(|pair| match pair {
        [Component::Deep, Component::Literal(name)] if name.iter().all(u8::is_ascii_alphabetic) => {
            String::from_utf8(name.clone()).ok()
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(pattern: &str) -> Option<LintLevel> {
        lint(&[pattern.to_owned()]).first().map(|finding| finding.level)
    }

    #[test]
    fn floating_plain_words_are_warned_about_and_names_nobody_chooses_are_not() {
        for pattern in ["**/log/**", "**/cache/**", "**/tmp", "**/Cache/", "a/**/log/**", "/srv/**/tmp"] {
            assert_eq!(level(pattern), Some(LintLevel::Warning), "{pattern}");
        }
        for pattern in [
            "cache/**",
            "log",
            "a/log/**",
            "**/.cache/**",
            "**/node_modules",
            "**/Thumbs.db",
            "**/*.tmp",
            "!**/log",
            "**",
        ] {
            assert_eq!(level(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_floating_pattern_is_named_with_its_anchored_form() {
        let [finding] = lint(&["**/log/**".into()]).try_into().unwrap();
        assert_eq!(
            finding.message,
            "`**/log/**` drops everything called `log` at any depth, also what people named so themselves; \
             anchor it: `log/**` or `PATH/TO/log/**`"
        );
        let [finding] = lint(&["a/**/tmp".into()]).try_into().unwrap();
        assert!(finding.message.ends_with("anchor it: `a/tmp` or `PATH/TO/a/tmp`"), "{}", finding.message);
    }

    #[test]
    fn a_malformed_pattern_is_an_error_that_names_it() {
        let [finding] = lint(&["a[".into()]).try_into().unwrap();
        assert_eq!(finding.level, LintLevel::Error);
        assert_eq!(finding.message, "pattern `a[` has a `[` that is not closed before the next `/`");
    }

    #[test]
    fn a_wildcard_without_a_slash_is_told_to_match_only_the_top() {
        let [finding] = lint(&["*.tmp".into()]).try_into().unwrap();
        assert_eq!(finding.level, LintLevel::Info);
        assert_eq!(
            finding.message,
            "`*.tmp` matches only at the top of the data folder; for any depth write `**/*.tmp`"
        );
        assert_eq!(level("a/*.tmp"), None);
        assert_eq!(level("*"), None);
    }

    #[test]
    fn braces_are_told_to_be_plain_characters() {
        assert_eq!(level("a/{b,c}"), Some(LintLevel::Info));
    }
}
