//! Authorizes requests: Basic, or a token from the server that the registry's challenge names.
//!
//! Formats: RFC 7235, `WWW-Authenticate`; distribution, "Token Authentication Specification" and
//! its OAuth 2 variant. A token is requested once, by the first request that needs it; others wait.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::network::is_loopback;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::http::Http;
use super::{Attempts, FIRST_ATTEMPTS, is_passing, retry_after};

/// ECR tokens are valid for 12 hours; renew them after 6.
const BASIC_LIFE: Duration = Duration::from_hours(6);

/// Default lifetime of a token in seconds (Token Authentication Specification).
const TOKEN_LIFE: u64 = 60;

/// Requests a new login: base64 of `user:password`.
pub type Renew = Arc<dyn Fn() -> BoxFuture<'static, Result<String>> + Send + Sync>;

/// The identity to log in with.
#[derive(Clone)]
pub enum Login {
    /// No login.
    Anonymous,
    /// The base64 of `user:password`.
    Basic(String),
    /// A refresh token (`identitytoken` of Docker's configuration).
    Identity(String),
    /// A token to send unchanged (`registrytoken`).
    Bearer(String),
    /// A Basic login that is requested on first use, and renewed when it is old or rejected.
    Renewed(Renew),
}

impl Login {
    /// A user and a password.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic(STANDARD.encode(format!("{user}:{password}")))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic(_) => "Basic(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Bearer(_) => "Bearer(…)",
            Self::Renewed(_) => "Renewed(…)",
        })
    }
}

/// Stores the authorization of requests.
#[derive(Debug)]
pub(super) struct Authorizer {
    login: Login,
    /// False over plain HTTP to another machine, which must never receive the login.
    may_send: bool,
    state: Mutex<AuthState>,
}

#[derive(Debug, Default)]
struct AuthState {
    /// Number of the current authorization, so that only one of many rejected requests renews it.
    generation: u64,
    header: Option<HeaderValue>,
    renew_at: Option<Instant>,
    bearer: Option<Challenge>,
    /// The scopes of token requests.
    scopes: BTreeSet<String>,
}

/// An authorization and its number.
#[derive(Debug, Clone, Default)]
pub(super) struct Authorization {
    generation: u64,
    header: Option<HeaderValue>,
}

impl Authorization {
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }
}

impl Authorizer {
    pub(super) fn new(login: Login, may_send: bool) -> Self {
        Self {
            login,
            may_send,
            state: Mutex::default(),
        }
    }

    /// Adds a scope (`repository:NAME:pull,push`) to all further token requests.
    pub(super) async fn add_scope(&self, scope: String) {
        self.state.lock().await.scopes.insert(scope);
    }

    /// Returns the authorization for a request. Renews an old one before it is rejected.
    pub(super) async fn authorization(&self, http: &Http) -> Result<Authorization> {
        let mut state = self.state.lock().await;
        let old = state.renew_at.is_some_and(|at| at <= Instant::now());
        let first = state.header.is_none()
            && self.may_send
            && matches!(self.login, Login::Renewed(_) | Login::Bearer(_));
        if old || first {
            self.renew(&mut state, http).await?;
        }
        Ok(Authorization {
            generation: state.generation,
            header: state.header.clone(),
        })
    }

    /// Renews the authorization after a 401 for a request that carried `authorization`. Returns
    /// false if there is no other, so that the refusal is final.
    pub(super) async fn refused(
        &self,
        http: &Http,
        authorization: &Authorization,
        headers: &HeaderMap,
    ) -> Result<bool> {
        let mut state = self.state.lock().await;
        if state.generation != authorization.generation {
            return Ok(true);
        }
        match challenge(headers) {
            Some(Scheme::Bearer(challenge)) => {
                for scope in challenge.scope.split(' ').filter(|scope| !scope.is_empty()) {
                    let name = scope.rsplit_once(':').map_or(scope, |(name, _)| name);
                    let known = state.scopes.iter().any(|wanted| {
                        wanted
                            .rsplit_once(':')
                            .is_some_and(|(known, _)| known == name)
                    });
                    if !known {
                        state.scopes.insert(scope.to_owned());
                    }
                }
                state.bearer = Some(challenge);
                if matches!(self.login, Login::Bearer(_)) {
                    return Ok(false);
                }
            }
            Some(Scheme::Basic) => {
                state.bearer = None;
                let fixed = matches!(self.login, Login::Basic(_)) && state.header.is_some();
                let none = matches!(
                    self.login,
                    Login::Anonymous | Login::Identity(_) | Login::Bearer(_)
                );
                if !self.may_send && !matches!(self.login, Login::Anonymous) {
                    return Err(Failure::new(
                        Exit::Credentials,
                        "the registry requires a login, which is not sent over plain HTTP to \
                         another machine",
                    ))
                    .hint("omit --plain-http: the registry needs TLS");
                }
                if fixed || none {
                    return Ok(false);
                }
            }
            // A registry that returns a bare 401: a token may have expired.
            None if state.bearer.is_some() => {}
            None if self.may_send && matches!(self.login, Login::Renewed(_)) => {}
            None => return Ok(false),
        }
        self.renew(&mut state, http).await?;
        Ok(true)
    }

