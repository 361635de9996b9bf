use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use headwater_cache_store::{
    Applied, Condition, Entry, Got, Holder, Layout, LeaseAsk, Notice, Op, Outcome, QueuedWrite, Space, Write,
};
use tokio::{
    sync::mpsc,
    time::{Instant, advance, sleep_until},
};

use super::{
    plain::Plain,
    step::{Does, If, KEYS, Kind, Step, Time, Token},
};
use crate::world::{LONG_MS, World};

/// How many units of `Pass` a short time is.
const SHORT: u64 = 4;

/// What time a run goes by.
#[derive(Clone, Copy)]
pub(super) enum Clock {
    /// It stands still, and a unit is 7 ms.
    Paused,
    /// It passes, and a unit is so long. What is short ends half a unit sooner than on the clock of the model, so that
    /// steps between may take the other half; where they take longer the run says nothing
    /// from there on.
    Real(Duration),
}

struct Run<'a> {
    world: &'a World,
    clock: Clock,
    began: Instant,
    plain: Plain,
    /// Tokens of the leases that were given, per key.
    given: [Vec<String>; KEYS.len()],
    asked: u32,
    /// Ids of what was queued, in order.
    ids: Vec<String>,
    /// What the store tells of changes, where time stands still.
    notices: Option<mpsc::Receiver<Notice>>,
    what: String,
}

/// Does the steps on a store and on the model: how many could be compared. Says where they differ.
pub(super) async fn run(world: &World, clock: Clock, kind: &Kind, steps: &[Step]) -> Result<usize, String> {
    let space = Space {
        is_overwrite_refused: kind.is_overwrite_refused,
        kept_stale_ms: match (kind.is_kept_stale, clock) {
            (false, _) => 0,
            (true, Clock::Paused) => 20,
            (true, Clock::Real(_)) => LONG_MS,
        },
        ..world.space(kind.layout)
    };
    let notices = match clock {
        Clock::Paused => Some(follow(world, &space)),
        Clock::Real(_) => None,
    };
    let given = [const { Vec::new() }; KEYS.len()];
    let (began, what) = (Instant::now(), String::new());
    let mut run = Run { world, clock, began, plain: Plain::new(space), given, asked: 0, ids: vec![], notices, what };
    run.told().await?;
    for (index, step) in steps.iter().enumerate() {
        run.what = format!("{}: step {index}, {step:?}", world.name);
        // What ended with the step counts too.
        let was_soon = run.plain.ends_within(SHORT * run.unit_ms());
        let result = run.step_and_look(step).await;
        if run.is_late(was_soon) {
            return Ok(index);
        }
        result?;
    }
    for (index, id) in run.ids.iter().enumerate() {
        let ended = run.plain.ended.get(index).map(|outcome| QueuedWrite::Ended(outcome.clone()));
        let expected = Some(ended.unwrap_or(QueuedWrite::Waiting));
        let queued = world.store.queued(&run.plain.space, id).await.unwrap();
        if matches!(clock, Clock::Paused) {
            run.same("queued", queued, expected)?;
        }
    }
    Ok(steps.len())
}

fn follow(world: &World, space: &Space) -> mpsc::Receiver<Notice> {
    let (sender, receiver) = mpsc::channel(1_000);
    let (store, prefixes) = (Arc::clone(&world.store), [space.prefix.clone()]);
    tokio::spawn(async move { store.follow(&prefixes, Duration::from_secs(1), sender).await });
    receiver
}

