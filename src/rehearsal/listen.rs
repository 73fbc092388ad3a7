//! The loopback address, kept across restarts.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};
use tokio::net::TcpListener;

/// Listens on loopback at the port recorded in `address_file` if it is free, else at any port, and records
/// the address. The same port matters: agents that outlive the gateway look for their model there.
pub async fn bind(address_file: &Path) -> io::Result<TcpListener> {
    let recorded = tokio::fs::read_to_string(address_file).await.ok().and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let listener = match recorded {
        Some(address) => match TcpListener::bind((Ipv4Addr::LOCALHOST, address.port())).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(port = address.port(), %error, "rehearsal: recorded port is not free, taking another");
                any_port().await?
            }
        },
        None => any_port().await?,
    };
    record(address_file, listener.local_addr()?).await?;
    Ok(listener)
}

async fn any_port() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Writes a neighbour and renames it, so that a reader never sees half an address.
async fn record(address_file: &Path, address: SocketAddr) -> io::Result<()> {
    let mut name = address_file.as_os_str().to_owned();
    name.push(".new");
    tokio::fs::write(&name, format!("{address}\n")).await?;
    tokio::fs::rename(&name, address_file).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_is_kept_when_free_and_changed_when_taken() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("address");
        let first = bind(&file).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = bind(&file).await.unwrap();
        assert_ne!(second.local_addr().unwrap().port(), port);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", second.local_addr().unwrap()));
        let kept = second.local_addr().unwrap();
        drop(second);
        assert_eq!(bind(&file).await.unwrap().local_addr().unwrap(), kept);
        assert!(kept.ip().is_loopback());
    }

    #[tokio::test]
    async fn nonsense_in_the_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("address");
        std::fs::write(&file, "not an address").unwrap();
        let listener = bind(&file).await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), listener.local_addr().unwrap().to_string());
    }
}
