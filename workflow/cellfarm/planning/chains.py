"""The chain of steps from a recipe to an artifact, each named by a digest of its causes.

    environment, download -> model -> (derived model) -> (exports) -> artifact

A step is made once however many cells need it, so that planning costs what there is to do, and little more
for each cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from ..base.code import PlannedCode, place_of
from ..base.digests import digest
from ..base.errors import UserError
from ..base.names import Format
from ..base.project import Project
from ..base.records import RECORD
from ..conversion.routes import (
    EDGES,
    READ_IN,
    choose,
    exporter_of,
    model_formats,
    native_format,
    route,
    worker_entries,
)
from ..conversion.steps import (
    ArtifactStep,
    DeriveStep,
    DownloadStep,
    EnvironmentStep,
    ExportStep,
    ModelStep,
    Step,
)
from ..envs.downloads import weights_download
from ..envs.environments import (
    MODELS_ENVIRONMENT,
    identify_lock,
    library_environment,
    locate,
    lock_of,
)
from ..libraries import Library, all_libraries
from ..wanted import tools
from ..wanted.configuration import Configuration
from ..wanted.contents import named_files, sha256
from ..wanted.labelled_pictures import identity
from ..wanted.recipes import Recipe
from ..wanted.variants import Variant

_RESULTS = "results"
#: Titles are for people; nothing measured depends on them.
_FOR_PEOPLE = ("title",)
#: Where a user's file stands; what is in it counts.
_PLACES = ("file", "path")


class Program(Struct, frozen=True):
    """A model's files, built or derived, and what their digest covers.

    Args:
        native: the format that they are in.
        step: what fills the folder.
        labelled: the digest of the labelled pictures; empty without any.
    """

    model: str
    native: Format
    step: ModelStep | DeriveStep
    labelled: str = ""

    @property
    def digest(self) -> str:
        return self.step.id.rpartition("/")[2]


class Chains:
    """The steps of a configuration, made as they are asked for."""

    def __init__(self, project: Project, configuration: Configuration) -> None:
        self._project = project
        self._configuration = configuration
        self._environments: dict[str, EnvironmentStep] = {}
        #: every step, by the path of its record
        self._steps: dict[str, Step] = {}
        self._converters: dict[str, PlannedCode] = {}
        self._programs: dict[tuple[str, str], Program] = {}
        self._artifacts: dict[tuple[str, str, str, str], ArtifactStep] = {}

    def environment(self, name: str) -> EnvironmentStep:
        """The step that builds an environment."""
        if name not in self._environments:
            located = locate(self._project, name)
            output = self._project.relative(located.record)
            step = EnvironmentStep(id=located.folder.name, output=output, name=name)
            self._environments[name] = self._steps[output] = step
        return self._environments[name]

    def program(self, model: str, variant: Variant) -> Program:
        """A model after a variant's passes.

        Raises:
            UserError: a file or folder that its recipe names is not there, or is of no known form.
        """
        place = (model, digest([list(link) for link in variant.chain]) if variant.chain else "")
        if place not in self._programs:
            if variant.chain:
                plain = Variant(variant.name, variant.precision, variant.tolerance)
                self._programs[place] = self._derive(self.program(model, plain), variant)
            else:
                self._programs[place] = self._build(self._configuration.models[model])
        return self._programs[place]

    def artifact(
        self, program: Program, variant: Variant, library: str, version: str
    ) -> ArtifactStep:
        """The step that converts a program for a library."""
        place = (program.step.id, variant.name, library, version)
        if place not in self._artifacts:
            step = self._convert(program, variant, all_libraries()[library], version)
            self._artifacts[place] = self._steps[step.output] = step
        return self._artifacts[place]

    def converted(
        self, model: str, variant: str, library: str, version: str
    ) -> tuple[Program, ArtifactStep]:
        """A model after a variant's passes, and the step that converts it for a library."""
        chain = self._configuration.variants[variant]
        program = self.program(model, chain)
        return program, self.artifact(program, chain, library, version)

    def steps_of(self, artifact: str, needs: Iterable[str]) -> list[Step]:
        """All steps that lead to an artifact, and those of environments, the first first.

        Args:
            artifact: its folder.
            needs: names of environments.
        """
        ordered: dict[str, Step] = {}
        for name in needs:
            self._add(self.environment(name).output, ordered)
        self._add(f"{artifact}/{RECORD}", ordered)
        return list(ordered.values())

    def _add(self, output: str, ordered: dict[str, Step]) -> None:
        if output not in ordered:
            step = self._steps[output]
            for before in step.inputs:
                self._add(before, ordered)
            ordered[output] = step

    # -- the steps ------------------------------------------------------------------------------

    def _build(self, recipe: Recipe) -> Program:
        project = self._project
        try:
            native = native_format(recipe)
        except ValueError as error:
            raise UserError(f"models/{recipe.name}.yaml: key 'file': {error}") from None
        files = named_files(project, recipe)
        contents = {
            what: sha256(project, path) for what, path in files.items() if what != "labelled"
        }
        pictures = identity(project, recipe) if recipe.labelled else ""
        entries, module = worker_entries(recipe, native)
        code = PlannedCode.of(entries, ("models",))
        names = _environments(native) if recipe.is_file else [MODELS_ENVIRONMENT]
        locks = [identify_lock(lock_of(project, name)) for name in names]
        described = digest([_described(recipe, pictures), native, contents])
        identity_ = digest(["model", described, code.digest, locks])
        output = f"{_RESULTS}/models/{recipe.name}/{identity_}/{RECORD}"
        download = self._download(recipe)
        if download:
            files["weights"] = project.results / "downloads" / download.sha256
        environment = self.environment(MODELS_ENVIRONMENT)
        step = ModelStep(
            id=f"{recipe.name}/{identity_}",
            output=output,
            inputs=(environment.output, *([download.output] if download else [])),
            environment=environment.name,
            code=code,
            recipe=recipe,
            module=module,
            files={what: project.relative(path) for what, path in files.items()},
            download=download.folder if download else None,
        )
        self._steps[output] = step
        return Program(recipe.name, native, step, pictures)

    def _download(self, recipe: Recipe) -> DownloadStep | None:
        wanted = weights_download(recipe)
        if wanted is None:
            return None
        output = f"{_RESULTS}/downloads/{wanted.name}/{RECORD}"
        step = DownloadStep(
            id=wanted.name, output=output, model=recipe.name, url=wanted.url, sha256=wanted.sha256
        )
        self._steps[output] = step
        return step

    def _derive(self, parent: Program, variant: Variant) -> Program:
        entries = ["models/worker.py", "models/apply_passes.py"]
        entries += [f"passes/{name}.py" for name, _ in variant.chain]
        if parent.labelled:
            entries.append("models/labelled.py")
        code = PlannedCode.of(entries, ("models", "."))
        environment = self.environment(MODELS_ENVIRONMENT)
        lock = identify_lock(lock_of(self._project, MODELS_ENVIRONMENT))
        chain = [list(link) for link in variant.chain]
        identity_ = digest(["derive", parent.step.id, chain, code.digest, lock])
        refusal = None
        if "pt2" not in model_formats(parent.native):
            refusal = f"passes change PyTorch programs; the model is a {parent.native} file"
        step = DeriveStep(
            id=f"{parent.model}/{variant.name}/{identity_}",
            output=f"{_RESULTS}/derived/{parent.model}/{variant.name}/{identity_}/{RECORD}",
            inputs=(environment.output, parent.step.output),
            environment=environment.name,
            code=code,
            model=parent.model,
            parent=parent.step.folder,
            passes=variant.chain,
            refusal=refusal,
        )
        self._steps[step.output] = step
        return Program(parent.model, "pt2", step, parent.labelled)

    def _export(self, program: Program, form: Format) -> ExportStep:
        steps = route(program.native, form)
        assert steps is not None and len(steps) > 1
        before = steps[-2]
        earlier = None if before in model_formats(program.native) else self._export(program, before)
        source = earlier or program.step
        module = exporter_of(before, form)
        code = PlannedCode.of(("models/worker.py", f"models/{module}.py"), ("models",))
        environment = self.environment(EDGES[before, form])
        lock = identify_lock(lock_of(self._project, environment.name))
        exporter = digest([earlier.exporter if earlier else "", form, code.digest, lock])
        identity_ = digest(["export", source.id, exporter])
        output = f"{_RESULTS}/exports/{program.model}/{form}/{identity_}/{RECORD}"
        inputs = dict.fromkeys((environment.output, program.step.output, source.output))
        step = ExportStep(
            id=f"{program.model}/{form}/{identity_}",
            output=output,
            inputs=tuple(inputs),
            environment=environment.name,
            code=code,
            model=program.model,
            module=module,
            program=program.step.folder,
            source=source.folder,
            source_format=before,
            format=form,
            exporter=exporter,
        )
        self._steps[output] = step
        return step

    def _convert(
        self, program: Program, variant: Variant, library: Library, version: str
    ) -> ArtifactStep:
        form = choose(program.native, library.sources)
        export = (
            None
            if form is None or form in model_formats(program.native)
            else self._export(program, form)
        )
        source = export or program.step
        own = library_environment(library.name, version, "convert")
        environment = self.environment(READ_IN.get(form or "", own))
        on_host = tools.of_library(self._configuration.config.tools, library.name)
        if library.name not in self._converters:
            self._converters[library.name] = converter_code(library)
        code = self._converters[library.name]
        converter = digest(
            [
                code.digest,
                identify_lock(lock_of(self._project, environment.name)),
                library.variables,
                tools.counted(library, on_host, "convert"),
                form,
                variant.precision,
            ]
        )
        reference = f"{library.name}@{version}"
        identity_ = digest(["artifact", source.id, converter])
        place = f"{reference}/{program.model}/{variant.name}/{identity_}"
        inputs = dict.fromkeys((environment.output, program.step.output, source.output))
        return ArtifactStep(
            id=place,
            output=f"{_RESULTS}/artifacts/{place}/{RECORD}",
            inputs=tuple(inputs),
            environment=environment.name,
            code=code,
            model=program.model,
            library=library.name,
            version=version,
            variant=variant.name,
            precision=variant.precision,
            program=program.step.folder,
            source=source.folder,
            source_format=form,
            native=program.native,
            exporter=export.exporter if export else "",
            converter=converter,
            tools=on_host,
        )


def converter_code(library: Library) -> PlannedCode:
    """The code of a library's converter, with what drives it."""
    entries = ("conversion/worker.py", place_of(library.converter))
    return PlannedCode.of(entries, (place_of(library.folder), "conversion"))


def _described(recipe: Recipe, pictures: str) -> dict[str, Any]:
    """What of a recipe counts: not its title, nor where its files stand."""
    described = _without(recipe.as_dict(), (*_FOR_PEOPLE, *_PLACES, "labelled"))
    if pictures:
        described["labelled"] = pictures
    if "weights" in described:
        described["weights"] = _without(described["weights"], _PLACES)
    return described


def _environments(native: Format) -> list[str]:
    """The environments that a user's file passes through on its way to any format."""
    onward = {name for (start, _), name in EDGES.items() if route(native, start)}
    return sorted({MODELS_ENVIRONMENT, *onward})


def _without(document: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in names}
