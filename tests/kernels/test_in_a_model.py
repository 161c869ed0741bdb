"""A model whose ``attend`` is the kernel is the model that it was."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.attention.sdpa import sdpa
from minitransformer.generation.generate import generate
from minitransformer.kernels import flash_attention, launch
from minitransformer.layers.partial import Partial
from minitransformer.training import house
from minitransformer.training.loop import Recipe, train

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
KERNEL = Partial(flash_attention.attention, causal=True)
TINY = {
    "vocab_size": 60,
    "dim": 32,
    "num_layers": 2,
    "num_heads": 2,
    "num_kv_heads": 1,
    "hidden": 48,
    "rope_base": 10000.0,
}


def draw(batch, generator):
    """Windows in which every id follows from the one before."""
    start = torch.randint(0, 60, (batch, 1), generator=generator)
    ids = (start + 7 * torch.arange(25)) % 60
    return ids[:, :-1].to(DEVICE), ids[:, 1:].to(DEVICE)


def test_a_model_has_the_same_logits_and_gradients():
    ids, targets = draw(2, torch.Generator().manual_seed(0))
    results = []
    for attend in (KERNEL, sdpa):
        model = house.build(TINY, attend=attend, device=DEVICE)
        logits = model(ids)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.ravel())
        loss.backward()
        results.append([logits, *(w.grad for w in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert ours.abs().max() > 0
        # some dozen roundings of sums of numbers no greater than the greatest
        slack = 64 * torch.finfo(torch.float32).eps * float(theirs.detach().abs().max())
        torch.testing.assert_close(ours, theirs, atol=slack, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(launch.INTERPRETED, reason="kernels run in the interpreter")
def test_a_model_trains_alike_and_writes_alike():
    recipe = Recipe(60, batch=16, peak=2e-3, warm_up=6, half=True)
    losses, texts = [], []
    for attend in (KERNEL, sdpa):
        sizes = TINY | {"dim": 128}
        model = house.build(sizes, attend=attend, device=DEVICE)
        run = train(model, draw, recipe, progress=False)
        losses.append(torch.tensor([row["loss"] for row in run.rows]))
        model.eval()
        prompt = draw(1, torch.Generator().manual_seed(1))[0][:, :6]
        texts.append(list(generate(model, prompt, max_new_tokens=15, num_layers=2)))
    assert losses[1][-1] < losses[1][0] / 2
    # bfloat16 keeps 8 bits; what two paths round apart stays a hundredth of the loss
    assert (losses[0] - losses[1]).abs().max() <= 2e-2 * losses[1][0]
    assert [int(x) for x in texts[0]] == [int(x) for x in texts[1]]
