"""What the tests of caches share: a small decoder, texts, and feeding in pieces."""

import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import SwiGLU
from minitransformer.layers.partial import Partial
from minitransformer.models.decoder import Decoder
from minitransformer.positions import rotary

LAYERS, HEADS, HEAD_DIM, VOCAB = 2, 2, 8, 11


def decoder(*, kv_heads=HEADS, mask=masks.causal, turn=True, score_mod=None, spread=8):
    """A decoder in float64 whose attention is not near uniform."""
    torch.manual_seed(0)
    attend = Partial(attention, mask_mod=mask, score_mod=score_mod)
    freqs = rotary.frequencies(HEAD_DIM, base=100.0)
    turned = Partial(rotary.rotate, freqs=freqs) if turn else None
    dim = HEADS * HEAD_DIM
    model = Decoder(
        VOCAB,
        dim,
        LAYERS,
        mixer=lambda i: Attention(
            dim, HEADS, num_kv_heads=kv_heads, attend=attend, turn=turned
        ),
        mlp=lambda i: SwiGLU(dim, 2 * dim),
    ).double()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(spread)
    return model.requires_grad_(False)


def text(length, batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB, (batch, length), generator=generator)


def in_pieces(model, ids, caches, pieces, pos=None):
    """Logits ``[B, L, VOCAB]``, the ids fed in pieces of these sizes."""
    assert sum(pieces) == ids.shape[1]
    pos = torch.arange(ids.shape[1]) if pos is None else pos
    parts = zip(ids.split(pieces, 1), pos.split(pieces, -1), strict=True)
    return torch.cat([model(i, pos=p, caches=caches) for i, p in parts], dim=1)


def close(got, wanted, tolerance=1e-11):
    torch.testing.assert_close(got, wanted, rtol=0, atol=tolerance)
