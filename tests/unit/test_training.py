import numpy as np
import pytest
import torch
from torch import nn

from btxrd.errors import UserError
from btxrd.training.devices import get_device
from btxrd.training.environment import set_seed, step_seed
from btxrd.training.history import COLUMNS, make_row, read_training_log, save_training_log
from btxrd.training.loop import compute_class_weights, train_one_epoch, validate
from btxrd.training.schedule import EarlyStopping, create_optimizer, create_scheduler

CPU = torch.device("cpu")


class Table(nn.Module):
    """Logits looked up by the number that a 'film' carries."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float32))

    def forward(self, films):
        return self.logits[films[:, 0, 0, 0].long()]


def batches(labels, sizes):
    films = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return list(zip(films.split(sizes), torch.tensor(labels).split(sizes), strict=True))


def test_class_weights_are_n_over_k_times_n_class():
    weights = compute_class_weights(torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2]))
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])


def test_absent_class_weighs_nothing():
    assert compute_class_weights(torch.tensor([0, 0, 1, 1])).tolist() == pytest.approx([4 / 6, 4 / 6, 0])


@pytest.mark.parametrize("sizes", [[5, 5], [7, 3], [1] * 10])
def test_epoch_loss_is_the_weighted_mean_over_images_for_any_batches(sizes):
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 3), [0, 0, 0, 0, 1, 1, 1, 2, 2, 0]
    weights = compute_class_weights(torch.tensor(labels))
    model = Table(logits.tolist())
    criterion = nn.CrossEntropyLoss(weight=weights)
    frozen = torch.optim.SGD(model.parameters(), lr=0.0)
    loss, accuracy = train_one_epoch(model, batches(labels, sizes), criterion, frozen, CPU)
    assert loss == pytest.approx(float(criterion(logits, torch.tensor(labels))), abs=1e-6)
    assert accuracy == pytest.approx(float((logits.argmax(1) == torch.tensor(labels)).float().mean()))


def test_training_lowers_the_loss_and_clips():
    model = Table(np.zeros((4, 3)).tolist())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    data = batches([0, 1, 2, 0], [2, 2])
    first, _ = train_one_epoch(model, data, nn.CrossEntropyLoss(), optimizer, CPU, gradient_clip=1e-3)
    moved = model.logits.detach().norm()
    assert 0 < moved <= 2.1e-3
    for _ in range(20):
        last, _ = train_one_epoch(model, data, nn.CrossEntropyLoss(), optimizer, CPU)
    assert last < first


def test_validation_is_unweighted_and_knows_absent_classes():
    sure = 10 * np.eye(3)
    model = Table(sure[[0, 0, 1, 0]].tolist())
    loss, accuracy, recall = validate(model, batches([0, 0, 1, 1], [3, 1]), nn.CrossEntropyLoss(), CPU)
    assert accuracy == 0.75
    assert loss == pytest.approx(10 / 4, abs=1e-3)
    np.testing.assert_allclose(recall, [1, 0.5, np.nan])


def test_dropout_follows_the_step_alone():
    class Drop(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(3)), []

        def forward(self, films):
            self.seen.append(nn.functional.dropout(torch.ones(64)))
            return self.weight.expand(len(films), 3)

    def seen(epoch, before):
        model = Drop()
        torch.rand(before)
        train_one_epoch(
            model, batches([0, 1, 2], [1, 1, 1]), nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1), CPU,
            seed_of_step=lambda step: step_seed(42, epoch, step),
        )  # fmt: skip
        return torch.stack(model.seen)

    assert torch.equal(seen(1, before=0), seen(1, before=5))
    assert not torch.equal(seen(1, before=0), seen(2, before=0))
    assert not torch.equal(seen(1, 0)[0], seen(1, 0)[1])


def rates(**training):
    model = nn.Linear(2, 2)
    settings = {"learning_rate": 0.1, "weight_decay": 0.01, "epochs": 10, "warmup_epochs": 0} | training
    optimizer = create_optimizer(model, settings)
    scheduler, found = create_scheduler(optimizer, settings), []
    for _ in range(settings["epochs"]):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return optimizer, found


def test_learning_rate_follows_a_cosine():
    _, found = rates()
    expected = [1e-6 + (0.1 - 1e-6) * (1 + np.cos(np.pi * epoch / 10)) / 2 for epoch in range(10)]
    assert found == pytest.approx(expected)


def test_warm_up_rises_to_the_peak():
    _, found = rates(warmup_epochs=4)
    assert found[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert found[5] < 0.1


def test_biases_are_spared_the_weight_decay():
    optimizer, _ = rates()
    decays = {
        parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays == {1: 0.0, 2: 0.01}


def test_early_stopping_waits_for_its_patience():
    stopping = EarlyStopping(patience=2)
    assert not stopping.should_stop([1.0, 0.5, 0.6])
    assert stopping.should_stop([1.0, 0.5, 0.6, 0.5])
    assert stopping.best_epoch([1.0, 0.5, 0.6, 0.5]) == 2


def test_seeds_make_runs_equal():
    set_seed(3)
    one = torch.rand(4)
    set_seed(3)
    assert torch.equal(one, torch.rand(4))


def test_device_that_is_not_there_is_refused():
    assert get_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device: cuda is not there"):
            get_device("cuda")


def test_log_is_exact_and_comes_back(tmp_path):
    rows = [
        make_row(1, 1.23456789, 0.5, 0.25, np.array([1, 0.5, np.nan]), 3e-4),
        make_row(2, 1, 1, 1, np.ones(3), 1 / 3),
    ]
    save_training_log(rows, tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().splitlines() == [
        "epoch,train_loss,val_loss,val_acc,val_recall_normal,val_recall_benign,val_recall_malignant,lr",
        "1,1.234568,0.500000,0.250000,1.000000,0.500000,nan,0.0003",
        "2,1.000000,1.000000,1.000000,1.000000,1.000000,1.000000,0.3333333333333333",
    ]
    assert read_training_log(tmp_path / "log.csv")[1] == dict(zip(COLUMNS, (2, 1, 1, 1, 1, 1, 1, 1 / 3), strict=True))


def test_another_file_is_no_log(tmp_path):
    with pytest.raises(UserError, match="train first"):
        read_training_log(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(UserError, match="not a training log"):
        read_training_log(tmp_path / "log.csv")
