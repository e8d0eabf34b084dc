//! AWS Signature Version 4: checking a caller's, in the `Authorization` header or the query string, and making our own.
//!
//! Owns the strict parsing of both, the canonical request, the derived keys and the words of a refusal.
//! Promises that a verified request was signed over its method, path, query, every signed header and body by the
//! holder of the key, for this date, region and service; that nothing but derived keys is kept; and that no secret is
//! in a message or a debug print.
//! Must not know where keys come from or what a principal may do.
//!
//! Sources: "Create a signed AWS API request" and "Troubleshoot Signature Version 4 signing" of the IAM User Guide.

mod authorization;
mod canonical;
mod key;
mod presigned;
mod rejection;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use authorization::{Authorization, CredentialScope, Head};
pub use key::SigningSecret;
pub use presigned::without_signature;
pub use rejection::{Reason, Rejection};
pub use sign::{Keys, SignError, sign};
pub use verify::{Claim, Credential, Verified, Verifier};
