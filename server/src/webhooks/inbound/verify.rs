//! Who signed a message, in the ways of those who send them. The body is verified as the bytes that
//! came, before anything reads it.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::webhooks::sign::{Unverified, Verifying, hmac, timely, verify};

/// Shortest secret, bytes.
const MIN_SECRET: usize = 16;

/// Longest identifier of a message that is kept as it is, bytes.
const MAX_ID: usize = 200;

/// How the digest of a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal.
    Hex,
    /// Base64.
    Base64,
}

/// A way to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verifier {
    /// Standard Webhooks, `v1` (secret `whsec_…`) or `v1a` (secret `whpk_…`).
    Standard {},
    /// `X-Hub-Signature-256` over the body; told apart by `X-GitHub-Delivery`. There is no timestamp,
    /// so a message is refused a second time only by its identifier.
    Github {},
    /// `Stripe-Signature` over the time and the body; told apart by `id` of the body.
    Stripe {},
    /// `X-Slack-Signature` over the time and the body; told apart by `event_id` of the body.
    Slack {},
    /// HMAC-SHA256 over the body.
    Hmac {
        /// Header with the digest.
        header: String,
        /// How it is written.
        encoding: Encoding,
        /// What stands before it.
        #[serde(default)]
        prefix: String,
        /// Header that tells messages apart; their digest does when absent.
        #[serde(default)]
        id_header: Option<String>,
        /// JSON Pointer into the body that tells messages apart.
        #[serde(default)]
        id_pointer: Option<String>,
    },
    /// `Authorization: Bearer SECRET`, where the sender cannot sign.
    Bearer {
        /// Header that tells messages apart; their digest does when absent.
        #[serde(default)]
        id_header: Option<String>,
        /// JSON Pointer into the body that tells messages apart.
        #[serde(default)]
        id_pointer: Option<String>,
    },
}

/// What tells a message from others, known before or after the body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A header says it.
    Known(String),
    /// The place in the body says it; the digest does when there is nothing.
    At(String),
    /// The digest of the body says it.
    Digest,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn needed<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Unverified> {
    header(headers, name).ok_or(Unverified::Header(name))
}

/// Tells whether a written digest is the HMAC of parts, in a time that does not tell where it differs.
fn fits(secret: &str, parts: &[&[u8]], given: Option<Vec<u8>>) -> bool {
    let mac = hmac(secret.as_bytes(), parts);
    mac.zip(given).is_some_and(|(mac, given)| mac.verify_slice(&given).is_ok())
}

fn identity(
    headers: &HeaderMap,
    id_header: Option<&String>,
    id_pointer: Option<&String>,
) -> Result<Identity, Unverified> {
    match (id_header, id_pointer) {
        (Some(name), _) => {
            let value = header(headers, name).ok_or(Unverified::Header("id_header"))?;
            Ok(Identity::Known(value.to_owned()))
        }
        (None, Some(pointer)) => Ok(Identity::At(pointer.clone())),
        (None, None) => Ok(Identity::Digest),
    }
}

impl Verifier {
    /// Checks a secret and the names of headers.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn checked(&self, secret: &str) -> Result<(), String> {
        if let Self::Standard {} = self {
            let read = Verifying::read(secret);
            return read.map(drop).ok_or_else(|| {
                "the secret is `whsec_` and 24 to 64 bytes in base64, or `whpk_` and 32".to_owned()
            });
        }
        if secret.len() < MIN_SECRET || secret.len() > 500 || !secret.is_ascii() {
            return Err(format!("the secret is {MIN_SECRET} to 500 ASCII characters"));
        }
        let (names, pointer) = match self {
            Self::Hmac { header, id_header, id_pointer, .. } => {
                (vec![Some(header), id_header.as_ref()], id_pointer)
            }
            Self::Bearer { id_header, id_pointer } => (vec![id_header.as_ref()], id_pointer),
            _ => return Ok(()),
        };
        if let Some(name) = names
            .into_iter()
            .flatten()
            .find(|name| name.parse::<axum::http::HeaderName>().is_err() || name.len() > 100)
        {
            return Err(format!("`{name}` is no name of a header"));
        }
        if pointer.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            return Err("`id_pointer` is a JSON Pointer, which begins with `/`".to_owned());
        }
        Ok(())
    }

    /// Verifies a message over its raw body at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`Unverified`].
    pub fn verify(
        &self,
        secret: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: i64,
    ) -> Result<Identity, Unverified> {
        let believed = |fits: bool| if fits { Ok(()) } else { Err(Unverified::Signature) };
        match self {
            Self::Standard {} => {
                let id = needed(headers, "webhook-id")?;
                let timestamp = needed(headers, "webhook-timestamp")?;
                let signatures = needed(headers, "webhook-signature")?;
                let key = Verifying::read(secret).ok_or(Unverified::Signature)?;
                verify(&key, (id, timestamp, signatures), body, now)?;
                Ok(Identity::Known(id.to_owned()))
            }
            Self::Github {} => {
                let given = needed(headers, "x-hub-signature-256")?.strip_prefix("sha256=");
                believed(fits(secret, &[body], given.and_then(|text| hex::decode(text).ok())))?;
                let id = header(headers, "x-github-delivery");
                Ok(id.map_or(Identity::Digest, |id| Identity::Known(id.to_owned())))
            }
            Self::Stripe {} => stripe(secret, headers, body, now),
            Self::Slack {} => {
                let at = needed(headers, "x-slack-request-timestamp")?;
                let given = needed(headers, "x-slack-signature")?.strip_prefix("v0=");
                timely(at, now)?;
                let parts: [&[u8]; 4] = [b"v0:", at.as_bytes(), b":", body];
                believed(fits(secret, &parts, given.and_then(|text| hex::decode(text).ok())))?;
                Ok(Identity::At("/event_id".to_owned()))
            }
            Self::Hmac { header: name, encoding, prefix, id_header, id_pointer } => {
                let given = header(headers, name).ok_or(Unverified::Header("signature"))?;
                let given = given.strip_prefix(prefix.as_str()).and_then(|text| match encoding {
                    Encoding::Hex => hex::decode(text).ok(),
                    Encoding::Base64 => STANDARD.decode(text).ok(),
                });
                believed(fits(secret, &[body], given))?;
                identity(headers, id_header.as_ref(), id_pointer.as_ref())
            }
            Self::Bearer { id_header, id_pointer } => {
                let given = needed(headers, "authorization")?.strip_prefix("Bearer ");
                let given = Sha256::digest(given.unwrap_or_default().trim());
                let known = Sha256::digest(secret);
                believed(given.as_slice().ct_eq(known.as_slice()).into())?;
                identity(headers, id_header.as_ref(), id_pointer.as_ref())
            }
        }
    }
}

