//! The one place where settings are declared. A line makes the field, the flag, the variable, the TOML key and the doc.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::layers::Reader;
use super::rules::{
    address, between, hosts, log_filter, log_format, name, one_of, path, properties, sql_name, switch, token,
    topic_part, url,
};
use super::values::{LogFormat, Mask, Properties, Secret};
use super::{Setting, SettingLine};

macro_rules! settings {
    (@mask) => { Mask::None };
    (@mask $mask:ident) => { Mask::$mask };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
    (@switch bool) => { true };
    (@switch $($other:tt)+) => { false };
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: [$($type:tt)+] = $default:literal, $unit:literal, $rule:expr
                $(, mask $mask:ident)? $(, alias $alias:literal)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug)]
            pub struct $Section {
                $( $(#[doc = $doc])+ pub $field: $($type)+, )+
            }
        )+

        /// Every setting, typed. [`Settings::default`] has the defaults.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
            /// What `describe` gives.
            lines: Vec<SettingLine>,
        }

        /// Every setting as declared, in the order that people read them in.
        pub(super) const TABLE: &[Setting] = &[
            $( $( Setting {
                key: concat!(stringify!($section), ".", stringify!($field)),
                doc: concat!($($doc),+),
                default: $default,
                unit: $unit,
                mask: settings!(@mask $($mask)?),
                alias: settings!(@alias $($alias)?),
                is_switch: settings!(@switch $($type)+),
            }, )+ )+
        ];

        impl Settings {
            /// Reads every setting. What is wrong stays with the reader, and has its default here.
            pub(super) fn read(reader: &mut Reader) -> Self {
                $(
                    let $section = $Section {
                        $( $field: reader.read(concat!(stringify!($section), ".", stringify!($field)), $rule), )+
                    };
                )+
                Self { $($section,)+ lines: reader.take_lines() }
            }
        }
    };
}

