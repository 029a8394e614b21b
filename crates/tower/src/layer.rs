//! The layer, and the service it makes of another.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{CountedBody, GuardedBody};
use crate::door::{Admitted, Door};
use crate::refused;

/// Puts a door in front of a service; made by [`Keyrack::require`](crate::Keyrack::require).
#[derive(Clone)]
pub struct KeyLayer {
    door: Arc<Door>,
}

impl KeyLayer {
    pub(crate) fn new(door: Door) -> Self {
        Self { door: Arc::new(door) }
    }
}

impl<S> Layer<S> for KeyLayer {
    type Service = KeyService<S>;

    fn layer(&self, inner: S) -> KeyService<S> {
        KeyService { inner, door: Arc::clone(&self.door) }
    }
}

/// A service behind a door. It hears of those requests only that are let in.
#[derive(Clone)]
pub struct KeyService<S> {
    inner: S,
    door: Arc<Door>,
}

impl<S, B, A> Service<Request<B>> for KeyService<S>
where
    S: Service<Request<CountedBody<B>>, Response = Response<A>, Future: Send> + Clone + Send + 'static,
    B: Body + Send + 'static,
    A: Body<Data: From<Bytes>> + 'static,
{
    type Response = Response<GuardedBody<A>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that said it is ready is the one that is called; the clone has to be asked again.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        Box::pin(pass(Arc::clone(&self.door), ready, request))
    }
}

/// Lets a request pass, or answers it.
async fn pass<S, B, A>(door: Arc<Door>, mut ready: S, request: Request<B>) -> Result<Response<GuardedBody<A>>, S::Error>
where
    S: Service<Request<CountedBody<B>>, Response = Response<A>>,
    B: Body,
{
    let (mut request, body) = request.into_parts();
    let Admitted { grant, standing, mut note } = match door.decide(&request).await {
        Ok(admitted) => admitted,
        Err(refused) => return Ok(refused.response(&request.headers)),
    };
    // Whoever stands in the extensions was let in by this door and by no other.
    request.extensions.remove::<crate::Grant>();
    if let Some(grant) = grant {
        request.extensions.insert(grant);
    }
    let (body, bytes_in) = CountedBody::new(body, &note);
    let mut response = ready.call(Request::from_parts(request, body)).await?;
    note.answered(response.status().as_u16());
    if let Some(standing) = standing {
        refused::write_limits(response.headers_mut(), &standing);
    }
    Ok(response.map(|body| GuardedBody::answer(body, note, bytes_in)))
}
