//! A trace in words.

use crate::protocol::{Action, Does, Model, Needed, Steps};
use crate::state::{Pruner, PrunerAt, Renaming, Set, State, Writer, WriterAt, members};

/// What the object in each slot is called: numbers are given in the order of birth and never change.
struct Names {
    packs: [usize; 8],
    indexes: [usize; 8],
    marks: [usize; 4],
    writers: [char; 2],
    pruners: [char; 2],
    born: [usize; 3],
    /// Whether a sweep reads the snapshots.
    needed: Needed,
}

/// One line per action. Every state of `path` follows from the one before it.
pub fn tell(model: &Model, path: &[State]) -> Vec<String> {
    let mut names = Names {
        packs: [0; 8],
        indexes: [0; 8],
        marks: [0; 4],
        writers: ['A', 'B'],
        pruners: ['P', 'Q'],
        born: [0; 3],
        needed: model.protocol.needed,
    };
    let empty = State { present: 0, holds: [0; 2], indexes: 0, ..path[0] };
    names.note_births(&empty, &path[0]);
    let mut lines = Vec::new();
    let mut steps = Steps::new();
    for pair in path.windows(2) {
        steps.clear();
        model.steps(&pair[0], &mut steps);
        let (line, renaming) = steps
            .iter()
            .find_map(|(action, after)| {
                let mut canonical = *after;
                let renaming = model.canonical(&mut canonical);
                (canonical == pair[1]).then(|| {
                    names.note_births(&pair[0], after);
                    (names.line(*action, &pair[0], after), renaming)
                })
            })
            .expect("each state of a path follows from the one before it");
        names.rename(&renaming);
        lines.push(line);
    }
    lines
}

impl Names {
    fn note_births(&mut self, before: &State, after: &State) {
        let known = before.holds[0] | before.holds[1];
        for at in members(after.present & !before.present & !known) {
            self.born[0] += 1;
            self.packs[at] = self.born[0];
        }
        for at in members(after.indexes & !before.indexes) {
            self.born[1] += 1;
            self.indexes[at] = self.born[1];
        }
        for at in (0..4).filter(|at| after.marks[*at].age > 0 && before.marks[*at].age == 0) {
            self.born[2] += 1;
            self.marks[at] = self.born[2];
        }
    }

    fn rename(&mut self, renaming: &Renaming) {
        self.packs = renaming.packs.map(|old| self.packs[usize::from(old)]);
        self.indexes = renaming.indexes.map(|old| self.indexes[usize::from(old)]);
        self.marks = renaming.marks.map(|old| self.marks[usize::from(old)]);
        self.writers = renaming.writers.map(|old| self.writers[usize::from(old)]);
        self.pruners = renaming.pruners.map(|old| self.pruners[usize::from(old)]);
    }

    fn packs(&self, set: Set) -> String {
        list("pack", members(set).map(|at| self.packs[at]))
    }

    fn indexes(&self, set: Set) -> String {
        list("index object", members(set).map(|at| self.indexes[at]))
    }

    fn mark(&self, slot: u8) -> String {
        self.marks.get(usize::from(slot).wrapping_sub(1)).map_or("a mark".into(), |number| format!("mark {number}"))
    }

    fn line(&self, action: Action, before: &State, after: &State) -> String {
        match action {
            Action::Tick => "the clock ticks".into(),
            Action::Forget(at) => format!("snapshot {} of the beginning is forgotten", at + 1),
            Action::Writer(number, Does::Crash) => format!("writer {} crashes", self.writers[number]),
            Action::Pruner(number, Does::Crash) => format!("pruner {} crashes", self.pruners[number]),
            Action::Writer(number, Does::Step) => {
                let told = self.writer(&before.writers[number], &after.writers[number], before, after);
                format!("writer {} {told}", self.writers[number])
            }
            Action::Pruner(number, Does::Step) => {
                let told = self.pruner(&before.pruners[number], &after.pruners[number], before, after);
                format!("pruner {} {told}", self.pruners[number])
            }
        }
    }

