//! Bad weather between ChatGPT and the gateway: a door on loopback whose next connections go wrong in a given way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// The connection breaks before the request gets anywhere.
    Broken,
    /// The gateway gets the request and answers; the answer is lost.
    AnswerLost,
    /// Somebody on the way answers with this status.
    Status(u16),
}

pub(crate) struct Door {
    pub(crate) address: String,
    ahead: Arc<Mutex<VecDeque<Trouble>>>,
}

impl Door {
    /// A door to the gateway at `gateway`.
    pub(crate) async fn open(gateway: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let ahead = Arc::new(Mutex::new(VecDeque::new()));
        let queue = Arc::clone(&ahead);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let trouble = queue.lock().expect("unpoisoned").pop_front();
                tokio::spawn(pass(caller, gateway.clone(), trouble));
            }
        });
        Self { address, ahead }
    }

    /// What happens to the next connections, in order.
    pub(crate) fn expect(&self, troubles: &[Trouble]) {
        self.ahead.lock().expect("unpoisoned").extend(troubles);
    }

    /// Whether all of it has happened.
    pub(crate) fn is_clear(&self) -> bool {
        self.ahead.lock().expect("unpoisoned").is_empty()
    }
}

async fn pass(mut caller: TcpStream, gateway: String, trouble: Option<Trouble>) {
    let mut request = vec![0; 65_536];
    match trouble {
        Some(Trouble::Broken) => {}
        Some(Trouble::Status(status)) => {
            let _ = caller.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status} Trouble\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = caller.write_all(answer.as_bytes()).await;
        }
        Some(Trouble::AnswerLost) => {
            let Ok(length) = caller.read(&mut request).await else { return };
            let mut inside = TcpStream::connect(gateway).await.expect("the gateway");
            inside.write_all(&request[..length]).await.expect("sent");
            assert!(inside.read(&mut request).await.is_ok_and(|length| length > 0), "the gateway answers");
        }
        None => {
            let mut inside = TcpStream::connect(gateway).await.expect("the gateway");
            let _ = copy_bidirectional(&mut caller, &mut inside).await;
        }
    }
}
