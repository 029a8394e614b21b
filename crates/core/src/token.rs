//! Short-lived tokens that stand for a key: CBOR Web Tokens (RFC 8392) in `COSE_Sign1` (RFC 9052), signed with Ed25519.
//!
//! A token names its key and carries no right of its own: at every door of Keyrack the key counts as it is then. Who checks
//! one offline ([`verify`]) knows what the key was when the token was made, for an hour at most.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use aws_lc_rs::{digest as sha, hmac};
use coset::cbor::value::Value;
use coset::cwt::{ClaimName, ClaimsSet, ClaimsSetBuilder, Timestamp as NumericDate};
use coset::iana::{self, EnumI64 as _};
use coset::{
    Algorithm, CborSerializable as _, CoseKey, CoseKeyBuilder, CoseKeySet, CoseSign1, CoseSign1Builder, Header,
    HeaderBuilder, RegisteredLabelWithPrivate, TaggedCborSerializable as _,
};
use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

use crate::carrier::MAX_TOKEN_LENGTH;
use crate::format::MAX_KEY_LENGTH;
use crate::{KeyId, OrganizationId, ScopeSet, Tier, Timestamp};

/// How long a token lives at most, in seconds.
pub const MAX_LIFE: i64 = 3600;

/// The number of a signing key: the first 8 bytes of the SHA-256 of its public key.
pub type Kid = [u8; 8];

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The key it stands for.
    pub key: KeyId,
    /// Which secret of the key it was exchanged for: it dies with that.
    pub secret_version: u32,
    /// Where the key's record stands ([`crate::KeyDigest::locator`]), so that it is found without a search.
    pub locator: u64,
    /// The key's organization.
    pub organization: OrganizationId,
    /// What that paid for when the token was made.
    pub tier: Tier,
    /// What it may do of all that the key may; `None` for all of it.
    pub scopes: Option<ScopeSet>,
    /// When it was made, in whole seconds.
    pub issued_at: Timestamp,
    /// From when on it is not taken, in whole seconds.
    pub expires_at: Timestamp,
}

/// Why text is no token that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not what a token of ours looks like.
    #[error("is not a token of Keyrack")]
    Form,
    /// Not signed with Ed25519.
    #[error("is signed with another algorithm than EdDSA")]
    Algorithm,
    /// Signed with a key that is not among ours, or not any more.
    #[error("is signed with a key that is not known")]
    UnknownKey,
    /// The signature is not of this token.
    #[error("has a signature that is not right")]
    Signature,
    /// Its time is over.
    #[error("has expired")]
    Expired,
}

/// A master key of an instance, from which keys for its several purposes follow. It stands in the key file only, and cannot be
/// printed.
#[derive(Clone)]
pub struct MasterKey {
    id: i64,
    key: hmac::Key,
}

impl MasterKey {
    /// A master key of 32 random bytes with its number.
    pub fn new(id: i64, bytes: &[u8; 32]) -> Self {
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }

    /// Its number.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// A value that tells this key from another without betraying it: stored beside the data, so that a wrong key file is noticed at the
    /// start.
    pub fn fingerprint(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.derive(b"keyrack master key fingerprint")[..16])
    }

    /// The key that follows from it for a purpose.
    pub(crate) fn derive(&self, purpose: &[u8]) -> zeroize::Zeroizing<[u8; 32]> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        key.copy_from_slice(hmac::sign(&self.key, purpose).as_ref());
        key
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// A key that signs tokens. It cannot be printed.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    kid: Kid,
}

impl SigningKey {
    /// The key of a number under a master key: nothing has to be kept of it but the number.
    pub fn derive(master_key: &MasterKey, number: u32) -> Option<Self> {
        let seed = master_key.derive(&[b"keyrack token signing key".as_slice(), &number.to_be_bytes()].concat());
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).ok()?;
        let kid = kid_of(pair.public_key().as_ref());
        Some(Self { pair, kid })
    }

    /// What checks its tokens.
    pub fn public(&self) -> Option<PublicKey> {
        PublicKey::new(self.pair.public_key().as_ref())
    }

    /// Writes a token.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        let protected = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).key_id(self.kid.to_vec()).build();
        let sign1 = CoseSign1Builder::new().protected(protected).payload(claims.write()?);
        let sign1 = sign1.create_signature(&[], |bytes| self.pair.sign(bytes).as_ref().to_vec()).build();
        Some(BASE64URL_NOPAD.encode(&sign1.to_tagged_vec().ok()?))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", data_encoding::HEXLOWER.encode(&self.kid))
    }
}

/// What checks the tokens of a signing key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey {
    bytes: [u8; 32],
    kid: Kid,
}

impl PublicKey {
    /// A key of 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Some(Self { bytes: bytes.try_into().ok()?, kid: kid_of(bytes) })
    }

    /// Its number.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// As RFC 9052 has it.
    fn cose(&self) -> CoseKey {
        CoseKeyBuilder::new_okp_key()
            .algorithm(iana::Algorithm::EdDSA)
            .key_id(self.kid.to_vec())
            .add_key_op(iana::KeyOperation::Verify)
            .param(iana::OkpKeyParameter::Crv.to_i64(), Value::from(iana::EllipticCurve::Ed25519.to_i64()))
            .param(iana::OkpKeyParameter::X.to_i64(), Value::Bytes(self.bytes.to_vec()))
            .build()
    }
}

/// Public keys as a COSE key set.
pub fn cose_key_set(keys: &[PublicKey]) -> Option<Vec<u8>> {
    CoseKeySet(keys.iter().map(PublicKey::cose).collect()).to_vec().ok()
}

