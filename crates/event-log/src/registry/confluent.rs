use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, RawRegisteredSchema, SrCall};
use serde_json::json;
use tracing::debug;

use crate::{ProtoSchema, Registered, RegisteredSchema, RegistryError, SchemaReference, SchemaRegistry};

/// What bodies are, in Confluent's API.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// How long `check` waits for an answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Codes of the API: the HTTP status, and two digits more where there is more to say.
const NOT_FOUND: u32 = 404;
const CONFLICT: u32 = 409;

/// How to reach a registry.
#[derive(Clone, Debug)]
pub struct ConfluentOptions {
    /// Where the API is, for example `http://registry:8081` or, of Apicurio, `http://registry:8080/apis/ccompat/v7`; with
    /// `name:password@` where it asks for one.
    pub url: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// What the registry is shown.
    pub authorization: Authorization,
}

/// What a registry is shown.
#[derive(Clone, Default)]
pub enum Authorization {
    /// Nothing.
    #[default]
    None,
    /// A name and a password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

/// A registry with Confluent's API. It needs nothing to be made, and waits for nothing.
#[derive(Clone, Debug)]
pub struct ConfluentRegistry {
    url: String,
    settings: SrSettings,
    /// For what the library has no call: a subject's compatibility.
    http: reqwest::Client,
}

impl ConfluentOptions {
    /// The defaults, with this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), timeout: Duration::from_secs(2), authorization: Authorization::None }
    }
}

impl ConfluentRegistry {
    /// A client of the registry at that address, which it shows nothing.
    ///
    /// # Errors
    /// `Refused` where the address is not valid.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, RegistryError> {
        Self::connect(ConfluentOptions { timeout, ..ConfluentOptions::new(url) })
    }

    /// A client of the registry.
    ///
    /// # Errors
    /// `Refused` where the options are not valid.
    pub fn connect(options: ConfluentOptions) -> Result<Self, RegistryError> {
        let refused = |error: String| RegistryError::Refused(format!("the schema registry's settings: {error}"));
        let plain = reqwest::Client::new().get(&options.url);
        let request = match &options.authorization {
            Authorization::None => plain,
            Authorization::Basic(name, password) => plain.basic_auth(name, Some(password)),
            Authorization::Bearer(token) => plain.bearer_auth(token),
        };
        // A name and a password within the address move into the header, and so into no text of an error.
        let request = request.build().map_err(|error| refused(error.without_url().to_string()))?;
        let url = request.url().as_str().trim_end_matches('/').to_owned();
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MEDIA_TYPE))]);
        headers.extend(request.headers().get(AUTHORIZATION).map(|value| (AUTHORIZATION, value.clone())));
        let client = || reqwest::Client::builder().timeout(options.timeout).default_headers(headers.clone());
        let settings = SrSettings::new_builder(url.clone()).set_timeout(options.timeout).build_with(client());
        let settings = settings.map_err(|error| refused(error.to_string()))?;
        let http = client().build().map_err(|error| refused(error.to_string()))?;
        Ok(Self { url, settings, http })
    }

    /// Makes the call; none where what it asks for is not there.
    async fn call(&self, subject: &str, call: SrCall<'_>) -> Result<Option<RawRegisteredSchema>, RegistryError> {
        match perform_sr_call(&self.settings, call).await {
            Ok(schema) => Ok(Some(schema)),
            Err(error) => match api_code(&error) {
                Some(code) if code / 100 == NOT_FOUND => Ok(None),
                Some(NOT_FOUND | 0) if error.error.contains("status 404") => Err(self.no_api()),
                Some(code) if is(code, CONFLICT) => {
                    let detail = error.cause.unwrap_or(error.error);
                    Err(RegistryError::Incompatible { subject: subject.into(), detail })
                }
                // Without a code it never answered, or not as a registry does: a proxy, a restart.
                None | Some(0) if !error.error.contains("status 4") => Err(RegistryError::Unavailable(text(&error))),
                Some(code) if code >= 500 && first_digit(code) == 5 => Err(RegistryError::Unavailable(text(&error))),
                _ => Err(RegistryError::Refused(text(&error))),
            },
        }
    }

    /// What answers knows no such path: the address is wrong, or a proxy has lost the registry for now.
    fn no_api(&self) -> RegistryError {
        RegistryError::Unavailable(format!(
            "there is no registry's API at {}: it answers 404. Apicurio's is below /apis/ccompat/v7",
            self.url
        ))
    }

    /// Sets the compatibility of a subject; false where the registry does not take it for a subject that is not there.
    async fn set_backward(&self, subject: &str) -> Result<bool, RegistryError> {
        let url = format!("{}/config/{}", self.url, subject.replace('/', "%2F"));
        let request = self.http.put(url).header(CONTENT_TYPE, MEDIA_TYPE);
        let response = request.body(json!({ "compatibility": "BACKWARD" }).to_string()).send().await;
        let status = response.map_err(|error| RegistryError::Unavailable(error.to_string()))?.status();
        match status.as_u16() {
            200..300 => Ok(true),
            404 => Ok(false),
            // A conflict is with another process that does the same.
            409 | 500.. => Err(RegistryError::Unavailable(format!("setting the compatibility of {subject}: {status}"))),
            _ => Err(RegistryError::Refused(format!("setting the compatibility of {subject}: {status}"))),
        }
    }
}

