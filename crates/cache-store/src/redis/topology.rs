use ::redis::Value;

/// Where a node listens: host and port.
pub(super) type Address = (String, u16);

/// Which primary has which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    /// The primaries that have slots, each once.
    pub(super) primaries: Vec<Address>,
    /// What the Cluster calls each of them, where it says.
    ids: Vec<Option<String>>,
    /// First and last slot and the index of their primary, in order.
    ranges: Vec<(u16, u16, usize)>,
}

impl Topology {
    /// One node that has everything.
    pub(super) fn of_one(address: Address) -> Self {
        Self { primaries: vec![address], ids: vec![None], ranges: vec![(0, u16::MAX, 0)] }
    }

    /// What `CLUSTER SLOTS` of a node tells. None where it cannot be read, or no slot is served.
    pub(super) fn read(slots: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = slots else { return None };
        let mut topology = Self::default();
        for range in ranges {
            let Value::Array(fields) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = fields.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), rest @ ..] = primary.as_slice() else { return None };
            let host = match text(host) {
                Some(host) if host == "?" => return None,
                Some(host) if !host.is_empty() => host,
                // The node does not know its own name: it is the one that was asked.
                _ => asked.0.clone(),
            };
            let address = (host, u16::try_from(*port).ok()?);
            let known = topology.primaries.iter().position(|primary| *primary == address);
            let index = known.unwrap_or_else(|| {
                topology.primaries.push(address);
                topology.ids.push(rest.first().and_then(text));
                topology.primaries.len() - 1
            });
            topology.ranges.push((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, index));
        }
        topology.ranges.sort_unstable();
        (!topology.ranges.is_empty()).then_some(topology)
    }

    /// Where a primary that has slots listens, in the way in which clients are to reach it.
    pub(super) fn address_of(&self, id: &str) -> Option<&Address> {
        let index = self.ids.iter().position(|known| known.as_deref() == Some(id))?;
        self.primaries.get(index)
    }

    /// The index of the primary that has a slot, where one has it.
    pub(super) fn primary_of(&self, slot: u16) -> Option<usize> {
        let index = self.ranges.partition_point(|(_, last, _)| *last < slot);
        self.ranges.get(index).filter(|(first, ..)| *first <= slot).map(|(.., primary)| *primary)
    }
}

/// A primary, with or without slots, as `CLUSTER NODES` tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Primary {
    pub(super) id: String,
    pub(super) address: Address,
    pub(super) slots: Vec<String>,
}

/// The primaries that `CLUSTER NODES` lists, in the order of their ids: two nodes that see the same tell the same.
pub(super) fn primaries(nodes: &str, asked: &Address) -> Option<Vec<Primary>> {
    let mut primaries = Vec::new();
    for line in nodes.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [id, address, flags, _, _, _, _, _, slots @ ..] = fields.as_slice() else { return None };
        let mut flags = flags.split(',');
        if !flags.clone().any(|flag| flag == "master")
            || flags.any(|flag| matches!(flag, "fail" | "noaddr" | "handshake"))
        {
            continue;
        }
        let (host, port) = address.split('@').next()?.rsplit_once(':')?;
        let host = if host.is_empty() { &asked.0 } else { host };
        // In brackets: slots that are being moved, which only the nodes between which they are know.
        let mut slots: Vec<String> =
            slots.iter().filter(|slots| !slots.starts_with('[')).map(|slots| (*slots).to_owned()).collect();
        slots.sort_unstable();
        primaries.push(Primary { id: (*id).to_owned(), address: (host.to_owned(), port.parse().ok()?), slots });
    }
    primaries.sort_unstable();
    Some(primaries)
}

/// Where `MOVED` and `ASK` redirect to: `<slot> <host>:<port>`, without a host where it is the one that answers.
pub(super) fn redirected(detail: &str, answered: &Address) -> Option<Address> {
    let (host, port) = detail.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    let host = if host.is_empty() { &answered.0 } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

/// A text, in whatever way it was answered.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}
