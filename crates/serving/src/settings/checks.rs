//! What must hold between settings.

use super::Settings;
use super::namespaces;
use super::reader::Reader;

/// The namespace that is always there.
const DEFAULT_NAMESPACE: &str = "default";

/// Reports settings that do not go together. Those that are wrong by themselves are left out.
pub(super) fn check(settings: &Settings, reader: &mut Reader) {
    let s = settings;
    let at_most: [(&str, i128, &str, i128, &str); 9] = [
        (
            "topics.min_insync",
            i128::from(s.topics.min_insync),
            "topics.replication",
            i128::from(s.topics.replication),
            "or no record could be acknowledged",
        ),
        (
            "rpc.deadline_default_ms",
            i128::from(s.rpc.deadline_default_ms),
            "rpc.deadline_max_ms",
            i128::from(s.rpc.deadline_max_ms),
            "which bounds it",
        ),
        (
            "kafka.delivery_timeout_ms",
            i128::from(s.kafka.delivery_timeout_ms),
            "rpc.deadline_default_ms",
            i128::from(s.rpc.deadline_default_ms),
            "so that a caller learns what became of a record",
        ),
        (
            "kafka.linger_ms",
            i128::from(s.kafka.linger_ms),
            "kafka.delivery_timeout_ms",
            i128::from(s.kafka.delivery_timeout_ms),
            "which includes it",
        ),
        (
            "ingest.record_bytes_max",
            s.ingest.record_bytes_max as i128,
            "rpc.request_bytes_max",
            s.rpc.request_bytes_max as i128,
            "or the greatest record could not be sent",
        ),
        (
            "ingest.record_bytes_max",
            s.ingest.record_bytes_max as i128,
            "processor.batch_bytes_max",
            s.processor.batch_bytes_max as i128,
            "or the greatest record would fit no batch",
        ),
        (
            "ingest.batch_records_max",
            s.ingest.batch_records_max as i128,
            "ingest.stream_records_in_flight_max",
            s.ingest.stream_records_in_flight_max as i128,
            "or the greatest batch could not be published",
        ),
        (
            "ingest.stream_records_in_flight_max",
            s.ingest.stream_records_in_flight_max as i128,
            "ingest.records_in_flight_max",
            s.ingest.records_in_flight_max as i128,
            "which bounds it",
        ),
        (
            "stats.window_max_s",
            i128::from(s.stats.window_max_s),
            "processor.batches_kept_s",
            i128::from(s.processor.batches_kept_s),
            "from which a lost window is replayed",
        ),
    ];
    for (key, value, other, most, why) in at_most {
        if value > most {
            reader.report_pair(key, other, &format!("expected at most {other}, {why}"));
        }
    }
    namespaces::check(&s.cache, s.rpc.request_bytes_max, reader);
    if !s.cache.http_namespace.is_empty()
        && s.cache.http_namespace != DEFAULT_NAMESPACE
        && !s.cache_namespaces.contains_key(&s.cache.http_namespace)
    {
        reader.report("cache.http_namespace", "expected \"default\", or a namespace that the file declares");
    }
    let http = s.cache_namespaces.get(&s.cache.http_namespace).cloned().unwrap_or_else(|| s.cache.namespace_default());
    if s.cache.http_plain_keys && (http.eviction == "rank" || http.write_mode == "queued") {
        let expected = "expected false, as keys of a namespace with eviction by rank or queued writes lie in one place";
        reader.report("cache.http_plain_keys", expected);
    }
    if s.listen.grpc == s.listen.http && s.listen.grpc.port() != 0 {
        reader.report_pair("listen.http", "listen.grpc", "expected another address than listen.grpc");
    }
}
