use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use headwater_client::{Client, ConnectOptions, Error};

use super::quantities::duration;

/// Where the platform is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// Address of the platform: http://host:port, or https:// with --tls-ca
    #[arg(long, env = "HEADWATER_ADDRESS", default_value = "http://127.0.0.1:50051", value_name = "URL")]
    pub(crate) address: String,
    /// Token to send with every call, where the platform asks for one
    #[arg(long, env = "HEADWATER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// File with the certificates, in PEM, of whom to believe that a server is who it says
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// How long a call may take, its retries included
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) deadline: Duration,
}

impl ConnectionArgs {
    /// Connects, or says why not as a failure of the client.
    pub(crate) async fn connect(&self) -> anyhow::Result<Result<Client, Error>> {
        let tls_ca_pem = match &self.tls_ca {
            Some(path) => Some(std::fs::read(path).with_context(|| format!("--tls-ca {}", path.display()))?),
            None => None,
        };
        let endpoint =
            if self.address.contains("://") { self.address.clone() } else { format!("http://{}", self.address) };
        let options = ConnectOptions {
            token: self.token.clone(),
            deadline: self.deadline,
            tls_ca_pem,
            ..ConnectOptions::new(endpoint)
        };
        Ok(Client::connect(options).await)
    }
}
