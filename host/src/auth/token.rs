//! Tokens: JSON that is signed with the keys of NATS, as nats-server reads it (JWT version 2).
//!
//! Pure: keys and the time of issue come in as arguments.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use sha2::{Digest, Sha512_256};

use super::role::{Permissions, Role};

/// The header of every token.
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// Of the claims inside.
const VERSION: u32 = 2;

/// As much as you like.
const UNLIMITED: i64 = -1;

/// A key has only its public half, so that nothing can be signed with it.
#[derive(Debug, thiserror::Error)]
#[error("signing with a key")]
pub struct SignError(#[from] nkeys::error::Error);

/// A signing key that an account names for a role.
#[derive(Debug)]
pub(crate) struct RoleKey {
    pub(crate) role: Role,
    /// Its public half.
    pub(crate) key: String,
    pub(crate) permissions: Permissions,
}

/// Whose token it is and what it says, before it is signed.
struct Claims<'a> {
    subject: &'a str,
    name: &'a str,
    /// Seconds since the Unix epoch.
    issued_at: u64,
    nats: Value,
}

impl Claims<'_> {
    fn sign(self, issuer: &KeyPair) -> Result<String, SignError> {
        let Self { subject, name, issued_at, nats } = self;
        let mut claims = json!({ "iat": issued_at, "iss": issuer.public_key(), "sub": subject, "name": name, "nats": nats });
        // The id is the digest of everything else.
        claims["jti"] = BASE32_NOPAD.encode(&Sha512_256::digest(claims.to_string())).into();
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = issuer.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The token of an operator, which vouches for itself.
pub(crate) fn operator(key: &KeyPair, name: &str, system_account: &str, issued_at: u64) -> Result<String, SignError> {
    let nats = json!({ "type": "operator", "version": VERSION, "system_account": system_account });
    Claims { subject: &key.public_key(), name, issued_at, nats }.sign(key)
}

/// The token of the account that the server itself speaks in. It has no JetStream, and no keys but its own.
pub(crate) fn system_account(operator: &KeyPair, account: &str, issued_at: u64) -> Result<String, SignError> {
    let nats = json!({ "type": "account", "version": VERSION, "limits": limits() });
    Claims { subject: account, name: "system", issued_at, nats }.sign(operator)
}

/// The token of an account: what each of its signing keys may give, and whose keys are not believed any more, with the second since when.
pub(crate) fn account(
    operator: &KeyPair,
    account: &str,
    name: &str,
    roles: &[RoleKey],
    revoked: &std::collections::BTreeMap<String, u64>,
    issued_at: u64,
) -> Result<String, SignError> {
    let mut limits = limits();
    for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
        limits[limit] = UNLIMITED.into();
    }
    let scopes: Vec<_> = roles.iter().map(scope).collect();
    let mut nats = json!({ "type": "account", "version": VERSION, "limits": limits, "signing_keys": scopes });
    if !revoked.is_empty() {
        nats["revocations"] = json!(revoked);
    }
    Claims { subject: account, name, issued_at, nats }.sign(operator)
}

/// The token of a user of an account. What it may do is what the account says of the key that signs it.
pub(crate) fn user(signer: &KeyPair, account: &str, key: &str, name: &str, tags: &[String], issued_at: u64) -> Result<String, SignError> {
    let mut nats = json!({ "type": "user", "version": VERSION, "issuer_account": account });
    if !tags.is_empty() {
        nats["tags"] = json!(tags);
    }
    Claims { subject: key, name, issued_at, nats }.sign(signer)
}

/// The name in a token, unverified: for a client that wants to know its own. Nothing when it is no token, or has none.
pub(crate) fn name_in(token: &str) -> Option<String> {
    claim_in(token, "name")
}

/// One of the claims of a token that are text, unverified.
pub(super) fn claim_in(token: &str, claim: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(claims.get(claim)?.as_str()?.to_owned())
}

