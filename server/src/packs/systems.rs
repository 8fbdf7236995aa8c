//! Requests to the systems that a pack declares, with what the joint venture has set for them.
//!
//! The address before the path is the pack's or a setting's; the rules of [`crate::egress`] judge it like
//! any other. Secrets are put into the request here and nowhere else: they are in no log, journal, error
//! or prompt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agents::pack::{Auth, Pack, System, setting_of};
use agents::port::{HttpAnswer, HttpCall};
use agents::tool::ToolError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::settings;
use crate::connector::{Made, judged};
use crate::egress::{Egress, EgressError, Limits, Outgoing};
use crate::store::{Store, TenantId};
use crate::vault::Vault;

/// What refusals of the way out are noted under.
const PURPOSE: &str = "pack";

/// The systems of one pack, for one joint venture.
#[derive(Clone)]
pub struct Systems {
    /// The one way out.
    pub egress: Egress,
    /// Opens settings.
    pub vault: Arc<Vault>,
    /// The pack that declares them.
    pub pack: Arc<Pack>,
}

impl std::fmt::Debug for Systems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Systems({})", self.pack.manifest.id)
    }
}

fn forbidden(message: impl Into<String>) -> ToolError {
    ToolError::not_permitted(message)
}

impl Systems {
    /// Tells whether a system makes the effect of each key once.
    pub fn is_keyed(&self, system: &str) -> bool {
        let System::Http { idempotency_header, .. } = match self.pack.manifest.system(system) {
            Some(system) => system,
            None => return false,
        };
        idempotency_header.is_some()
    }

    /// Sends a request that changes nothing.
    ///
    /// # Errors
    /// As [`agents::port::SystemPort::http`].
    pub async fn ask(
        &self,
        store: &Store,
        tenant: TenantId,
        call: &HttpCall,
    ) -> Result<HttpAnswer, ToolError> {
        let outgoing = self.outgoing(store, tenant, call).await?;
        match self.egress.send_as(store, tenant, PURPOSE, &outgoing).await {
            Ok(answer) => Ok(HttpAnswer { status: answer.status.as_u16(), body: answer.body }),
            Err(EgressError::Refused(refusal)) => {
                Err(forbidden(format!("`{}` is not reached: {}", call.system, refusal.detail)))
            }
            Err(error) => Err(ToolError::Unavailable {
                message: format!("`{}` gave no answer: {error}", call.system),
            }),
        }
    }

    /// Makes an effect.
    pub async fn make(&self, store: &Store, tenant: TenantId, call: &HttpCall) -> Made {
        let outgoing = match self.outgoing(store, tenant, call).await {
            Ok(outgoing) => outgoing,
            Err(error) if error.is_transient() => return Made::NotDone(error.to_string()),
            Err(error) => return Made::Refused(error.to_string()),
        };
        match self.egress.send_as(store, tenant, PURPOSE, &outgoing).await {
            Ok(answer) => judged(answer.status, &answer.body),
            Err(EgressError::Refused(refusal)) => Made::Refused(refusal.detail),
            Err(error @ EgressError::Unreachable(_)) => {
                Made::NotDone(format!("`{}` cannot be reached: {error}", call.system))
            }
            Err(error) => Made::Unknown(format!("`{}` gave no answer: {error}", call.system)),
        }
    }

