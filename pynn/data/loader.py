"""DataLoader: shuffled, resumable batches, made in a background thread if asked for."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from pynn.data._draw import generator, permutation
from pynn.data.dataset import Dataset


class DataLoader:
    """Batches of a dataset, as tuples of Tensors, one pass over the dataset per `iter`.

    dataset     a Dataset of at least one sample; each batch is one ``dataset[indices]``
    batch_size  samples per batch, >= 1; the last batch has the rest, unless drop_last
    shuffle     a new random order in each epoch, else the dataset's own order
    drop_last   leave out a last batch that is smaller than batch_size
    seed        >= 0, the source of the order and of the transform's randomness
    prefetch    how many batches a background thread may hold ready; 0 makes each batch when it is
                asked for, without a thread
    transform   callable (batch, rng) -> batch, applied to the first array of each batch
    device      where the Tensors go, as in Tensor.to; None leaves them on the CPU

    The order is a function of (seed, epoch), the rng handed to the transform one of (seed, epoch,
    batch), so nothing depends on threads or on where a run was interrupted. `iter` begins an
    epoch; the first is epoch 0. Only after `load_state_dict` does it go on within one.

    Raises ValueError for a batch size or prefetch out of range, an empty dataset, or drop_last
    that leaves no batch. An exception of the dataset or transform reaches the consumer with its
    own traceback, from the thread too.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        prefetch: int = 0,
        transform: Callable | None = None,
        device: Any = None,
    ):
        _require_int("batch_size", batch_size, 1)
        _require_int("prefetch", prefetch, 0)
        generator(seed)
        if len(dataset) == 0:
            raise ValueError("[DataLoader] dataset: expected at least one sample, got none")
        if drop_last and batch_size > len(dataset):
            raise ValueError(
                f"[DataLoader] drop_last: expected at least one whole batch of {batch_size}, "
                f"got {len(dataset)} samples"
            )
        if transform is not None and not callable(transform):
            raise TypeError(f"[DataLoader] transform: expected a callable, got {transform!r}")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.seed = int(seed)
        self.prefetch = int(prefetch)
        self.transform = transform
        self.device = device
        self._epoch = 0
        self._batch = 0  # batches of the epoch already handed to the consumer
        self._begun = False  # the epoch belongs to an iterator, so the next iter takes another
        self._passes = 0  # iterators so far; only the newest moves the position

    @property
    def epoch(self) -> int:
        """The epoch under way, or the next one when the last was iterated to its end."""
        return self._epoch

    def __len__(self) -> int:
        """Batches per epoch."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> "_Batches":
        if self._begun:
            self._epoch, self._batch = self._epoch + 1, 0
        self._begun = True
        self._passes += 1
        return _Batches(self)

    def state_dict(self) -> dict:
        """Seed and position, as plain ints and bools: all that resuming needs.

        The position counts the batches handed out in this epoch, not those made ahead. Taken
        after an epoch's last batch but before the loop's end, it resumes to an empty rest of
        that epoch, so that an outer loop over epochs stays in step.
        """
        return {"epoch": self._epoch, "batch": self._batch, **self._settings()}

    def load_state_dict(self, state: dict) -> None:
        """Take the seed and the position; the next `iter` yields exactly the remaining batches.

        Raises ValueError if entries are missing or unknown, if the position is not in the epoch,
        or if dataset length, batch size, shuffle or drop_last differ from this loader's: the
        same position would then mean other samples.
        """
        expected = self.state_dict()
        if set(state) != set(expected):
            raise ValueError(
                f"[DataLoader] state: expected entries {sorted(expected)}, got {sorted(state)}"
            )
        for name, value in self._settings().items():
            if name != "seed" and state[name] != value:
                raise ValueError(
                    f"[DataLoader] state: expected {name} {value} as in this loader, "
                    f"got {state[name]}"
                )
        generator(state["seed"])
        _require_int("state: epoch", state["epoch"], 0)
        _require_int("state: batch", state["batch"], 0)
        if state["batch"] > len(self):
            raise ValueError(
                f"[DataLoader] state: expected batch <= {len(self)}, the batches of an epoch, "
                f"got {state['batch']}"
            )
        self.seed = int(state["seed"])
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])
        self._begun = False
        self._passes += 1

    def _end_epoch(self):
        self._epoch, self._batch, self._begun = self._epoch + 1, 0, False

    def _settings(self):
        return {
            "seed": self.seed,
            "length": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }


class _Batches:
    """The rest of one epoch. `close`, or dropping the last reference, stops its thread."""

    _ahead = None

    def __init__(self, loader):
        self._loader = loader
        self._pass = loader._passes
        self._next = loader._batch
        self._count = len(loader)
        self._closed = False
        make = _Epoch(loader)
        if loader.prefetch and self._next < self._count:
            self._ahead = _Ahead(make, range(self._next, self._count), loader.prefetch)
        self._take = self._ahead.get if self._ahead else make

    def __iter__(self):
        return self

    def __next__(self):
        if self._closed:
            raise StopIteration
        newest = self._loader._passes == self._pass
        if self._next == self._count:
            self.close()
            if newest:
                self._loader._end_epoch()
            raise StopIteration
        try:
            batch = _to_tensors(self._take(self._next), self._loader.device)
        except BaseException as error:
            self.close()
            if isinstance(error, StopIteration):  # would end the consumer's loop without a word
                raise RuntimeError(
                    f"[DataLoader] batch {self._next}: expected arrays from the dataset and the "
                    "transform, got StopIteration"
                ) from error
            raise
        self._next += 1
        if newest:
            self._loader._batch = self._next
        return batch

    def close(self) -> None:
        """End the iteration and wait for the thread. The loader's position stays where it is."""
        self._closed = True
        if self._ahead:
            self._ahead.stop()
            self._ahead.thread.join()

    def __del__(self):
        # no join: this may run in any thread, and must not wait for a slow dataset
        if self._ahead:
            self._ahead.stop()


