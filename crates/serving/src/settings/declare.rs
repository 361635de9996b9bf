//! The one place where settings are declared. A line makes the field, the flag, the variable, the TOML key and the doc.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::namespaces::{NamespaceSettings, NamespaceTables};
use super::reader::Reader;
use super::rules::{
    address, between, hosts, log_filter, log_format, name, namespace_name, one_of, optional_url, path, properties,
    sql_name, switch, token, topic_part, url, zero_or,
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

            impl $Section {
                /// Reads the section. What is wrong stays with the reader, and has its default here.
                pub(super) fn read(reader: &mut Reader) -> Self {
                    Self { $( $field: reader.read(concat!(stringify!($section), ".", stringify!($field)), $rule), )+ }
                }
            }
        )+

        /// Every setting, typed. [`Settings::default`] has the defaults.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
            /// The namespaces of the cache that the file declares, by name.
            pub cache_namespaces: BTreeMap<String, NamespaceSettings>,
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
            /// Reads every setting, and the tables that declare namespaces of the cache.
            pub(super) fn read(reader: &mut Reader, tables: NamespaceTables) -> Self {
                $( let $section = $Section::read(reader); )+
                let mut settings = Self { $($section,)+ cache_namespaces: BTreeMap::new(), lines: Vec::new() };
                settings.cache_namespaces = tables.read(reader, settings.rpc.request_bytes_max);
                settings.lines = reader.take_lines();
                settings
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
        Self::read(&mut Reader::new(BTreeMap::new()), NamespaceTables::default())
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;
const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 365 * DAY_MS;

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
        /// Calls in flight at most of one client, which is an IP address (of IPv6 its first 64 bits), as all share the one
        /// token. Behind a proxy all callers have the proxy's: set it to rpc.requests_in_flight_max there.
        requests_in_flight_per_client_max: [usize] = "1000", "calls", between(1, 1_000_000);
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
    /// The cache. A namespace has its own value of what is said of "a namespace" where it sets one: under
    /// `[cache.namespaces.NAME]` in the file, or by CreateNamespace and UpdateNamespace.
    cache: CacheSettings {
        /// URL of the Redis that all replicas share; of a Cluster, one or more nodes separated by commas. Empty: redis.url. In
        /// production it is one of its own, that may evict and need not be durable.
        redis_url: [Option<Secret>] = "", "", optional_url(&["redis", "rediss"]), mask Url;
        /// Whether cache.redis_url is a Redis Cluster. Where that is empty, redis.cluster says so.
        redis_cluster: [bool] = "false", "", switch();
        /// What every key in the store begins with.
        prefix: [String] = "headwater", "", topic_part();
        /// How long an answer of the store may take.
        timeout_ms: [u64] = "500", "ms", between(10, 60_000);
        /// Age at most of what the memory of a replica serves as fresh, however the value was changed in the store.
        staleness_max_ms: [u64] = "250", "ms", between(20, 60_000);
        /// Failures of the store in a row after which calls that need it fail at once.
        breaker_failures_max: [u32] = "5", "failures", between(1, 1_000_000);
        /// How long calls fail at once before one may try the store again.
        breaker_pause_ms: [u64] = "200", "ms", between(10, 60_000);
        /// Size at most of what the store of `headwater dev` keeps in memory.
        memory_bytes_max: [u64] = "268435456", "bytes", between(1024 * 1024, 1 << 40);
        /// Keys of a batch at most.
        batch_keys_max: [usize] = "1000", "keys", between(1, 100_000);
        /// Size at most of the values that one BatchGet answers with. Keys beyond it are told to be asked for apart. Clients
        /// of gRPC take 4 MiB unless they are told otherwise.
        batch_bytes_max: [usize] = "4194304", "bytes", between(64 * KIB, GIB);
        /// Keys that one Watch may name at most.
        watch_keys_max: [usize] = "1000", "keys", between(1, 100_000);
        /// Watches at most that are open at a time.
        watches_max: [usize] = "10000", "watches", between(1, 1_000_000);
        /// Namespaces at most.
        namespaces_max: [usize] = "1000", "namespaces", between(1, 100_000);
        /// How often a replica looks for namespaces that others made or changed.
        namespaces_refresh_ms: [u64] = "1000", "ms", between(10, 3_600_000);
        /// Changed keys of one watch at most that are not told yet. With more it begins anew.
        watch_pending_max: [usize] = "10000", "keys", between(1, 10_000_000);
        /// How often the ranks that reads from memory raised are told to the store.
        ranks_flush_ms: [u64] = "100", "ms", between(1, 60_000);
        /// How long a replica is the only one to apply a namespace's queued writes, unless it goes on: how long they wait
        /// where it is killed.
        queue_lease_ms: [u64] = "3000", "ms", between(100, 600_000);
        /// Loads at once at most, of all namespaces. One more fails at once.
        loads_max: [usize] = "1000", "loads", between(1, 1_000_000);
        /// How long a loader may take.
        load_timeout_ms: [u64] = "30000", "ms", between(1, 3_600_000);
        /// Namespace of the HTTP routes /get/KEY and /set/KEY/VALUE. Empty: there are no such routes.
        http_namespace: [String] = "default", "", namespace_name();
        /// Whether that namespace's keys are those of the store, with nothing before them: for keys that others write too. The
        /// store then needs a Redis of its own.
        http_plain_keys: [bool] = "false", "", switch();
        /// Entries at most of a namespace: in the memory of each replica, or with eviction by rank in the store.
        entries_max: [u64] = "100000", "entries", between(1, 100_000_000);
        /// Bytes of keys and values at most of a namespace in the memory of each replica. 0: entries_max counts.
        bytes_max: [u64] = "0", "bytes", zero_or(1024, 1 << 40);
        /// What leaves a full namespace first: of the memory what is read seldom (tiny_lfu) or not for longest (lru), or of the
        /// store what has the lowest rank (rank).
        eviction: [String] = "tiny_lfu", "", one_of(&["tiny_lfu", "lru", "rank"]);
        /// How long a value of a namespace stays fresh where a write does not say. 0: it does not expire.
        ttl_ms: [u64] = "3600000", "ms", between(0, YEAR_MS);
        /// What a write to a namespace may ask for at most.
        ttl_max_ms: [u64] = "2592000000", "ms", between(1, YEAR_MS);
        /// By how much ttl_ms of a namespace is shortened at random, so that not everything expires together.
        ttl_jitter_percent: [u64] = "10", "percent", between(0, 100);
        /// How long a namespace may serve a stale value while one caller makes it anew.
        stale_while_revalidate_ms: [u64] = "0", "ms", between(0, DAY_MS);
        /// How long a namespace may serve a stale value because the store or the loader fails.
        stale_if_error_ms: [u64] = "0", "ms", between(0, DAY_MS);
        /// How long a namespace remembers that a loader found nothing or failed.
        negative_ttl_ms: [u64] = "5000", "ms", between(0, 3_600_000);
        /// When writes to a namespace are applied: at_once, or queued, one after another across all replicas.
        write_mode: [String] = "at_once", "", one_of(&["at_once", "queued"]);
        /// What becomes of a write to a key of a namespace that has a value: allowed or refused.
        overwrite: [String] = "allowed", "", one_of(&["allowed", "refused"]);
        /// Bytes of a namespace's key at most.
        key_bytes_max: [u64] = "1024", "bytes", between(1, 65_536);
        /// Bytes of a namespace's value at most.
        value_bytes_max: [u64] = "1048576", "bytes", between(1, 67_108_864);
        /// Queued writes of a namespace at most that wait.
        queue_max: [u64] = "10000", "writes", between(1, 10_000_000);
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
