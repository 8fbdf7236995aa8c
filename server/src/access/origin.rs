//! Where the server is reached and by whom: the public address, the proxies before it, and the headers
//! that follow from both.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::Uri;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Access;

/// Pages load nothing from elsewhere and run no inline script or style.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'";

/// Headers of every answer, the failed ones among them.
const FIXED: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Two years, as browsers' lists ask for.
const HSTS: &str = "max-age=63072000; includeSubDomains";

/// Where the server is reached.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    public: Option<String>,
    proxies: usize,
}

impl Origin {
    /// Reads the public address, such as `https://agents.example`, and how many proxies stand before the
    /// server, each of which adds one address to `X-Forwarded-For`.
    ///
    /// # Errors
    /// What would be right, as a sentence.
    pub fn new(public: Option<&str>, proxies: usize) -> Result<Self, String> {
        let public = public.map(|text| {
            let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| hint(text))?;
            match (uri.scheme_str(), uri.authority(), uri.path(), uri.query()) {
                (Some(scheme @ ("http" | "https")), Some(host), "/" | "", None) => {
                    Ok(format!("{scheme}://{}", host.as_str().to_ascii_lowercase()))
                }
                _ => Err(hint(text)),
            }
        });
        Ok(Self { public: public.transpose()?, proxies })
    }

    /// Returns the public address without a slash at the end, if one is stated.
    pub fn public(&self) -> Option<&str> {
        self.public.as_deref()
    }

    /// Returns the address under which a caller reaches the server, without a slash at the end.
    pub fn base(&self, headers: &HeaderMap) -> String {
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        self.public().map_or_else(|| format!("http://{host}"), str::to_owned)
    }

    /// Tells whether browsers reach the server over TLS.
    pub fn is_secure(&self) -> bool {
        self.public.as_deref().is_some_and(|public| public.starts_with("https://"))
    }

    /// Name of the cookie that holds a browser's sessions. The prefix makes browsers refuse it over plain
    /// HTTP and from a neighbouring host.
    ///
    /// # Source
    /// RFC 6265bis, section 4.1.3.2.
    pub fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-tessera" } else { "tessera" }
    }

    /// Tells whether a form was sent by a page of this server. Browsers say where a form comes from; other
    /// programs say nothing and hold no cookie by accident.
    ///
    /// # Source
    /// W3C, *Fetch Metadata Request Headers*; RFC 6454, *The Web Origin Concept*.
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if let Some(site) = text("sec-fetch-site")
            && !matches!(site, "same-origin" | "none")
        {
            return false;
        }
        let Some(origin) = text("origin") else { return true };
        match &self.public {
            Some(public) => origin.eq_ignore_ascii_case(public),
            None => {
                let host = origin.split_once("://").map(|(_, host)| host);
                host.is_some() && host == text("host")
            }
        }
    }
}

fn hint(text: &str) -> String {
    format!("`{text}` is no address such as https://agents.example, without a path")
}

/// Returns the address of who calls: the peer's, or behind `n` proxies the n-th of `X-Forwarded-For` from
/// the right, because everything left of it was written by the caller. An IPv6 address counts as its /64,
/// which one customer of a network holds.
pub fn address_of(origin: &Origin, extensions: &Extensions, headers: &HeaderMap) -> String {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let forwarded = || {
        let hops: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let at = hops.len().checked_sub(origin.proxies)?;
        hops.get(at)?.parse::<IpAddr>().ok()
    };
    let address = if origin.proxies > 0 { forwarded().or(peer) } else { peer };
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            format!("{}/64", Ipv6Addr::from(octets))
        }
        Some(address) => address.to_string(),
        None => "unknown".to_owned(),
    }
}

/// Puts the headers on an answer that has none of its own of the same name.
pub async fn secured(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if access.origin.is_secure() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_of_another_site_is_told_from_one_of_our_own() {
        let plain = Origin::default();
        for (pairs, own) in [
            (&[("host", "a:1")][..], true),
            (&[("host", "a:1"), ("origin", "http://a:1")], true),
            (&[("host", "a:1"), ("origin", "http://a:2")], false),
            (&[("host", "a:1"), ("origin", "null")], false),
            (&[("host", "a"), ("origin", "http://a"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "b"), ("origin", "http://a"), ("sec-fetch-site", "same-origin")], false),
            (&[("host", "a"), ("origin", "http://a"), ("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], true),
        ] {
            assert_eq!(plain.is_own(&headers(pairs)), own, "{pairs:?}");
        }
        let public = Origin::new(Some("https://Agents.example/"), 0).unwrap();
        for (origin, own) in [("https://agents.example", true), ("http://agents.example", false)] {
            let found = public.is_own(&headers(&[("host", "10.0.0.1"), ("origin", origin)]));
            assert_eq!(found, own, "{origin}");
        }
    }

    #[test]
    fn a_public_address_has_a_scheme_a_host_and_no_path() {
        for text in ["agents.example", "https://a/b", "ftp://a", "https://", "https://a?x=1"] {
            assert!(Origin::new(Some(text), 0).is_err(), "{text}");
        }
        let secure = Origin::new(Some("https://a.example:8443"), 0).unwrap();
        assert!(secure.is_secure() && secure.cookie_name() == "__Host-tessera");
        let plain = Origin::new(Some("http://127.0.0.1:7080"), 0).unwrap();
        assert!(!plain.is_secure() && plain.cookie_name() == "tessera");
    }

    #[test]
    fn only_what_a_known_proxy_wrote_counts_as_the_address() {
        let mut known = Extensions::new();
        known.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 9], 1))));
        let said = headers(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3")]);
        for (proxies, address) in [(0, "10.0.0.9"), (1, "3.3.3.3"), (2, "2.2.2.2"), (4, "10.0.0.9")]
        {
            let origin = Origin::new(None, proxies).unwrap();
            assert_eq!(address_of(&origin, &known, &said), address);
        }
        let origin = Origin::new(None, 1).unwrap();
        let six = headers(&[("x-forwarded-for", "2001:db8:1:2:3:4:5:6")]);
        assert_eq!(address_of(&origin, &known, &six), "2001:db8:1:2::/64");
        let mapped = headers(&[("x-forwarded-for", "::ffff:9.9.9.9")]);
        assert_eq!(address_of(&origin, &known, &mapped), "9.9.9.9");
    }
}
