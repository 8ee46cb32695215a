"""What is said of predictions given as arrays: metrics, intervals, calibration, thresholds, groups."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import beta
from sklearn import metrics as sklearn

from btxrd import CLASSES
from btxrd.data.outlines import LESION_SIZES, lesion_size
from btxrd.data.table import AGE_BANDS, age_band
from btxrd.evaluation.bootstrap import RESAMPLES, bootstrap, interval, resample_weights, weighted_metrics
from btxrd.evaluation.calibration import (
    calibration_metrics,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from btxrd.evaluation.judgement import judge, proportion, shown
from btxrd.evaluation.metrics import classification_metrics
from btxrd.evaluation.subgroups import GROUPINGS, judge_subgroups
from btxrd.evaluation.thresholds import choose_thresholds

pytestmark = pytest.mark.filterwarnings("error")

NORMAL, BENIGN, MALIGNANT = range(3)


def random_predictions(images, seed, classes=(NORMAL, BENIGN, MALIGNANT)):
    """Labels of the given classes and probabilities in tenths, so that many are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.resize(classes, images))
    tenths = rng.multinomial(10, [1 / 3] * 3, size=images)
    tenths[np.arange(images), labels] += 2  # better than chance
    return labels, tenths / 12


def certain(classes):
    """Probabilities that call each image the class given."""
    return 0.7 * np.eye(3)[classes] + 0.1


def same(found, expected):
    """None stands for NaN."""
    assert found == pytest.approx(np.nan if expected is None else expected, abs=1e-9, nan_ok=True)


def test_every_metric_of_ten_films_is_as_computed_by_hand():
    # Confusion, rows are labels: Normal 3 1 0, Benign 1 2 0, Malignant 0 1 2.
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.3, 0.6, 0.1],
            [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4],
            [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8],
        ]
    )  # fmt: skip
    of_classes = {
        "Normal": {
            "sensitivity": 3 / 4, "specificity": 5 / 6, "ppv": 3 / 4, "npv": 5 / 6, "f1": 6 / 8,
            "auc": 22 / 24, "average_precision": (1 / 1 + 2 / 2 + 3 / 4 + 4 / 5) / 4,
        },
        "Benign": {
            "sensitivity": 2 / 3, "specificity": 5 / 7, "ppv": 2 / 4, "npv": 5 / 6, "f1": 4 / 7,
            "auc": (7 + 5 + 4.5) / 21, "average_precision": (1 / 1 + 2 / 4 + 3 / 6) / 3,  # 0.3 is tied: half a pair
        },
        "Malignant": {
            "sensitivity": 2 / 3, "specificity": 7 / 7, "ppv": 2 / 2, "npv": 7 / 8, "f1": 4 / 5,
            "auc": 20 / 21, "average_precision": (1 / 1 + 2 / 2 + 3 / 4) / 3,
        },
    }  # fmt: skip
    expected = {
        "accuracy": 7 / 10,
        "balanced_accuracy": (3 / 4 + 2 / 3 + 2 / 3) / 3,
        "macro_f1": (6 / 8 + 4 / 7 + 4 / 5) / 3,
        "mcc": (7 * 10 - (4 * 4 + 3 * 4 + 3 * 2)) / np.sqrt((100 - 36) * (100 - 34)),
        "macro_auc": sum(own["auc"] for own in of_classes.values()) / 3,
        "macro_average_precision": sum(own["average_precision"] for own in of_classes.values()) / 3,
    }
    expected |= {f"{name}.{metric}": value for name, own in of_classes.items() for metric, value in own.items()}
    assert classification_metrics(labels, probabilities) == pytest.approx(expected)


