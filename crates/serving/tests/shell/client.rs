//! A gRPC client without timers of its own, so that what is seen is the server's doing; and plain HTTP/1.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::PATIENCE;
use crate::echo::SERVICE;

/// One connection.
#[derive(Clone)]
pub(crate) struct Connection(SendRequest<Body>);

impl tower::Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A client on one connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) connection: Connection,
    origin: Uri,
    headers: Vec<(&'static str, String)>,
    gzip: bool,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap().0
    }

    /// The client, and the connection's own end.
    pub(crate) async fn try_connect(
        address: SocketAddr,
    ) -> Result<(Self, JoinHandle<Result<(), hyper::Error>>), Box<dyn std::error::Error>> {
        Self::on(TcpStream::connect(address).await?, address).await
    }

    /// A client that calls from another address of this machine, for example 127.0.0.2.
    pub(crate) async fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        Self::on(socket.connect(address).await.unwrap(), address).await.unwrap().0
    }

    async fn on(
        io: TcpStream,
        address: SocketAddr,
    ) -> Result<(Self, JoinHandle<Result<(), hyper::Error>>), Box<dyn std::error::Error>> {
        io.set_nodelay(true)?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        let end = tokio::spawn(connection);
        let origin = Uri::try_from(format!("http://{address}"))?;
        Ok((Self { connection: Connection(sender), origin, headers: Vec::new(), gzip: false }, end))
    }

    /// The same with one more header on every call.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.to_owned()));
        client
    }

    /// The same with requests compressed.
    pub(crate) fn gzipped(&self) -> Self {
        Self { gzip: true, ..self.clone() }
    }

    /// Tells the unary method.
    pub(crate) async fn tell(&self, text: impl Into<String>) -> Result<String, Status> {
        self.unary::<String, String>(&format!("/{SERVICE}/Unary"), text.into()).await.map(Response::into_inner)
    }

    /// Any unary method, by path.
    pub(crate) async fn unary<Q, A>(&self, path: &str, message: Q) -> Result<Response<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc().await?;
        let call = grpc.unary(self.request(message), path_of(path), ProstCodec::<Q, A>::default());
        tokio::time::timeout(PATIENCE, call).await.expect("an answer")
    }

    /// A method that streams its answers.
    pub(crate) async fn stream<Q, A>(&self, path: &str, message: Q) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc().await?;
        let call = grpc.server_streaming(self.request(message), path_of(path), ProstCodec::<Q, A>::default());
        Ok(tokio::time::timeout(PATIENCE, call).await.expect("an answer")?.into_inner())
    }

    /// A method that streams both ways.
    pub(crate) async fn chat<Q, A, S>(&self, path: &str, messages: S) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
        S: Stream<Item = Q> + Send + 'static,
    {
        let mut grpc = self.grpc().await?;
        let call = grpc.streaming(self.request(messages), path_of(path), ProstCodec::<Q, A>::default());
        Ok(tokio::time::timeout(PATIENCE, call).await.expect("an answer")?.into_inner())
    }

    async fn grpc(&self) -> Result<Grpc<Connection>, Status> {
        let mut grpc = Grpc::with_origin(self.connection.clone(), self.origin.clone());
        if self.gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    }
}

/// The next message of a stream, or its end.
pub(crate) async fn next<A>(stream: &mut Streaming<A>) -> Result<Option<A>, Status> {
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("a message or the end")
}

/// Whether it becomes so, in a while.
pub(crate) async fn becomes(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..500 {
        if is_so() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// An HTTP/1 answer.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Bytes,
}

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

/// GETs a page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Page {
    http1(address, format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").into_bytes()).await
}

/// Sends an HTTP/1.0 request, whose answer needs no chunks, and reads to the end.
pub(crate) async fn http1(address: SocketAddr, request: Vec<u8>) -> Page {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
    let headers = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Page { status, headers, body: Bytes::from(answer.split_off(end + 4)) }
}

fn path_of(path: &str) -> PathAndQuery {
    path.parse().unwrap()
}
