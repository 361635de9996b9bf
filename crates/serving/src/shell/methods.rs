use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost_types::FileDescriptorSet;

use crate::telemetry::RpcLabels;

/// What the shell knows of each method, by path: from the descriptors, so that no service has to say it again.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    /// Stands for every path that is no method, so that labels stay few.
    other: Arc<Method>,
}

/// A method.
#[derive(Debug)]
pub(super) struct Method {
    /// For example "headwater.ingest.v1.IngestService/Publish"; "_OTHER" of what is no method.
    pub(super) name: String,
    /// Whether there is such a method.
    pub(super) is_known: bool,
    /// Whether neither side streams.
    pub(super) is_unary: bool,
    /// Whether it answers without a token and over the limit of calls: health, which others decide by.
    pub(super) is_exempt: bool,
    /// Whether its requests end when the process drains: reflection, whose clients hold their streams open.
    pub(super) ends_with_drain: bool,
    /// Whether it is likely answered without waiting for anything, and soon.
    pub(super) is_quick: bool,
    pub(super) labels: RpcLabels,
}

/// What OpenTelemetry calls a method that there is not.
const OTHER: &str = "_OTHER";
const HEALTH: &str = "grpc.health.v1.";
const REFLECTION: &str = "grpc.reflection.";

impl Methods {
    /// The methods that the descriptors declare, and which of them are quick, by names such as "package.Service/Method".
    pub(super) fn new<'a>(sets: impl IntoIterator<Item = &'a FileDescriptorSet>, quick: &[&str]) -> Self {
        let mut by_path = HashMap::new();
        for file in sets.into_iter().flat_map(|set| &set.file) {
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    let is_unary = !method.client_streaming() && !method.server_streaming();
                    by_path.insert(format!("/{name}"), Arc::new(Method::new(name, is_unary, quick)));
                }
            }
        }
        Self { by_path, other: Arc::new(Method::new(OTHER.to_owned(), true, &[])) }
    }

    pub(super) fn find(&self, path: &str) -> &Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.other)
    }

    /// The names of the services that have methods.
    pub(super) fn services(&self) -> HashSet<&str> {
        self.by_path.values().filter_map(|method| method.name.split_once('/')).map(|(service, _)| service).collect()
    }
}

impl Method {
    fn new(name: String, is_unary: bool, quick: &[&str]) -> Self {
        Self {
            is_known: name != OTHER,
            is_unary,
            is_exempt: name.starts_with(HEALTH),
            ends_with_drain: name.starts_with(REFLECTION),
            is_quick: quick.contains(&name.as_str()),
            labels: RpcLabels::new(&name),
            name,
        }
    }
}
