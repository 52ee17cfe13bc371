//! The layer for services.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use fairlock::FencingToken;
use fairlock::fencing::{FencingLayer, HEADER, TokenGate};
use http::{Request, Response, StatusCode};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use crate::holders::{Store, check, write_much};

type Service = BoxCloneSyncService<Request<String>, Response<String>, Infallible>;

fn service(served: Arc<AtomicUsize>) -> Service {
    let service = service_fn(move |request: Request<String>| {
        let served = served.clone();
        async move {
            tokio::task::yield_now().await;
            served.fetch_add(1, Ordering::SeqCst);
            let token = request.extensions().get::<FencingToken>();
            Ok::<_, Infallible>(Response::new(format!("{token:?} {}", request.body())))
        }
    });
    BoxCloneSyncService::new(FencingLayer::new(Arc::new(TokenGate::new())).layer(service))
}

struct Remote(Service);

#[async_trait]
impl Store for Remote {
    async fn write(&self, token: FencingToken, value: u64) -> bool {
        let request = Request::put("/orders/42").header(HEADER, token.get()).body(value.to_string()).unwrap();
        let status = self.0.clone().oneshot(request).await.unwrap().status();
        assert!(matches!(status, StatusCode::OK | StatusCode::CONFLICT), "{status}");
        status == StatusCode::OK
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_no_stale_request() {
    check(&write_much(Remote(service(Arc::default()))).await);
}

async fn answer(service: &Service, kind: &str, tokens: &[&str]) -> Response<String> {
    let mut request = Request::put("/orders/42").header("content-type", kind);
    for token in tokens {
        request = request.header(HEADER, *token);
    }
    service.clone().oneshot(request.body("value".to_owned()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_refusal_has_its_status() {
    let served = Arc::<AtomicUsize>::default();
    let service = service(served.clone());
    let first = answer(&service, "text/plain", &["34"]).await;
    assert_eq!((first.status(), &**first.body()), (StatusCode::OK, "Some(FencingToken(34)) value"));
    let cases: [(&[&str], StatusCode, &str); 7] = [
        (&["33"], StatusCode::CONFLICT, "9"),
        (&[], StatusCode::PRECONDITION_REQUIRED, "9"),
        (&["34", "34"], StatusCode::BAD_REQUEST, "3"),
        (&["+34"], StatusCode::BAD_REQUEST, "3"),
        (&["-1"], StatusCode::BAD_REQUEST, "3"),
        (&[""], StatusCode::BAD_REQUEST, "3"),
        (&["18446744073709551616"], StatusCode::BAD_REQUEST, "3"),
    ];
    for (tokens, status, code) in cases {
        let http = answer(&service, "text/plain", tokens).await;
        assert_eq!(http.status(), status, "{tokens:?}");
        let grpc = answer(&service, "application/grpc+proto", tokens).await;
        assert_eq!((grpc.status(), &grpc.headers()["grpc-status"]), (StatusCode::OK, &code.parse().unwrap()));
        for refusal in [http, grpc] {
            let largest = refusal.headers().get(HEADER).map(|token| token.to_str().unwrap().to_owned());
            assert_eq!(largest.as_deref(), (status == StatusCode::CONFLICT).then_some("34"), "{tokens:?}");
        }
    }
    assert_eq!(served.load(Ordering::SeqCst), 1, "a refused request came through");
}

#[tokio::test]
async fn each_lock_has_its_gate() {
    let gates = [Arc::new(TokenGate::new()), Arc::new(TokenGate::new())];
    let inner = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let layer =
        FencingLayer::with_gates(move |request| gates[usize::from(request.uri.path() == "/b")].clone());
    let service = layer.layer(inner);
    for (path, token, status) in
        [("/a", 9, StatusCode::OK), ("/b", 3, StatusCode::OK), ("/a", 8, StatusCode::CONFLICT)]
    {
        let request = Request::put(path).header(HEADER, token).body(String::new()).unwrap();
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_saved_is_not_the_clients_fault() {
    let gate = TokenGate::persistent(None, |_| Err(std::io::Error::other("the disk is full")));
    let inner = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = BoxCloneSyncService::new(FencingLayer::new(Arc::new(gate)).layer(inner));
    assert_eq!(answer(&service, "text/plain", &["1"]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}
