//! Properties for any data: merged parts equal the whole, the order of rows does not matter, and
//! ranks are within the sketch's error. The data is generated from seeds.

use std::fmt::Write as _;

use super::constraints::Constraints;
use super::distance::RANK_ERROR;
use super::kll::Ranks;
use super::statistics::{FeatureStatistics, Statistics};
use super::{Baseline, Format, Profile, Source, check, profile};

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than `below`")]
    fn below(&mut self, below: usize) -> usize {
        (self.next() % below as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Eight numeric columns, named by their distribution.
fn numbers(random: &mut Random, rows: usize) -> Vec<(&'static str, Vec<f64>)> {
    let of = |make: &mut dyn FnMut(usize) -> f64| (0..rows).map(make).collect::<Vec<f64>>();
    #[expect(clippy::cast_precision_loss, reason = "row numbers")]
    let position = |i: usize| i as f64;
    vec![
        ("uniform", of(&mut |_| random.share())),
        ("normal", of(&mut |_| random.normal())),
        ("lognormal", of(&mut |_| (2.0 * random.normal()).exp())),
        ("zeros_and_ones", of(&mut |_| (random.share() - 0.3).ceil())),
        ("few", of(&mut |_| (random.share() * 7.0).floor() / 4.0)),
        ("ascending", of(&mut |i| position(i) + 0.25)),
        ("descending", of(&mut |i| position(rows - i) - 0.25)),
        (
            "zigzag",
            of(&mut |i| {
                if i % 2 == 0 {
                    position(i)
                } else {
                    -position(i)
                }
            }),
        ),
    ]
}

/// The header and rows of a table: `n` (numbers, some missing), `s` (categories), `id` (unique),
/// `mixed` (numbers and text).
fn rows(random: &mut Random, count: usize, shift: f64) -> Vec<String> {
    (0..count)
        .map(|_| {
            let n = if random.below(20) == 0 {
                String::new()
            } else {
                format!("{}", random.normal() * 3.0 + shift)
            };
            let s = ["JFK", "LGA", "EWR", "BOS"][random.below(10).min(3)];
            let mixed = match random.below(50) {
                0 => "n/a".to_owned(),
                1 => "true".to_owned(),
                2..20 => format!("{}.5", random.below(30)),
                _ => random.below(1000).to_string(),
            };
            format!("{n},{s},{:016x},{mixed}", random.next())
        })
        .collect()
}

fn of(rows: &[String], baseline: Option<&Baseline>) -> Profile {
    let mut text = "n,s,id,mixed\n".to_owned();
    for row in rows {
        text.push_str(row);
        text.push('\n');
    }
    read(text, baseline)
}

fn read(text: String, baseline: Option<&Baseline>) -> Profile {
    let source = Source::stream("data.csv", move || Ok(std::io::Cursor::new(text)));
    profile(vec![source], &Format::Csv, baseline).unwrap()
}

fn suggested(rows: &[String]) -> Baseline {
    let statistics = of(rows, None).statistics();
    Baseline {
        constraints: Constraints::suggest(&statistics),
        statistics: Some(statistics),
    }
}

fn verdicts(profile: &Profile, baseline: &Baseline) -> Vec<(String, String)> {
    let clock = jiff::Timestamp::UNIX_EPOCH;
    check(profile, &profile.statistics(), baseline, clock)
        .unwrap()
        .violations
        .into_iter()
        .map(|violation| (violation.subject(), violation.constraint_check_type))
        .collect()
}

fn close(a: f64, b: f64) {
    assert!(
        (a - b).abs() <= 1e-12 * b.abs().max(1e-300),
        "{a} is not {b}"
    );
}

/// The maximum difference of two sketches' cumulative distributions.
fn apart(a: &Ranks, b: &Ranks) -> f64 {
    super::distance::greatest_difference(a, b)
}

fn same(merged: &FeatureStatistics, whole: &FeatureStatistics) {
    assert_eq!(merged.name, whole.name);
    assert_eq!(merged.inferred_type, whole.inferred_type, "{}", whole.name);
    assert_eq!(merged.common(), whole.common(), "{}", whole.name);
    assert_eq!(merged.distinct(), whole.distinct(), "{}", whole.name);
    assert_eq!(merged.string_statistics, whole.string_statistics);
    if let (Some(a), Some(b)) = (&merged.numerical_statistics, &whole.numerical_statistics) {
        close(a.sum, b.sum);
        close(a.mean, b.mean);
        close(a.std_dev, b.std_dev);
        assert_eq!(
            (a.min.to_bits(), a.max.to_bits()),
            (b.min.to_bits(), b.max.to_bits())
        );
        let (a, b) = (merged.ranks().unwrap(), whole.ranks().unwrap());
        assert_eq!(a.total().to_bits(), b.total().to_bits());
        let apart = apart(&a, &b);
        assert!(apart <= 2.0 * RANK_ERROR, "{}: {apart}", whole.name);
    }
}

fn same_statistics(merged: &Statistics, whole: &Statistics) {
    assert_eq!(merged.dataset, whole.dataset);
    assert_eq!(merged.features.len(), whole.features.len());
    for (merged, whole) in merged.features.iter().zip(&whole.features) {
        same(merged, whole);
    }
}

#[test]
fn parts_merged_in_any_order_equal_the_whole() {
    for seed in 0..6 {
        let random = &mut Random(seed);
        let baseline = suggested(&rows(random, 3_000, 0.0));
        let data = rows(random, 12_000, if seed % 2 == 0 { 0.0 } else { 2.0 });
        let whole = of(&data, Some(&baseline));
        let mut cuts: Vec<usize> = (0..random.below(7)).map(|_| random.below(12_000)).collect();
        cuts.extend([0, data.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts: Vec<Profile> = cuts
            .windows(2)
            .map(|cut| of(&data[cut[0]..cut[1]], Some(&baseline)))
            .collect();
        random.shuffle(&mut parts);
        let mut merged = parts.remove(0);
        for part in &parts {
            merged.merge(part).unwrap();
        }
        same_statistics(&merged.statistics(), &whole.statistics());
        assert_eq!(
            verdicts(&merged, &baseline),
            verdicts(&whole, &baseline),
            "seed {seed}"
        );
    }
}

#[test]
fn the_order_of_rows_does_not_change_the_verdicts() {
    for seed in 100..106 {
        let random = &mut Random(seed);
        let baseline = suggested(&rows(random, 3_000, 0.0));
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let mut data = rows(random, 9_000, 2.0 * (seed % 3) as f64);
        let first = of(&data, Some(&baseline));
        let expected = verdicts(&first, &baseline);
        assert_eq!(
            expected.iter().any(|(column, _)| column == "n"),
            seed % 3 > 0
        );
        data.sort();
        let sorted = of(&data, Some(&baseline));
        random.shuffle(&mut data);
        let shuffled = of(&data, Some(&baseline));
        for other in [sorted, shuffled] {
            same_statistics(&other.statistics(), &first.statistics());
            assert_eq!(verdicts(&other, &baseline), expected, "seed {seed}");
        }
    }
}

#[test]
fn ranks_are_within_the_sketchs_error() {
    const ROWS: usize = 60_000;
    let columns = numbers(&mut Random(7), ROWS);
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = names.join(",") + "\n";
    for i in 0..ROWS {
        for (j, (_, values)) in columns.iter().enumerate() {
            let comma = if j == 0 { "" } else { "," };
            write!(text, "{comma}{}", values[i]).unwrap();
        }
        text.push('\n');
    }
    let statistics = read(text, None).statistics();
    for ((name, values), feature) in columns.into_iter().zip(&statistics.features) {
        let ranks = feature.ranks().unwrap();
        let truth = Ranks::of(std::iter::once(values));
        assert_eq!(ranks.total().to_bits(), truth.total().to_bits(), "{name}");
        let error = apart(&ranks, &truth);
        assert!(error <= RANK_ERROR, "{name}: {error}");
    }
}
