import json

import pytest
import yaml

from btxrd.config import complete, config_of_split, difference, load_config, merged, pick
from btxrd.errors import UserError
from btxrd.plans import split_plans
from btxrd.schema import defaults, schema


def keys_of(node, prefix=""):
    """Dotted keys of the schema that hold a value."""
    if "default" in node:
        return {prefix: node}
    children = {}
    for name, child in node["properties"].items():
        children |= keys_of(child, f"{prefix}.{name}" if prefix else name)
    return children


def test_config_file_holds_every_key_with_its_default(root):
    assert yaml.safe_load((root / "config/config.yaml").read_text()) == defaults()


def test_every_key_has_a_description_and_a_row_in_the_readme(root):
    readme = (root / "config/README.md").read_text()
    for key, node in keys_of(schema()).items():
        assert node["description"].strip()
        assert f"| `{key}` |" in readme, key
        assert node["description"] in readme, key


def test_every_key_of_a_split_has_a_row_in_the_readme(root):
    readme = (root / "config/README.md").read_text()
    for key, node in schema()["properties"]["splits"]["additionalProperties"]["properties"].items():
        assert (
            f"| `{key}` | `{'null' if node['default'] is None else node['default']}` | {node['description']} |"
            in readme
        )


def test_entries_of_splits_are_expanded_in_order():
    splits = (
        "splits={stratified: null, kfold: {folds: 2}, leave_one_center_out: {leave_out: [3]}, x: {strategy: official}}"
    )
    config = load_config([], [splits, "training.split_strategy=x"])
    assert list(split_plans(config)) == ["center_holdout", "kfold_1", "kfold_2", "without_center_3", "x"]


def test_split_has_training_keys_and_a_seed_of_its_own():
    config = load_config([], ["splits.stratified={seed: 7, training: {epochs: 3}}"])
    assert split_plans(config)["stratified"].seed == 7
    assert split_plans(config)["center_holdout"].seed == 42
    assert config_of_split(config, "stratified")["training"]["epochs"] == 3
    assert config_of_split(config, "center_holdout")["training"]["epochs"] == 50


def test_training_keys_do_not_remake_a_split():
    one, other = (load_config([], [f"splits.stratified={{training: {{epochs: {n}}}}}"]) for n in (3, 4))
    assert split_plans(one)["stratified"].settings() == split_plans(other)["stratified"].settings()


def test_overlay_and_override_change_only_what_they_name(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("training: {epochs: 3}\n")
    config = load_config([overlay], ["training.batch_size=8", "data.sha256=null"])
    assert difference(config, defaults()) == {
        "training": {"epochs": 3, "batch_size": 8},
        "data": {"sha256": None},
    }


def test_difference_turns_the_defaults_back_into_the_config():
    config = complete({"seed": 7, "data": {"expected_counts": None, "phantom": {"images": 99}}})
    assert merged(defaults(), difference(config, defaults())) == config


def test_number_in_scientific_notation_is_a_number():
    training = {"learning_rate": "3e-4", "gradient_clip": "1e1", "epochs": "12"}
    assert (
        load_config([json.dumps({"training": training})])["training"].items()
        >= {
            "learning_rate": 3e-4,
            "gradient_clip": 10.0,
            "epochs": 12,
        }.items()
    )


def test_center_means_center_holdout():
    assert load_config([], ["training.split_strategy=center"])["training"]["split_strategy"] == "center_holdout"


def test_order_of_keys_does_not_change_what_a_rule_compares():
    one = complete({"training": {"epochs": 3, "batch_size": 8}})
    other = complete({"training": {"batch_size": 8, "epochs": 3}})
    assert pick(one, ["training"]) == pick(other, ["training"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=3", "training.epoch is unknown; did you mean epochs?"),
        ("trainig.epochs=3", "did you mean training?"),
        ("training.epochs=0", "training.epochs is 0; it must be at least 1"),
        ("training.epochs=many", "training.epochs is 'many'; it must be of type integer"),
        ("training.learning_rate=0", "must be greater than 0"),
        ("data.resize=crop", "must be one of pad, squash"),
        ("data.sha256=abc", "data.sha256"),
        ("data.case_names=[{url: x}]", "it must be a file, or an address with its sha256"),
        ("data.num_workers=many", "data.num_workers is 'many'; it must be auto or a whole number from 0 to 64"),
        ("data.num_workers=-1", "data.num_workers is -1; it must be auto or a whole number from 0 to 64"),
        ("training.warmup_epochs=50", "warmup_epochs must be less than"),
        ("splits={foo: {}}", "splits.foo.strategy is missing; it must be one of stratified,"),
        ("splits={foo: {strategy: stratifed}}", "it must be one of stratified, center_holdout"),
        ("splits={audit: {strategy: kfold}}", "be none of audit"),
        ("splits={kfold: {fold: 3}}", "splits.kfold.fold is unknown; did you mean folds?"),
        ("splits={kfold: {training: {epoch: 3}}}", "splits.kfold.training.epoch is unknown; did you mean epochs?"),
        ("splits={kfold: {}, kfold_1: {strategy: stratified}}", "two entries make a split kfold_1"),
        ("splits={mine: {strategy: manifest}}", "splits.mine.file must name the manifest"),
        ("splits={stratified: {val_fraction: 0.6, test_fraction: 0.5}}", "leave nothing to train on"),
        ("splits={stratified: {test: {centers: [4]}}}", "it must be one of 1, 2, 3"),
        ("splits={stratified: {training: {warmup_epochs: 60}}}", "(split stratified)"),
        ("training.split_strategy=kfold", "must be one of the splits: stratified, center_holdout"),
        ("training", "write it as section.key=value"),
        ("training.epochs=[", "not YAML"),
    ],
)
def test_bad_value_is_refused_in_a_sentence(override, words):
    with pytest.raises(UserError) as error:
        load_config([], [override])
    assert words in str(error.value)


def test_all_problems_are_listed_at_once():
    with pytest.raises(UserError) as error:
        load_config([], ["training.epochs=0", "data.resize=crop", "sed=1"])
    assert str(error.value).count("\n  - ") == 3


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml"):
        load_config([tmp_path / "absent.yaml"])
    broken = tmp_path / "broken.yaml"
    broken.write_text("training:\n  epochs: [1\n")
    with pytest.raises(UserError, match=r"broken.yaml, line \d"):
        load_config([broken])
