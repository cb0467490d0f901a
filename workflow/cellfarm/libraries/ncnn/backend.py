"""ncnn on the CPU, in full precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# ncnn's tensors have no batch dimension: its three (or four) are channels, height and width.
_BATCH = 1


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
        artifact: the artifact's folder, with ``model.ncnn.param`` and ``model.ncnn.bin``.
        processor: ``cpu``.
        threads: OpenMP threads.
        inputs: ``name``, ``shape`` and ``dtype`` of each input; the first size of a shape is 1.
        outputs: the same of each output.

    Raises:
        RuntimeError: an unknown processor, a batch that is not 1, or files that do not load.
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

        if processor != "cpu":
            raise RuntimeError(f"ncnn: no processor {processor!r}")
        for spec in inputs:
            if spec["shape"][0] != _BATCH:
                raise RuntimeError(f"ncnn: input {spec['name']!r}: its batch must be 1")
        self._ncnn = ncnn
        self._outputs = outputs
        self._net = net = ncnn.Net()
        options = net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        # On arm64 ncnn computes in half precision unless it is told not to.
        options.use_fp16_packed = False
        options.use_fp16_storage = False
        options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        folder = Path(artifact)
        # Options must stand before load_param: layers pick their implementation there.
        if net.load_param(str(folder / "model.ncnn.param")) != 0:
            raise RuntimeError("ncnn: the .param file does not load")
        if net.load_model(str(folder / "model.ncnn.bin")) != 0:
            raise RuntimeError("ncnn: the .bin file does not load")
        self._input_blobs = [f"in{position}" for position in range(len(inputs))]
        self._output_blobs = [f"out{position}" for position in range(len(outputs))]
        self._mats: list[Any] = []
        self._results: list[Any] = []

    def set_inputs(self, arrays: list[Any]) -> None:
        """Copy the inputs into ncnn's own memory; layers do not write to what is still referred to."""
        import numpy as np

        self._mats = []
        for array in arrays:
            # Indices are 32 bit in ncnn.
            dtype = np.int32 if array.dtype.kind in "iu" else np.float32
            self._mats.append(self._ncnn.Mat(np.ascontiguousarray(array[0], dtype=dtype)).clone())

    def invoke(self) -> None:
        """Run the model once: an extractor computes each blob only once, so each run needs one."""
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
        """The settings as the net holds them."""
        return {"threads": self._net.opt.num_threads, "provider": "cpu"}
