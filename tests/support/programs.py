"""Steps of a model's chain, planned for tests from a recipe alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellfarm.base.project import Project
from cellfarm.planning.chains import Chains, Program
from cellfarm.wanted.configuration import load, parse_recipe
from msgspec import structs

from .projects import CONFIG


def program_of(project: Project, document: Mapping[str, Any]) -> Program:
    """The program of a recipe, as no variant changes it."""
    recipe = parse_recipe(dict(document), "test")
    configuration = structs.replace(load(project, CONFIG, "test"), models={recipe.name: recipe})
    return Chains(project, configuration).program(recipe.name, configuration.variants["fp32"])
