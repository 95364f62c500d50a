"""Squeezes digits into 8 numbers and rebuilds them, better than PCA can.

Learnt: a code of 8 numbers for an image of 64 pixels, and how to rebuild the image from it. From:
1797 digits by 43 writers (scikit-learn's "digits"), without their labels; a stratified fifth is
held out and looked at once, at the end. How: encoder and decoder with two hidden layers each, mean
squared error, AdamW. PCA of as many components, the best that a linear code can do, is computed on
the same training images. rebuilt.png shows both, codes.png where the test digits lie, between.png
what the decoder makes of codes between those of two digits.

Hinton, Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
"""

from pynn.recipes._autoencoding import Autoencoding


class SqueezedDigits(Autoencoding):
    """64 - hidden - hidden - code - hidden - hidden - 64."""
