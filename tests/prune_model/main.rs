//! Prune beside backup: every state that writers, forgets and pruners can bring a repository into, searched for one in
//! which a snapshot has lost something. Index objects are part of it.
//!
//! # The protocol
//! *Objects* are immutable and no name is used twice: packs; index objects (entries blob → pack); snapshots; tombstones;
//! marks ("these packs will be deleted").
//!
//! A *writer*
//! 1. lists the marks, then the packs, then the index objects, and reads those; what is gone meanwhile it does not know;
//! 2. relies on blobs in packs that are indexed, there and not marked; puts one new pack with the others, then its index
//!    object;
//! 3. validates: lists the marks again, and then the packs, when its first listing is older than G / 2. What it relies
//!    on, **the packs that it put itself included**, must not be marked (else it copies the blobs from the marked pack
//!    into a new pack, indexes that, and validates again) and must be there (else it gives up);
//! 4. puts the snapshot at most L after the validation began, L < G; else it validates again.
//!
//! A *forget* puts a tombstone, then deletes the snapshot.
//!
//! A *pruner* plans: it lists marks and packs, reads index and snapshots, may copy blobs of a sparse pack forward, and
//! puts one mark. Or it sweeps a mark that is at least G old:
//! 1. it lists marks, then packs, then index objects, reads those, then the snapshots;
//! 2. every live blob must be in an indexed pack that is there and not marked. Else it copies the blob forward from a
//!    marked pack, indexes the copy, and begins again at 1. If nobody has the blob, nothing is deleted;
//! 3. it puts a new index object: the entries of all that it read, without those of the packs that it sweeps;
//! 4. it deletes exactly the index objects that it read, then the packs of the mark, then the mark.
//!
//! A mark is never taken back. Every step above is an action of its own; any process may stall for ever so long between
//! two, or crash; two pruners may sweep the same mark.
//!
//! # What the model leaves out, and why it may
//! - Rules that spare packs (young ones, those of a run without a snapshot): with [`Planning::Anything`] pruners mark
//!   whatever they like. So these rules save work; safety rests on none of them.
//! - Reading the new index object back: it can only end the sweep, as a crash does.
//! - A writer reads the index in one step, and may miss any of it: that is more than happens between list and read.
//! - Damage, lost writes, wrong lists and clocks: other tests.
//!
//! Time is a clock that ticks now and then; ages stop counting where nothing asks for more, so runs of any length are
//! covered. Numbers of slots are limits ([`World`]), within which the search is exhaustive.
//!
//! `BK_TORTURE=1` searches larger worlds, the largest of 20 million states and 2 GiB; a search stops with an error before
//! it takes more than 12 GiB.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod protocol;
mod pruner;
mod search;
mod state;
mod story;
mod writer;

use protocol::{Compaction, Deletes, Existing, Fate, Loss, Model, Needed, Planning, Protocol, Rescue, Runs, Symmetry};
use protocol::{Validation, World};
use search::{Outcome, search};
use state::{PrunerAt, Set, WriterAt};

/// More states than this would take more than 12 GiB.
const MOST: usize = 130_000_000;

const A: Set = 1;
const B: Set = 2;

/// One pack, needed by one snapshot that may be forgotten; one writer that needs the same blob; one pruner.
const SMALL: World = World {
    stored: &[A],
    existing: &[Existing { blobs: A, fate: Fate::MayBeForgotten }],
    writers: &[A],
    pruners: 1,
    packs: 3,
    indexes: 3,
    marks: 1,
    packs_per_mark: 1,
    runs: Runs::Once,
};

/// Nothing is stored yet.
const EMPTY: World = World { stored: &[], existing: &[], ..SMALL };

/// One pack with two blobs: one stays needed, the other is needed until its snapshot is forgotten, and by the writer.
const TWO_BLOBS: World = World {
    stored: &[A | B],
    existing: &[Existing { blobs: A, fate: Fate::MayBeForgotten }, Existing { blobs: B, fate: Fate::Stays }],
    ..SMALL
};

