use super::call;
use crate::client::{PAGE_SIZE, PAGES_MAX};
use crate::v1::cache::{
    CreateNamespaceRequest, FlushNamespaceRequest, GetNamespaceRequest, GetNamespaceResponse, ListNamespacesRequest,
    Namespace, UpdateNamespaceRequest,
};
use crate::{Client, Error};

impl Client {
    /// Makes a namespace of the cache: its name, and whatever is not to be as in the settings. It is called once.
    ///
    /// # Errors
    /// Where the call failed; NAMESPACE_EXISTS.
    pub async fn create_namespace(&self, namespace: Namespace) -> Result<Namespace, Error> {
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        let answer = self.once(request, call!(self, create_namespace)).await?;
        answer.namespace.ok_or_else(|| without("CreateNamespace"))
    }

    /// A namespace of the cache with everything set, and how full it is.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn get_namespace(&self, name: &str) -> Result<GetNamespaceResponse, Error> {
        self.unary(GetNamespaceRequest { name: name.to_owned() }, call!(self, get_namespace)).await
    }

    /// The namespaces of the cache with everything set, by name.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn list_namespaces(&self) -> Result<Vec<Namespace>, Error> {
        let mut namespaces = Vec::new();
        let mut page_token = String::new();
        for _ in 0..PAGES_MAX {
            let request = ListNamespacesRequest { page_size: PAGE_SIZE, page_token };
            let page = self.unary(request, call!(self, list_namespaces)).await?;
            namespaces.extend(page.namespaces);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(namespaces);
            }
        }
        Err(Error::Protocol(format!("ListNamespaces has more than {PAGES_MAX} pages")))
    }

    /// Changes a namespace of the cache: the fields whose paths are in `fields`, for example `ttl_ms`; those that are set,
    /// where it is empty. A field that is named and unset becomes as in the settings. It is called once.
    ///
    /// # Errors
    /// Where the call failed; NAMESPACE_FIXED.
    pub async fn update_namespace(&self, namespace: Namespace, fields: &[&str]) -> Result<Namespace, Error> {
        let paths: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let update_mask = (!paths.is_empty()).then_some(prost_types::FieldMask { paths });
        let request = UpdateNamespaceRequest { namespace: Some(namespace), update_mask };
        let answer = self.once(request, call!(self, update_namespace)).await?;
        answer.namespace.ok_or_else(|| without("UpdateNamespace"))
    }

    /// Forgets every key of a namespace of the cache, and gives how many there were.
    ///
    /// # Errors
    /// Where the call failed: some keys may then be forgotten.
    pub async fn flush_namespace(&self, name: &str) -> Result<u64, Error> {
        let request = FlushNamespaceRequest { name: name.to_owned() };
        let answer = self.unary(request, call!(self, flush_namespace)).await?;
        Ok(answer.keys.unsigned_abs())
    }
}

fn without(method: &str) -> Error {
    Error::Protocol(format!("{method} answered without a namespace"))
}
