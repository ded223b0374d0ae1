//! Around every request: what was answered is counted, and no answer is taken for another type.
//!
//! Why no `async fn`: as a middleware its future would take more than 1 KiB for each request, which
//! the allocator serves slowly; this one has what it needs and no more.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::Route;
use axum::routing::future::RouteFuture;
use tower::{Layer, Service};

use super::Hall;
use super::routes;

/// Observes whatever it is put around.
#[derive(Clone)]
pub(super) struct Observing(pub(super) Arc<Hall>);

impl Layer<Route> for Observing {
    type Service = Observed;

    fn layer(&self, route: Route) -> Observed {
        Observed {
            route,
            doors: Arc::clone(&self.0),
        }
    }
}

/// A route that is observed.
#[derive(Clone)]
pub(super) struct Observed {
    route: Route,
    doors: Arc<Hall>,
}

impl Service<Request> for Observed {
    type Response = Response;
    type Error = Infallible;
    type Future = Observation;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // as all of a router is, at all times
    }

    fn call(&mut self, request: Request) -> Observation {
        let matched = request.extensions().get::<MatchedPath>();
        Observation {
            name: matched.map_or("other", routes::table_path),
            begun: Instant::now(),
            doors: Arc::clone(&self.doors),
            answer: self.route.call(request),
        }
    }
}

/// One request on its way to an answer.
pub(super) struct Observation {
    name: &'static str,
    begun: Instant,
    doors: Arc<Hall>,
    answer: RouteFuture<Infallible>,
}

impl Future for Observation {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut answer) = ready!(Pin::new(&mut self.answer).poll(cx));
        answer.headers_mut().insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        (self.doors.observe)(self.name, answer.status().as_u16(), self.begun.elapsed());
        Poll::Ready(Ok(answer))
    }
}
