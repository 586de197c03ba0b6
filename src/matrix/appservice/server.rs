//! The listening side.

use std::{io, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests under way may take when we stop. A homeserver repeats what was cut off.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then ends when the requests under way are answered, or after 5 s.
///
/// An error is the listener's, before that.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let hurry = stop.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        ended = server => ended,
        () = async { hurry.cancelled().await; tokio::time::sleep(LAST_REQUESTS).await } => Ok(()),
    }
}
