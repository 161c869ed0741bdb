"""Models so small that every text they can write can be counted out."""

import torch

from minitransformer.models.positioned import decoder_with

NUM_LAYERS = 2


def markov(table):
    """The model whose next id depends on the last one: row ``i`` follows id ``i``."""
    scores = torch.as_tensor(table, dtype=torch.float64).log()

    def model(ids, *, pos=None, caches=None):
        return scores[ids]

    return model


def small_decoder(scheme="RoPE", vocab_size=11, seed=0, std=0.3):
    """A decoder far from its small start, so that its scores differ."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = decoder_with(scheme, vocab_size=vocab_size, train_len=40).double()
    with torch.no_grad():
        for weight in model.parameters():
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(std * drawn)
    return model


def random_table(size, seed, sharpness=1.0):
    """Rows of random probabilities, ``[size, size]``."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return (sharpness * scores).softmax(dim=-1)
