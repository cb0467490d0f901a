"""Snakemake's own process must be idle while something is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cellfarm.base.project import PACKAGE

SNAKEFILE = """
import sys
sys.path.insert(0, {package!r})
from cellfarm.snakemake.running import lift_rate_limit

rule all:
    input: "measured1", "measured2"

rule step:
    output: "step{{n}}"
    shell: "touch {{output}}"

rule measure:
    input: expand("step{{n}}", n=range(8))
    output: "measured{{k}}"
    shell: "sleep 4; touch {{output}}"

onstart:
    lift_rate_limit(workflow)
"""


def test_the_scheduler_wakes_for_its_jobs_alone(tmp_path: Path):
    """With the limit it selects jobs 46 times here, and more often in longer runs."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(package=str(PACKAGE.parent)))
    completed = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--verbose", "--scheduler", "greedy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
    selections = (completed.stdout + completed.stderr).count("Resources before job selection")
    assert 9 <= selections <= 20, selections


DEVICES = """
import sys
sys.path.insert(0, {package!r})
from cellfarm.snakemake.running import let_devices_work_at_once

rule all:
    input: expand("measured{{n}}", n=range(12))

rule measure:
    output: "measured{{n}}"
    threads: 0
    # A job ends once all twelve run: if one waits for another, none ends.
    shell:
        "touch here{{wildcards.n}}; "
        "until [ $(ls here* | wc -l) = 12 ]; do sleep 0.1; done; touch {{output}}"

onstart:
    let_devices_work_at_once(workflow, 12)
"""


def test_every_device_has_its_job_at_once(tmp_path: Path):
    (tmp_path / "Snakefile").write_text(DEVICES.format(package=str(PACKAGE.parent)))
    completed = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--scheduler", "greedy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stderr[-2000:]
