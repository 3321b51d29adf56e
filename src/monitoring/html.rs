//! Renders the report as one page without scripts, external fonts or images, in light and dark
//! mode.

use std::fmt::Write as _;

use super::{FeatureReport, MonitoringReport, counted, distance};

mod chart;

const STYLE: &str = include_str!("page.css");

/// Escapes text from data or AWS for HTML, including control characters.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn page(report: &MonitoringReport) -> String {
    let title = format!("Monitoring of {}", escape(&report.endpoint));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n<h1>{title}</h1>\n<p>Run {}</p>\n",
        escape(&report.run)
    );
    page.push_str(&facts(report));
    page.push_str(&drifted(report));
    page.push_str(&features(report));
    page.push_str(&violations(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn facts(report: &MonitoringReport) -> String {
    let drifted = report.drifted().count();
    let mood = |count: usize| if count == 0 { "good" } else { "bad" };
    let baseline = report
        .baseline_rows
        .map_or_else(|| "-".to_owned(), |rows| rows.to_string());
    format!(
        "<div class=\"verdict\">\
         <div class=\"fact\"><b class=\"{}\">{drifted} of {}</b><span>features drifted</span></div>\
         <div class=\"fact\"><b class=\"{}\">{}</b><span>violations</span></div>\
         <div class=\"fact\"><b>{}</b><span>rows of production data</span></div>\
         <div class=\"fact\"><b>{baseline}</b><span>rows of the baseline</span></div></div>\n",
        mood(drifted),
        report.features.len(),
        mood(report.violations.len()),
        report.violations.len(),
        report.rows,
    )
}

fn drifted(report: &MonitoringReport) -> String {
    let cards: String = report.drifted().map(card).collect();
    if cards.is_empty() {
        return String::new();
    }
    format!(
        "<h2>What drifted</h2>\n<div class=\"legend\"><span><i style=\"background:var(--before)\">\
         </i>baseline</span><span><i style=\"background:var(--now)\"></i>current</span></div>\n\
         {cards}"
    )
}

fn card(feature: &FeatureReport) -> String {
    format!(
        "<section class=\"card\"><header><h3>{}</h3><span>{}, distance {} &gt; {}</span></header>\
         {}</section>\n",
        escape(&feature.feature),
        feature.inferred_type,
        distance(feature),
        feature.threshold,
        chart::svg(feature)
    )
}

fn features(report: &MonitoringReport) -> String {
    if report.features.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for feature in &report.features {
        let class = if feature.drifted { " bad" } else { "" };
        put(
            &mut rows,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td class=\"number{class}\">{}</td>\
                 <td class=\"number\">{}</td><td class=\"meter\">{}</td></tr>\n",
                escape(&feature.feature),
                feature.inferred_type,
                distance(feature),
                feature.threshold,
                meter(feature)
            ),
        );
    }
    format!(
        "<h2>All features</h2>\n<div class=\"wide\"><table><tr><th>Feature</th><th>Type</th>\
         <th class=\"number\">Distance</th><th class=\"number\">Limit</th><th></th></tr>\n{rows}\
         </table></div>\n"
    )
}

/// Renders the distance as a bar with a mark at the threshold.
fn meter(feature: &FeatureReport) -> String {
    let Some(distance) = feature.distance else {
        return String::new();
    };
    let class = if feature.drifted { "over" } else { "under" };
    let x = |share: f64| share.clamp(0.0, 1.0) * 200.0;
    format!(
        "<svg viewBox=\"0 0 200 12\" aria-hidden=\"true\"><rect class=\"track\" y=\"4\" \
         width=\"200\" height=\"4\" rx=\"2\"/><rect class=\"{class}\" y=\"4\" width=\"{:.1}\" \
         height=\"4\" rx=\"2\"/><line class=\"limit\" x1=\"{limit:.1}\" x2=\"{limit:.1}\" y1=\"1\" \
         y2=\"11\"/></svg>",
        x(distance),
        limit = x(feature.threshold)
    )
}

fn violations(report: &MonitoringReport) -> String {
    if let Some(reason) = report.inconclusive() {
        return format!("<h2>Violations</h2>\n<p>{}.</p>\n", escape(&reason));
    }
    if report.violations.is_empty() {
        return "<h2>Violations</h2>\n<p>None.</p>\n".to_owned();
    }
    let mut rows = String::new();
    for violation in &report.violations {
        put(
            &mut rows,
            format_args!(
                "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
                escape(&violation.subject()),
                escape(&violation.constraint_check_type),
                escape(&violation.description)
            ),
        );
    }
    format!(
        "<h2>{}</h2>\n<div class=\"wide\"><table><tr><th>Feature</th><th>Check</th>\
         <th>Description</th></tr>\n{rows}</table></div>\n",
        counted(report.violations.len() as u64, "violation")
    )
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing into a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::Bin;
    use mlops_validation::Violation;
    use mlops_validation::types::InferredType;

    #[test]
    fn everything_that_came_from_data_is_escaped() {
        let evil = "<script>alert('x')</script>\"&\u{1b}";
        let report = MonitoringReport {
            endpoint: evil.to_owned(),
            run: evil.to_owned(),
            rows: 1,
            baseline_rows: Some(1),
            features: vec![FeatureReport {
                feature: evil.to_owned(),
                inferred_type: InferredType::String,
                distance: Some(0.5),
                threshold: 0.1,
                drifted: true,
                distribution: vec![Bin {
                    label: evil.to_owned(),
                    lower: None,
                    upper: None,
                    baseline: 1.0,
                    current: 0.5,
                }],
            }],
            violations: vec![Violation {
                feature_name: Some(evil.to_owned()),
                constraint_check_type: evil.to_owned(),
                description: evil.to_owned(),
                ..Violation::default()
            }],
            minimum_records: None,
            unreadable: None,
        };
        let page = report.html();
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains('\u{1b}'));
        assert!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count() >= 7);
        for outside in ["http://", "https://", "url(", "@import", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
