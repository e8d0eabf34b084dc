//! The addresses by which the server is reached, for those that are written into answers.
//!
//! Promises that an address in an answer is one by which its reader reached the server. Must not look at the body.

use http::Request;
use http::header::HOST;

/// The address that is told to everybody, and that of functions.
#[derive(Clone)]
pub(crate) struct Endpoints {
    outside: String,
    inside: String,
}

impl Endpoints {
    /// Both with their scheme, without a slash at the end.
    pub fn new(outside: &str, inside: &str) -> Self {
        Self { outside: outside.to_owned(), inside: inside.to_owned() }
    }

    /// The address that a request was sent to, by its own words.
    pub fn of<B>(&self, request: &Request<B>) -> String {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let Some(authority) = request.uri().authority().map(http::uri::Authority::as_str).or(host) else {
            return self.outside.clone();
        };
        if self.inside.strip_prefix("http://") == Some(authority) {
            return self.inside.clone();
        }
        let scheme = self.outside.split("://").next().unwrap_or("http");
        format!("{scheme}://{authority}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_caller_s_own() {
        let endpoints = Endpoints::new("https://tide.example:4566", "http://127.0.0.1:9999");
        let of = |host: &str| endpoints.of(&Request::builder().header("host", host).body(()).unwrap());
        assert_eq!(of("10.0.0.1:4566"), "https://10.0.0.1:4566");
        assert_eq!(of("127.0.0.1:9999"), "http://127.0.0.1:9999");
        assert_eq!(endpoints.of(&Request::new(())), "https://tide.example:4566");
        let whole = Request::builder().uri("https://name:1/x").header("host", "other").body(()).unwrap();
        assert_eq!(endpoints.of(&whole), "https://name:1");
    }
}
