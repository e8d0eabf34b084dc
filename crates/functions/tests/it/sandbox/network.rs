//! The network: the server's endpoint and the Runtime API, and nothing else.

use base::{Fs, RealFs};
use serde_json::json as value;
use tokio::net::{TcpListener, UnixListener};

use super::{all, none, probe, room};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reached_but_the_server() {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (server, port) = (endpoint.local_addr().unwrap(), other.local_addr().unwrap().port());
    let room = room(|c| c.endpoint_url = format!("http://{server}")).await;
    RealFs.create_dir_all(&room.beside()).unwrap();
    let path = room.beside().join("socket");
    let _by_path = UnixListener::bind(&path).unwrap();
    let name = format!("tidegate-probe-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let at = |host: &str, port: u16| value!({"host": host, "port": port});
    let unreachable: &[&str] = &["ENETUNREACH", "EADDRNOTAVAIL"];
    all(
        &room,
        &[
            ("connect", at("127.0.0.1", server.port()), &["connected"]),
            ("connect", at("127.0.0.1", port), &["ECONNREFUSED"]),
            ("connect", at("0.0.0.0", port), &["ECONNREFUSED"]),
            ("connect", at("192.0.2.1", 80), unreachable),
            ("connect", at("169.254.169.254", 80), unreachable),
            ("connect", at("10.0.0.1", 80), unreachable),
            ("connect by six", at("2001:db8::1", 80), &["ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"]),
            ("send", at("192.0.2.1", 53), unreachable),
            ("resolve", value!({"host": "example.com"}), &["no such name"]),
            ("connect path", value!({"path": path}), &["ENOENT"]),
            ("abstract connect", value!({"name": name}), &["ECONNREFUSED", "EPERM"]),
            ("packets", none(), &["EPERM"]),
            ("raw", none(), &["EPERM"]),
            ("crypto sockets", none(), &["EPERM"]),
            ("virtual sockets", none(), &["EPERM"]),
            ("netlink", none(), &["EPERM"]),
            ("netlink of routes", none(), &["opened"]),
        ],
    )
    .await;
    assert_eq!(probe(&room, "interfaces", none()).await, value!(["lo"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_s_network_is_given_only_on_request() {
    let room = crate::support::Room::with(|c| c.network = functions::Network::Host).await;
    if super::lacks(&room, "a user of its own") {
        assert!(room.functions.refusal().is_some_and(|reason| reason.contains("network = \"host\"")));
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    room.python_with("probe", super::PROBES, |s| s.timeout = 20.try_into().unwrap()).await;
    let address = listener.local_addr().unwrap();
    assert_eq!(probe(&room, "connect", value!({"host": "127.0.0.1", "port": address.port()})).await, "connected");
    // Every other wall stands.
    all(&room, &[("list", value!({"path": room.dir}), &["ENOENT"]), ("raw", none(), &["EPERM"])]).await;
}
