use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::{Error, RetryPolicy};

/// Where the server is and how to speak with it.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `http://host:port`, or `https://host:port` with `tls_ca_pem`.
    pub endpoint: String,
    /// Sent as `authorization: Bearer …` with every call.
    pub token: Option<String>,
    /// How long a unary call may take, its retries included; the server is told. Default 10 s.
    pub deadline: Duration,
    /// How long making a connection may take. Default 5 s.
    pub connect_timeout: Duration,
    /// Certificates, in PEM, of whom to believe that a server is who it says.
    pub tls_ca_pem: Option<Vec<u8>>,
    /// How a unary call is tried again. Publishing again is safe: an event's id makes it count once.
    pub retry: RetryPolicy,
    /// Largest answer that is taken, in bytes. Default 64 MiB.
    pub answer_bytes_max: usize,
}

impl Default for ConnectOptions {
    /// `http://127.0.0.1:50051` without a token.
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:50051".into(),
            token: None,
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            tls_ca_pem: None,
            retry: RetryPolicy::default(),
            answer_bytes_max: 64 << 20,
        }
    }
}

impl ConnectOptions {
    /// The defaults, at another address.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }

    pub(crate) fn channel(&self) -> Result<Endpoint, Error> {
        let wrong = |problem: String| Error::Option { option: "endpoint", problem };
        let form = || format!("{:?} is not an address of the form http://host:port", self.endpoint);
        let endpoint = Endpoint::from_shared(self.endpoint.clone()).map_err(|_| wrong(form()))?;
        if endpoint.uri().host().is_none() {
            return Err(wrong(form()));
        }
        let endpoint = match (endpoint.uri().scheme_str(), &self.tls_ca_pem) {
            (Some("http"), None) => endpoint,
            (Some("http"), Some(_)) => {
                return Err(wrong(format!(
                    "{} is not encrypted; with tls_ca_pem it begins with https://",
                    self.endpoint
                )));
            }
            (Some("https"), Some(pem)) => endpoint
                .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
                .map_err(|error| Error::Option { option: "tls_ca_pem", problem: error.to_string() })?,
            (Some("https"), None) => {
                return Err(Error::Option {
                    option: "tls_ca_pem",
                    problem: "https needs the certificate of a CA".into(),
                });
            }
            _ => return Err(wrong(form())),
        };
        Ok(endpoint
            .user_agent(concat!("headwater-client-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| wrong(error.to_string()))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_adaptive_window(true)
            // A server that is gone without a word is noticed while calls are open.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10)))
    }

    pub(crate) fn bearer(&self) -> Result<Bearer, Error> {
        let Some(token) = &self.token else { return Ok(Bearer(None)) };
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| Error::Option {
            option: "token",
            problem: "a token has visible ASCII characters only".into(),
        })?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

/// Adds the token to each request.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_named() {
        for (endpoint, ca, option) in [
            ("", None, "endpoint"),
            ("127.0.0.1:50051", None, "endpoint"),
            ("ftp://x:1", None, "endpoint"),
            ("http://", None, "endpoint"),
            ("http://x:1", Some(vec![1]), "endpoint"),
            ("https://x:1", None, "tls_ca_pem"),
        ] {
            let options = ConnectOptions { tls_ca_pem: ca, ..ConnectOptions::new(endpoint) };
            match options.channel().map(|_| ()) {
                Err(Error::Option { option: found, .. }) => assert_eq!(found, option, "{endpoint}"),
                other => panic!("{endpoint}: {other:?}"),
            }
        }
        let options = ConnectOptions { token: Some("a\nb".into()), ..ConnectOptions::default() };
        assert!(matches!(options.bearer(), Err(Error::Option { option: "token", .. })));
    }
}
