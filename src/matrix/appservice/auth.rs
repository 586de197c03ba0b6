//! Whether a request comes from our homeserver: the `hs_token`, in the `Authorization` header or, from homeservers older
//! than Matrix 1.4, in the query.

use axum::{
    extract::{Query, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, StatusCode, Uri, header::AUTHORIZATION};
use subtle::ConstantTimeEq as _;

use super::{Shared, error::Refusal, server::Caller};

/// Lets only the homeserver through.
pub(super) async fn require_token(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check(&shared.hs_token, request.headers(), request.uri())?;
    if let Some(caller) = request.extensions().get::<Caller>() {
        caller.has_token();
    }
    Ok(next.run(request).await)
}

/// Compares the request's token in a time that doesn't tell how much of it was right.
fn check(hs_token: &str, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let from_query;
    let token = if let Some(token) = bearer(headers) {
        token
    } else if let Some(token) = query_token(uri) {
        from_query = token;
        from_query.as_bytes()
    } else {
        let error = "no access token; the hs_token of the registration goes into the Authorization header";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "M_FORBIDDEN", error));
    };
    // An empty token of ours would let everybody in who sends an empty one.
    if !hs_token.is_empty() && bool::from(token.ct_eq(hs_token.as_bytes())) {
        return Ok(());
    }
    let error = "wrong access token: the homeserver's copy of the registration has another hs_token than the bridge's";
    Err(Refusal::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn query_token(uri: &Uri) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.into_iter().find(|(name, _)| name == "access_token").map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        // (Authorization, query, status; 200 = let through)
        let table: &[(Option<&str>, &str, u16)] = &[
            (Some("Bearer s3cret"), "", 200),
            (Some("bearer  s3cret "), "", 200),
            (None, "?access_token=s3cret", 200),
            (None, "?user_id=x&access_token=s3%63ret", 200),
            (Some("Basic czNjcmV0"), "?access_token=s3cret", 200),
            (None, "", 401),
            (Some(""), "", 401),
            (Some("s3cret"), "", 401),
            (None, "?token=s3cret", 401),
            (None, "?access_token", 403),
            (Some("Bearer "), "", 403),
            (Some("Bearer s3cre"), "", 403),
            (Some("Bearer s3crets"), "", 403),
            (Some("Bearer S3CRET"), "", 403),
            (Some("Bearer wrong"), "?access_token=s3cret", 403),
            (None, "?access_token=wrong", 403),
        ];
        for (header, query, expected) in table {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|value| (AUTHORIZATION, value.parse().unwrap())));
            let uri = format!("/transactions/1{query}").parse().unwrap();
            let status = check("s3cret", &headers, &uri).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
            assert_eq!(status, *expected, "{header:?} {query}");
        }
    }

    #[test]
    fn a_bridge_without_token_lets_nobody_in() {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer ".parse().unwrap())]);
        assert!(check("", &headers, &Uri::from_static("/")).is_err());
        assert!(check("", &HeaderMap::new(), &Uri::from_static("/?access_token=")).is_err());
    }
}
