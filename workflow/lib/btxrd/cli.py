"""The one command line: `btxrd <command>`. Libraries are imported by the command that needs them, so help is fast."""

import argparse
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from btxrd import __version__, paths
from btxrd.config import Config, config_of_split, load_config, main_seed, merged
from btxrd.errors import Interrupted, UserError
from btxrd.plans import split_plans
from btxrd.training.launcher import launch, own_place

log = logging.getLogger("btxrd")
Options = argparse.Namespace


def download(config: Config, options: Options) -> None:
    """fetch and check the archive, or check the one that is there"""
    from btxrd.data.archive import download

    download(config["data"]["archive"], config["data"]["sha256"], paths.archive_record(config))


def extract(config: Config, options: Options) -> None:
    """unpack the archive"""
    from btxrd.data.archive import extract

    extract(config["data"]["archive"], paths.raw_folder(config))


def phantom(config: Config, options: Options) -> None:
    """draw synthetic films in the layout of BTXRD"""
    from btxrd.data.phantom import make_phantoms

    wanted = config["data"]["phantom"]
    make_phantoms(paths.raw_folder(config), wanted["images"], wanted["long_side"], config["seed"], options.threads)


def table(config: Config, options: Options) -> None:
    """check dataset.xlsx and every image, write metadata.csv"""
    from btxrd.data.table import make_table

    expected = None if config["data"]["source"] == "phantom" else config["data"]["expected_counts"]
    make_table(paths.raw_folder(config), paths.METADATA, expected, options.threads)


def cache(config: Config, options: Options) -> None:
    """decode every film once into one memory-mapped file"""
    from btxrd.data.cache import build_cache

    data = config["data"]
    array, index = paths.cache_array(config), paths.cache_index(config)
    build_cache(paths.METADATA, data["image_size"], data["resize"], array, index, options.threads)


def case_names(config: Config, options: Options) -> None:
    """fetch and check the tables of original file names"""
    from btxrd.data.cases import record_case_names

    record_case_names(paths.case_name_sources(config), paths.CASE_NAMES, paths.CASE_NAMES_RECORD)


def cases(config: Config, options: Options) -> None:
    """find out which images are one case: original names, duplicates"""
    from btxrd.data.cases import make_cases

    index, distance = paths.cache_index(config), config["data"]["duplicate_distance"]
    make_cases(paths.METADATA, paths.CASE_NAMES_RECORD, index, distance, paths.CASES, paths.DUPLICATES)


def split(config: Config, options: Options) -> None:
    """put the cases into train, val and test, and check for leaks"""
    from btxrd.data.splits import make_split

    plan = split_plans(config)[config["training"]["split_strategy"]]
    tables, summary = paths.split_tables(config, plan.name), paths.split_summary(config, plan.name)
    conflicting = config["data"]["conflicting_labels"]
    make_split(plan, conflicting, paths.METADATA, paths.CASES, paths.CASE_NAMES_RECORD, tables, summary)


def weights(config: Config, options: Options) -> None:
    """fetch and check the ImageNet weights"""
    from btxrd.models.weights import fetch_weights

    backbone = config["model"]["backbone"]
    fetch_weights(backbone, paths.fetched_weights(backbone))


