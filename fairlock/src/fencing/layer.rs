//! The gate of an HTTP or gRPC service, as a layer of tower's.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use lockcore::FencingToken;
use tower_layer::Layer;
use tower_service::Service;

use super::gate::{Refused, TokenGate};

/// The header in which a request brings its token, in decimal digits. A response that refuses a stale token has the largest in it.
pub const HEADER: HeaderName = HeaderName::from_static("fencing-token");

/// Refuses requests of holders whose time is over, before they come to the service. Put it around the routes that change something.
///
/// | a request | HTTP | gRPC |
/// |---|---|---|
/// | with a token that is not smaller than the largest seen | is served, one holder after the other | the same |
/// | with a smaller one | 409 Conflict | `FAILED_PRECONDITION` |
/// | without one | 428 Precondition Required | `FAILED_PRECONDITION` |
/// | with one that is no number, or with two | 400 Bad Request | `INVALID_ARGUMENT` |
/// | if the token cannot be saved | 503 Service Unavailable | `UNAVAILABLE` |
///
/// A request with a larger token waits until those of the holder before are answered: limit their time inside of this layer. What the service still does when
/// it has answered, such as sending a body, is not waited for. The service finds the token in the request's extensions.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use fairlock::fencing::{FencingLayer, HEADER, TokenGate};
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let service = service_fn(async |_: Request<String>| Ok::<_, std::io::Error>(Response::new(String::new())));
/// let service = FencingLayer::new(Arc::new(TokenGate::new())).layer(service);
/// let write = |token: &str| Request::put("/orders/42").header(HEADER, token).body(String::new()).unwrap();
/// assert_eq!(service.clone().oneshot(write("34")).await.unwrap().status(), StatusCode::OK);
/// assert_eq!(service.clone().oneshot(write("33")).await.unwrap().status(), StatusCode::CONFLICT);
/// # }
/// ```
#[derive(Clone)]
pub struct FencingLayer {
    gate: Arc<Gates>,
}

/// Which gate a request has to pass.
type Gates = dyn Fn(&Parts) -> Arc<TokenGate> + Send + Sync;

impl fmt::Debug for FencingLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FencingLayer").finish_non_exhaustive()
    }
}

impl FencingLayer {
    /// One gate for all requests: one lock protects all that is behind it.
    pub fn new(gate: Arc<TokenGate>) -> Self {
        Self::with_gates(move |_| gate.clone())
    }

    /// A gate for each lock. The function says which, by what the request is for; it is not for the client to choose.
    pub fn with_gates(gate: impl Fn(&Parts) -> Arc<TokenGate> + Send + Sync + 'static) -> Self {
        Self { gate: Arc::new(gate) }
    }
}

impl<S> Layer<S> for FencingLayer {
    type Service = FencingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FencingService { inner, layer: self.clone() }
    }
}

/// A service behind a [`FencingLayer`].
#[derive(Debug, Clone)]
pub struct FencingService<S> {
    inner: S,
    layer: FencingLayer,
}

/// The answer of a [`FencingService`].
pub type FencingResponse<R, E> = Pin<Box<dyn Future<Output = Result<Response<R>, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for FencingService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = FencingResponse<R, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready, and another in its place.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let gates = self.layer.gate.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let grpc = is_grpc(&parts.headers);
            let token = match token(&parts.headers) {
                Ok(token) => token,
                Err(refusal) => return Ok(refusal.response(grpc)),
            };
            let gate = gates(&parts);
            match gate.enter(token).await {
                Ok(_pass) => {
                    parts.extensions.insert(token);
                    ready.call(Request::from_parts(parts, body)).await
                }
                Err(refused) => Ok(Refusal::from(refused).response(grpc)),
            }
        })
    }
}

fn token(headers: &HeaderMap) -> Result<FencingToken, Refusal> {
    let mut tokens = headers.get_all(HEADER).iter();
    let token = match (tokens.next(), tokens.next()) {
        (None, _) => {
            return Err(Refusal::new(StatusCode::PRECONDITION_REQUIRED, 9, "a fencing token is needed"));
        }
        (Some(token), None) => {
            token.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        }
        (Some(_), Some(_)) => None,
    };
    let token = token.and_then(|text| text.parse().ok()).map(FencingToken::new);
    token.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, 3, "the fencing token is not one number"))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// An answer in the service's stead.
struct Refusal {
    http: StatusCode,
    grpc: u16,
    message: &'static str,
    largest: Option<FencingToken>,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale { largest, .. } => {
                let stale = Self::new(StatusCode::CONFLICT, 9, "the fencing token is stale");
                Self { largest: Some(largest), ..stale }
            }
            Refused::NotSaved(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, 14, "the fencing token could not be saved")
            }
        }
    }
}

impl Refusal {
    fn new(http: StatusCode, grpc: u16, message: &'static str) -> Self {
        Self { http, grpc, message, largest: None }
    }

    fn response<R: Default>(self, grpc: bool) -> Response<R> {
        let mut response = Response::new(R::default());
        if grpc {
            // All that gRPC needs is in the headers; the status of HTTP is 200.
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", self.grpc.into());
            headers.insert("grpc-message", HeaderValue::from_static(self.message));
        } else {
            *response.status_mut() = self.http;
        }
        if let Some(largest) = self.largest {
            response.headers_mut().insert(HEADER, largest.get().into());
        }
        response
    }
}
