"""training_log.csv: one row an epoch, nothing in it that depends on the clock."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from btxrd import CLASSES
from btxrd.errors import UserError
from btxrd.files import written_whole

RECALLS = tuple(f"val_recall_{name.lower()}" for name in CLASSES)
COLUMNS = ("epoch", "train_loss", "val_loss", "val_acc", *RECALLS, "lr")
Row = dict[str, float]


def make_row(
    epoch: int, train_loss: float, val_loss: float, val_acc: float, recall: np.ndarray, learning_rate: float
) -> Row:
    """One epoch's row; `learning_rate` is the one this epoch used, recall has shape (3,)."""
    values = (epoch, train_loss, val_loss, val_acc, *map(float, recall), learning_rate)
    return dict(zip(COLUMNS, values, strict=True))


def save_training_log(rows: Sequence[Row], path: str | Path) -> None:
    """Write all rows: six decimals, the learning rate in full precision, `nan` for the recall of an absent class."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        middle = (f"{row[name]:.6f}" for name in COLUMNS[1:-1])
        lines.append(",".join((str(int(row["epoch"])), *middle, repr(float(row["lr"])))))
    with written_whole(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_training_log(path: str | Path) -> list[Row]:
    """Read the rows back; raises UserError for a file that is not a training log."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train first.") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a training log ({error}).") from None
    if tuple(table.columns) != COLUMNS or table.empty:
        raise UserError(f"{path}: not a training log; it needs rows with the columns {', '.join(COLUMNS)}.")
    return table.to_dict("records")
