"""Virtual devices that `cellfarm virtual` starts, and their faults."""

from __future__ import annotations

import shutil

import pytest
from cellfarm.base.errors import TransientDeviceError, UserError
from cellfarm.base.project import Project
from cellfarm.devices import open_device
from cellfarm.experiments.patience import Patience
from cellfarm.virtual.starting import inflict, virtual_board

pytestmark = pytest.mark.skipif(
    not shutil.which("sshd", path="/usr/sbin"), reason="no sshd is installed"
)


def test_faults_reach_a_device_in_a_deep_folder_and_say_what_there_is(tmp_path):
    """A socket's path has at most 107 bytes; a checkout's may be longer."""
    root = tmp_path / ("deep" * 20) / ("deeper" * 10)
    root.mkdir(parents=True)
    project = Project(root)
    with virtual_board(project, "board") as started:
        transport = open_device(started.device, project)
        transport.prepare()
        inflict(project, "board", "cut")
        with pytest.raises(TransientDeviceError):
            transport.read("x")
        Patience(30, print)(transport.prepare)
        transport.close()
        with pytest.raises(UserError, match=r"no fault 'melt'; it has .*change_key, cut"):
            inflict(project, "board", "melt")
    for name in ("board", "another"):
        with pytest.raises(UserError, match=f"no virtual device {name} runs"):
            inflict(project, name, "cut")


def test_two_devices_of_one_name_do_not_run_at_once(tmp_path):
    project = Project(tmp_path)
    with virtual_board(project, "board") as started:
        with (
            pytest.raises(UserError, match="board runs already: end it, or give another --name"),
            virtual_board(project, "board"),
        ):
            pass
        transport = open_device(started.device, project)
        assert transport.facts()["emulated"]  # the first one is as it was
        transport.close()
    with virtual_board(project, "board"):
        pass
