//! SNS: publishes a message, without its SDK crate.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use anyhow::Result;

use super::{Clients, signed};

/// Maximum number of characters in a subject; SNS accepts fewer than 100.
const LONGEST_SUBJECT: usize = 99;

/// The ARN of a topic: `arn:PARTITION:sns:REGION:ACCOUNT:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicArn(String);

impl TopicArn {
    /// Returns the topic's region.
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }
}

impl FromStr for TopicArn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            ["arn", partition, "sns", region, account, name]
                if [partition, region, account, name]
                    .iter()
                    .all(|part| !part.is_empty()) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => {
                Err("expected the ARN of an SNS topic, arn:aws:sns:REGION:ACCOUNT:NAME".to_owned())
            }
        }
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Publishes a message. The subject, which e-mails show, is reduced to what every endpoint accepts.
pub async fn publish(
    clients: &Clients,
    topic: &TopicArn,
    subject: &str,
    message: &str,
) -> Result<()> {
    let subject = ascii(subject);
    let message = shortened(message);
    let parameters = [
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", topic.0.as_str()),
        ("Subject", subject.as_str()),
        ("Message", message.as_ref()),
    ];
    let doing = format!("cannot publish to {topic}");
    signed::query(clients, "sns", &doing, &parameters).await?;
    Ok(())
}

/// Maximum size of a message in bytes (`Publish`).
const LARGEST_MESSAGE: usize = 256 << 10;

/// Truncates a message that is too large for SNS.
fn shortened(message: &str) -> Cow<'_, str> {
    const CUT: &str = "\n… (truncated)";

    if message.len() <= LARGEST_MESSAGE {
        return message.into();
    }
    let mut end = LARGEST_MESSAGE - CUT.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &message[..end]).into()
}

/// Replaces control characters and characters outside of ASCII, and truncates the subject.
fn ascii(subject: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    subject
        .trim()
        .chars()
        .map(allowed)
        .take(LONGEST_SUBJECT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arns_of_topics_are_accepted() {
        let topic: TopicArn = "arn:aws-cn:sns:cn-north-1:1:t".parse().unwrap();
        assert_eq!(topic.region(), "cn-north-1");
        for bad in [
            "",
            "flights",
            "arn:aws:sns:eu-west-1:1",
            "arn:aws:sns::1:t",
            "arn:aws:sqs:eu-west-1:1:t",
            "arn:aws:sns:eu-west-1:1:t:4b1c",
        ] {
            assert!(bad.parse::<TopicArn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn subjects_are_short_and_ascii() {
        assert_eq!(ascii(" flüge: a\nb "), "fl?ge: a?b");
        assert_eq!(ascii(&"x".repeat(300)).len(), 99);
    }
}
