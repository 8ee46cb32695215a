"""A trained network, from its checkpoint alone: for evaluation, explanation and films of anybody."""

import threading
from pathlib import Path
from typing import Any

import torch

from btxrd.errors import UserError
from btxrd.models.classifier import GrayClassifier, create_model
from btxrd.training.checkpoint import load_checkpoint, restore_weights


class Trained:
    """A network with the weights of a checkpoint, in evaluation mode, and what the checkpoint says of itself."""

    def __init__(self, model: GrayClassifier, checkpoint: dict[str, Any], device: torch.device):
        self.model, self.checkpoint, self.device = model, checkpoint, device
        self._pass = threading.local()  # of each thread its own: several may use the network at once
        model.backbone.get_classifier().register_forward_pre_hook(self._remember)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained with."""
        return self.checkpoint["config"]

    def logits_and_features(self, films: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For films, uint8 (N, 1, size, size) on the device: logits (N, 3), and what the classifier made them of."""
        bf16 = self.config["training"]["bf16"] and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits = self.model(films)
        return logits.float(), self._pass.features.float()

    def _remember(self, classifier: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self._pass.features = inputs[0]


def load_trained(path: str | Path, device: torch.device) -> Trained:
    """Build the network of a checkpoint; raises UserError for a file that is not one."""
    checkpoint = load_checkpoint(path)
    try:
        network = checkpoint["config"]["model"]
        model = create_model(network["backbone"], network["num_classes"], network["dropout"])
    except (KeyError, TypeError):
        raise UserError(f"{path}: no checkpoint of this project: it does not say what network it is of.") from None
    restore_weights(model, checkpoint, path)
    return Trained(model.to(device).eval(), checkpoint, device)
