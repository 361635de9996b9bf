use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;

use crate::settings::ListenSettings;

/// The two addresses, taken: bind before anything else begins, serve when there is something to serve.
#[derive(Debug)]
pub struct Listeners {
    grpc: Bound,
    http: Bound,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// An address that could not be taken.
#[derive(Debug, Error)]
#[error("{key} = {address}: {}", explain(.error.kind(), .key, .error))]
pub struct BindError {
    /// The setting that says it.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub error: std::io::Error,
}

/// Every address that could not be taken.
#[derive(Debug)]
pub struct BindErrors(pub Vec<BindError>);

impl Listeners {
    /// Takes both addresses.
    ///
    /// # Errors
    /// Every address that could not be taken, with its setting and what to do.
    pub async fn bind(settings: &ListenSettings) -> Result<Self, BindErrors> {
        let grpc = bind("listen.grpc", settings.grpc).await;
        let http = bind("listen.http", settings.http).await;
        match (grpc, http) {
            (Ok(grpc), Ok(http)) => Ok(Self { grpc, http }),
            (grpc, http) => Err(BindErrors([grpc.err(), http.err()].into_iter().flatten().collect())),
        }
    }

    /// Where gRPC listens; with the port that was taken where the setting says 0.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.address
    }

    /// Where HTTP listens; with the port that was taken where the setting says 0.
    pub fn http_addr(&self) -> SocketAddr {
        self.http.address
    }

    /// The listeners of gRPC and of HTTP.
    pub(super) fn into_parts(self) -> (TcpListener, TcpListener) {
        (self.grpc.listener, self.http.listener)
    }
}

impl fmt::Display for BindErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot listen:")?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BindErrors {}

async fn bind(key: &'static str, address: SocketAddr) -> Result<Bound, BindError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    };
    bound.await.map_err(|error| BindError { key, address, error })
}

fn explain(kind: ErrorKind, key: &str, error: &std::io::Error) -> String {
    let flag = key.replace('.', "-");
    let variable = format!("HEADWATER_{}", key.replace('.', "_").to_uppercase());
    let choose = format!("choose another address with --{flag} or {variable} (port 0 takes a free one)");
    match kind {
        ErrorKind::AddrInUse => {
            format!("the port is in use, perhaps by another headwater; end that program, or {choose}")
        }
        ErrorKind::AddrNotAvailable => format!("no interface of this machine has the address; {choose}"),
        ErrorKind::PermissionDenied => format!("ports below 1024 need more rights; {choose}"),
        _ => format!("{error}; {choose}"),
    }
}
