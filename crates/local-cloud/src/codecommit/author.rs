//! Authors and messages of commits.

use crate::api::{ApiError, ApiResult};

/// Maximum number of characters of a name and of an email address. Unverified against AWS [codecommit-author-limits]:
/// the numbers; AWS has errors for both, and its documentation has no limit.
const LONGEST_NAME: usize = 128;
const LONGEST_EMAIL: usize = 254;

/// Maximum number of characters of a message.
const LONGEST_MESSAGE: usize = 10_240;

/// The characters that git removes at both ends of a name, besides spaces and control characters.
const REMOVED: &str = ".,:;<>\"\\'";

/// True for text that git can write into a commit: an environment variable cannot have NUL, and a header has one line.
fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Checks the author of a commit before git does, whose errors are no errors of the API.
pub(super) fn check(name: Option<&str>, email: Option<&str>) -> ApiResult<()> {
    if let Some(name) = name {
        if name.chars().count() > LONGEST_NAME {
            return Err(ApiError::new(
                "NameLengthExceededException",
                format!("The name of an author has at most {LONGEST_NAME} characters"),
            ));
        }
        if !is_line(name)
            || name
                .chars()
                .all(|sign| sign <= ' ' || REMOVED.contains(sign))
        {
            return Err(ApiError::validation(
                "The name of an author is one line, and not only spaces and punctuation",
            ));
        }
    }
    if let Some(email) = email
        && (email.chars().count() > LONGEST_EMAIL || !is_line(email))
    {
        return Err(ApiError::new(
            "InvalidEmailException",
            format!("An email address is one line of at most {LONGEST_EMAIL} characters"),
        ));
    }
    Ok(())
}

/// Checks the message of a commit.
pub(super) fn check_message(message: &str) -> ApiResult<()> {
    if message.chars().count() > LONGEST_MESSAGE {
        return Err(ApiError::new(
            "CommitMessageLengthExceededException",
            format!("A commit message has at most {LONGEST_MESSAGE} characters"),
        ));
    }
    if message.contains('\0') {
        let message = "A commit message cannot have a NUL character";
        return Err(ApiError::validation(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_would_refuse_is_refused_before() {
        check(None, None).unwrap();
        check(Some("Ada L."), Some("ada@example.com")).unwrap();
        check(Some("Ä"), Some("")).unwrap();
        let code = |name: &str, email: &str| check(Some(name), Some(email)).unwrap_err().code;
        let long = "x".repeat(300);
        assert_eq!(code(&long, ""), "NameLengthExceededException");
        assert_eq!(code("a", &long), "InvalidEmailException");
        assert_eq!(code("a", "a\0b"), "InvalidEmailException");
        for name in ["", "...", "a\0b", "a\nb"] {
            assert_eq!(code(name, ""), "ValidationException", "{name:?}");
        }
        check_message("a\nb").unwrap();
        let error = check_message(&"x".repeat(10_241)).unwrap_err();
        assert_eq!(error.code, "CommitMessageLengthExceededException");
        assert!(check_message("\0").is_err());
    }
}
