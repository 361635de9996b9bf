use clap::ValueEnum;
use headwater_client::v1::cache::namespace::Capacity;
use headwater_client::v1::cache::{Eviction, Namespace, Overwrite, WriteMode};

use crate::commands::quantities::{duration, part, size};

/// Settings of a namespace, where they are said.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SettingsArgs {
    /// How much it holds, in each replica's memory or, with rank, in the store: entries, for example 10000, or bytes, for
    /// example 64MiB
    #[arg(long, value_parser = capacity, value_name = "ENTRIES|SIZE")]
    capacity: Option<Capacity>,
    /// What leaves first: of memory what is read seldom (tiny_lfu) or was not read for longest (lru); of the store the key
    /// that was read least (rank)
    #[arg(long, value_enum)]
    eviction: Option<EvictionArg>,
    /// How long a value stays fresh where its write does not say
    #[arg(long, value_parser = or_never, value_name = "DURATION|never")]
    ttl: Option<Ms>,
    /// What a write may ask for at most
    #[arg(long, value_parser = ms, value_name = "DURATION")]
    ttl_max: Option<Ms>,
    /// By how much the ttl is shortened at random, for example 10%
    #[arg(long, value_parser = percent, value_name = "PERCENT")]
    ttl_jitter: Option<i32>,
    /// How long a stale value may be served while it is made anew
    #[arg(long, value_parser = or_off, value_name = "DURATION|off")]
    stale_while_revalidate: Option<Ms>,
    /// How long a stale value may be served because the store or the loader fails
    #[arg(long, value_parser = or_off, value_name = "DURATION|off")]
    stale_if_error: Option<Ms>,
    /// How long it is remembered that a loader found nothing or failed
    #[arg(long, value_parser = or_off, value_name = "DURATION|off")]
    negative_ttl: Option<Ms>,
    /// When writes are applied: at once, or one after another in the order accepted
    #[arg(long, value_enum)]
    write_mode: Option<WriteModeArg>,
    /// What becomes of a write to a key that has a value
    #[arg(long, value_enum)]
    overwrite: Option<OverwriteArg>,
    /// Bytes of a key at most
    #[arg(long, value_parser = size, value_name = "SIZE")]
    key_max: Option<i64>,
    /// Bytes of a value at most
    #[arg(long, value_parser = size, value_name = "SIZE")]
    value_max: Option<i64>,
    /// Queued writes that may wait
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..), value_name = "WRITES")]
    queue_max: Option<i64>,
}

