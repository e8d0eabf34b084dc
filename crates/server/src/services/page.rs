//! Pages of a list that is ordered by a text of its items: the way of the services that answer with a `NextToken`.
//!
//! Promises that items which stay are each shown once, whatever comes and goes between two calls. Must not know what is listed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A token that none of our answers held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadToken;

/// The items after the token's, at most `limit`, and the token of the next page when there is one. `key` orders the
/// items, which are sorted by it.
pub(crate) fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    limit: usize,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), BadToken> {
    let after = token.map(behind).transpose()?;
    let mut rest = items.into_iter().filter(|item| after.as_ref().is_none_or(|after| key(item) > *after));
    let page: Vec<T> = rest.by_ref().take(limit.max(1)).collect();
    let more = rest.next().is_some();
    let next = page.last().filter(|_| more).map(|last| token_of(&key(last)));
    Ok((page, next))
}

/// The token of the page behind an item, by its key.
pub(crate) fn token_of(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key of the item behind which a token's page begins.
pub(crate) fn behind(token: &str) -> Result<String, BadToken> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
    String::from_utf8(bytes).map_err(|_| BadToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_once_over_the_pages() {
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let items: Vec<String> = (0..25).map(|n| format!("{n:03}")).collect();
            let (page, next) = page(items, Clone::clone, 10, token.as_deref()).unwrap();
            seen.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_token_of_somebody_else_is_refused() {
        assert_eq!(page(vec!["a".to_owned()], Clone::clone, 1, Some("???")), Err(BadToken));
    }
}
