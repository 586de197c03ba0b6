//! One task per connection: bytes in, bytes out. All decisions are [`State`](super::state::State)'s.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    FakeIrcd, Refusal,
    outbox::{End, Outbox},
};

/// A line longer than this is the client's mistake and is cut.
const MAX_LINE: usize = 16 * 1024;

/// Serves one connection until it ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(ircd: FakeIrcd, stream: S) {
    let (id, outbox) = {
        let mut state = ircd.state();
        let (id, outbox) = state.connect();
        let at_connect = |refusal: &Refusal| matches!(refusal, Refusal::AtConnect(_));
        if let Some(Refusal::AtConnect(text)) = state.config.next_refusal(at_connect) {
            state.close_with_error(id, &text);
        }
        (id, outbox)
    };
    let (reader, writer) = tokio::io::split(stream);
    // Both at once, so that a client that doesn't read can still be heard.
    let end = tokio::select! {
        () = read(&ircd, id, &outbox, reader) => "Connection closed",
        () = write(&ircd, &outbox, writer) => "Write error",
        () = outbox.cut() => "Connection reset by peer",
    };
    ircd.state().drop_connection(id, end, End::AtOnce);
    ircd.changed();
}

async fn read(ircd: &FakeIrcd, id: u64, outbox: &Arc<Outbox>, mut reader: impl AsyncRead + Unpin) {
    let mut input = Vec::with_capacity(512);
    while let Ok(1..) = reader.read_buf(&mut input).await {
        // Asked after the read, which may have begun before the server was told to stop reading.
        outbox.may_read().await;
        let mut start = 0;
        while let Some(length) = input[start..].iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(&input[start..start + length]);
            // The lock is taken per line, so that a busy client doesn't keep others waiting.
            ircd.state().receive(id, line.trim_end_matches('\r'));
            start += length + 1;
        }
        input.drain(..start);
        input.truncate(MAX_LINE);
        if start > 0 {
            ircd.changed();
        }
    }
    // What the server still has to say (the ERROR after QUIT) is the writer's business; it ends by itself.
    if ircd.state().connections.contains_key(&id) {
        return;
    }
    std::future::pending::<()>().await;
}

async fn write(ircd: &FakeIrcd, outbox: &Outbox, mut writer: impl AsyncWrite + Unpin) {
    let mut out = Vec::new();
    loop {
        let end = outbox.next(&mut out).await;
        if end == End::AtOnce {
            return;
        }
        if writer.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
        out.shrink_to(4096);
        if end == End::AfterFlush {
            let _ = writer.shutdown().await;
            return;
        }
        // The time in which further lines gather for the next write.
        if !ircd.shared.write_delay.is_zero() {
            tokio::time::sleep(ircd.shared.write_delay).await;
        }
    }
}