    fn writer(&self, was: &Writer, is: &Writer, before: &State, after: &State) -> String {
        match was.at {
            WriterAt::Off => unreachable!("nobody is there"),
            WriterAt::Start => format!("begins: lists the marks, which name {}", self.packs(is.packs)),
            WriterAt::MarksListed => format!("lists the packs; may use: {}", self.packs(is.packs)),
            WriterAt::PacksListed => {
                format!("reads the index: relies on {}, has {} to store", self.packs(is.packs), blobs(is.upload))
            }
            WriterAt::ToPutPack => format!("puts {} with {}", self.packs(is.fresh), blobs(was.upload)),
            WriterAt::ToPutIndex => {
                format!("puts {} for {}", self.indexes(after.indexes & !before.indexes), self.packs(was.fresh))
            }
            WriterAt::ToValidate => format!("validates: the marks name {} of its packs", self.packs(is.bad)),
            WriterAt::ToListPacksAgain if is.at == WriterAt::Validated => {
                "lists the packs again: its packs are there".into()
            }
            WriterAt::ToListPacksAgain => "lists the packs again: one that it needs is gone; gives up".into(),
            WriterAt::Validated => match is.at {
                WriterAt::Committed => "puts its snapshot".into(),
                WriterAt::ToPutPack => format!("reads {} from {} to rescue it", blobs(is.upload), self.packs(was.bad)),
                WriterAt::ToPutIndex => format!("puts {} again under the same name", self.packs(was.bad)),
                WriterAt::ToValidate => "is too late and has to validate again".into(),
                _ => "finds a marked pack gone; gives up".into(),
            },
            WriterAt::Committed => "sees its snapshot forgotten".into(),
        }
    }

    fn pruner(&self, was: &Pruner, is: &Pruner, before: &State, after: &State) -> String {
        match was.at {
            PrunerAt::Off => unreachable!("nobody is there"),
            PrunerAt::Idle if is.at == PrunerAt::Idle => self.puts_mark(before, after),
            PrunerAt::Idle if is.mark == 0 => format!("plans: lists the marks, which name {}", self.packs(is.good)),
            PrunerAt::Idle => format!("sweeps {} of {}: lists the marks", self.mark(is.mark), self.packs(is.target)),
            PrunerAt::MarksListed => format!("lists the packs; there and not marked: {}", self.packs(is.good)),
            PrunerAt::PacksListed => format!("lists the index: {}", self.indexes(is.listed)),
            PrunerAt::IndexListed => {
                format!("reads the index: from now on relies on its entries for {}", self.packs(is.entries))
            }
            PrunerAt::IndexRead => match is.at {
                PrunerAt::ToPutMark => format!("reads the snapshots: {} can go", self.packs(is.target)),
                PrunerAt::ToPutCopy => format!("reads the snapshots, and {} to copy it forward", blobs(is.blobs)),
                PrunerAt::ToDeleteMark => format!("reads the snapshots: takes {} back", self.mark(is.mark)),
                _ if self.needed == Needed::NotAsked => "does not read the snapshots".into(),
                _ => "reads the snapshots: nothing that lives is only in marked packs".into(),
            },
            PrunerAt::ToPutCopy => format!("puts {} with {}", self.packs(is.fresh), blobs(was.blobs)),
            PrunerAt::ToIndexCopy => {
                format!("puts {} for {}", self.indexes(after.indexes & !before.indexes), self.packs(was.fresh))
            }
            PrunerAt::ToPutMark => self.puts_mark(before, after),
            PrunerAt::ToPutIndex => {
                let object = self.indexes(after.indexes & !before.indexes);
                format!("puts {object} for {}", self.packs(was.entries))
            }
            PrunerAt::DeletingIndex => format!("deletes {}", self.indexes(before.indexes & !after.indexes)),
            PrunerAt::DeletingPacks if was.mark != is.mark => format!("deletes {}", self.mark(was.mark)),
            PrunerAt::DeletingPacks => format!("deletes {}", self.packs(before.present & !after.present)),
            PrunerAt::ToDeleteMark => format!("deletes {}", self.mark(was.mark)),
        }
    }

    fn puts_mark(&self, before: &State, after: &State) -> String {
        let new = (0..4_u8).find(|at| before.marks[usize::from(*at)].age == 0 && after.marks[usize::from(*at)].age > 0);
        new.map_or("puts a mark".into(), |at| {
            format!("puts {} on {}", self.mark(at + 1), self.packs(after.marks[usize::from(at)].packs))
        })
    }
}

fn list(what: &str, numbers: impl Iterator<Item = usize>) -> String {
    let numbers: Vec<String> = numbers.map(|number| format!("{what} {number}")).collect();
    if numbers.is_empty() { format!("no {what}") } else { numbers.join(" and ") }
}

fn blobs(set: Set) -> String {
    let letters: Vec<&str> = members(set).map(|blob| ["blob a", "blob b"][blob]).collect();
    if letters.is_empty() { "nothing".into() } else { letters.join(" and ") }
}
