"""MNN by its session interface, as in its own benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import refusal  # type: ignore[import-not-found]

_THREADS_INFO = 4  # Interpreter::THREAD_NUMBER
_BACKENDS_INFO = 2  # Interpreter::BACKENDS
#: Names of back ends, and the MNNForwardType of a session on them. The first that a build has is used.
_BACKENDS = {
    "cpu": [("CPU", {0, 13})],  # 13: the CPU's build for wide vectors
    "gpu": [("OPENCL", {3}), ("METAL", {1}), ("VULKAN", {7})],
}


def import_library() -> str:
    """Import MNN; return its version. The import prints the CPU's features on stdout."""
    import MNN

    return str(MNN.version())


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder, with ``model.mnn`` or ``model.<variant>.mnn``.
        processor: ``cpu`` or ``gpu``.
        threads: threads of MNN's pool.
        inputs, outputs: ``name``, ``shape`` and ``dtype`` of each, in the model's order.

    Raises:
        RuntimeError: an unknown processor, or a model that does not load.
        Unsupported: the session runs on another processor.
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
        import MNN

        if processor not in _BACKENDS:
            raise RuntimeError(f"mnn: no processor {processor!r}")
        (path,) = Path(artifact).glob("model*.mnn")
        self._mnn = MNN
        self._interpreter = MNN.Interpreter(str(path))
        # "high" is full precision everywhere; with "normal" MNN chooses the precision of an fp16 model.
        precision = "normal" if path.name == "model.fp16.mnn" else "high"
        self._session, self._provider = self._create(processor, threads, precision)
        self._outputs = outputs
        self._targets = [self._input(spec["name"]) for spec in inputs]
        self._tensors: list[Any] = []
        self._arrays: list[Any] = []  # the memory of the tensors

    def set_inputs(self, arrays: list[Any]) -> None:
        """Keep the inputs for ``invoke``."""
        import numpy as np

        mnn = self._mnn
        self._tensors = []
        self._arrays = []
        for array in arrays:
            integers = array.dtype.kind in "iu"  # MNN's indices are 32 bit
            array = np.ascontiguousarray(array, dtype=np.int32 if integers else np.float32)
            kind = mnn.Halide_Type_Int if integers else mnn.Halide_Type_Float
            self._arrays.append(array)
            self._tensors.append(
                mnn.Tensor(array.shape, kind, array, mnn.Tensor_DimensionType_Caffe)
            )

    def invoke(self) -> None:
        """Fill the inputs and run the model once.

        MNN gives an input's memory to later tensors, so every run must fill it: 0.03 ms for a picture of
        224 x 224. MNN's own benchmark includes that time, too.
        """
        for target, tensor in zip(self._targets, self._tensors, strict=True):
            if not target.copyFrom(tensor):
                raise RuntimeError("mnn: an input does not fit")
        status = self._interpreter.runSession(self._session)
        if status != 0:
            raise RuntimeError(f"mnn: runSession failed with {status}")

    def get_outputs(self) -> list[Any]:
        """Copies of the outputs, in the model's order and shapes."""
        import numpy as np

        mnn = self._mnn
        arrays = []
        for spec in self._outputs:
            result = self._interpreter.getSessionOutput(self._session, spec["name"])
            shape = result.getShape()
            dtype = np.float32 if result.getDataType() == mnn.Halide_Type_Float else np.int32
            host = mnn.Tensor(
                shape,
                result.getDataType(),
                np.zeros(shape, dtype),
                # Plain NCHW; MNN itself keeps four channels of a picture side by side.
                mnn.Tensor_DimensionType_Caffe,
            )
            result.copyToHostTensor(host)
            arrays.append(np.array(host.getNumpyData(), dtype=dtype).reshape(spec["shape"]))
        return arrays

    def actual(self) -> dict[str, Any]:
        """The settings as the session reports them."""
        import numpy as np

        # The binding returns an integer as the float of the same bits.
        raw = self._interpreter.getSessionInfo(self._session, _THREADS_INFO)
        threads = int(np.float32(raw).view(np.int32))
        return {"threads": threads, "provider": self._provider}

    def _create(self, processor: str, threads: int, precision: str) -> tuple[Any, str]:
        """A session on the processor, and what it runs on.

        MNN uses the CPU if a build lacks the back end, and says so on stdout only.
        """
        for name, numbers in _BACKENDS[processor]:
            session = self._interpreter.createSession(
                {"backend": name, "numThread": threads, "precision": precision}
            )
            number = self._interpreter.getSessionInfo(session, _BACKENDS_INFO)
            if number in numbers:
                return session, f"{name.lower()} (back end {number})"
        tried = ", ".join(name for name, _ in _BACKENDS[processor])
        raise refusal.Unsupported(
            f"mnn: a session for {tried} runs on back end {number} instead: this build has no other"
        )

    def _input(self, name: str) -> Any:
        target = self._interpreter.getSessionInput(self._session, name)
        if target is None:
            raise RuntimeError(f"mnn: no input {name!r}")
        return target
