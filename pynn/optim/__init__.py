"""Optimizers and learning-rate schedules, in PyTorch's names: `from pynn import optim`."""

from pynn.optim.adagrad import Adagrad
from pynn.optim.adam import Adam, AdamW
from pynn.optim.lion import Lion
from pynn.optim.optimizer import Optimizer
from pynn.optim.rmsprop import RMSprop
from pynn.optim.schedule import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)
from pynn.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "Lion",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
]
