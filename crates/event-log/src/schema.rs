use async_trait::async_trait;
use thiserror::Error;

/// A Protobuf schema as a registry keeps it: the text of one file, with other subjects for its imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtoSchema {
    /// The `.proto` text.
    pub text: String,
    /// A reference per import outside google/protobuf.
    pub references: Vec<SchemaReference>,
}

/// An import of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaReference {
    /// What the text imports, for example `acme/money.proto`.
    pub name: String,
    /// The subject that holds it.
    pub subject: String,
    /// Version of the subject.
    pub version: u32,
}

/// A schema that the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its id, which frames carry.
    pub id: u32,
    /// The schema. The text may be written otherwise than it was registered.
    pub schema: ProtoSchema,
}

/// Where a registered schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id, which frames carry.
    pub id: u32,
    /// Its version of the subject, from 1, which references name.
    pub version: u32,
}

/// Why the registry did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The registry is away. Retrying can help.
    #[error("the schema registry is unavailable: {0}")]
    Unavailable(String),
    /// The schema breaks the subject's compatibility with an earlier version.
    #[error("the schema registry refuses the schema of {subject} as incompatible: {detail}")]
    Incompatible {
        /// The subject.
        subject: String,
        /// What the registry said.
        detail: String,
    },
    /// The registry refused for another reason.
    #[error("the schema registry refused: {0}")]
    Refused(String),
}

/// A registry of schemas by subject and by id.
#[async_trait]
pub trait SchemaRegistry: Send + Sync + 'static {
    /// Registers the schema as the subject's newest version, or finds it among its versions, and returns its id and version.
    /// The subject's compatibility is set to BACKWARD where the subject is new.
    ///
    /// # Errors
    /// All of `RegistryError`.
    async fn register(&self, subject: &str, schema: &ProtoSchema) -> Result<Registered, RegistryError>;

    /// The schema of that id; none where the registry has no such id.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn schema(&self, id: u32) -> Result<Option<RegisteredSchema>, RegistryError>;

    /// The subject's newest version; none where there is no such subject.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError>;

    /// Whether the registry answers now.
    ///
    /// # Errors
    /// `Unavailable` where it does not within two seconds.
    async fn check(&self) -> Result<(), RegistryError>;
}
