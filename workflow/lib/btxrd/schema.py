"""The schema of the configuration: the one place where keys, types, ranges and defaults are said."""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of the configuration."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # every call of Snakemake waits for this
    return yaml.load(SCHEMA_FILE.read_text(encoding="utf-8"), loader)


def defaults() -> dict[str, Any]:
    """The configuration of a person who changes nothing."""
    return _defaults_of(schema())


def split_defaults() -> dict[str, Any]:
    """What an entry of `splits` says where it says nothing."""
    return _defaults_of(schema()["properties"]["splits"]["additionalProperties"])


def _defaults_of(node: Mapping[str, Any]) -> Any:
    if "default" in node:
        return copy.deepcopy(node["default"])
    return {key: _defaults_of(child) for key, child in node["properties"].items()}
