"""Training: the loop, metrics, logs, pictures, and checkpoints that survive a kill.

trainer = train.Trainer(model, F.cross_entropy, optimizer, loader, epochs=20, out="runs/mine")
trainer.fit()                # Ctrl-C saves; Trainer(...).resume() goes on to the bit
"""

from pynn.train import plots, safetensors
from pynn.train.checkpoint import load_weights, save_weights
from pynn.train.interrupt import Interrupted
from pynn.train.log import Log
from pynn.train.loop import Trainer
from pynn.train.metrics import R2, Accuracy, ConfusionMatrix, Mean, Metric, Perplexity, TopK

__all__ = [
    "R2",
    "Accuracy",
    "ConfusionMatrix",
    "Interrupted",
    "Log",
    "Mean",
    "Metric",
    "Perplexity",
    "TopK",
    "Trainer",
    "load_weights",
    "plots",
    "safetensors",
    "save_weights",
]
