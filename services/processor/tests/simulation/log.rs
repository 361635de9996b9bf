//! The log and the registry as one process sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use headwater_event_log::{
    EventLog, EventLogError, GroupMember, LogRecord, MemberEvent, NewRecord, PartitionReader, Position, ProtoSchema,
    Registered, RegisteredSchema, RegistryError, SchemaRegistry, TopicPartition, TopicSpec, Watermarks,
};
use tokio::time::{sleep, timeout};

use crate::brokers::{Brokers, Log, Membership};

/// The log as one process sees it.
pub(crate) struct SimLog {
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) process: u64,
}

struct Member {
    brokers: Arc<Brokers>,
    process: u64,
}

struct Reader {
    brokers: Arc<Brokers>,
    process: u64,
    place: TopicPartition,
    /// Which of the topics of that name it reads.
    made: u32,
    next: i64,
    revoked: Arc<AtomicBool>,
}

fn away(detail: String) -> EventLogError {
    EventLogError::Unavailable(detail)
}

#[async_trait]
impl EventLog for SimLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<i32, EventLogError> {
        let act = async { Ok(self.brokers.partitions(&spec.name)) };
        self.brokers.world.call(self.process, "ensure_topic", away, act).await
    }

    async fn partitions(&self, topic: &str) -> Result<i32, EventLogError> {
        let act = async { Ok(self.brokers.partitions(topic)) };
        self.brokers.world.call(self.process, "partitions", away, act).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Vec<Result<Position, EventLogError>> {
        let act = async {
            let put = |record: &NewRecord| {
                let (place, _, offset) = self.brokers.put(topic, &record.key, Some(record.value.to_vec()));
                Ok(Position { partition: place.partition, offset })
            };
            Ok(records.iter().map(put).collect())
        };
        let result: Result<Vec<_>, EventLogError> = self.brokers.world.call(self.process, "append", away, act).await;
        result.unwrap_or_else(|error| vec![Err(error); records.len()])
    }

    async fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, EventLogError> {
        let place = TopicPartition { topic: topic.to_owned(), partition };
        let act = async { Ok(self.brokers.log(&place, Log::marks)) };
        self.brokers.world.call(self.process, "watermarks", away, act).await
    }

    async fn may_be_anew(&self, at: &TopicPartition, offset: i64, appended_ms: i64) -> Result<bool, EventLogError> {
        let oldest = |log: &Log| log.records.get(log.low as usize).map(|oldest| (oldest.offset, oldest.appended_ms));
        let act = async {
            let oldest = self.brokers.log(at, oldest);
            Ok(oldest.is_some_and(|(oldest, made_ms)| oldest <= offset && made_ms > appended_ms))
        };
        self.brokers.world.call(self.process, "may_be_anew", away, act).await
    }

    async fn join(&self, _group: &str, _topics: &[String]) -> Result<Box<dyn GroupMember>, EventLogError> {
        let act = async {
            self.brokers.remove(self.process);
            self.brokers.state.lock().members.insert(self.process, Membership::default());
            let deal_anew = self.brokers.world.chance(700);
            self.brokers.rebalance(deal_anew);
            Ok(())
        };
        self.brokers.world.call(self.process, "join", away, act).await?;
        Ok(Box::new(Member { brokers: Arc::clone(&self.brokers), process: self.process }))
    }

    async fn check(&self) -> Result<(), EventLogError> {
        Ok(())
    }

    async fn flush(&self, _timeout: Duration) {}
}

#[async_trait]
impl GroupMember for Member {
    async fn next_event(&mut self) -> Result<MemberEvent, EventLogError> {
        loop {
            self.brokers.world.alive(self.process).await;
            let change = self.brokers.world.change();
            let now_ms = self.brokers.world.now_ms();
            let wait_ms = {
                let mut state = self.brokers.state.lock();
                let Some(member) = state.members.get_mut(&self.process) else {
                    return Err(EventLogError::Refused("the session ended".into()));
                };
                match member.mail.front() {
                    Some((at_ms, _)) if *at_ms <= now_ms => {
                        let Some((_, event)) = member.mail.pop_front() else { continue };
                        if let MemberEvent::Revoked(places) = &event {
                            for lease in places.iter().filter_map(|place| member.leases.remove(place)) {
                                lease.store(true, Ordering::Relaxed);
                            }
                        }
                        drop(state);
                        self.brokers.world.bump();
                        return Ok(event);
                    }
                    Some((at_ms, _)) => Some((at_ms - now_ms) as u64),
                    None => None,
                }
            };
            match wait_ms {
                Some(wait_ms) => sleep(Duration::from_millis(wait_ms)).await,
                None => change.await,
            }
        }
    }

