"""ncnn on the CPU, and on the GPU through Vulkan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import refusal  # type: ignore[import-not-found]

# ncnn's tensors have no batch dimension: its three (or four) are channels, height and width.
_BATCH = 1
_SOFTWARE = 3  # VkPhysicalDeviceType: the device is the CPU
#: The options for half precision, which fp32 and int8 must not use.
_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
#: Layers that compute nothing, and run wherever their neighbours do.
_NO_WORK = frozenset({"Input", "MemoryData", "Split", "Noop"})


def import_library() -> str:
    """Import ncnn; return the version of its package.

    ``ncnn.__version__`` of a build from source is the day of the build.
    """
    from importlib.metadata import version

    import ncnn  # noqa: F401

    return version("ncnn")


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder, with ``model.ncnn.*`` or ``model.<variant>.ncnn.*``.
        processor: ``cpu``, or ``gpu`` for Vulkan's best device.
        threads: OpenMP threads.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor, a batch that is not 1, or files that do not load.
        Unsupported: Vulkan finds no device, ncnn would run layers on the CPU, or the GPU has no half
            precision.
    """

    def __init__(
        self,
        artifact: str,
        *,
        processor: str,
        threads: int,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
    ) -> None:
        import ncnn

        if processor not in ("cpu", "gpu"):
            raise RuntimeError(f"ncnn: no processor {processor!r}")
        for spec in inputs:
            if spec["shape"][0] != _BATCH:
                raise RuntimeError(f"ncnn: input {spec['name']!r}: its batch must be 1")
        (param,) = Path(artifact).glob("model*.ncnn.param")
        half = param.name.startswith("model.fp16.")
        self._ncnn = ncnn
        self._outputs = outputs
        self._net = net = ncnn.Net()
        options = net.opt
        options.num_threads = threads
        for option in _HALF:
            # By default ncnn computes in half precision on processors that can.
            setattr(options, option, half)
        options.use_bf16_storage = False
        options.use_vulkan_compute = processor == "gpu"
        self._device = _device(ncnn, net) if processor == "gpu" else None
        # Options must be set before load_param, where layers choose their implementation.
        if net.load_param(str(param)) != 0:
            raise RuntimeError("ncnn: the .param file does not load")
        if net.load_model(str(param.with_suffix(".bin"))) != 0:
            raise RuntimeError("ncnn: the .bin file does not load")
        if processor == "gpu":
            _check_gpu(net, half)
        self._input_blobs = [f"in{position}" for position in range(len(inputs))]
        self._output_blobs = [f"out{position}" for position in range(len(outputs))]
        self._mats: list[Any] = []
        self._results: list[Any] = []

    def set_inputs(self, arrays: list[Any]) -> None:
        """Copy the inputs to ncnn's memory; layers do not write to memory that is referred to."""
        import numpy as np

        self._mats = []
        for array in arrays:
            # Indices are 32 bit in ncnn.
            dtype = np.int32 if array.dtype.kind in "iu" else np.float32
            self._mats.append(self._ncnn.Mat(np.ascontiguousarray(array[0], dtype=dtype)).clone())

    def invoke(self) -> None:
        """Run the model once. An extractor computes a blob only once, so each run needs a new one.

        On the GPU this includes the copies of the inputs and outputs.
        """
        extractor = self._net.create_extractor()
        for blob, mat in zip(self._input_blobs, self._mats, strict=True):
            extractor.input(blob, mat)
        results = []
        for blob in self._output_blobs:
            status, mat = extractor.extract(blob)
            if status != 0:
                raise RuntimeError(f"ncnn: extracting {blob} failed with {status}")
            results.append(mat)
        self._results = results

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        import numpy as np

        return [
            np.array(mat).reshape(spec["shape"])
            for mat, spec in zip(self._results, self._outputs, strict=True)
        ]

    def actual(self) -> dict[str, Any]:
        """The net's settings; on the GPU also the device, and whether it is software."""
        options = self._net.opt
        actual = {
            "threads": options.num_threads,
            "provider": "vulkan" if options.use_vulkan_compute else "cpu",
            "half": {name: bool(getattr(options, name)) for name in _HALF},
        }
        if self._device is not None:
            actual["device"] = self._device.device_name()
            actual["emulated"] = self._device.type() == _SOFTWARE
        return actual


def _device(ncnn: Any, net: Any) -> Any:
    """Give the net Vulkan's best device; return ncnn's description of the device."""
    if not hasattr(ncnn, "get_gpu_count"):
        raise refusal.Unsupported("ncnn: this build has no Vulkan")
    if ncnn.get_gpu_count() < 1:
        raise refusal.Unsupported("ncnn: Vulkan finds no device")
    index = ncnn.get_default_gpu_index()  # a real device rather than a software one
    net.set_vulkan_device(index)
    return ncnn.get_gpu_info(index)


def _check_gpu(net: Any, half: bool) -> None:
    """Raise if a part of the net would not run on the GPU, or not in the precision of the variant."""
    if not net.opt.use_vulkan_compute:
        raise refusal.Unsupported("ncnn: the net runs on the CPU")
    # Layers without an implementation for Vulkan run on the CPU without a word.
    lacking = {
        layer.type
        for layer in net.layers()
        if not layer.support_vulkan and layer.type not in _NO_WORK
    }
    if lacking:
        raise refusal.Unsupported(
            f"ncnn runs {', '.join(sorted(lacking))} on the CPU, not by Vulkan"
        )
    if half and not (net.opt.use_fp16_storage or net.opt.use_fp16_packed):
        raise refusal.Unsupported("ncnn: the GPU has no half precision")
