use std::future::Future;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use super::error::{classify, classify_pool};
use crate::HistoryError;

/// How to reach Postgres, and how long to wait for it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`. Each statement of a session must reach the same server process:
    /// no PgBouncer in transaction mode.
    pub url: String,
    /// Connections for everything but commits, 1 or more. Each partition that is taken has one more of its own.
    pub pool_size_max: usize,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for a statement. Preparing tables has ten minutes, for indexes over what is stored.
    pub statement_timeout: Duration,
    /// The Postgres schema that holds every table: `[a-z_][a-z0-9_]{0,62}`. Made where it is missing.
    pub schema: String,
    /// What becomes of days of events that `prune` takes away.
    pub old_days: OldDays,
}

/// What becomes of days of events that are too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldDays {
    /// They are dropped.
    #[default]
    Drop,
    /// They stay as tables of their own, for somebody to keep elsewhere and drop: `page_events$20261121` is detached from
    /// `page_events`, and called `page_events$20261121_1`.
    Detach,
}

impl PostgresOptions {
    /// The defaults: 8 connections, 5 s to connect, 30 s for a statement, schema `headwater`, old days are dropped.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            pool_size_max: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            schema: "headwater".to_owned(),
            old_days: OldDays::default(),
        }
    }
}

/// The way to the database: a pool for what any connection can do, and connections of one's own.
pub(super) struct Database {
    pool: Pool,
    config: Config,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// Name of the Postgres schema.
    pub(super) namespace: String,
    pub(super) old_days: OldDays,
}

impl Database {
    /// Connects to nothing yet.
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, HistoryError> {
        let PostgresOptions { connect_timeout, statement_timeout, .. } = *options;
        if !is_name(&options.schema) {
            return Err(HistoryError::Refused(format!("'{}' is not [a-z_][a-z0-9_]{{0,62}}", options.schema)));
        }
        let mut config: Config = options.url.parse().map_err(|error| classify(&error))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(HistoryError::Refused("sslmode=require: TLS to Postgres is not built in".to_owned()));
        }
        // Custom plans leave out partitions by the times that are asked for; compiling queries costs more than it saves.
        let limit_ms = statement_timeout.as_millis().max(1);
        let mut settings = config.get_options().unwrap_or_default().to_owned();
        for (name, value) in [
            ("search_path", options.schema.clone()),
            ("statement_timeout", limit_ms.to_string()),
            ("lock_timeout", limit_ms.to_string()),
            ("idle_in_transaction_session_timeout", limit_ms.to_string()),
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            ("jit", "off".to_owned()),
            ("TimeZone", "UTC".to_owned()),
            ("client_min_messages", "warning".to_owned()),
        ] {
            settings.push_str(&format!(" -c {name}={value}"));
        }
        config
            .options(settings)
            .application_name("headwater")
            .connect_timeout(connect_timeout)
            .tcp_user_timeout(statement_timeout)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let pool = Pool::builder(Manager::from_config(config.clone(), NoTls, manager))
            .max_size(options.pool_size_max.max(1))
            .wait_timeout(Some(connect_timeout))
            .create_timeout(Some(connect_timeout))
            .recycle_timeout(Some(connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| HistoryError::Refused(error.to_string()))?;
        Ok(Self {
            pool,
            config,
            connect_timeout,
            statement_timeout,
            namespace: options.schema.clone(),
            old_days: options.old_days,
        })
    }

    /// A connection of the pool.
    pub(super) async fn client(&self) -> Result<Object, HistoryError> {
        self.pool.get().await.map_err(|error| classify_pool(&error))
    }

    /// A connection of one's own, which ends when it is dropped. The name shows in `pg_stat_activity`.
    pub(super) async fn session(&self, application: &str) -> Result<ClientWrapper, HistoryError> {
        let mut config = self.config.clone();
        config.application_name(application);
        let connected = timeout(self.connect_timeout, config.connect(NoTls)).await;
        let (client, connection) = connected
            .map_err(|_| HistoryError::Unavailable("the database did not answer in time to connect".to_owned()))?
            .map_err(|error| classify(&error))?;
        let run = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to Postgres ended");
            }
        });
        Ok(ClientWrapper::new(client, run))
    }

    /// Bounds what is done on a connection: the server bounds each statement, this bounds a server that is silent.
    pub(super) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, HistoryError>> + Send,
    ) -> Result<T, HistoryError> {
        within(self.connect_timeout * 3 + self.statement_timeout, work).await
    }
}

/// Gives up after that time.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, HistoryError>> + Send,
) -> Result<T, HistoryError> {
    let late = |_| Err(HistoryError::Unavailable(format!("no answer within {} ms", limit.as_millis())));
    timeout(limit, work).await.unwrap_or_else(late)
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    name.len() <= 63
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || c.is_ascii_digit())
        && !name.starts_with("pg_")
}
