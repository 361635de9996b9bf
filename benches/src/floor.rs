//! The floors: the least that any service must do that answers such calls.

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use headwater_contracts::v1::cache::{
    BatchGetRequest, BatchGetResponse, BatchGetResult, Found, GetRequest, GetResponse, batch_get_result,
};
use redis::aio::MultiplexedConnection;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Which floor, and where.
#[derive(Args)]
pub(crate) struct FloorArgs {
    kind: Kind,
    #[arg(long)]
    port: u16,
    /// Address of Redis, of the floors that ask it.
    #[arg(long, default_value = "")]
    redis: String,
    /// What its keys begin with.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Bytes of a value, of the floor that makes it up.
    #[arg(long, default_value_t = 1024)]
    value_bytes: usize,
}

/// A floor.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Answers each Get with the same bytes.
    Empty,
    /// Answers each Get with one GET.
    Get,
    /// Answers each BatchGet with one MGET.
    Mget,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Get => "get",
            Self::Mget => "mget",
        }
    }
}

/// Serves until it is killed.
pub(crate) fn serve(args: &FloorArgs) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let redis = match args.kind {
            Kind::Empty => None,
            Kind::Get | Kind::Mget => {
                Some(redis::Client::open(args.redis.as_str())?.get_multiplexed_async_connection().await?)
            }
        };
        let floor = Floor {
            kind: args.kind,
            redis,
            prefix: args.prefix.clone().into_bytes().into(),
            value: vec![b'v'; args.value_bytes].into(),
        };
        let address = (Ipv4Addr::LOCALHOST, args.port).into();
        tonic::transport::Server::builder().tcp_nodelay(true).add_service(floor).serve(address).await?;
        Ok(())
    })
}

#[derive(Clone)]
struct Floor {
    kind: Kind,
    redis: Option<MultiplexedConnection>,
    prefix: Bytes,
    value: Bytes,
}

impl NamedService for Floor {
    const NAME: &'static str = headwater_contracts::v1::cache::cache_service_server::SERVICE_NAME;
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<http::Response<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move {
            Ok(match floor.kind {
                Kind::Empty | Kind::Get => Grpc::new(ProstCodec::default()).unary(One(floor), request).await,
                Kind::Mget => Grpc::new(ProstCodec::default()).unary(Many(floor), request).await,
            })
        })
    }
}

type Unary<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

struct One(Floor);

impl UnaryService<GetRequest> for One {
    type Response = GetResponse;
    type Future = Unary<GetResponse>;

    fn call(&mut self, request: Request<GetRequest>) -> Self::Future {
        let floor = self.0.clone();
        Box::pin(async move {
            let value = match floor.redis {
                None => Some(floor.value),
                Some(mut redis) => {
                    let key = [&floor.prefix, &request.into_inner().key[..]].concat();
                    let value: Option<Vec<u8>> =
                        redis::cmd("GET").arg(key).query_async(&mut redis).await.map_err(failed)?;
                    value.map(Bytes::from)
                }
            };
            Ok(Response::new(GetResponse { value, ..GetResponse::default() }))
        })
    }
}

struct Many(Floor);

impl UnaryService<BatchGetRequest> for Many {
    type Response = BatchGetResponse;
    type Future = Unary<BatchGetResponse>;

    fn call(&mut self, request: Request<BatchGetRequest>) -> Self::Future {
        let floor = self.0.clone();
        Box::pin(async move {
            let Some(mut redis) = floor.redis else { return Err(Status::internal("no Redis")) };
            let mut mget = redis::cmd("MGET");
            for key in request.into_inner().keys {
                mget.arg([&floor.prefix, &key[..]].concat());
            }
            let values: Vec<Option<Vec<u8>>> = mget.query_async(&mut redis).await.map_err(failed)?;
            let results = values
                .into_iter()
                .map(|value| {
                    let found = Found { value: value.map(Bytes::from), ..Found::default() };
                    BatchGetResult { result: Some(batch_get_result::Result::Found(found)) }
                })
                .collect();
            Ok(Response::new(BatchGetResponse { results }))
        })
    }
}

fn failed(error: redis::RedisError) -> Status {
    Status::unavailable(error.to_string())
}
