//! What a handler knows of a call besides its input.

use std::net::IpAddr;

use base::{Principal, Scope, Timestamp};
use tokio_util::sync::CancellationToken;

/// One verified call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The account and region that the call is about.
    pub scope: Scope,
    /// Who calls.
    pub principal: Principal,
    /// The request's id, a UUID; the answer carries it.
    pub request_id: String,
    /// When the call arrived.
    pub now: Timestamp,
    /// The address by which the caller reached the server, such as `http://localhost:4566`: for addresses in answers.
    pub endpoint: String,
    /// The request's tracing header, as it came.
    pub trace: Option<String>,
    /// Where the request came from; absent for what did not come over a connection.
    pub source_ip: Option<IpAddr>,
    /// Whether it came by TLS.
    pub secure: bool,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The id of the key that it is signed with.
    pub access_key_id: Option<String>,
    /// Cancelled when the caller is gone: whatever was begun is finished, but nobody needs to wait for more.
    pub left: CancellationToken,
}
