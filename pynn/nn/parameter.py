"""Parameter: a tensor that a module trains."""

from pynn.tensor import Tensor


class Parameter(Tensor):
    """A tensor that requires a gradient and that a Module it is assigned to counts as its own.

    It keeps its identity when the module moves to another dtype or device: `data` changes instead,
    so that an optimizer made before still holds it.
    """

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"
