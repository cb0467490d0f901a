"""MNN on the CPU, through the session interface that its own benchmark uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_THREADS_INFO = 4  # Interpreter::THREAD_NUMBER
_BACKENDS_INFO = 2  # Interpreter::BACKENDS
_CPU_BACKENDS = {0, 13}  # MNN_FORWARD_CPU, and its build for wide vectors (CPU_EXTENSION)


def import_library() -> str:
    """Import MNN; return its version. The import prints the CPU's features on stdout."""
    import MNN

    return str(MNN.version())


class Session:
    """One loaded model.

    Args:
        artifact: the artifact's folder or the ``.mnn`` file.
        processor: ``cpu``.
        threads: threads of MNN's pool.
        inputs: ``name``, ``shape`` and ``dtype`` of each input.
        outputs: the same of each output.

    Raises:
        RuntimeError: an unknown processor, or a session on another one.
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

        if processor != "cpu":
            raise RuntimeError(f"mnn: no processor {processor!r}")
        path = Path(artifact)
        self._mnn = MNN
        self._interpreter = MNN.Interpreter(str(path / "model.mnn" if path.is_dir() else path))
        # "normal" may compute in half precision; "high" is full precision everywhere.
        self._session = self._interpreter.createSession(
            {"backend": "CPU", "numThread": threads, "precision": "high"}
        )
        backend = self._interpreter.getSessionInfo(self._session, _BACKENDS_INFO)
        if backend not in _CPU_BACKENDS:
            raise RuntimeError(f"mnn: the session runs on back end {backend}, not on the CPU")
        self._provider = f"cpu (back end {backend})"
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

        MNN gives an input's memory to later tensors, so it must be filled for every run: 0.03 ms
        for a picture of 224 x 224, and inside the time that MNN's own benchmark takes as well.
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
                # MNN keeps pictures with four channels side by side; this asks for plain NCHW.
                mnn.Tensor_DimensionType_Caffe,
            )
            result.copyToHostTensor(host)
            arrays.append(np.array(host.getNumpyData(), dtype=dtype).reshape(spec["shape"]))
        return arrays

    def actual(self) -> dict[str, Any]:
        """The settings as the session reports them."""
        import numpy as np

        # The binding hands an integer over as the float of the same bits.
        raw = self._interpreter.getSessionInfo(self._session, _THREADS_INFO)
        threads = int(np.float32(raw).view(np.int32))
        return {"threads": threads, "provider": self._provider}

    def _input(self, name: str) -> Any:
        target = self._interpreter.getSessionInput(self._session, name)
        if target is None:
            raise RuntimeError(f"mnn: no input {name!r}")
        return target