def test_judgement_gives_the_counts_of_each_proportion():
    labels = np.array([NORMAL] * 4 + [BENIGN] * 3 + [MALIGNANT] * 3)
    predicted = np.array([0, 0, 0, 1, 0, 1, 1, 1, 2, 2])
    judged = judge(labels, certain(predicted), [str(number) for number in range(10)], seed=1)
    counts = {name: (found["count"], found["of"]) for name, found in judged.items() if "count" in found}
    assert counts == {
        "accuracy": (7, 10),
        "Normal.sensitivity": (3, 4), "Normal.specificity": (5, 6), "Normal.ppv": (3, 4), "Normal.npv": (5, 6),
        "Benign.sensitivity": (2, 3), "Benign.specificity": (5, 7), "Benign.ppv": (2, 4), "Benign.npv": (5, 6),
        "Malignant.sensitivity": (2, 3), "Malignant.specificity": (7, 7), "Malignant.ppv": (2, 2),
        "Malignant.npv": (7, 8),
    }  # fmt: skip
    values = classification_metrics(labels, certain(predicted))
    assert {name: found["value"] for name, found in judged.items()} == pytest.approx(values)


def sklearn_metrics(labels, probabilities):
    predicted = probabilities.argmax(axis=1)
    found = {
        "accuracy": sklearn.accuracy_score(labels, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, predicted),
        "macro_f1": sklearn.f1_score(labels, predicted, average="macro"),
        "mcc": sklearn.matthews_corrcoef(labels, predicted),
        "macro_auc": sklearn.roc_auc_score(labels, probabilities, multi_class="ovr"),
    }
    for number, name in enumerate(CLASSES):
        own, called, score = labels == number, predicted == number, probabilities[:, number]
        found |= {
            f"{name}.sensitivity": sklearn.recall_score(own, called),
            f"{name}.specificity": sklearn.recall_score(~own, ~called),
            f"{name}.ppv": sklearn.precision_score(own, called),
            f"{name}.npv": sklearn.precision_score(~own, ~called),
            f"{name}.f1": sklearn.f1_score(own, called),
            f"{name}.auc": sklearn.roc_auc_score(own, score),
            f"{name}.average_precision": sklearn.average_precision_score(own, score),
        }
    of_classes = [found[f"{name}.average_precision"] for name in CLASSES]
    return found | {"macro_average_precision": np.mean(of_classes)}


@pytest.mark.parametrize("seed", range(5))
def test_weight_of_an_image_counts_as_that_many_images(seed):
    labels, probabilities = random_predictions(60, seed)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, 60))
    found = weighted_metrics(labels, probabilities, weights.astype(float))
    for row, times in enumerate(weights):
        expected = sklearn_metrics(np.repeat(labels, times), np.repeat(probabilities, times, axis=0))
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    "classes",
    [(NORMAL, BENIGN, MALIGNANT), (NORMAL, BENIGN), (BENIGN, MALIGNANT), (NORMAL,), (MALIGNANT,)],
    ids=lambda classes: "+".join(CLASSES[number] for number in classes),
)
def test_weights_of_one_give_the_metrics_of_the_images(classes):
    labels, probabilities = random_predictions(30, 0, classes)
    found = weighted_metrics(labels, probabilities, np.ones((1, 30)))
    expected = classification_metrics(labels, probabilities)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        same(found[name][0], value)


def nulls(metrics):
    return {name for name, value in metrics.items() if value is None}


def test_what_needs_an_absent_class_is_null():
    labels = np.array([NORMAL, NORMAL, BENIGN, BENIGN])
    found = classification_metrics(labels, certain([NORMAL, MALIGNANT, BENIGN, BENIGN]))
    assert nulls(found) == {
        "balanced_accuracy", "macro_f1", "macro_auc", "macro_average_precision",
        "Malignant.sensitivity", "Malignant.f1", "Malignant.auc", "Malignant.average_precision",
    }  # fmt: skip
    assert found["accuracy"] == 3 / 4
    assert found["Malignant.specificity"] == 3 / 4
    assert found["Malignant.ppv"] == 0


def test_one_class_alone_can_not_be_told_from_others():
    labels = np.full(4, BENIGN)
    found = classification_metrics(labels, certain([NORMAL, BENIGN, BENIGN, BENIGN]))
    assert {name: value for name, value in found.items() if value is not None} == {
        "accuracy": 3 / 4,
        "Normal.specificity": 3 / 4, "Normal.ppv": 0, "Normal.npv": 1,
        "Benign.sensitivity": 3 / 4, "Benign.ppv": 1, "Benign.npv": 0, "Benign.f1": 6 / 7,
        "Malignant.specificity": 1, "Malignant.npv": 1,
    }  # fmt: skip