impl Settings {
    /// Every setting with its value, masked where it is secret, and where it is from.
    pub fn describe(&self) -> Vec<SettingLine> {
        self.lines.clone()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::read(&mut Reader::new(BTreeMap::new()))
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

settings! {
    /// Addresses that it listens on.
    listen: ListenSettings {
        /// Address of gRPC, gRPC-Web and reflection. Port 0 takes a free one.
        grpc: [SocketAddr] = "127.0.0.1:50051", "", address();
        /// Address of HTTP: the page, gRPC-Web, /metrics, /livez and /readyz. Port 0 takes a free one.
        http: [SocketAddr] = "127.0.0.1:8080", "", address();
        /// Connections at most, on each of the two addresses. One more is closed at once.
        connections_max: [usize] = "10000", "connections", between(1, 1_000_000);
    }
    /// What holds for every call.
    rpc: RpcSettings {
        /// Size of a request message at most, after decompression.
        request_bytes_max: [usize] = "8388608", "bytes", between(KIB, GIB);
        /// Deadline of a unary call that brings none.
        deadline_default_ms: [u64] = "10000", "ms", between(1, 3_600_000);
        /// Deadline of a unary call at most, whatever it brings.
        deadline_max_ms: [u64] = "60000", "ms", between(1, 3_600_000);
        /// Calls in flight at most, streams included. One more is answered OVERLOADED at once.
        requests_in_flight_max: [usize] = "10000", "calls", between(1, 1_000_000);
        /// How often a quiet connection is pinged. 0 is never.
        keepalive_interval_s: [u64] = "30", "s", between(0, 3600);
        /// How long a ping may stay unanswered before the connection is closed.
        keepalive_timeout_s: [u64] = "10", "s", between(1, 3600);
        /// Age at which a connection is asked to end, so that clients spread anew. 0 is never.
        connection_age_max_s: [u64] = "0", "s", between(0, 604_800);
        /// How long calls in flight may go on once the process is told to end.
        drain_timeout_ms: [u64] = "8000", "ms", between(0, 600_000);
    }
    /// Who may call.
    auth: AuthSettings {
        /// The token that every call but health checks must bring as `authorization: Bearer …`. Empty: none is asked for.
        token: [Option<Secret>] = "", "", token(), mask Whole;
    }
    /// Taking events in.
    ingest: IngestSettings {
        /// Records of a batch at most.
        batch_records_max: [usize] = "10000", "records", between(1, 1_000_000);
        /// Size of a record at most.
        record_bytes_max: [usize] = "1048576", "bytes", between(1, 100 * MIB);
        /// Records at most that wait for the event log's acknowledgement, of all calls together.
        records_in_flight_max: [usize] = "100000", "records", between(1, 10_000_000);
        /// Records at most that wait for the event log's acknowledgement, of one stream of batches.
        stream_records_in_flight_max: [usize] = "20000", "records", between(1, 10_000_000);
    }
    /// How topics are made where they are missing.
    topics: TopicSettings {
        /// Partitions of a new topic.
        partitions: [i32] = "8", "partitions", between(1, 10_000);
        /// Replicas of each partition, on as many brokers.
        replication: [i32] = "1", "replicas", between(1, 100);
        /// Replicas that must have a record before it is acknowledged.
        min_insync: [i32] = "1", "replicas", between(1, 100);
        /// How long records are kept.
        retention_ms: [i64] = "604800000", "ms", between(60_000, 3_153_600_000_000);
    }
    /// The event log.
    kafka: KafkaSettings {
        /// Brokers to begin with: host:port, separated by commas.
        brokers: [String] = "127.0.0.1:9092", "", hosts();
        /// Consumer group of the processors, which share the partitions among them.
        group: [String] = "headwater-processor", "", name();
        /// Properties of librdkafka, for example security.protocol=SASL_SSL. They go before what is set here.
        properties: [Properties] = "", "", properties(), mask Properties;
        /// How long a record may wait for its acknowledgement.
        delivery_timeout_ms: [u64] = "4000", "ms", between(100, 300_000);
        /// How long a record waits for others to share its request.
        linger_ms: [u64] = "5", "ms", between(0, 60_000);
        /// Compression of record batches.
        compression: [String] = "none", "", one_of(&["none", "gzip", "snappy", "lz4", "zstd"]);
    }
    /// The schema registry.
    registry: RegistrySettings {
        /// URL of the Confluent-compatible API, with user:password@ where it asks for one.
        url: [Secret] = "http://127.0.0.1:8081", "", url(&["http", "https"]), mask Url;
        /// How long an answer may take.
        timeout_ms: [u64] = "2000", "ms", between(10, 60_000);
    }
    /// The store of live statistics.
    redis: RedisSettings {
        /// URL; of a Cluster, one or more nodes separated by commas.
        url: [Secret] = "redis://127.0.0.1:6379", "", url(&["redis", "rediss"]), mask Url;
        /// Whether it is a Redis Cluster.
        cluster: [bool] = "false", "", switch();
        /// What every key begins with.
        prefix: [String] = "headwater", "", topic_part();
        /// Shards that a new generation of statistics lies on: 1 on a single Redis, 16 on a Cluster.
        shards: [u32] = "1", "shards", between(1, 1024);
    }
    /// The history database.
    postgres: PostgresSettings {
        /// URL.
        url: [Secret] = "postgres://headwater@127.0.0.1:5432/headwater", "", url(&["postgres", "postgresql"]), mask Url;
        /// Connections at most.
        pool_size_max: [usize] = "16", "connections", between(1, 1000);
        /// How long a statement, or its wait for a lock, may take.
        statement_timeout_ms: [u64] = "30000", "ms", between(1000, 3_600_000);
        /// Schema that the tables are in.
        schema: [String] = "headwater", "", sql_name();
        /// What becomes of days older than processor.events_kept_days: drop, or detach, which leaves them as tables of their own.
        old_days: [String] = "drop", "", one_of(&["drop", "detach"]);
    }
    /// From the event log into history and live statistics.
    processor: ProcessorSettings {
        /// Records of a batch at most.
        batch_records_max: [usize] = "5000", "records", between(1, 1_000_000);
        /// Size of a batch at most, give or take a record.
        batch_bytes_max: [usize] = "4194304", "bytes", between(KIB, GIB);
        /// How long a batch waits to be full.
        batch_linger_ms: [u64] = "50", "ms", between(0, 60_000);
        /// Longest wait between two tries while something is away.
        retry_max_ms: [u64] = "2000", "ms", between(10, 600_000);
        /// Spans of rules at most whose counts are kept in memory.
        rule_spans_max: [usize] = "200000", "spans", between(1, 100_000_000);
        /// Batches of a partition at most that wait for live statistics. More are replayed from the history.
        live_queue_max: [usize] = "64", "batches", between(1, 100_000);
        /// What the name of a stream's topic of dead letters ends with.
        dead_letter_topic_suffix: [String] = "-dead-letters", "", topic_part();
        /// How long batches are remembered, from which lost live statistics are replayed.
        batches_kept_s: [u64] = "90000", "s", between(86_400, 31_536_000);
        /// How long events are kept. 0 is for ever.
        events_kept_days: [u32] = "0", "days", between(0, 36_500);
        /// How often what is kept no longer is looked for.
        upkeep_interval_s: [u64] = "60", "s", between(1, 86_400);
    }
    /// Reading statistics.
    stats: StatsSettings {
        /// Longest window.
        window_max_s: [i64] = "86400", "s", between(60, 2_592_000);
        /// Members or keys of one statistic at most.
        members_max: [u64] = "10000000", "members", between(1, 1_000_000_000);
        /// Subscriptions at most.
        subscriptions_max: [usize] = "1000", "subscriptions", between(1, 1_000_000);
    }
    /// The contracts beyond those that ship.
    contracts: ContractSettings {
        /// A folder of .proto files, or a descriptor set as `buf build -o` writes it. Empty: only what ships.
        path: [Option<PathBuf>] = "", "", path(), alias "contracts";
    }
    /// What is logged.
    log: LogSettings {
        /// How lines are written: text for people, json for machines.
        format: [LogFormat] = "text", "", log_format();
        /// What is logged: a level, or levels by target.
        filter: [String] = "info", "", log_filter();
    }
    /// `headwater dev`.
    dev: DevSettings {
        /// Folder that keeps everything over a restart. Empty: in memory.
        data: [Option<PathBuf>] = "", "", path(), alias "data";
        /// Events that the generator publishes. 0 is none.
        rate: [u32] = "100", "events/s", between(0, 1_000_000), alias "rate";
        /// Partitions of a topic.
        partitions: [i32] = "4", "partitions", between(1, 1000);
    }
}
