"""A variant: a chain of passes and a precision, with its tolerances; one file in config/variants/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from ..base import documents
from ..base.errors import UserError
from ..base.names import Precision
from ..base.project import PACKAGE
from ..measures.tolerances import Tolerance
from .pass_settings import declared_settings, fill_settings

VariantName = Annotated[
    str,
    Meta(
        max_length=100,
        pattern="^[a-z0-9][a-z0-9_]*$",
        description="the file's own name without .yaml: small letters, digits and '_'",
    ),
]
_Share = Annotated[float, Meta(ge=0, le=1)]


class Variant(Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to a model before a library runs it."""

    name: VariantName
    precision: Precision
    tolerance: Tolerance
    title: str | None = None
    passes: Annotated[
        tuple[dict[str, dict[str, Any]], ...],
        Meta(
            description="a list of passes, each as {name: settings}, in the order in which they are applied"
        ),
    ] = ()

    def __post_init__(self) -> None:
        for number, entry in enumerate(self.passes):
            if len(entry) != 1:
                raise ValueError(f"key 'passes[{number}]': expected {{name: settings}} of one pass")

    @property
    def chain(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """(name, settings) of each pass."""
        return tuple(next(iter(entry.items())) for entry in self.passes)


def read_variants(folder: Path, names: list[str], where: str) -> dict[str, Variant]:
    """The variants that a config names, by name.

    Raises:
        UserError: there is no file of a name, it is not what a variant asks for, there is no such pass, or a
            pass has no such settings.
    """
    return {name: _read(folder, name, where) for name in names}


def _read(folder: Path, name: str, where: str) -> Variant:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise UserError(
            f"{where}: unknown variant '{name}'{documents.suggestion(name, known)}: there is no "
            f"config/variants/{name}.yaml; there are: {', '.join(known) or 'none'}"
        )
    variant = documents.read(path, Variant)
    if variant.name != name:
        raise UserError(
            f"{path}: key 'name': expected '{name}', as the file is called; found '{variant.name}'"
        )
    passes_folder = PACKAGE / "passes"
    passes = sorted(file.stem for file in passes_folder.glob("[a-z]*.py"))
    filled = []
    for position, (name, settings) in enumerate(variant.chain):
        if name not in passes:
            raise UserError(
                f"{path}: key 'passes': unknown pass '{name}'{documents.suggestion(name, passes)}: "
                f"there is no workflow/cellfarm/passes/{name}.py; there are: {', '.join(passes) or 'none'}"
            )
        try:
            declared = declared_settings(passes_folder / f"{name}.py")
            filled.append({name: fill_settings(declared, settings)})
        except SyntaxError as error:
            file = f"workflow/cellfarm/passes/{name}.py:{error.lineno}"
            raise UserError(f"{file}: not valid Python: {error.msg}") from None
        except ValueError as error:
            raise UserError(f"{path}: key 'passes[{position}].{name}': {error}") from None
    return structs.replace(variant, passes=tuple(filled))