    async fn renew(&self, state: &mut AuthState, http: &Http) -> Result<()> {
        let (scheme, secret, life) = match (&state.bearer, &self.login) {
            (_, Login::Bearer(token)) => ("Bearer", token.clone(), None),
            (Some(challenge), _) => {
                let token = self.token(http, challenge, &state.scopes).await?;
                let life = token.expires_in.unwrap_or(TOKEN_LIFE).clamp(10, 86_400);
                let secret = token.into_secret()?;
                ("Bearer", secret, Some(Duration::from_secs(life) * 4 / 5))
            }
            (None, Login::Basic(basic)) => ("Basic", basic.clone(), None),
            (None, Login::Renewed(renew)) => ("Basic", renew().await?, Some(BASIC_LIFE)),
            (None, Login::Anonymous | Login::Identity(_)) => return Ok(()),
        };
        let mut header = HeaderValue::from_str(&format!("{scheme} {secret}"))
            .map_err(|_| anyhow!("the registry's token is not text"))?;
        header.set_sensitive(true);
        state.header = Some(header);
        state.renew_at = life.map(|life| Instant::now() + life);
        state.generation += 1;
        Ok(())
    }

    /// Requests a token from the server that a challenge names.
    async fn token(
        &self,
        http: &Http,
        challenge: &Challenge,
        scopes: &BTreeSet<String>,
    ) -> Result<Token> {
        let realm = &challenge.realm;
        if realm.scheme() != "https" && !(realm.scheme() == "http" && is_loopback(realm)) {
            bail!("the registry's token server {realm} does not use HTTPS");
        }
        let basic = match &self.login {
            _ if !self.may_send => None,
            Login::Basic(basic) => Some(basic.clone()),
            Login::Renewed(renew) => Some(renew().await?),
            _ => None,
        };
        let client = http.client(realm)?;
        let request = if let (true, Login::Identity(token)) = (self.may_send, &self.login) {
            let scope = scopes.iter().map(String::as_str).collect::<Vec<_>>();
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", &challenge.service)
                .append_pair("client_id", "mlops")
                .append_pair("scope", &scope.join(" "))
                .append_pair("refresh_token", token)
                .finish();
            client
                .post(realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
        } else {
            let mut url = realm.clone();
            if !challenge.service.is_empty() {
                url.query_pairs_mut()
                    .append_pair("service", &challenge.service);
            }
            for scope in scopes {
                url.query_pairs_mut().append_pair("scope", scope);
            }
            let request = client.get(url);
            match basic {
                Some(basic) => {
                    let mut value = HeaderValue::from_str(&format!("Basic {basic}"))
                        .map_err(|_| anyhow!("the registry's login is not text"))?;
                    value.set_sensitive(true);
                    request.header(AUTHORIZATION, value)
                }
                None => request,
            }
        };
        let host = realm.host_str().unwrap_or_default();
        let mut attempts = Attempts::default();
        let response = loop {
            let attempt = request
                .try_clone()
                .context("the request for a token cannot be repeated")?;
            match http.send(attempt).await {
                Ok(response) if is_passing(response.status()) => {
                    let after = retry_after(&response);
                    let status = response.status().as_u16();
                    let error = anyhow!("{host} did not issue a token (HTTP {status})");
                    attempts.pause(error, after).await?;
                }
                Ok(response) => break response,
                Err(error) => {
                    let error =
                        error.context(format!("cannot reach the registry's token server {host}"));
                    if attempts.tried() + 1 >= FIRST_ATTEMPTS {
                        return Err(error);
                    }
                    attempts.pause(error, None).await?;
                }
            }
        };
        let status = response.status();
        if status.is_client_error() {
            let text = format!("{host} did not issue a token (HTTP {})", status.as_u16());
            return Err(Failure::new(Exit::Credentials, text))
                .hint("log in again: `docker login`, `podman login`");
        }
        if !status.is_success() {
            bail!("{host} did not issue a token (HTTP {})", status.as_u16());
        }
        let bytes = super::http::limited(response, 1 << 20).await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| anyhow!("{host} returned an invalid token response"))
    }
}

#[derive(Deserialize)]
struct Token {
    #[serde(default, rename = "token")]
    secret: String,
    /// The OAuth 2 name for the token.
    #[serde(default, rename = "access_token")]
    access: String,
    expires_in: Option<u64>,
}

