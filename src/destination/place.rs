//! Where a folder is, for messages only: no path made here is ever opened.

use std::sync::Arc;

use super::name::shown;

/// A name below a parent. Kept apart from the descriptors, so that a deep tree does not hold them all open.
#[derive(Debug)]
pub(super) struct Place {
    name: Box<[u8]>,
    parent: Option<Arc<Self>>,
}

impl Place {
    pub(super) fn root(path: &[u8]) -> Arc<Self> {
        Arc::new(Self { name: path.into(), parent: None })
    }

    pub(super) fn below(self: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        Arc::new(Self { name: name.into(), parent: Some(Arc::clone(self)) })
    }

    /// The path as people read it.
    pub(super) fn shown(&self) -> String {
        let mut names = vec![&*self.name];
        let mut place = self;
        while let Some(parent) = &place.parent {
            names.push(&parent.name);
            place = parent;
        }
        names.reverse();
        let mut path = Vec::new();
        for name in names {
            if !path.is_empty() && path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        shown(&path)
    }

    /// The path of the entry `name` in here.
    pub(super) fn shown_below(&self, name: &[u8]) -> String {
        let folder = self.shown();
        let separator = if folder.ends_with('/') { "" } else { "/" };
        format!("{folder}{separator}{}", shown(name))
    }
}

impl Drop for Place {
    /// One after the other: the chain of a hostile, very deep tree would exhaust the stack otherwise.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut place) = next.and_then(Arc::into_inner) {
            next = place.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_its_path() {
        let place = Place::root(b"/").below(b"srv").below(b"a\nb");
        assert_eq!(place.shown(), "/srv/a\\nb");
        assert_eq!(Place::root(b"/").shown_below(b"etc"), "/etc");
    }

    #[test]
    fn a_place_of_a_million_levels_is_dropped_without_exhausting_the_stack() {
        let mut place = Place::root(b"/");
        for _ in 0..1_000_000 {
            place = place.below(b"d");
        }
        drop(place);
    }
}