def test_class_that_is_never_called_has_no_ppv():
    found = classification_metrics(np.array([NORMAL, BENIGN, MALIGNANT]), certain([NORMAL, BENIGN, BENIGN]))
    assert nulls(found) == {"Malignant.ppv"}


def test_judgement_of_an_absent_class_is_null_throughout():
    labels, probabilities = random_predictions(30, 0, (NORMAL, BENIGN))
    judged = judge(labels, probabilities, [str(number) for number in range(30)], seed=1)
    assert judged["macro_auc"] == {"value": None, "cases": None, "images": None}
    assert judged["Malignant.sensitivity"] == {
        "value": None, "cases": None, "images": None, "count": 0, "of": 0, "exact": None,
    }  # fmt: skip


def cases_of(sizes):
    return [f"case {case}" for case, size in enumerate(sizes) for _ in range(size)]


def all_weights(groups, seed, **options):
    return np.concatenate(list(resample_weights(groups, seed, **options)))


def test_whole_cases_are_drawn():
    cases = np.random.default_rng(0).permutation(cases_of([1, 2, 3, 4, 5] * 4))
    weights = all_weights(cases, seed=1, resamples=250)
    assert weights.shape == (250, 60)
    by_case = pd.DataFrame(weights.T).groupby(cases)
    assert (by_case.nunique() == 1).all(axis=None)
    drawn = by_case.first()
    assert (drawn.sum() == 20).all()
    assert drawn.mean(axis=1).to_numpy() == pytest.approx(np.ones(20), abs=0.3)  # each as often as any other


def test_bootstrap_is_the_same_for_the_same_seed_alone():
    labels, probabilities = random_predictions(60, 0)
    cases = cases_of([2] * 30)
    one, again, other = (bootstrap(labels, probabilities, cases, seed) for seed in (1, 1, 2))
    for name, values in one.items():
        assert len(values) == RESAMPLES
        assert np.array_equal(values, again[name], equal_nan=True)
        assert not np.array_equal(values, other[name], equal_nan=True)


def test_resample_without_a_class_has_no_value_of_it():
    labels = np.array([NORMAL] * 20 + [BENIGN] * 20 + [MALIGNANT])
    cases = [str(number) for number in range(41)]
    found = bootstrap(labels, certain(labels), cases, seed=1)
    without = all_weights(cases, seed=1)[:, -1] == 0
    assert 0.2 < without.mean() < 0.5
    for metric in ("Malignant.sensitivity", "Malignant.f1", "Malignant.auc", "balanced_accuracy", "macro_auc"):
        assert np.array_equal(np.isnan(found[metric]), without)


def test_interval_holds_the_middle_95_percent():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_interval_needs_most_resamples():
    values = np.arange(100.0)
    values[51:] = np.nan
    assert interval(values) == pytest.approx((1.25, 48.75))
    values[50:] = np.nan
    assert interval(values) is None


def width(ends):
    return ends[1] - ends[0]


def test_images_that_agree_within_a_case_widen_the_interval_over_cases():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 3, 40), 5)
    right = np.repeat(rng.random(40) < 0.7, 5)
    judged = judge(labels, certain(np.where(right, labels, (labels + 1) % 3)), cases_of([5] * 40), seed=1)
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "macro_auc"):
        assert width(judged[metric]["cases"]) / width(judged[metric]["images"]) == pytest.approx(5**0.5, rel=0.25)


def intervals_of_accuracy(right, groups, seed):
    """The interval for each column of `right`, (images, simulations), all with one set of weights."""
    weights = all_weights(groups, seed)
    accuracy = weights @ right / weights.sum(axis=1, keepdims=True)
    return np.array([interval(values) for values in accuracy.T]).T


