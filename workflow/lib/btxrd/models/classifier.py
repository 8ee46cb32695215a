"""The network: a timm backbone that takes gray films as they lie in the cache."""

from pathlib import Path

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from btxrd import CLASSES
from btxrd.errors import UserError
from btxrd.models.weights import load_pretrained


class GrayClassifier(nn.Module):
    """Gray uint8 films (N, 1, H, W) → logits (N, 3), in the order Normal, Benign, Malignant.

    Films become three equal channels, normalised as the backbone was trained, on whatever device they are.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        data = resolve_model_data_config(backbone)
        self.mean, self.std = tuple(data["mean"]), tuple(data["std"])
        self.register_buffer("_scale", 1 / (255 * torch.tensor(self.std).view(1, 3, 1, 1)), persistent=False)
        shift = torch.tensor(self.mean) / torch.tensor(self.std)
        self.register_buffer("_shift", shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        """Logits of shape (N, 3)."""
        channels = films.float() * self._scale - self._shift
        return self.backbone(channels.contiguous(memory_format=torch.channels_last))


def create_model(
    backbone: str, num_classes: int = len(CLASSES), dropout: float = 0.2, weights: Path | None = None
) -> GrayClassifier:
    """A classifier on the named timm backbone, from the ImageNet weights in `weights` or from nothing.

    Random initial values follow torch's global seed. Raises UserError for an unknown backbone or a wrong file.
    """
    try:
        network = timm.create_model(backbone, pretrained=False, num_classes=num_classes, drop_rate=dropout)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"model.backbone {backbone}: timm has no such image model ({error}).") from None
    head = network.get_classifier()
    if isinstance(head, nn.Linear):
        head.reset_parameters()  # timm draws it 20 times as wide, and the first losses then shake the features
    if weights is not None:
        load_pretrained(network, weights)
    return GrayClassifier(network).to(memory_format=torch.channels_last)
