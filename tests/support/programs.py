"""Plans the steps of a model's chain from a recipe alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellfarm.base.project import Project
from cellfarm.planning.chains import Chains, Program
from cellfarm.wanted.configuration import load, parse_recipe
from msgspec import structs

from .projects import CONFIG


def program_of(project: Project, document: Mapping[str, Any], variant: str = "fp32") -> Program:
    """The program of a recipe after the passes of a variant; `fp32` has none."""
    recipe = parse_recipe(dict(document), "test")
    loaded = load(project, CONFIG | {"variants": [variant]}, "test")
    configuration = structs.replace(loaded, models={recipe.name: recipe})
    return Chains(project, configuration).program(recipe.name, configuration.variants[variant])
