# What every rules file uses: the checked configuration, the command line, the files that rerun a rule.

import hashlib
import json
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import get_flag_value
from snakemake.sourcecache import LocalSourceFile

# The library beside these rules. A code host can't list a folder, so there its files are fetched by name.
HERE = workflow.current_basedir
if isinstance(HERE, LocalSourceFile):
    LIB = os.path.normpath(HERE.join("../lib").path)
else:
    CONTENTS = Path(workflow.source_path("../lib/contents.txt"))
    for name in CONTENTS.read_text().split():
        workflow.source_path(f"../{name}")
    LIB = str(CONTENTS.parent)
sys.path.insert(0, LIB)

from btxrd import paths
from btxrd.config import complete, config_of_split, defaults, difference, main_seed, pick, training_keys
from btxrd.errors import UserError
from btxrd.evaluation.outputs import EVALUATION_FILES, EVALUATION_PICTURES, METRICS
from btxrd.explain.outputs import EXPLANATION_FILES, EXPLANATION_PICTURES
from btxrd.plans import split_plans

try:
    CONFIG = complete(config)
except UserError as error:
    raise WorkflowError(str(error))

PLANS = split_plans(CONFIG)

# What Snakemake puts before every path: the prefix of a module, the local copies of a storage; most often nothing.
PROBE = workflow.modifier.modify_path("probe")
STORED = get_flag_value(PROBE, "storage_object")
ROOT = str(STORED.local_path().parent if STORED else os.path.dirname(PROBE)) or "."


def call(wildcards, output):
    """What every command is started with: it runs from a plain checkout, in the folder that Snakemake's paths begin at,
    and is handed what differs from the default configuration. That must rerun nothing, since each rule names, by
    `settings`, the keys that shape its output: Snakemake compares no parameter that is made with `output`."""
    overlay = json.dumps(difference(CONFIG, defaults()), sort_keys=True, ensure_ascii=False)
    python = "python" if workflow.deployment_settings.deployment_method else sys.executable  # or the environment's
    return {
        "python": f"PYTHONPATH={shlex.quote(LIB)} {shlex.quote(python)}",
        "options": f"--config {shlex.quote(overlay)} --directory {shlex.quote(ROOT)}",
    }


def btxrd(command):
    """The shell command of a rule whose parameter `call` is the above."""
    return f"{{params.call[python]}} -m btxrd {command} {{params.call[options]}} --log {{log:q}}"


def settings(*keys):
    """The values of the keys that shape a rule's output, as one text: the order in the YAML does not matter."""
    return pick(CONFIG, keys)


def code(*modules):
    """The hash of library files whose change reruns a rule; a touch reruns nothing. No input: with a storage, Snakemake
    keeps a job that reads what is not stored there, as sources are not, on its own machine."""
    return hashlib.sha256(b"".join(Path(LIB, "btxrd", module).read_bytes() for module in modules)).hexdigest()


def library_files(folder):
    """All modules and templates in a folder of the library, for `code`."""
    return sorted(str(path.relative_to(Path(LIB) / "btxrd")) for path in Path(LIB, "btxrd", folder).glob("*.*"))


def split_file(name):
    """A result of a run of a split, with the wildcards left open: {run} is empty for the main run."""
    return str(paths.result(CONFIG, "{split}", name, run="{run}"))


def main_file(name):
    """A result of the main run of a split."""
    return str(paths.result(CONFIG, "{split}", name, run=""))


def checkpoint_file(which):
    """A checkpoint of a run of a split, with the wildcards left open."""
    return str(paths.checkpoint(CONFIG, "{split}", which, run="{run}"))


def seed_of(wildcards):
    """The seed that a run is trained with."""
    return int(wildcards.run.removeprefix("seed_").rstrip("/") or main_seed(CONFIG))


def run_of(wildcards):
    """What the command line must override to make a run of a split."""
    return f"training.split_strategy={wildcards.split} seed={seed_of(wildcards)}"


@cache
def config_of(split):
    """The configuration that a split is trained with."""
    return config_of_split(CONFIG, split)


def settings_of_run(*keys):
    """As `settings`, with the training and model keys and the seed of a run."""
    return lambda wildcards: pick(config_of(wildcards.split) | {"seed": seed_of(wildcards)}, keys)


def pretrained(wildcards):
    """The weights that the training of a split starts from, if from any."""
    file = paths.pretrained_weights(config_of(wildcards.split))
    return [str(file)] if file else []


def labels_of(key, value):
    """Labels of a result in the report, with the switch between splits and, where there are several, seeds."""

    def labels(wildcards):
        seed = {"Seed": str(seed_of(wildcards))} if CONFIG["replicates"] else {}
        return {key: value, "Split": wildcards.split, **seed}

    return labels


def split_tables():
    """The tables of a split, by partition, with the wildcard left open."""
    return {name: str(path) for name, path in paths.split_tables(CONFIG, "{split}").items()}


def cached_films():
    """The decoded films. A change in them shows in their index, which holds their hash."""
    films, ids, index = (str(path(CONFIG)) for path in (paths.cache_array, paths.cache_ids, paths.cache_index))
    return {"films": ancient(films), "ids": ancient(ids), "index": index}


SUMMARY = str(paths.split_summary(CONFIG, "{split}"))
METRICS_CODE = ("evaluation/bootstrap.py", "evaluation/judgement.py", "evaluation/metrics.py")
RESULTS = [  # of the main run; of further seeds, the metrics alone
    checkpoint_file("best"),
    checkpoint_file("final"),
    *map(split_file, ("training_log.csv", "training_curves.png", "loss_curve.png", "recall_curve.png")),
    *map(split_file, (*EVALUATION_FILES, *EXPLANATION_FILES)),
    main_file("baselines.json"),
]
FURTHER_RUNS = [f"seed_{seed}/" for seed in CONFIG["replicates"][1:]]


# With `--sdm apptainer` every rule runs in this image, made from envs/apptainer.def, in the working folder. It is named
# only then: a report lists what is named, used or not.
container: "btxrd.sif" if "apptainer" in map(str, workflow.deployment_settings.deployment_method) else None


wildcard_constraints:
    split="|".join(PLANS),
    run=r"(seed_\d+/)?",
