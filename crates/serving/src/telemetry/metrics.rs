use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use thiserror::Error;

/// The process's OpenTelemetry metrics, readable as Prometheus text. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

/// The exporter could not be made, or a metric not written.
#[derive(Debug, Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

impl Metrics {
    /// Metrics of their own, apart from those of every other call of this.
    ///
    /// # Errors
    /// Where the exporter refuses, which it does only for a registry that has one already.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| MetricsError(error.to_string()))?;
        let resource = Resource::builder_empty()
            .with_service_name("headwater")
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).build();
        observe_process(&provider.meter("headwater.process"));
        Ok(Self { registry, provider })
    }

    /// A meter for a part of the platform, for example "headwater.ingest". Names of instruments are the platform's:
    /// two parts must not use one name with different labels.
    pub fn meter(&self, part: &'static str) -> Meter {
        self.provider.meter(part)
    }

    /// Everything in Prometheus's text format.
    ///
    /// # Errors
    /// Where a metric cannot be written.
    pub fn render(&self) -> Result<String, MetricsError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(|error| MetricsError(error.to_string()))
    }
}

/// What must come back to where it was once a load is over, whatever happened in between.
fn observe_process(meter: &Meter) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        meter
            .u64_observable_gauge("headwater.runtime.tasks")
            .with_description("Tasks that the runtime has")
            .with_callback(move |gauge| gauge.observe(runtime.metrics().num_alive_tasks() as u64, &[]))
            .build();
    }
    meter
        .u64_observable_gauge("headwater.process.descriptors")
        .with_description("File descriptors that are open")
        .with_callback(|gauge| {
            // Where the system has no such folder it does not tell.
            if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
                gauge.observe(open.count() as u64, &[]);
            }
        })
        .build();
}
