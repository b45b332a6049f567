//! The bench: stores that misbehave on demand, a clock that can be set, small trees, and the real program.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each test uses a part of the bench")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up is a failed test"
)]

pub mod clock;
pub mod fault_store;
pub mod memory_store;
pub mod program;
pub mod run;
pub mod tree;

pub use clock::TestClock;
pub use fault_store::{Fault, FaultStore, Op};
pub use memory_store::MemoryStore;
pub use run::{Bench, check_snapshots, walk};
pub use tree::{compare_trees, small_tree};
