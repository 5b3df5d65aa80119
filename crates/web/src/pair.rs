//! A head-end pair: what its members are, and the drill of a take-over.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::timeout;

use crate::desk::{ANSWER_MAX, Answer, DeskError};
use crate::error::ApiError;
use crate::headend::{operator, other_method};
use crate::token::OperatorToken;

/// What an operator can see and do of the pair of this process.
pub trait PairDesk: Send + Sync + 'static {
    /// This member at this moment.
    fn status(&self) -> Answer<PairView>;
    /// Hands over to the other member. `by` is the name of the operator's token.
    fn fail_over(&self, by: String) -> Answer<PairView>;
}

/// One member of a head-end pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairView {
    /// 1 for the founder, 2 for the other one.
    pub place: u8,
    /// `active`, `standby` or `over`.
    pub standing: &'static str,
    /// The reign that it holds, or else the highest that it knows of.
    pub epoch: u64,
    /// How long its lease runs if nobody grants more, in milliseconds.
    pub lease_left_ms: u64,
    /// Whether it acknowledges without the other member: nothing stands by then.
    pub alone: bool,
    /// `away`, `idle`, `copying`, `following` or `in_step`.
    pub peer: &'static str,
    /// Bytes of the copy that were sent, and all of them; only while `copying`.
    pub copy: Option<(u64, u64)>,
    /// Entries that the other member has not applied.
    pub behind: u64,
    /// The edges that witness, and whether each is connected here.
    pub edges: Vec<PairEdge>,
    /// Entries carried out or taken over since it became what it is.
    pub entries: u64,
    /// Copies made for the other member.
    pub copies: u64,
    /// What an operator should do, if anything.
    pub advice: Option<String>,
}

/// A witness of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairEdge {
    /// The edge's name.
    pub name: String,
    /// Whether it is connected here.
    pub connected: bool,
}

/// The way to a pair, if this process is a member of one.
pub(crate) struct Lodge {
    pub(crate) desk: Option<Arc<dyn PairDesk>>,
    pub(crate) token: Option<OperatorToken>,
}

impl Lodge {
    fn desk(&self) -> Result<&dyn PairDesk, ApiError> {
        self.desk.as_deref().ok_or(ApiError::NoPair)
    }
}

/// The routes, complete.
pub(crate) fn routes(lodge: Lodge) -> Router {
    Router::new()
        .route("/api/v1/pair/status", get(status))
        .route("/api/v1/pair/failover", post(fail_over))
        .method_not_allowed_fallback(other_method)
        .with_state(Arc::new(lodge))
}

async fn status(State(lodge): State<Arc<Lodge>>) -> Result<Response, ApiError> {
    answer(lodge.desk()?.status()).await
}

async fn fail_over(
    State(lodge): State<Arc<Lodge>>,
    Operator(by): Operator,
) -> Result<Response, ApiError> {
    answer(lodge.desk()?.fail_over(by)).await
}

async fn answer(answer: Answer<PairView>) -> Result<Response, ApiError> {
    match timeout(ANSWER_MAX, answer).await {
        Ok(view) => Ok(Json(view?).into_response()),
        Err(_) => {
            let words = "the pair does not answer; look at its log".to_owned();
            Err(DeskError::Down(words).into())
        }
    }
}

/// The name of the token that the client showed; without it nothing is done.
struct Operator(String);

impl FromRequestParts<Arc<Lodge>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lodge: &Arc<Lodge>) -> Result<Self, ApiError> {
        lodge.desk()?;
        operator(lodge.token.as_ref(), parts).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tower::ServiceExt;

    #[derive(Default)]
    struct SmallPair {
        handed_over: AtomicU32,
    }

    impl SmallPair {
        fn view(&self) -> PairView {
            PairView {
                place: 1,
                standing: "active",
                epoch: 3,
                lease_left_ms: 1_500,
                alone: false,
                peer: "in_step",
                copy: None,
                behind: 0,
                edges: Vec::new(),
                entries: 7,
                copies: 1,
                advice: None,
            }
        }
    }

    impl PairDesk for SmallPair {
        fn status(&self) -> Answer<PairView> {
            let view = self.view();
            Box::pin(async { Ok(view) })
        }

        fn fail_over(&self, by: String) -> Answer<PairView> {
            assert_eq!(by, "night shift");
            self.handed_over.fetch_add(1, Ordering::SeqCst);
            self.status()
        }
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn a_take_over_needs_the_token_and_the_status_does_not() {
        let pair = Arc::new(SmallPair::default());
        let cases = [
            (true, "GET", "status", None, 200),
            (true, "POST", "failover", None, 401),
            (true, "POST", "failover", Some("wrong"), 401),
            (true, "GET", "failover", Some(SECRET), 405),
            (true, "POST", "failover", Some(SECRET), 200),
            (false, "GET", "status", None, 404),
            (false, "POST", "failover", Some(SECRET), 404),
        ];
        for (has_pair, method, path, token, expected) in cases {
            let lodge = Lodge {
                desk: has_pair.then(|| Arc::clone(&pair) as Arc<dyn PairDesk>),
                token: Some(OperatorToken::new("night shift", SECRET.to_owned()).unwrap()),
            };
            let mut request = Request::builder()
                .method(method)
                .uri(format!("/api/v1/pair/{path}"));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.body(Body::empty()).unwrap();
            let response = routes(lodge).oneshot(request).await.unwrap();
            assert_eq!(response.status(), expected, "{method} {path} {token:?}");
        }
        assert_eq!(pair.handed_over.load(Ordering::SeqCst), 1);
    }
}
