"""The libraries that run a case: pynn, and its peers, each optional and found at run time.

Peers by name, best first where several answer the same question:

    torch          PyTorch eager; cuDNN in benchmark mode, float32 matrix products in full float32
    cublaslt       PyTorch eager with cuBLASLt in place of cuBLAS
    compile        torch.compile, mode max-autotune-no-cudagraphs: Triton's kernels, tuned
    fused          PyTorch's fused optimizers
    cudnn, flash   PyTorch's scaled_dot_product_attention by that backend
    cupy           pynn's reference run by CuPy: what the kernels are worth over array text
"""

import contextlib
import importlib
import importlib.util

import numpy as np

import pynn
import pynn.functional
import pynn.nn
from pynn import backend, kernels, optim


class AbsentError(Exception):
    """A peer that cannot run here, or not this case; the message says why."""


class Pynn:
    """pynn: by its kernels ("native", or "gemm:sm80" for one variant of a family of kernels), by
    the reference on NumPy or CuPy ("reference"), or in the simulator ("sim").

    Raises ValueError for another variant.
    """

    def __init__(self, device, variant="reference"):
        self.name, self.device = "pynn", device
        self.family, _, self.preferred = variant.rpartition(":")
        if self.family:
            kernels.prefer(self.family, self.preferred).__exit__()  # a wrong name is an error now
        elif variant not in backend.KERNELS:
            words = ", ".join([*backend.KERNELS, "gemm:NAME"])
            raise ValueError(f"[bench] variant: expected one of {words}, got {variant!r}")
        self.kernels = "native" if self.family else variant

    @contextlib.contextmanager
    def ready(self):
        """What must hold while calls are prepared and run."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(pynn.use_kernels(self.kernels))
            if self.family:
                stack.enter_context(kernels.prefer(self.family, self.preferred))
            yield

    def function(self, case):
        return lambda *tensors: case.run(pynn.functional, *tensors)

    def tensor(self, array, requires_grad=False):
        return pynn.Tensor(array, requires_grad=requires_grad and array.dtype.kind not in "iub")

    def no_grad(self):
        return pynn.no_grad()

    def grad(self, y, leaves, dy):
        return pynn.grad(y, leaves, dy, retain_graph=True, allow_unused=True)

    def optimizer(self, rule, params, options):
        return getattr(optim, rule)(params, **options)

    def clip_grad_norm(self, params, most):
        return pynn.nn.clip_grad_norm_(params, most)

    def as_float64(self, tensor):
        return tensor.data.astype(np.float64)


class Torch:
    """PyTorch, eager; the subclasses below change one thing each."""

    name = "torch"
    fused = None

    def __init__(self, device):
        if importlib.util.find_spec("torch") is None:
            raise AbsentError("PyTorch is not installed")
        self.torch = torch = importlib.import_module("torch")
        self.device = device
        if device == "cuda" and not torch.cuda.is_available():
            raise AbsentError("this PyTorch sees no GPU")
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
        self.stream = torch.cuda.Stream() if device == "cuda" else None

    @contextlib.contextmanager
    def ready(self):
        """Work on a stream of our own: a backward runs on its forward's stream, and CUDA's default
        one cannot be captured.
        """
        with self.torch.cuda.stream(self.stream):
            yield

    def function(self, case):
        F, run = self.torch.nn.functional, case.torch or case.run
        return lambda *tensors: run(F, *tensors)

    def tensor(self, array, requires_grad=False):
        """A tensor of the array's values, in its memory. bfloat16 goes by way of its bits."""
        torch, floats = self.torch, array.dtype.kind not in "iub"
        bits = array.view(np.int16) if array.dtype.name == "bfloat16" else array
        if isinstance(array, np.ndarray):
            tensor = torch.from_numpy(bits)
        else:
            tensor = torch.from_dlpack(bits)
        tensor = tensor.view(torch.bfloat16) if bits is not array else tensor
        return tensor.requires_grad_(requires_grad and floats)

    def no_grad(self):
        return self.torch.no_grad()

    def grad(self, y, leaves, dy):
        return self.torch.autograd.grad(y, leaves, dy, retain_graph=True, allow_unused=True)

    def optimizer(self, rule, params, options):
        if not hasattr(self.torch.optim, rule):
            raise AbsentError(f"PyTorch has no {rule}")
        return getattr(self.torch.optim, rule)(params, fused=self.fused, **options)

    def clip_grad_norm(self, params, most):
        return self.torch.nn.utils.clip_grad_norm_(params, most)

    def as_float64(self, tensor):
        wide = tensor.detach().to(self.torch.float64).contiguous()
        return wide.numpy() if self.device == "cpu" else backend.cupy().from_dlpack(wide)


