"""The demo, for three seeds: it learns, and the held-out centers are harder. Minutes, so not part of `make test`."""

import time

import pandas as pd
import pytest

RECALLS = ["val_recall_normal", "val_recall_benign", "val_recall_malignant"]


@pytest.mark.parametrize("seed", [42, 43, 44])
def test_demo_learns(tmp_path, root, snakemake, seed):
    started = time.monotonic()
    result = snakemake(
        tmp_path, "--cores", "2", "--resources", "gpu=0", "--set-threads", "train=1", "evaluate=1", "explain=1",
        "--configfile", str(root / "config/demo.yaml"), "--config", f"seed={seed}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    log = pd.read_csv(tmp_path / "results/stratified/training_log.csv")
    best = log.loc[log["val_loss"].idxmin()]
    print(f"\nseed {seed}: {time.monotonic() - started:.0f} s, stratified at its best epoch:\n{best.to_string()}")
    assert best["val_acc"] >= 0.75
    assert best[RECALLS].min() >= 0.5
    comparison = pd.read_csv(tmp_path / "results/comparison.csv", index_col="name")
    gap = comparison.loc["center_holdout − stratified"]
    print(comparison.loc[["stratified", "center_holdout", gap.name]].filter(regex="value|low|high").T.to_string())
    assert comparison.loc["stratified", "macro_auc.value"] >= 0.90
    assert gap["macro_auc.value"] < 0
    assert gap["accuracy.value"] < 0
