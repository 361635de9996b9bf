//! Is there one order of everything that the store answered, in which each happens between question and answer?
//!
//! The search of Wing and Gong, with Lowe's memory of where it was: what has an answer is taken one after the other, what
//! has none is taken only where nothing else can be.

use std::collections::{HashMap, HashSet};

use super::Limits;
use super::findings::{Findings, Rule};
use super::key::{Key, Value};
use super::register::{Alike, State, Step, steps};
use super::told::told;

/// Operations of a violation that are shown.
const SHOWN_MAX: usize = 12;

/// How a search ended.
enum Ended {
    Found,
    /// How many could be taken at most, what the key had then, and what was to be taken next.
    None(usize, State, Vec<usize>),
    Undecided,
}

struct Search<'s> {
    answered: &'s [Step],
    open: &'s [(Step, Option<Alike>)],
    /// Steps without an answer that may be taken with none that has one between them.
    in_a_row_max: usize,
    steps_left: u64,
    taken: Vec<bool>,
    first_left: usize,
    taken_count: usize,
    used: Vec<usize>,
    been: HashMap<Place, Vec<Way>>,
    farthest: (usize, State, Vec<usize>),
}

/// What was taken of what has an answer, and what the key has.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    first_left: usize,
    above: Box<[u32]>,
    state: State,
}

/// What was taken of what has no answer to come to a place: a way that took less is better.
struct Way {
    used: Box<[usize]>,
    in_a_row: usize,
}

#[derive(Clone, Copy)]
enum Choice {
    Answered(usize),
    Open(usize),
}

/// A place on the way, and what is still to be tried there.
struct Stage {
    in_a_row: usize,
    choices: Vec<(Choice, State)>,
    next: usize,
    came_by: Option<Choice>,
    first_left_before: usize,
}

/// Judges a key.
pub(super) fn check(key: &Key<'_>, limits: &Limits, findings: &mut Findings) {
    let (answered, open) = steps(key);
    *findings.judged.entry("operations of the store in search of one order").or_default() += answered.len();
    let mut steps_left = limits.steps_max;
    // Nearly always one in a row will do, and is found soon.
    for in_a_row_max in [1, open.len()] {
        let mut search = Search::new(&answered, &open, in_a_row_max, steps_left);
        let ended = search.run();
        steps_left = search.steps_left;
        match ended {
            Ended::Found => return,
            Ended::None(..) if in_a_row_max < open.len() => {}
            Ended::None(count, state, next) => {
                findings.add(Rule::OneOrder, || explained(key, answered.len(), count, state, &next));
                return;
            }
            Ended::Undecided => break,
        }
    }
    findings.undecided.push(format!(
        "{}: {} operations with an answer and {} without need more than {} steps",
        key.name,
        answered.len(),
        open.len(),
        limits.steps_max
    ));
}

fn explained(key: &Key<'_>, all: usize, count: usize, state: State, next: &[usize]) -> String {
    let value = match state.value {
        Value::Absent => "nothing".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Text(_) => {
            key.origin(state.value).map_or_else(String::new, |origin| told(key.operations[origin.operation]))
        }
    };
    let next: Vec<String> =
        next.iter().take(SHOWN_MAX).map(|&at| format!("\n    {}", told(key.operations[at]))).collect();
    format!(
        "{}: no order explains what the store answered: after {count} of {all} the key has ({value}), and none of these can \
         be next:{}",
        key.name,
        next.concat()
    )
}

impl<'s> Search<'s> {
    fn new(answered: &'s [Step], open: &'s [(Step, Option<Alike>)], in_a_row_max: usize, steps_left: u64) -> Self {
        Self {
            answered,
            open,
            in_a_row_max,
            steps_left,
            taken: vec![false; answered.len()],
            first_left: 0,
            taken_count: 0,
            used: Vec::new(),
            been: HashMap::new(),
            farthest: (0, State::FIRST, Vec::new()),
        }
    }

