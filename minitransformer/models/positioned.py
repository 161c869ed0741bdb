"""One small decoder, ten ways to tell it where its tokens are.

Everything but the positions is the same: two layers, the same sizes, the same start. So
what differs in a result is the position scheme.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import SwiGLU
from minitransformer.layers.partial import Partial
from minitransformer.models.decoder import Decoder
from minitransformer.positions import bias, fourier, harmonic, rotary, token_phase
from minitransformer.positions.additive import LearnedPositions, sinusoidal
from minitransformer.positions.contextual import ContextualPosition

DIM, NUM_HEADS, NUM_LAYERS = 64, 4, 2
HEAD_DIM = DIM // NUM_HEADS
CAUSAL = Partial(attention, mask_mod=masks.causal)

Parts = dict[str, Any]


def _turned(freqs: torch.Tensor, attend: Callable[..., Any] = CAUSAL) -> Parts:
    return {"attend": attend, "turn": Partial(rotary.rotate, freqs=freqs)}


def _clock(pos: torch.Tensor) -> torch.Tensor:
    """Return sinusoidal codes about as large as the embeddings at their start."""
    return 0.02 * sinusoidal(pos, DIM)


def _bent(slopes: torch.Tensor) -> Callable[..., Any]:
    slopes = slopes.float()
    mod = Partial(_lower, slopes=slopes)
    return Partial(attention, mask_mod=masks.causal, score_mod=mod)


def _lower(
    score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any, *, slopes: torch.Tensor
) -> Any:
    return bias.alibi(slopes)(score, b, h, q_idx, kv_idx)


def _mixed(train_len: int) -> Parts:
    """Draw one series for all layers, always the same."""
    drawn = torch.Generator().manual_seed(0)
    mixed = fourier.series(NUM_HEADS, HEAD_DIM, train_len=train_len, generator=drawn)
    return {"attend": CAUSAL, "turn": partial(fourier.rotate, mixed=mixed)}


SCHEMES: dict[str, Callable[[int], Parts]] = {
    "none": lambda train_len: {"attend": CAUSAL},
    "sinusoidal": lambda train_len: {
        "attend": CAUSAL,
        "code": Partial(_clock),
    },
    "learned": lambda train_len: {
        "attend": CAUSAL,
        "code": LearnedPositions(train_len, DIM),
    },
    "RoPE": lambda train_len: _turned(rotary.frequencies(HEAD_DIM)),
    "p-RoPE": lambda train_len: _turned(
        rotary.keep_fastest(rotary.frequencies(HEAD_DIM), 0.75)
    ),
    "ALiBi": lambda train_len: {"attend": _bent(bias.alibi_slopes(NUM_HEADS))},
    "harmonic": lambda train_len: _turned(
        rotary.frequencies(HEAD_DIM), _bent(harmonic.harmonic_slopes(NUM_HEADS))
    ),
    "FoPE": _mixed,
    "TAPA": lambda train_len: {"attend": token_phase.with_token_phase(CAUSAL)},
    "CoPE": lambda train_len: {"attend": None},
}
"""Name of a scheme -> the parts it needs, for a training length.

``attend`` and ``turn`` go into every layer, ``code`` is added to the tokens. CoPE has a
table in each layer, which its layers make.
"""


def decoder_with(scheme: str, *, vocab_size: int, train_len: int) -> Decoder:
    """Make the decoder with one of the schemes.

    Args:
        scheme: a name in :data:`SCHEMES`.
        vocab_size: how many ids there are.
        train_len: positions it will see in training.

    Raises:
        ValueError: the scheme is unknown.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme is {scheme!r}, needs one of {', '.join(SCHEMES)}")
    parts = SCHEMES[scheme](train_len)

    def mixer(layer: int) -> Attention:
        attend = parts["attend"]
        if attend is None:
            attend = ContextualPosition(attention, HEAD_DIM, train_len)
        return Attention(DIM, NUM_HEADS, attend=attend, turn=parts.get("turn"))

    return Decoder(
        vocab_size,
        DIM,
        NUM_LAYERS,
        mixer=mixer,
        mlp=lambda layer: SwiGLU(DIM, 2 * DIM),
        code=parts.get("code"),
    )
