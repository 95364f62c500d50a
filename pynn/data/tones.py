"""Words of a language that nobody speaks, synthesised: glides of two formants, and noise."""

import numpy as np

from pynn.data._draw import generator
from pynn.data.dataset import ArrayDataset

RATE, FRAME, HOP, BANDS = 8000, 256, 128, 40  # samples a second, of a frame, between frames
WORDS = ("ba", "di", "go", "ku", "la", "me", "ni", "po")
UNUSED = -1  # fills up the rows of labels
# Hz of both formants at the beginning and at the end of each word
_GLIDES = (
    ((300, 900), (700, 1200)),
    ((350, 2600), (300, 2200)),
    ((600, 1000), (450, 800)),
    ((500, 1800), (300, 800)),
    ((400, 1500), (750, 1300)),
    ((300, 1400), (500, 2000)),
    ((300, 1800), (280, 2500)),
    ((700, 900), (400, 700)),
)


def speech(words: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sound of words, (samples,) float32 at RATE, spoken by a voice drawn at random.

    Each word lasts 90 to 200 ms, with 20 to 90 ms of silence around it. Its source are the
    harmonics of a pitch of 90 to 220 Hz that falls by a tenth; each is as loud as the formants
    let it be, which glide from one place to another and are scaled by 0.9 to 1.1 for the voice.
    White noise of 5 to 20 % of the sound's mean power lies under all.
    """
    pitch, throat = rng.uniform(90, 220), rng.uniform(0.9, 1.1)
    parts = [np.zeros(int(rng.uniform(0.02, 0.09) * RATE))]
    for word in words:
        parts.append(_word(int(word), pitch, throat, rng))
        parts.append(np.zeros(int(rng.uniform(0.02, 0.09) * RATE)))
    sound = np.concatenate(parts)
    noise = np.sqrt(rng.uniform(0.05, 0.2) * np.mean(sound**2) + 1e-8)
    return (sound + noise * rng.standard_normal(len(sound))).astype(np.float32)


def _word(word, pitch, throat, rng):
    n = int(rng.uniform(0.09, 0.2) * RATE)
    along = np.linspace(0, 1, n)
    phase = 2 * np.pi * np.cumsum(pitch * (1 - 0.1 * along)) / RATE
    number = np.arange(1, int(RATE / 2 / pitch))  # of the harmonic
    frequency = number[:, None] * pitch * (1 - 0.1 * along)
    first, last = (throat * np.array(glide, float) for glide in _GLIDES[word])
    loudness = sum(
        np.exp(-0.5 * ((frequency - (a + (b - a) * along)) / 120) ** 2)
        for a, b in zip(first, last, strict=True)
    )
    loudness = loudness + 0.02
    shape = np.sin(np.pi * along) ** 0.5
    return shape * (loudness * np.sin(number[:, None] * phase)).sum(axis=0)


def spectrogram(sound: np.ndarray) -> np.ndarray:
    """Logarithms of the power in BANDS bands from 0 to RATE / 2, (frames, BANDS) float32."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2
    edges = np.linspace(0, FRAME // 2, BANDS + 1).astype(int)[:-1]
    bands = np.add.reduceat(power[:, : FRAME // 2], edges, axis=1)
    return np.log(bands + 1e-3).astype(np.float32)


def utterances(count: int, words: tuple[int, int] = (2, 6), seed: int = 0) -> ArrayDataset:
    """Spectrograms of several words each, drawn at random, with the words but not their times.

    words    least and greatest number in an utterance
    returns  frames (count, T, BANDS) float32 in about -1..1, short ones filled up with silence;
             steps (count,) int64, frames of each; labels (count, words[1]) int64, places in
             WORDS, filled up with UNUSED
    """
    rng = generator(seed)
    sounds, labels = [], np.full((count, words[1]), UNUSED, np.int64)
    for row in labels:
        n = int(rng.integers(words[0], words[1] + 1))
        row[:n] = rng.integers(0, len(WORDS), n)
        sounds.append((spectrogram(speech(row[:n], rng)) - 1) / 4)
    steps = np.array([len(sound) for sound in sounds], np.int64)
    frames = np.full((count, int(steps.max(initial=1)), BANDS), -2, np.float32)
    for row, sound in zip(frames, sounds, strict=True):
        row[: len(sound)] = sound
    return ArrayDataset(frames, steps, labels)
