use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion, Value, cmd};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    RedisStoreOptions,
    failure::Failure,
    node::{Node, Unanswered},
    script::Script,
    topology::{Address, Topology},
};
use crate::StoreError;

/// How often a call is sent, at most: to where it is redirected, and again where nothing was done.
const SENDS_MAX: usize = 6;

/// How long to wait before a call is sent again that a Cluster cannot serve while it moves a slot.
const AGAIN_AFTER: Duration = Duration::from_millis(30);

/// Which nodes have which slots is asked this often at most.
const TOPOLOGY_EVERY: Duration = Duration::from_millis(100);

/// Commands for one slot that are sent together and answered together.
pub(super) struct Call {
    pub(super) slot: u16,
    /// One, unless it may be repeated.
    pub(super) commands: Vec<Cmd>,
    /// Whether it changes nothing, or nothing more when it is done again.
    pub(super) may_repeat: bool,
    /// The script that its one command runs.
    pub(super) script: Option<&'static Script>,
}

/// One answer per command of a call, none of them an error; or the first that is one.
pub(super) type Answer = Result<Vec<Value>, Failure>;

/// Brings calls to the nodes that have their slots.
///
/// The Cluster's driver of redis-rs is not used: it repeats what may have been done, and has no pipelines of several slots.
pub(super) struct Router {
    is_cluster: bool,
    seeds: Vec<Address>,
    /// How a node is reached, but for its address.
    like: ConnectionInfo,
    connect_timeout: Duration,
    response_timeout: Duration,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    topology: Mutex<Option<Arc<Topology>>>,
    is_outdated: AtomicBool,
    asking: tokio::sync::Mutex<Option<Instant>>,
}

/// A call on its way.
struct Way {
    index: usize,
    call: Call,
    /// Where it was redirected to, and whether that node has to be told so.
    redirect: Option<(Address, bool)>,
    was_lost: bool,
    /// What other nodes answered already, of commands that read: a key may have moved between them.
    answered: Vec<Option<Value>>,
}

/// What becomes of a call that was sent.
enum Fate {
    Ended(Answer),
    /// What it failed with meanwhile.
    Again(Way, Wait, Failure),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Not,
    ALittle,
}

impl Call {
    /// What only reads.
    pub(super) fn read(slot: u16, commands: Vec<Cmd>) -> Self {
        Self { slot, commands, may_repeat: true, script: None }
    }

    /// A script that only reads, or changes nothing more when it runs again.
    pub(super) fn repeatable(slot: u16, script: &'static Script, command: Cmd) -> Self {
        Self { slot, commands: vec![command], may_repeat: true, script: Some(script) }
    }

    /// A script that must not run twice.
    pub(super) fn once(slot: u16, script: &'static Script, command: Cmd) -> Self {
        Self { slot, commands: vec![command], may_repeat: false, script: Some(script) }
    }
}

impl Way {
    /// The answers to all commands: those that came before, and these to the others.
    fn whole(&mut self, answers: Vec<Value>) -> Vec<Value> {
        if self.answered.is_empty() {
            return answers;
        }
        let mut answers = answers.into_iter();
        let answered = std::mem::take(&mut self.answered).into_iter();
        answered.map(|before| before.or_else(|| answers.next()).unwrap_or(Value::Nil)).collect()
    }

    /// Keeps the answers that came, in the place of those that are open.
    fn keep(&mut self, answers: Vec<Option<Value>>) {
        if self.answered.is_empty() {
            self.answered = answers;
            return;
        }
        let mut answers = answers.into_iter();
        for open in self.answered.iter_mut().filter(|before| before.is_none()) {
            *open = answers.next().flatten();
        }
    }
}

