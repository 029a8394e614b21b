//! The tower layer in front of a service that does nothing, as a Rust service has it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Empty;
use keyrack_core::{OrganizationId, PlainKey};
use keyrack_engine::Engine;
use keyrack_tower::{Keyrack, RequireKey};
use tower::{Layer as _, Service};

use crate::Options;

/// How many requests a run makes.
const REQUESTS: usize = 1_000_000;

/// Prints what the layer costs a request for keys in no order and for one: with it, without it, taken in turn.
pub(crate) fn measure(
    options: &Options,
    size: u64,
    (engine, organization): (&Arc<Engine>, OrganizationId),
    keys: &[PlainKey],
) -> anyhow::Result<()> {
    let keyrack = Keyrack::in_process(Arc::clone(engine), organization);
    let layer = keyrack.require(RequireKey::scope("contacts:read"))?;
    let values = keys.iter().map(|key| HeaderValue::from_str(key.expose())).collect::<Result<Vec<_>, _>>()?;
    for (name, values) in [("in no order", &values[..]), ("one key", &values[..1])] {
        let mut differences = Vec::new();
        for _ in 0..options.rounds {
            let with = run(layer.layer(tower::service_fn(nothing)), values)?;
            let without = run(tower::service_fn(nothing), values)?;
            differences.push(with - without);
        }
        differences.sort_by(f64::total_cmp);
        let median = differences[differences.len() / 2];
        println!("tower: {size:>11} keys, {name:>24}: {median:>5.0} ns");
    }
    Ok(())
}

async fn nothing<B>(_: Request<B>) -> Result<Response<Empty<Bytes>>, Infallible> {
    Ok(Response::new(Empty::new()))
}

/// Nanoseconds that a request takes.
fn run<S, A>(mut service: S, keys: &[HeaderValue]) -> anyhow::Result<f64>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<A>, Error = Infallible>,
    A: Body,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    runtime.block_on(async {
        for at in 0..REQUESTS {
            let mut request = Request::new(Empty::new());
            request.headers_mut().insert("x-api-key", keys[at % keys.len()].clone());
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            let response = service.call(request).await?;
            anyhow::ensure!(response.status() == 200, "a good key is refused");
        }
        anyhow::Ok(())
    })?;
    Ok(begun.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(REQUESTS)?))
}
