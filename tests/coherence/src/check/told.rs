//! Operations in words.

use crate::history::{Call, Condition, Ended, Layer, Operation};

/// An operation on one line.
pub(super) fn told(operation: &Operation) -> String {
    let Operation { client, replica, call, ended, invoked_at_us, returned_at_us, .. } = operation;
    let (call, ended) = (asked(call), answered(ended));
    format!("{client} through {replica}: {call}: {ended} [{} – {} ms]", ms(*invoked_at_us), ms(*returned_at_us))
}

/// Microseconds as milliseconds.
pub(super) fn ms(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

fn asked(call: &Call) -> String {
    match call {
        Call::Get { no_cache, lease } => {
            let no_cache = if *no_cache { " no_cache" } else { "" };
            let lease = if *lease { " lease" } else { "" };
            format!("get{no_cache}{lease}")
        }
        Call::Set { value } => format!("set {value}"),
        Call::SetIf { value, condition, loaded_at_us } => {
            let condition = match condition {
                Condition::Absent => "absent".to_owned(),
                Condition::Present => "present".to_owned(),
                Condition::Value(value) => format!("it is {value}"),
                Condition::Lease(lease) => format!("lease {lease} holds"),
            };
            let loaded = loaded_at_us.map(|at_us| format!(" (loaded at {} ms)", ms(at_us))).unwrap_or_default();
            format!("set {value}{loaded} if {condition}")
        }
        Call::Increment { delta } => format!("increment by {delta}"),
        Call::Delete => "delete".to_owned(),
        Call::Load { value } => format!("load {value}"),
    }
}

fn answered(ended: &Ended) -> String {
    match ended {
        Ended::Read { value, layer, is_stale, is_collapsed, lease } => {
            let value = value.as_deref().unwrap_or("nothing");
            let stale = if *is_stale { ", stale" } else { "" };
            let collapsed = if *is_collapsed { ", collapsed" } else { "" };
            let lease = lease.as_ref().map(|lease| format!(", lease {lease}")).unwrap_or_default();
            format!("{value} from {}{stale}{collapsed}{lease}", layer_name(*layer))
        }
        Ended::Wrote { is_done, existed, sum } => {
            let done = if *is_done { "done" } else { "not done" };
            let existed = match existed {
                None => "",
                Some(true) => ", there was a value",
                Some(false) => ", there was none",
            };
            let sum = sum.map(|sum| format!(", {sum}")).unwrap_or_default();
            format!("{done}{existed}{sum}")
        }
        Ended::Failed { why } => format!("refused ({why})"),
        Ended::Unknown { why } => format!("no answer ({why})"),
    }
}

/// Who answered.
pub(super) fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::L1 => "l1",
        Layer::L2 => "l2",
        Layer::Loader => "loader",
    }
}
