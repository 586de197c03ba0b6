//! What a homeserver's refusal means for us: one variant per reaction.
//!
//! [`classify`] is the only place that reads status codes and error bodies. To tell a new refusal apart, add a row to
//! its table test first.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

/// How much of the homeserver's own words an error carries, in characters.
const WORDS: usize = 300;

/// A request that brought no result. `asked` says what was asked and of whom, to be read after "could not".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// The homeserver can't answer now: ask again later, with the same transaction id.
    ///
    /// No connection, timeouts, 5xx, 429, redirects, and every answer that isn't Matrix JSON (which then comes from a proxy
    /// in between), whatever its status.
    #[error("could not {asked} for now: {what}{trace}")]
    Unavailable {
        /// What was asked, of whom.
        asked: String,
        /// How long the homeserver wants to be left alone, where it says so.
        retry_after: Option<Duration>,
        /// The homeserver's own error code; `None` when the homeserver itself had no part in the answer.
        errcode: Option<String>,
        /// Whether it may be about this request alone: there was an answer, and not that we ask too much.
        fault: bool,
        /// What happened, with the homeserver's words where it had any.
        what: String,
        /// What else the answer shows to the operator who has to find out where it came from; may be empty.
        trace: String,
    },
    /// The user that asked may not do this (403): tell the user whose wish it was.
    #[error("could not {asked}: the homeserver forbids it ({errcode}: {message})")]
    Forbidden {
        /// What was asked, of whom.
        asked: String,
        /// The homeserver's error code, mostly `M_FORBIDDEN`.
        errcode: String,
        /// The homeserver's words.
        message: String,
    },
    /// The room, alias, user or piece of state doesn't exist (404).
    #[error("could not {asked}: the homeserver knows no such thing ({message})")]
    NotFound {
        /// What was asked, of whom.
        asked: String,
        /// The homeserver's words.
        message: String,
    },
    /// The homeserver won't take this request, now or later: don't repeat it.
    #[error("could not {asked}: the homeserver refused it with status {status} ({errcode}: {message})")]
    Rejected {
        /// What was asked, of whom.
        asked: String,
        /// The HTTP status; 0 when the request could not even be written.
        status: u16,
        /// The homeserver's error code, for instance `M_BAD_JSON`; empty when we refused the request ourselves.
        errcode: String,
        /// The homeserver's words.
        message: String,
    },
    /// The homeserver doesn't know our `as_token` (401): nothing works until an operator acts.
    #[error(
        "could not {asked}: the homeserver doesn't accept our as_token ({message}); \
         give the homeserver the registration file that the bridge uses, and restart the homeserver"
    )]
    BadToken {
        /// What was asked, of whom.
        asked: String,
        /// The homeserver's words.
        message: String,
    },
    /// The bridge is stopping: leave the work where it is, the next run takes it up.
    #[error("the bridge is stopping")]
    Stopped,
}

impl MatrixError {
    /// The homeserver's error code, where it gave one.
    #[must_use]
    pub fn errcode(&self) -> Option<&str> {
        match self {
            Self::Unavailable { errcode, .. } => errcode.as_deref(),
            Self::Forbidden { errcode, .. } | Self::Rejected { errcode, .. } => Some(errcode),
            Self::NotFound { .. } | Self::BadToken { .. } | Self::Stopped => None,
        }
    }

    /// Whether the homeserver, or a proxy in front of it, failed over this request: it may fail over all of them, or over
    /// this one for ever.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Unavailable { fault: true, .. })
    }

    /// What the homeserver says, for people who needn't know what was asked of whom.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Unavailable { what: words, .. }
            | Self::Forbidden { message: words, .. }
            | Self::NotFound { message: words, .. }
            | Self::Rejected { message: words, .. }
            | Self::BadToken { message: words, .. } => words,
            Self::Stopped => "the bridge is stopping",
        }
    }

    /// There is no answer.
    pub(super) fn unanswered(asked: String, what: String) -> Self {
        Self::Unavailable { asked, retry_after: None, errcode: None, fault: false, what, trace: String::new() }
    }

    /// An answer that no homeserver in its right mind gives.
    pub(super) fn foreign(asked: String, status: StatusCode, headers: &HeaderMap, body: &[u8], what: String) -> Self {
        Self::Unavailable {
            asked,
            retry_after: retry_after(headers, None),
            errcode: None,
            fault: status != StatusCode::TOO_MANY_REQUESTS,
            what,
            trace: trace(status, headers, body),
        }
    }
}

/// The [standard error body](https://spec.matrix.org/v1.18/client-server-api/#standard-error-response), read leniently.
#[derive(Deserialize)]
struct ErrorBody {
    errcode: String,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    retry_after_ms: Option<serde_json::Value>,
}

