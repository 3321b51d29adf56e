//! CloudWatch Logs: what jobs wrote.

use anyhow::Result;

use super::{AwsResultExt, Clients};

const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];

/// The lines that a job wrote, oldest first: all of them, or the last `tail` of each stream. A job
/// that has not written yet has none.
pub async fn lines(
    clients: &Clients,
    group: &str,
    job: &str,
    tail: Option<i32>,
) -> Result<Vec<String>> {
    let prefix = format!("{job}/");
    let streams = clients
        .logs
        .describe_log_streams()
        .log_group_name(group)
        .log_stream_name_prefix(&prefix)
        .send()
        .await
        .aws_unless(format!("cannot look for the log of `{job}`"), NOT_FOUND)?
        .and_then(|answer| answer.log_streams)
        .unwrap_or_default();
    let mut lines = Vec::new();
    for stream in streams {
        let name = stream.log_stream_name.unwrap_or_default();
        let mut token: Option<String> = None;
        loop {
            let page = clients
                .logs
                .get_log_events()
                .log_group_name(group)
                .log_stream_name(&name)
                .start_from_head(tail.is_none())
                .set_limit(tail)
                .set_next_token(token.clone())
                .send()
                .await
                .aws(format!("cannot read the log of `{job}`"))?;
            lines.extend(
                page.events()
                    .iter()
                    .map(|event| event.message().unwrap_or_default().to_owned()),
            );
            // The last page answers the token that it was asked with.
            let next = page.next_forward_token().map(str::to_owned);
            if tail.is_some() || next.is_none() || next == token {
                break;
            }
            token = next;
        }
    }
    Ok(lines)
}