fn kid_of(public_key: &[u8]) -> Kid {
    let mut kid = [0; 8];
    kid.copy_from_slice(&sha::digest(&sha::SHA256, public_key).as_ref()[..8]);
    kid
}

/// A token that is written as one of ours is, before anybody has looked at its signature.
#[derive(Debug)]
pub struct Unverified {
    sign1: CoseSign1,
    kid: Kid,
}

impl Unverified {
    /// Reads the text of a token. Strictly: one token has one text.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        if text.len() <= MAX_KEY_LENGTH || text.len() > MAX_TOKEN_LENGTH {
            return Err(TokenError::Form);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError::Form)?;
        let sign1 = CoseSign1::from_tagged_slice(&bytes).map_err(|_| TokenError::Form)?;
        let Header { alg, crit, content_type, key_id, iv, partial_iv, counter_signatures, rest } =
            &sign1.protected.header;
        if *alg != Some(Algorithm::Assigned(iana::Algorithm::EdDSA)) {
            return Err(TokenError::Algorithm);
        }
        let is_plain = crit.is_empty()
            && content_type.is_none()
            && iv.is_empty()
            && partial_iv.is_empty()
            && counter_signatures.is_empty()
            && rest.is_empty()
            && sign1.unprotected.is_empty();
        let kid = key_id.as_slice().try_into().map_err(|_| TokenError::Form)?;
        // What can be written in two ways is taken in one.
        let is_canonical = sign1.clone().to_tagged_vec().is_ok_and(|again| again == bytes);
        if is_plain && is_canonical { Ok(Self { sign1, kid }) } else { Err(TokenError::Form) }
    }

    /// Which key signed it, if it is true.
    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// What it says, if this key signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<Claims, TokenError> {
        let public = UnparsedPublicKey::new(&ED25519, key.bytes);
        let check = |signature: &[u8], signed: &[u8]| public.verify(signed, signature);
        self.sign1.verify_signature(&[], check).map_err(|_| TokenError::Signature)?;
        Claims::read(self.sign1.payload.as_deref().unwrap_or_default()).ok_or(TokenError::Form)
    }
}

/// Checks a token offline: its signature, then its expiry. Whether the key still works, only Keyrack knows.
pub fn verify(text: &str, keys: &[PublicKey], now: Timestamp) -> Result<Claims, TokenError> {
    let token = Unverified::read(text)?;
    let key = keys.iter().find(|key| key.kid == token.kid).ok_or(TokenError::UnknownKey)?;
    let claims = token.verify(key)?;
    if now >= claims.expires_at { Err(TokenError::Expired) } else { Ok(claims) }
}

const KEY: &str = "key_id";
const ORGANIZATION: &str = "org_id";
const TIER: &str = "tier";
const SECRET_VERSION: &str = "sv";
const LOCATOR: &str = "loc";

impl Claims {
    fn write(&self) -> Option<Vec<u8>> {
        let mut claims = ClaimsSetBuilder::new()
            .expiration_time(NumericDate::WholeSeconds(self.expires_at.as_second()))
            .issued_at(NumericDate::WholeSeconds(self.issued_at.as_second()))
            .text_claim(KEY.to_owned(), Value::Text(self.key.to_string()))
            .text_claim(ORGANIZATION.to_owned(), Value::Text(self.organization.to_string()))
            .text_claim(TIER.to_owned(), Value::Text(self.tier.as_str().to_owned()))
            .text_claim(SECRET_VERSION.to_owned(), Value::from(self.secret_version))
            .text_claim(LOCATOR.to_owned(), Value::Bytes(self.locator.to_be_bytes().to_vec()));
        if let Some(scopes) = &self.scopes {
            claims = claims.claim(iana::CwtClaimName::Scope, Value::Text(scopes.to_strings().join(" ")));
        }
        claims.build().to_vec().ok()
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let claims = ClaimsSet::from_slice(payload).ok()?;
        let seconds = |date: &Option<NumericDate>| match date {
            Some(NumericDate::WholeSeconds(seconds)) => Timestamp::from_second(*seconds).ok(),
            _ => None,
        };
        let named = |name: &str| {
            let is_it = |claim: &ClaimName| *claim == RegisteredLabelWithPrivate::Text(name.to_owned());
            claims.rest.iter().find(|(claim, _)| is_it(claim)).map(|(_, value)| value)
        };
        let id = |name: &str| named(name)?.as_text()?.parse::<Uuid>().ok();
        let scope = RegisteredLabelWithPrivate::Assigned(iana::CwtClaimName::Scope);
        let scopes = match claims.rest.iter().find(|(claim, _)| *claim == scope) {
            Some((_, value)) => {
                let words: Vec<&str> = value.as_text()?.split_ascii_whitespace().collect();
                Some(ScopeSet::parse(&words).ok()?)
            }
            None => None,
        };
        Some(Self {
            key: KeyId(id(KEY)?),
            secret_version: u32::try_from(i128::from(named(SECRET_VERSION)?.as_integer()?)).ok()?,
            locator: u64::from_be_bytes(named(LOCATOR)?.as_bytes()?.as_slice().try_into().ok()?),
            organization: OrganizationId(id(ORGANIZATION)?),
            tier: Tier::parse(named(TIER)?.as_text()?)?,
            scopes,
            issued_at: seconds(&claims.issued_at)?,
            expires_at: seconds(&claims.expiration_time)?,
        })
    }
}
