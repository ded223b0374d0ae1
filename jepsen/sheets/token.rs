//! The token endpoint, and what a bearer token is good for.
//!
//! Holds: a token is given only for an assertion that one of our accounts signed for this endpoint, for
//! the scopes that it names, for a time that ends.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::batch::Caller;
use crate::error::{self, Answer};
use crate::keys::{Account, decode};
use crate::settings::Settings;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const GOOGLE: &str = "https://oauth2.googleapis.com/token";
const SCOPE_PREFIX: &str = "https://www.googleapis.com/auth/";
const ASSERTION_S_MAX: u64 = 3600;
/// How wrong a client's clock may be; Google allows some minutes.
const SKEW_S_MAX: u64 = 300;

#[derive(Clone, Debug)]
struct Token {
    caller: Caller,
    scopes: Vec<String>,
    ends_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    accounts: HashMap<String, Account>,
    by_bearer: HashMap<String, Token>,
    given: u64,
}

fn refused(name: &str, words: &str) -> Answer {
    Answer::json(400, json!({"error": name, "error_description": words}))
}

impl Tokens {
    pub(crate) fn add(&mut self, account: Account) {
        self.accounts.insert(account.email.clone(), account);
    }

    /// A revoked key: no token any more.
    pub(crate) fn revoke(&mut self, email: &str) -> bool {
        self.by_bearer.retain(|_, token| token.caller.user != email);
        self.accounts.remove(email).is_some()
    }

    pub(crate) fn emails(&self) -> Vec<&str> {
        let mut emails = self.accounts.keys().map(String::as_str).collect::<Vec<_>>();
        emails.sort_unstable();
        emails
    }

    /// Answers a POST with this form.
    pub(crate) fn give(
        &mut self,
        form: &HashMap<String, String>,
        (token_uri, now_ms): (&str, u64),
        settings: &Settings,
    ) -> Answer {
        if form.get("grant_type").is_none_or(|grant| grant != GRANT) {
            return refused("unsupported_grant_type", "Invalid grant_type");
        }
        let assertion = form.get("assertion").map_or("", String::as_str);
        match self.judge(assertion, token_uri, now_ms / 1000) {
            Err((name, words)) => refused(name, &words),
            Ok((caller, scopes)) => {
                self.given += 1;
                let name = format!("ya29.fake-{}-{}", self.given, caller.user);
                let ends_ms = now_ms + settings.token_life_ms;
                self.by_bearer
                    .retain(|_, token| token.ends_ms + 600_000 > now_ms);
                let token = Token {
                    caller,
                    scopes,
                    ends_ms,
                };
                self.by_bearer.insert(name.clone(), token);
                let told = settings.token_told_s.min(settings.token_life_ms / 1000);
                let body = json!({
                    "access_token": name, "expires_in": told, "token_type": "Bearer"});
                Answer::json(200, body)
            }
        }
    }

    /// `Err`: which error, and Google's words for it.
    fn judge(
        &self,
        assertion: &str,
        token_uri: &str,
        now_s: u64,
    ) -> Result<(Caller, Vec<String>), (&'static str, String)> {
        let invalid = |words: &str| ("invalid_grant", words.to_owned());
        let parts = assertion.rsplit_once('.').and_then(|(signed, signature)| {
            let (head, claims) = signed.split_once('.')?;
            let json = |text| serde_json::from_slice::<Value>(&decode(text)?).ok();
            Some((signed, decode(signature)?, json(head)?, json(claims)?))
        });
        let Some((signed, signature, head, claims)) = parts else {
            return Err(invalid("Bad Request"));
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let account = self.accounts.get(text("iss"));
        let account = account.ok_or_else(|| invalid("Invalid grant: account not found"))?;
        let is_rs256 = head.get("alg").and_then(Value::as_str) == Some("RS256");
        if !is_rs256 || !account.has_signed(signed, &signature) {
            return Err(invalid("Invalid JWT Signature."));
        }
        // Google's own clients name Google's endpoint, wherever they send the assertion.
        if ![token_uri, GOOGLE].contains(&text("aud")) {
            return Err(invalid(
                "Invalid JWT: Failed audience check. The right audience is the token URI.",
            ));
        }
        let number = |name: &str| claims.get(name).and_then(Value::as_u64);
        let is_timely = number("iat").zip(number("exp")).is_some_and(|(iat, exp)| {
            exp > now_s.saturating_sub(SKEW_S_MAX)
                && iat < now_s + SKEW_S_MAX
                && exp.saturating_sub(iat) <= ASSERTION_S_MAX
                && iat + ASSERTION_S_MAX + SKEW_S_MAX > now_s
        });
        if !is_timely {
            return Err(invalid(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                 timeframe. Check your iat and exp values in the JWT claim.",
            ));
        }
        let scopes = text("scope").split(' ').filter(|scope| !scope.is_empty());
        let scopes = scopes.map(str::to_owned).collect::<Vec<_>>();
        if scopes.is_empty() || !scopes.iter().all(|scope| scope.starts_with(SCOPE_PREFIX)) {
            let words = "Invalid OAuth scope or ID token audience provided.";
            return Err(("invalid_scope", words.to_owned()));
        }
        let caller = Caller {
            user: account.email.clone(),
            project: account.project.clone(),
        };
        Ok((caller, scopes))
    }

    /// Whose token it is, if it is good for one of `scopes`.
    pub(crate) fn caller(
        &self,
        bearer: Option<&str>,
        scopes: &[String],
        now_ms: u64,
    ) -> Result<Caller, Answer> {
        let Some(bearer) = bearer else {
            return Err(error::unauthenticated("CREDENTIALS_MISSING"));
        };
        let Some(token) = self.by_bearer.get(bearer) else {
            return Err(error::unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED"));
        };
        if token.ends_ms <= now_ms {
            return Err(error::unauthenticated("ACCESS_TOKEN_EXPIRED"));
        }
        if token.scopes.iter().any(|scope| scopes.contains(scope)) {
            return Ok(token.caller.clone());
        }
        let metadata = json!({"service": "sheets.googleapis.com"});
        let details = error::info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", &metadata);
        let words = "Request had insufficient authentication scopes.";
        Err(error::error(403, Some(words), Some(details)))
    }

    /// Those of one user, or all, end now.
    pub(crate) fn expire(&mut self, user: Option<&str>) {
        for token in self.by_bearer.values_mut() {
            if user.is_none_or(|user| token.caller.user == user) {
                token.ends_ms = 0;
            }
        }
    }
}
