"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cellfarm.base.locking import file_lock
from hypothesis import settings

from tests.support import cache
from tests.support.farm import Farm

# How long an example takes says more about the machine than about the code.
settings.register_profile("cellfarm", deadline=None)
settings.load_profile("cellfarm")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("CELLFARM_ENVIRONMENTS", str(cache.environments()))


@pytest.fixture(scope="session")
def measured_farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """A farm whose four cells are measured once for all of pytest's workers; tests take a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    root = shared / "measured-farm"
    with file_lock(shared / "measured-farm.lock"):
        if (root / "reports/index.html").is_file():
            return Farm(root)
        shutil.rmtree(root, ignore_errors=True)
        farm = Farm.create(root)
        cache.take_steps(root / "results")
        farm.run()
        cache.keep_steps(root / "results")
        return farm


@pytest.fixture
def farm(measured_farm: Farm, tmp_path: Path) -> Iterator[Farm]:
    """A copy of the measured farm, which a test may change."""
    copy = measured_farm.copy(tmp_path / "farm")
    yield copy
    for process in copy.processes():
        process.kill()
    cache.keep_steps(copy.root / "results")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI a skipped test is a failure: report it in the summary."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("CI"):
        terminalreporter.write_line(f"{len(skipped)} tests were skipped, which CI does not allow")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
