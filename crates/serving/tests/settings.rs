//! Settings from every source, and everything that can be wrong with them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write;

use clap::{ArgMatches, Command};
use headwater_serving::Settings;
use headwater_serving::settings::{LogFormat, Origin, SettingsErrors, augment_clap, load};

fn matches(flags: &[&str]) -> ArgMatches {
    augment_clap(Command::new("headwater")).get_matches_from(["headwater"].iter().chain(flags))
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn loaded(flags: &[&str], env: &[(&str, &str)]) -> Result<Settings, SettingsErrors> {
    load(&matches(flags), variables(env), &[])
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn the_defaults_are_right() {
    let settings = loaded(&[], &[]).unwrap();
    assert_eq!(settings.listen.grpc.to_string(), "127.0.0.1:50051");
    assert_eq!(settings.ingest.batch_records_max, 10_000);
    assert_eq!(settings.topics.retention_ms, 7 * 24 * 3_600_000);
    assert_eq!(&*settings.redis.url, "redis://127.0.0.1:6379");
    assert!(settings.auth.token.is_none() && settings.dev.data.is_none() && settings.contracts.path.is_none());
    assert!(settings.kafka.properties.is_empty());
    let lines = settings.describe();
    assert!(lines.iter().all(|line| line.origin == Origin::Default && !line.doc.is_empty()));
    let by_default: Vec<_> = Settings::default().describe();
    assert_eq!(lines, by_default);
    let names: BTreeSet<&str> =
        lines.iter().flat_map(|line| [line.key.as_str(), line.flag.as_str(), line.env.as_str()]).collect();
    assert_eq!(names.len(), lines.len() * 3, "two settings share a name");
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let file =
        file("[kafka]\nbrokers = [\"f:1\", \"f:2\"]\nlinger_ms = 1\ngroup = \"file\"\n[redis]\ncluster = true\n");
    let settings = loaded(
        &["--config", path(&file), "--kafka-linger-ms", "3", "--log-format=json"],
        &[
            ("HEADWATER_KAFKA_LINGER_MS", "2"),
            ("HEADWATER_KAFKA_GROUP", "env"),
            ("PATH", "/bin"),
            ("HEADWATER_TEST_X", "y"),
        ],
    )
    .unwrap();
    assert_eq!(settings.kafka.linger_ms, 3);
    assert_eq!(settings.kafka.group, "env");
    assert_eq!(settings.kafka.brokers, "f:1,f:2");
    assert!(settings.redis.cluster);
    assert_eq!(settings.log.format, LogFormat::Json);
    let origin = |key: &str| settings.describe().into_iter().find(|line| line.key == key).unwrap().origin;
    assert_eq!(origin("kafka.linger_ms"), Origin::Flag("--kafka-linger-ms".to_owned()));
    assert_eq!(origin("kafka.group"), Origin::Environment("HEADWATER_KAFKA_GROUP".to_owned()));
    assert_eq!(origin("kafka.brokers"), Origin::File(file.path().to_owned()));
    assert_eq!(origin("kafka.compression"), Origin::Default);
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let by_env = file("[topics]\npartitions = 3\n");
    let by_flag = file("[topics]\npartitions = 5\n");
    let env = [("HEADWATER_CONFIG", path(&by_env))];
    assert_eq!(loaded(&[], &env).unwrap().topics.partitions, 3);
    assert_eq!(loaded(&["--config", path(&by_flag)], &env).unwrap().topics.partitions, 5);
}

#[test]
fn switches_aliases_and_properties() {
    assert!(loaded(&["--redis-cluster"], &[]).unwrap().redis.cluster);
    assert!(!loaded(&["--redis-cluster=false"], &[]).unwrap().redis.cluster);
    let settings = loaded(&["--data", "/tmp/x", "--rate", "0"], &[]).unwrap();
    assert_eq!((settings.dev.data.unwrap().to_str().unwrap(), settings.dev.rate), ("/tmp/x", 0));
    let text = "security.protocol=SASL_SSL,sasl.password=pw";
    let by_flag = loaded(&["--kafka-properties", text], &[]).unwrap();
    let file = file("[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n\"sasl.password\" = \"pw\"\n");
    let by_file = loaded(&["--config", path(&file)], &[]).unwrap();
    assert_eq!(*by_flag.kafka.properties, *by_file.kafka.properties);
    assert_eq!(by_file.kafka.properties["sasl.password"], "pw");
}

/// One wrong value for each setting; a setting that is missing here fails the test below.
const WRONG: &[(&str, &str)] = &[
    ("listen.grpc", "localhost"),
    ("listen.http", "8080"),
    ("listen.connections_max", "0"),
    ("rpc.request_bytes_max", "8MiB"),
    ("rpc.deadline_default_ms", "-1"),
    ("rpc.deadline_max_ms", "1.5"),
    ("rpc.requests_in_flight_max", "many"),
    ("rpc.requests_in_flight_per_client_max", "0"),
    ("rpc.keepalive_interval_s", "3601"),
    ("rpc.keepalive_timeout_s", "0"),
    ("rpc.connection_age_max_s", "x"),
    ("rpc.drain_timeout_ms", "8s"),
    ("auth.token", "two words"),
    ("ingest.batch_records_max", "0"),
    ("ingest.record_bytes_max", "99999999999999999999"),
    ("ingest.records_in_flight_max", ""),
    ("ingest.stream_records_in_flight_max", "0x10"),
    ("topics.partitions", "0"),
    ("topics.replication", "0"),
    ("topics.min_insync", "all"),
    ("topics.retention_ms", "7d"),
    ("kafka.brokers", "kafka"),
    ("kafka.group", ""),
    ("kafka.properties", "acks"),
    ("kafka.delivery_timeout_ms", "0"),
    ("kafka.linger_ms", "abc"),
    ("kafka.compression", "brotli"),
    ("registry.url", "127.0.0.1:8081"),
    ("registry.timeout_ms", "0"),
    ("redis.url", "http://127.0.0.1"),
    ("redis.cluster", "maybe"),
    ("redis.prefix", "{head}"),
    ("redis.shards", "0"),
    ("postgres.url", "mysql://db"),
    ("postgres.pool_size_max", "0"),
    ("postgres.statement_timeout_ms", "10"),
    ("postgres.schema", "Head-Water"),
    ("postgres.old_days", "keep"),
    ("processor.batch_records_max", "0"),
    ("processor.batch_bytes_max", "1"),
    ("processor.batch_linger_ms", "x"),
    ("processor.retry_max_ms", "0"),
    ("processor.rule_spans_max", "0"),
    ("processor.live_queue_max", "0"),
    ("processor.dead_letter_topic_suffix", " x y"),
    ("processor.batches_kept_s", "3600"),
    ("processor.events_kept_days", "-1"),
    ("processor.upkeep_interval_s", "0"),
    ("stats.window_max_s", "59"),
    ("stats.members_max", "0"),
    ("stats.subscriptions_max", "0"),
    ("cache.redis_url", "memcached://db"),
    ("cache.redis_cluster", "maybe"),
    ("cache.prefix", "{head}"),
    ("cache.timeout_ms", "0"),
    ("cache.staleness_max_ms", "0"),
    ("cache.breaker_failures_max", "0"),
    ("cache.breaker_pause_ms", "0"),
    ("cache.memory_bytes_max", "1024"),
    ("cache.batch_keys_max", "0"),
    ("cache.batch_bytes_max", "4MiB"),
    ("cache.watch_keys_max", "0"),
    ("cache.watches_max", "0"),
    ("cache.namespaces_max", "0"),
    ("cache.namespaces_refresh_ms", "0"),
    ("cache.watch_pending_max", "0"),
    ("cache.ranks_flush_ms", "0"),
    ("cache.queue_lease_ms", "0"),
    ("cache.loads_max", "0"),
    ("cache.load_timeout_ms", "0"),
    ("cache.http_namespace", "De Fault"),
    ("cache.http_plain_keys", "maybe"),
    ("cache.entries_max", "0"),
    ("cache.bytes_max", "1023"),
    ("cache.eviction", "fifo"),
    ("cache.ttl_ms", "-1"),
    ("cache.ttl_max_ms", "0"),
    ("cache.ttl_jitter_percent", "101"),
    ("cache.stale_while_revalidate_ms", "86400001"),
    ("cache.stale_if_error_ms", "1d"),
    ("cache.negative_ttl_ms", "3600001"),
    ("cache.write_mode", "async"),
    ("cache.overwrite", "maybe"),
    ("cache.key_bytes_max", "0"),
    ("cache.value_bytes_max", "1MiB"),
    ("cache.queue_max", "0"),
    ("log.format", "xml"),
    ("log.filter", "headwater=loud"),
    ("dev.rate", "fast"),
    ("dev.partitions", "0"),
];

/// Any text is a path, and whether something is there is found when it is read.
const NEVER_WRONG: [&str; 2] = ["contracts.path", "dev.data"];

#[test]
fn every_wrong_setting_is_named_at_once_whatever_its_source() {
    let lines = Settings::default().describe();
    let known: BTreeSet<&str> = lines.iter().map(|line| line.key.as_str()).collect();
    let tried: BTreeSet<&str> = WRONG.iter().map(|(key, _)| *key).chain(NEVER_WRONG).collect();
    assert_eq!(known, tried);

    let line_of = |key: &str| lines.iter().find(|line| line.key == key).unwrap();
    let flags: Vec<String> = WRONG.iter().map(|(key, value)| format!("{}={value}", line_of(key).flag)).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let by_flag = loaded(&flags, &[]).unwrap_err();

    let env: Vec<(&str, &str)> = WRONG.iter().map(|(key, value)| (line_of(key).env.as_str(), *value)).collect();
    let by_env = loaded(&[], &env).unwrap_err();

    let toml: String = WRONG.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    let file = file(&toml);
    let by_file = loaded(&["--config", path(&file)], &[]).unwrap_err();

    for (key, value) in WRONG {
        let line = line_of(key);
        for (errors, origin) in [
            (&by_flag, Origin::Flag(line.flag.clone())),
            (&by_env, Origin::Environment(line.env.clone())),
            (&by_file, Origin::File(file.path().to_owned())),
        ] {
            let named: Vec<_> = errors.0.iter().filter(|error| error.key == *key).collect();
            assert_eq!(named.len(), 1, "{key} by {origin}: {errors}");
            assert_eq!(named[0].origin, origin);
            assert!(named[0].expected.starts_with("expected "), "{}", named[0]);
            if *key != "auth.token" {
                assert_eq!(named[0].value, *value);
            }
        }
    }
    assert_eq!(by_flag.0.len(), WRONG.len());
    assert_eq!(by_env.0.len(), WRONG.len());
    assert_eq!(by_file.0.len(), WRONG.len());
    let text = by_env.to_string();
    assert!(text.starts_with("90 settings are wrong:\n"), "{text}");
    let line = "kafka.linger_ms = \"abc\" (environment variable HEADWATER_KAFKA_LINGER_MS): \
                expected a whole number from 0 to 60000 (ms)";
    assert!(text.contains(line), "{text}");
}

#[test]
fn unknown_names_are_told_with_the_likeliest() {
    let file = file("top = 1\n[kafka]\nborkers = \"a:1\"\n[kafak]\nlinger_ms = 1\n[redis]\nxyzzy = \"t0ken\"\n");
    let errors = loaded(
        &["--config", path(&file)],
        &[("HEADWATER_KAFKA_BORKERS", "a:1"), ("HEADWATER_XYZZY", "s3cret"), ("HEADWATER_TEST_KAFKA", "a:1")],
    )
    .unwrap_err();
    let told = |key: &str| errors.0.iter().find(|error| error.key == key).unwrap().to_string();
    assert!(told("kafka.borkers").contains("did you mean kafka.brokers?"), "{errors}");
    assert!(told("kafak.linger_ms").contains("did you mean kafka.linger_ms?"), "{errors}");
    assert!(told("redis.xyzzy").ends_with("no such setting"), "{errors}");
    assert!(told("top").contains(path(&file)), "{errors}");
    assert!(told("HEADWATER_KAFKA_BORKERS").contains("did you mean HEADWATER_KAFKA_BROKERS?"), "{errors}");
    assert!(told("HEADWATER_XYZZY").ends_with("no setting has this variable"), "{errors}");
    assert_eq!(errors.0.len(), 6, "{errors}");
    let text = errors.to_string();
    assert!(!text.contains("t0ken") && !text.contains("s3cret"), "{text}");
    let known = load(&matches(&[]), variables(&[("HEADWATER_XYZZY", "x")]), &["HEADWATER_XYZZY"]);
    assert!(known.is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_everything_else() {
    let errors = loaded(&["--config", "/nowhere/headwater.toml"], &[("HEADWATER_DEV_RATE", "x")]).unwrap_err();
    assert_eq!(errors.0.len(), 2, "{errors}");
    assert!(errors.to_string().contains("config = \"/nowhere/headwater.toml\" (flag --config)"), "{errors}");
    let file = file("[kafka]\nbrokers = \n");
    let errors = loaded(&["--config", path(&file)], &[]).unwrap_err();
    assert!(errors.0[0].expected.starts_with("expected TOML: ") && errors.0[0].expected.contains('2'), "{errors}");
    let tables = self::file("[log.filter]\na = \"info\"\n");
    let errors = loaded(&["--config", path(&tables)], &[]).unwrap_err();
    assert_eq!(errors.0[0].key, "log.filter", "{errors}");
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    for (flags, key, other) in [
        (&["--topics-min-insync=2"][..], "topics.min_insync", "topics.replication"),
        (&["--rpc-deadline-default-ms=70000"], "rpc.deadline_default_ms", "rpc.deadline_max_ms"),
        (&["--kafka-delivery-timeout-ms=20000"], "kafka.delivery_timeout_ms", "rpc.deadline_default_ms"),
        (&["--kafka-linger-ms=5000"], "kafka.linger_ms", "kafka.delivery_timeout_ms"),
        (
            &["--ingest-record-bytes-max=9000000", "--processor-batch-bytes-max=9000000"],
            "ingest.record_bytes_max",
            "rpc.request_bytes_max",
        ),
        (&["--processor-batch-bytes-max=2048"], "ingest.record_bytes_max", "processor.batch_bytes_max"),
        (
            &["--ingest-stream-records-in-flight-max=100"],
            "ingest.batch_records_max",
            "ingest.stream_records_in_flight_max",
        ),
        (
            &["--ingest-records-in-flight-max=10000"],
            "ingest.stream_records_in_flight_max",
            "ingest.records_in_flight_max",
        ),
        (&["--stats-window-max-s=100000"], "stats.window_max_s", "processor.batches_kept_s"),
        (&["--listen-http=127.0.0.1:50051"], "listen.http", "listen.grpc"),
        (&["--cache-ttl-max-ms=1000"], "cache.ttl_ms", "cache.ttl_max_ms"),
        (&["--cache-eviction=rank", "--cache-bytes-max=4096"], "cache.bytes_max", "cache.eviction"),
        (&["--cache-value-bytes-max=8388608"], "cache.value_bytes_max", "rpc.request_bytes_max"),
        (&["--cache-http-namespace=sessions"], "cache.http_namespace", "declares"),
        (&["--cache-http-plain-keys", "--cache-eviction=rank"], "cache.http_plain_keys", "in one place"),
        (&["--cache-http-plain-keys", "--cache-write-mode=queued"], "cache.http_plain_keys", "in one place"),
    ] {
        let errors = loaded(flags, &[]).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert_eq!(errors.0[0].key, key);
        assert!(errors.0[0].expected.contains(other), "{errors}");
    }
    assert!(loaded(&["--listen-http=127.0.0.1:0", "--listen-grpc=127.0.0.1:0"], &[]).is_ok());
    // What is wrong by itself is told once.
    let errors = loaded(&["--topics-min-insync=2", "--topics-replication=0"], &[]).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
}

#[test]
fn nothing_secret_is_shown() {
    let settings = loaded(
        &["--kafka-properties=sasl.password=hunter2"],
        &[
            ("HEADWATER_AUTH_TOKEN", "hunter2-token"),
            ("HEADWATER_POSTGRES_URL", "postgres://me:hunter2@db/x"),
            ("HEADWATER_REDIS_URL", "redis://:hunter2@db"),
            ("HEADWATER_REGISTRY_URL", "https://me:hunter2@registry"),
        ],
    )
    .unwrap();
    assert_eq!(&**settings.auth.token.as_ref().unwrap(), "hunter2-token");
    assert_eq!(&*settings.postgres.url, "postgres://me:hunter2@db/x");
    let shown = format!("{settings:?} {:?}", settings.describe());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("postgres://me:***@db/x"), "{shown}");
    let errors = loaded(&["--auth-token=hunter2 x", "--postgres-url=pg://me:hunter2@db"], &[]).unwrap_err();
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
}

#[test]
fn help_tells_default_unit_and_variable() {
    let mut command = augment_clap(Command::new("headwater"));
    let long = command.render_long_help().to_string();
    assert!(long.contains("--kafka-linger-ms"), "{long}");
    assert!(long.contains("In ms. [default: 5] [env: HEADWATER_KAFKA_LINGER_MS]"), "{long}");
    let short = command.render_help().to_string();
    assert!(short.contains("--config") && !short.contains("--kafka-linger-ms"), "{short}");
}

#[test]
fn a_namespace_has_what_its_table_says_and_otherwise_what_the_section_says() {
    let file = file(
        "[cache]\nttl_ms = 1000\nbytes_max = 65536\n\
         [cache.namespaces.sessions]\nttl_ms = 2000\noverwrite = \"refused\"\n\
         [cache.namespaces.top]\neviction = \"rank\"\nentries_max = 3\n",
    );
    let settings = loaded(&["--config", path(&file), "--cache-queue-max=7"], &[]).unwrap();
    let sessions = &settings.cache_namespaces["sessions"];
    assert_eq!((sessions.ttl_ms, sessions.overwrite.as_str(), sessions.queue_max), (2000, "refused", 7));
    assert_eq!((sessions.bytes_max, sessions.eviction.as_str()), (65_536, "tiny_lfu"));
    let top = &settings.cache_namespaces["top"];
    assert_eq!((top.entries_max, top.bytes_max, top.ttl_ms), (3, 0, 1000), "what counts entries does not count bytes");
    assert_eq!(settings.cache_namespaces.len(), 2);
    let lines = settings.describe();
    let shown: Vec<_> = lines.iter().filter(|line| line.key.starts_with("cache.namespaces.")).collect();
    let keys: Vec<&str> = shown.iter().map(|line| line.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "cache.namespaces.sessions.ttl_ms",
            "cache.namespaces.sessions.overwrite",
            "cache.namespaces.top.entries_max",
            "cache.namespaces.top.eviction"
        ]
    );
    assert!(shown.iter().all(|line| line.origin == Origin::File(file.path().to_owned()) && line.flag.is_empty()));
    assert_eq!(lines.iter().filter(|line| line.key == "cache.ttl_ms").count(), 1);
}

#[test]
fn what_is_wrong_with_a_namespace_is_named() {
    let file = file(
        "[cache.namespaces.sessions]\nttl_ms = \"soon\"\nevicton = \"lru\"\ntimeout_ms = 5\n\
         [cache.namespaces.\"Bad Name\"]\nttl_ms = 5\n\
         [cache.namespaces.short]\nttl_max_ms = 10\n\
         [cache.namespaces.big]\nbytes_max = 4096\neviction = \"rank\"\n[cache.namespaces]\nflat = 3\n",
    );
    let errors = loaded(&["--config", path(&file)], &[]).unwrap_err();
    let told = |key: &str| {
        let errors: Vec<_> = errors.0.iter().filter(|error| error.key == key).collect();
        assert_eq!(errors.len(), 1, "{key}: {errors:?}");
        assert_eq!(errors[0].origin, Origin::File(file.path().to_owned()));
        errors[0].expected.clone()
    };
    assert_eq!(told("cache.namespaces.sessions.ttl_ms"), "expected a whole number from 0 to 31536000000 (ms)");
    assert!(told("cache.namespaces.sessions.evicton").contains("did you mean cache.namespaces.sessions.eviction?"));
    assert!(told("cache.namespaces.sessions.timeout_ms").starts_with("no such setting"));
    assert!(told("cache.namespaces.Bad Name").contains("beginning with a letter"));
    assert!(told("cache.namespaces.flat").contains("a table"));
    assert!(told("cache.namespaces.big.bytes_max").contains("cache.namespaces.big.eviction is rank"));
    let pair = errors.0.iter().find(|error| error.key == "cache.ttl_ms").unwrap();
    assert!(pair.expected.contains("cache.namespaces.short.ttl_max_ms is 10"), "{pair}");
    assert_eq!(errors.0.len(), 7, "{errors}");
    let list = self::file("[cache]\nnamespaces = 3\n");
    let errors = loaded(&["--config", path(&list)], &[]).unwrap_err();
    assert_eq!(errors.0[0].key, "cache.namespaces", "{errors}");
}

#[test]
fn what_told_yesterday_s_proxies_of_redis_is_understood() {
    let url = |env: &[(&str, &str)]| {
        let settings = loaded(&[], env).unwrap();
        let line = settings.describe().into_iter().find(|line| line.key == "cache.redis_url").unwrap();
        (settings.cache.redis_url.map(|url| url.to_string()), line.origin)
    };
    let of = |name: &str| Origin::Environment(name.to_owned());
    assert_eq!(url(&[]), (None, Origin::Default));
    assert_eq!(
        url(&[("REDIS_HOST", "cache.local"), ("REDIS_PORT", "6380"), ("REDIS_DB", "3")]),
        (Some("redis://cache.local:6380/3".to_owned()), of("REDIS_HOST"))
    );
    assert_eq!(url(&[("REDIS_HOST", "::1")]).0.as_deref(), Some("redis://[::1]:6379/0"));
    assert_eq!(url(&[("REDIS_DB", "1")]), (Some("redis://127.0.0.1:6379/1".to_owned()), of("REDIS_DB")));
    assert_eq!(url(&[("REDIS_PORT", "tcp://10.0.0.1:6379")]), (None, Origin::Default), "Kubernetes' own");
    let own = [("HEADWATER_CACHE_REDIS_URL", "redis://own:1"), ("REDIS_HOST", "other"), ("REDIS_PORT", "x")];
    assert_eq!(url(&own), (Some("redis://own:1".to_owned()), of("HEADWATER_CACHE_REDIS_URL")));
    let errors = loaded(&[], &[("REDIS_HOST", "a/b"), ("REDIS_PORT", "70000"), ("REDIS_DB", "first")]).unwrap_err();
    let keys: Vec<&str> = errors.0.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["REDIS_HOST", "REDIS_PORT", "REDIS_DB"], "{errors}");
}

#[test]
fn the_page_of_the_cache_has_each_of_its_settings_with_its_default() {
    let page = include_str!("../../../docs/cache.md");
    for line in Settings::default().describe().iter().filter(|line| line.key.starts_with("cache.")) {
        let row = format!("| `{}` | {}", line.key, if line.default.is_empty() { "empty" } else { "`" });
        let found = page.lines().find(|found| found.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
        assert!(found.contains(line.default), "{found}: {}", line.default);
    }
    let rows = page.lines().filter(|line| line.starts_with("| `cache.")).count();
    assert_eq!(rows, Settings::default().describe().iter().filter(|line| line.key.starts_with("cache.")).count());
}
