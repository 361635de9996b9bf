use std::collections::HashSet;
use std::pin::Pin;

use futures::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::readiness::{Readiness, Watched};

/// gRPC's health protocol, straight from [`Readiness`]. Streams end with the process's drain, once they have said so:
/// tonic-health's own would keep it waiting.
pub(super) struct HealthOfServices {
    readiness: Readiness,
    services: HashSet<&'static str>,
}

impl HealthOfServices {
    pub(super) fn new(readiness: &Readiness, services: &[&'static str]) -> Self {
        Self { readiness: readiness.clone(), services: services.iter().copied().collect() }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(service)
    }
}

#[tonic::async_trait]
impl Health for HealthOfServices {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !self.knows(service) {
            return Err(Status::not_found(format!("no service {service} here")));
        }
        Ok(Response::new(answer(status_of(&mut self.readiness.watch(service)))))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let is_known = self.knows(&service);
        let watched = self.readiness.watch(&service);
        let changes = futures::stream::unfold((watched, None), move |(mut watched, mut told)| async move {
            loop {
                // The protocol keeps the stream of an unknown service open, as it may come.
                let status = if is_known { status_of(&mut watched) } else { ServingStatus::ServiceUnknown };
                if told.replace(status) != Some(status) {
                    return Some((Ok(answer(status)), (watched, told)));
                }
                if watched.is_draining() {
                    return None;
                }
                watched.changed().await;
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn status_of(watched: &mut Watched) -> ServingStatus {
    if watched.serves() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
