//! Credentials files: a token, and the key that proves that it is one's own.

use nkeys::KeyPair;
use pilothouse_core::message::Credentials;

use super::token;

/// Puts a token and the seed of its key into the text that every NATS client reads.
pub(crate) fn write(token: &str, key: &KeyPair) -> Result<Credentials, token::SignError> {
    let seed = key.seed()?;
    Ok(Credentials::new(format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         Whoever has this file is who it names. Keep it to yourself.\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )))
}

/// The name in the text of a credentials file. Nothing when its token can't be read, or names nobody.
pub(crate) fn name_in(text: &str) -> Option<String> {
    token::name_in(token_in(text)?)
}

/// The public key of whom the text of a credentials file is for, and that of who signed it.
pub(super) fn keys_in(text: &str) -> Option<(String, String)> {
    let token = token_in(text)?;
    Some((token::claim_in(token, "sub")?, token::claim_in(token, "iss")?))
}

fn token_in(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !(line.starts_with("---") && line.contains("NATS USER JWT")));
    lines.nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_in_the_text() {
        let signer = KeyPair::new_from_raw(nkeys::KeyPairType::Account, [1; 32]).expect("a key");
        let key = KeyPair::new_from_raw(nkeys::KeyPairType::User, [2; 32]).expect("a key");
        let token = token::user(&signer, "AC", &key.public_key(), "ann", &[], 1).expect("signed");
        let text = write(&token, &key).expect("credentials");
        assert_eq!(name_in(text.reveal()).as_deref(), Some("ann"));
        for bad in ["", "ann", "-----BEGIN NATS USER JWT-----", "-----BEGIN NATS USER JWT-----\nx"] {
            assert_eq!(name_in(bad), None, "{bad:?}");
        }
    }
}
