"""Give every cell of the working directory's farm a small result, and mark its report as up to date.

A script, run with the farm's own copy of the package on the path (see benchmarks.synthetic_farm).
"""

from __future__ import annotations

from cellfarm.base.project import Project
from cellfarm.planning.outlook import look
from cellfarm.snakemake.pipeline import report_state, warehouse_state, write_state
from cellfarm.store.results import Store
from cellfarm.wanted.configuration import load_file


def main() -> None:
    project = Project.here()
    outlook = look(project, load_file(project))
    store = Store(project.cells)
    for planned in outlook.cells:
        for measure, key in planned.measures.items():
            header = {"key": key, "measure": measure, "cell": planned.cell.as_dict()}
            causes = {"causes": planned.causes.get(measure, {}), "status": "ok"}
            store.commit(planned.cell, measure, key, header | causes, {"launches": []})
    # Planning looks whether the two files are there, not into them.
    page = project.reports / "index.html"
    for path in (project.warehouse, page):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = warehouse_state(look(project, load_file(project)).stored)
    write_state(project, warehouse=expected, report=report_state(expected), current=outlook.current)


if __name__ == "__main__":
    main()
