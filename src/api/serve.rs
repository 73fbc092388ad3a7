//! The accept loop. `axum::serve` waits for ever for a client that never finishes its request head; this one does not.

use super::caller::WayIn;
use axum::{Extension, Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use std::{io, net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a client may take for the head of a request, from the connection or the answer before.
const HEAD_LIMIT: Duration = Duration::from_secs(75);
/// Pause when no connection can be accepted, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stop`, then gives open connections `grace` to finish. `way_in`: whose requests come to this listener.
pub async fn serve(listener: TcpListener, way_in: WayIn, router: Router, stop: CancellationToken, grace: Duration) {
    let router = router.layer(Extension(way_in));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // Small answers should not wait for more to send.
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, address, router.clone(), connections.watcher(), stop.clone()));
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end of server.shutdown_seconds");
    }
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, address: SocketAddr, router: Router, watcher: Watcher, stop: CancellationToken) {
    // The library's limit begins with the first byte.
    let mut byte = [0];
    tokio::select! {
        () = stop.cancelled() => return,
        first = tokio::time::timeout(HEAD_LIMIT, stream.peek(&mut byte)) => if !matches!(first, Ok(Ok(1))) { return },
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().oneshot(request.map(Body::new))
    });
    // Telling HTTP/2 apart would need the first bytes, and that wait has no limit.
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