impl Token {
    fn into_secret(self) -> Result<String> {
        [self.secret, self.access]
            .into_iter()
            .find(|token| !token.is_empty())
            .context("the token server's response has no token")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    realm: Url,
    service: String,
    scope: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer(Challenge),
}

/// Returns the first supported challenge; prefers Bearer to Basic.
fn challenge(headers: &HeaderMap) -> Option<Scheme> {
    let mut found = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            found.get_or_insert(Scheme::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let get = |name| parameter(rest, name).unwrap_or_default();
            if let Ok(realm) = Url::parse(&get("realm")) {
                return Some(Scheme::Bearer(Challenge {
                    realm,
                    service: get("service"),
                    scope: get("scope"),
                }));
            }
        }
    }
    found
}

/// Parses one parameter of a challenge: `name="text"` or `name=token`, separated by commas.
fn parameter(mut rest: &str, name: &str) -> Option<String> {
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let (key, after) = rest.split_once('=')?;
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(characters.next()?.1),
                    (_, other) => value.push(other),
                }
            };
            (value, &quoted[end..])
        } else {
            let end = after.find(',').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlops_core::network::Network;

    fn of(values: &[&str]) -> Option<Scheme> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let bearer = Scheme::Bearer(Challenge {
            realm: Url::parse("https://auth.docker.io/token").unwrap(),
            service: "registry.docker.io".to_owned(),
            scope: "repository:a/b:pull,push".to_owned(),
        });
        assert_eq!(of(&[hub]), Some(bearer));
        assert_eq!(
            of(&["Basic realm=\"x\", charset=UTF-8"]),
            Some(Scheme::Basic)
        );
        let both = of(&[
            "basic realm=x",
            "BEARER Realm=\"https://a/t\" , service = x",
        ]);
        assert!(matches!(both, Some(Scheme::Bearer(c)) if c.realm.as_str() == "https://a/t"));
        for nothing in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer realm=\"open",
            "Bearer realm=x",
        ] {
            assert_eq!(of(&[nothing]), None, "{nothing}");
        }
    }

    #[test]
    fn a_login_is_not_printed() {
        for login in [
            Login::basic("u", "secret"),
            Login::Identity("secret".to_owned()),
            Login::Bearer("secret".to_owned()),
        ] {
            let text = format!("{:?}", Authorizer::new(login, true));
            assert!(!text.contains("secret") && !text.contains("dTpz"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_token_server_without_tls_gets_nothing() {
        let http = Http::new(Network::default());
        let auth = Authorizer::new(Login::basic("u", "p"), true);
        let mut headers = HeaderMap::new();
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"http://tokens.example/t\""),
        );
        let authorization = auth.authorization(&http).await.unwrap();
        let error = auth
            .refused(&http, &authorization, &headers)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("does not use HTTPS"), "{error}");
    }

    #[tokio::test]
    async fn a_token_is_requested_once_and_renewed_when_it_is_rejected() {
        use std::sync::atomic::{AtomicU32, Ordering};

        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let renew: Renew = Arc::new(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { Ok(format!("token{number}")) })
        });
        let (http, auth) = (
            Http::new(Network::default()),
            Authorizer::new(Login::Renewed(renew), true),
        );
        let header = |authorization: &Authorization| {
            authorization.header().unwrap().to_str().unwrap().to_owned()
        };
        let first = auth.authorization(&http).await.unwrap();
        assert_eq!(header(&first), "Basic token0");
        assert_eq!(
            header(&auth.authorization(&http).await.unwrap()),
            "Basic token0"
        );
        // Four uploads are rejected concurrently: one new token.
        let basic = HeaderMap::from_iter([(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"x\""),
        )]);
        for headers in [&basic, &HeaderMap::new(), &basic, &basic] {
            assert!(auth.refused(&http, &first, headers).await.unwrap());
        }
        let second = auth.authorization(&http).await.unwrap();
        assert_eq!(header(&second), "Basic token1");
        // An old one is not tried first.
        auth.state.lock().await.renew_at = Some(Instant::now());
        assert_eq!(
            header(&auth.authorization(&http).await.unwrap()),
            "Basic token2"
        );
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_refused_password_is_final() {
        let http = Http::new(Network::default());
        let basic = HeaderMap::from_iter([(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"x\""),
        )]);
        let auth = Authorizer::new(Login::basic("u", "p"), true);
        let none = auth.authorization(&http).await.unwrap();
        assert!(
            none.header().is_none(),
            "a password is not sent without a challenge"
        );
        assert!(auth.refused(&http, &none, &basic).await.unwrap());
        let authorization = auth.authorization(&http).await.unwrap();
        assert!(!auth.refused(&http, &authorization, &basic).await.unwrap());
        let auth = Authorizer::new(Login::Anonymous, true);
        let none = auth.authorization(&http).await.unwrap();
        assert!(!auth.refused(&http, &none, &basic).await.unwrap());
        let auth = Authorizer::new(Login::basic("u", "p"), false);
        let error = auth.refused(&http, &none, &basic).await.unwrap_err();
        assert!(error.to_string().contains("plain HTTP"), "{error}");
    }
}