impl Router {
    pub(super) fn new(options: &RedisStoreOptions) -> Result<Self, StoreError> {
        let unusable = |_| StoreError::Refused("an address of Redis cannot be used".into());
        let infos = options.urls.iter().map(|url| url.as_str().into_connection_info().map_err(unusable));
        let infos = infos.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = infos.first() else {
            return Err(StoreError::Refused("Redis has no address".into()));
        };
        if infos.len() > 1 && !options.cluster {
            return Err(StoreError::Refused("Redis has one address, unless it is a Cluster".into()));
        }
        if options.connect_timeout.is_zero() || options.response_timeout.is_zero() {
            return Err(StoreError::Refused("the time that Redis has is 0".into()));
        }
        let settings = first.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        let like = first.clone().set_redis_settings(settings);
        let router = Self {
            is_cluster: options.cluster,
            seeds: infos.iter().map(|info| address_of(info.addr())).collect(),
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            nodes: Mutex::default(),
            topology: Mutex::new(None),
            is_outdated: AtomicBool::new(false),
            asking: tokio::sync::Mutex::default(),
            like,
        };
        if !options.cluster {
            *router.topology.lock() = Some(Arc::new(Topology::of_one(router.seeds[0].clone())));
        }
        Ok(router)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Does one call.
    pub(super) async fn run(&self, call: Call) -> Answer {
        self.run_all(vec![call]).await.pop().unwrap_or_else(|| Err(Failure::Away("no answer".into())))
    }

    /// Does calls, those of a node in one round trip and those of different nodes at once: one answer each, in order. Takes
    /// as long as connecting and an answer may take together.
    pub(super) async fn run_all(&self, calls: Vec<Call>) -> Vec<Answer> {
        let deadline = Instant::now() + self.connect_timeout + self.response_timeout;
        let late = || Err(Failure::Away("no answer in time".into()));
        let mut answers: Vec<Answer> = Vec::with_capacity(calls.len());
        answers.resize_with(calls.len(), late);
        let ways = calls.into_iter().enumerate();
        let mut ways: Vec<Way> = ways
            .map(|(index, call)| Way { index, call, redirect: None, was_lost: false, answered: Vec::new() })
            .collect();
        let mut sends = 0;
        while sends < SENDS_MAX {
            let round = self.round(&mut answers, std::mem::take(&mut ways));
            let Ok(again) = timeout_at(deadline, round).await else { break };
            if again.is_empty() {
                break;
            }
            if again.iter().any(|(_, wait)| *wait == Wait::ALittle) {
                if Instant::now() + AGAIN_AFTER > deadline {
                    break;
                }
                sleep(AGAIN_AFTER).await;
            } else {
                sends += 1;
            }
            ways = again.into_iter().map(|(way, _)| way).collect();
        }
        answers
    }

    /// Sends calls once. Gives those that are to be sent again, in order; what they failed with stands in their answers.
    async fn round(&self, answers: &mut [Answer], ways: Vec<Way>) -> Vec<(Way, Wait)> {
        let topology = match self.topology().await {
            Ok(topology) => topology,
            Err(failure) => {
                for way in ways {
                    answers[way.index] = Err(failure.clone());
                }
                return Vec::new();
            }
        };
        let mut groups: BTreeMap<Address, Vec<Way>> = BTreeMap::new();
        for way in ways {
            let address = match &way.redirect {
                Some((address, _)) => address.clone(),
                None => match topology.primary_of(way.call.slot) {
                    Some(index) => topology.primaries[index].clone(),
                    None => {
                        self.is_outdated.store(true, Ordering::Relaxed);
                        answers[way.index] = Err(Failure::Away("no node has the key's slot".into()));
                        continue;
                    }
                },
            };
            groups.entry(address).or_default().push(way);
        }
        let mut again = Vec::new();
        let sent = join_all(groups.into_iter().map(|(address, ways)| self.send(address, ways))).await;
        for fate in sent.into_iter().flatten() {
            match fate {
                (index, Fate::Ended(answer)) => answers[index] = answer,
                (index, Fate::Again(way, wait, failure)) => {
                    answers[index] = Err(failure);
                    again.push((way, wait));
                }
            }
        }
        // Of one key the earlier goes first again.
        again.sort_by_key(|(way, _)| way.index);
        again
    }

    async fn send(&self, address: Address, ways: Vec<Way>) -> Vec<(usize, Fate)> {
        let mut commands = Pipeline::with_capacity(ways.len());
        let mut counts = Vec::with_capacity(ways.len());
        let mut ways: Vec<Way> = ways;
        for way in &mut ways {
            let is_asking = matches!(way.redirect, Some((_, true)));
            counts.push((way.call.commands.len(), is_asking));
            for command in way.call.commands.drain(..) {
                if is_asking {
                    commands.add_command(cmd("ASKING"));
                }
                commands.add_command(command);
            }
        }
        let outcome = self.node(&address).send(&commands).await;
        if let Err(unanswered) = &outcome
            && self.is_cluster
            && unanswered.failure.is_of_topology()
        {
            self.is_outdated.store(true, Ordering::Relaxed);
        }
        let mut sent = commands.cmd_iter();
        let (mut values, unanswered) = match outcome {
            Ok(values) => (values.into_iter(), None),
            Err(unanswered) => (Vec::new().into_iter(), Some(unanswered)),
        };
        let mut fates = Vec::with_capacity(ways.len());
        for (mut way, (count, is_asking)) in ways.into_iter().zip(counts) {
            let index = way.index;
            let steps = if is_asking { 2 } else { 1 };
            let own = sent.by_ref().take(count * steps).skip(steps - 1).step_by(steps);
            if let Some(Unanswered { failure, is_sent }) = &unanswered {
                let may_repeat = way.call.may_repeat && !way.was_lost && *is_sent && !is_slow(failure);
                if may_repeat {
                    way.call.commands = own.cloned().collect();
                    way.was_lost = true;
                    way.redirect = None;
                    fates.push((index, Fate::Again(way, Wait::Not, failure.clone())));
                } else {
                    own.for_each(drop);
                    fates.push((index, Fate::Ended(Err(failure.clone()))));
                }
                continue;
            }
            let answers: Vec<Value> = values.by_ref().take(count * steps).skip(steps - 1).step_by(steps).collect();
            let Some(Value::ServerError(error)) = answers.iter().find(|value| matches!(value, Value::ServerError(_)))
            else {
                own.for_each(drop);
                fates.push((index, Fate::Ended(Ok(way.whole(answers)))));
                continue;
            };
            let failure = Failure::Answered(error.clone());
            let detail = error.details().unwrap_or_default();
            let wait = match error.code() {
                "MOVED" | "ASK" if self.is_cluster => match redirected(detail, &address) {
                    Some(to) => {
                        let is_asked = error.code() == "ASK";
                        if !is_asked {
                            self.is_outdated.store(true, Ordering::Relaxed);
                        }
                        way.redirect = Some((to, is_asked));
                        Some(Wait::Not)
                    }
                    None => None,
                },
                "TRYAGAIN" => Some(Wait::ALittle),
                "NOSCRIPT" => way.call.script.map(|_| Wait::Not),
                _ => None,
            };
            if failure.is_of_topology() {
                self.is_outdated.store(true, Ordering::Relaxed);
                if !self.is_cluster {
                    // What was the primary is not any more; behind the same address there may be another.
                    self.node(&address).forget_connection();
                }
            }
            match wait {
                Some(wait) if error.code() == "ASK" && count > 1 => {
                    // Only what reads keys that have left is asked there: the others are here still.
                    let is_asked = |value: &Value| matches!(value, Value::ServerError(error) if error.code() == "ASK");
                    let again = own.zip(&answers).filter(|(_, answer)| is_asked(answer));
                    way.call.commands = again.map(|(command, _)| command.clone()).collect();
                    let answers = answers.into_iter().map(|answer| (!is_asked(&answer)).then_some(answer)).collect();
                    way.keep(answers);
                    fates.push((index, Fate::Again(way, wait, failure)));
                }
                Some(wait) => {
                    let is_unknown = error.code() == "NOSCRIPT";
                    way.call.commands = own
                        .map(|command| match way.call.script {
                            Some(script) if is_unknown => script.whole(command),
                            _ => command.clone(),
                        })
                        .collect();
                    fates.push((index, Fate::Again(way, wait, failure)));
                }
                None => {
                    own.for_each(drop);
                    fates.push((index, Fate::Ended(Err(failure))));
                }
            }
        }
        fates
    }

    /// Sends one command to every primary: its answer, or its failure, and where it came from.
    pub(super) async fn on_primaries(&self, command: &Cmd) -> Result<Vec<(Address, Answer)>, Failure> {
        let topology = self.topology().await?;
        let calls = topology
            .primaries
            .iter()
            .map(|address| async move { (address.clone(), self.on(address, vec![command.clone()]).await) });
        Ok(join_all(calls).await)
    }

    /// Sends commands to one node in one round trip.
    pub(super) async fn on(&self, address: &Address, commands: Vec<Cmd>) -> Answer {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command);
        }
        let values = self.node(address).send(&pipeline).await.map_err(|unanswered| unanswered.failure)?;
        match values.iter().find(|value| matches!(value, Value::ServerError(_))) {
            Some(Value::ServerError(error)) => Err(Failure::Answered(error.clone())),
            _ => Ok(values),
        }
    }

    /// The client of a node, to make a connection of one's own.
    pub(super) fn client(&self, address: &Address) -> Client {
        self.node(address).client().clone()
    }

    /// Which node has which slots, as far as it is known; asked anew where it seems to be outdated.
    pub(super) async fn topology(&self) -> Result<Arc<Topology>, Failure> {
        let known = self.topology.lock().clone();
        match known {
            Some(topology) if !self.is_cluster || !self.is_outdated.load(Ordering::Relaxed) => Ok(topology),
            known => {
                let mut last_asked = self.asking.lock().await;
                // Somebody else may have asked while this one waited.
                let current = self.topology.lock().clone();
                let is_recent = last_asked.is_some_and(|at| at.elapsed() < TOPOLOGY_EVERY);
                match current {
                    Some(current) if is_recent => Ok(current),
                    _ => {
                        let asked = self.ask_topology(known.as_deref()).await;
                        *last_asked = Some(Instant::now());
                        match (asked, known) {
                            (Ok(topology), _) => {
                                let topology = Arc::new(topology);
                                *self.topology.lock() = Some(topology.clone());
                                self.is_outdated.store(false, Ordering::Relaxed);
                                let known = self.known(&topology);
                                self.nodes.lock().retain(|address, _| known.contains(address));
                                Ok(topology)
                            }
                            // The nodes that are left still have their slots.
                            (Err(_), Some(known)) => Ok(known),
                            (Err(failure), None) => Err(failure),
                        }
                    }
                }
            }
        }
    }

    async fn ask_topology(&self, known: Option<&Topology>) -> Result<Topology, Failure> {
        let mut addresses: Vec<Address> = known.map(|known| known.primaries.clone()).unwrap_or_default();
        addresses.extend(self.seeds.iter().filter(|seed| !addresses.contains(seed)).cloned().collect::<Vec<_>>());
        let asked = addresses.iter().map(|address| async move {
            let answer = self.on(address, vec![cmd("CLUSTER").arg("SLOTS").take()]).await?;
            let topology = answer.first().and_then(|slots| Topology::read(slots, address));
            topology.ok_or_else(|| Failure::Away("the cluster serves no slots".into()))
        });
        // All are asked at once: one that is away must not keep the others waiting.
        let mut asked: futures::stream::FuturesUnordered<_> = asked.collect();
        let mut failure = Failure::Away("no node answers".into());
        while let Some(answer) = futures::StreamExt::next(&mut asked).await {
            match answer {
                Ok(topology) => return Ok(topology),
                Err(Failure::Away(_)) => {}
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    fn known(&self, topology: &Topology) -> Vec<Address> {
        topology.primaries.iter().chain(&self.seeds).cloned().collect()
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(address) {
            return node.clone();
        }
        let (host, port) = address.clone();
        let addr = match self.like.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            ConnectionAddr::Unix(path) => ConnectionAddr::Unix(path.clone()),
            _ => ConnectionAddr::Tcp(host, port),
        };
        // Opening only takes what was parsed: it cannot fail, and needs no network.
        let client = Client::open(self.like.clone().set_addr(addr)).expect("an address that was parsed");
        let node = Arc::new(Node::new(client, self.connect_timeout, self.response_timeout));
        nodes.insert(address.clone(), node.clone());
        node
    }
}

fn address_of(addr: &ConnectionAddr) -> Address {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        ConnectionAddr::Unix(path) => (path.display().to_string(), 0),
        _ => (String::new(), 0),
    }
}

/// Where `MOVED` and `ASK` redirect to: `<slot> <host>:<port>`, without a host where it is the one that answers.
fn redirected(detail: &str, answered: &Address) -> Option<Address> {
    let (host, port) = detail.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
    let host = if host.is_empty() { &answered.0 } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

/// Whether the server did not answer in time: it would not the second time.
fn is_slow(failure: &Failure) -> bool {
    matches!(failure, Failure::Away(detail) if detail.starts_with("no answer within"))
}
