//! What tonic answers by itself, said in the platform's terms.

use headwater_domain::Reason;
use http::HeaderMap;
use tonic::{Code, Status};

use crate::Problem;

/// The code in headers or trailers; none where there is none yet.
pub(super) fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// A better status than the one in headers or trailers, where it is one that tonic made while it read the request.
/// The texts are tonic's; tests notice when they change.
pub(super) fn better_status(headers: &HeaderMap, path: &str, request_bytes_max: usize) -> Option<Status> {
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let message = status.message();
    let problem = match status.code() {
        Code::OutOfRange if message.starts_with("Error, decoded message length too large") => {
            too_large(request_bytes_max)
        }
        Code::ResourceExhausted if message.starts_with("Error decompressing: size limit") => {
            too_large(request_bytes_max)
        }
        Code::Internal if message.starts_with("Error decompressing:") => {
            Problem::new(Reason::Malformed, "the request cannot be decompressed")
        }
        Code::Internal if message.starts_with("failed to decode Protobuf message") => {
            Problem::new(Reason::Malformed, format!("the request is no message of the method's type: {message}"))
        }
        // Not a reason of ours: the code says it all, and gRPC means it so.
        Code::Unimplemented if message.is_empty() => {
            return Some(Status::unimplemented(format!("there is no method {path}; reflection lists what there is")));
        }
        _ => return None,
    };
    Some(problem.into())
}

fn too_large(request_bytes_max: usize) -> Problem {
    let detail = format!(
        "the request message has more than {request_bytes_max} bytes after decompression (rpc.request_bytes_max): \
         send fewer records at a time"
    );
    Problem::new(Reason::BatchTooLarge, detail).with_metadata("request_bytes_max", request_bytes_max.to_string())
}