class _Epoch:
    """Makes any batch of one epoch, from (seed, epoch, batch) alone."""

    def __init__(self, loader):
        self.dataset = loader.dataset
        self.batch_size = loader.batch_size
        self.transform = loader.transform
        self.seed = loader.seed
        self.epoch = loader.epoch
        n = len(self.dataset)
        rng = generator(self.seed, self.epoch)
        self.order = permutation(rng, n) if loader.shuffle else np.arange(n)

    def __call__(self, batch):
        indices = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        try:
            arrays = self.dataset[indices]
        except TypeError as error:
            error.add_note(
                "[DataLoader] expected a dataset that an index array can index; if it knows only "
                "ints, pynn.data.Stacked(dataset) wraps it"
            )
            raise
        arrays = list(arrays) if isinstance(arrays, tuple | list) else [arrays]
        if self.transform is not None:
            rng = generator(self.seed, self.epoch, batch)
            arrays[0] = self.transform(arrays[0], rng)
        for i, a in enumerate(arrays):
            if np.ndim(a) == 0 or len(a) != len(indices):
                raise ValueError(
                    f"[DataLoader] batch {batch}, array {i}: expected {len(indices)} rows, one per "
                    f"index, got shape {np.shape(a)}"
                )
        return arrays


class _Ahead:
    """A thread that makes items in order and keeps at most `depth` of them ready.

    The thread knows this object but not the iterator in front of it, so that the iterator is
    freed when its consumer drops it, which calls `stop`.
    """

    def __init__(self, make, items, depth):
        self.depth = depth
        self.ready = deque()  # (result, None) or (None, exception)
        self.stopped = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(
            target=self._run, args=(make, items), name="pynn-data", daemon=True
        )
        self.thread.start()

    def _run(self, make, items):
        for item in items:
            with self.changed:
                self.changed.wait_for(lambda: self.stopped or len(self.ready) < self.depth)
                if self.stopped:
                    return
            try:
                result = make(item), None
            except BaseException as error:
                result = None, error
            with self.changed:
                self.ready.append(result)
                self.changed.notify_all()
            if result[1] is not None:
                return

    def get(self, _):
        """The next item; raises what `make` raised for it."""
        with self.changed:
            self.changed.wait_for(lambda: self.ready)
            result, error = self.ready.popleft()
            self.changed.notify_all()
        if error is not None:
            raise error
        return result

    def stop(self):
        """Let the thread end after the item in hand."""
        with self.changed:
            self.stopped = True
            self.ready.clear()
            self.changed.notify_all()


def _to_tensors(arrays, device):
    from pynn.tensor import Tensor  # here, so that datasets can be used without the engine

    return tuple(Tensor(a, device=device) for a in arrays)


def _require_int(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"[DataLoader] {name}: expected an int, got {value!r}")
    if value < least:
        raise ValueError(f"[DataLoader] {name}: expected at least {least}, got {value}")
