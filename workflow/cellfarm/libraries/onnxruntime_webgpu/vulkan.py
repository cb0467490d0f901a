"""The Vulkan devices, because ONNX Runtime does not name the device that it uses."""

from __future__ import annotations

import ctypes
from typing import Any

# From vulkan_core.h: VkStructureType, VkPhysicalDeviceType and the layout of the structures.
_INSTANCE_CREATE_INFO = 1
_CPU = 4
_PREFERRED = (2, 1, 3)  # discrete, integrated, virtual: Dawn's order for high performance
_MAX_DEVICES = 16
_NAME_BYTES = 256
_PROPERTIES_BYTES = 4096  # VkPhysicalDeviceProperties has 824


class _InstanceCreateInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("next", ctypes.c_void_p),
        ("flags", ctypes.c_uint32),
        ("application", ctypes.c_void_p),
        ("layers", ctypes.c_uint32),
        ("layer_names", ctypes.c_void_p),
        ("extensions", ctypes.c_uint32),
        ("extension_names", ctypes.c_void_p),
    )


class _Properties(ctypes.Structure):
    _fields_ = (
        ("api_version", ctypes.c_uint32),
        ("driver_version", ctypes.c_uint32),
        ("vendor", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("name", ctypes.c_char * _NAME_BYTES),
        ("more", ctypes.c_uint8 * (_PROPERTIES_BYTES - 20 - _NAME_BYTES)),
    )


def used_device() -> dict[str, Any]:
    """The device that Dawn, on which ONNX Runtime's WebGPU is built, uses.

    Returns:
        ``device``: its name, or None if several are alike. ``emulated``: whether it is software on the
        CPU. Empty without Vulkan, because Dawn uses another interface then.
    """
    return choose(devices())


def choose(candidates: list[tuple[int, str]]) -> dict[str, Any]:
    """The device that Dawn prefers among devices of a kind and name."""
    for kind in (*_PREFERRED, *{kind for kind, _ in candidates if kind not in _PREFERRED}):
        names = [name for other, name in candidates if other == kind]
        if names:
            return {"device": names[0] if len(names) == 1 else None, "emulated": kind == _CPU}
    return {}


def devices() -> list[tuple[int, str]]:
    """Kind and name of each Vulkan device; none without a loader or a driver."""
    try:
        loader = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return []
    instance = ctypes.c_void_p()
    info = _InstanceCreateInfo(kind=_INSTANCE_CREATE_INFO)
    if loader.vkCreateInstance(ctypes.byref(info), None, ctypes.byref(instance)) != 0:
        return []
    try:
        count = ctypes.c_uint32(_MAX_DEVICES)
        handles = (ctypes.c_void_p * _MAX_DEVICES)()
        if loader.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles) < 0:
            return []
        kinds_and_names = []
        for handle in handles[: count.value]:
            properties = _Properties()
            loader.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), ctypes.byref(properties))
            name = properties.name.decode(errors="replace")
            kinds_and_names.append((properties.kind, name))
        return kinds_and_names
    finally:
        loader.vkDestroyInstance(instance, None)
