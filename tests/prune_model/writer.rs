//! A writer: one step at a time, with any delay between two of them, and a crash at any time.

use crate::protocol::{Action, Does, Model, Rescue, Runs, Steps, Validation};
use crate::state::{Set, State, Writer, WriterAt, members};

impl Model {
    pub fn writer_steps(&self, state: &State, number: usize, steps: &mut Steps) {
        let me = state.writers[number];
        let step = Action::Writer(number, Does::Step);
        let mut go = |change: &dyn Fn(&mut State, &mut Writer) -> Option<()>| {
            let mut after = *state;
            let mut me = me;
            if change(&mut after, &mut me).is_some() {
                after.writers[number] = me;
                steps.push((step, after));
            }
        };
        match me.at {
            WriterAt::Off => return,
            WriterAt::Start => go(&|store, me| {
                (me.at, me.packs) = (WriterAt::MarksListed, store.marked());
                Some(())
            }),
            WriterAt::MarksListed => go(&|store, me| {
                me.packs = store.present & !me.packs;
                me.at = WriterAt::PacksListed;
                Some(())
            }),
            WriterAt::PacksListed => {
                // Whatever of the index it reads: it may have missed any object that was put or deleted meanwhile.
                let usable = me.packs & state.indexed_by(state.indexes);
                for (relied, upload) in self.ways_to_rely(state, number, usable) {
                    go(&|_, me| {
                        (me.packs, me.upload) = (relied, upload);
                        me.at = if upload == 0 { WriterAt::ToValidate } else { WriterAt::ToPutPack };
                        Some(())
                    });
                }
            }
            WriterAt::ToPutPack => go(&|store, me| {
                me.fresh = store.put_pack(me.upload, self.world.packs)?;
                me.upload = 0;
                if self.protocol.validation == Validation::All {
                    me.packs |= me.fresh;
                }
                me.at = WriterAt::ToPutIndex;
                Some(())
            }),
            WriterAt::ToPutIndex => go(&|store, me| {
                store.put_index(me.fresh, self.world.indexes)?;
                me.fresh = 0;
                me.at = WriterAt::ToValidate;
                Some(())
            }),
            WriterAt::ToValidate => go(&|store, me| {
                me.since_validation = 0;
                me.at = WriterAt::Validated;
                if self.protocol.validation != Validation::Nothing {
                    me.bad = me.packs & store.marked();
                    if me.since_listing > self.protocol.listing_serves {
                        me.at = WriterAt::ToListPacksAgain;
                    }
                }
                Some(())
            }),
            WriterAt::ToListPacksAgain => go(&|store, me| {
                let lost = me.packs & !store.present;
                if lost == 0 {
                    me.at = WriterAt::Validated;
                } else {
                    *me = Writer::new(self.again());
                }
                Some(())
            }),
            WriterAt::Validated => go(&|store, me| self.rescue_or_commit(store, me, number)),
            WriterAt::Committed => {
                go(&|_, me| {
                    *me = Writer::new(self.again());
                    Some(())
                });
                return;
            }
        }
        if me.at != WriterAt::Start {
            let mut after = *state;
            after.writers[number] = Writer::new(self.again());
            steps.push((Action::Writer(number, Does::Crash), after));
        }
    }

    const fn again(&self) -> WriterAt {
        match self.world.runs {
            Runs::Endless => WriterAt::Start,
            Runs::Once => WriterAt::Off,
        }
    }

    /// Every choice of one usable pack per blob, or none: then the blob is stored again.
    fn ways_to_rely(&self, state: &State, number: usize, usable: Set) -> Vec<(Set, Set)> {
        let mut ways = vec![(0, 0)];
        for blob in members(self.world.writers[number]) {
            let homes = state.holds[blob] & usable;
            ways = ways
                .into_iter()
                .flat_map(|(relied, upload)| {
                    let choices = if relied & homes == 0 { homes } else { relied & homes };
                    let missing = (relied & homes == 0).then_some((relied, upload | 1 << blob));
                    members(choices).map(move |pack| (relied | 1 << pack, upload)).chain(missing)
                })
                .collect();
        }
        ways
    }

    fn rescue_or_commit(&self, store: &mut State, me: &mut Writer, number: usize) -> Option<()> {
        if me.bad != 0 && self.protocol.rescue == Rescue::CopyForward {
            let blobs = store.blobs_of(me.bad) & self.world.writers[number];
            if store.blobs_of(me.bad & store.present) & blobs == blobs {
                (me.packs, me.bad, me.upload) = (me.packs & !me.bad, 0, blobs);
                me.at = WriterAt::ToPutPack;
            } else {
                *me = Writer::new(self.again());
            }
        } else if me.bad != 0 && self.protocol.rescue == Rescue::SameName {
            store.present |= me.bad;
            (me.packs, me.fresh, me.bad) = (me.packs & !me.bad, me.bad, 0);
            me.at = WriterAt::ToPutIndex;
        } else if self.protocol.commit_within.is_some_and(|most| me.since_validation > most) {
            (me.bad, me.since_validation) = (0, 0);
            me.at = WriterAt::ToValidate;
        } else {
            *me = Writer::new(WriterAt::Committed);
        }
        Some(())
    }
}
