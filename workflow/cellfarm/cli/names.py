"""Names of users' files: models/<name>.yaml, devices/<name>.yaml."""

from __future__ import annotations

import contextlib
import re

import yaml

from ..base.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


def check_name(name: str) -> None:
    """Check the name of a model or a device.

    Raises:
        UserError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name {name!r}: expected letters, digits and _ . + -, and a letter or digit first"
        )
    if _is_number(name):
        raise UserError(f"the name {name} would be read as a number: give another --name")


def _is_number(name: str) -> bool:
    """Whether Snakemake's --config or a YAML file would read a name as a number."""
    with contextlib.suppress(ValueError):
        float(name)
        return True
    return isinstance(yaml.safe_load(name), int | float)