impl Run<'_> {
    async fn step_and_look(&mut self, step: &Step) -> Result<(), String> {
        self.step(step).await?;
        self.told().await?;
        let held = self.world.held(&self.plain.space).await;
        self.same("entries", held.entries, self.plain.entries())?;
        self.same("queued", held.queued, self.plain.queue.len() as u64)
    }

    fn same<T: PartialEq + Debug>(&self, what: &str, is: T, should: T) -> Result<(), String> {
        if is == should {
            return Ok(());
        }
        Err(format!("{}: {what}: it is {is:?}, and should be {should:?}", self.what))
    }

    /// What a unit of time is, in milliseconds of the model.
    fn unit_ms(&self) -> u64 {
        match self.clock {
            Clock::Paused => 7,
            Clock::Real(unit) => u64::try_from(unit.as_millis()).unwrap(),
        }
    }

    /// A time to live: on the clock of the model it ends where a step of `Pass` does, or a millisecond off.
    fn ms(&self, time: Time) -> u64 {
        match time {
            Time::Long => LONG_MS,
            Time::Short => SHORT * self.unit_ms(),
        }
    }

    /// The same in the store.
    fn store_ms(&self, time: Time) -> u64 {
        match (time, self.clock) {
            (Time::Short, Clock::Real(_)) => self.ms(time) - self.unit_ms() / 2,
            _ => self.ms(time),
        }
    }

    /// Whether the steps since time passed took so long that the store's clock cannot be compared any more. Where nothing
    /// ends soon they may take as long as they like.
    fn is_late(&mut self, was_soon: bool) -> bool {
        let Clock::Real(unit) = self.clock else { return false };
        let passed = Duration::from_millis(self.plain.now_ms);
        let is_late = self.began.elapsed().saturating_sub(passed) > unit * 2 / 5;
        if was_soon || self.plain.ends_within(SHORT * self.unit_ms()) {
            return is_late;
        }
        self.began = Instant::now() - passed;
        false
    }

    fn token(&self, key: usize, token: Token) -> String {
        let given = &self.given[key];
        let back = match token {
            Token::Last => 1,
            Token::Before => 2,
            Token::Wrong => return "none".into(),
        };
        given.len().checked_sub(back).map_or("none".into(), |at| given[at].clone())
    }

    /// A write: for the model, and for the store.
    fn write(&self, key: usize, does: &Does) -> (Write, Write) {
        let op = |ms: &dyn Fn(Time) -> u64| match does {
            Does::Put(value, ttl, when) => Op::Put {
                value: Bytes::from_static(value.as_bytes()),
                ttl_ms: ttl.map(ms),
                condition: match when {
                    If::Any => Condition::Any,
                    If::Absent => Condition::Absent,
                    If::Present => Condition::Present,
                    If::Etag(true) => Condition::Etag(self.plain.etag(KEYS[key])),
                    If::Etag(false) => Condition::Etag([7; 20]),
                    If::Lease(token) => Condition::Lease(self.token(key, *token).into()),
                },
            },
            Does::Add(delta, initial, ttl, new_ttl) => {
                Op::Add { delta: *delta, initial: *initial, ttl_ms: ttl.map(ms), new_ttl_ms: new_ttl.map(ms) }
            }
            Does::Touch(ttl) => Op::Touch { ttl_ms: ttl.map(ms) },
            Does::Delete => Op::Delete,
        };
        let write = |op| Write { key: KEYS[key].into(), op };
        (write(op(&|time| self.ms(time))), write(op(&|time| self.store_ms(time))))
    }

    fn same_entry(&self, is: Option<Entry>, should: Option<Entry>) -> Result<(), String> {
        match self.clock {
            Clock::Paused => self.same("entry", is, should),
            // How long is told, and how well, is tested by itself.
            Clock::Real(_) => {
                let plain = |entry: Entry| (entry.value.clone(), entry.is_fresh(), entry.ttl_ms.is_some());
                self.same("entry", is.map(plain), should.map(plain))
            }
        }
    }

    fn same_outcome(&self, is: Outcome, should: Outcome) -> Result<(), String> {
        let (mut is, mut should) = (is, should);
        if let (Clock::Real(_), Outcome::Done(is), Outcome::Done(should)) = (self.clock, &mut is, &mut should) {
            self.same("has an end", is.ttl_ms.is_some(), should.ttl_ms.is_some())?;
            (is.ttl_ms, should.ttl_ms) = (None, None);
            // What is gone by itself may be found when room is made, and is told then.
            if self.plain.space.kept_stale_ms == 0 && is.evicted > should.evicted {
                is.evicted = should.evicted;
            }
        }
        self.same("outcome", is, should)
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let world = self.world;
        let (store, space) = (&world.store, self.plain.space.clone());
        match step {
            Step::Get(key) => {
                let is = store.get(&space, KEYS[*key].as_bytes(), None).await.unwrap();
                let should = self.plain.get(KEYS[*key], None);
                self.same_got(is, should)?;
            }
            Step::Ask(key, time) => {
                self.asked += 1;
                let ask = |for_ms| LeaseAsk { token: format!("t{}", self.asked).into(), for_ms };
                let is = store.get(&space, KEYS[*key].as_bytes(), Some(&ask(self.store_ms(*time)))).await.unwrap();
                let asked = ask(self.ms(*time));
                let should = self.plain.get(KEYS[*key], Some(&asked));
                if should.is_leased {
                    self.given[*key].push(format!("t{}", self.asked));
                }
                self.same_got(is, should)?;
            }
            Step::BatchGet(keys) => {
                let names: Vec<Bytes> = keys.iter().map(|key| KEYS[*key].into()).collect();
                for (is, key) in world.batch(&space, &names).await.into_iter().zip(keys) {
                    let should = self.plain.get(KEYS[*key], None).entry;
                    self.same_entry(is, should)?;
                }
            }
            Step::Write(writes) => {
                let (plain, stored): (Vec<_>, Vec<_>) = writes.iter().map(|(key, does)| self.write(*key, does)).unzip();
                let results = store.write(&space, &stored).await;
                self.same("results", results.len(), plain.len())?;
                for (is, write) in results.into_iter().zip(&plain) {
                    let should = self.plain.write(write);
                    self.same_outcome(is.unwrap(), should)?;
                }
            }
            Step::Enqueue(_) | Step::Apply(_) if space.layout == Layout::Spread => {}
            Step::Enqueue(writes) => {
                let (plain, stored): (Vec<_>, Vec<_>) = writes.iter().map(|(key, does)| self.write(*key, does)).unzip();
                self.ids.extend(store.enqueue(&space, &stored).await.unwrap());
                self.plain.queue.extend(plain);
            }
            Step::Apply(count) => {
                let holder = Holder { id: "h".into(), lease_ms: LONG_MS };
                let before = self.plain.ended.len();
                let is = store.apply_queued(&space, &holder, *count as u64).await.unwrap();
                let should = self.plain.apply_queued(*count);
                if let (Applied::Ended { count, .. }, true) = (should, is == should) {
                    for n in before..before + count as usize {
                        let ended = store.queued(&space, &self.ids[n]).await.unwrap();
                        let Some(QueuedWrite::Ended(ended)) = ended else {
                            return self.same("queued", ended, Some(QueuedWrite::Ended(self.plain.ended[n].clone())));
                        };
                        self.same_outcome(ended, self.plain.ended[n].clone())?;
                    }
                }
                self.same("applied", is, should)?;
            }
            Step::Release(key, token) => {
                let token = self.token(*key, *token);
                store.release(&space, KEYS[*key].as_bytes(), token.as_bytes()).await.unwrap();
                self.plain.release(KEYS[*key], &token);
            }
            Step::Deny(key, token, time) => {
                let (token, why) = (self.token(*key, *token), self.asked.to_string());
                let for_ms = self.store_ms(*time);
                store.deny(&space, KEYS[*key].as_bytes(), token.as_bytes(), why.as_bytes(), for_ms).await.unwrap();
                self.plain.deny(KEYS[*key], &token, &why, self.ms(*time));
            }
            Step::Raise(reads) => {
                let named: Vec<(Bytes, u64)> = reads.iter().map(|(key, count)| (KEYS[*key].into(), *count)).collect();
                store.raise(&space, &named).await.unwrap();
                reads.iter().for_each(|(key, count)| self.plain.raise(KEYS[*key], *count));
            }
            Step::Capacity(entries_max) => {
                if let Layout::Ranked { entries_max: own } = &mut self.plain.space.layout {
                    *own = *entries_max;
                }
            }
            Step::Shrink => {
                let is = store.shrink(&space).await.unwrap();
                let should = self.plain.shrink();
                self.same("shrunk", is, should)?;
            }
            Step::Flush => {
                let is = store.flush(&space).await.unwrap();
                let should = self.plain.flush();
                self.same("flushed", is, should)?;
            }
            Step::Pass(units) => {
                let ms = units * self.unit_ms();
                let is_waited_for = self.plain.ends_within(SHORT * self.unit_ms());
                self.plain.pass(ms);
                match self.clock {
                    Clock::Paused => advance(Duration::from_millis(ms)).await,
                    // What the steps before took is in it.
                    Clock::Real(_) if !is_waited_for => {}
                    Clock::Real(_) => sleep_until(self.began + Duration::from_millis(self.plain.now_ms)).await,
                }
            }
        }
        Ok(())
    }

    fn same_got(&self, is: Got, should: Got) -> Result<(), String> {
        self.same("leased", is.is_leased, should.is_leased)?;
        self.same_entry(is.entry, should.entry)?;
        match self.clock {
            Clock::Paused => self.same("denied", is.denied, should.denied),
            Clock::Real(_) => self.same("denied", is.denied.map(|(why, _)| why), should.denied.map(|(why, _)| why)),
        }
    }

    /// Compares what is told to have changed.
    async fn told(&mut self) -> Result<(), String> {
        let should: BTreeSet<Vec<u8>> =
            self.plain.changed.drain(..).map(|key| self.plain.space.stored_key(key.as_bytes())).collect();
        let mut is = BTreeSet::new();
        let Some(notices) = &mut self.notices else { return Ok(()) };
        // Whoever follows gets its turn. Nothing is waited for: the clock would move.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        while let Ok(notice) = notices.try_recv() {
            match notice {
                Notice::Changed(keys) => is.extend(keys.into_iter().map(Vec::from)),
                Notice::Begun | Notice::Heard(_) => {}
                Notice::Everything => return Err(format!("{}: everything is told to have changed", self.what)),
            }
        }
        self.same("told", is, should)
    }
}
