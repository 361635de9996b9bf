use ::redis::{Cmd, Pipeline, Value, cmd};

use super::{
    failure::Failure,
    node::Unanswered,
    script::Script,
    topology::{Address, redirected},
};

/// Commands for one slot that are sent together and answered together.
pub(super) struct Call {
    pub(super) slot: u16,
    /// One, unless it may be repeated or is a transaction.
    pub(super) commands: Vec<Cmd>,
    /// Whether it changes nothing, or nothing more when it is done again.
    may_repeat: bool,
    /// The script that its command runs.
    script: Option<&'static Script>,
    is_transaction: bool,
}

/// One answer per command of a call, none of them an error; or the first that is one.
pub(super) type Answer = Result<Vec<Value>, Failure>;

/// A call on its way.
pub(super) struct Way {
    pub(super) index: usize,
    pub(super) call: Call,
    /// Where it was redirected to.
    pub(super) redirect: Option<Redirect>,
    was_lost: bool,
    /// What other nodes answered already, of commands that read: a key may have moved between them.
    answered: Vec<Option<Value>>,
}

/// Where a call was redirected to.
pub(super) struct Redirect {
    pub(super) to: Address,
    /// Whether the node has to be told that it is redirected: the slot is on its way to it.
    is_asking: bool,
}

/// What becomes of a call that was sent.
pub(super) enum Fate {
    Ended(Answer),
    /// It is sent again, and had failed with this if it were not.
    Again(Way, Wait, Failure),
}

/// Whether a call waits before it is sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Not,
    ALittle,
}

/// Where the commands of a call are among those that are sent together, and how many lie between two.
pub(super) struct Place {
    first: usize,
    count: usize,
    step: usize,
}

impl Call {
    /// What only reads.
    pub(super) fn read(slot: u16, commands: Vec<Cmd>) -> Self {
        Self { slot, commands, may_repeat: true, script: None, is_transaction: false }
    }

    /// A script that only reads, or changes nothing more when it runs again.
    pub(super) fn repeatable(slot: u16, script: &'static Script, command: Cmd) -> Self {
        Self { slot, commands: vec![command], may_repeat: true, script: Some(script), is_transaction: false }
    }

    /// A script that must not run twice.
    pub(super) fn once(slot: u16, script: &'static Script, command: Cmd) -> Self {
        Self { slot, commands: vec![command], may_repeat: false, script: Some(script), is_transaction: false }
    }

    /// Commands from MULTI to EXEC. Where a slot is on its way they are not done, and that is told.
    pub(super) fn transaction(slot: u16, commands: Vec<Cmd>) -> Self {
        Self { slot, commands, may_repeat: false, script: None, is_transaction: true }
    }
}

impl Way {
    pub(super) fn new(index: usize, call: Call) -> Self {
        Self { index, call, redirect: None, was_lost: false, answered: Vec::new() }
    }

    /// Puts its commands behind the others.
    pub(super) fn pack(&mut self, commands: &mut Pipeline) -> Place {
        let is_asking = self.redirect.as_ref().is_some_and(|redirect| redirect.is_asking);
        let step = if is_asking { 2 } else { 1 };
        let place = Place { first: commands.len() + step - 1, count: self.call.commands.len(), step };
        for command in self.call.commands.drain(..) {
            if is_asking {
                commands.add_command(cmd("ASKING"));
            }
            commands.add_command(command);
        }
        place
    }

    /// What becomes of it when no answer came.
    pub(super) fn unanswered(mut self, place: &Place, sent: &Pipeline, unanswered: &Unanswered) -> Fate {
        let Unanswered { failure, is_sent, is_slow } = unanswered;
        // What was slow would be slow again.
        if !self.call.may_repeat || self.was_lost || !is_sent || *is_slow {
            return Fate::Ended(Err(failure.clone()));
        }
        self.call.commands = place.commands(sent).cloned().collect();
        self.was_lost = true;
        self.redirect = None;
        Fate::Again(self, Wait::Not, failure.clone())
    }

    /// What becomes of it with these answers, of a node of a Cluster or of a Redis by itself.
    pub(super) fn answered(
        mut self,
        place: &Place,
        sent: &Pipeline,
        answers: Vec<Value>,
        cluster: Option<&Address>,
    ) -> Fate {
        let Some(Value::ServerError(error)) = answers.iter().find(|value| matches!(value, Value::ServerError(_)))
        else {
            return Fate::Ended(Ok(self.whole(answers)));
        };
        let failure = Failure::Answered(error.clone());
        match error.code() {
            "ASK" | "TRYAGAIN" if self.call.is_transaction => Fate::Ended(Err(failure)),
            code @ ("MOVED" | "ASK") => {
                let to = cluster.and_then(|address| redirected(error.details()?, address));
                let Some(to) = to else { return Fate::Ended(Err(failure)) };
                let is_asking = code == "ASK";
                self.redirect = Some(Redirect { to, is_asking });
                if is_asking && place.count > 1 {
                    // Only what reads keys that have left is asked there: the others are here still.
                    let is_gone = |value: &Value| matches!(value, Value::ServerError(error) if error.code() == "ASK");
                    let again = place.commands(sent).zip(&answers).filter(|(_, answer)| is_gone(answer));
                    self.call.commands = again.map(|(command, _)| command.clone()).collect();
                    self.keep(answers.into_iter().map(|answer| (!is_gone(&answer)).then_some(answer)).collect());
                } else {
                    self.call.commands = place.commands(sent).cloned().collect();
                }
                Fate::Again(self, Wait::Not, failure)
            }
            "TRYAGAIN" => {
                self.call.commands = place.commands(sent).cloned().collect();
                Fate::Again(self, Wait::ALittle, failure)
            }
            "NOSCRIPT" => {
                let Some(script) = self.call.script else { return Fate::Ended(Err(failure)) };
                self.call.commands = place.commands(sent).map(|command| script.told(command)).collect();
                Fate::Again(self, Wait::Not, failure)
            }
            _ => Fate::Ended(Err(failure)),
        }
    }

    /// The answers to all commands: those that came before, and these to the others.
    fn whole(&mut self, answers: Vec<Value>) -> Vec<Value> {
        if self.answered.is_empty() {
            return answers;
        }
        let mut answers = answers.into_iter();
        let answered = std::mem::take(&mut self.answered).into_iter();
        answered.map(|before| before.or_else(|| answers.next()).unwrap_or(Value::Nil)).collect()
    }

    /// Keeps the answers that came, in the place of those that are open.
    fn keep(&mut self, answers: Vec<Option<Value>>) {
        if self.answered.is_empty() {
            self.answered = answers;
            return;
        }
        let mut answers = answers.into_iter();
        for open in self.answered.iter_mut().filter(|before| before.is_none()) {
            *open = answers.next().flatten();
        }
    }
}

impl Place {
    /// The commands of the call.
    fn commands<'a>(&self, sent: &'a Pipeline) -> impl Iterator<Item = &'a Cmd> + use<'a> {
        sent.cmd_iter().skip(self.first).step_by(self.step).take(self.count)
    }

    /// The answers to the call, from those that are left of all.
    pub(super) fn answers(&self, left: &mut std::vec::IntoIter<Value>) -> Vec<Value> {
        left.by_ref().take(self.count * self.step).skip(self.step - 1).step_by(self.step).collect()
    }
}
