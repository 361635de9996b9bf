use std::convert::Infallible;

use axum::response::IntoResponse;
use http::Request;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::{HealthServer, SERVICE_NAME as HEALTH_NAME};
use tower::Service;

use super::ShellError;
use super::health::HealthOfServices;
use super::methods::Methods;
use crate::readiness::Readiness;

/// The gRPC services to serve, with the descriptors that reflection tells of.
#[derive(Debug)]
pub struct Services {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    quick: Vec<&'static str>,
    descriptors: Vec<u8>,
}

impl Services {
    /// No service yet. `descriptors` is one merged, encoded `FileDescriptorSet` with every service and all it imports;
    /// it may declare more than is served.
    pub fn new(descriptors: impl Into<Vec<u8>>) -> Self {
        Self { routes: Routes::builder(), names: Vec::new(), quick: Vec::new(), descriptors: descriptors.into() }
    }

    /// Adds a generated server; see [`limited!`](crate::limited) for what it should have been given first.
    pub fn add<S>(&mut self, service: S) -> &mut Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Says of a method, for example "headwater.cache.v1.CacheService/Get", that it is likely answered without waiting for
    /// anything, and within microseconds: such calls are begun in their connection's task, and answered together. A method
    /// that computes for long must not be: it would hold up the other calls of its connection.
    pub fn quick(&mut self, method: &'static str) -> &mut Self {
        self.quick.push(method);
        self
    }

    /// The services with health and reflection, and what is known of their methods.
    pub(super) fn into_routes(mut self, readiness: &Readiness) -> Result<(Routes, Methods), ShellError> {
        let decode =
            |bytes: &[u8]| FileDescriptorSet::decode(bytes).map_err(|error| ShellError::Descriptors(error.to_string()));
        let own = decode(&self.descriptors)?;
        let health = decode(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
        let v1 = decode(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)?;
        let v1alpha = decode(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)?;
        let methods = Methods::new([&own, &health, &v1, &v1alpha], &self.quick);
        let declared = methods.services();
        if let Some(name) = self.names.iter().find(|name| !declared.contains(**name)) {
            return Err(ShellError::UndeclaredService(name));
        }
        drop(declared);

        let reflection = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(&self.descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // So that grpcurl can show the details of a status.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .with_service_name(HEALTH_NAME);
            // Only what is served is listed, and not all that is declared.
            self.names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let refused = |error: tonic_reflection::server::Error| ShellError::Descriptors(error.to_string());
        let v1 = reflection().build_v1().map_err(refused)?;
        let v1alpha = reflection().build_v1alpha().map_err(refused)?;
        self.routes
            .add_service(HealthServer::new(HealthOfServices::new(readiness, &self.names)))
            .add_service(v1)
            .add_service(v1alpha);
        Ok((self.routes.routes().prepare(), methods))
    }
}
