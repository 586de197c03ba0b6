//! A wire that can fail without a word: a relay before a server, as a router is that forgets a connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Whole,
    Dead,
    Cut,
}

/// Passes connections on to a server, until it is told not to.
pub struct Relay {
    address: SocketAddr,
    /// The connections in the order in which they came.
    wires: Arc<Mutex<Vec<watch::Sender<Wire>>>>,
}

impl Relay {
    /// A relay before `server`, on a free port.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let wires = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&wires);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (wire, state) = watch::channel(Wire::Whole);
                known.lock().expect("no test panics while it holds this").push(wire);
                tokio::spawn(pass(client, server, state));
            }
        });
        Self { address, wires }
    }

    /// Where to connect instead of to the server.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes on the connection that came as the `nth` (from 0), and neither end hears of it.
    pub fn kill(&self, nth: usize) {
        self.set(nth, Wire::Dead);
    }

    /// Both ends hear that the connection is gone.
    pub fn cut(&self, nth: usize) {
        self.set(nth, Wire::Cut);
    }

    fn set(&self, nth: usize, wire: Wire) {
        self.wires.lock().expect("no test panics while it holds this")[nth].send_replace(wire);
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<Wire>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = state.wait_for(|wire| *wire != Wire::Whole) => {}
    }
    // Open, and unread.
    let _ = state.wait_for(|wire| *wire == Wire::Cut).await;
}
