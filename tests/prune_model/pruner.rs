//! A pruner: it plans and puts a mark, or sweeps a mark that is old enough; in steps, with delays and crashes.

use crate::protocol::{Action, Compaction, Deletes, Does, Model, Needed, Planning, Runs, Steps};
use crate::state::{MARK_GONE, Pruner, PrunerAt, Set, State, members};

type Change<'a> = &'a dyn Fn(&mut State, &mut Pruner) -> Option<()>;

impl Model {
    pub fn pruner_steps(&self, state: &State, number: usize, steps: &mut Steps) {
        let me = state.pruners[number];
        let mut go = |change: Change<'_>| {
            let mut after = *state;
            let mut me = me;
            if change(&mut after, &mut me).is_some() {
                after.pruners[number] = me;
                steps.push((Action::Pruner(number, Does::Step), after));
            }
        };
        match me.at {
            PrunerAt::Off => return,
            PrunerAt::Idle => {
                self.begin(state, &mut go);
                return;
            }
            PrunerAt::MarksListed => go(&|store, me| {
                if self.protocol.compaction == Compaction::DropsUnlisted {
                    me.entries = store.present;
                }
                me.good = store.present & !me.good;
                me.at = PrunerAt::PacksListed;
                Some(())
            }),
            PrunerAt::PacksListed => go(&|store, me| {
                me.listed = store.indexes;
                me.at = PrunerAt::IndexListed;
                Some(())
            }),
            PrunerAt::IndexListed => go(&|store, me| self.read_index(store, me)),
            PrunerAt::IndexRead if me.mark == 0 => self.plan(state, &me, &mut go),
            PrunerAt::IndexRead => self.check(state, &me, &mut go),
            PrunerAt::ToPutCopy => go(&|store, me| {
                me.fresh = store.put_pack(me.blobs, self.world.packs)?;
                me.blobs = 0;
                me.at = PrunerAt::ToIndexCopy;
                Some(())
            }),
            PrunerAt::ToIndexCopy => go(&|store, me| {
                store.put_index(me.fresh, self.world.indexes)?;
                me.fresh = 0;
                // A sweep begins again, and looks at everything again.
                let at = if me.target == 0 { PrunerAt::Idle } else { PrunerAt::ToPutMark };
                *me = Pruner { target: me.target, ..Pruner::new(at) };
                Some(())
            }),
            PrunerAt::ToPutMark => go(&|store, me| {
                store.put_mark(me.target, self.world.marks)?;
                *me = Pruner::new(PrunerAt::Idle);
                Some(())
            }),
            PrunerAt::ToPutIndex | PrunerAt::DeletingIndex => self.renew_index(&me, &mut go),
            PrunerAt::DeletingPacks if self.protocol.deletes == Deletes::MarkThenPacks && me.mark != MARK_GONE => {
                go(&|store, me| {
                    store.delete_mark(usize::from(me.mark) - 1);
                    me.mark = MARK_GONE;
                    Some(())
                });
            }
            PrunerAt::DeletingPacks => {
                for pack in members(me.target) {
                    go(&|store, me| {
                        store.present &= !(1 << pack);
                        store.age[pack] = 0;
                        me.target &= !(1 << pack);
                        Some(())
                    });
                }
            }
            PrunerAt::ToDeleteMark => go(&|store, me| {
                store.delete_mark(usize::from(me.mark) - 1);
                store.spent_marks += u8::from(self.world.runs == Runs::Once);
                *me = Pruner::new(PrunerAt::Idle);
                Some(())
            }),
        }
        let mut after = *state;
        after.pruners[number] = Pruner::new(PrunerAt::Idle);
        steps.push((Action::Pruner(number, Does::Crash), after));
    }

    /// Lists the marks: to plan, or to sweep one that is old enough.
    fn begin(&self, state: &State, go: &mut impl FnMut(Change<'_>)) {
        let marks = state.marks.iter().enumerate();
        for (slot, _) in marks.filter(|(_, mark)| mark.age > self.protocol.sweep_after) {
            go(&|store, me| {
                *me = sweeping(store, slot as u8 + 1);
                Some(())
            });
        }
        if self.protocol.planning == Planning::Anything {
            self.mark_anything(state, go);
        } else if state.marks[..self.world.marks].iter().any(|mark| mark.age == 0) {
            go(&|store, me| {
                me.good = store.marked();
                me.at = PrunerAt::MarksListed;
                Some(())
            });
        }
    }

    fn may_be_marked(&self, state: &State, packs: Set) -> impl Iterator<Item = Set> {
        let old = members(packs).filter(|pack| state.age[*pack] >= self.protocol.spare_younger);
        let candidates = old.fold(0, |all, pack| all | 1 << pack);
        let most = self.world.packs_per_mark;
        (1..=Set::MAX).filter(move |packs| packs & !candidates == 0 && packs.count_ones() <= most)
    }

    /// Marks any packs there are, needed or not: whatever a plan may come to, however stale it is.
    fn mark_anything(&self, state: &State, go: &mut impl FnMut(Change<'_>)) {
        for packs in self.may_be_marked(state, state.present) {
            go(&|store, _| store.put_mark(packs, self.world.marks));
        }
    }

    /// Reads the index objects that it listed, as far as they are still there.
    fn read_index(&self, store: &State, me: &mut Pruner) -> Option<()> {
        let read = store.indexed_by(me.listed);
        let drops_unlisted = self.protocol.compaction == Compaction::DropsUnlisted;
        me.entries = if drops_unlisted { read & me.entries } else { read };
        if me.mark == 0 {
            me.listed = 0;
        } else {
            me.blobs = store.blobs_of(me.good & read);
            me.entries &= !me.target;
            me.good = 0;
        }
        me.at = PrunerAt::IndexRead;
        Some(())
    }

    /// Reads the snapshots and chooses what to mark: any packs that hold no live blob which has no better home; or one
    /// sparse pack, whose live blobs are copied forward first.
    fn plan(&self, state: &State, me: &Pruner, go: &mut impl FnMut(Change<'_>)) {
        let live = self.live(state);
        let homes = me.good & me.entries;
        for target in self.may_be_marked(state, me.good) {
            let needed = live & state.blobs_of(target) & !state.blobs_of(homes & !target);
            let at = if needed == 0 { PrunerAt::ToPutMark } else { PrunerAt::ToPutCopy };
            let can_be_read = state.blobs_of(target & state.present) & needed == needed;
            if needed == 0 || target.count_ones() == 1 && can_be_read {
                go(&|_, me| {
                    *me = Pruner { target, blobs: needed, ..Pruner::new(at) };
                    Some(())
                });
            }
        }
    }

    /// Reads the snapshots again: every live blob must have a home that is present, not marked, and indexed.
    fn check(&self, state: &State, me: &Pruner, go: &mut impl FnMut(Change<'_>)) {
        let missing = match self.protocol.needed {
            Needed::NotAsked => 0,
            _ => self.live(state) & !me.blobs,
        };
        if missing == 0 {
            let at = if self.protocol.compaction == Compaction::DeletesFirst {
                PrunerAt::DeletingIndex
            } else {
                PrunerAt::ToPutIndex
            };
            go(&|_, me| {
                (me.at, me.blobs) = (at, 0);
                Some(())
            });
        } else if self.protocol.needed == Needed::TakeMarkBack {
            go(&|_, me| {
                *me = Pruner { mark: me.mark, ..Pruner::new(PrunerAt::ToDeleteMark) };
                Some(())
            });
        } else if state.blobs_of(state.marked() & state.present) & missing == missing {
            go(&|_, me| {
                *me = Pruner { blobs: missing, ..Pruner::new(PrunerAt::ToPutCopy) };
                Some(())
            });
        }
    }

    /// Puts the new index object and deletes the old ones.
    fn renew_index(&self, me: &Pruner, go: &mut impl FnMut(Change<'_>)) {
        let first = self.protocol.compaction == Compaction::DeletesFirst;
        if me.at == PrunerAt::ToPutIndex {
            go(&|store, me| {
                if self.protocol.compaction == Compaction::DeletesUnread {
                    me.listed = store.indexes;
                }
                store.put_index(me.entries, self.world.indexes)?;
                me.entries = 0;
                me.at = if first { PrunerAt::DeletingPacks } else { PrunerAt::DeletingIndex };
                Some(())
            });
            return;
        }
        for object in members(me.listed) {
            go(&|store, me| {
                me.listed &= !(1 << object);
                if first && me.listed == 0 {
                    me.at = PrunerAt::ToPutIndex;
                }
                store.delete_indexes(1 << object);
                Some(())
            });
        }
    }
}

/// A sweep of the mark, which has just listed the marks.
fn sweeping(store: &State, mark: u8) -> Pruner {
    let target = store.marks[usize::from(mark) - 1].packs;
    Pruner { mark, target, good: store.marked(), ..Pruner::new(PrunerAt::MarksListed) }
}