/// `t=…,v1=…,v1=…`: one of the digests over `{t}.{body}` must fit.
fn stripe(
    secret: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Identity, Unverified> {
    let pairs: Vec<(&str, &str)> = needed(headers, "stripe-signature")?
        .split(',')
        .take(16)
        .filter_map(|pair| pair.trim().split_once('='))
        .collect();
    let at = pairs.iter().find(|(name, _)| *name == "t").map(|(_, value)| *value);
    let at = at.ok_or(Unverified::Timestamp)?;
    timely(at, now)?;
    let parts: [&[u8]; 3] = [at.as_bytes(), b".", body];
    let mut given = pairs.iter().filter(|(name, _)| *name == "v1");
    if given.any(|(_, digest)| fits(secret, &parts, hex::decode(digest).ok())) {
        Ok(Identity::At("/id".to_owned()))
    } else {
        Err(Unverified::Signature)
    }
}

impl Identity {
    /// Returns what tells the message apart, at most 255 bytes.
    pub fn of(&self, body: &[u8], payload: &serde_json::Value) -> String {
        let said = match self {
            Self::Known(said) => Some(said.clone()),
            Self::At(pointer) => payload.pointer(pointer).and_then(|value| match value {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Number(number) => Some(number.to_string()),
                _ => None,
            }),
            Self::Digest => None,
        };
        let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        match said.filter(|said| !said.is_empty() && !said.contains('\0')) {
            Some(said) if said.len() <= MAX_ID => said,
            Some(said) => format!("sha256:{}", digest(said.as_bytes())),
            None => format!("sha256:{}", digest(body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::sign::SigningSecret;

    const NOW: i64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"id":"evt_1","event_id":"Ev1","type":"invoice.paid"}"#;
    const SECRET: &str = "a secret of enough length";

    fn mac(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
        hmac(secret.as_bytes(), parts).unwrap().finalize().into_bytes().to_vec()
    }

    fn headers(pairs: &[(&str, String)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn the_example_that_github_publishes_is_believed() {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let sent = headers(&[
            ("x-hub-signature-256", signature.to_owned()),
            ("x-github-delivery", "72d3162e".to_owned()),
        ]);
        let secret = "It's a Secret to Everybody";
        let id = Verifier::Github {}.verify(secret, &sent, b"Hello, World!", NOW).unwrap();
        assert_eq!(id, Identity::Known("72d3162e".to_owned()));
        let other = Verifier::Github {}.verify(secret, &sent, b"Hello, World?", NOW);
        assert_eq!(other, Err(Unverified::Signature));
    }

    /// A verifier, the secret, the headers of a message that it believes, and the one of the signature.
    type Way = (Verifier, String, Vec<(&'static str, String)>, &'static str);

    fn ways() -> Vec<Way> {
        let at = NOW.to_string();
        let standard = SigningSecret::new(false);
        let public = SigningSecret::new(true);
        let signed = |secret: &SigningSecret| {
            vec![
                ("webhook-signature", secret.sign("msg_1", NOW, BODY)),
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", at.clone()),
            ]
        };
        let stripe = hex::encode(mac(SECRET, &[at.as_bytes(), b".", BODY]));
        let slack = hex::encode(mac(SECRET, &[b"v0:", at.as_bytes(), b":", BODY]));
        let generic = Verifier::Hmac {
            header: "x-signature".to_owned(),
            encoding: Encoding::Base64,
            prefix: "sha256:".to_owned(),
            id_header: None,
            id_pointer: Some("/id".to_owned()),
        };
        let digest = STANDARD.encode(mac(SECRET, &[BODY]));
        let own = SECRET.to_owned();
        vec![
            (Verifier::Standard {}, standard.text(), signed(&standard), "webhook-signature"),
            (Verifier::Standard {}, public.public().unwrap(), signed(&public), "webhook-signature"),
            (
                Verifier::Stripe {},
                own.clone(),
                vec![("stripe-signature", format!("t={at},v0=00,v1=00,v1={stripe}"))],
                "stripe-signature",
            ),
            (
                Verifier::Slack {},
                own.clone(),
                vec![
                    ("x-slack-signature", format!("v0={slack}")),
                    ("x-slack-request-timestamp", at),
                ],
                "x-slack-signature",
            ),
            (
                generic,
                own.clone(),
                vec![("x-signature", format!("sha256:{digest}"))],
                "x-signature",
            ),
            (
                Verifier::Bearer { id_header: None, id_pointer: None },
                own.clone(),
                vec![("authorization", format!("Bearer {own}"))],
                "authorization",
            ),
        ]
    }

    #[test]
    fn every_way_believes_its_own_and_no_message_with_a_flipped_bit() {
        for (verifier, secret, sent, signature) in ways() {
            verifier.checked(&secret).unwrap();
            let good = verifier.verify(&secret, &headers(&sent), BODY, NOW);
            assert!(good.is_ok(), "{verifier:?}: {good:?}");
            let timed = !matches!(verifier, Verifier::Hmac { .. } | Verifier::Bearer { .. });
            for late in [-301, 301] {
                let checked = verifier.verify(&secret, &headers(&sent), BODY, NOW + late);
                assert_eq!(checked.is_err(), timed, "{verifier:?} {late}");
            }
            if !matches!(verifier, Verifier::Bearer { .. }) {
                for bit in 0..BODY.len() * 8 {
                    let mut body = BODY.to_vec();
                    body[bit / 8] ^= 1 << (bit % 8);
                    let checked = verifier.verify(&secret, &headers(&sent), &body, NOW);
                    assert!(checked.is_err(), "{verifier:?}: bit {bit} of the body");
                }
            }
            for (at, (name, value)) in sent.iter().enumerate() {
                for place in 0..value.len() {
                    let mut bytes = value.clone().into_bytes();
                    bytes[place] ^= 1;
                    let Ok(flipped) = String::from_utf8(bytes) else { continue };
                    if flipped.parse::<axum::http::HeaderValue>().is_err() {
                        continue;
                    }
                    let mut changed = sent.clone();
                    changed[at].1 = flipped;
                    let checked = verifier.verify(&secret, &headers(&changed), BODY, NOW);
                    // The digests that Stripe sends beside the right one are anybody's.
                    let beside = *name == "stripe-signature" && (13..27).contains(&place);
                    assert!(checked.is_err() || beside, "{verifier:?}: {name} at {place}");
                }
                let mut fewer = sent.clone();
                fewer.remove(at);
                assert!(verifier.verify(&secret, &headers(&fewer), BODY, NOW).is_err(), "{name}");
            }
            let empty = [(signature, String::new())];
            assert!(verifier.verify(&secret, &headers(&empty), BODY, NOW).is_err());
        }
    }

    #[test]
    fn a_message_is_told_apart_by_what_its_sender_says_or_by_its_digest() {
        let payload: serde_json::Value = serde_json::from_slice(BODY).unwrap();
        let of = |identity: Identity| identity.of(BODY, &payload);
        assert_eq!(of(Identity::At("/id".to_owned())), "evt_1");
        assert_eq!(of(Identity::Known("a".to_owned())), "a");
        assert_eq!(of(Identity::At("/none".to_owned())), of(Identity::Digest));
        assert!(of(Identity::Known("x".repeat(300))).len() <= 255);
    }

    #[test]
    fn secrets_that_protect_nothing_are_refused() {
        for (verifier, secret) in [
            (Verifier::Standard {}, "whsec_"),
            (Verifier::Standard {}, "a long text that is no secret of the standard"),
            (Verifier::Github {}, ""),
            (Verifier::Stripe {}, "short"),
            (Verifier::Bearer { id_header: Some("a b".to_owned()), id_pointer: None }, SECRET),
            (Verifier::Bearer { id_header: None, id_pointer: Some("id".to_owned()) }, SECRET),
        ] {
            assert!(verifier.checked(secret).is_err(), "{verifier:?} {secret}");
        }
    }
}