#[async_trait]
impl SchemaRegistry for ConfluentRegistry {
    async fn register(&self, subject: &str, schema: &ProtoSchema) -> Result<Registered, RegistryError> {
        let body = body_of(schema);
        if let Some(found) = self.call(subject, SrCall::PostForVersion(subject, &body)).await? {
            return place(&found);
        }
        let new = self.call(subject, SrCall::GetLatest(subject)).await?.is_none();
        // Before the first version where that is possible, so that no second one can slip in unchecked.
        let set = !new || self.set_backward(subject).await?;
        let registered = match self.call(subject, SrCall::PostNew(subject, &body)).await {
            // Apicurio says so of a subject that another process makes at the same time. The next try finds it.
            Err(RegistryError::Incompatible { detail, .. }) if new => {
                return Err(RegistryError::Unavailable(format!("{subject} was made at the same time: {detail}")));
            }
            registered => registered?,
        };
        let registered = registered.ok_or_else(|| RegistryError::Refused("an import's subject is not there".into()))?;
        if !set && !self.set_backward(subject).await? {
            return Err(RegistryError::Unavailable(format!("the compatibility of {subject} was not set")));
        }
        debug!(subject, id = registered.id, "schema registered");
        // The answer to a registration has the id alone.
        let found = self.call(subject, SrCall::PostForVersion(subject, &body)).await?;
        place(&found.ok_or_else(|| RegistryError::Unavailable(format!("{subject} does not have its new version yet")))?)
    }

    async fn schema(&self, id: u32) -> Result<Option<RegisteredSchema>, RegistryError> {
        let found = self.call("", SrCall::GetById(id)).await?;
        let with_id = |mut raw: RawRegisteredSchema| {
            // The answer to a question by id does not repeat it.
            raw.id = Some(id);
            registered(raw)
        };
        found.map(with_id).transpose()
    }

    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        self.call(subject, SrCall::GetLatest(subject)).await?.map(registered).transpose()
    }

    async fn check(&self) -> Result<(), RegistryError> {
        let response = self.http.get(format!("{}/config", self.url)).timeout(CHECK_TIMEOUT).send().await;
        let status = response.map_err(|error| RegistryError::Unavailable(error.to_string()))?.status();
        match status.as_u16() {
            200..300 => Ok(()),
            404 => Err(self.no_api()),
            _ => Err(RegistryError::Unavailable(format!("it answers {status}"))),
        }
    }
}

fn place(raw: &RawRegisteredSchema) -> Result<Registered, RegistryError> {
    match (raw.id, raw.version) {
        (Some(id), Some(version)) => Ok(Registered { id, version }),
        _ => Err(RegistryError::Refused("the answer has no id or no version".into())),
    }
}

fn body_of(schema: &ProtoSchema) -> String {
    let mut body = json!({ "schemaType": "PROTOBUF", "schema": schema.text });
    if !schema.references.is_empty() {
        let references = schema.references.iter();
        body["references"] = references
            .map(|reference| {
                json!({ "name": reference.name, "subject": reference.subject, "version": reference.version })
            })
            .collect();
    }
    body.to_string()
}

fn registered(raw: RawRegisteredSchema) -> Result<RegisteredSchema, RegistryError> {
    let (Some(id), Some(text)) = (raw.id, raw.schema) else {
        return Err(RegistryError::Refused("the answer has no id or no text".into()));
    };
    match raw.schema_type.as_deref() {
        Some("PROTOBUF") => {}
        // Confluent leaves it out for Avro.
        other => {
            return Err(RegistryError::Refused(format!(
                "schema {id} is {} and not Protobuf",
                other.unwrap_or("an Avro schema")
            )));
        }
    }
    let references = raw.references.unwrap_or_default().into_iter();
    let references = references
        .map(|reference| SchemaReference {
            name: reference.name,
            subject: reference.subject,
            version: reference.version,
        })
        .collect();
    Ok(RegisteredSchema { id, schema: ProtoSchema { text, references } })
}

/// The API's own code; 0 where the answer has none, none where there was no answer.
fn api_code(error: &SRCError) -> Option<u32> {
    error.source()?.downcast_ref::<RawError>().map(|raw| raw.error_code)
}

fn is(code: u32, status: u32) -> bool {
    code == status || code / 100 == status
}

fn first_digit(code: u32) -> u32 {
    code / 10_u32.pow(code.ilog10())
}

fn text(error: &SRCError) -> String {
    match &error.cause {
        Some(cause) => format!("{}: {cause}", error.error),
        None => error.error.clone(),
    }
}

/// Without the secrets.
impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic(name, _) => f.debug_tuple("Basic").field(name).finish_non_exhaustive(),
            Self::Bearer(_) => f.debug_tuple("Bearer").finish_non_exhaustive(),
        }
    }
}