    async fn start(&mut self, at: Vec<(TopicPartition, i64)>) -> Result<Vec<Box<dyn PartitionReader>>, EventLogError> {
        self.brokers.world.alive(self.process).await;
        let mut state = self.brokers.state.lock();
        let made: Vec<u32> = at.iter().map(|(place, _)| state.made(place)).collect();
        let Some(member) = state.members.get_mut(&self.process) else { return Err(EventLogError::Revoked) };
        let revoked = |(_, event): &(i64, MemberEvent)| match event {
            MemberEvent::Revoked(places) => at.iter().any(|(place, _)| places.contains(place)),
            MemberEvent::Assigned(_) => false,
        };
        if member.mail.iter().any(revoked) {
            self.brokers.world.hit("start", "assignment changed");
            return Err(EventLogError::Revoked);
        }
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::new();
        for ((place, next), made) in at.into_iter().zip(made) {
            let revoked = Arc::new(AtomicBool::new(false));
            if let Some(former) = member.leases.insert(place.clone(), Arc::clone(&revoked)) {
                former.store(true, Ordering::Relaxed);
            }
            let brokers = Arc::clone(&self.brokers);
            readers.push(Box::new(Reader { brokers, process: self.process, place, made, next, revoked }));
        }
        Ok(readers)
    }

    /// A hint is never ahead of the history.
    fn hint(&self, partition: &TopicPartition, next: i64) {
        let world = &self.brokers.world;
        if !world.is_dead(self.process) {
            world.hit("log", "hint");
            let stored = self.brokers.database.stored(partition);
            if stored.is_none_or(|stored| next > stored) {
                world.violated(format!("{partition:?}: the log was given the hint {next}, and {stored:?} is stored"));
            }
        }
    }

    async fn leave(self: Box<Self>) {
        self.brokers.world.alive(self.process).await;
        self.brokers.world.hit("group", "left");
        self.brokers.remove(self.process);
    }
}

#[async_trait]
impl PartitionReader for Reader {
    async fn read(
        &mut self,
        records_max: usize,
        _bytes_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogRecord>, EventLogError> {
        let brokers = Arc::clone(&self.brokers);
        let mut has_lingered = false;
        loop {
            brokers.world.alive(self.process).await;
            let change = brokers.world.change();
            if self.revoked.load(Ordering::Relaxed) {
                return Err(EventLogError::Revoked);
            }
            let held = brokers.log(&self.place, |log| self.held(log, records_max))?;
            if held.is_empty() {
                change.await;
            } else if has_lingered {
                self.next += held.len() as i64;
                return Ok(held);
            } else {
                has_lingered = true;
                let _ = timeout(linger, std::future::pending::<()>()).await;
            }
        }
    }
}

impl Reader {
    /// Some of the next records, where there are any.
    fn held(&self, log: &Log, records_max: usize) -> Result<Vec<LogRecord>, EventLogError> {
        let (TopicPartition { topic, partition }, offset) = (self.place.clone(), self.next);
        let Watermarks { low, high } = log.marks();
        if log.made != self.made && log.tells {
            return Err(EventLogError::UnknownTopic(topic));
        }
        if !(low..=high).contains(&offset) {
            return Err(EventLogError::OffsetOutOfRange { topic, partition, offset, low, high });
        }
        let held = &log.records[offset as usize..];
        let count = (1 + self.brokers.world.below(held.len() as u64) as usize).min(records_max).min(held.len());
        Ok(held[..count].to_vec())
    }
}

#[async_trait]
impl SchemaRegistry for SimLog {
    async fn register(&self, _subject: &str, _schema: &ProtoSchema) -> Result<Registered, RegistryError> {
        Err(RegistryError::Refused("read only".into()))
    }

    async fn schema(&self, id: u32) -> Result<Option<RegisteredSchema>, RegistryError> {
        let act = async { Ok(self.brokers.schemas.iter().find(|schema| schema.id == id).cloned()) };
        self.brokers.world.call(self.process, "schema", RegistryError::Unavailable, act).await
    }

    async fn latest(&self, _subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        Err(RegistryError::Refused("not asked for".into()))
    }

    async fn check(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}
