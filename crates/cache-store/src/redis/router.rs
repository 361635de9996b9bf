use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion, Value, cmd};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    RedisStoreOptions,
    failure::Failure,
    node::Node,
    topology::{Address, Topology},
    way::{Answer, Call, Fate, Place, Wait, Way},
};
use crate::StoreError;

/// How often a call is sent, at most: to where it is redirected, and again where nothing was done.
const SENDS_MAX: usize = 6;

/// How long to wait before a call is sent again that a Cluster cannot serve while it moves a slot.
const AGAIN_AFTER: Duration = Duration::from_millis(30);

/// Which nodes have which slots is asked this often at most.
const TOPOLOGY_EVERY: Duration = Duration::from_millis(100);

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
    view: Mutex<Option<Arc<View>>>,
    is_outdated: AtomicBool,
    asking: tokio::sync::Mutex<Option<Instant>>,
}

/// The nodes that have slots, in the topology's order.
pub(super) struct View {
    pub(super) topology: Topology,
    nodes: Vec<Arc<Node>>,
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
            view: Mutex::new(None),
            is_outdated: AtomicBool::new(false),
            asking: tokio::sync::Mutex::default(),
            like,
        };
        if !options.cluster {
            router.see(Topology::of_one(router.seeds[0].clone()));
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
        let node = match self.view().await {
            Ok(view) => view.node_of(call.slot).cloned(),
            Err(failure) => return Err(failure),
        };
        if let Some(node) = node {
            let deadline = Instant::now() + self.connect_timeout + self.response_timeout;
            return match self.send(&node, vec![Way::new(0, call)]).await.pop() {
                Some((_, Fate::Ended(answer))) => answer,
                Some((_, Fate::Again(way, wait, failure))) => {
                    let mut answers = [Err(failure)];
                    self.go_on(&mut answers, vec![(way, wait)], deadline).await;
                    let [answer] = answers;
                    answer
                }
                None => Err(Failure::Away("no answer".into())),
            };
        }
        self.run_all(vec![call]).await.pop().unwrap_or_else(|| Err(Failure::Away("no answer".into())))
    }

    /// Does calls, those of a node in one round trip and those of different nodes at once: one answer each, in order. Takes
    /// as long as connecting and an answer may take together.
    pub(super) async fn run_all(&self, calls: Vec<Call>) -> Vec<Answer> {
        let deadline = Instant::now() + self.connect_timeout + self.response_timeout;
        let late = || Err(Failure::Away("no answer in time".into()));
        let mut answers: Vec<Answer> = Vec::with_capacity(calls.len());
        answers.resize_with(calls.len(), late);
        let ways = calls.into_iter().enumerate().map(|(index, call)| (Way::new(index, call), Wait::Not));
        self.go_on(&mut answers, ways.collect(), deadline).await;
        answers
    }

    /// Sends calls until each has its answer or the time is over.
    async fn go_on(&self, answers: &mut [Answer], mut ways: Vec<(Way, Wait)>, deadline: Instant) {
        let mut sends = 0;
        while sends < SENDS_MAX && !ways.is_empty() {
            if ways.iter().any(|(_, wait)| *wait == Wait::ALittle) {
                if Instant::now() + AGAIN_AFTER > deadline {
                    return;
                }
                sleep(AGAIN_AFTER).await;
            } else {
                sends += 1;
            }
            let round = self.round(answers, ways.into_iter().map(|(way, _)| way).collect());
            ways = match timeout_at(deadline, round).await {
                Ok(again) => again,
                Err(_) => return,
            };
        }
    }

    /// Sends calls once. Gives those that are to be sent again, in order; what they failed with stands in their answers.
    async fn round(&self, answers: &mut [Answer], ways: Vec<Way>) -> Vec<(Way, Wait)> {
        let view = match self.view().await {
            Ok(view) => view,
            Err(failure) => {
                for way in ways {
                    answers[way.index] = Err(failure.clone());
                }
                return Vec::new();
            }
        };
        let mut groups: Vec<(Arc<Node>, Vec<Way>)> = Vec::new();
        for way in ways {
            let node = match &way.redirect {
                Some(redirect) => self.node(&redirect.to),
                None => match view.node_of(way.call.slot) {
                    Some(node) => node.clone(),
                    None => {
                        self.is_outdated.store(true, Ordering::Relaxed);
                        answers[way.index] = Err(Failure::Away("no node has the key's slot".into()));
                        continue;
                    }
                },
            };
            match groups.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &node)) {
                Some((_, group)) => group.push(way),
                None => groups.push((node, vec![way])),
            }
        }
        let mut again = Vec::new();
        // What a node has answered stands, however long another takes.
        let mut sent: FuturesUnordered<_> =
            groups.into_iter().map(|(node, ways)| async move { self.send(&node, ways).await }).collect();
        while let Some(fates) = sent.next().await {
            for (index, fate) in fates {
                match fate {
                    Fate::Ended(answer) => answers[index] = answer,
                    Fate::Again(way, wait, failure) => {
                        answers[index] = Err(failure);
                        again.push((way, wait));
                    }
                }
            }
        }
        // Of one key the earlier goes first again.
        again.sort_by_key(|(way, _)| way.index);
        again
    }

    /// Sends calls to a node in one round trip: what becomes of each, by its index.
    async fn send(&self, node: &Arc<Node>, mut ways: Vec<Way>) -> Vec<(usize, Fate)> {
        let mut commands = Pipeline::with_capacity(ways.iter().map(|way| way.call.commands.len()).sum());
        let places: Vec<Place> = ways.iter_mut().map(|way| way.pack(&mut commands)).collect();
        let sent = node.send(&commands).await;
        let ways = ways.into_iter().zip(&places);
        let fates: Vec<(usize, Fate)> = match sent {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                let address = self.is_cluster.then(|| node.address());
                let fate = |(way, place): (Way, &Place)| {
                    (way.index, way.answered(place, &commands, place.answers(&mut answers), address))
                };
                ways.map(fate).collect()
            }
            Err(unanswered) => {
                ways.map(|(way, place)| (way.index, way.unanswered(place, &commands, &unanswered))).collect()
            }
        };
        for (_, fate) in &fates {
            self.learn(node, fate);
        }
        fates
    }

    /// Takes from what became of a call that another node may have its slot now.
    fn learn(&self, node: &Node, fate: &Fate) {
        let (Fate::Ended(Err(failure)) | Fate::Again(_, _, failure)) = fate else { return };
        if !failure.is_of_topology() {
            return;
        }
        if self.is_cluster {
            self.is_outdated.store(true, Ordering::Relaxed);
        } else if matches!(failure, Failure::Answered(_)) {
            // What was the primary is not any more; behind the same address there may be another.
            node.forget_connection();
        }
    }

    /// Sends one command to every primary: its answer, or its failure, and where it came from.
    pub(super) async fn on_primaries(&self, command: &Cmd) -> Result<Vec<(Address, Answer)>, Failure> {
        let view = self.view().await?;
        let calls = view
            .topology
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
    pub(super) async fn view(&self) -> Result<Arc<View>, Failure> {
        let known = self.view.lock().clone();
        match known {
            Some(view) if !self.is_outdated.load(Ordering::Relaxed) => Ok(view),
            known => self.look_again(known).await,
        }
    }

    async fn look_again(&self, known: Option<Arc<View>>) -> Result<Arc<View>, Failure> {
        let mut last_asked = self.asking.lock().await;
        // Somebody else may have asked while this one waited.
        let current = self.view.lock().clone();
        if let Some(current) = current
            && last_asked.is_some_and(|at| at.elapsed() < TOPOLOGY_EVERY)
        {
            return Ok(current);
        }
        let asked = self.ask_topology(known.as_ref().map(|view| &view.topology)).await;
        *last_asked = Some(Instant::now());
        match (asked, known) {
            (Ok(topology), _) => {
                self.is_outdated.store(false, Ordering::Relaxed);
                Ok(self.see(topology))
            }
            // The nodes that are left still have their slots.
            (Err(_), Some(known)) => Ok(known),
            (Err(failure), None) => Err(failure),
        }
    }

    fn see(&self, topology: Topology) -> Arc<View> {
        let nodes = topology.primaries.iter().map(|address| self.node(address)).collect();
        let view = Arc::new(View { topology, nodes });
        *self.view.lock() = Some(view.clone());
        let is_known = |address: &Address| view.topology.primaries.contains(address) || self.seeds.contains(address);
        self.nodes.lock().retain(|address, _| is_known(address));
        view
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
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut failure = Failure::Away("no node answers".into());
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(topology) => return Ok(topology),
                Err(Failure::Away(_)) => {}
                Err(other) => failure = other,
            }
        }
        Err(failure)
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
        let node = Arc::new(Node::new(address.clone(), client, self.connect_timeout, self.response_timeout));
        nodes.insert(address.clone(), node.clone());
        node
    }
}

impl View {
    fn node_of(&self, slot: u16) -> Option<&Arc<Node>> {
        self.topology.primary_of(slot).and_then(|index| self.nodes.get(index))
    }
}

fn address_of(addr: &ConnectionAddr) -> Address {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        ConnectionAddr::Unix(path) => (path.display().to_string(), 0),
        _ => (String::new(), 0),
    }
}
