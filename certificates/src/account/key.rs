//! Keys of accounts, in the form in which certbot keeps them: a private JWK (RFC 7517), of P-256 (ES256) or RSA (RS256).

use std::fmt;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use md5::{Digest as _, Md5};
use ring::{
    digest,
    rand::SystemRandom,
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Map, Value, json};
use x509_parser::der_parser::der::parse_der;

/// The key of an account. Whoever has it can do with the account as he likes, so it is not shown.
pub(crate) struct AccountKey {
    pair: Pair,
    /// What certbot stores.
    private: Value,
    random: SystemRandom,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

/// A key that cannot be used: damaged, or of a kind that is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no private key of P-256 or RSA (2048 to 4096 bits) as JWK")]
pub(crate) struct KeyError;

impl AccountKey {
    /// A new one, of P-256.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(unusable)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        let (x, y) = coordinates(&pair.map_err(unusable)?);
        let secret = secret_of(pkcs8.as_ref())?;
        let [x, y, d] = [x.as_slice(), &y, &secret].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
        Self::from_jwk(json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "d": d }))
    }

    /// Reads a private JWK (RFC 7518 §6.2 and §6.3).
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeyError> {
        Self::from_jwk(serde_json::from_slice(text).map_err(unusable)?)
    }

    fn from_jwk(private: Value) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let number = |name: &str| {
            let text = private[name].as_str().ok_or(KeyError)?;
            BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(unusable)
        };
        let pair = match (private["kty"].as_str(), private["crv"].as_str()) {
            (Some("EC"), Some("P-256")) => {
                // Octets of SEC 1 §2.3.3: "not compressed", then both coordinates.
                let public = [vec![4], padded(&number("x")?)?, padded(&number("y")?)?].concat();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let secret = padded(&number("d")?)?;
                Pair::Es256(
                    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, &public, &random)
                        .map_err(unusable)?,
                )
            }
            (Some("RSA"), _) => {
                let [n, e, d, p, q] = [number("n")?, number("e")?, number("d")?, number("p")?, number("q")?];
                let [dp, dq, qi] = [number("dp")?, number("dq")?, number("qi")?];
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents { n: trimmed(&n), e: trimmed(&e) },
                    d: trimmed(&d),
                    p: trimmed(&p),
                    q: trimmed(&q),
                    dP: trimmed(&dp),
                    dQ: trimmed(&dq),
                    qInv: trimmed(&qi),
                };
                Pair::Rs256(RsaKeyPair::from_components(&components).map_err(unusable)?)
            }
            _ => return Err(KeyError),
        };
        Ok(Self { pair, private, random })
    }

    /// The private JWK, to be stored.
    pub(crate) fn private(&self) -> &Value {
        &self.private
    }

    /// The public JWK, with nothing that need not be there, in the order that RFC 7638 §3 wants.
    pub(crate) fn public(&self) -> Value {
        let part = |name: &str| self.private[name].clone();
        match self.pair {
            Pair::Es256(_) => json!({ "crv": "P-256", "kty": "EC", "x": part("x"), "y": part("y") }),
            Pair::Rs256(_) => json!({ "e": part("e"), "kty": "RSA", "n": part("n") }),
        }
    }

    /// By what a challenge is proven to be of this account (RFC 7638, RFC 8555 §8.1).
    pub(crate) fn thumbprint(&self) -> String {
        let public = self.public();
        let member = |name: &&str| format!("{}:{}", json!(name), public[name]);
        let names: &[&str] = match self.pair {
            Pair::Es256(_) => &["crv", "kty", "x", "y"],
            Pair::Rs256(_) => &["e", "kty", "n"],
        };
        let canonical = format!("{{{}}}", names.iter().map(member).collect::<Vec<_>>().join(","));
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    /// What certbot calls the account: the MD5 of its public key in PEM. Nothing depends on it that MD5 is too weak for.
    pub(crate) fn id(&self) -> String {
        let info = match &self.pair {
            Pair::Es256(pair) => {
                der(0x30, &[&der(0x30, &[EC_PUBLIC_KEY, P_256]), &der(3, &[&[0], pair.public_key().as_ref()])])
            }
            Pair::Rs256(pair) => {
                der(0x30, &[&der(0x30, &[RSA_ENCRYPTION, NULL]), &der(3, &[&[0], pair.public_key().as_ref()])])
            }
        };
        let text = BASE64_STANDARD.encode(info);
        let mut hash = Md5::new();
        hash.update("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            hash.update(line);
            hash.update("\n");
        }
        hash.update("-----END PUBLIC KEY-----\n");
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A JWS in its flattened form (RFC 7515 §7.2.2): this payload, which is base64url, below this header.
    pub(crate) fn jws(&self, mut header: Map<String, Value>, payload: &str) -> Result<Value, KeyError> {
        let algorithm = match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Rs256(_) => "RS256",
        };
        header.insert("alg".to_owned(), algorithm.into());
        let protected = BASE64_URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.sign(format!("{protected}.{payload}").as_bytes())?);
        Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Es256(pair) => Ok(pair.sign(&self.random, message).map_err(unusable)?.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature).map_err(unusable)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

fn unusable<E>(_: E) -> KeyError {
    KeyError
}

fn coordinates(pair: &EcdsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at(point.len() / 2);
    (x.to_vec(), y.to_vec())
}

/// The number that is the private key, out of PKCS #8 (RFC 5958 §2, RFC 5915 §3).
fn secret_of(pkcs8: &[u8]) -> Result<Vec<u8>, KeyError> {
    let part = |der: &[u8], index: usize| -> Result<Vec<u8>, KeyError> {
        let (_, object) = parse_der(der).map_err(unusable)?;
        let parts = object.as_sequence().map_err(unusable)?;
        Ok(parts.get(index).ok_or(KeyError)?.as_slice().map_err(unusable)?.to_vec())
    };
    part(&part(pkcs8, 2)?, 1)
}

/// A number of P-256 as its 32 octets.
fn padded(number: &[u8]) -> Result<Vec<u8>, KeyError> {
    let number = trimmed(number);
    let missing = 32_usize.checked_sub(number.len()).ok_or(KeyError)?;
    Ok([vec![0; missing].as_slice(), number].concat())
}

/// A number without zeros before it.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// A value in DER (X.690 §8.1).
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = contents.len().to_be_bytes();
    let length = trimmed(&length);
    let mut value = vec![tag];
    match contents.len() {
        short @ 0..=127 => value.push(u8::try_from(short).unwrap_or_default()),
        // The number of octets of the length, then these.
        _ => value.extend([&[0x80 | u8::try_from(length.len()).unwrap_or_default()], length].concat()),
    }
    value.extend(contents);
    value
}

/// Object identifiers in DER: 1.2.840.10045.2.1, 1.2.840.10045.3.1.7 and 1.2.840.113549.1.1.1.
const EC_PUBLIC_KEY: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P_256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const RSA_ENCRYPTION: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const NULL: &[u8] = &[5, 0];

#[cfg(test)]
mod tests;
