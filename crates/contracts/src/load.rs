use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::{ContractError, ContractErrors, StreamContract, model};

/// The shipped contracts as `protox` compiled them, options and comments kept.
const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Everything that was declared: the shipped contracts and a user's own.
#[derive(Clone, Debug)]
pub struct Contracts {
    pool: DescriptorPool,
    descriptors: Vec<u8>,
    streams: BTreeMap<String, Arc<StreamContract>>,
    by_message: BTreeMap<String, Arc<StreamContract>>,
}

impl Contracts {
    /// The contracts that ship with the platform.
    ///
    /// # Errors
    /// None, unless the platform was built from contracts that do not hold.
    pub fn shipped() -> Result<Self, ContractErrors> {
        Self::from_descriptors(DESCRIPTORS.to_vec())
    }

    /// The shipped contracts and those at `path`: a folder of `.proto` files, or a descriptor set as `buf build -o` writes it.
    ///
    /// # Errors
    /// Every file that cannot be read or compiled, and every stream that does not hold.
    pub fn with_path(path: &Path) -> Result<Self, ContractErrors> {
        let fail = |problem: String| {
            ContractErrors(vec![ContractError { file: path.display().to_string(), place: "contracts".into(), problem }])
        };
        let mut resolver = ChainFileResolver::new();
        let names = if path.is_dir() {
            resolver.add(IncludeFileResolver::new(path.to_owned()));
            let mut names = Vec::new();
            collect_protos(path, path, &mut names).map_err(|error| fail(error.to_string()))?;
            names
        } else {
            let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
            let set = DescriptorSetFileResolver::decode(bytes.as_slice())
                .map_err(|error| fail(format!("not a descriptor set: {error}")))?;
            let files = <prost_types::FileDescriptorSet as prost::Message>::decode(bytes.as_slice())
                .map_err(|error| fail(format!("not a descriptor set: {error}")))?;
            resolver.add(set);
            files.file.into_iter().map(|file| file.name().to_owned()).collect()
        };
        if names.is_empty() {
            return Err(fail("there is no .proto file in it".into()));
        }
        let shipped = DescriptorSetFileResolver::decode(DESCRIPTORS).map_err(|error| fail(error.to_string()))?;
        resolver.add(shipped);
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).include_source_info(true);
        let shipped = DescriptorPool::decode(DESCRIPTORS).map_err(|error| fail(error.to_string()))?;
        let mut errors = Vec::new();
        let shipped_names = shipped.files().map(|file| file.name().to_owned()).collect::<Vec<_>>();
        for name in shipped_names.into_iter().chain(names) {
            if let Err(error) = compiler.open_file(&name) {
                errors.push(ContractError { file: name, place: "compile".into(), problem: format!("{error:?}") });
            }
        }
        if !errors.is_empty() {
            return Err(ContractErrors(errors));
        }
        Self::from_descriptors(compiler.encode_file_descriptor_set())
    }

    /// The contracts of an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// Every stream that does not hold.
    pub fn from_descriptors(descriptors: Vec<u8>) -> Result<Self, ContractErrors> {
        let pool = DescriptorPool::decode(descriptors.as_slice()).map_err(|error| {
            ContractErrors(vec![ContractError {
                file: "descriptor set".into(),
                place: "decode".into(),
                problem: error.to_string(),
            }])
        })?;
        let mut streams: BTreeMap<String, Arc<StreamContract>> = BTreeMap::new();
        let mut by_message = BTreeMap::new();
        let mut errors = Vec::new();
        for message in pool.all_messages() {
            match model::stream_of(&message) {
                Ok(None) => {}
                Ok(Some(contract)) => {
                    let contract = Arc::new(contract);
                    let name = contract.schema.name.clone();
                    if let Some(other) = streams.get(&name) {
                        errors.push(ContractError {
                            file: message.parent_file().name().to_owned(),
                            place: format!("{}: name", message.full_name()),
                            problem: format!(
                                "{} is a stream of the name {name:?} too; names of streams, and so of topics and tables, \
                                 must differ",
                                other.schema.message
                            ),
                        });
                    }
                    by_message.insert(message.full_name().to_owned(), Arc::clone(&contract));
                    streams.insert(name, contract);
                }
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() {
            Ok(Self { pool, descriptors, streams, by_message })
        } else {
            Err(ContractErrors(errors))
        }
    }

    /// The streams, by name.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = &Arc<StreamContract>> {
        self.streams.values()
    }

    /// The stream of that name.
    pub fn stream(&self, name: &str) -> Option<&Arc<StreamContract>> {
        self.streams.get(name)
    }

    /// The stream whose event is the message of that full name.
    pub fn stream_of_message(&self, full_name: &str) -> Option<&Arc<StreamContract>> {
        self.by_message.get(full_name)
    }

    /// All descriptors.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// All descriptors as an encoded `FileDescriptorSet`, with options and comments: what reflection serves.
    pub fn descriptors(&self) -> &[u8] {
        &self.descriptors
    }
}

fn collect_protos(root: &Path, folder: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path: PathBuf = entry.path();
        // Hidden ones are not the user's: Kubernetes keeps each file of a ConfigMap a second time, in `..data`.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            collect_protos(root, &path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            names.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}
