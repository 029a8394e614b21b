//! Real proxies with the files of `deploy/`, which only change the addresses: what their callers and the service behind them see.
#![cfg(test)]

macro_rules! with_each_proxy {
    ($(async fn $name:ident($front:ident: Front) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn run($front: Front) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn nginx() {
                if let Some(front) = $crate::front::Front::start($crate::front::Kind::Nginx).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn caddy() {
                if let Some(front) = $crate::front::Front::start($crate::front::Kind::Caddy).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn haproxy() {
                if let Some(front) = $crate::front::Front::start($crate::front::Kind::Haproxy).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn envoy() {
                if let Some(front) = $crate::front::Front::start($crate::front::Kind::Envoy).await { run(front).await; }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn envoy_over_grpc() {
                if let Some(front) = $crate::front::Front::start($crate::front::Kind::EnvoyGrpc).await { run(front).await; }
            }
        }
    )*};
}

mod alone;
mod checks;
mod front;
mod smuggling;
mod walks;
