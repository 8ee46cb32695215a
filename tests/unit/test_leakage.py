import pandas as pd

from btxrd.data.leakage import leaked_images, measure_leakage, total


def table(*rows):
    return pd.DataFrame(rows, columns=["image_id", "label", "case_id", "duplicate_group", "sha256"])


TRAIN = table(("a", "Normal", "c1", "", "1"), ("b", "Benign", "c2", "g", "2"), ("c", "Malignant", "c3", "", "3"))


def test_each_tie_is_counted_by_class():
    val = table(
        ("d", "Normal", "c1", "", "4"),
        ("e", "Benign", "c9", "g", "5"),
        ("f", "Malignant", "c8", "", "3"),
        ("h", "Malignant", "c7", "", "7"),
    )
    found = measure_leakage({"train": TRAIN, "val": val, "test": table()})["val_in_train"]
    assert found["case"]["Normal"] == {"leaked": 1, "of": 1}
    assert found["near_duplicate"]["Benign"] == {"leaked": 1, "of": 1}
    assert found["identical_file"]["Malignant"] == {"leaked": 1, "of": 2}
    assert found["case"]["Benign"] == {"leaked": 0, "of": 1}
    assert total(found["any"]) == (3, 4)
    assert found["images"] == {"d": "case", "e": "near_duplicate", "f": "identical_file"}


def test_empty_cells_tie_nothing():
    val = table(("d", "Normal", "c4", "", "4"))
    found = measure_leakage({"train": TRAIN, "val": val, "test": table()})
    assert list(leaked_images(found)) == []


def test_test_images_seen_in_choosing_the_best_epoch_are_a_leak_too():
    one = table(("d", "Normal", "c4", "", "4"))
    found = measure_leakage({"train": TRAIN, "val": one, "test": one})
    assert found["test_in_val"]["same_ids"] == ["d"]
    assert list(leaked_images(found)) == ["d is in test, and the same file is in val"]