def test_intervals_over_cases_hold_the_truth_and_those_over_images_do_not():
    """2,000 data sets of 200 cases, each with 1 to 6 images that share a chance of being right, Beta(1.5, 0.5).

    To be fast, 200 data sets at a time share the sizes of their cases and the weights of their 1,000 resamples.
    """
    truth, at_once, cases = 0.75, 200, 200
    held = {"cases": [], "images": []}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 7, cases)
        chance = np.repeat(rng.beta(1.5, 0.5, (cases, at_once)), sizes, axis=0)
        right = (rng.random(chance.shape) < chance).astype(float)
        for name, groups in (("cases", cases_of(sizes)), ("images", cases_of(np.ones(sizes.sum(), int)))):
            low, high = intervals_of_accuracy(right, groups, seed)
            held[name] += list((low <= truth) & (truth <= high))
    coverage = {name: np.mean(values) for name, values in held.items()}
    print(f"coverage of 95 % intervals in {len(held['cases'])} data sets: {coverage}")
    assert 0.92 <= coverage["cases"] <= 0.97
    assert coverage["images"] < coverage["cases"] - 0.05


@pytest.mark.parametrize(("count", "of"), [(0, 9), (9, 9), (3, 7), (81, 263)])
def test_exact_interval_is_that_of_clopper_and_pearson(count, of):
    low = beta.ppf(0.025, count, of - count + 1) if count else 0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1
    found = proportion(count, of)
    assert found["exact"] == pytest.approx((low, high))
    assert (found["value"], found["count"], found["of"]) == (count / of, count, of)


def test_none_of_nine_may_still_be_a_third():
    assert proportion(0, 9)["exact"] == pytest.approx((0, 0.336), abs=5e-4)


def test_share_of_nothing_is_null():
    assert proportion(0, 0) == {"value": None, "count": 0, "of": 0, "exact": None}


@pytest.mark.parametrize(
    ("judgement", "text"),
    [
        ({"value": 0.8154, "cases": (0.78, 0.85)}, "0.815 (0.780–0.850)"),
        ({"value": 0.8154, "cases": (0.78, 0.85), "exact": (0.7, 0.9)}, "0.815 (0.780–0.850)"),
        ({"value": 0.0, "cases": (0.0, 0.0), "exact": (0.0, 0.336)}, "0.000 (0.000–0.336)"),
        ({"value": 1.0, "cases": (1.0, 1.0), "exact": (0.664, 1.0)}, "1.000 (0.664–1.000)"),
        ({"value": 0.5, "cases": None, "exact": (0.1, 0.9)}, "0.500 (0.100–0.900)"),
        ({"value": 0.5, "cases": None}, "0.500"),
        ({"value": None, "cases": None, "exact": None}, "–"),
    ],
)
def test_judgement_is_shown_with_the_interval_that_can_be_trusted(judgement, text):
    assert shown(judgement) == text


def test_digits_shown_are_those_asked_for():
    assert shown({"value": 0.8154, "cases": (0.78, 0.85)}, digits=2) == "0.82 (0.78–0.85)"


