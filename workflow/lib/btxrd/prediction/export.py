"""A trained network as a file for other programs, which says of itself what goes in, what comes out and what it is for.

Each file is loaded again and compared with PyTorch before it takes its name.
"""

import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from btxrd import __version__
from btxrd.caveats import NOT_CLINICAL
from btxrd.errors import UserError
from btxrd.files import sha256_of_file, written_whole
from btxrd.models.classifier import GrayClassifier
from btxrd.prediction.fused import soft_shapes
from btxrd.prediction.predictor import Predictor
from btxrd.training.devices import keep_freed_memory

log = logging.getLogger("btxrd")

ENDINGS = {"onnx": ".onnx", "torchscript": ".torchscript.pt", "safetensors": ".safetensors"}
LIMIT = 1e-4  # of the difference of a logit
FILMS, BATCHES, SECONDS = 32, (1, 32), 3.0  # that are compared; that are timed; for each of the two
METADATA = "metadata.json"  # in a TorchScript file

Run = Callable[[np.ndarray], np.ndarray]  # films, uint8 (N, 1, size, size) → logits, float32 (N, 3)


def export(checkpoint: Path, form: str, out: Path | None, companion: Path | None, threads: int) -> None:
    """Write the network of a checkpoint in one of the forms of ENDINGS, beside it unless `out` says where.

    Raises UserError where the file says something else than PyTorch, or a library for it is missing.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()  # as all our commands do, or PyTorch would look slow below
    predictor = Predictor(checkpoint, torch.device("cpu"), companion)
    target = out or checkpoint.with_name(checkpoint.stem + ENDINGS[form])
    if target.resolve() == checkpoint.resolve():
        raise UserError(f"--out {target}: that is the checkpoint itself.")
    log.info("%s.", NOT_CLINICAL.capitalize())
    model = predictor.trained.model.requires_grad_(False)
    films = soft_shapes(FILMS, predictor.size)[:, None]
    with written_whole(target) as temporary:
        run = WRITERS[form](model, films, _metadata(predictor, form), temporary, threads)
        difference = _largest_difference(_run_torch(model), run, films)
        if not difference <= LIMIT:  # NaN is no agreement
            raise UserError(f"{target}: its logits differ by {difference:.1e} from PyTorch's; nothing is written.")
    log.info("%s: %.1f MB; on %d images its logits differ by at most %.1e from PyTorch's (limit %.0e)",
             target, target.stat().st_size / 1e6, FILMS, difference, LIMIT)  # fmt: skip
    if form != "safetensors":  # which is run by PyTorch, too
        print(_latency_table(_run_torch(model), run, form, predictor.size, threads))


def _metadata(predictor: Predictor, form: str) -> dict[str, str]:
    """What the file says of itself: text by name, JSON where there is more to say."""
    model, companion = predictor.trained.model, predictor.companion
    inside = form != "safetensors"
    facts = {
        "warning": f"{NOT_CLINICAL.capitalize()}.",
        "caveats": predictor.caveats,
        "class_names": predictor.trained.checkpoint["class_names"],
        "input": "films: uint8 (N, 1, size, size), gray, bone bright" if inside else "films as preprocessing says",
        "output": "logits: float32 (N, 3); their softmax are the probabilities of class_names",
        "preprocessing": {
            "size": predictor.size,
            "resize": predictor.resize,
            "mean": model.mean,
            "std": model.std,
            "normalization": "inside the network: 3 equal channels, (film / 255 - mean) / std" if inside
            else "yours to do: 3 equal channels, (film / 255 - mean) / std",
        },
        "backbone": predictor.trained.config["model"]["backbone"],
        "checkpoint_sha256": sha256_of_file(predictor.checkpoint),
        "btxrd": __version__,
    }  # fmt: skip
    if companion:
        facts |= {"temperature": companion.temperature, "malignant_thresholds": dict(companion.thresholds)}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def _write_onnx(model: GrayClassifier, films: np.ndarray, metadata: dict[str, str], path: Path, threads: int) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise UserError(f"--format onnx needs {error.name}: pip install '.[export]' brings it.") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        program = torch.onnx.export(
            model, (torch.from_numpy(films[:2]),), input_names=["films"], output_names=["logits"],
            dynamic_shapes=({0: "batch"},), verbose=False,
        )  # fmt: skip
    for name, value in metadata.items():
        program.model.metadata_props[name] = value
    program.save(path, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"films": batch})[0]


def _write_torchscript(
    model: GrayClassifier, films: np.ndarray, metadata: dict[str, str], path: Path, threads: int
) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and asked for
        traced = torch.jit.trace(model, torch.from_numpy(films[:2]), check_trace=False)
        torch.jit.save(traced, path, _extra_files={METADATA: json.dumps(metadata, indent=1)})
        return _run_torch(torch.jit.load(path))


def _write_safetensors(
    model: GrayClassifier, films: np.ndarray, metadata: dict[str, str], path: Path, threads: int
) -> Run:
    from safetensors.torch import load, save

    weights = {name: tensor.contiguous() for name, tensor in model.backbone.state_dict().items()}
    path.write_bytes(save(weights, metadata=metadata))
    model.backbone.load_state_dict(load(path.read_bytes()))
    return _run_torch(model)


WRITERS = {"onnx": _write_onnx, "torchscript": _write_torchscript, "safetensors": _write_safetensors}


def _run_torch(model: torch.nn.Module) -> Run:
    @torch.inference_mode()
    def run(films: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(films)).numpy()

    return run


def _largest_difference(one: Run, other: Run, films: np.ndarray) -> float:
    """Of any logit, in one batch and one by one."""
    expected = one(films)
    single = np.concatenate([other(film[None]) for film in films])
    return float(max(np.abs(other(films) - expected).max(), np.abs(single - expected).max()))


def _latency_table(torch_run: Run, other_run: Run, form: str, size: int, threads: int) -> str:
    """Milliseconds of a batch, the two in turns, as medians."""
    other = {"onnx": "onnxruntime", "torchscript": "TorchScript"}[form]
    lines = [f"{f'CPU, {threads} threads':16}{'PyTorch':>14}{other:>14}{'faster':>9}"]
    for batch in BATCHES:
        films = soft_shapes(batch, size)[:, None]
        runs = (torch_run, other_run)
        seconds: list[tuple[float, ...]] = []
        ends = time.perf_counter() + SECONDS
        while time.perf_counter() < ends or len(seconds) < 3:
            seconds.append(tuple(_seconds(run, films) for run in runs))
        ours, others = (1000 * statistics.median(times) for times in zip(*seconds[1:], strict=True))
        lines.append(f"{f'batch {batch}':16}{ours:>11.1f} ms{others:>11.1f} ms{ours / others:>8.2f}×")
    return "\n".join(lines)


def _seconds(run: Run, films: np.ndarray) -> float:
    started = time.perf_counter()
    run(films)
    return time.perf_counter() - started
