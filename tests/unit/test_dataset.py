import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from btxrd.config import load_config
from btxrd.data.cache import open_cache
from btxrd.data.dataset import BTXRDDataset, EpochSampler, create_dataloader
from btxrd.data.transforms import apply_keyed, get_train_transforms, get_val_transforms
from btxrd.errors import UserError
from btxrd.paths import cache_index, split_tables

CPU = torch.device("cpu")


@pytest.fixture
def train_set(phantoms, monkeypatch):
    monkeypatch.chdir(phantoms)
    config = load_config([], ["data.image_size=64"])
    cache = open_cache(cache_index(config))
    return BTXRDDataset(split_tables(config, "stratified")["train"], cache, get_train_transforms(), seed=42)


def an_epoch(dataset, workers, epoch=1, seed=42):
    loader = create_dataloader(dataset, 8, True, seed, workers, CPU)
    loader.sampler.epoch = epoch
    return list(loader)


def equal(one, other):
    return all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_batches_are_gray_films_and_labels(train_set):
    images, labels = an_epoch(train_set, workers=0)[0]
    assert (images.shape, images.dtype) == ((8, 1, 64, 64), torch.uint8)
    assert (labels.shape, labels.dtype) == ((8,), torch.int64)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_pixel(train_set, workers):
    assert equal(an_epoch(train_set, 0), an_epoch(train_set, workers))


def test_epochs_and_seeds_differ(train_set):
    assert not equal(an_epoch(train_set, 0, epoch=1), an_epoch(train_set, 0, epoch=2))
    assert not equal(an_epoch(train_set, 0, seed=1), an_epoch(train_set, 0, seed=2))


def test_sampler_yields_every_index_once():
    sampler = EpochSampler(50, shuffle=True, seed=1)
    sampler.epoch = 3
    drawn = list(sampler)
    assert sorted(index for _, index in drawn) == list(range(50))
    assert {epoch for epoch, _ in drawn} == {3}


def test_validation_sees_the_cached_film(train_set):
    film = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    assert np.array_equal(apply_keyed(get_val_transforms(), film, 1, 2, 3), film)


def test_steps_of_the_augmentation_are_independent():
    """One seed for all steps would let flip and brightness fire together."""
    transforms, film = get_train_transforms(), np.tile(np.linspace(60, 180, 64).astype(np.uint8), (64, 1))
    outcomes = np.array(
        [(out[:, :20].mean() > out[:, -20:].mean(), abs(out.mean() - film.mean()) > 4)
         for out in (apply_keyed(transforms, film, 7, 1, index) for index in range(600))]
    )  # fmt: skip
    flipped, brighter = outcomes.T
    assert 0.4 < flipped.mean() < 0.6
    assert abs(np.corrcoef(flipped, brighter)[0, 1]) < 0.15


def test_augmentation_never_turns_a_film_upside_down():
    film = np.tile(np.linspace(0, 200, 64).astype(np.uint8)[:, None], (1, 64))
    for index in range(200):
        out = apply_keyed(get_train_transforms(), film, 7, 1, index).astype(float)
        assert out[40:60, 20:44].mean() > out[4:24, 20:44].mean()


def test_image_that_is_not_cached_is_named(train_set, tmp_path):
    table = tmp_path / "table.csv"
    pd.DataFrame({"image_id": ["IMG999999"], "label": ["Normal"]}).to_csv(table, index=False)
    with pytest.raises(UserError, match=r"npy: 1 images are not in the cache, e.g. IMG999999"):
        BTXRDDataset(table, train_set._cache, get_val_transforms())


def test_loading_leaves_the_cores_to_the_network():
    assert cv2.getNumThreads() == 1
