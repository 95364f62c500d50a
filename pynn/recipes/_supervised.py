"""The two common kinds of recipe: which class is it, and how much is it."""

import numpy as np

import pynn.functional as F  # noqa: N812
from pynn import nn, train
from pynn.data import Normalize
from pynn.recipes._images import read, resize, to_channels
from pynn.recipes._recipe import Recipe
from pynn.tensor import Tensor
from pynn.train.files import write_csv


class _Normalized(Recipe):
    """A recipe whose `data` may set `self.normalize`, which is kept for predictions."""

    normalize = None  # pynn.data.Normalize, fitted on the training split

    def state_dict(self) -> dict:
        if self.normalize is None:
            return {}
        return {name: values.tolist() for name, values in self.normalize.state_dict().items()}

    def load_state_dict(self, state: dict) -> None:
        if state:
            self.normalize = Normalize()
            self.normalize.load_state_dict(state)


class Classification(_Normalized):
    """Which class is it? Cross-entropy; accuracy; confusion matrix, mistaken images, filters.

    classes      the names of the classes
    image_shape  (H, W, C) of the model's input if it is an image
    ink          images are drawn dark on bright, though bright pixels are the ink in the data
    """

    classes: tuple = ()
    image_shape: tuple | None = None
    ink = False

    loss = staticmethod(F.cross_entropy)

    def metrics(self):
        return {"accuracy": train.Accuracy()}

    def headline(self, result):
        return f"test accuracy {100 * result['test']['accuracy']:.2f} %"

    def report(self, trainer, test, out, plots):
        scores, labels = trainer.predict(test)
        found = train.ConfusionMatrix(len(self.classes))
        found.update(scores, labels)
        matrix = found.compute()
        write_csv(
            out / "confusion.csv",
            [
                ["true \\ predicted", *self.classes],
                *([name, *row] for name, row in zip(self.classes, matrix.tolist(), strict=True)),
            ],
        )
        wrong = np.flatnonzero(scores.argmax(axis=1) != labels)
        result = {"test_samples": len(labels), "test_mistakes": len(wrong)}
        if plots:
            self._draw(trainer.model, test, scores, labels, matrix, wrong, out)
        return result

    def _draw(self, model, test, scores, labels, matrix, wrong, out):
        title = f"{len(wrong)} of {len(labels)} test samples mistaken"
        train.plots.confusion(out / "confusion.png", matrix, self.classes, title)
        if self.image_shape is None:
            return
        probabilities = softmax(scores[wrong])
        taken = probabilities.argmax(axis=1)
        train.plots.mistakes(
            out / "mistakes.png",
            test.dataset[wrong][0].reshape(-1, *self.image_shape),
            [self.classes[i] for i in labels[wrong]],
            [self.classes[i] for i in taken],
            probabilities.max(axis=1),
            title,
            dark_ink=self.ink,
        )
        first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if first is not None:
            weight = first.weight.numpy()
            K, R, S, C = weight.shape
            shown = "in the colours they look for" if C == 3 else "red +, blue -"
            title = f"the {K} filters of the first layer, {R} x {S}: {shown}"
            train.plots.filters(out / "filters.png", weight, title)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image file's pixels, (h, w, C) in 0..1, as one input of the training data's kind."""
        H, W, C = self.image_shape
        image = to_channels(image, C)
        if self.ink and _border(image).mean() > 0.5:
            image = 1 - image
        return resize(image, H, W)

    def predict(self, model, paths) -> list[dict]:
        """For each image file {"file", "label", "probability", "probabilities"}."""
        inputs = np.stack([self.prepare(read(path)) for path in paths])
        if self.normalize is not None:
            inputs = self.normalize(inputs)
        first = next(iter(model.parameters()))
        scores = model(Tensor(inputs, dtype=first.dtype, device=first.device)).numpy()
        found = []
        for path, row in zip(paths, softmax(scores), strict=True):
            best = int(row.argmax())
            shares = {name: float(p) for name, p in zip(self.classes, row, strict=True)}
            found.append(
                {
                    "file": str(path),
                    "label": self.classes[best],
                    "probability": float(row[best]),
                    "probabilities": shares,
                }
            )
        return found


class Regression(_Normalized):
    """How much is it? Mean squared error; R2; predicted values against true ones.

    targets  (N, 1); those that the network sees are (y - mean) / std, by `self.scale`, a Normalize
    """

    scale = None
    loss = staticmethod(F.mse_loss)

    def metrics(self):
        return {"r2": train.R2()}

    def headline(self, result):
        return f"test R2 {result['test']['r2']:.3f}"

    def baselines(self) -> dict[str, np.ndarray]:
        """{name: predictions (N,) for the test samples} of other methods, to compare with."""
        return {}

    def report(self, trainer, test, out, plots):
        outputs, targets = (
            self.scale.inverse(y.astype(np.float32))[:, 0] for y in trainer.predict(test)
        )
        predictions = {"network": outputs, **self.baselines()}
        write_csv(
            out / "predictions.csv",
            [
                ["true", *predictions],
                *(
                    [f"{value:g}" for value in row]
                    for row in zip(targets, *predictions.values(), strict=True)
                ),
            ],
        )
        r2 = {name: _r2(values, targets) for name, values in predictions.items()}
        if plots:
            named = {f"{name}, R2 {r2[name]:.3f}": values for name, values in predictions.items()}
            train.plots.scatter(out / "scatter.png", targets, named, f"{len(targets)} test samples")
        return {"test_samples": len(targets), "r2": r2}


def _r2(predicted, true):
    metric = train.R2()
    metric.update(predicted, true)
    return metric.compute()


def softmax(scores: np.ndarray) -> np.ndarray:
    """exp(s) / sum exp(s) over the last axis, in float64."""
    scores = scores.astype(np.float64)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _border(image):
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
