//! What one caller may reach: patterns of hosts, and the check of an address as it is written.

use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

use super::address::{Reach, reach};

/// Ports that are reached without being named: those of HTTP.
const PORTS: [u16; 4] = [80, 443, 8080, 8443];

/// Names that resolve inside a machine, a cluster or an office; reached only where an operator names them.
const INNER: [&str; 8] =
    ["localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain", "corp"];

/// Why a request does not leave.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Stable code.
    pub code: &'static str,
    /// Host as it was understood; empty where there is none. Never a path, a query or a password.
    pub host: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, host: &str, detail: impl Into<String>) -> Self {
        // A host may be as long as an address; what is kept of it is what a person needs.
        Self { code, host: host.chars().take(255).collect(), detail: detail.into() }
    }
}

/// A host, or `*.` and a suffix, with a port where only that one is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    host: String,
    suffix: bool,
    port: Option<u16>,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{text}` is no host; write `example.com`, `*.example.com`, `10.0.0.7:8000` or `[fd00::1]:8000`"
            )
        };
        let (suffix, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.is_empty() || rest.contains(['/', '@', '?', '#', '\\', '*', ' ']) {
            return Err(refuse());
        }
        // A scheme without a port of its own keeps every port that is written.
        let url = Url::parse(&format!("http://{rest}/")).map_err(|_| refuse())?;
        let literal = !matches!(url.host(), Some(Host::Domain(_)));
        let host = url.host_str().map(bare).ok_or_else(refuse)?;
        let named = rest.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        if suffix && (literal || !host.contains('.')) {
            return Err(format!("`{text}` would cover too much; name a domain below a suffix"));
        }
        let port = named.then(|| url.port_or_known_default()).flatten();
        Ok(Self { host, suffix, port })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let star = if self.suffix { "*." } else { "" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{star}{open}{}{close}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Pattern {
    /// Returns a pattern that no host matches, for one that cannot be read: a list that holds it stays
    /// a list.
    pub(super) fn nothing() -> Self {
        Self { host: String::new(), suffix: false, port: None }
    }

    fn is_host(&self, host: &str) -> bool {
        if self.suffix {
            host.strip_suffix(&self.host).is_some_and(|rest| rest.ends_with('.'))
        } else {
            host == self.host
        }
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        self.is_host(host) && self.port.is_none_or(|own| own == port)
    }

    /// Tells whether a port is part of the pattern and this is it.
    fn names(&self, host: &str, port: u16) -> bool {
        self.is_host(host) && self.port == Some(port)
    }
}

/// What a caller may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// When not empty, nothing but these and the private ones.
    pub only: Vec<Pattern>,
    /// Hosts that an operator allows although they are private, also without TLS.
    pub private: Vec<Pattern>,
    /// Whether public hosts are reached without TLS.
    pub plain: bool,
}

impl Rules {
    /// Returns rules for an address that the operator of this machine wrote on the command line:
    /// that host and port, wherever it is.
    ///
    /// # Errors
    /// [`Refusal`] ⇐ the address names no host.
    pub fn of_operator(address: &str) -> Result<Self, Refusal> {
        let url = parsed(address)?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default();
        let pattern = Pattern { host: bare(host), suffix: false, port };
        Ok(Self { only: Vec::new(), private: vec![pattern], plain: true })
    }

    /// Tells whether the operator allows this private host, by any of its ports.
    pub(super) fn allows_private(&self, host: &str) -> bool {
        self.private.iter().any(|pattern| pattern.is_host(host))
    }
}

/// An address that may be reached as far as its text tells; names are judged again when they resolve.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address as it was understood.
    pub url: Url,
    /// Host without brackets or a closing dot.
    pub host: String,
    /// Whether an operator allows this host and port to be private.
    pub private: bool,
}

/// Returns a host as patterns have it: without brackets and without a closing dot.
pub(super) fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase()
}

fn parsed(text: &str) -> Result<Url, Refusal> {
    let detail = "this is no address of the web; write `https://host/path`";
    let url = Url::parse(text).map_err(|_| Refusal::new("invalid_url", "", detail))?;
    if !matches!(url.scheme(), "http" | "https") {
        let detail = format!("`{}` addresses are not reached; use https", url.scheme());
        return Err(Refusal::new("scheme", url.host_str().unwrap_or_default(), detail));
    }
    if url.host().is_none() {
        return Err(Refusal::new("invalid_url", "", detail));
    }
    Ok(url)
}

