"""Several processes that train one model do what one does with the whole batch."""

import os
import socket

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from btxrd.data.dataset import EpochSampler
from btxrd.models.classifier import create_model
from btxrd.training.loop import compute_class_weights, train_one_epoch, validate
from btxrd.training.ranks import ALONE, Ranks, join

CPU = torch.device("cpu")
BATCH, IMAGES = 8, 22  # the last batch is a smaller one
LABELS = torch.arange(IMAGES) % 5 // 2  # 2 of 5 Normal, 2 Benign, 1 Malignant


def frozen_model():
    """Without what depends on the other images of a rank: batch norm keeps its statistics, nothing is dropped."""
    torch.manual_seed(0)
    model = create_model("test_efficientnet", 3, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module
    return model


def epochs(ranks):
    """Two epochs and their validation: what the lead returns, and the weights."""
    torch.set_num_threads(1)
    films = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 64, 64), dtype=np.uint8))
    model, weights = frozen_model(), compute_class_weights(LABELS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    network, sampler = ranks.wrapped(model), EpochSampler(IMAGES, True, 0, BATCH, ranks.rank, ranks.count)
    figures = []
    for epoch in (1, 2):
        sampler.start(epoch)
        own = torch.tensor([index for _, index in sampler]).split(BATCH // ranks.count)
        batches = [(films[part], LABELS[part]) for part in own]
        criterion = nn.CrossEntropyLoss(weight=weights)
        figures += train_one_epoch(network, batches, criterion, optimizer, CPU, gradient_clip=1.0, ranks=ranks)
        figures += validate(model, batches, nn.CrossEntropyLoss(), CPU, ranks=ranks)
    return figures, model.state_dict()


def one_of_several(rank, count, port, target):
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(count)}
    ranks = Ranks(rank, count)
    join(ranks, CPU)
    results = epochs(ranks)
    if ranks.leads:
        torch.save(results, target)
    os._exit(0)


def test_losses_metrics_and_weights_are_those_of_one_process(tmp_path):
    count = 2
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(one_of_several, (count, port, tmp_path / "results.pt"), nprocs=count)
    figures, weights = torch.load(tmp_path / "results.pt", weights_only=False)
    expected, expected_weights = epochs(ALONE)
    for one, other in zip(figures, expected, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
    for name, tensor in weights.items():
        assert torch.allclose(tensor, expected_weights[name], rtol=1e-3, atol=1e-5), name


def drawn(length, ranks, **options):
    samplers = [EpochSampler(length, True, 0, BATCH, rank, ranks) for rank in range(ranks)]
    for sampler in samplers:
        sampler.start(epoch=3, **options)
    return [[index for _, index in sampler] for sampler in samplers], [len(sampler) for sampler in samplers]


def test_ranks_share_each_batch_of_one_process():
    (whole,), _ = drawn(IMAGES, 1)
    parts, lengths = drawn(IMAGES, 2)
    assert lengths == [11, 11]
    for start in range(0, IMAGES, BATCH):
        own = slice(start // 2, (start + BATCH) // 2)
        assert sorted(parts[0][own] + parts[1][own]) == sorted(whole[start : start + BATCH])


def test_an_epoch_goes_on_where_it_was_for_all_ranks():
    parts, _ = drawn(IMAGES, 2)
    rest, lengths = drawn(IMAGES, 2, first=BATCH)
    assert rest == [part[BATCH // 2 :] for part in parts]
    assert lengths == [len(part) for part in rest]


@pytest.mark.parametrize(("length", "kept"), [(17, 16), (18, 18), (16, 16)])
def test_images_too_few_for_a_step_of_all_are_left_out(length, kept):
    parts, lengths = drawn(length, 2)
    assert sum(lengths) == len(set(parts[0]) | set(parts[1])) == kept
    assert len(drawn(length, 1)[0][0]) == length
