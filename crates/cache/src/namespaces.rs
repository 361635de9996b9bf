//! The namespaces that this process knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use headwater_cache_store::{Space, StoredNamespace};
use parking_lot::{Mutex, RwLock};

use crate::error::CacheError;
use crate::l1::L1;
use crate::load::Loader;
use crate::measure::Counts;
use crate::options::{CacheOptions, Declared};
use crate::policy::{NamespaceInfo, Policy, PolicyPatch, is_name};
use crate::ranks::Ranks;

/// The namespace of calls that name none.
pub const DEFAULT: &str = "default";

/// How like a name must be to one that is unknown to be offered instead.
const LIKENESS_MIN: f64 = 0.75;

/// A namespace in use. It never changes: a change puts another in its place, with an empty L1.
pub struct Namespace {
    /// What it is like.
    pub info: NamespaceInfo,
    pub(crate) patch: PolicyPatch,
    pub(crate) space: Space,
    pub(crate) l1: L1,
    pub(crate) counts: Arc<Counts>,
    pub(crate) loader: Option<Arc<dyn Loader>>,
    pub(crate) ranks: Ranks,
    /// Whether the store may hold more than its capacity, which may have been lowered.
    pub(crate) may_be_too_large: AtomicBool,
}

/// All of them, by name.
pub(crate) struct Namespaces {
    root: String,
    values: Bytes,
    defaults: Policy,
    ranks_keys_max: usize,
    known: RwLock<HashMap<Arc<str>, Arc<Namespace>>>,
    /// Namespaces whose keys begin with something of their own. Declared, so that they never change.
    own_prefixes: Vec<(Bytes, Arc<str>)>,
    /// Revisions, earlier than those that are known, that the last look saw.
    earlier: Mutex<HashMap<String, i64>>,
}

