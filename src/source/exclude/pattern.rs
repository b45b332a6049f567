//! One pattern: reading it, and following a path through it component by component.
//!
//! A pattern is an automaton over whole components. Its states are the places between its components, kept as the bits
//! of one number, so a path is followed in one pass without backtracking over `**`, and "could something below this
//! folder still match?" is the same question as "is a state left?". That is why no glob crate is used: they answer only
//! "does this path match", let `[!a]` match a `/`, and take `?` for a byte.

/// More components than this do not fit the bits of a [`States`].
const MAX_COMPONENTS: usize = 62;

/// The places in a pattern that have been reached: bit `i` stands before component `i`.
pub(super) type States = u64;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` {problem}")]
pub struct PatternError {
    /// The pattern as it was written.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: PatternProblem,
}

impl PatternError {
    /// The next step for the user, printed under the message as `hint: …`.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self.problem {
            PatternProblem::Empty => "remove it, or write `**` to match everything",
            PatternProblem::EmptyComponent | PatternProblem::Dots => {
                "write the path below the data folder without `./`, `../` or doubled `/`"
            }
            PatternProblem::Unclosed | PatternProblem::Backwards(..) => "to match a bracket itself write `\\[`",
            PatternProblem::Dangling => "to match a backslash itself write `\\\\`",
            PatternProblem::TooDeep => "write `**` for the components in the middle",
            PatternProblem::NegatedInclude => "put it into `exclude` without the `!`",
        }
    }
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// Nothing is left once `!` and `/` are taken away.
    #[error("names nothing")]
    Empty,
    /// Two separators in a row.
    #[error("has two `/` in a row")]
    EmptyComponent,
    /// `.` or `..` as a component.
    #[error("has `.` or `..` as a component, which no entry is called")]
    Dots,
    /// A `[` without its `]` in the same component.
    #[error("has a `[` that is not closed before the next `/`")]
    Unclosed,
    /// A range whose end comes before its beginning.
    #[error("has the range `{0}-{1}`, which is backwards")]
    Backwards(char, char),
    /// A `\` with nothing after it in its component.
    #[error("has a `\\` with nothing after it to escape")]
    Dangling,
    /// More components than can be followed.
    #[error("has more than {MAX_COMPONENTS} components")]
    TooDeep,
    /// A `!` in a list of what to keep.
    #[error("begins with `!`, which has no meaning in an include list")]
    NegatedInclude,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    /// `**`: any number of components, also none.
    Deep,
    /// A name without wildcards.
    Literal(Vec<u8>),
    /// A name with wildcards.
    Glob(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    /// `?`: one character, or one byte where the name is not UTF-8.
    One,
    /// `*`
    Many,
    /// `[a-z]`, `[!a-z]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Where a path stands in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reach {
    /// The path itself matches.
    pub exact: bool,
    /// A folder above the path matches.
    pub beneath: bool,
    /// Something below the path could match.
    pub open: bool,
}

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub negated: bool,
    /// Begins at `/` of the host instead of at the data folder.
    pub absolute: bool,
    pub folders_only: bool,
    pub components: Vec<Component>,
    /// Bit `i` where component `i` is [`Component::Deep`].
    deep: States,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_parts(text).map_err(|problem| PatternError { pattern: text.to_owned(), problem })
    }

    fn parse_parts(text: &str) -> Result<Self, PatternProblem> {
        let (negated, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (absolute, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        let (folders_only, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
        if rest.is_empty() {
            return Err(PatternProblem::Empty);
        }
        let mut components = Vec::new();
        for part in rest.split('/') {
            match parse_component(part)? {
                Component::Deep if components.last() == Some(&Component::Deep) => {}
                component => components.push(component),
            }
        }
        // At the end `**` is what lies below a folder, not the folder itself.
        if components.last() == Some(&Component::Deep) {
            components.push(Component::Glob(vec![Token::Many]));
        }
        if components.len() > MAX_COMPONENTS {
            return Err(PatternProblem::TooDeep);
        }
        let deep = components.iter().enumerate().filter(|(_, component)| **component == Component::Deep);
        let deep = deep.fold(0, |bits, (at, _)| bits | 1 << at);
        Ok(Self { negated, absolute, folders_only, components, deep })
    }

    /// The state before the first component.
    pub fn start(&self) -> States {
        self.skipping(1)
    }

    fn accepting(&self) -> States {
        1 << self.components.len()
    }

    /// `**` may also match nothing. It is never last and never doubled, so one step is enough.
    fn skipping(&self, states: States) -> States {
        states | (states & self.deep) << 1
    }

    fn step(&self, states: States, name: &[u8]) -> States {
        let mut next = 0;
        let mut left = states;
        while let Some(component) = self.components.get(left.trailing_zeros() as usize) {
            let state = left & left.wrapping_neg();
            left ^= state;
            match component {
                Component::Deep => next |= state,
                Component::Literal(bytes) if bytes == name => next |= state << 1,
                Component::Glob(tokens) if glob(tokens, name) => next |= state << 1,
                Component::Literal(_) | Component::Glob(_) => {}
            }
        }
        self.skipping(next)
    }

    /// Follows `path` from `states`: the states it ends in and whether it, or a folder above it, was matched.
    pub fn follow(&self, mut states: States, path: &[&[u8]]) -> (States, Reach) {
        for name in path {
            if states & self.accepting() != 0 {
                return (states, Reach { exact: false, beneath: true, open: true });
            }
            states = self.step(states, name);
            if states == 0 {
                return (0, Reach::default());
            }
        }
        let exact = states & self.accepting() != 0;
        (states, Reach { exact, beneath: false, open: true })
    }
}

fn parse_component(text: &str) -> Result<Component, PatternProblem> {
    match text {
        "" => return Err(PatternProblem::EmptyComponent),
        "." | ".." => return Err(PatternProblem::Dots),
        "**" => return Ok(Component::Deep),
        _ => {}
    }
    let mut tokens = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => push_char(&mut tokens, rest.next().ok_or(PatternProblem::Dangling)?),
            '?' => tokens.push(Token::One),
            '*' if tokens.last() == Some(&Token::Many) => {}
            '*' => tokens.push(Token::Many),
            '[' => tokens.push(parse_class(&mut rest)?),
            _ => push_char(&mut tokens, character),
        }
    }
    let bytes = tokens.iter().map(|token| match token {
        Token::Byte(byte) => Some(*byte),
        _ => None,
    });
    Ok(match bytes.collect::<Option<Vec<u8>>>() {
        Some(bytes) => Component::Literal(bytes),
        None => Component::Glob(tokens),
    })
}

fn push_char(tokens: &mut Vec<Token>, character: char) {
    let mut buffer = [0; 4];
    tokens.extend(character.encode_utf8(&mut buffer).bytes().map(Token::Byte));
}

/// Reads a class after its `[`. A `]` that comes first, a `-` that comes first or last, and what follows a `\` are
/// members.
fn parse_class(rest: &mut std::str::Chars<'_>) -> Result<Token, PatternProblem> {
    let mut ahead = rest.clone();
    let negated = matches!(ahead.next(), Some('!' | '^'));
    if negated {
        *rest = ahead;
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut member = rest.next();
    loop {
        let first = match member.ok_or(PatternProblem::Unclosed)? {
            ']' if !ranges.is_empty() => return Ok(Token::Class { negated, ranges }),
            '\\' => rest.next().ok_or(PatternProblem::Dangling)?,
            other => other,
        };
        member = rest.next();
        let mut ahead = rest.clone();
        let last = match (member, ahead.next()) {
            (Some('-'), Some(end)) if end != ']' => {
                let end = if end == '\\' { ahead.next().ok_or(PatternProblem::Dangling)? } else { end };
                *rest = ahead;
                member = rest.next();
                end
            }
            _ => first,
        };
        if last < first {
            return Err(PatternProblem::Backwards(first, last));
        }
        ranges.push((first, last));
    }
}

/// The first character of `bytes` and its length; a byte that is not UTF-8 stands alone and is no character.
fn first_char(bytes: &[u8]) -> (Option<char>, usize) {
    for len in 1..=bytes.len().min(4) {
        let text = bytes.get(..len).and_then(|start| std::str::from_utf8(start).ok());
        if let Some(character) = text.and_then(|text| text.chars().next()) {
            return (Some(character), len);
        }
    }
    (None, 1)
}

/// How many bytes of `name` the token takes; `None` when it does not match there.
fn take(token: &Token, name: &[u8]) -> Option<usize> {
    let byte = *name.first()?;
    match token {
        Token::Byte(wanted) => (*wanted == byte).then_some(1),
        Token::One => Some(first_char(name).1),
        Token::Class { negated, ranges } => {
            let (character, len) = first_char(name);
            let member =
                character.is_some_and(|found| ranges.iter().any(|(low, high)| (*low..=*high).contains(&found)));
            (member != *negated).then_some(len)
        }
        Token::Many => None,
    }
}

/// Whether `tokens` match the whole of `name`. Only the last `*` is ever tried again: at most `tokens × name` steps.
fn glob(mut tokens: &[Token], mut name: &[u8]) -> bool {
    // Most names are told apart by their last byte: `*.tmp`.
    if matches!((tokens.last(), name.last()), (Some(Token::Byte(wanted)), Some(found)) if wanted != found) {
        return false;
    }
    let mut retry: Option<(&[Token], &[u8])> = None;
    loop {
        match tokens.split_first() {
            None if name.is_empty() => return true,
            Some((Token::Many, rest)) => {
                if rest.is_empty() {
                    return true;
                }
                tokens = rest;
                retry = Some((rest, name));
                continue;
            }
            Some((token, rest)) => {
                if let Some(left) = take(token, name).and_then(|len| name.get(len..)) {
                    (tokens, name) = (rest, left);
                    continue;
                }
            }
            None => {}
        }
        let Some((after, from)) = retry else { return false };
        if from.is_empty() {
            return false;
        }
        let left = from.get(first_char(from).1..).unwrap_or_default();
        retry = Some((after, left));
        (tokens, name) = (after, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_matches(pattern: &str, name: &[u8]) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        pattern.follow(pattern.start(), &[name]).1.exact
    }

    #[test]
    fn wildcards_match_names_as_the_table_says() {
        let cases: [(&str, &[u8], bool); 34] = [
            ("a", b"a", true),
            ("a", b"ab", false),
            ("*", b"anything", true),
            ("*.log", b"x.log", true),
            ("*.log", b".log", true),
            ("*.log", b"x.log.1", false),
            ("a*b*c", b"a--b--b-c", true),
            ("a*b*c", b"a--b--b-", false),
            ("x**y", b"x12y", true),
            ("?", b"a", true),
            ("?", b"", false),
            ("?", "é".as_bytes(), true),
            ("?", b"\xff", true),
            ("??", "é".as_bytes(), false),
            ("f?o", b"f\xffo", true),
            ("*o", b"\xfe\xffo", true),
            ("[abc]", b"b", true),
            ("[abc]", b"d", false),
            ("[!abc]", b"d", true),
            ("[^abc]", b"a", false),
            ("[!a]", b"\xff", true),
            ("*[!é]", "é".as_bytes(), false),
            ("[a-cx]", b"x", true),
            ("[à-ü]", "é".as_bytes(), true),
            ("[]a]", b"]", true),
            ("[a-]", b"-", true),
            ("[-a]", b"-", true),
            ("[\\]]", b"]", true),
            ("20[0-9][0-9]", b"2026", true),
            ("\\*", b"*", true),
            ("\\*", b"a", false),
            ("\\!important", b"!important", true),
            ("{a,b}", b"{a,b}", true),
            ("{a,b}", b"a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} on {}", name.escape_ascii());
        }
    }

    #[test]
    fn a_malformed_pattern_is_named_with_what_is_wrong_with_it() {
        let deep = "a/".repeat(63);
        let cases = [
            ("", "pattern `` names nothing"),
            ("!", "pattern `!` names nothing"),
            ("/", "pattern `/` names nothing"),
            ("a//b", "pattern `a//b` has two `/` in a row"),
            ("./a", "pattern `./a` has `.` or `..` as a component, which no entry is called"),
            ("a/../b", "pattern `a/../b` has `.` or `..` as a component, which no entry is called"),
            ("a[b", "pattern `a[b` has a `[` that is not closed before the next `/`"),
            ("a[]", "pattern `a[]` has a `[` that is not closed before the next `/`"),
            ("a[b/c]", "pattern `a[b/c]` has a `[` that is not closed before the next `/`"),
            ("[z-a]", "pattern `[z-a]` has the range `z-a`, which is backwards"),
            ("a\\", "pattern `a\\` has a `\\` with nothing after it to escape"),
            ("a\\/b", "pattern `a\\/b` has a `\\` with nothing after it to escape"),
        ];
        for (pattern, message) in cases {
            let error = Pattern::parse(pattern).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint().is_empty());
        }
        assert_eq!(Pattern::parse(&deep).unwrap_err().problem, PatternProblem::TooDeep);
        assert!(Pattern::parse(&"a/".repeat(62)).is_ok());
    }

    #[test]
    fn many_stars_take_no_longer_than_their_number_times_the_name() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!name_matches(&pattern, &[b'a'; 255]));
    }
}
