use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The clients that have a connection or a call, by where they call from. Who has neither is forgotten.
///
/// The one token is everybody's, and so tells nobody apart: a client is its network address. Behind a proxy that is the
/// proxy's.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<HashMap<IpAddr, Weak<Client>>>>);

/// Who called: what the connection puts into the extensions of each of its requests.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) client: Arc<Client>,
}

/// A client, and how many calls it has in flight: on all its connections, to either listener.
pub(super) struct Client {
    network: IpAddr,
    in_flight: AtomicUsize,
    table: Clients,
}

/// A call's place among those of its client.
#[derive(Debug)]
pub(super) struct ClientPlace(Arc<Client>);

impl Clients {
    /// Who calls from an address.
    pub(super) fn at(&self, address: SocketAddr) -> Peer {
        let network = network_of(address.ip());
        let mut table = self.lock();
        if let Some(client) = table.get(&network).and_then(Weak::upgrade) {
            return Peer { address, client };
        }
        let client = Arc::new(Client { network, in_flight: AtomicUsize::new(0), table: self.clone() });
        table.insert(network, Arc::downgrade(&client));
        Peer { address, client }
    }

    /// How many clients are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Weak<Client>>> {
        // What holds it only looks up, inserts and removes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// A place for one more call; none where `most` are in flight.
    pub(super) fn place(self: &Arc<Self>, most: usize) -> Option<ClientPlace> {
        let has_room = |n: usize| (n < most).then_some(n + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).ok()?;
        Some(ClientPlace(Arc::clone(self)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        // It may have come again meanwhile, as another.
        if table.get(&self.network).is_some_and(|client| client.strong_count() == 0) {
            table.remove(&self.network);
        }
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What tells clients apart: an IPv4 address, and of an IPv6 address the 64 bits that a site is given, as it may choose the
/// others at will.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn a_client_is_its_network_and_is_forgotten_with_its_last_call() {
        let clients = Clients::default();
        let (first, second) = (clients.at(at("10.0.0.1:1000")), clients.at(at("[::ffff:10.0.0.1]:2000")));
        assert!(Arc::ptr_eq(&first.client, &second.client));
        let other = clients.at(at("10.0.0.2:1000"));
        assert!(!Arc::ptr_eq(&first.client, &other.client));
        let (six, same) = (clients.at(at("[2001:db8:0:1::1]:1")), clients.at(at("[2001:db8:0:1:9::7]:1")));
        assert!(Arc::ptr_eq(&six.client, &same.client));
        assert!(!Arc::ptr_eq(&six.client, &clients.at(at("[2001:db8:0:2::1]:1")).client));
        drop((other, six, same));
        assert_eq!(clients.len(), 1);

        let place = first.client.place(2).expect("a place");
        let another = second.client.place(2).expect("a second place");
        assert!(first.client.place(2).is_none());
        drop(another);
        assert!(first.client.place(2).is_some(), "a place that was given back is free");
        drop((first, second));
        assert_eq!(clients.len(), 1, "a call is in flight");
        drop(place);
        assert_eq!(clients.len(), 0);
    }
}
