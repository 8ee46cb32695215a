"""Seeds, splits and backbones fan out; what they share is made once, and no two write to one file."""

import re
from collections import Counter

import pytest
import yaml

TWO_BACKBONES = {
    "small": {"strategy": "stratified", "model": {"backbone": "test_efficientnet", "weights": "small.bin"}}
}


@pytest.fixture
def planned(snakemake, tmp_path):
    """Dry-run a configuration of BTXRD: how often each rule would run, and all files that it would write."""

    def plan(**config):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "small.bin").touch()
        done = snakemake(tmp_path, "-n", "--cores", "1", "--configfile", "mine.yaml")
        assert done.returncode == 0, done.stderr
        text = done.stdout + done.stderr
        rules = Counter(re.findall(r"^(?:local)?rule (\w+):$", text, re.M))
        files = [file for line in re.findall(r"^    output: (.*)$", text, re.M) for file in line.split(", ")]
        return rules, files

    return plan


def test_three_seeds_of_two_splits_are_six_trainings_that_share_the_rest(planned):
    rules, files = planned(replicates=[42, 43, 44])
    assert (rules["train"], rules["evaluate"], rules["split"]) == (6, 6, 2)
    assert [rules[name] for name in ("download", "extract", "table", "cache", "cases", "weights")] == [1] * 6
    assert len(files) == len(set(files))
    assert "checkpoints/seed_44/best_center_holdout.pt" in files


def test_a_split_may_have_a_backbone_of_its_own(planned):
    rules, files = planned(splits=TWO_BACKBONES)
    assert (rules["train"], rules["cache"], rules["weights"]) == (3, 1, 1)
    assert len(files) == len(set(files))


def test_two_hundred_trainings_are_planned(planned):
    rules, files = planned(seed=0, replicates=list(range(10)), splits={"kfold": {"folds": 18}})
    assert (rules["train"], rules["split"], rules["table"]) == (200, 20, 1)
    assert len(files) == len(set(files))
