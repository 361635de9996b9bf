use std::io::{self, Write};
use std::time::Duration;

use headwater_client::v1::cache::namespace::Capacity;
use headwater_client::v1::cache::{Eviction, Namespace, Origin, Overwrite, Usage, WriteMode};

use super::super::spelling::on_a_line;
use crate::commands::columns::columns;
use crate::commands::quantities::{grouped, spelled, spelled_size};

/// Prints a row for each namespace.
pub(super) fn list(namespaces: &[Namespace], out: &mut dyn Write) -> io::Result<()> {
    let mut rows =
        vec![["NAMESPACE", "CAPACITY", "EVICTION", "TTL", "WRITES", "OVERWRITE", "FROM"].map(str::to_owned).to_vec()];
    for namespace in namespaces {
        rows.push(vec![
            namespace.name.clone(),
            capacity(namespace),
            eviction(namespace).to_owned(),
            ttl(namespace),
            writes(namespace).to_owned(),
            overwrite(namespace).to_owned(),
            origin(namespace).to_owned(),
        ]);
    }
    columns(&rows, &[], out)
}

/// Prints everything about a namespace.
pub(super) fn show(namespace: &Namespace, usage: Option<&Usage>, out: &mut dyn Write) -> io::Result<()> {
    let place = match namespace.eviction() {
        Eviction::Rank => "in the store",
        _ => "in each replica's memory",
    };
    let mut rows = vec![
        row("namespace", format!("{}, revision {}", namespace.name, namespace.revision)),
        row("from", origin(namespace)),
        row("capacity", format!("{} {place}", capacity(namespace))),
        row("eviction", eviction(namespace)),
        row("ttl", ttl(namespace)),
        row("ttl at most", span(namespace.ttl_max_ms, "no limit")),
        row("ttl jitter", namespace.ttl_jitter_percent.map_or_else(String::new, |percent| format!("{percent}%"))),
        row("stale while revalidate", span(namespace.stale_while_revalidate_ms, "off")),
        row("stale if error", span(namespace.stale_if_error_ms, "off")),
        row("negative ttl", span(namespace.negative_ttl_ms, "off")),
        row("writes", writes(namespace)),
        row("overwrite", overwrite(namespace)),
        row("key at most", bytes(namespace.key_bytes_max)),
        row("value at most", bytes(namespace.value_bytes_max)),
    ];
    if namespace.write_mode() == WriteMode::Queued {
        rows.push(row("queue at most", format!("{} writes", count(namespace.queue_max()))));
    }
    let prefix = match on_a_line(&namespace.store_prefix) {
        none if none.is_empty() => "as they are".to_owned(),
        prefix => format!("begin with {prefix}"),
    };
    rows.push(row("keys in the store", prefix));
    if let Some(usage) = usage {
        let l1 = format!("{}, {}", entries(usage.l1_entries), spelled_size(usage.l1_bytes.unsigned_abs()));
        rows.push(row("memory of this replica", l1));
        if let Some(held) = usage.store_entries {
            rows.push(row("in the store", entries(held)));
        }
        if namespace.write_mode() == WriteMode::Queued {
            rows.push(row("queued", format!("{} writes", count(usage.queued_writes))));
        }
        let durability = if usage.durability.is_empty() { "not asked yet" } else { &usage.durability };
        rows.push(row("durability", durability));
    }
    columns(&rows, &[], out)
}

fn row(name: &str, text: impl Into<String>) -> Vec<String> {
    vec![name.to_owned(), text.into()]
}

fn capacity(namespace: &Namespace) -> String {
    match namespace.capacity {
        Some(Capacity::EntriesMax(most)) => entries(most),
        Some(Capacity::BytesMax(bytes)) => spelled_size(bytes.unsigned_abs()),
        None => "unknown".to_owned(),
    }
}

fn eviction(namespace: &Namespace) -> &'static str {
    match namespace.eviction() {
        Eviction::TinyLfu => "tiny_lfu",
        Eviction::Lru => "lru",
        Eviction::Rank => "rank",
        Eviction::Unspecified => "unknown",
    }
}

fn writes(namespace: &Namespace) -> &'static str {
    match namespace.write_mode() {
        WriteMode::AtOnce => "at once",
        WriteMode::Queued => "queued",
        WriteMode::Unspecified => "unknown",
    }
}

fn overwrite(namespace: &Namespace) -> &'static str {
    match namespace.overwrite() {
        Overwrite::Allowed => "allowed",
        Overwrite::Refused => "refused",
        Overwrite::Unspecified => "unknown",
    }
}

fn origin(namespace: &Namespace) -> &'static str {
    match namespace.origin() {
        Origin::Settings => "settings",
        Origin::Api => "create",
        Origin::Unspecified => "unknown",
    }
}

fn ttl(namespace: &Namespace) -> String {
    span(namespace.ttl_ms, "never expires")
}

/// `zero`: what 0 means.
fn span(ms: Option<i64>, zero: &str) -> String {
    match ms {
        None => "unknown".to_owned(),
        Some(0) => zero.to_owned(),
        Some(ms) => spelled(Duration::from_millis(ms.unsigned_abs())),
    }
}

fn bytes(bytes: Option<i64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |bytes| spelled_size(bytes.unsigned_abs()))
}

fn entries(number: i64) -> String {
    format!("{} {}", count(number), if number == 1 { "entry" } else { "entries" })
}

fn count(number: i64) -> String {
    grouped(number.unsigned_abs())
}