/// Two copies of a blob that stays needed; two pruners.
const TWO_COPIES: World = World {
    stored: &[A, A],
    existing: &[Existing { blobs: A, fate: Fate::Stays }],
    writers: &[],
    pruners: 2,
    marks: 2,
    ..SMALL
};

const IN_STEPS: Protocol = Protocol { planning: Planning::InSteps, ..Protocol::REAL };

/// G of one tick, L of less than one.
const SHORT: Protocol =
    Protocol { grace: 1, sweep_after: 1, commit_within: Some(0), listing_serves: 0, ..Protocol::REAL };

fn run(name: &str, protocol: Protocol, world: World, symmetry: Symmetry) -> Outcome {
    let outcome = search(&Model { protocol, world, symmetry }, MOST);
    let (states, depth, seconds) = (outcome.states, outcome.depth, outcome.took.as_secs_f64());
    println!("{name}: {states} states, {depth} steps deep, {seconds:.1} s");
    if let Some(trace) = &outcome.trace {
        let what = match trace.loss {
            Loss::Pack => "a blob of a snapshot is in no pack that is there",
            Loss::Index => "no index object leads to a blob of a snapshot",
        };
        println!("{name}: loses after {} steps", trace.lines.len());
        trace.lines.iter().enumerate().for_each(|(at, line)| println!("  {:>2}. {line}", at + 1));
        println!("      {what}");
    }
    outcome
}

#[track_caller]
fn is_safe(name: &str, protocol: Protocol, world: World) {
    let outcome = run(name, protocol, world, Symmetry::Used);
    assert!(outcome.trace.is_none(), "{name}: a snapshot loses something");
    assert!(outcome.states > 500, "{name}: a search of {} states proves nothing", outcome.states);
}

#[track_caller]
fn loses(name: &str, protocol: Protocol, world: World) {
    let steps = |symmetry| run(name, protocol, world, symmetry).trace.map(|trace| trace.lines.len());
    let shortest = steps(Symmetry::Used);
    assert!(shortest.is_some(), "{name}: nothing is lost, though a rule is missing");
    assert_eq!(shortest, steps(Symmetry::Ignored), "{name}: the symmetry hides or makes up something");
}

/// A search that never comes to a rescue or to a copy forward would prove nothing about them.
#[test]
fn the_search_comes_to_every_step() {
    let outcome = run("every step", IN_STEPS, TWO_BLOBS, Symmetry::Used);
    let all = |last: u32| (1 << (last + 1)) - 1;
    assert_eq!(outcome.reached, [all(WriterAt::Committed as u32), all(PrunerAt::ToDeleteMark as u32)]);
}

#[test]
fn one_writer_beside_one_pruner_loses_nothing() {
    is_safe("plans in steps", IN_STEPS, SMALL);
    is_safe("plans in steps, two blobs", IN_STEPS, TWO_BLOBS);
    is_safe("two blobs, any marks", Protocol::REAL, World { packs: 4, ..TWO_BLOBS });
    is_safe("again and again", Protocol::REAL, World { runs: Runs::Endless, ..EMPTY });
}

#[test]
fn one_writer_beside_two_pruners_loses_nothing() {
    is_safe("two pruners, two blobs", SHORT, World { pruners: 2, indexes: 2, ..TWO_BLOBS });
    is_safe("two pruners, two copies", SHORT, World { writers: &[A], packs: 4, indexes: 2, ..TWO_COPIES });
}

#[test]
fn two_writers_beside_one_pruner_lose_nothing() {
    is_safe("two writers", Protocol::REAL, World { writers: &[A, A], indexes: 2, ..EMPTY });
}

#[test]
fn two_writers_beside_two_pruners_lose_nothing() {
    is_safe("two writers, two pruners", SHORT, World { writers: &[A, A], pruners: 2, indexes: 2, ..EMPTY });
}