def train(config: Config, options: Options) -> None:
    """train on one split; best and final checkpoint, log and curves"""
    config = config_of_split(config, config["training"]["split_strategy"])
    devices = config["training"]["devices"]
    if devices > 1 and own_place() == (0, 1):
        launch(config, max(1, options.threads // devices), options.log)
        return
    # Before torch is imported: its thread pools read these once.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    from btxrd.training.run import run_training

    run_training(config, options.threads)


def plot(config: Config, options: Options) -> None:
    """draw the loss and recall curves of a split from its log"""
    from btxrd.caveats import footnote
    from btxrd.plots import draw_curves

    name = config["training"]["split_strategy"]
    draw_curves(
        paths.result(config, name, "training_log.csv"),
        paths.result(config, name, "loss_curve.png"),
        paths.result(config, name, "recall_curve.png"),
        footnote(config, name),
    )


def evaluate(config: Config, options: Options) -> None:
    """judge a split's best checkpoint on val and test"""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from btxrd.caveats import footnote
    from btxrd.evaluation.evaluate import evaluate

    name = config["training"]["split_strategy"]
    evaluate(
        name,
        paths.checkpoint(config, name, "best"),
        paths.split_tables(config, name),
        paths.METADATA,
        paths.cache_index(config),
        paths.annotations(config),
        config["device"],
        footnote(config, name),
        paths.result(config, name, ""),
    )


def explain(config: Config, options: Options) -> None:
    """see where a split's network looks, on every outlined tumour of test"""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from btxrd.caveats import caveats, footnote
    from btxrd.explain.run import make_explanations

    name = config["training"]["split_strategy"]
    make_explanations(
        name,
        paths.checkpoint(config, name, "best"),
        paths.split_tables(config, name)["test"],
        paths.cache_index(config),
        paths.annotations(config),
        caveats(config, name),
        footnote(config, name),
        config["seed"],
        config["device"],
        options.threads,
        paths.result(config, name, ""),
    )


def compare(config: Config, options: Options) -> None:
    """put the results of all splits side by side"""
    from btxrd.caveats import caveats, footnote_of_data
    from btxrd.evaluation.compare import SplitResults, compare

    synthetic = config["data"]["source"] == "phantom"
    main = config | {"seed": main_seed(config)}
    further = [config | {"seed": seed} for seed in config["replicates"][1:]]
    results = [
        SplitResults(
            name,
            paths.result(main, name, ""),
            [paths.result(run, name, "") for run in further],
            caveats(config, name)[synthetic:],
        )
        for name in split_plans(config)
    ]
    files = {ending: paths.comparison(config, ending) for ending in ("csv", "html", "png")}
    compare(results, synthetic, footnote_of_data(synthetic), files["csv"], files["html"], files["png"])


def card(config: Config, options: Options) -> None:
    """write the model card from the results of all splits"""
    from btxrd.caveats import caveats
    from btxrd.evaluation.card import write_card

    config = config | {"seed": main_seed(config)}
    splits = list(split_plans(config))
    write_card(
        config,
        {name: paths.result(config, name, "metrics.json") for name in splits},
        {name: paths.split_summary(config, name) for name in splits},
        {name: caveats(config, name) for name in splits},
        None if config["data"]["source"] == "phantom" else paths.archive_record(config),
        paths.model_card(config),
    )


def audit(config: Config, options: Options) -> None:
    """look at the data and its splits: findings, tables, pictures, one page"""
    from btxrd.audit.evidence import read_evidence
    from btxrd.audit.run import make_audit

    splits = split_plans(config)
    evidence = read_evidence(
        paths.METADATA,
        paths.CASES,
        paths.DUPLICATES,
        paths.cache_index(config),
        paths.annotations(config),
        {name: paths.split_tables(config, name) for name in splits},
        {name: paths.split_summary(config, name) for name in splits},
        config["data"]["conflicting_labels"],
    )
    make_audit(evidence, config["data"]["source"] == "phantom", paths.audit_folder(config))


def baselines(config: Config, options: Options) -> None:
    """classify by class shares, center, image geometry and metadata, without a pixel"""
    from btxrd.caveats import caveats
    from btxrd.evaluation.baselines import make_baselines

    name = config["training"]["split_strategy"]
    tables, target = paths.split_tables(config, name), paths.result(config, name, "baselines.json")
    make_baselines(name, paths.METADATA, tables, caveats(config, name), config["seed"], target)


STAGES: Sequence[Callable[[Config, Options], None]] = (
    download, extract, phantom, table, cache, case_names, cases, split, weights, train, plot,
    evaluate, explain, compare, card, audit, baselines,
)  # fmt: skip


def predict(options: Options) -> int:
    """judge any films with a checkpoint: JPEG, PNG, TIFF, DICOM, files or folders"""
    os.environ["OMP_NUM_THREADS"] = "1"  # a core reads and judges films of its own
    from btxrd.prediction.predict import predict

    return predict(
        options.checkpoint,
        options.films,
        options.out,
        options.heatmaps,
        options.inference,
        options.device,
        options.threads,
    )


def export(options: Options) -> None:
    """write a checkpoint's network as ONNX, TorchScript or safetensors"""
    from btxrd.prediction.export import export

    export(options.checkpoint, options.format, options.out, options.inference, options.threads)


def serve(options: Options) -> None:
    """open a page on this machine into which films can be dropped"""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from btxrd.prediction.serve import serve

    serve(options.checkpoint, options.inference, options.host, options.port)


USES: Sequence[Callable[[Options], int | None]] = (predict, export, serve)  # they need a checkpoint, no configuration


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, what the command says, or 1 with one sentence on stderr."""
    options = _parser().parse_args(arguments)
    from btxrd.progress import log_to_file_only, set_up_logging

    set_up_logging(options.log, leads=own_place()[0] == 0)
    try:
        return options.run(options) or 0
    except UserError as error:
        log.error("btxrd %s: %s", options.command, error)
        return 1
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        log.error("btxrd %s: %s: %s.", options.command, error.filename or "a file", error.strerror or error)
        return 1
    except KeyboardInterrupt:
        log.error("btxrd %s: stopped from the keyboard", options.command)
        return 130
    except Interrupted as interrupted:
        log.info("btxrd %s: stopped by %s; the same command goes on from the state", options.command, interrupted)
        return 128 + interrupted.signum
    except Exception as error:  # a mistake of ours: a sentence for the terminal, the traceback for the log
        log.error("btxrd %s: internal error: %s: %s", options.command, type(error).__name__, error)
        log_to_file_only("".join(traceback.format_exception(error)))
        return 1


def _run_stage(stage: Callable[[Config, Options], None], options: Options) -> None:
    config = load_config(options.config, options.override)
    if "gpus" in options and options.gpus == 0:
        config = merged(config, {"device": "cpu"})
    if options.directory:
        os.chdir(options.directory)
    stage(config, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="btxrd",
        description="Bone-tumour classification on BTXRD, stage by stage. Research only, not for clinical use.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for stage in STAGES:
        sub = _add_command(commands, stage)
        sub.add_argument(
            "--config", nargs="+", type=str, default=[], metavar="FILE",
            help="YAML files, a later one over an earlier one, or JSON text; defaults fill the rest",
        )  # fmt: skip
        sub.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. training.epochs=10")
        sub.add_argument("--directory", type=Path, metavar="DIR", help="where all other files lie")
        sub.set_defaults(run=partial(_run_stage, stage))
    for name in ("train", "evaluate", "explain"):
        commands.choices[name].add_argument("--gpus", type=int, default=1, help="0 keeps to the CPU")
    for use in USES:
        sub = _add_command(commands, use)
        sub.add_argument(
            "--checkpoint", type=Path, required=True, metavar="FILE", help="e.g. checkpoints/best_stratified.pt"
        )
        sub.add_argument(
            "--inference", type=Path, metavar="FILE",
            help="its inference.json (default: where the workflow puts it)",
        )  # fmt: skip
        sub.set_defaults(run=use)
    _add_options_of_predict(commands.choices["predict"])
    _add_options_of_export(commands.choices["export"])
    _add_options_of_serve(commands.choices["serve"])
    return parser


def _add_command(commands: Any, command: Callable) -> argparse.ArgumentParser:
    about = command.__doc__
    sub = commands.add_parser(command.__name__, help=about, description=about)
    sub.add_argument(
        "--threads", type=_positive, default=os.cpu_count() or 1, help="cores to use (default: all of them)"
    )
    sub.add_argument("--log", type=_absolute, metavar="FILE", help="write the log lines to this file, too")
    return sub


def _add_options_of_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("films", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="folders with all below them")
    parser.add_argument("--out", type=Path, metavar="FILE", help="predictions as .csv or .json (default: printed)")
    parser.add_argument("--heatmaps", type=Path, metavar="DIR", help="draw where the network looks on each film")
    parser.add_argument("--device", type=_device, default="auto", help="auto, cpu, mps, cuda, cuda:1 … (default: auto)")


def _add_options_of_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", required=True, choices=("onnx", "torchscript", "safetensors"))
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: beside the checkpoint)")


def _add_options_of_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8501, help="default: 8501")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number, 1 or more")
    return int(text)


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text} must be auto, cpu, mps, cuda or cuda:<number>")
    return text


def _absolute(path: str) -> Path:
    """The file as it is meant now, wherever the command then works."""
    return Path(path).absolute()