    async fn outgoing(
        &self,
        store: &Store,
        tenant: TenantId,
        call: &HttpCall,
    ) -> Result<Outgoing, ToolError> {
        let id = &self.pack.manifest.id;
        let store_failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, pack = id, "the settings of a pack cannot be read");
            let message = "the settings of the pack cannot be read; try again".to_owned();
            ToolError::Unavailable { message }
        };
        let mut tx = store.begin(tenant).await.map_err(|error| store_failed(&error))?;
        let given = settings::read(&mut tx, &self.vault, id).await;
        let given = given.map_err(|error| store_failed(&error))?;
        drop(tx);
        self.request(call, &given)
    }

    /// Builds the request with the values that are set.
    fn request(
        &self,
        call: &HttpCall,
        given: &BTreeMap<String, String>,
    ) -> Result<Outgoing, ToolError> {
        let manifest = &self.pack.manifest;
        let system = manifest.system(&call.system);
        let Some(System::Http { url, auth, idempotency_header, .. }) = system else {
            return Err(forbidden(format!("the pack has no system `{}`", call.system)));
        };
        let value = |name: &str| {
            let setting = manifest.settings.iter().find(|setting| setting.id == name);
            let default = setting.and_then(|setting| setting.default.as_ref());
            given.get(name).or(default).map(String::as_str).ok_or_else(|| {
                forbidden(format!(
                    "the setting `{name}` of the pack is missing; `tessera pack set` gives it"
                ))
            })
        };
        let base = match setting_of(url) {
            Some(name) => value(name)?,
            None => url,
        };
        if !call.path.starts_with('/') {
            return Err(forbidden("the path of the tool does not begin with `/`"));
        }
        let mut url = format!("{}{}", base.trim_end_matches('/'), call.path);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in &call.headers {
            put(&mut headers, name, value, false)?;
        }
        match auth {
            Some(Auth::Bearer { setting }) => {
                put(
                    &mut headers,
                    AUTHORIZATION.as_str(),
                    &format!("Bearer {}", value(setting)?),
                    true,
                )?;
            }
            Some(Auth::Basic { user, password }) => {
                let pair = STANDARD.encode(format!("{}:{}", value(user)?, value(password)?));
                put(&mut headers, AUTHORIZATION.as_str(), &format!("Basic {pair}"), true)?;
            }
            Some(Auth::Header { name, setting }) => put(&mut headers, name, value(setting)?, true)?,
            Some(Auth::Query { name, setting }) => {
                let pair: String = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair(name, value(setting)?)
                    .finish();
                url.push(if url.contains('?') { '&' } else { '?' });
                url.push_str(&pair);
            }
            None => {}
        }
        if let (Some(name), Some(key)) = (idempotency_header, &call.idempotency_key) {
            put(&mut headers, name, key, false)?;
        }
        let body = call.body.as_ref().map(|body| body.to_string().into_bytes());
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let method = Method::from_bytes(call.method.name().as_bytes()).unwrap_or(Method::GET);
        let limits = Limits {
            time: Duration::from_millis(call.timeout_ms.min(30_000).into()),
            body: call.max_bytes.min(4 << 20) as usize,
            // A success counts even where its body is too long to be read.
            cut: call.idempotency_key.is_some(),
            redirects: 0,
        };
        Ok(Outgoing { method, url, headers, body: body.unwrap_or_default(), limits })
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str, secret: bool) -> Result<(), ToolError> {
    let (Ok(key), Ok(mut value)) =
        (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
    else {
        return Err(forbidden(format!("the header `{name}` cannot be sent with its value")));
    };
    value.set_sensitive(secret);
    headers.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use agents::pack::PackFiles;
    use agents::tool::HttpMethod;

    use super::*;

    fn systems(rest: &str) -> Systems {
        let manifest = format!(
            "format = 1\nid = \"desk\"\nversion = \"1.0.0\"\ntitle = \"Desk\"\ndescription = \"d\"\nlanguages = [\"en\"]\n\
             [[setting]]\nid = \"token\"\ndescription = \"t\"\nsecret = true\n\
             [[setting]]\nid = \"base\"\ndescription = \"b\"\nformat = \"url\"\n\
             [[system]]\nkind = \"http\"\nid = \"s\"\n{rest}\n"
        );
        let files: PackFiles = [("pack.toml".to_owned(), manifest)].into_iter().collect();
        Systems {
            egress: Egress::default(),
            vault: Arc::new(Vault::read(&STANDARD.encode([7; 32])).unwrap()),
            pack: Arc::new(Pack::from_files("desk", files).unwrap()),
        }
    }

    fn call(path: &str) -> HttpCall {
        HttpCall {
            system: "s".to_owned(),
            tool: "t".to_owned(),
            method: HttpMethod::Get,
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            timeout_ms: 1000,
            max_bytes: 1000,
            idempotency_key: None,
        }
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_request_shows_who_asks_as_the_pack_declares_and_no_error_repeats_a_secret() {
        let bearer = systems(
            "url = \"https://a.example/v1/\"\nauth = { kind = \"bearer\", setting = \"token\" }",
        );
        let sent = bearer.request(&call("/x?y=1"), &given(&[("token", "s3cret")])).unwrap();
        assert_eq!(sent.url, "https://a.example/v1/x?y=1");
        assert_eq!(sent.headers[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{:?}", sent.headers).contains("s3cret"), "a log could hold it");
        let missing = bearer.request(&call("/x"), &given(&[])).unwrap_err();
        assert!(missing.to_string().contains("the setting `token`"), "{missing}");
        let broken = bearer.request(&call("/x"), &given(&[("token", "s3cret\nX: y")])).unwrap_err();
        assert!(!broken.to_string().contains("s3cret"), "{broken}");

        let query = systems(
            "url = \"{base}\"\nauth = { kind = \"query\", name = \"key\", setting = \"token\" }",
        );
        let sent = query
            .request(&call("/x?y=1"), &given(&[("token", "a&b"), ("base", "https://b.example")]));
        assert_eq!(sent.unwrap().url, "https://b.example/x?y=1&key=a%26b");
        assert!(
            query
                .request(&call(".evil.example/x"), &given(&[("token", "t"), ("base", "https://b")]))
                .is_err()
        );
    }
}
