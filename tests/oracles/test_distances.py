"""Distances and p-values against scipy.

Tables are small enough that the sketches keep every value, so that agreement is exact; one large
table shows how far a compacted sketch may be off.
"""

import numpy as np
import pytest
from scipy import stats

ROWS = 2_000


def distances(explanation):
    return {distance["method"]: distance["value"] for distance in explanation["distances"]}


def numbers(seed):
    random = np.random.default_rng(seed)
    return {
        "normal": (random.normal(0, 1, ROWS), random.normal(0.1, 1.1, ROWS - 100)),
        "lognormal": (random.lognormal(0, 1, ROWS), random.lognormal(0.02, 1, ROWS)),
        "repeated": (random.poisson(6, ROWS), random.poisson(6.3, ROWS // 2)),
        "apart": (random.random(ROWS), random.random(ROWS) + 2),
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_numbers(validate, seed):
    for name, (before, now) in numbers(seed).items():
        validate.suggest(validate.table("before.csv", {name: before}))
        found = distances(validate.explain(name, validate.table("now.csv", {name: now})))
        n, m = len(before), len(now)
        d = stats.ks_2samp(before, now).statistic
        assert found["linf_simple"] == pytest.approx(d, abs=1e-12)
        robust = max(0, d - 1.8 * np.sqrt((n + m) / (n * m)))
        assert found["linf_robust"] == pytest.approx(robust, abs=1e-12)
        p = stats.kstwobign.sf(d * np.sqrt(n * m / (n + m)))
        assert found["kolmogorov_smirnov_p_value"] == pytest.approx(p, rel=1e-6, abs=1e-290)
        # scipy's own p-value of ks_2samp uses the exact distribution, ours the limit distribution.
        asymptotic = stats.ks_2samp(before, now, method="asymp").pvalue
        assert found["kolmogorov_smirnov_p_value"] == pytest.approx(asymptotic, rel=0.1, abs=0.01)
        far = stats.wasserstein_distance(before, now)
        assert found["wasserstein"] == pytest.approx(far, rel=1e-9)
        assert found["wasserstein_normalized"] == pytest.approx(far / before.std(), rel=1e-9)
        assert found["psi"] == pytest.approx(psi_of_numbers(before, now, 10), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("few", [2, 73, 400])
def test_awss_distance_is_deequs(validate, few):
    """Deequ's rank map, as in AWS's analyzer: an item counts once, by its highest level."""
    random = np.random.default_rng(few)
    before, now = random.integers(0, few, 3 * ROWS), random.integers(few // 3, few, ROWS)
    validate.suggest(validate.table("before.csv", {"x": before}))
    known = ["--constraints=base/constraints.json", "--statistics=base/statistics.json"]
    data = validate.table("now.csv", {"x": now})
    found = distances(validate.explained("x", data, *known))
    validate.suggest(data, to="now")
    maps = [deequs_ranks(validate.read(f"{side}/statistics.json")) for side in ("base", "now")]
    n, m = (ranks[-1][1] for ranks in maps)
    at = lambda ranks, x: max((rank for item, rank in ranks if item <= x), default=0)
    keys = {item for ranks in maps for item, _ in ranks}
    d = max(abs(at(maps[0], x) / n - at(maps[1], x) / m) for x in keys)
    assert found["linf_simple"] == pytest.approx(d, abs=1e-12)
    robust = max(0, d - 1.8 * np.sqrt((n + m) / (n * m)))
    assert found["linf_robust"] == pytest.approx(robust, abs=1e-12)


def deequs_ranks(statistics):
    """Computes `QuantileNonSample.getRankMap`: the last weight of an item replaces the others."""
    kll = statistics["features"][0]["numerical_statistics"]["distribution"]["kll"]
    weights = {}
    for level, items in enumerate(kll["sketch"]["data"]):
        weights |= dict.fromkeys(items, 2**level)
    ranks, total = [], 0
    for item in sorted(weights):
        total += weights[item]
        ranks.append((item, total))
    return ranks


def psi_of_numbers(before, now, bins):
    """Returns ranges between the baseline's quantiles (inverse of the empirical distribution)."""
    quantiles = [i / bins for i in range(1, bins)]
    edges = np.unique(np.quantile(before, quantiles, method="inverted_cdf"))
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    # Our ranges include their upper edge; numpy's include the lower edge, so negate the values.
    p = np.histogram(-before, -edges[::-1])[0][::-1] / len(before)
    q = np.histogram(-now, -edges[::-1])[0][::-1] / len(now)
    return psi(p, q)


def psi(p, q):
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_categories(validate, seed):
    random = np.random.default_rng(seed)
    names = np.array(["a", "b", "c", "d", "e"])
    before = random.choice(names, 3_000, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    now = random.choice(names, 1_500, p=[0.36, 0.3, 0.17, 0.1, 0.07])
    validate.suggest(validate.table("before.csv", {"s": before}))
    found = distances(validate.explain("s", validate.table("now.csv", {"s": now})))
    counts = np.array([[(side == name).sum() for name in names] for side in (before, now)])
    p, q = counts[0] / len(before), counts[1] / len(now)
    d = np.abs(p - q).max()
    assert found["categorical_linf_simple"] == pytest.approx(d, abs=1e-12)
    test = stats.chisquare(counts[1], p * len(now))
    assert found["chi_squared_statistic"] == pytest.approx(test.statistic, rel=1e-9)
    assert found["chi_squared_p_value"] == pytest.approx(test.pvalue, rel=1e-9)
    # The last range is for all other categories, of which there are none.
    assert found["psi"] == pytest.approx(psi(np.append(p, 0), np.append(q, 0)), rel=1e-9)


def test_large_tables_agree_within_the_sketches_error(validate):
    random = np.random.default_rng(4)
    before, now = random.normal(0, 1, 150_000), random.normal(0.05, 1, 150_000)
    validate.suggest(validate.table("before.csv", {"x": before}))
    found = distances(validate.explain("x", validate.table("now.csv", {"x": now})))
    test = stats.ks_2samp(before, now)
    assert found["linf_simple"] == pytest.approx(test.statistic, abs=2 * 0.005)
    far = stats.wasserstein_distance(before, now)
    assert found["wasserstein"] == pytest.approx(far, abs=0.05)
    # The p-value is never more precise than the sketches.
    assert found["kolmogorov_smirnov_p_value"] >= test.pvalue


def test_quantiles(validate):
    random = np.random.default_rng(5)
    before, now = random.exponential(3, ROWS), random.exponential(4, ROWS)
    validate.suggest(validate.table("before.csv", {"x": before}))
    explanation = validate.explain("x", validate.table("now.csv", {"x": now}))
    for quantile in explanation["quantiles"]:
        for side, values in (("baseline", before), ("current", now)):
            truth = np.quantile(values, quantile["share"], method="inverted_cdf")
            assert quantile[side] == truth


def test_opt_in_checks_agree_with_scipy(validate):
    random = np.random.default_rng(6)
    before, now = random.normal(0, 1, ROWS), random.normal(0.3, 1, ROWS)
    _, constraints = validate.suggest(validate.table("before.csv", {"x": before}))
    far = stats.wasserstein_distance(before, now)
    validate.table("now.csv", {"x": now})
    for threshold, code in ((far * 1.001, 0), (far * 0.999, 3)):
        constraints["monitoring_config"]["distribution_constraints"]["comparison_threshold"] = 1.0
        constraints["features"][0].pop("num_constraints", None)
        constraints["features"][0]["mlops_constraints"] = {"wasserstein": {"threshold": threshold}}
        validate.write("base/constraints.json", constraints)
        validate.run("now.csv", "--constraints", "base/constraints.json", "--statistics", "base/statistics.json", code=code)


def test_data_has_no_distance_from_itself(validate):
    """Few values with many digits: statistics.json must preserve them to the last bit."""
    random = np.random.default_rng(7)
    values = random.choice(random.random(8) * 3, 20_000)
    validate.suggest(validate.table("same.csv", {"x": values}))
    found = distances(validate.explain("x", "same.csv"))
    assert found["linf_simple"] == 0 and found["wasserstein"] == 0 and found["psi"] == 0
    assert found["kolmogorov_smirnov_p_value"] == 1
