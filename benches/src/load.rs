//! Calls in a closed loop: so many at once, one after another each.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tonic::transport::{Channel, Endpoint};

use crate::pair::Round;
use crate::server::Server;

const LATENCY_US_MAX: u64 = 60_000_000;

/// How a server is called.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Calls at once on each connection.
    pub(crate) calls: usize,
    /// Units of work in a call.
    pub(crate) units: u64,
}

/// Connections to a server.
pub(crate) async fn connect(port: u16, connections: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(connections);
    for _ in 0..connections {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 22);
        channels.push(endpoint.connect().await.context("connect")?);
    }
    Ok(channels)
}

/// Calls for so long, and says how it went. `call` is given the connection and a generator of random numbers.
pub(crate) async fn round<F, Fut>(
    server: &Server,
    channels: &[Channel],
    shape: Shape,
    time: Duration,
    call: F,
) -> Result<Round>
where
    F: Fn(Channel, fastrand::Rng) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<fastrand::Rng>> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let cpu = server.cpu()?;
    let began = Instant::now();
    let until = began + time;
    let tasks: Vec<_> = channels
        .iter()
        .flat_map(|channel| (0..shape.calls).map(move |_| channel.clone()))
        .enumerate()
        .map(|(index, channel)| {
            let (call, done) = (call.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(index as u64);
                let mut times = Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3)?;
                while Instant::now() < until {
                    let sent = Instant::now();
                    random = call(channel.clone(), random).await?;
                    times.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX));
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Histogram::<u64>::new_with_bounds(1, LATENCY_US_MAX, 3)?;
    for task in tasks {
        times.add(task.await??)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = (server.cpu()? - cpu).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "calls of some seconds are far below 2^53")]
    let units = (done.load(Ordering::Relaxed) * shape.units) as f64;
    Ok(Round {
        per_second: units / seconds,
        per_cpu_second: units / cpu_seconds,
        p50_us: times.value_at_quantile(0.5),
        p99_us: times.value_at_quantile(0.99),
    })
}