def calibrated_logits(images=20_000):
    """Logits that mean what they say, and labels drawn from their probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (images, 3))
    return logits, (rng.random((images, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
def test_temperature_undoes_too_much_and_too_little_confidence(factor):
    logits, labels = calibrated_logits()
    temperature = fit_temperature(factor * logits, labels)
    assert temperature == pytest.approx(factor, rel=0.03)
    mended = calibration_metrics(factor * logits, labels, temperature)
    assert mended["nll"] == pytest.approx(negative_log_likelihood(logits, labels), abs=1e-3)
    assert mended["ece"] < 0.01


def test_temperature_changes_no_prediction():
    logits, labels = calibrated_logits(300)
    for wrong_by in (0.1, 1, 10):
        temperature = fit_temperature(wrong_by * logits, labels)
        assert np.array_equal((wrong_by * logits / temperature).argmax(axis=1), logits.argmax(axis=1))


def test_calibration_of_four_films_is_as_computed_by_hand():
    probabilities = np.array([[0.82, 0.1, 0.08], [0.82, 0.1, 0.08], [0.62, 0.3, 0.08], [0.68, 0.16, 0.16]])
    found = calibration_metrics(np.log(probabilities), np.array([NORMAL, BENIGN, NORMAL, MALIGNANT]))
    right, wrong = 0.18**2 + 0.1**2 + 0.08**2, 0.82**2 + 0.9**2 + 0.08**2
    assert found == pytest.approx(
        {
            "ece": (2 * abs(0.82 - 0.5) + abs(0.62 - 1) + abs(0.68 - 0)) / 4,  # the first two alone share a bin of 15
            "brier": (right + wrong + (0.38**2 + 0.3**2 + 0.08**2) + (0.68**2 + 0.16**2 + 0.84**2)) / 4,
            "nll": -np.log([0.82, 0.1, 0.62, 0.16]).mean(),
        }
    )


def test_calibration_with_a_temperature_is_that_of_the_cooled_logits():
    logits, labels = calibrated_logits(300)
    assert calibration_metrics(logits, labels, 2.5) == calibration_metrics(logits / 2.5, labels)


def test_each_image_is_in_one_bin_of_reliability():
    logits, labels = calibrated_logits(500)
    probabilities = np.vstack([softmax(logits, axis=1), np.eye(3)])  # a confidence of 1 has no bin above it
    labels = np.append(labels, [NORMAL, BENIGN, BENIGN])
    count, confidence, accuracy = reliability(probabilities, labels)
    assert count.sum() == 503
    assert (count * confidence).sum() == pytest.approx(probabilities.max(axis=1).sum())
    assert (count * accuracy).sum() == (probabilities.argmax(axis=1) == labels).sum()
    assert np.array_equal(np.floor(confidence * 15), range(5, 15))


MALIGNANT_FILMS = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.2, 0.1]
OTHER_FILMS = [0.75, 0.45, 0.25, 0.22, 0.15, 0.12, 0.08, 0.06, 0.05, 0.02]


def thresholds(malignant, others):
    return choose_thresholds(np.arange(len(malignant + others)) < len(malignant), np.array(malignant + others))


def rates(malignant, others, threshold):
    """Sensitivity and specificity."""
    return np.mean(np.array(malignant) >= threshold), np.mean(np.array(others) < threshold)


def test_thresholds_of_a_known_curve():
    found = thresholds(MALIGNANT_FILMS, OTHER_FILMS)
    assert found == {
        "youden": 0.3,  # 8 of 10 and 8 of 10: 0.6, more than anywhere else
        "sensitivity_0.90": 0.2,  # 9 of 10, and 6 of 10 others are spared
        "specificity_0.90": 0.5,  # 9 of 10, and 5 of 10 Malignant are found
    }


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_keeps_the_promise_better(seed):
    rng = np.random.default_rng(seed)
    malignant = list(rng.beta(3, 2, rng.integers(1, 40)).round(2))  # rounded: many are equal
    others = list(rng.beta(2, 3, rng.integers(1, 40)).round(2))
    found = thresholds(malignant, others)
    every = np.array([rates(malignant, others, threshold) for threshold in {2, *malignant, *others}])
    sensitivity, specificity = rates(malignant, others, found["sensitivity_0.90"])
    assert sensitivity >= 0.90
    assert specificity == every[every[:, 0] >= 0.90, 1].max()
    sensitivity, specificity = rates(malignant, others, found["specificity_0.90"])
    assert specificity >= 0.90
    assert sensitivity == every[every[:, 1] >= 0.90, 0].max()
    assert sum(rates(malignant, others, found["youden"])) == pytest.approx(every.sum(axis=1).max())


def test_sensitivity_that_costs_no_specificity_is_not_given_away():
    malignant, others = list(np.linspace(0.7, 0.9, 20)), [0.1, 0.2]
    for threshold in thresholds(malignant, others).values():
        assert rates(malignant, others, threshold) == (1, 1)


def test_films_of_one_probability_are_called_together():
    found = thresholds(malignant=[0.5, 0.5], others=[0.5, 0.1])
    assert found["sensitivity_0.90"] == found["youden"] == 0.5
    assert 1 < found["specificity_0.90"] < 1.1  # nothing is called; infinity would not go into JSON


def test_without_both_kinds_of_films_there_is_no_threshold():
    nothing = {"youden": None, "sensitivity_0.90": None, "specificity_0.90": None}
    assert thresholds([], OTHER_FILMS) == nothing
    assert thresholds(MALIGNANT_FILMS, []) == nothing


def described(rows, **columns):
    """Images for subgroups: a case each and no group, unless given."""
    return pd.DataFrame(
        dict.fromkeys(GROUPINGS, "") | {"case_id": np.arange(rows).astype(str), "class": np.arange(rows) % 3} | columns
    )


def subgroups(images, predicted):
    return {(row["grouping"], row["group"]): row for row in judge_subgroups(images, certain(predicted), seed=1)}


def test_a_bad_hospital_is_seen():
    images = described(180, hospital=np.repeat(["b", "g", "y"], 60), center=1, case_id=cases_of([2] * 90))
    labels = images["class"].to_numpy()
    rng = np.random.default_rng(0)
    wrong = rng.random(180) < np.where(images["hospital"] == "g", 0.6, 0.1)
    rows = subgroups(images, np.where(wrong, (labels + 1) % 3, labels))
    good, bad = rows["hospital", "b"], rows["hospital", "g"]
    assert bad["accuracy"]["cases"][1] < good["accuracy"]["cases"][0]
    inside = images["hospital"] == "g"
    assert bad["accuracy"]["value"] == pytest.approx(1 - wrong[inside].mean())
    assert bad["balanced_accuracy"] == pytest.approx(1 - wrong[inside].mean(), abs=0.01)  # 20 images of each class
    malignant = inside & (labels == MALIGNANT)
    assert bad["malignant_sensitivity"]["count"] == (~wrong[malignant]).sum()
    assert bad["malignant_sensitivity"]["of"] == 20
    assert bad["macro_auc"] < good["macro_auc"]
    assert (bad["images"], bad["cases"], bad["few"]) == (60, 30, False)
    assert rows["center", "1"]["images"] == 180


def test_interval_of_a_group_is_over_its_cases():
    images = described(240, sex=["M"] * 120 + ["F"] * 120, case_id=cases_of([1] * 120 + [10] * 12))
    right = np.repeat(np.arange(24) % 2 == 0, 10)
    labels = images["class"].to_numpy()
    ends = subgroups(images, np.where(right, labels, (labels + 1) % 3))["sex", "F"]["accuracy"]["cases"]
    assert width(ends) == pytest.approx(2 * 1.96 * (0.25 / 12) ** 0.5, rel=0.2)  # of 12 cases, not of 120 images


@pytest.mark.parametrize(
    ("sizes", "few"), [([2] * 10, False), ([1] * 20, False), ([1] * 19, True), ([3] * 8 + [1], True)]
)
def test_group_of_few_images_or_cases_is_marked(sizes, few):
    cases = cases_of(sizes)
    images = described(len(cases), view="frontal", case_id=cases)
    assert subgroups(images, images["class"])["view", "frontal"]["few"] == few


def test_group_without_a_class_has_no_mean_over_classes():
    images = described(30, subtype=["osteosarcoma" if number % 3 == MALIGNANT else "" for number in range(30)])
    row = subgroups(images, images["class"])["subtype", "osteosarcoma"]
    assert (row["balanced_accuracy"], row["macro_auc"], row["accuracy"]["value"]) == (None, None, 1)


def test_images_without_a_group_make_none():
    images = described(30, hospital=["b", "", "g"] * 10)
    assert list(subgroups(images, images["class"])) == [("hospital", "b"), ("hospital", "g")]


def test_bands_stand_in_their_order():
    ages = age_band(pd.Series([80, 0, 35, 15, 59, 9]))
    sizes = lesion_size(pd.Series([0.5, 0.02, np.nan, 0.001, 0.5, 0.5]))
    images = described(6, **{"age band": ages, "lesion size": sizes})
    assert list(subgroups(images, images["class"])) == [
        *(("age band", band) for band in ("0–9", "10–19", "20–39", "40–59", "60 and over")),
        *(("lesion size", band) for band in ("under 1 %", "1 to 5 %", "5 % and more")),
    ]


def test_age_belongs_to_the_band_that_names_it():
    ages = [0, 9, 10, 19, 20, 39, 40, 59, 60, 120]
    assert list(age_band(pd.Series(ages))) == [band for band in AGE_BANDS for _ in range(2)]


def test_lesion_without_an_outline_has_no_size():
    under, middle, over = LESION_SIZES
    shares = pd.Series([0.0, 0.0099, 0.01, 0.0499, 0.05, 1.0, np.nan])
    assert list(lesion_size(shares)) == [under, under, middle, middle, over, over, ""]
