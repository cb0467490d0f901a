"""The facts of the devices that a plan is for, asked all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from ..base.errors import OutOfServiceError, PermanentError, TransientError
from ..base.files import read_object, write_atomically
from ..base.project import Project
from ..devices import open_device, refuse_low_battery
from ..wanted.configuration import Configuration
from ..wanted.devices import AnyDevice

#: Devices that are asked at a time.
_AT_ONCE = 16


def read_all_facts(
    project: Project, configuration: Configuration
) -> tuple[dict[str, dict[str, Any]], dict[str, PermanentError | TransientError]]:
    """The devices' facts, asked all at once; and of those that cannot be used, why.

    Of such a device the facts are those of the last time that it answered, if it ever did: its
    results stay current.
    """
    facts: dict[str, dict[str, Any]] = {}
    skipped: dict[str, PermanentError | TransientError] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # Threads wait for remote devices. On this machine they would only hinder each other.
        answers = {
            name: pool.submit(_ask, project, device)
            for name, device in configuration.devices.items()
            if not device.is_local
        }
        for name, device in configuration.devices.items():
            kept = project.results / "devices" / f"{name}.facts.json"
            try:
                facts[name] = _ask(project, device) if device.is_local else answers[name].result()
            except (TransientError, PermanentError) as error:
                skipped[name] = error
                last = read_object(kept)
                if last is not None:
                    facts[name] = last
                continue
            if not device.is_local and read_object(kept) != facts[name]:
                write_atomically(kept, msgspec.json.encode(facts[name]).decode() + "\n")
    return facts, skipped


def _ask(project: Project, device: AnyDevice) -> dict[str, Any]:
    if device.out_of_service:
        raise OutOfServiceError(f"out of service: {device.out_of_service}")
    transport = open_device(device, project)
    try:
        facts = transport.facts()
    finally:
        transport.close()
    refuse_low_battery(device, facts)
    return facts
