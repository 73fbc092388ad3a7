//! A small closed-loop load generator: keep-alive connections that each send the next request after the answer.

use crate::{ms, percentile};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub p99_ms: f64,
}

pub(crate) async fn run(address: &str, request: &str, connections: usize, time: Duration) -> Load {
    let until = Instant::now() + time;
    let workers: Vec<_> =
        (0..connections).map(|_| tokio::spawn(connection(address.to_owned(), request.to_owned(), until))).collect();
    let mut latencies = vec![];
    for worker in workers {
        latencies.extend(worker.await.expect("a worker"));
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands of requests")]
    let per_second = latencies.len() as f64 / time.as_secs_f64();
    Load { per_second, p99_ms: percentile(&mut latencies, 0.99) }
}

async fn connection(address: String, request: String, until: Instant) -> Vec<f64> {
    let mut stream = TcpStream::connect(&address).await.expect("connects");
    stream.set_nodelay(true).expect("set");
    let (mut latencies, mut buffer) = (vec![], vec![0; 1 << 16]);
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).await.expect("read");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            if is_complete(&buffer[..filled]) {
                break;
            }
        }
        latencies.push(ms(began.elapsed()));
    }
    latencies
}

fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let length: usize = length.expect("content-length").trim().parse().expect("a number");
    body.len() >= length
}
