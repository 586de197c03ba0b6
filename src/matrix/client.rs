//! The homeserver client's HTTP: one pool of connections, one request per call.
//!
//! Every request goes through [`HomeserverClient::call`], which knows masquerading, and [`HomeserverClient::exchange`],
//! which knows HTTP. What is asked is in `requests.rs`; answers outside 2xx are sorted in `error.rs`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use ruma::{
    UserId,
    api::{
        AppserviceUserIdentity, IncomingResponse, MatrixVersion, OutgoingRequest, OutgoingRequestAppserviceExt,
        SupportedVersions,
        auth_scheme::{AuthScheme, SendAccessToken},
        path_builder::PathBuilder,
    },
};

use super::{MatrixError, error::classify, limiter::Lane};

/// To open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request as a whole. A join over federation may take this long; asking again then finds it done.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Shorter than the 60 s and more after which homeservers and proxies close an idle connection, so that it is mostly we who
/// close it and no request meets a closing one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer we read: the members of a room of 30,000 take some 20 MB.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// Which homeserver, and who we are there.
#[derive(Clone)]
pub struct HomeserverSettings {
    /// `homeserver.url`: http or https, with a path where a proxy wants one.
    pub url: String,
    /// The `as_token` of the registration.
    pub as_token: String,
    /// The `id` of the registration.
    pub appservice_id: String,
}

/// `homeserver.url` or the token can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHomeserver {
    /// No http or https address.
    #[error("homeserver.url: `{url}` is no address of a homeserver ({reason}); write it like http://127.0.0.1:8008")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token that can't be written into an HTTP header.
    #[error(
        "the as_token of the registration is empty or has characters that no HTTP header can carry; make a new one"
    )]
    Token,
    /// The machine's TLS or its certificates don't work.
    #[error("can't start the HTTP client: {0}")]
    Tls(String),
}

/// Speaks to the homeserver as the application service. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct HomeserverClient {
    http: reqwest::Client,
    pub(super) settings: Arc<HomeserverSettings>,
    versions: Arc<SupportedVersions>,
    lane: Lane,
    noise: Lane,
}

impl std::fmt::Debug for HomeserverClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HomeserverClient").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

impl HomeserverClient {
    /// Makes the client; nothing is asked yet.
    pub fn new(mut settings: HomeserverSettings) -> Result<Self, InvalidHomeserver> {
        let url = check_url(&settings.url)?;
        url.as_str().trim_end_matches('/').clone_into(&mut settings.url);
        let token = &settings.as_token;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidHomeserver::Token);
        }
        // An error means that the process has its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A followed redirect turns a PUT into a GET, and a proxy named in the environment would get the token.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // One call is one request; `retry.rs` is where they are repeated.
            .retry(reqwest::retry::never())
            .user_agent(concat!("footbridge/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // Don't load the machine's certificates, which takes time and can fail, for nothing.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().map_err(|error| InvalidHomeserver::Tls(chain(&error)))?,
            settings: settings.into(),
            // Not asked of the homeserver: the ping of 1.7 is the newest thing here, and every server in use has it.
            versions: SupportedVersions { versions: [MatrixVersion::V1_7].into(), features: [].into() }.into(),
            lane: Lane::messages(),
            noise: Lane::noise(),
        })
    }

    /// The same client for what nobody waits for (joins and leaves of idle ghosts, display names): its requests wait for
    /// each other in a narrow lane of their own instead of standing in the way of messages.
    #[must_use]
    pub fn noise(&self) -> Self {
        Self { lane: self.noise.clone(), ..self.clone() }
    }

    /// Sends one of ruma's requests as `as_user`. `asked` reads well after "could not", up to "of whom".
    pub(super) async fn call<R>(
        &self,
        request: R,
        as_user: Option<&UserId>,
        asked: impl FnOnce() -> String + Send,
    ) -> Result<R::IncomingResponse, MatrixError>
    where
        R: OutgoingRequest + Send,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    {
        let token = SendAccessToken::Always(&self.settings.as_token);
        let identity = as_user.map_or_else(AppserviceUserIdentity::default, AppserviceUserIdentity::new);
        let versions = Cow::Borrowed(&*self.versions);
        let request =
            request.try_into_http_request_with_identity::<Vec<u8>>(&self.settings.url, token, identity, versions);
        let asked = || match as_user {
            Some(user) => format!("{} as {user} at {}", asked(), self.settings.url),
            None => format!("{} at {}", asked(), self.settings.url),
        };
        match request {
            Ok(request) => self.exchange::<R::IncomingResponse>(request, asked).await,
            Err(error) => Err(unwritable(asked(), &error)),
        }
    }

    /// One request, one answer.
    pub(super) async fn exchange<A: IncomingResponse>(
        &self,
        request: http::Request<Vec<u8>>,
        asked: impl FnOnce() -> String + Send,
    ) -> Result<A, MatrixError> {
        let request = match reqwest::Request::try_from(request) {
            Ok(request) => request,
            Err(error) => return Err(unwritable(asked(), &error)),
        };
        let list = request.method() == reqwest::Method::GET && request.url().path().ends_with("/state");
        let _turn = self.lane.turn().await;
        let (status, headers, body) = match self.transfer(request).await {
            Ok(answer) => answer,
            Err(what) => return Err(MatrixError::unanswered(asked(), what)),
        };
        if !status.is_success() {
            return Err(classify(asked(), status, &headers, &body));
        }
        // Neither is a refusal: it may have done what we asked. Asking again is harmless and tells.
        if !is_matrix_json(&body, list) {
            let what = format!("status {} and no Matrix JSON in the answer", status.as_u16());
            return Err(MatrixError::foreign(asked(), status, &headers, &body, what));
        }
        A::try_from_http_response(http::Response::new(&body)).map_err(|error| {
            let what = format!("it agreed in an answer that can't be read: {}", chain(&error));
            MatrixError::foreign(asked(), status, &headers, &body, what)
        })
    }

    /// Writes a request and reads the whole answer. An error is why there is none.
    async fn transfer(&self, request: reqwest::Request) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
        let mut answer = self.http.execute(request).await.map_err(|error| chain(&error.without_url()))?;
        let mut body = Vec::with_capacity(answer.content_length().map_or(0, |n| n.min(64 * 1024) as usize));
        while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(format!("the answer is larger than {} MiB", ANSWER_LIMIT >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), std::mem::take(answer.headers_mut()), body))
    }
}

/// Whether `body` is a JSON object, as every answer of a homeserver is but the `list` that a room's state is. Where all we
/// want to know is that it agreed, ruma takes any page for that.
fn is_matrix_json(body: &[u8], list: bool) -> bool {
    body.trim_ascii_start().starts_with(if list { b"[" } else { b"{" })
        && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// Takes what can be the front of every request's address.
fn check_url(given: &str) -> Result<reqwest::Url, InvalidHomeserver> {
    let invalid = |reason: &str| InvalidHomeserver::Url { url: given.to_owned(), reason: reason.to_owned() };
    let url = reqwest::Url::parse(given).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it begins neither with http:// nor with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: errors end up in logs.
        let url = format!("{}://…@{}", url.scheme(), url.host_str().unwrap_or_default());
        return Err(InvalidHomeserver::Url { url, reason: "it has a user name or password in it".to_owned() });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has a ? or # in it"));
    }
    Ok(url)
}

/// An error with its causes: reqwest's own first line says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

/// A request that can't even be written, for instance for a name that is no part of an address.
pub(super) fn unwritable(asked: String, error: &dyn std::error::Error) -> MatrixError {
    MatrixError::Rejected { asked, status: 0, errcode: String::new(), message: chain(error) }
}
