"""Which epoch was best, and how long ago: early stopping."""

from pynn.tensor import Tensor


class Best:
    """The best value of a figure so far, its epoch, and if kept, the weights of that epoch.

    value             None before the first epoch; a NaN is never the best
    keeps_weights     copy the model's state when a new best is noted, for `restore`
    """

    def __init__(self, higher_is_better: bool, keeps_weights: bool):
        self.sign = 1 if higher_is_better else -1
        self.keeps_weights = keeps_weights
        self.value = self.epoch = self.weights = None

    def note(self, epoch: int, value: float, model) -> None:
        """An epoch ended with this value."""
        if self.value is None:
            better = value == value  # no NaN
        else:
            better = self.sign * value > self.sign * self.value
        if better:
            self.value, self.epoch = value, epoch
            if self.keeps_weights:
                state = model.state_dict()
                self.weights = {name: Tensor(value.data.copy()) for name, value in state.items()}

    def epochs_since(self, epoch: int) -> int:
        """How many epochs have passed since the best, or since the start if none was good."""
        return max(0, epoch - (self.epoch or 0))

    def restore(self, model) -> None:
        """Put the weights of the best epoch into the model."""
        if self.weights is not None:
            model.load_state_dict(self.weights)

    def state_dict(self) -> dict:
        """Value, epoch and weights."""
        return {"value": self.value, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        if set(state) != {"value", "epoch", "weights"}:
            raise ValueError(
                f"[patience] state: expected value, epoch and weights, got {sorted(state)}"
            )
        self.value, self.epoch, self.weights = state["value"], state["epoch"], state["weights"]
