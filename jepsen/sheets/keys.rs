//! Service accounts, made at run time: an RSA key by the `openssl` program, and the JSON file that
//! Google would let an administrator download.

use std::process::Command;

use anyhow::{Context as _, ensure};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

/// What the token endpoint knows of an account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) email: String,
    pub(crate) project: String,
    public: Vec<u8>,
}

impl Account {
    /// Answers also the credentials: they hold the private key, which is kept nowhere else.
    pub(crate) fn make(
        name: &str,
        project: &str,
        token_uri: &str,
    ) -> anyhow::Result<(Self, Value)> {
        let arguments = [
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ];
        let output = Command::new("openssl").args(arguments).output();
        let output = output.context("cannot run openssl (Debian: openssl)")?;
        ensure!(
            output.status.success(),
            "openssl makes no key: {}",
            output.status
        );
        let pem = String::from_utf8(output.stdout)?;
        let body = pem.lines().filter(|line| !line.starts_with("-----"));
        let der = decode(&body.collect::<String>()).context("openssl's key is no base64")?;
        let pair = RsaKeyPair::from_pkcs8(&der);
        let pair = pair.map_err(|why| anyhow::anyhow!("openssl's key cannot be read: {why}"))?;
        let email = format!("{name}@{project}.iam.gserviceaccount.com");
        let credentials = json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": "fake",
            "private_key": pem,
            "client_email": email,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "universe_domain": "googleapis.com",
        });
        let account = Self {
            email,
            project: project.to_owned(),
            public: pair.public_key().as_ref().to_vec(),
        };
        Ok((account, credentials))
    }

    pub(crate) fn has_signed(&self, text: &str, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        key.verify(text.as_bytes(), signature).is_ok()
    }
}

/// Base64, with either alphabet, with or without padding.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut len) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        len += 6;
        if len >= 8 {
            len -= 8;
            bytes.push(u8::try_from((bits >> len) & 255).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_read_in_both_alphabets() {
        assert_eq!(decode("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode("-_8").unwrap(), [0xfb, 0xff]);
        assert_eq!(decode("+/8=").unwrap(), [0xfb, 0xff]);
        assert_eq!(decode("a b"), None);
    }
}
