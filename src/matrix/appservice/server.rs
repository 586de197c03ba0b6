//! The listening side: connections, how many and for how long.
//!
//! Whoever reaches the port gets this far without a token, so nothing here waits for ever: a connection lives as long as its
//! requests make headway. How long a body may take is `body`'s.

use std::{io, time::Duration};

use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long requests under way may take when we stop. A homeserver repeats what was cut off.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// How long a connection stays on which no request begins and none is answered: its client sends a head that never ends,
/// doesn't read our answer, or has nothing to ask. Synapse keeps such a connection for two minutes and trusts that it works;
/// a transaction that meets one just cut counts as a failure there, so we keep it for longer.
const NO_HEADWAY: Duration = Duration::from_secs(150);

/// The most connections at a time; further ones wait until one ends. A homeserver needs a few, IRC the other descriptors.
const MOST_CONNECTIONS: usize = 512;

/// How long we wait when the system gives us no connection (it has no descriptor left, say).
const NO_CONNECTION: Duration = Duration::from_secs(1);

/// Serves until `stop` is cancelled, then ends when the requests under way are answered, or after 5 s. All connections are
/// closed when this ends.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_at_most(MOST_CONNECTIONS, listener, router, stop).await;
}

async fn serve_at_most(most: usize, listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < most;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(attend(stream, router.clone(), stop.clone()));
                    if connections.len() == most {
                        tracing::warn!(connections = most, "further connections to the appservice port wait");
                    }
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "the system gives the appservice port no connection; trying again");
                    sleep(NO_CONNECTION).await;
                }
            },
        }
    }
    drop(listener);
    let _ = timeout(LAST_REQUESTS, async { while connections.join_next().await.is_some() {} }).await;
}

/// One connection, until its client closes it or makes no headway, or the request under way when we stop is answered.
async fn attend(stream: TcpStream, router: Router, stop: CancellationToken) {
    let headway = Notify::new();
    let handler = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        headway.notify_one();
        let answer = handler.call(request);
        async {
            let answer = answer.await;
            headway.notify_one();
            answer
        }
    });
    let mut connection = std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let no_headway = async { while timeout(NO_HEADWAY, headway.notified()).await.is_ok() {} };
    // What goes wrong on a connection is its client's doing or loss.
    tokio::select! {
        _ = &mut connection => return,
        () = no_headway => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Whether a connection failed before we had it, which says nothing of the next.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests;
