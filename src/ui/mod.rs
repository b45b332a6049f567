//! What people and programs see: failures, tables, bars, JSON.

mod bars;
pub mod failure;
mod journal;
pub mod json;
mod line;
pub mod lines;
mod plain;
pub mod screen;
pub mod table;
mod tally;
pub mod text;
mod ticker;
mod told;

pub use failure::{Exit, Failure};
pub use lines::Lines;
pub use screen::Screen;
pub use table::{Align, Table};
