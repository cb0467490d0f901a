# From a config to a report of measured cells. This file makes the plan when Snakemake reads it: the DAG
# holds only stale work. The rules are in workflow/rules/; each runs one command of the package.
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from cellfarm.base.errors import CellfarmError
from cellfarm.snakemake.pipeline import Pipeline
from cellfarm.snakemake.running import (
    asks_for_report,
    end_at_sigterm,
    fail,
    forget_interrupted,
    let_devices_work_at_once,
    lift_rate_limit,
    report_files,
    source_of_config,
    take_pipeline_lock,
    tell_lost,
)

try:
    PIPELINE = Pipeline(config, source_of_config(workflow), workflow.is_main_process)
    reported = asks_for_report(sys.argv)
    TARGETS = MEASURED = []
    if reported:
        TARGETS = report_files(PIPELINE.project)
    elif workflow.is_main_process:
        TARGETS = PIPELINE.targets()
        MEASURED = PIPELINE.measured_targets()
except (CellfarmError, OSError) as error:
    fail(error)


wildcard_constraints:
    plan=r"[0-9a-f]{20}",
    current=r"[0-9a-f]{20}",
    situation=r"[0-9a-f]{20}",


rule all:
    default_target: True
    input:
        TARGETS,


# Everything except the report.
rule measured:
    input:
        MEASURED,


# Everything that measurements need, without measuring.
rule converted:
    input:
        ancient(lambda wildcards: PIPELINE.converted_targets()),


include: "workflow/rules/environments.smk"
include: "workflow/rules/downloads.smk"
include: "workflow/rules/artifacts.smk"
include: "workflow/rules/experiments.smk"
include: "workflow/rules/results.smk"


if workflow.is_main_process:
    forget_interrupted(PIPELINE.project)
    try:
        if not reported:
            PIPELINE.refuse_without_devices()
    except CellfarmError as error:
        fail(error)
    print(PIPELINE.describe(), file=sys.stderr)


onstart:
    end_at_sigterm()
    lift_rate_limit(workflow)
    let_devices_work_at_once(workflow, len(PIPELINE.device_names))
    try:
        take_pipeline_lock(PIPELINE.project)
        PIPELINE.announce()
    except CellfarmError as error:
        fail(error)


onsuccess:
    if TARGETS:
        from cellfarm.cli.summary import print_converted, print_summary

        try:
            if PIPELINE.is_measured():
                print_summary(PIPELINE.project)
            else:  # `snakemake converted`
                print_converted(PIPELINE.project, PIPELINE.converted_targets())
        except CellfarmError as error:
            # All cells are measured, but the warehouse is of an earlier version.
            print(f"cellfarm: {error}", file=sys.stderr)
    if not reported:
        tell_lost(PIPELINE.lost())


onerror:
    print(
        "cellfarm: not everything was done; what is finished is kept: start again",
        file=sys.stderr,
    )
