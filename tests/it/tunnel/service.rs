//! What stands at the public URL: passes requests on to the gateway, or does what a tunnel service does on bad days.

use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Forward,
    Hang,
    /// Content type, status, body.
    Answer(&'static str, u16, &'static str),
}

pub(crate) struct Service {
    port: u16,
    state: Arc<Mutex<(Mode, String)>>,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new((Mode::Forward, String::new())));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let (mode, gateway) = shared.lock().expect("unpoisoned").clone();
                tokio::spawn(serve(stream, mode, gateway));
            }
        });
        Self { port, state, task }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{name}.localhost:{}", self.port)
    }

    pub(crate) fn forward_to(&self, address: &str) {
        address.clone_into(&mut self.state.lock().expect("unpoisoned").1);
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.lock().expect("unpoisoned").0 = mode;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, mode: Mode, gateway: String) {
    match mode {
        Mode::Forward => {
            if let Ok(mut gateway) = TcpStream::connect(gateway).await {
                let _ = copy_bidirectional(&mut stream, &mut gateway).await;
            }
        }
        Mode::Hang => std::future::pending().await,
        Mode::Answer(kind, status, body) => {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    }
}
