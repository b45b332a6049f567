//! Which names may become an entry of a directory.

/// Longest name Linux file systems keep, in bytes (`NAME_MAX`).
pub const MAX_NAME_LEN: usize = 255;

/// Why a name cannot be an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`, which stand for directories that exist already.
    #[error("the name is `.` or `..`, which would leave the folder")]
    Dots,
    /// A `/`: several components, or an absolute path.
    #[error("the name contains `/`, so it is a path and could leave the folder")]
    Slash,
    /// A NUL byte, where the kernel would cut the name.
    #[error("the name contains a NUL byte")]
    Nul,
    /// Longer than [`MAX_NAME_LEN`].
    #[error("the name has {0} bytes; at most {MAX_NAME_LEN} are possible")]
    TooLong(usize),
}

/// Accepts `name` only if it names exactly one entry directly inside a directory.
///
/// # Errors
/// [`NameError`] says which rule it breaks. Every other byte is fine, `\`, `:`, newline and invalid UTF-8 included.
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    match name {
        b"" => Err(NameError::Empty),
        b"." | b".." => Err(NameError::Dots),
        _ if name.contains(&b'/') => Err(NameError::Slash),
        _ if name.contains(&0) => Err(NameError::Nul),
        _ if name.len() > MAX_NAME_LEN => Err(NameError::TooLong(name.len())),
        _ => Ok(()),
    }
}

/// `bytes` for people: invalid UTF-8 replaced, control characters and text-direction marks escaped, so that a name
/// can neither fake a second line of output nor turn it around.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        if character.is_control()
            || matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_one_entry_are_refused() {
        assert_eq!(check_name(b""), Err(NameError::Empty));
        assert_eq!(check_name(b"."), Err(NameError::Dots));
        assert_eq!(check_name(b".."), Err(NameError::Dots));
        assert_eq!(check_name(b"/abs"), Err(NameError::Slash));
        assert_eq!(check_name(b"a/../../b"), Err(NameError::Slash));
        assert_eq!(check_name(b"a\0b"), Err(NameError::Nul));
        assert_eq!(check_name(&[b'x'; 256]), Err(NameError::TooLong(256)));
    }

    #[test]
    fn odd_but_honest_names_are_accepted() {
        for name in [&b"..."[..], b"-rf", b"a\\b", b"c:", b"\n", b"\xff\xfe", b" ", &[b'x'; 255]] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_shown_name_cannot_fake_a_line() {
        assert_eq!(shown(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    }
}
