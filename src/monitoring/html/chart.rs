//! Inline SVG charts of a feature's two distributions, overlaid.

use std::fmt::Write as _;

use super::escape;
use crate::monitoring::shape::number;
use crate::monitoring::{Bin, FeatureReport};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 44.0;
const HEIGHT: f64 = 200.0;
const TOP: f64 = 8.0;

/// Renders a histogram for numbers, bars for categories, and nothing without a distribution.
pub(super) fn svg(feature: &FeatureReport) -> String {
    match feature.distribution.first() {
        None => String::new(),
        Some(bin) if bin.lower.is_some() => histogram(feature),
        Some(_) => bars(feature),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few bins")]
fn histogram(feature: &FeatureReport) -> String {
    let bins = &feature.distribution;
    let top = scale(bins);
    let step = (WIDTH - LEFT) / bins.len() as f64;
    let y = |share: f64| TOP + HEIGHT * (1.0 - share / top);
    let mut svg = open(feature, TOP + HEIGHT + 26.0);
    for i in 0..=4 {
        let share = top * f64::from(i) / 4.0;
        put(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{x}\" y=\"{ty:.1}\" text-anchor=\"end\">{label}</text>",
                y = y(share),
                x = LEFT - 6.0,
                ty = y(share) + 4.0,
                label = percent(share)
            ),
        );
    }
    for (class, side) in [
        ("baseline", (|bin| bin.baseline) as fn(&Bin) -> f64),
        ("current", |bin| bin.current),
    ] {
        for (i, bin) in bins.iter().enumerate() {
            let share = side(bin);
            put(
                &mut svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" \
                     height=\"{h:.1}\"><title>{title}</title></rect>",
                    x = LEFT + step * i as f64 + 0.5,
                    y = y(share),
                    w = (step - 1.0).max(0.5),
                    h = HEIGHT * share / top,
                    title = title(bin)
                ),
            );
        }
    }
    let edges: Vec<f64> = bins
        .iter()
        .filter_map(|bin| bin.lower)
        .chain(bins.last().and_then(|bin| bin.upper))
        .collect();
    let (first, last) = (edges[0], edges[edges.len() - 1]);
    for (i, anchor) in [
        (0, "start"),
        (1, "middle"),
        (2, "middle"),
        (3, "middle"),
        (4, "end"),
    ] {
        let part = f64::from(i) / 4.0;
        put(
            &mut svg,
            format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>",
                x = LEFT + (WIDTH - LEFT) * part,
                y = TOP + HEIGHT + 18.0,
                label = escape(&number(first + (last - first) * part))
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

#[expect(clippy::cast_precision_loss, reason = "a few bins")]
fn bars(feature: &FeatureReport) -> String {
    const LABEL: f64 = 150.0;
    const ROW: f64 = 30.0;
    let bins = &feature.distribution;
    let top = scale(bins);
    let width = WIDTH - LABEL - 56.0;
    let mut svg = open(feature, TOP * 2.0 + ROW * bins.len() as f64);
    for (i, bin) in bins.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        put(
            &mut svg,
            format_args!(
                "<text class=\"label\" x=\"{x}\" y=\"{ty:.1}\" text-anchor=\"end\">{label}</text>",
                x = LABEL - 8.0,
                ty = y + 16.0,
                label = escape(&shorten(&bin.label))
            ),
        );
        for (class, share, offset) in [
            ("baseline", bin.baseline, 2.0),
            ("current", bin.current, 13.0),
        ] {
            put(
                &mut svg,
                format_args!(
                    "<rect class=\"{class} solid\" x=\"{LABEL}\" y=\"{y:.1}\" width=\"{w:.1}\" \
                     height=\"10\" rx=\"2\"><title>{title}</title></rect>\
                     <text class=\"tick\" x=\"{x:.1}\" y=\"{ty:.1}\">{label}</text>",
                    y = y + offset,
                    w = width * share / top,
                    x = LABEL + width * share / top + 6.0,
                    ty = y + offset + 9.0,
                    label = percent(share),
                    title = title(bin)
                ),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

fn open(feature: &FeatureReport, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Distribution of {}\">",
        escape(&feature.feature)
    )
}

fn scale(bins: &[Bin]) -> f64 {
    bins.iter()
        .fold(0.0, |top: f64, bin| top.max(bin.baseline).max(bin.current))
        .max(1e-9)
}

fn title(bin: &Bin) -> String {
    format!(
        "{}: baseline {}, current {}",
        escape(&bin.label),
        percent(bin.baseline),
        percent(bin.current)
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn shorten(text: &str) -> String {
    if text.chars().count() > 20 {
        text.chars().take(19).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing into a String does not fail");
}
