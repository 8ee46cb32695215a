"""Heat maps by Grad-CAM: which parts of a film speak for a class, as seen from the last map inside the network.

Selvaraju et al., Grad-CAM: visual explanations from deep networks, ICCV 2017, by the library grad-cam. Films go in as
everywhere else, gray and uint8.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from btxrd.data.cache import Cache
from btxrd.errors import UserError
from btxrd.models.classifier import GrayClassifier
from btxrd.progress import progress
from btxrd.training.trained import Trained

METHOD = f"Grad-CAM (grad-cam {version('grad-cam')})"
BATCH = 16  # films; bounds the memory


@dataclass(frozen=True)
class MapLayer:
    """The module of a backbone whose output is read as a map of the film."""

    name: str
    module: nn.Module
    cells: int  # of the map, in each direction
    widths: frozenset[int]  # numbers of channels that a map of this backbone may have
    prefix: int  # tokens ahead of the patches

    def as_maps(self, output: torch.Tensor) -> torch.Tensor:
        """The module's output as maps, (N, channels, height, width)."""
        return as_maps(output, self.widths, self.prefix)


def as_maps(output: torch.Tensor, widths: frozenset[int], prefix: int) -> torch.Tensor | None:
    """Bring a square map to (N, channels, side, side); None for an output that is no map.

    It may have its channels first or last, or be a row of tokens (N, prefix + side², channels), as in a transformer.
    """
    if output.ndim == 3:
        side = math.isqrt(max(0, output.shape[1] - prefix))
        if prefix + side**2 != output.shape[1]:
            return None
        output = output[:, prefix:].unflatten(1, (side, side))
    if output.ndim != 4:
        return None
    maps = output if output.shape[1] in widths else output.permute(0, 3, 1, 2)
    is_map = maps.shape[1] in widths and maps.shape[2] == maps.shape[3] > 1
    return maps if is_map else None


def find_map_layer(model: GrayClassifier, film: np.ndarray) -> MapLayer:
    """The last module whose output is a map that the logits depend on, found by a pass of a film, (size, size).

    The last tokens of a transformer may be none: where one token alone is classified, the others have no gradient.
    Raises UserError for a backbone that has no such map, or that takes no film of this size.
    """
    backbone = model.backbone
    model.requires_grad_(True)
    widths, prefix = _widths(backbone), getattr(backbone, "num_prefix_tokens", 0)
    device = next(model.parameters()).device
    with _maps_of(backbone, widths, prefix) as seen:
        logits = _one_pass(model, torch.tensor(film, device=device)[None, None])
    outputs = [output for _, output in seen]
    gradients = torch.autograd.grad(logits.sum(), outputs, allow_unused=True) if outputs else ()
    for (name, _), gradient in zip(reversed(seen), reversed(gradients), strict=True):
        maps = None if gradient is None else as_maps(gradient, widths, prefix)
        if maps is not None and maps.any():
            return MapLayer(name, backbone.get_submodule(name), maps.shape[-1], widths, prefix)
    raise UserError(
        f"model.backbone: {type(backbone).__name__} keeps no map of films of {len(film)} px, from which a heat map "
        "could be made; larger films (data.image_size) or another backbone do."
    )


def _widths(backbone: nn.Module) -> frozenset[int]:
    """timm's numbers of channels at the end: of the features, and of the last stage where a head follows it."""
    stages = getattr(backbone, "feature_info", [])
    return frozenset({backbone.num_features, *(stage["num_chs"] for stage in stages[-1:])})


def _one_pass(model: GrayClassifier, films: torch.Tensor) -> torch.Tensor:
    try:
        return model(films)
    except (AssertionError, RuntimeError, ValueError) as error:  # how timm refuses a size differs by backbone
        reason = str(error).splitlines()[0]
        raise UserError(f"model.backbone: it takes no films of {films.shape[-1]} px ({reason}).") from None


@contextmanager
def _maps_of(backbone: nn.Module, widths: frozenset[int], prefix: int) -> Iterator[list[tuple[str, torch.Tensor]]]:
    """While this lasts, the outputs of modules that are maps are put on a list, with the modules' names."""
    seen: list[tuple[str, torch.Tensor]] = []

    def remember(name: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and as_maps(output, widths, prefix) is not None:
            seen.append((name, output))

    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: remember(name, output))
        for name, module in backbone.named_modules()
        if name
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def heat_of_films(
    trained: Trained, layer: MapLayer, cache: Cache, image_ids: Sequence[str], classes: Sequence[int]
) -> Iterator[np.ndarray]:
    """For each image the heat map of a class, float32 (size, size), 0 to 1; made in batches as they are asked for."""
    with progress(total=len(image_ids), desc="heat maps", unit="image") as bar:
        for start in range(0, len(image_ids), BATCH):
            batch = slice(start, start + BATCH)
            films = np.stack([cache.film_of(image_id) for image_id in image_ids[batch]])
            yield from heat_maps(trained.model, layer, torch.from_numpy(films).unsqueeze(1), classes[batch])
            bar.update(len(films))


def heat_maps(model: GrayClassifier, layer: MapLayer, films: torch.Tensor, classes: Sequence[int]) -> np.ndarray:
    """Heat maps of uint8 films (N, 1, size, size), each for its class: float32 (N, size, size).

    As the library scales them: what speaks against the class is cut off, the coldest pixel is 0, the hottest 1.
    A map without any heat is 0 everywhere.
    """
    targets = [ClassifierOutputTarget(number) for number in classes]
    with _graph_begins_at(model, layer):
        gradcam = GradCAM(model, [layer.module], layer.as_maps)
        try:
            return gradcam(films, targets)
        finally:
            gradcam.activations_and_grads.release()


@contextmanager
def _graph_begins_at(model: GrayClassifier, layer: MapLayer) -> Iterator[None]:
    """No gradient ahead of the layer, where none is needed: that would cost as much again as all the rest."""
    model.requires_grad_(False)
    hook = layer.module.register_forward_hook(lambda module, inputs, output: output.detach().requires_grad_())
    try:
        yield
    finally:
        hook.remove()
