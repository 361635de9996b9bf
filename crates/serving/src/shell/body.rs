use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};

use super::gate::{Call, is_over, trailers_of};

pin_project! {
    /// An answer's body, which keeps the call's deadline, ends its measurement, and gives its place back.
    pub(super) struct GuardedBody {
        #[pin]
        inner: Option<Body>,
        #[pin]
        sleep: Option<Sleep>,
        call: Option<Call>,
    }
}

impl GuardedBody {
    pub(super) fn new(inner: Body, call: Call) -> Self {
        let sleep = call.limit.map(|limit| sleep_until(limit.at));
        Self { inner: Some(inner), sleep, call: Some(call) }
    }

    /// The body of an answer that is all in its headers.
    pub(super) fn empty() -> Self {
        Self { inner: None, sleep: None, call: None }
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let (Some(inner), Some(call)) = (this.inner.as_mut().as_pin_mut(), this.call.as_mut()) else {
            return Poll::Ready(None);
        };
        let problem = match call.poll(|| inner.poll_frame(cx)) {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                return Poll::Ready(Some(Ok(match frame.into_trailers() {
                    Ok(trailers) => Frame::trailers(call.end_with_trailers(trailers)),
                    Err(data) => data,
                })));
            }
            Ok(Poll::Ready(Some(Err(status)))) => {
                call.over(status.code());
                return Poll::Ready(Some(Err(status)));
            }
            Ok(Poll::Ready(None)) => {
                // A body without trailers whose headers did not end the call is no answer.
                call.over(Code::Unknown);
                return Poll::Ready(None);
            }
            Err(problem) => problem,
            Ok(Poll::Pending) => match call.limit {
                Some(limit) if is_over(this.sleep.as_mut(), limit, cx) => limit.problem(),
                _ => return Poll::Pending,
            },
        };
        let trailers = call.end_with_trailers(trailers_of(problem.into()));
        this.inner.set(None);
        *this.call = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
