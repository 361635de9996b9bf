use std::collections::BTreeMap;

use super::reader::Found;
use super::rules::Given;
use super::{Origin, SettingsError};

const URL: &str = "cache.redis_url";
const HOST: &str = "REDIS_HOST";
const PORT: &str = "REDIS_PORT";
const DB: &str = "REDIS_DB";

/// What the proxies that the cache replaces were told by: REDIS_HOST, REDIS_PORT and REDIS_DB are `cache.redis_url` where
/// nothing else sets it. Gives what is wrong with them.
pub(super) fn add(env: &BTreeMap<String, String>, found: &mut Found) -> Vec<SettingsError> {
    let set = |name: &'static str| {
        // Kubernetes makes a REDIS_PORT of its own for a service of the name "redis".
        let value = env.get(name).map(|value| value.trim()).filter(|value| !value.contains("://"));
        value.filter(|value| !value.is_empty()).map(|value| (name, value))
    };
    let (host, port, db) = (set(HOST), set(PORT), set(DB));
    let Some((first, _)) = host.or(port).or(db).filter(|_| !found.contains_key(URL)) else { return Vec::new() };
    let mut errors = Vec::new();
    let mut wrong = |(name, value): (&str, &str), expected: &str| {
        errors.push(SettingsError {
            key: name.to_owned(),
            origin: Origin::Environment(name.to_owned()),
            value: value.to_owned(),
            expected: format!("expected {expected}; it is understood as a part of {URL}"),
        });
    };
    let is_host = |host: &str| host.chars().all(|c| c.is_ascii_graphic() && !"/@?#".contains(c));
    if let Some(host) = host.filter(|(_, host)| !is_host(host)) {
        wrong(host, "the name or the address of a host");
    }
    if let Some(port) = port.filter(|(_, port)| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        wrong(port, "a port from 1 to 65535");
    }
    if let Some(db) = db.filter(|(_, db)| db.parse::<u32>().is_err()) {
        wrong(db, "the number of a database");
    }
    if errors.is_empty() {
        let of = |part: Option<(&str, &str)>, default: &str| part.map_or(default, |(_, value)| value).to_owned();
        let host = of(host, "127.0.0.1");
        // An IPv6 address needs brackets before a port.
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        let url = format!("redis://{host}:{}/{}", of(port, "6379"), of(db, "0"));
        found.insert(URL, (Given::Text(url), Origin::Environment(first.to_owned())));
    }
    errors
}
