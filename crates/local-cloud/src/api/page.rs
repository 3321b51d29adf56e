//! One page of a list.

use super::{ApiError, ApiResult};

/// The part of a list that a request selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    start: usize,
    size: usize,
}

impl Page {
    /// The page of `size` items that starts where `token` points, or at the start. Tokens are positions
    /// in the list; `invalid` is the service's error for any other token.
    pub(crate) fn new(
        token: Option<&str>,
        size: usize,
        invalid: impl FnOnce(&str) -> ApiError,
    ) -> ApiResult<Self> {
        let start = match token {
            None => 0,
            Some(token) => token.parse().map_err(|_| invalid(token))?,
        };
        Ok(Self { start, size })
    }

    /// The position of the first item.
    pub(crate) fn start(self) -> usize {
        self.start
    }

    /// The position after the last item, which is the token of the next page.
    pub(crate) fn end(self) -> usize {
        self.start.saturating_add(self.size)
    }

    /// The items of this page, and the token of the next one if there is one.
    pub(crate) fn cut<T>(self, items: Vec<T>) -> (Vec<T>, Option<String>) {
        let end = self.end();
        let more = end < items.len();
        let part = items.into_iter().take(end).skip(self.start).collect();
        (part, more.then(|| end.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(token: Option<&str>, size: usize) -> ApiResult<Page> {
        Page::new(token, size, |token| {
            ApiError::new("InvalidNextToken", token.to_owned())
        })
    }

    #[test]
    fn pages_follow_their_tokens() {
        let items = || vec![1, 2, 3, 4, 5];
        let (first, token) = page(None, 2).unwrap().cut(items());
        assert_eq!((first, token.as_deref()), (vec![1, 2], Some("2")));
        let (last, token) = page(token.as_deref(), 3).unwrap().cut(items());
        assert_eq!((last, token), (vec![3, 4, 5], None));
        let (none, token) = page(Some("9"), usize::MAX).unwrap().cut(items());
        assert_eq!((none, token), (vec![], None));
        assert_eq!(page(Some("x"), 1).unwrap_err().code, "InvalidNextToken");
    }
}
