"""The package that the lessons of the attention course build.

``import minitransformer`` is light: it loads neither torch nor triton. Import the
part you need, for example ``from minitransformer.tokenization import bpe``.
"""

__version__ = "0.1.0"
