use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::errors::{code_of, log_line, meaning};
use crate::{EventLogError, NewRecord, Position};

/// Records that one call may bring; the rest of a longer one is answered with `QueueFull`.
const CALL_RECORDS_MAX: usize = 1 << 24;
/// How long after the delivery timeout librdkafka may take to say so.
const DELIVERY_GRACE: Duration = Duration::from_secs(5);

// A record's tag is its call's number and its place within the call, in one pointer's bits.
const _: () = assert!(usize::BITS == 64, "Headwater runs on 64 bits");

/// An idempotent producer that is made anew after a fatal error.
pub(super) struct Producer {
    config: ClientConfig,
    settle_timeout: Duration,
    live: RwLock<Arc<Live>>,
}

/// One librdkafka producer with its thread.
pub(super) struct Live {
    inner: Option<ThreadedProducer<Deliveries>>,
}

/// The calls that wait for acknowledgements.
#[derive(Default)]
pub(super) struct Deliveries {
    calls: Mutex<Calls>,
    fatal: AtomicBool,
}

/// Calls by number, in a ring: the first is `first`, and those that are settled leave a gap until they are at the front.
#[derive(Default)]
struct Calls {
    first: u64,
    waiting: VecDeque<Option<Call>>,
}

struct Call {
    results: Vec<Outcome>,
    unsettled: usize,
    done: oneshot::Sender<Vec<Outcome>>,
}

/// What became of a record. Kept small: there is one per record under way.
#[derive(Clone, Copy)]
enum Outcome {
    Waiting,
    At(Position),
    Failed(RDKafkaErrorCode),
}

impl Producer {
    pub(super) fn new(config: ClientConfig, delivery_timeout: Duration) -> Result<Self, EventLogError> {
        let live = RwLock::new(Arc::new(Live::new(&config)?));
        Ok(Self { config, settle_timeout: delivery_timeout + DELIVERY_GRACE, live })
    }

    /// Appends records; one result for each, in order.
    pub(super) async fn append(&self, topic: &str, records: &[NewRecord]) -> Vec<Result<Position, EventLogError>> {
        if records.is_empty() {
            return Vec::new();
        }
        let settled = match self.current() {
            Ok(live) => live.enqueue(topic, records),
            Err(error) => return vec![Err(error); records.len()],
        };
        // librdkafka settles every record by the delivery timeout; the bound here only says what to do if it did not.
        let unknown = match tokio::time::timeout(self.settle_timeout, settled).await {
            Ok(Ok(outcomes)) => {
                let results = outcomes.into_iter().zip(records);
                return results.map(|(outcome, record)| outcome.result(topic, record)).collect();
            }
            Ok(Err(_)) => "the producer ended",
            Err(_) => "no acknowledgement came",
        };
        vec![Err(EventLogError::Unavailable(unknown.into())); records.len()]
    }

    /// A call on the client below, for metadata and offsets. It blocks: not for async code.
    pub(super) fn with_client<T>(&self, call: impl FnOnce(&Client<Deliveries>) -> T) -> Result<T, EventLogError> {
        let live = self.current()?;
        Ok(call(live.producer().client()))
    }

    /// Waits until nothing is under way, or the time is over. It blocks: not for async code.
    pub(super) fn flush(&self, timeout: Duration) {
        let live = self.live.read().clone();
        if let Err(error) = live.producer().flush(timeout) {
            warn!(%error, in_flight = live.producer().in_flight_count(), "records were not acknowledged in time");
        }
    }

    /// The producer to use; a new one where the last had a fatal error.
    fn current(&self) -> Result<Arc<Live>, EventLogError> {
        let live = self.live.read().clone();
        if !live.deliveries().fatal.load(Ordering::Acquire) {
            return Ok(live);
        }
        let mut place = self.live.write();
        if place.deliveries().fatal.load(Ordering::Acquire) {
            warn!("the Kafka producer had a fatal error: a new one takes its place");
            *place = Arc::new(Live::new(&self.config)?);
        }
        Ok(place.clone())
    }
}

