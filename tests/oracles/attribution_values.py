"""Prints the values that the unit tests of crates/validation/src/attribution expect.

Not a test: no command computes attributions yet. Needs shap==0.51.0 and scikit-learn==1.9.1 (with
numpy==2.4.6), which take a minute to install; requirements.txt does not have them for that reason.
"""

import numpy as np
import shap
from sklearn.metrics import ndcg_score


def explain(model, background, rows, samples, **options):
    """shap's Kernel SHAP without feature selection, as ours."""
    explainer = shap.KernelExplainer(model, background, **options)
    values = explainer.shap_values(rows, nsamples=samples, l1_reg=0, silent=True)
    return values, explainer.expected_value


def scores():
    """attribution/drift.rs: scores_agree_with_scikit_learn"""
    baseline = [0.4, 0.1, 0.3, 0.05, 0.2]
    for live in (
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [0.3, 0.1, 0.3, 0.1, 0.1],
        [0.0] * 5,
        [0.05, 0.4, 0.0, 0.4, 0.0],
    ):
        print(live, ndcg_score([baseline], [live]))


def exact():
    """attribution/tests.rs: several_outputs_agree_with_shap, log_odds_agree_with_shap"""
    background = np.array([[0.5, 1.0, -1.0, 0.25, 2.0], [1.5, -0.5, 0.0, 0.75, -1.0], [-1.0, 0.25, 2.0, -0.5, 0.5]])
    rows = np.array([[1.0, 2.0, 3.0, 0.5, -1.5], [0.5, 1.0, 0.5, -2.0, 0.25], [-0.75, 0.125, -2.5, 1.25, 3.0]])

    def score(x):
        return 0.8 * x[:, 0] - 0.5 * x[:, 1] * x[:, 2] + np.sin(x[:, 3]) + 0.3 * x[:, 0] * x[:, 4]

    def probability(x):
        return 1 / (1 + np.exp(-score(x)))

    values, expected = explain(lambda x: np.stack([score(x), probability(x)], axis=1), background, rows, 10_000)
    print("expected", expected.tolist())
    print("rows × outputs × features", np.transpose(values, (0, 2, 1)).tolist())
    values, expected = explain(probability, background, rows, 10_000, link="logit")
    print("log-odds", expected, values.tolist())


def sampled():
    """attribution/tests.rs: sampled_values_have_the_error_of_shap"""
    features = 14
    weights = np.array([((7 * i) % 11 - 5) / 4 for i in range(features)])
    row = np.array([[((5 * i) % 7 - 3) / 2 + 0.25 for i in range(features)]])
    background = np.zeros((1, features))

    def model(x):
        interactions = 0.1 * x[:, 0] * x[:, 5] - 0.05 * x[:, 3] * x[:, 9] * x[:, 11]
        return np.tanh(x @ weights / 4) + interactions

    values, _ = explain(model, background, row, 2**features)
    print("exact", values[0].tolist())
    errors = []
    for seed in range(200):
        np.random.seed(seed)
        estimate, _ = explain(model, background, row, 500)
        errors.append(np.abs(estimate - values).max())
    print("error of 500 samples: mean", np.mean(errors), "maximum", np.max(errors))


if __name__ == "__main__":
    scores()
    exact()
    sampled()
