//! Namespaces: made, changed, looked at and emptied.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use headwater_cache_store::{Expected, Saved};

use crate::cache::Cache;
use crate::error::CacheError;
use crate::namespaces::{Namespace, check_name};
use crate::policy::{Eviction, NamespaceInfo, Policy, PolicyPatch};

/// How full a namespace is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries in the L1 of this process.
    pub l1_entries: u64,
    /// Bytes of keys and values in it.
    pub l1_bytes: u64,
    /// Entries that the store holds, with eviction by rank.
    pub store_entries: Option<u64>,
    /// Writes that wait in the queue.
    pub queued_writes: u64,
}

impl Cache {
    /// Every namespace, by name.
    pub fn list(&self) -> Vec<NamespaceInfo> {
        self.namespaces().all().into_iter().map(|namespace| namespace.info.clone()).collect()
    }

    /// How full a namespace is.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`.
    pub async fn usage(&self, namespace: &Namespace) -> Result<Usage, CacheError> {
        let held = self.guarded(self.store().held(&namespace.space)).await?;
        namespace.l1.settle();
        let (l1_entries, l1_bytes) = namespace.l1.usage();
        Ok(Usage { l1_entries, l1_bytes, store_entries: held.entries, queued_writes: held.queued })
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// `Invalid`, `NamespaceExists`, `TooManyNamespaces`, `Unavailable`, `Full`, `Refused`.
    pub async fn create(&self, name: &str, patch: PolicyPatch) -> Result<NamespaceInfo, CacheError> {
        check_name(name)?;
        self.namespaces().policy(&patch)?;
        self.refresh_namespaces().await?;
        if self.namespaces().get(name).is_ok() {
            return Err(CacheError::NamespaceExists(name.to_owned()));
        }
        match self.save(name, &patch, Expected::Absent).await? {
            Saved::Revision(revision) => {
                self.namespaces().put(name, patch, revision)?;
                Ok(self.namespace(name)?.info.clone())
            }
            Saved::Differs(_) => Err(CacheError::NamespaceExists(name.to_owned())),
            Saved::TooMany => Err(CacheError::TooManyNamespaces(self.options().namespaces_max)),
        }
    }

    /// Changes a namespace that was made at run time. `change` is given what is set of it, and gives what is to be set;
    /// where `revision` is given, the namespace must still have it.
    ///
    /// # Errors
    /// `Invalid`, `UnknownNamespace`, `NamespaceFixed`, `Unavailable`, `Full`, `Refused`.
    pub async fn update(
        &self,
        name: &str,
        revision: Option<i64>,
        change: impl Fn(&PolicyPatch) -> PolicyPatch,
    ) -> Result<NamespaceInfo, CacheError> {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            self.refresh_namespaces().await?;
            let old = self.namespace(name)?;
            if old.info.is_declared {
                return Err(CacheError::NamespaceFixed(format!(
                    "the namespace {:?} is declared in the settings: change it there",
                    old.info.name
                )));
            }
            if let Some(revision) = revision
                && revision != old.info.revision
            {
                return Err(CacheError::NamespaceFixed(format!(
                    "the namespace {:?} has revision {}, not {revision}: read it again",
                    old.info.name, old.info.revision
                )));
            }
            let patch = change(&old.patch);
            let policy = self.namespaces().policy(&patch)?;
            check_move(&old.info, &policy)?;
            if patch == old.patch {
                return Ok(old.info.clone());
            }
            if let Saved::Revision(revision) = self.save(name, &patch, Expected::Revision(old.info.revision)).await? {
                self.namespaces().put(name, patch, revision)?;
                self.watches().missed(Some(name), "the namespace changed");
                self.shrink().await?;
                return Ok(self.namespace(name)?.info.clone());
            }
        }
        Err(CacheError::Unavailable("the namespace was changed again and again meanwhile".into()))
    }

    /// Makes ranked namespaces that were made or changed no larger than their capacity. Every replica does, since each took
    /// values in by the old one until it knew. What fails is done the next time.
    pub(crate) async fn shrink(&self) -> Result<(), CacheError> {
        for namespace in self.namespaces().all() {
            let is_ranked = namespace.info.policy.eviction == Eviction::Rank;
            if is_ranked && namespace.may_be_too_large.swap(false, Ordering::Relaxed) {
                match self.guarded(self.store().shrink(&namespace.space)).await {
                    Ok(left) => namespace.counts.evicted_by_rank.add(left),
                    Err(error) => {
                        namespace.may_be_too_large.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Forgets every key of a namespace; gives how many the store had.
    ///
    /// # Errors
    /// `Unavailable`, `Refused`: some may be gone.
    pub async fn flush(&self, namespace: &Arc<Namespace>) -> Result<u64, CacheError> {
        let forgotten = self.guarded(self.store().flush(&namespace.space)).await;
        namespace.l1.clear();
        if let Some(now) = self.in_place_of(namespace) {
            now.l1.clear();
        }
        forgotten
    }

    /// Gives a namespace back to a store that lost it.
    pub(crate) async fn save_again(&self, namespace: &Namespace) -> Result<(), CacheError> {
        if let Saved::Revision(revision) = self.save(&namespace.info.name, &namespace.patch, Expected::Absent).await? {
            self.namespaces().put(&namespace.info.name, namespace.patch.clone(), revision)?;
            tracing::warn!(namespace = &*namespace.info.name, "the store had lost a namespace, and has it again");
        }
        Ok(())
    }

    async fn save(&self, name: &str, patch: &PolicyPatch, expected: Expected) -> Result<Saved, CacheError> {
        let body = serde_json::to_vec(patch).map_err(|error| CacheError::Internal(error.to_string()))?;
        let most = self.options().namespaces_max;
        self.guarded(self.store().save_namespace(name, &body, expected, most)).await
    }
}

/// Whether the keys stay where they are.
fn check_move(old: &NamespaceInfo, new: &Policy) -> Result<(), CacheError> {
    let is_ranked = |policy: &Policy| policy.eviction == Eviction::Rank;
    let field = match (is_ranked(&old.policy) != is_ranked(new), old.policy.write_mode != new.write_mode) {
        (true, _) => "eviction",
        (_, true) => "write_mode",
        _ => return Ok(()),
    };
    Err(CacheError::NamespaceFixed(format!(
        "{field}: the keys of {:?} would lie elsewhere in the store: make another namespace",
        old.name
    )))
}
