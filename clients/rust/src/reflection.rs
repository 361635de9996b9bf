use std::collections::{BTreeMap, HashSet};

use prost::Message;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use prost_types::FileDescriptorProto;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::{Client, Error};

/// Files that a message may depend on.
const FILES_MAX: usize = 1000;

impl Client {
    /// The descriptor of a message, by its full name, from the server's reflection (`grpc.reflection.v1`), with all that it
    /// is made of. Options of the platform's own are not in it.
    ///
    /// # Errors
    /// Where the server does not know the message or has no reflection, or the call failed.
    pub async fn message_descriptor(&self, full_name: &str) -> Result<MessageDescriptor, Error> {
        let late = |_| Error::DeadlineExceeded { after: self.deadline };
        let files = tokio::time::timeout_at(Instant::now() + self.deadline, self.files_of(full_name)).await;
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files.map_err(late)??.into_values())
            .map_err(|error| Error::Protocol(format!("reflection of {full_name}: {error}")))?;
        pool.get_message_by_name(full_name)
            .ok_or_else(|| Error::Protocol(format!("reflection answered files without {full_name}")))
    }

    async fn files_of(&self, full_name: &str) -> Result<BTreeMap<String, FileDescriptorProto>, Error> {
        let failed = |status: &tonic::Status| Error::from_status(status, &self.endpoint, self.deadline);
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        let ask = |what| ServerReflectionRequest { host: String::new(), message_request: Some(what) };
        // The first question goes before the call: a server may answer with headers only once it has been asked.
        let mut asked = requests.send(ask(MessageRequest::FileContainingSymbol(full_name.to_owned()))).await;
        let answers = self.reflection.clone().server_reflection_info(ReceiverStream::new(receiver)).await;
        let mut answers = answers.map_err(|status| failed(&status))?.into_inner();
        let mut files = BTreeMap::new();
        let mut wanted: Vec<String> = Vec::new();
        let mut known: HashSet<String> = HashSet::new();
        loop {
            let answer = answers.message().await.map_err(|status| failed(&status))?;
            let ended = || Error::Protocol("reflection ended in the middle".into());
            if asked.is_err() {
                return Err(ended());
            }
            match answer.ok_or_else(ended)?.message_response {
                Some(MessageResponse::FileDescriptorResponse(response)) => {
                    for bytes in response.file_descriptor_proto {
                        let file = FileDescriptorProto::decode(bytes.as_slice())
                            .map_err(|error| Error::Protocol(format!("reflection of {full_name}: {error}")))?;
                        known.insert(file.name().to_owned());
                        for dependency in &file.dependency {
                            if known.insert(dependency.clone()) {
                                wanted.push(dependency.clone());
                            }
                        }
                        files.insert(file.name().to_owned(), file);
                    }
                }
                Some(MessageResponse::ErrorResponse(error)) => {
                    let problem = format!("the server's reflection does not know it: {}", error.error_message);
                    return Err(Error::Protocol(format!("{full_name}: {problem}")));
                }
                _ => return Err(Error::Protocol("reflection answered another question".into())),
            }
            if files.len() > FILES_MAX {
                return Err(Error::Protocol(format!("{full_name} depends on more than {FILES_MAX} files")));
            }
            // A server may give a file with all that it depends on.
            wanted.retain(|name| !files.contains_key(name));
            let Some(name) = wanted.pop() else { return Ok(files) };
            asked = requests.send(ask(MessageRequest::FileByFilename(name))).await;
        }
    }
}
