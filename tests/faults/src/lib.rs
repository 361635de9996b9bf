//! The real stack, broken on purpose under load, and a checker that is a program of its own.
//!
//! `headwater-faults run` starts servers and processes, sends events, breaks things by a seeded plan, and writes down what
//! it sent, what was acknowledged and what it measured. `headwater-check` reads those two files and the tables, offsets and
//! statistics that the platform made of them, computes everything anew, and says what does not agree.

pub mod check;
pub mod drive;
pub mod event;
pub mod evidence;
pub mod journal;
pub mod measures;
