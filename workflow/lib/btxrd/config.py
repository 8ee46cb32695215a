"""The configuration: read, merged, filled with defaults and checked against the schema, all problems at once."""

import copy
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from btxrd.errors import UserError, raise_all
from btxrd.plans import problems_of_splits, split_plans
from btxrd.schema import defaults, schema

ALIASES = {"center": "center_holdout"}
Config = dict[str, Any]


def load_config(sources: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Config:
    """Return the complete configuration.

    `sources` are YAML files, or JSON texts that start with `{`; each names only what it changes. `overrides`
    are `dotted.key=value` with YAML values. Raises UserError with every problem found.
    """
    given: Config = {}
    for source in sources:
        given = merged(given, _read(source))
    for override in overrides:
        given = merged(given, _parse_override(override))
    return complete(given)


def complete(given: Mapping[str, Any]) -> Config:
    """Fill `given` with the schema's defaults and check it; raises UserError with every problem found."""
    config = merged(defaults(), _with_numbers(dict(given), schema()))
    validator = Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.path])
    problems = [problem for error in errors for problem in _sentences(error)]
    raise_all(problems, "configuration")
    chosen = config["training"]["split_strategy"]
    config["training"]["split_strategy"] = ALIASES.get(chosen, chosen)
    raise_all([*problems_of_splits(config), *_problems_of_runs(config)], "configuration")
    return config


def config_of_split(config: Config, name: str) -> Config:
    """The configuration that a split is trained with: its own training and model keys over the common ones."""
    plan = split_plans(config)[name]
    return merged(config, {"training": {**plan.training, "split_strategy": name}, "model": plan.model})


def main_seed(config: Config) -> int:
    """The seed of the main run of every split: the first of several."""
    return config["replicates"][0] if config["replicates"] else config["seed"]


def _problems_of_runs(config: Config) -> Iterator[str]:
    if config["replicates"] and config["seed"] not in config["replicates"]:
        yield f"seed is {config['seed']}; with replicates it must be one of them: {config['replicates']}."
    for name, plan in split_plans(config).items():
        training = config["training"] | plan.training
        if training["warmup_epochs"] >= training["epochs"]:
            yield f"training.warmup_epochs must be less than training.epochs (split {name})."
        if training["batch_size"] % training["devices"]:
            yield f"training.batch_size must be a multiple of training.devices (split {name})."


def merged(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> Config:
    """A deep copy of `base` with the values of `overlay` laid over it, mapping by mapping."""
    result = copy.deepcopy(dict(base))
    for key, value in overlay.items():
        both_mappings = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both_mappings else copy.deepcopy(value)
    return result


def difference(config: Mapping[str, Any], base: Mapping[str, Any]) -> Config:
    """What an overlay must name to turn `base` into `config`."""
    result: Config = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            value = difference(value, base[key])
            if not value:
                continue
        elif value == base.get(key):
            continue
        result[key] = value
    return result


def pick(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The named dotted keys of `config` as one canonical JSON text, the same for any order of the YAML."""
    return json.dumps({key: _get(config, key) for key in keys}, sort_keys=True)


def training_keys() -> list[str]:
    """The keys that shape a trained model: a change in one of them retrains, and an old state is not gone on with."""
    indifferent = ("split_strategy", "checkpoint_minutes")
    training = (f"training.{key}" for key in defaults()["training"] if key not in indifferent)
    return ["seed", "data.image_size", "data.resize", "model", *training]


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _read(source: str | Path) -> Config:
    text = str(source)
    inline = text.lstrip().startswith("{")
    name = "the configuration on the command line" if inline else text
    if not inline:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror}); name a YAML file.") from None
    return _mapping_from_yaml(text, name)


def _parse_override(override: str) -> Config:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--override {override}: write it as section.key=value, e.g. training.epochs=10.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--override {override}: the value is not YAML.") from None
    for part in reversed(key.split(".")):
        parsed = {part: parsed}
    return parsed


def _mapping_from_yaml(text: str, name: str) -> Config:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise UserError(f"{name}{where}: not valid YAML ({getattr(error, 'problem', error)}).") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{name}: expected sections and keys, found {type(content).__name__}.")
    return content


def _with_numbers(value: Any, node: Mapping[str, Any]) -> Any:
    """Turn texts into numbers where numbers are due: YAML takes `3e-4` for a text, `snakemake --config` all values."""
    if isinstance(value, Mapping):
        children, other = node.get("properties", {}), node.get("additionalProperties") or {}
        return {key: _with_numbers(item, children.get(key, other)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, node.get("items", {})) for item in value]
    if isinstance(value, str) and _is_number(node):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(number) if number.is_integer() and "integer" in str(node["type"]) else number
    return value


def _is_number(node: Mapping[str, Any]) -> bool:
    kinds = node.get("type", ())
    return bool({"number", "integer"} & set([kinds] if isinstance(kinds, str) else kinds))


def _sentences(error: ValidationError) -> Iterator[str]:
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        for key in sorted(set(map(str, error.instance)) - set(known)):
            name = f"{where}.{key}" if where else key
            yield f"{name} is unknown; {_nearest(key, known)}"
    elif error.validator == "anyOf":
        yield f"{where} is {error.instance!r}; it must be {error.schema['title']}."
    elif error.validator == "enum":
        allowed = ", ".join(str(value) for value in error.validator_value if value is not None)
        yield f"{where} is {error.instance!r}; it must be one of {allowed}."
    elif error.validator == "required":
        yield f"{where}: {error.message}."
    else:
        yield f"{where} is {error.instance!r}; it must {_requirement(error)}."


def _nearest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}."


def _requirement(error: ValidationError) -> str:
    value = error.validator_value
    words = {
        "type": lambda: "be of type " + (" or ".join(value) if isinstance(value, list) else value),
        "minimum": lambda: f"be at least {value}",
        "exclusiveMinimum": lambda: f"be greater than {value}",
        "maximum": lambda: f"be at most {value}",
        "exclusiveMaximum": lambda: f"be less than {value}",
        "const": lambda: f"be {value}",
        "minLength": lambda: "not be empty",
        "minItems": lambda: f"have {value} entries",
        "maxItems": lambda: f"have {value} entries",
        "pattern": lambda: f"match {value}",
        "not": lambda: f"be none of {', '.join(value['enum'])}",
    }
    return words[error.validator]() if error.validator in words else f"satisfy: {error.message}"
