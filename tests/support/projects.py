"""A test's own project: copies of the checkout's small files, without results."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from cellfarm.base.project import Project

REPOSITORY = Path(__file__).resolve().parents[2]

CONFIG: dict[str, Any] = {
    "models": ["squeezenet1_1"],
    "libraries": ["ncnn", "onnxruntime"],
    "devices": ["host"],
    "variants": ["fp32"],
    "processors": ["cpu"],
    "threads": [1],
    "protocol": "quick",
}


def make_project(root: Path) -> Project:
    """Copy the checkout's config, models, devices and locks to `root`."""
    for name in ("config", "models", "devices", "envs"):
        shutil.copytree(REPOSITORY / name, root / name)
    return Project(root)


def write_yaml(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path