    fn run(&mut self) -> Ended {
        let mut stages = vec![self.stage(State::FIRST, 0, None, 0)];
        while let Some(stage) = stages.last_mut() {
            if self.taken_count == self.answered.len() {
                return Ended::Found;
            }
            let Some(&(choice, state)) = stage.choices.get(stage.next) else {
                if let Some(Stage { came_by: Some(choice), first_left_before, .. }) = stages.pop() {
                    self.take_back(choice, first_left_before);
                }
                continue;
            };
            stage.next += 1;
            let in_a_row = match choice {
                Choice::Answered(_) => 0,
                Choice::Open(_) => stage.in_a_row + 1,
            };
            let Some(steps_left) = self.steps_left.checked_sub(1) else { return Ended::Undecided };
            self.steps_left = steps_left;
            let first_left_before = self.first_left;
            self.take(choice);
            if self.is_new(state, in_a_row) {
                let next = self.stage(state, in_a_row, Some(choice), first_left_before);
                stages.push(next);
            } else {
                self.take_back(choice, first_left_before);
            }
        }
        let (count, state, next) = std::mem::replace(&mut self.farthest, (0, State::FIRST, Vec::new()));
        Ended::None(count, state, next)
    }

    /// What can be taken here.
    fn stage(&mut self, state: State, in_a_row: usize, came_by: Option<Choice>, first_left_before: usize) -> Stage {
        // Nothing is taken that was asked for after something else had its answer that is not taken yet.
        let mut until_us = u64::MAX;
        let mut left = Vec::new();
        for at in self.first_left..self.answered.len() {
            let step = &self.answered[at];
            if step.from_us > until_us {
                break;
            }
            if !self.taken[at] {
                until_us = until_us.min(step.to_us.unwrap_or(u64::MAX));
                left.push(at);
            }
        }
        left.retain(|&at| self.answered[at].from_us <= until_us);
        if self.taken_count >= self.farthest.0 {
            let next = left.iter().map(|&at| self.answered[at].operation).collect();
            self.farthest = (self.taken_count, state, next);
        }
        let mut choices = Vec::new();
        if let Some(&idle) = left.iter().find(|&&at| self.answered[at].is_idle(state)) {
            choices.push((Choice::Answered(idle), state));
        } else {
            for &at in &left {
                choices.extend(self.answered[at].taken(state).map(|after| (Choice::Answered(at), after)));
            }
            if in_a_row < self.in_a_row_max {
                self.add_open(state, until_us, &mut choices);
            }
        }
        Stage { in_a_row, choices, next: 0, came_by, first_left_before }
    }

    fn add_open(&self, state: State, until_us: u64, choices: &mut Vec<(Choice, State)>) {
        let mut had = HashSet::new();
        for (at, (step, alike)) in self.open.iter().enumerate().take_while(|(_, (step, _))| step.from_us <= until_us) {
            if self.used.contains(&at) || alike.is_some_and(|alike| !had.insert(alike)) {
                continue;
            }
            choices.extend(step.taken(state).filter(|after| *after != state).map(|after| (Choice::Open(at), after)));
        }
    }

    fn take(&mut self, choice: Choice) {
        match choice {
            Choice::Answered(at) => {
                self.taken[at] = true;
                self.taken_count += 1;
                while self.taken.get(self.first_left) == Some(&true) {
                    self.first_left += 1;
                }
            }
            Choice::Open(at) => self.used.push(at),
        }
    }

    fn take_back(&mut self, choice: Choice, first_left_before: usize) {
        match choice {
            Choice::Answered(at) => {
                self.taken[at] = false;
                self.taken_count -= 1;
                self.first_left = first_left_before;
            }
            Choice::Open(_) => drop(self.used.pop()),
        }
    }

    /// Whether nobody came here by a way that is as good.
    fn is_new(&mut self, state: State, in_a_row: usize) -> bool {
        let mut above = Vec::new();
        let mut count = self.first_left;
        for at in self.first_left..self.answered.len() {
            if count == self.taken_count {
                break;
            }
            if self.taken[at] {
                above.push(u32::try_from(at).unwrap_or(u32::MAX));
                count += 1;
            }
        }
        let place = Place { first_left: self.first_left, above: above.into(), state };
        let mut used: Vec<usize> = self.used.clone();
        used.sort_unstable();
        let ways = self.been.entry(place).or_default();
        let is_within = |way: &Way| way.used.iter().all(|at| used.binary_search(at).is_ok());
        // How many were taken in a row matters only where that is bounded.
        let is_bounded = self.in_a_row_max < self.open.len();
        if ways.iter().any(|way| (!is_bounded || way.in_a_row <= in_a_row) && is_within(way)) {
            return false;
        }
        ways.push(Way { used: used.into(), in_a_row });
        true
    }
}