/// Checks an address after it is parsed, so that every spelling of a host is the same host.
///
/// # Errors
/// [`Refusal`] with a code: `invalid_url`, `scheme`, `userinfo`, `port`, `host_not_listed`,
/// `private_address`, `forbidden_address`.
pub fn target(text: &str, rules: &Rules) -> Result<Target, Refusal> {
    let url = parsed(text)?;
    let host = bare(url.host_str().unwrap_or_default());
    let port = url.port_or_known_default().unwrap_or_default();
    let refuse = |code, detail: String| Err(Refusal::new(code, &host, detail));
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("userinfo", "leave the user and password out of the address".to_owned());
    }
    let private = rules.private.iter().any(|pattern| pattern.matches(&host, port));
    if url.scheme() == "http" && !rules.plain && !private {
        return refuse("scheme", "only https is reached; write `https://`".to_owned());
    }
    let named = rules.only.iter().chain(&rules.private).any(|pattern| pattern.names(&host, port));
    if !PORTS.contains(&port) && !named {
        let detail = format!("port {port} is not one of HTTP; allow `{host}:{port}` to reach it");
        return refuse("port", detail);
    }
    if !rules.only.is_empty()
        && !private
        && !rules.only.iter().any(|pattern| pattern.matches(&host, port))
    {
        let detail = format!("`{host}` is not among the hosts that this joint venture may reach");
        return refuse("host_not_listed", detail);
    }
    match url.host() {
        Some(Host::Ipv4(address)) => judged(&host, IpAddr::V4(address), private)?,
        Some(Host::Ipv6(address)) => judged(&host, IpAddr::V6(address), private)?,
        _ if is_inner(&host) && !private => {
            let detail = format!("`{host}` names something inside; an operator can allow it");
            return refuse("private_address", detail);
        }
        _ => {}
    }
    Ok(Target { url, host, private })
}

fn is_inner(host: &str) -> bool {
    !host.contains('.')
        || INNER.iter().any(|name| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

/// Judges the address that a host is or resolves to.
///
/// # Errors
/// [`Refusal`]: `private_address`, `forbidden_address`.
pub(super) fn judged(host: &str, address: IpAddr, private: bool) -> Result<(), Refusal> {
    match reach(address) {
        Reach::Public => Ok(()),
        Reach::Private if private => Ok(()),
        Reach::Private => {
            let detail = format!("`{host}` is at a private address; an operator can allow it");
            Err(Refusal::new("private_address", host, detail))
        }
        Reach::Never => {
            let detail = format!(
                "`{host}` is at an address that is never reached (metadata, link-local, reserved)"
            );
            Err(Refusal::new("forbidden_address", host, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(only: &[&str], private: &[&str]) -> Rules {
        let read = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Rules { only: read(only), private: read(private), plain: false }
    }

    fn code(address: &str, rules: &Rules) -> &'static str {
        target(address, rules).map_or_else(|refusal| refusal.code, |_| "ok")
    }

    #[test]
    fn patterns_are_hosts_suffixes_and_ports_and_nothing_wider() {
        for text in
            ["", "*", "*.", "*.com", "a b", "https://a.com", "a.com/x", "u@a.com", "*.10.0.0.1"]
        {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        for (text, shown) in [
            ("Example.COM", "example.com"),
            ("*.example.com:8443", "*.example.com:8443"),
            ("0x7f.1:80", "127.0.0.1:80"),
            ("[::1]:443", "[::1]:443"),
            ("[fd00::1]", "[fd00::1]"),
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), shown);
        }
        let listed = rules(&["*.example.com", "one.org"], &[]);
        for (address, expected) in [
            ("https://a.example.com/", "ok"),
            ("https://a.b.example.com/", "ok"),
            ("https://example.com/", "host_not_listed"),
            ("https://badexample.com/", "host_not_listed"),
            ("https://one.org/", "ok"),
            ("https://two.org/", "host_not_listed"),
        ] {
            assert_eq!(code(address, &listed), expected, "{address}");
        }
    }

    #[test]
    fn only_an_operator_opens_a_private_host_and_only_at_its_port() {
        let lan = rules(&[], &["10.0.0.7:9000", "teacher.lan"]);
        for (address, expected) in [
            ("http://10.0.0.7:9000/v1", "ok"),
            ("http://10.0.0.7/", "scheme"),
            ("https://10.0.0.7/", "private_address"),
            ("https://10.0.0.8/", "private_address"),
            ("http://teacher.lan/", "ok"),
            ("http://teacher.lan:22/", "port"),
            ("https://other.lan/", "private_address"),
            ("https://intranet/", "private_address"),
            ("https://example.com:5432/", "port"),
            ("https://u:p@example.com/", "userinfo"),
            ("https://example.com/", "ok"),
        ] {
            assert_eq!(code(address, &lan), expected, "{address}");
        }
        // What is never reached is not opened by being named.
        let named = rules(&[], &["169.254.169.254:80"]);
        assert_eq!(code("http://169.254.169.254/", &named), "forbidden_address");
    }
}