impl Namespaces {
    pub(crate) fn new(options: &CacheOptions, declared: Vec<Declared>) -> Result<Self, CacheError> {
        let mut namespaces = Self {
            root: options.root.clone(),
            values: Space::values(&options.root).into(),
            defaults: options.defaults.clone(),
            ranks_keys_max: options.ranks_keys_max,
            known: RwLock::default(),
            own_prefixes: Vec::new(),
            earlier: Mutex::default(),
        };
        options.defaults.check()?;
        let has_default = declared.iter().any(|it| it.name == DEFAULT);
        for declared in declared.into_iter().chain((!has_default).then(|| Declared::new(DEFAULT))) {
            check_name(&declared.name)?;
            let namespace =
                namespaces.make(&declared.name, declared.patch, 0, declared.store_prefix, declared.loader)?;
            if namespace.space.prefix != namespace.info.store_prefix {
                return Err(CacheError::Internal("a namespace has two prefixes".into()));
            }
            let name = Arc::clone(&namespace.info.name);
            if !namespace.info.store_prefix.starts_with(&namespaces.values) {
                namespaces.own_prefixes.push((namespace.info.store_prefix.clone(), Arc::clone(&name)));
            }
            if namespaces.known.write().insert(Arc::clone(&name), Arc::new(namespace)).is_some() {
                return Err(CacheError::NamespaceExists(name.to_string()));
            }
        }
        Ok(namespaces)
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Namespace>, CacheError> {
        let name = if name.is_empty() { DEFAULT } else { name };
        let known = self.known.read();
        known.get(name).cloned().ok_or_else(|| CacheError::UnknownNamespace {
            name: name.to_owned(),
            near: known
                .keys()
                .map(|other| (strsim::jaro_winkler(name, other), other))
                .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, other)| other.to_string()),
        })
    }

    /// All, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Namespace>> {
        let mut all: Vec<_> = self.known.read().values().cloned().collect();
        all.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        all
    }

    /// What the rules would be with this patch.
    pub(crate) fn policy(&self, patch: &PolicyPatch) -> Result<Policy, CacheError> {
        Ok(self.defaults.with(patch)?)
    }

    /// Puts a namespace that was made at run time in the place of what was there of that name; true where that was
    /// another. One that the settings declare, or a later revision, stays.
    pub(crate) fn put(&self, name: &str, patch: PolicyPatch, revision: i64) -> Result<bool, CacheError> {
        let old = self.known.read().get(name).map(|old| (old.info.clone(), old.patch == patch));
        let is_newer = match old {
            None => true,
            Some((old, _)) if old.is_declared => false,
            Some((old, true)) if old.revision == revision => {
                self.earlier.lock().remove(name);
                false
            }
            Some((old, _)) => self.is_to_be_believed(name, old.revision, revision),
        };
        if !is_newer {
            return Ok(false);
        }
        let namespace = self.make(name, patch, revision, None, None)?;
        self.known.write().insert(Arc::clone(&namespace.info.name), Arc::new(namespace));
        Ok(true)
    }

    /// Whether a revision takes the place of another. An earlier one may be what a look saw that began before the last change;
    /// the next look tells. Where it says the same, the store was set back.
    fn is_to_be_believed(&self, name: &str, old: i64, new: i64) -> bool {
        let mut earlier = self.earlier.lock();
        if new >= old {
            earlier.remove(name);
            return true;
        }
        earlier.insert(name.to_owned(), new) == Some(new)
    }

    /// Takes over what the store has; gives the names that were new or changed, and the namespaces that the store lost.
    pub(crate) fn follow(&self, stored: Vec<StoredNamespace>) -> (Vec<String>, Vec<Arc<Namespace>>) {
        let mut changed = Vec::new();
        let names: Vec<String> = stored.iter().map(|it| it.name.clone()).collect();
        for stored in stored {
            let patch = match serde_json::from_slice(&stored.body) {
                Ok(patch) if is_name(&stored.name) => patch,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(namespace = stored.name, %error, "a namespace of the store cannot be read");
                    continue;
                }
            };
            match self.put(&stored.name, patch, stored.revision) {
                Ok(true) => changed.push(stored.name),
                Ok(false) => {}
                Err(error) => tracing::warn!(namespace = stored.name, %error, "a namespace of the store does not hold"),
            }
        }
        let lost =
            self.all().into_iter().filter(|it| !it.info.is_declared && !names.iter().any(|n| **n == *it.info.name));
        (changed, lost.collect())
    }

    /// What whoever follows the store must follow: no two of them begin one another.
    pub(crate) fn prefixes(&self) -> Vec<Bytes> {
        let mut all: Vec<Bytes> = self.own_prefixes.iter().map(|(prefix, _)| prefix.clone()).collect();
        all.push(self.values.clone());
        all.sort();
        all.dedup_by(|later, earlier| later.starts_with(earlier));
        all
    }

    /// Which keys of which namespaces lie at a key of the store.
    pub(crate) fn at(&self, stored_key: &Bytes) -> Vec<(Arc<Namespace>, Bytes)> {
        let known = self.known.read();
        let usual = stored_key.strip_prefix(&*self.values).and_then(name_in).and_then(|name| known.get(name));
        let own = self.own_prefixes.iter().filter_map(|(_, name)| known.get(name));
        usual
            .into_iter()
            .chain(own)
            .filter(|namespace| stored_key.starts_with(&namespace.space.prefix))
            .map(|namespace| (Arc::clone(namespace), stored_key.slice(namespace.space.prefix.len()..)))
            .collect()
    }

    fn make(
        &self,
        name: &str,
        patch: PolicyPatch,
        revision: i64,
        store_prefix: Option<Bytes>,
        loader: Option<Arc<dyn Loader>>,
    ) -> Result<Namespace, CacheError> {
        let policy = self.policy(&patch)?;
        let mut space = policy.space(&self.root, name, store_prefix.as_ref());
        space.revision = revision.max(0).cast_unsigned();
        if store_prefix.is_some() && space.layout != headwater_cache_store::Layout::Spread {
            return Err(CacheError::NamespaceFixed(format!(
                "the namespace {name:?} has a store_prefix, which goes neither with eviction by rank nor with queued writes"
            )));
        }
        let counts = match self.known.read().get(name) {
            Some(known) => Arc::clone(&known.counts),
            None => Arc::default(),
        };
        Ok(Namespace {
            l1: L1::new(&policy, &counts),
            ranks: Ranks::new(self.ranks_keys_max),
            may_be_too_large: AtomicBool::new(true),
            info: NamespaceInfo {
                name: name.into(),
                store_prefix: space.prefix.clone(),
                policy,
                is_declared: revision == 0,
                revision,
            },
            patch,
            space,
            counts,
            loader,
        })
    }
}

/// Whether a name is one that a namespace can have.
pub(crate) fn check_name(name: &str) -> Result<(), CacheError> {
    if is_name(name) {
        return Ok(());
    }
    Err(CacheError::Invalid {
        field: "name",
        rule: "namespace.name",
        description: "must be 1 to 64 of a-z, 0-9, \"-\", \"_\" and \".\", beginning with a letter".into(),
    })
}

/// The name in `name:key` or `{name}:key`.
fn name_in(rest: &[u8]) -> Option<&str> {
    let end = rest.iter().position(|byte| *byte == b':')?;
    std::str::from_utf8(&rest[..end]).ok().map(|name| name.trim_matches(['{', '}']))
}