/// Only with `BK_TORTURE`: minutes, and 53 million states.
#[test]
fn larger_worlds_lose_nothing_either() {
    if std::env::var_os("BK_TORTURE").is_none() {
        return;
    }
    let two = World { writers: &[A, A], pruners: 2, ..EMPTY };
    let in_steps = Protocol { planning: Planning::InSteps, ..SHORT };
    is_safe("2 × 2", SHORT, two);
    is_safe("2 × 2, L of one tick", Protocol::REAL, two);
    is_safe("2 × 2, 4 packs", SHORT, World { packs: 4, ..two });
    is_safe("2 × 2, 2 marks", SHORT, World { indexes: 2, marks: 2, ..two });
    is_safe("2 × 2, again and again", SHORT, World { indexes: 2, runs: Runs::Endless, ..two });
    is_safe("1 × 1, 2 marks of 2 packs", Protocol::REAL, World { packs: 4, marks: 2, packs_per_mark: 2, ..SMALL });
    is_safe("1 × 2, plans in steps", in_steps, World { pruners: 2, ..SMALL });
    is_safe("1 × 2, two blobs", SHORT, World { pruners: 2, packs: 4, ..TWO_BLOBS });
    is_safe("2 × 1, two blobs", SHORT, World { writers: &[A, A], ..TWO_BLOBS });
}

#[test]
fn a_sweep_that_does_not_read_the_snapshots_again_loses_data() {
    loses("no second look at snapshots", Protocol { needed: Needed::NotAsked, ..IN_STEPS }, SMALL);
}

#[test]
fn deleting_at_once_loses_data() {
    loses("instant delete", Protocol { sweep_after: 0, ..IN_STEPS }, SMALL);
}

#[test]
fn a_commit_that_may_come_as_late_as_the_sweep_loses_data() {
    loses("L = G", Protocol { commit_within: Some(IN_STEPS.grace), ..IN_STEPS }, SMALL);
    loses("no bound", Protocol { commit_within: None, ..IN_STEPS }, SMALL);
}

#[test]
fn a_commit_without_validation_loses_data() {
    loses("no validation", Protocol { validation: Validation::Nothing, ..IN_STEPS }, SMALL);
}

/// Sparing young packs only makes the writer's sleep longer that it takes.
#[test]
fn a_validation_that_skips_the_packs_of_its_own_run_loses_data() {
    let weak = Protocol { validation: Validation::NotOwnPacks, ..IN_STEPS };
    loses("own packs not validated", weak, EMPTY);
    loses("own packs not validated, young ones spared", Protocol { spare_younger: 4, ..weak }, EMPTY);
}

#[test]
fn a_validation_that_never_lists_the_packs_again_loses_data() {
    loses("packs listed once", Protocol { listing_serves: u8::MAX - 1, ..IN_STEPS }, SMALL);
}

#[test]
fn a_marked_pack_that_is_not_rescued_loses_data() {
    loses("no rescue", Protocol { rescue: Rescue::Ignore, ..IN_STEPS }, SMALL);
}

#[test]
fn a_name_that_is_used_twice_loses_data() {
    loses("rescue under the same name", Protocol { rescue: Rescue::SameName, ..IN_STEPS }, SMALL);
}

/// One pruner alone does no harm with it.
#[test]
fn a_mark_that_is_taken_back_loses_data_with_two_pruners() {
    let weak = Protocol { needed: Needed::TakeMarkBack, ..Protocol::REAL };
    loses("marks taken back", weak, TWO_COPIES);
    is_safe("marks taken back by one pruner", weak, World { pruners: 1, ..TWO_COPIES });
}

#[test]
fn a_mark_that_is_deleted_before_its_packs_loses_data() {
    loses("mark deleted first", Protocol { deletes: Deletes::MarkThenPacks, ..IN_STEPS }, SMALL);
}

#[test]
fn a_compaction_that_deletes_what_it_did_not_read_loses_data() {
    loses("unread index objects deleted", Protocol { compaction: Compaction::DeletesUnread, ..IN_STEPS }, SMALL);
}

#[test]
fn a_compaction_that_drops_what_a_list_lacked_loses_data() {
    loses("entries dropped by a list", Protocol { compaction: Compaction::DropsUnlisted, ..IN_STEPS }, SMALL);
}

#[test]
fn an_index_that_is_deleted_before_the_new_one_is_put_loses_data() {
    loses("index deleted first", Protocol { compaction: Compaction::DeletesFirst, ..IN_STEPS }, SMALL);
}