impl Live {
    fn new(config: &ClientConfig) -> Result<Self, EventLogError> {
        match ThreadedProducer::from_config_and_context(config, Deliveries::default()) {
            Ok(inner) => Ok(Self { inner: Some(inner) }),
            Err(error) => Err(EventLogError::Refused(error.to_string())),
        }
    }

    fn producer(&self) -> &ThreadedProducer<Deliveries> {
        self.inner.as_ref().expect("it is taken only by drop")
    }

    fn deliveries(&self) -> &Deliveries {
        self.producer().context()
    }

    /// Hands the records over to librdkafka, and returns where their outcomes come once all are settled.
    fn enqueue(&self, topic: &str, records: &[NewRecord]) -> oneshot::Receiver<Vec<Outcome>> {
        let deliveries = self.deliveries();
        let (number, settled) = deliveries.open(records.len());
        let mut refused = Vec::new();
        let mut stopped = None;
        for (place, record) in records.iter().enumerate() {
            let sent = match stopped {
                Some(code) => Err(code),
                None if place >= CALL_RECORDS_MAX => Err(RDKafkaErrorCode::QueueFull),
                None => self.send(topic, record, number as usize * CALL_RECORDS_MAX + place),
            };
            let Err(code) = sent else { continue };
            refused.push((place, code));
            match code {
                // After a gap in the middle of a call, a later record of a key would overtake an earlier one.
                RDKafkaErrorCode::QueueFull => stopped = Some(code),
                RDKafkaErrorCode::Fatal => deliveries.set_fatal(),
                _ => {}
            }
        }
        deliveries.settle(number, &refused);
        settled
    }

    fn send(&self, topic: &str, record: &NewRecord, tag: usize) -> Result<(), RDKafkaErrorCode> {
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, tag).payload(&record.value);
        if !record.key.is_empty() {
            message = message.key(&record.key);
        }
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let headers = record
                .headers
                .iter()
                .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value.as_ref()) }));
            message = message.headers(headers);
        }
        self.producer().send(message).map_err(|(error, _)| code_of(&error).unwrap_or(RDKafkaErrorCode::InvalidArgument))
    }
}

/// librdkafka waits for its threads when it ends: not in async code.
impl Drop for Live {
    fn drop(&mut self) {
        let inner = self.inner.take();
        let ending = thread::Builder::new().name("kafka-producer-end".into()).spawn(move || drop(inner));
        if let Err(error) = ending {
            debug!(%error, "the producer ended in its caller's thread");
        }
    }
}

impl Deliveries {
    fn open(&self, records: usize) -> (u64, oneshot::Receiver<Vec<Outcome>>) {
        let (done, settled) = oneshot::channel();
        let call = Call { results: vec![Outcome::Waiting; records], unsettled: records, done };
        let mut calls = self.calls.lock();
        let number = calls.first + calls.waiting.len() as u64;
        calls.waiting.push_back(Some(call));
        (number, settled)
    }

    fn settle(&self, number: u64, refused: &[(usize, RDKafkaErrorCode)]) {
        let mut calls = self.calls.lock();
        for &(place, code) in refused {
            calls.settle(number, place, Outcome::Failed(code));
        }
    }

    fn set_fatal(&self) {
        self.fatal.store(true, Ordering::Release);
    }
}

