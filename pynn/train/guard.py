"""The NaN guard: a loss or gradient that is not finite stops a run before the weights change."""

import numpy as np

from pynn import backend, dtypes
from pynn.anomaly import anomaly_mode


def all_finite(arrays) -> bool:
    """Whether no array (NumPy or CuPy, of floats) holds a NaN or infinity. Waits for a GPU once."""
    flags = [_finite(array) for array in arrays]
    if any(flag is False for flag in flags):
        return False
    on_device = [flag for flag in flags if flag is not True]
    return not on_device or bool(backend.array_module(on_device[0]).stack(on_device).all())


def _finite(array):
    """True or False for NumPy, a flag on the device for CuPy."""
    if not isinstance(array, np.ndarray):
        return backend.array_module(array).isfinite(array).all()
    if array.dtype in (dtypes.float32, dtypes.float64):
        flat = array.reshape(-1)
        with np.errstate(all="ignore"):
            if np.isfinite(
                flat.dot(flat)
            ):  # one pass of BLAS; it may overflow, so no proof of a fault
                return True
    return bool(np.isfinite(backend.widen(array)).all())


def explain(trainer, batches) -> str:
    """Where the first NaN or infinity of a step comes from, found by running it again.

    trainer  as it was before the step, random state included;  batches  those of the step
    """
    for i, tensor in enumerate(t for batch in batches for t in batch):
        if tensor.dtype in dtypes.FLOATS and not all_finite([tensor.data]):
            return f"the batch itself holds NaN or infinity, in its array {i % len(batches[0])}"
    for name, parameter in trainer.model.named_parameters():
        if not all_finite([parameter.data]):
            return f"the parameter {name} held NaN or infinity before the step"
    trainer.optimizer.zero_grad()
    try:
        with anomaly_mode():
            for batch in batches:
                trainer.forward(batch)[0].backward()
    except RuntimeError as error:
        return f"the first NaN: {error}"
    finally:
        trainer.optimizer.zero_grad()
    return "no op made a NaN out of numbers, a value grew beyond the dtype; a smaller lr may help"
