"""Runs an experiment: takes the device, measures, writes the experiment's record."""

from __future__ import annotations

from typing import Any

from ..base.errors import (
    PermanentDeviceError,
    TransientDeviceError,
    TransientError,
    TransientHostError,
)
from ..base.locking import file_lock, machine_lock_path
from ..devices import Transport, open_device, patience_s, refuse_low_battery
from ..devices.activity import ATTENTION, IDLE
from .experiment import Experiment, now
from .host_share import HostShare
from .measuring import Measuring
from .patience import Patience


def run_experiment(experiment: Experiment) -> None:
    """Measure what has no result yet, and write the experiment's record.

    If the device is lost, the record says so; what was finished is kept.

    Raises:
        TransientHostError: a result could not be written.
    """
    progress = experiment.progress
    description = experiment.plan.devices[experiment.device]
    transport = open_device(description, experiment.project)
    patience = Patience(patience_s(description), progress.note)
    name = "host" if transport.is_host else f"device-{experiment.device}"
    with file_lock(machine_lock_path(name), on_wait=progress.waiting) as lock:
        record: dict[str, Any] = {"started_at": now()}
        try:
            measure(experiment, transport, lock, patience, record)
        except (TransientDeviceError, PermanentDeviceError) as error:
            record |= {"lost": str(error), "may_come_back": isinstance(error, TransientError)}
            progress.note(f"given up: {error}")
        except OSError as error:
            raise TransientHostError(
                f"a result could not be written: {error.strerror} ({error.filename}); "
                "what was measured so far is kept: make room and start again"
            ) from error
        finally:
            transport.release_control()
            transport.close()
            progress.close(ATTENTION if "lost" in record else IDLE, record.get("lost"))
        experiment.write_record(record)


def measure(
    experiment: Experiment,
    transport: Transport,
    lock: int,
    patience: Patience,
    record: dict[str, Any],
) -> None:
    """Make all rounds, and fill the experiment's record, also if an error ends them."""
    with HostShare(not transport.is_host, experiment.progress.waiting_for_host) as share:
        # This also restores a governor that a killed run left changed.
        patience(share.during(transport.prepare))
        facts = patience(share.during(transport.facts))
        record["device_facts"] = dict(facts)
        refuse_low_battery(experiment.plan.devices[experiment.device], facts)
        governor = experiment.protocol.governor
        record["control"] = patience(share.during(lambda: transport.take_control(governor)))
        measuring = Measuring(experiment, transport, facts, lock, patience)
        measuring.deploy_all(share)
    record["rounds"] = measuring.orders
    try:
        measuring.run()
    finally:
        record["waited_s"] = measuring.gates.waited_s
        record["speed"] = measuring.speed.as_dict(experiment.tolerance)