fn limits() -> Value {
    let mut limits = json!({ "wildcards": true });
    for limit in ["subs", "data", "payload", "imports", "exports", "conn", "leaf"] {
        limits[limit] = UNLIMITED.into();
    }
    limits
}

fn scope(RoleKey { role, key, permissions }: &RoleKey) -> Value {
    let Permissions { publish, subscribe, responses } = permissions;
    let mut template = json!({ "pub": list(publish), "sub": list(subscribe), "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED });
    if let Some(responses) = responses {
        let nanos = u64::try_from(responses.within.as_nanos()).unwrap_or(u64::MAX);
        template["resp"] = json!({ "max": responses.most, "ttl": nanos });
    }
    json!({ "kind": "user_scope", "key": key, "role": role.name(), "template": template })
}

/// A list that allows nothing must say so: an empty one allows everything.
fn list(allowed: &[String]) -> Value {
    if allowed.is_empty() { json!({ "deny": [">"] }) } else { json!({ "allow": allowed }) }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::subject::Subjects;

    use super::*;

    fn key(kind: nkeys::KeyPairType, byte: u8) -> KeyPair {
        KeyPair::new_from_raw(kind, [byte; 32]).expect("a key")
    }

    fn claims(token: &str) -> Value {
        let part = token.split('.').nth(1).expect("claims");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    }

    #[test]
    fn a_token_is_signed_by_its_issuer_and_says_the_same_every_time() {
        let (operator_key, account_key) = (key(nkeys::KeyPairType::Operator, 1), key(nkeys::KeyPairType::Account, 2).public_key());
        let token = operator(&operator_key, "ships", &account_key, 1_700_000_000).expect("signed");
        assert_eq!(token, operator(&operator_key, "ships", &account_key, 1_700_000_000).expect("signed"));
        let (text, signature) = token.rsplit_once('.').expect("a signature");
        operator_key.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).expect("base64")).expect("genuine");
        let claims = claims(&token);
        assert_eq!((&claims["iss"], &claims["name"], &claims["nats"]["type"]), (&claims["sub"], &json!("ships"), &json!("operator")));
        assert_eq!(claims["jti"].as_str().map(str::len), Some(52));
    }

    #[test]
    fn a_user_is_bound_to_its_account_and_has_no_permissions_of_its_own() {
        let signer = key(nkeys::KeyPairType::Account, 3);
        let token = user(&signer, "AC", "UX", "ann", &["site:north".to_owned()], 1).expect("signed");
        let nats = &claims(&token)["nats"];
        assert_eq!(*nats, json!({"type": "user", "version": 2, "issuer_account": "AC", "tags": ["site:north"]}));
        assert_eq!(name_in(&token).as_deref(), Some("ann"));
    }

    #[test]
    fn an_account_names_a_template_for_each_key_and_those_who_are_out() {
        let operator = key(nkeys::KeyPairType::Operator, 1);
        let subjects = Subjects::new(&"ph".parse().expect("a name"));
        let roles = [RoleKey { role: Role::Agent, key: "AK".to_owned(), permissions: Role::Agent.permissions(&subjects) }];
        let revoked = [("UX".to_owned(), 7)].into();
        let token = account(&operator, "AC", "ships", &roles, &revoked, 1).expect("signed");
        let nats = &claims(&token)["nats"];
        assert_eq!(nats["revocations"], json!({"UX": 7}));
        assert_eq!(nats["limits"]["disk_storage"], json!(-1));
        let template = &nats["signing_keys"][0]["template"];
        assert_eq!(template["sub"]["allow"], json!(["ph.v1.probe.*.{{name()}}"]));
        assert_eq!(template["resp"]["max"], json!(1));
    }

    #[test]
    fn no_text_panics_as_a_token() {
        for text in ["", ".", "a.b.c", "a.e30.c", "a.!!.c", "a.bnVsbA.c"] {
            assert_eq!(name_in(text), None, "{text:?}");
        }
    }
}
