//! Signatures of Standard Webhooks, made and verified: `v1` by HMAC-SHA256, `v1a` by Ed25519.
//!
//! The signed text is `{id}.{timestamp}.{body}`; the header holds one signature a key, parted by spaces.
//!
//! # Source
//! Standard Webhooks 1.0.0, sections *Signature scheme* and *Webhook headers*; RFC 2104, RFC 8032.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

/// Seconds by which a timestamp may be off.
pub const TOLERANCE: i64 = 300;

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unverified {
    /// A header is absent or not text.
    #[error("the header `{0}` is absent or cannot be read")]
    Header(&'static str),
    /// The timestamp is no number or too far from now.
    #[error("the timestamp is not within five minutes of now")]
    Timestamp,
    /// No signature fits.
    #[error("no signature fits the body and the secret")]
    Signature,
}

/// A key that signs.
#[derive(Clone)]
pub enum SigningSecret {
    /// `v1`: 24 to 64 bytes.
    Hmac(Vec<u8>),
    /// `v1a`.
    Ed25519(Box<SigningKey>),
}

/// A key that verifies.
#[derive(Clone)]
pub enum Verifying {
    /// `v1`.
    Hmac(Vec<u8>),
    /// `v1a`.
    Ed25519(Box<VerifyingKey>),
}

/// Returns the HMAC of parts.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

fn bytes(text: &str, prefix: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix(prefix)?).ok()
}

impl SigningSecret {
    /// Draws a new one.
    pub fn new(asymmetric: bool) -> Self {
        let drawn: [u8; 32] = rand::random();
        if asymmetric {
            Self::Ed25519(Box::new(SigningKey::from_bytes(&drawn)))
        } else {
            Self::Hmac(drawn.to_vec())
        }
    }

    /// Reads `whsec_…` (24 to 64 bytes) or `whsk_…` (32 bytes).
    pub fn read(text: &str) -> Option<Self> {
        if let Some(key) = bytes(text, "whsec_") {
            return (24..=64).contains(&key.len()).then_some(Self::Hmac(key));
        }
        let seed: [u8; 32] = bytes(text, "whsk_")?.try_into().ok()?;
        Some(Self::Ed25519(Box::new(SigningKey::from_bytes(&seed))))
    }

    /// Returns it as [`SigningSecret::read`] reads it.
    pub fn text(&self) -> String {
        match self {
            Self::Hmac(key) => format!("whsec_{}", STANDARD.encode(key)),
            Self::Ed25519(key) => format!("whsk_{}", STANDARD.encode(key.to_bytes())),
        }
    }

    /// Returns the name of its scheme.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Hmac(_) => "v1",
            Self::Ed25519(_) => "v1a",
        }
    }

    /// Returns the key that receivers verify by, `whpk_…`, where it may be known.
    pub fn public(&self) -> Option<String> {
        match self {
            Self::Hmac(_) => None,
            Self::Ed25519(key) => {
                Some(format!("whpk_{}", STANDARD.encode(key.verifying_key().to_bytes())))
            }
        }
    }

    /// Returns the signature of a message, as it stands in the header.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let signature = match self {
            Self::Hmac(key) => hmac(key, &[head.as_bytes(), body])
                .map(|mac| STANDARD.encode(mac.finalize().into_bytes()))
                .unwrap_or_default(),
            Self::Ed25519(key) => {
                STANDARD.encode(key.sign(&[head.as_bytes(), body].concat()).to_bytes())
            }
        };
        format!("{},{signature}", self.scheme())
    }
}

impl Verifying {
    /// Reads `whsec_…` (24 to 64 bytes) or `whpk_…`.
    pub fn read(text: &str) -> Option<Self> {
        if text.starts_with("whpk_") {
            let key: [u8; 32] = bytes(text, "whpk_")?.try_into().ok()?;
            let key = VerifyingKey::from_bytes(&key).ok()?;
            return Some(Self::Ed25519(Box::new(key)));
        }
        match SigningSecret::read(text)? {
            SigningSecret::Hmac(key) => Some(Self::Hmac(key)),
            SigningSecret::Ed25519(_) => None,
        }
    }

    fn fits(&self, signature: &str, parts: &[&[u8]]) -> bool {
        let read = |prefix| signature.strip_prefix(prefix).and_then(|s| STANDARD.decode(s).ok());
        match self {
            Self::Hmac(key) => read("v1,")
                .zip(hmac(key, parts))
                .is_some_and(|(given, mac)| mac.verify_slice(&given).is_ok()),
            Self::Ed25519(key) => {
                let given = read("v1a,").and_then(|bytes| Signature::from_slice(&bytes).ok());
                given.is_some_and(|given| key.verify_strict(&parts.concat(), &given).is_ok())
            }
        }
    }
}

/// Reads a timestamp: digits and nothing else, within [`TOLERANCE`] of `now`.
///
/// # Errors
/// [`Unverified::Timestamp`].
pub fn timely(timestamp: &str, now: i64) -> Result<i64, Unverified> {
    let digits =
        (1..=12).contains(&timestamp.len()) && timestamp.bytes().all(|b| b.is_ascii_digit());
    let read = timestamp.parse::<i64>().ok().filter(|_| digits);
    let near = |at: &i64| at.abs_diff(now) <= TOLERANCE.unsigned_abs();
    read.filter(near).ok_or(Unverified::Timestamp)
}

