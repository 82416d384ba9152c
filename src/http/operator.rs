//! Access control of the operator routes: `/metrics` and the results of the health checks.
//!
//! Only the listener and the token decide. Headers, the peer's address and the host can be those of a local request although
//! the request came through a proxy or tunnel.

use axum::http::{HeaderMap, header};

use crate::security::token::BearerToken;

/// Decides whether a request comes from an operator.
#[derive(Clone, Debug)]
pub(crate) enum OperatorAuth {
    /// Requests with this token; none without one.
    Token(Option<BearerToken>),
    /// All requests: the listener is bound to a loopback address and serves nothing else.
    AllRequests,
}

impl OperatorAuth {
    #[must_use]
    pub(crate) fn is_authorized(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::AllRequests => true,
            Self::Token(token) => {
                let presented = bearer_token(headers);
                token.as_ref().zip(presented).is_some_and(|(token, presented)| token.matches(presented))
            }
        }
    }
}

/// The token after `Bearer`. The scheme is compared without case, as HTTP demands.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    #[test]
    fn only_the_token_gives_access() {
        let authorization = |value: &str| [(header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
        let auth = OperatorAuth::Token(Some(BearerToken::new(&Secret::new("4f9c2d1e8b7a6053"))));
        let valid = authorization("bearer 4f9c2d1e8b7a6053");
        assert!(auth.is_authorized(&valid) && OperatorAuth::AllRequests.is_authorized(&HeaderMap::new()));
        assert!(!OperatorAuth::Token(None).is_authorized(&valid));
        for invalid in ["Bearer 4f9c2d1e8b7a6054", "Bearer", "Bearer ", "Basic 4f9c2d1e8b7a6053", "4f9c2d1e8b7a6053"] {
            assert!(!auth.is_authorized(&authorization(invalid)), "{invalid}");
        }
    }
}