impl Calls {
    fn settle(&mut self, number: u64, place: usize, outcome: Outcome) {
        let index = number.wrapping_sub(self.first) as usize;
        let Some(Some(call)) = self.waiting.get_mut(index) else { return };
        let Some(result @ Outcome::Waiting) = call.results.get_mut(place) else { return };
        *result = outcome;
        call.unsettled -= 1;
        if call.unsettled > 0 {
            return;
        }
        if let Some(call) = self.waiting[index].take() {
            // Nobody listens where the caller was cancelled.
            let _ = call.done.send(call.results);
        }
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}

impl Outcome {
    fn result(self, topic: &str, record: &NewRecord) -> Result<Position, EventLogError> {
        match self {
            Self::At(position) => Ok(position),
            Self::Failed(code) => Err(meaning(code, topic, record.key.len() + record.value.len())),
            Self::Waiting => Err(EventLogError::Unavailable("no acknowledgement came".into())),
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, tag: usize) {
        let outcome = match delivery {
            // A broker that calls it a duplicate may never have had it (see `wait_until_served`): librdkafka says that it is
            // delivered, without an offset. It is not acknowledged here; whoever sends it again risks a copy, not a loss.
            Ok(message) if message.offset() < 0 => Outcome::Failed(RDKafkaErrorCode::DuplicateSequenceNumber),
            Ok(message) => Outcome::At(Position { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Outcome::Failed(code_of(error).unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        if matches!(outcome, Outcome::Failed(RDKafkaErrorCode::Fatal)) {
            self.set_fatal();
        }
        self.calls.lock().settle((tag / CALL_RECORDS_MAX) as u64, tag % CALL_RECORDS_MAX, outcome);
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if code_of(&error) == Some(RDKafkaErrorCode::Fatal) {
            self.set_fatal();
        }
        debug!(target: "librdkafka", %error, reason, "producer");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::bindings::rd_kafka_test_fatal_error;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::kafka::KafkaOptions;

    fn producer(cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>) -> Producer {
        let mut options = KafkaOptions::new(cluster.bootstrap_servers());
        options.delivery_timeout = Duration::from_secs(2);
        Producer::new(options.producer().expect("properties"), options.delivery_timeout).expect("a producer")
    }

    fn records(count: usize) -> Vec<NewRecord> {
        (0..count).map(|n| NewRecord { key: "k".into(), value: n.to_string().into(), headers: Vec::new() }).collect()
    }

    #[tokio::test]
    async fn a_fatal_error_is_got_over() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t", 1, 1).expect("a topic");
        let producer = producer(&cluster);
        assert!(producer.append("t", &records(3)).await.iter().all(Result::is_ok));
        let live = producer.live.read().clone();
        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        #[allow(unsafe_code, reason = "librdkafka has no other way to make a fatal error on purpose")]
        // SAFETY: the client lives as long as `live`, and the text ends with a zero.
        unsafe {
            rd_kafka_test_fatal_error(live.producer().client().native_ptr(), code, c"on purpose".as_ptr());
        }
        drop(live);
        let began = Instant::now();
        loop {
            let results = producer.append("t", &records(3)).await;
            if results.iter().all(Result::is_ok) {
                break;
            }
            assert!(
                results.iter().all(|result| matches!(result, Ok(_) | Err(EventLogError::Unavailable(_)))),
                "{results:?}"
            );
            assert!(began.elapsed() < Duration::from_secs(10), "{results:?}");
        }
    }

    #[tokio::test]
    async fn what_a_broker_calls_a_duplicate_is_not_acknowledged() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t", 1, 1).expect("a topic");
        let producer = producer(&cluster);
        let duplicate = RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[duplicate]);
        let results = producer.append("t", &records(1)).await;
        assert!(matches!(results[..], [Err(EventLogError::Unavailable(_))]), "{results:?}");
        assert!(producer.append("t", &records(3)).await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_is_not_said_to_be() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t", 1, 1).expect("a topic");
        let producer = producer(&cluster);
        assert!(producer.append("t", &records(3)).await.iter().all(Result::is_ok));
        cluster.broker_down(1).expect("it goes");
        let (one, other) = (records(5), records(7));
        let (one, other) = tokio::join!(producer.append("t", &one), producer.append("t", &other));
        assert_eq!((one.len(), other.len()), (5, 7));
        for result in one.iter().chain(&other) {
            assert!(matches!(result, Err(EventLogError::Unavailable(_))), "{result:?}");
        }
        assert!(producer.live.read().deliveries().calls.lock().waiting.is_empty(), "nothing is left behind");
        cluster.broker_up(1).expect("it comes back");
        let began = Instant::now();
        while producer.append("t", &records(1)).await[0].is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "it does not recover");
        }
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_nothing_behind() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t", 1, 1).expect("a topic");
        let producer = producer(&cluster);
        let records = records(100);
        assert!(tokio::time::timeout(Duration::ZERO, producer.append("t", &records)).await.is_err());
        assert!(producer.append("t", &records).await.iter().all(Result::is_ok));
        assert!(producer.live.read().deliveries().calls.lock().waiting.is_empty());
    }
}