/// Verifies a message: one signature of the header must fit the key. All are tried, in a time that does
/// not tell which byte differs.
///
/// # Errors
/// [`Unverified::Timestamp`], [`Unverified::Signature`].
pub fn verify(
    key: &Verifying,
    (id, timestamp, signatures): (&str, &str, &str),
    body: &[u8],
    now: i64,
) -> Result<(), Unverified> {
    timely(timestamp, now)?;
    let head = format!("{id}.{timestamp}.");
    let parts: [&[u8]; 2] = [head.as_bytes(), body];
    let fits = signatures.split(' ').take(16).any(|signature| key.fits(signature, &parts));
    if fits { Ok(()) } else { Err(Unverified::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The official vector, the same in the libraries of all languages.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const AT: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNED: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn check(key: &Verifying, timestamp: &str, signatures: &str) -> Result<(), Unverified> {
        verify(key, (ID, timestamp, signatures), BODY, AT)
    }

    #[test]
    fn the_official_vector_signs_and_verifies() {
        let secret = SigningSecret::read(SECRET).unwrap();
        assert_eq!(secret.sign(ID, AT, BODY), SIGNED);
        assert_eq!(secret.text(), SECRET);
        let key = Verifying::read(SECRET).unwrap();
        let at = AT.to_string();
        assert_eq!(check(&key, &at, SIGNED), Ok(()));
        let several = format!("v1,AAAA v2,{} {SIGNED}", &SIGNED[3..]);
        assert_eq!(check(&key, &at, &several), Ok(()));
        for wrong in ["", "v1,", "v1", &SIGNED[..20], &SIGNED.replace("v1,", "v1a,"), "v1,dGVzdA=="]
        {
            assert_eq!(check(&key, &at, wrong), Err(Unverified::Signature), "{wrong}");
        }
        for (id, body) in [("msg_other", BODY), (ID, &BODY[1..])] {
            let checked = verify(&key, (id, &at, SIGNED), body, AT);
            assert_eq!(checked, Err(Unverified::Signature));
        }
    }

    #[test]
    fn timestamps_that_are_no_plain_near_number_are_refused_without_a_panic() {
        let key = Verifying::read(SECRET).unwrap();
        let secret = SigningSecret::read(SECRET).unwrap();
        for offset in [-300, 300] {
            let at = AT + offset;
            assert_eq!(check(&key, &at.to_string(), &secret.sign(ID, at, BODY)), Ok(()));
        }
        let far = [AT - 301, AT + 301, i64::MIN, i64::MAX];
        for text in far.map(|at| at.to_string()).iter().map(String::as_str).chain([
            "",
            "1.5",
            "+1",
            "-1",
            " 1649367553",
            "0x1",
            "99999999999999999999999",
        ]) {
            assert_eq!(check(&key, text, SIGNED), Err(Unverified::Timestamp), "{text}");
        }
    }

    #[test]
    fn empty_and_short_secrets_are_no_secrets() {
        for text in
            ["", "whsec_", "whsec_MTIz", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsk_MTIz", "whpk_"]
        {
            assert!(
                SigningSecret::read(text).is_none() && Verifying::read(text).is_none(),
                "{text}"
            );
        }
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        assert!(SigningSecret::read(&long).is_none());
        // Who holds the private key of `v1a` does not verify by it.
        assert!(Verifying::read(&SigningSecret::new(true).text()).is_none());
    }

    #[test]
    fn ed25519_signs_as_the_standard_says_and_verifies_by_the_public_key() {
        // RFC 8032, section 7.1, test 1: the key pair.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let secret = SigningSecret::read(&format!("whsk_{}", STANDARD.encode(seed))).unwrap();
        let public = secret.public().unwrap();
        let known = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
            .unwrap();
        assert_eq!(public, format!("whpk_{}", STANDARD.encode(known)));
        let key = Verifying::read(&public).unwrap();
        let signed = secret.sign(ID, AT, BODY);
        assert!(signed.starts_with("v1a,"));
        assert_eq!(check(&key, &AT.to_string(), &format!("{SIGNED} {signed}")), Ok(()));
        assert_eq!(check(&key, &AT.to_string(), SIGNED), Err(Unverified::Signature));
    }

    #[test]
    fn a_thousand_messages_verify_and_one_flipped_bit_of_each_does_not() {
        for round in 0..1000_u32 {
            let secret = SigningSecret::new(round % 8 == 0);
            let key = match &secret {
                SigningSecret::Hmac(_) => Verifying::read(&secret.text()).unwrap(),
                SigningSecret::Ed25519(_) => Verifying::read(&secret.public().unwrap()).unwrap(),
            };
            let mut body: Vec<u8> = (0..64).map(|_| rand::random::<u8>()).collect();
            let (id, at) = (format!("msg_{round}"), AT.to_string());
            let signed = secret.sign(&id, AT, &body);
            assert_eq!(verify(&key, (&id, &at, &signed), &body, AT), Ok(()));
            body[(round % 64) as usize] ^= 1 << (round % 8);
            assert!(verify(&key, (&id, &at, &signed), &body, AT).is_err());
        }
    }
}