/// A setting by the name of its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Field {
    Capacity,
    Eviction,
    Ttl,
    TtlMax,
    TtlJitter,
    StaleWhileRevalidate,
    StaleIfError,
    NegativeTtl,
    WriteMode,
    Overwrite,
    KeyMax,
    ValueMax,
    QueueMax,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum EvictionArg {
    TinyLfu,
    Lru,
    Rank,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum WriteModeArg {
    AtOnce,
    Queued,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverwriteArg {
    Allowed,
    Refused,
}

/// Whole milliseconds.
#[derive(Clone, Copy, Debug)]
struct Ms(i64);

impl SettingsArgs {
    /// What was said, as the contract has it.
    pub(super) fn namespace(&self) -> Namespace {
        let eviction = self.eviction.map(|eviction| match eviction {
            EvictionArg::TinyLfu => Eviction::TinyLfu,
            EvictionArg::Lru => Eviction::Lru,
            EvictionArg::Rank => Eviction::Rank,
        });
        let write_mode = self.write_mode.map(|mode| match mode {
            WriteModeArg::AtOnce => WriteMode::AtOnce,
            WriteModeArg::Queued => WriteMode::Queued,
        });
        let overwrite = self.overwrite.map(|overwrite| match overwrite {
            OverwriteArg::Allowed => Overwrite::Allowed,
            OverwriteArg::Refused => Overwrite::Refused,
        });
        let ms = |ms: Option<Ms>| ms.map(|Ms(ms)| ms);
        Namespace {
            capacity: self.capacity,
            eviction: eviction.unwrap_or_default().into(),
            ttl_ms: ms(self.ttl),
            ttl_max_ms: ms(self.ttl_max),
            ttl_jitter_percent: self.ttl_jitter,
            stale_while_revalidate_ms: ms(self.stale_while_revalidate),
            stale_if_error_ms: ms(self.stale_if_error),
            negative_ttl_ms: ms(self.negative_ttl),
            write_mode: write_mode.unwrap_or_default().into(),
            overwrite: overwrite.unwrap_or_default().into(),
            key_bytes_max: self.key_max,
            value_bytes_max: self.value_max,
            queue_max: self.queue_max,
            ..Namespace::default()
        }
    }

    /// Fields of the contract's Namespace that were said.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let capacity = self.capacity.map(|capacity| match capacity {
            Capacity::EntriesMax(_) => "entries_max",
            Capacity::BytesMax(_) => "bytes_max",
        });
        let given = [
            (Field::Eviction, self.eviction.is_some()),
            (Field::Ttl, self.ttl.is_some()),
            (Field::TtlMax, self.ttl_max.is_some()),
            (Field::TtlJitter, self.ttl_jitter.is_some()),
            (Field::StaleWhileRevalidate, self.stale_while_revalidate.is_some()),
            (Field::StaleIfError, self.stale_if_error.is_some()),
            (Field::NegativeTtl, self.negative_ttl.is_some()),
            (Field::WriteMode, self.write_mode.is_some()),
            (Field::Overwrite, self.overwrite.is_some()),
            (Field::KeyMax, self.key_max.is_some()),
            (Field::ValueMax, self.value_max.is_some()),
            (Field::QueueMax, self.queue_max.is_some()),
        ];
        let others = given.into_iter().filter(|(_, given)| *given).flat_map(|(field, _)| field.paths());
        capacity.iter().chain(others).copied().collect()
    }
}

impl Field {
    /// Its fields in the contract's Namespace.
    pub(super) fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Capacity => &["entries_max", "bytes_max"],
            Self::Eviction => &["eviction"],
            Self::Ttl => &["ttl_ms"],
            Self::TtlMax => &["ttl_max_ms"],
            Self::TtlJitter => &["ttl_jitter_percent"],
            Self::StaleWhileRevalidate => &["stale_while_revalidate_ms"],
            Self::StaleIfError => &["stale_if_error_ms"],
            Self::NegativeTtl => &["negative_ttl_ms"],
            Self::WriteMode => &["write_mode"],
            Self::Overwrite => &["overwrite"],
            Self::KeyMax => &["key_bytes_max"],
            Self::ValueMax => &["value_bytes_max"],
            Self::QueueMax => &["queue_max"],
        }
    }
}

fn capacity(text: &str) -> Result<Capacity, String> {
    if let Ok(entries) = text.replace(['_', ','], "").parse::<i64>() {
        return if entries > 0 { Ok(Capacity::EntriesMax(entries)) } else { Err("at least 1 entry".into()) };
    }
    size(text).map(Capacity::BytesMax).map_err(|_| {
        format!("{text:?} is no capacity: write entries, for example 10000, or a size with its unit, for example 64MiB")
    })
}

fn ms(text: &str) -> Result<Ms, String> {
    let millis = duration(text)?.as_millis();
    i64::try_from(millis).ok().filter(|&ms| ms > 0).map(Ms).ok_or_else(|| format!("{text:?} is less than 1ms"))
}

fn or_never(text: &str) -> Result<Ms, String> {
    if text == "never" { Ok(Ms(0)) } else { ms(text).map_err(|wrong| format!("{wrong}, or never")) }
}

fn or_off(text: &str) -> Result<Ms, String> {
    if text == "off" { Ok(Ms(0)) } else { ms(text).map_err(|wrong| format!("{wrong}, or off")) }
}

fn percent(text: &str) -> Result<i32, String> {
    let wrong = || format!("{text:?} is no whole percent: write 0% to 100%, for example 10%");
    if !text.trim_end().ends_with('%') {
        return Err(wrong());
    }
    let percent = part(text)? * 100.0;
    if (percent - percent.round()).abs() < 1e-9 { Ok(percent.round() as i32) } else { Err(wrong()) }
}
