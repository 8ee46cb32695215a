"""ImageNet weights: fetched once, checked by hash, and loaded so that a wrong file can't pass in silence."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btxrd.errors import UserError
from btxrd.fetch import fetch


@dataclass(frozen=True)
class KnownWeights:
    """Where the weights of a backbone are, and what they must be."""

    addresses: tuple[str, ...]
    sha256: str


KNOWN = {
    "efficientnet_b0.ra_in1k": KnownWeights(
        addresses=(
            "https://huggingface.co/timm/efficientnet_b0.ra_in1k/resolve/d18a84b/pytorch_model.bin",
            "https://huggingface.co/timm/efficientnet_b0.ra_in1k/resolve/main/pytorch_model.bin",
        ),
        sha256="52487d0cd13681cf2ae61fdae3c913f45c1d4967e69432a2065da4695ae343fd",
    )
}


def fetch_weights(backbone: str, target: Path) -> None:
    """Put the ImageNet weights of `backbone` at `target`; raises UserError if they are unknown or not to be had."""
    known = KNOWN.get(backbone)
    if known is None:
        raise UserError(
            f"no checked weights are known for model.backbone {backbone}: name a local file in model.weights, "
            "or set model.pretrained to false."
        )
    advice = (
        f"Download it in a browser from the model hub (timm/{backbone}, pytorch_model.bin) and name it in "
        "model.weights, or set model.pretrained to false."
    )
    fetch(known.addresses, target, known.sha256, None, advice)


def load_pretrained(backbone: Any, path: Path) -> None:
    """Load ImageNet weights from `path` into a timm model, all but its classifier.

    timm itself only logs what did not fit, so a wrong file would leave a random network. Raises UserError for a
    file that is damaged, or that is not of this very architecture.
    """
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), device="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; model.weights must name the file of ImageNet weights.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not a readable file of weights ({str(error).splitlines()[0]}).") from None
    classifier = backbone.default_cfg["classifier"]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = backbone.state_dict()
    expected = {key for key in own if not key.startswith(tuple(f"{head}." for head in heads))}
    given = {key for key in state if not key.startswith(tuple(f"{head}." for head in heads))}
    misfits = expected ^ given | {key for key in expected & given if own[key].shape != state[key].shape}
    if misfits:
        raise UserError(
            f"{path}: not the weights of {backbone.default_cfg.get('architecture', 'this backbone')}: "
            f"{len(misfits)} of {len(expected)} tensors do not fit, e.g. {min(misfits)}."
        )
    backbone.load_state_dict({key: state[key] for key in expected}, strict=False)