class CuBlasLt(Torch):
    """As PyTorch, with its other matrix library; for cases that multiply matrices."""

    name = "cublaslt"

    def __init__(self, device):
        super().__init__(device)
        if device != "cuda":
            raise AbsentError("for GPUs alone")

    @contextlib.contextmanager
    def ready(self):
        former = self.torch.backends.cuda.preferred_blas_library()
        self.torch.backends.cuda.preferred_blas_library("cublaslt")
        try:
            with super().ready():
                yield
        finally:
            self.torch.backends.cuda.preferred_blas_library(former)

    def function(self, case):
        if case.op not in ("linear", "matmul"):
            raise AbsentError("for matrix products alone")
        return super().function(case)


class Compiled(Torch):
    """torch.compile of the same function."""

    name = "compile"

    def function(self, case):
        self.torch._dynamo.reset()
        functorch = importlib.import_module("torch._functorch.config")
        functorch.donated_buffer = False  # the graph is kept for many backwards
        return self.torch.compile(
            super().function(case), dynamic=False, mode="max-autotune-no-cudagraphs"
        )

    def optimizer(self, rule, params, options):
        raise AbsentError("not asked of optimizers: see fused")


class Fused(Torch):
    """PyTorch's fused optimizers; for optimizers alone."""

    name = "fused"
    fused = True

    def function(self, case):
        raise AbsentError("for optimizers alone")


class Attention(Torch):
    """PyTorch's scaled_dot_product_attention by one backend."""

    backend = ""

    def __init__(self, device):
        super().__init__(device)
        if device != "cuda":
            raise AbsentError("for GPUs alone")

    def function(self, case):
        if not case.op.startswith("attention"):
            raise AbsentError("for attention alone")
        return super().function(case)

    @contextlib.contextmanager
    def ready(self):
        attention = importlib.import_module("torch.nn.attention")
        backend = getattr(attention.SDPBackend, self.backend)
        with super().ready(), attention.sdpa_kernel(backend):
            yield


class CudnnAttention(Attention):
    name, backend = "cudnn", "CUDNN_ATTENTION"


class FlashAttention(Attention):
    name, backend = "flash", "FLASH_ATTENTION"


class CuPy(Pynn):
    """The reference on CuPy arrays."""

    def __init__(self, device):
        super().__init__(device, "reference")
        self.name = "cupy"
        if importlib.util.find_spec("cupy") is None:
            raise AbsentError("CuPy is not installed")
        if device != "cuda":
            raise AbsentError("for GPUs alone")


PEERS = {
    "torch": Torch,
    "cublaslt": CuBlasLt,
    "compile": Compiled,
    "fused": Fused,
    "cudnn": CudnnAttention,
    "flash": FlashAttention,
    "cupy": CuPy,
}
DEFAULT = {
    "cpu": ("torch",),
    "cuda": ("torch", "cublaslt", "fused", "cudnn", "flash", "cupy"),
}


def find(names, device):
    """({name: peer} of those that run here, {name: why not} of the others).

    Raises ValueError for a name that is none.
    """
    found, absent = {}, {}
    for name in names:
        if name not in PEERS:
            raise ValueError(f"[bench] peer: expected one of {', '.join(PEERS)}, got {name!r}")
        try:
            found[name] = PEERS[name](device)
        except AbsentError as reason:
            absent[name] = str(reason)
    return found, absent
