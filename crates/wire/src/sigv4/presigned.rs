//! A signature in the query string, read strictly: each parameter once.
//!
//! Source: "Authenticating Requests: Using Query Parameters" (Amazon S3 API Reference), and the words of the refusals
//! as Kinesis gives them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;

use super::authorization::{ALGORITHM, Authorization, Place, hex32, incomplete, names, scope};
use super::canonical::decode;
use super::rejection::Rejection;

/// The parameters of a signature; the first five must be there.
const PARAMETERS: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
];
const REQUIRED: usize = 5;
/// The one that is not signed.
pub(super) const SIGNATURE: &str = PARAMETERS[2];
/// "The maximum is 604800 (seven days)".
const MAX_LIFE_SECONDS: u64 = 7 * 24 * 3_600;

/// What a signature in the query string says besides who signed what.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Presigned<'r> {
    /// `X-Amz-Date` as it came.
    pub date: Cow<'r, str>,
    /// From then on the signature is good so long; as a header's would be when absent.
    pub life: Option<Duration>,
    /// A session's token.
    pub token: Option<Cow<'r, str>>,
}

impl fmt::Debug for Presigned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_some() { "not shown" } else { "none" };
        write!(f, "Presigned({}, life {:?}, token {token})", self.date, self.life)
    }
}

/// Whether the query string claims to carry a signature.
pub(super) fn claims(query: &str) -> bool {
    query.split('&').any(|pair| name(pair) == PARAMETERS[0])
}

/// The name of a pair of the query string.
pub(super) fn name(pair: &str) -> Cow<'_, str> {
    decode(pair.split_once('=').map_or(pair, |(name, _)| name))
}

/// Reads the parameters of a query string.
pub(super) fn read(query: &str) -> Result<Authorization<'_>, Rejection> {
    let mut found: [Option<Cow<'_, str>>; PARAMETERS.len()] = Default::default();
    for pair in query.split('&') {
        let Some(place) = PARAMETERS.iter().position(|known| name(pair) == *known) else { continue };
        let value = decode(pair.split_once('=').map_or("", |(_, value)| value));
        if found[place].replace(value).is_some() {
            return Err(incomplete(format!("the query string has {} twice", PARAMETERS[place])));
        }
    }
    let absent = |(_, value): &(&&str, &Option<Cow<'_, str>>)| value.as_deref().is_none_or(str::is_empty);
    let absent = PARAMETERS.iter().zip(&found).take(REQUIRED).filter(absent);
    let words: String =
        absent.map(|(name, _)| format!("AWS query-string parameters must include '{name}'. ")).collect();
    if !words.is_empty() {
        return Err(incomplete(format!("{words}Re-examine the query-string parameters.")));
    }
    let [algorithm, credential, signature, signed_headers, date, life, token] = found;
    if algorithm.unwrap_or_default() != ALGORITHM {
        return Err(incomplete(format!("X-Amz-Algorithm only supports '{ALGORITHM}'")));
    }
    let presigned =
        Presigned { date: date.unwrap_or_default(), life: life.map(|text| seconds(&text)).transpose()?, token };
    Ok(Authorization {
        credential: scope(&credential.unwrap_or_default())?.into_owned(),
        signed_headers: names(signed_headers.unwrap_or_default())?,
        signature: hex32(&signature.unwrap_or_default())
            .ok_or_else(|| incomplete("X-Amz-Signature must be 64 lower-case hexadecimal digits"))?,
        place: Place::Query(presigned),
    })
}

fn seconds(text: &str) -> Result<Duration, Rejection> {
    if text.starts_with('-') {
        return Err(incomplete("X-Amz-Expires must be non-negative"));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(incomplete("X-Amz-Expires should be a number"));
    }
    let seconds = text.parse().ok().filter(|seconds| *seconds <= MAX_LIFE_SECONDS).map(Duration::from_secs);
    seconds.ok_or_else(|| {
        incomplete(format!(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             {MAX_LIFE_SECONDS} seconds"
        ))
    })
}

/// The address without the parameters of a signature: for those who read the query string afterwards, to whom they
/// would be options that nobody knows. Nothing when there are none.
pub fn without_signature(uri: &Uri) -> Option<Uri> {
    let query = uri.query().filter(|query| claims(query))?;
    let rest: Vec<&str> =
        query.split('&').filter(|pair| !PARAMETERS.iter().any(|known| name(pair) == *known)).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    let mut parts = uri.clone().into_parts();
    // Parts of what was an address are one.
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{}{mark}{}", uri.path(), rest.join("&"))).ok()?);
    Uri::from_parts(parts).ok()
}
