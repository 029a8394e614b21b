//! The layer around services that are none of axum's.

use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use keyrack_engine::NewKey;
use keyrack_testkit::Database;
use keyrack_tower::body::CountedBody;
use keyrack_tower::{Grant, Peer, RequireKey};
use tower::{Layer as _, Service, ServiceExt as _};

use crate::support::{World, named};

/// A service that may be called once each time it said that it is ready, and by the one that said so.
#[derive(Default)]
struct Once {
    is_ready: bool,
}

impl Clone for Once {
    fn clone(&self) -> Self {
        Self { is_ready: false }
    }
}

impl Service<Request<CountedBody<Full<Bytes>>>> for Once {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<CountedBody<Full<Bytes>>>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being ready");
        Box::pin(async move {
            let name = request.extensions().get::<Grant>().map(|grant| grant.key.name.to_string());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok(Response::new(Full::new(Bytes::from(format!("{}: {}", name.unwrap_or_default(), body.len())))))
        })
    }
}

fn request(key: &str, peer: Option<IpAddr>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().header("x-api-key", key).body(Full::new(Bytes::from_static(b"four"))).unwrap();
    request.extensions_mut().extend(
        peer.map(|peer| {
            let mut extensions = http::Extensions::new();
            extensions.insert(Peer(peer));
            extensions
        })
        .unwrap_or_default(),
    );
    request
}

#[tokio::test]
async fn the_service_that_said_it_is_ready_is_the_one_that_is_called() {
    let world = World::new(Database::Sqlite).await;
    let (_, key) = world.reader().await;
    let mut service = world.require(RequireKey::any()).layer(Once::default());
    for _ in 0..3 {
        let answer = service.ready().await.unwrap().call(request(&key, None)).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "reader: 4");
    }
}

#[tokio::test]
async fn a_caller_of_whom_nobody_knows_the_address_has_none_of_those_that_are_allowed() {
    let world = World::new(Database::Sqlite).await;
    let allowed = Some(vec!["192.0.2.0/24".to_owned()]);
    let (_, key) = world.key(NewKey { ip_allowlist: allowed, ..named("restricted") }).await;
    let service = world.require(RequireKey::any()).layer(Once::default());
    let status = async |peer: Option<[u8; 4]>| {
        let answer = service.clone().oneshot(request(&key, peer.map(IpAddr::from))).await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(
        [status(None).await, status(Some([192, 0, 2, 9])).await, status(Some([192, 0, 3, 9])).await],
        [403, 200, 403]
    );
}

#[tokio::test]
async fn nobody_brings_a_grant_along() {
    let world = World::new(Database::Sqlite).await;
    let (_, key) = world.reader().await;
    let keep = tower::service_fn(async |request: Request<CountedBody<Empty<Bytes>>>| {
        let grant = request.extensions().get::<Grant>().cloned();
        let mut response = Response::new(Empty::<Bytes>::new());
        response.extensions_mut().extend(
            grant
                .map(|grant| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(grant);
                    extensions
                })
                .unwrap_or_default(),
        );
        Ok::<_, Infallible>(response)
    });
    let request = Request::builder().header("x-api-key", key).body(Empty::new()).unwrap();
    let answer = world.require(RequireKey::any()).layer(keep).oneshot(request).await.unwrap();
    let grant = answer.extensions().get::<Grant>().cloned().unwrap();
    let mut request = Request::new(Empty::new());
    request.extensions_mut().insert(grant);
    let answer = world.require(RequireKey::public()).layer(keep).oneshot(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.extensions().get::<Grant>()), (200, None));
}
