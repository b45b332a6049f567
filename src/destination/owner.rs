//! Who shall own what is restored.

use std::collections::HashMap;

use crate::format::node::Metadata;

/// How the recorded owner becomes an owner here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnerPolicy {
    /// The recorded numbers.
    #[default]
    Numeric,
    /// The numbers that the recorded names have on this machine; the recorded numbers for names unknown here.
    ByName,
    /// Whoever runs the restore owns everything.
    Keep,
}

/// An [`OwnerPolicy`] with this machine's names looked up.
#[derive(Debug, Default)]
pub struct Owners {
    policy: OwnerPolicy,
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

impl Owners {
    /// Prepares `policy`; [`OwnerPolicy::ByName`] reads `/etc/passwd` and `/etc/group`, once.
    #[must_use]
    pub fn new(policy: OwnerPolicy) -> Self {
        if policy != OwnerPolicy::ByName {
            return Self { policy, ..Self::default() };
        }
        let read = |path| std::fs::read(path).unwrap_or_default();
        Self { policy, users: numbers(&read("/etc/passwd")), groups: numbers(&read("/etc/group")) }
    }

    /// Whether owners are to be set at all.
    pub(super) fn sets(&self) -> bool {
        self.policy != OwnerPolicy::Keep
    }

    /// User and group that `metadata` stands for here.
    pub(super) fn of(&self, metadata: &Metadata) -> (u32, u32) {
        let find = |known: &HashMap<String, u32>, name: Option<&str>, number| {
            name.and_then(|name| known.get(name).copied()).unwrap_or(number)
        };
        (
            find(&self.users, metadata.user.as_deref(), metadata.uid),
            find(&self.groups, metadata.group.as_deref(), metadata.gid),
        )
    }
}

/// Name and number of each line of a file such as `/etc/passwd`: first and third field; the first of a name counts.
fn numbers(lines: &[u8]) -> HashMap<String, u32> {
    let mut known = HashMap::new();
    for line in String::from_utf8_lossy(lines).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(number)) = (fields.next(), fields.nth(1).and_then(|number| number.parse().ok())) {
            known.entry(name.to_owned()).or_insert(number);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_gives_its_number_here_and_an_unknown_one_the_recorded_number() {
        let owners = Owners {
            policy: OwnerPolicy::ByName,
            users: numbers(b"root:x:0:0::/root:/bin/sh\n# odd line\nplex:x:997:995::/:/bin/false\nplex:x:5:5::/:\n"),
            groups: numbers(b"media:x:1500:plex\n"),
        };
        let mut metadata = Metadata { uid: 1, gid: 2, user: Some("plex".into()), ..Metadata::default() };
        metadata.group = Some("media".into());
        assert_eq!(owners.of(&metadata), (997, 1500));
        metadata.user = Some("gone".into());
        metadata.group = None;
        assert_eq!(owners.of(&metadata), (1, 2));
    }
}
