//! Pages of lists in responses.

use super::template::invalid;
use crate::api::ApiResult;

/// Maximum number of elements on a page.
pub(super) const LONGEST: usize = 100;

/// A page of `all`, and the token of the next page. A token is the index of the page's first member.
pub(super) fn page<T>(
    all: Vec<T>,
    size: usize,
    token: Option<&str>,
) -> ApiResult<(Vec<T>, Option<String>)> {
    let start: usize = match token {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| invalid(format!("The token {token} is invalid")))?,
    };
    let end = start.saturating_add(size);
    let next = (end < all.len()).then(|| end.to_string());
    Ok((all.into_iter().skip(start).take(size).collect(), next))
}