/// The 401 by which a homeserver asks a human to prove themselves: it took us for a client that isn't an appservice.
#[derive(Deserialize)]
#[expect(dead_code, reason = "its presence is all that matters")]
struct InteractiveAuth {
    flows: Vec<serde::de::IgnoredAny>,
}

/// Sorts an answer outside 2xx by the reaction it calls for.
pub(super) fn classify(asked: String, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> MatrixError {
    let Ok(error) = serde_json::from_slice::<ErrorBody>(body) else {
        if status == StatusCode::UNAUTHORIZED && serde_json::from_slice::<InteractiveAuth>(body).is_ok() {
            return MatrixError::BadToken { asked, message: "it asks for a login instead".to_owned() };
        }
        let what = format!("status {} and no Matrix error in the answer", status.as_u16());
        return MatrixError::foreign(asked, status, headers, body, what);
    };
    let ErrorBody { errcode, error, retry_after_ms } = error;
    let message = match error {
        Some(serde_json::Value::String(words)) => excerpt(&words),
        _ => "no explanation".to_owned(),
    };
    let errcode = excerpt(&errcode);
    match (status.as_u16(), errcode.as_str()) {
        (_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN") | (401, _) => MatrixError::BadToken { asked, message },
        (408 | 429 | 500.., _) | (_, "M_LIMIT_EXCEEDED") => MatrixError::Unavailable {
            asked,
            retry_after: retry_after(headers, retry_after_ms.as_ref()),
            fault: status != StatusCode::TOO_MANY_REQUESTS && errcode != "M_LIMIT_EXCEEDED",
            what: format!("the homeserver answered {} ({errcode}: {message})", status.as_u16()),
            errcode: Some(errcode),
            trace: String::new(),
        },
        (403, _) => MatrixError::Forbidden { asked, errcode, message },
        // An unknown *endpoint* says nothing of the thing that was looked for.
        (404, code) if code != "M_UNRECOGNIZED" => MatrixError::NotFound { asked, message },
        (status, _) => MatrixError::Rejected { asked, status, errcode, message },
    }
}

/// What an answer without Matrix JSON looks like, and what that may mean.
fn trace(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    if status.is_redirection() {
        let location = headers.get(http::header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        return format!("; it redirects to {}: set homeserver.url to the final address", excerpt(location));
    }
    match excerpt(&String::from_utf8_lossy(&body[..body.len().min(4 * WORDS)])) {
        start if start.is_empty() => " (empty body)".to_owned(),
        start => format!("; is this a proxy? It begins: {start}"),
    }
}

/// The first words, on one line, without control characters: safe in a log and in a notice.
fn excerpt(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(WORDS).collect::<String>().trim().to_owned()
}

/// The pause that the homeserver asks for; the header wins, as in the specification since v1.10.
///
/// The header's other form, a date, is left out: it would need a clock that agrees with the homeserver's.
fn retry_after(headers: &HeaderMap, body_ms: Option<&serde_json::Value>) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map(Duration::from_secs).or_else(|| {
        let ms = body_ms?;
        // Some servers write a float.
        let ms = ms.as_f64().filter(|ms| *ms >= 0.0)?;
        Duration::try_from_secs_f64(ms / 1000.0).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(status: u16, headers: &[(&str, &str)], body: &str) -> MatrixError {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        classify("join !a:b".to_owned(), StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
    }

    fn kind(error: &MatrixError) -> &'static str {
        match error {
            MatrixError::Unavailable { .. } => "unavailable",
            MatrixError::Forbidden { .. } => "forbidden",
            MatrixError::NotFound { .. } => "not found",
            MatrixError::Rejected { .. } => "rejected",
            MatrixError::BadToken { .. } => "bad token",
            MatrixError::Stopped => "stopped",
        }
    }

    #[test]
    fn every_refusal_calls_for_one_reaction() {
        let table: &[(u16, &str, &str)] = &[
            (502, "<html><h1>Bad Gateway</h1></html>", "unavailable"),
            (503, "", "unavailable"),
            (500, r#"{"errcode":"M_UNKNOWN","error":"Internal server error"}"#, "unavailable"),
            (504, r#"{"errcode":"M_CONNECTION_TIMEOUT","error":"x"}"#, "unavailable"),
            (429, r#"{"errcode":"M_LIMIT_EXCEEDED","error":"Too Many Requests"}"#, "unavailable"),
            (400, r#"{"errcode":"M_LIMIT_EXCEEDED"}"#, "unavailable"),
            (408, r#"{"errcode":"M_UNKNOWN","error":"slow"}"#, "unavailable"),
            (301, "", "unavailable"),
            (403, "<html>blocked by the firewall</html>", "unavailable"),
            (404, "<html>no such page</html>", "unavailable"),
            (404, r#"{"detail":"not matrix"}"#, "unavailable"),
            (404, "[]", "unavailable"),
            (401, "<html>login</html>", "unavailable"),
            (401, r#"{"errcode":"M_UNKNOWN_TOKEN","error":"Invalid access token passed."}"#, "bad token"),
            (401, r#"{"errcode":"M_MISSING_TOKEN","error":"Missing access token"}"#, "bad token"),
            (403, r#"{"errcode":"M_UNKNOWN_TOKEN","error":"old servers"}"#, "bad token"),
            (401, r#"{"session":"x","flows":[{"stages":["m.login.dummy"]}],"params":{}}"#, "bad token"),
            (403, r#"{"errcode":"M_FORBIDDEN","error":"You are not invited"}"#, "forbidden"),
            (403, r#"{"errcode":"M_USER_SUSPENDED","error":"x"}"#, "forbidden"),
            (404, r#"{"errcode":"M_NOT_FOUND","error":"No row found"}"#, "not found"),
            (404, r#"{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}"#, "rejected"),
            (405, r#"{"errcode":"M_UNRECOGNIZED","error":"x"}"#, "rejected"),
            (400, r#"{"errcode":"M_BAD_JSON","error":"x"}"#, "rejected"),
            (400, r#"{"errcode":"M_EXCLUSIVE","error":{"not":"text"}}"#, "rejected"),
            (413, r#"{"errcode":"M_TOO_LARGE","error":"event too large"}"#, "rejected"),
        ];
        for (status, body, expected) in table {
            assert_eq!(kind(&sort(*status, &[], body)), *expected, "{status} {body}");
        }
    }

    #[test]
    fn an_answer_may_be_about_one_request_alone_unless_we_ask_too_much() {
        let table: &[(u16, &str, bool)] = &[
            (500, r#"{"errcode":"M_UNKNOWN","error":"Internal server error"}"#, true),
            (502, "<html>Bad Gateway</html>", true),
            (403, "<html>blocked by the firewall</html>", true),
            (429, "<html>slow down</html>", false),
            (429, r#"{"errcode":"M_UNKNOWN"}"#, false),
            (400, r#"{"errcode":"M_LIMIT_EXCEEDED"}"#, false),
            (403, r#"{"errcode":"M_FORBIDDEN"}"#, false),
        ];
        for (status, body, expected) in table {
            assert_eq!(sort(*status, &[], body).is_fault(), *expected, "{status} {body}");
        }
        assert!(!MatrixError::unanswered("ask".to_owned(), "timed out".to_owned()).is_fault());
    }

    #[test]
    fn pauses_come_from_the_header_or_the_body() {
        let pause = |headers: &[(&str, &str)], body: &str| match sort(429, headers, body) {
            MatrixError::Unavailable { retry_after, .. } => retry_after,
            other => panic!("{other}"),
        };
        let limit = |ms: &str| format!(r#"{{"errcode":"M_LIMIT_EXCEEDED","error":"x","retry_after_ms":{ms}}}"#);
        assert_eq!(pause(&[("retry-after", "7")], &limit("2000")), Some(Duration::from_secs(7)));
        assert_eq!(pause(&[], &limit("2000")), Some(Duration::from_secs(2)));
        assert_eq!(pause(&[], &limit("1500.5")), Some(Duration::from_micros(1_500_500)));
        assert_eq!(pause(&[("retry-after", "9")], "<html>slow down</html>"), Some(Duration::from_secs(9)));
        for odd in ["-1", "\"soon\"", "null", "1e300", "[]"] {
            assert_eq!(pause(&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], &limit(odd)), None, "{odd}");
        }
    }

    #[test]
    fn errors_say_what_was_asked_and_repeat_the_homeservers_words_on_one_line() {
        let error = sort(403, &[], r#"{"errcode":"M_FORBIDDEN","error":"You are\r\nnot\u0000invited"}"#);
        let text = "could not join !a:b: the homeserver forbids it (M_FORBIDDEN: You are  not invited)";
        assert_eq!(error.to_string(), text);
        let error = sort(502, &[], "<html>\n<h1>Bad Gateway</h1>");
        assert!(error.to_string().contains("status 502"), "{error}");
        assert!(error.to_string().contains("It begins: <html> <h1>Bad Gateway</h1>"), "{error}");
        assert_eq!(error.words(), "status 502 and no Matrix error in the answer", "a page is for operators");
        let error = sort(301, &[("location", "https://example.org/x")], "");
        assert!(error.to_string().contains("redirects to https://example.org/x: set homeserver.url"), "{error}");
        let error = sort(400, &[], &format!(r#"{{"errcode":"M_BAD_JSON","error":"{}"}}"#, "x".repeat(100_000)));
        assert!(error.to_string().len() < 500);
        assert_eq!(error.errcode(), Some("M_BAD_JSON"));
    }
}
