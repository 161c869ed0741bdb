import torch
from torch import nn

from minitransformer.layers.block import Block


class Recorder(nn.Module):
    """A mixer that notes how it is called."""

    def forward(self, x, **options):
        self.options = options
        return 10 * x


def test_parts_are_added_and_see_what_is_normalized():
    double, triple = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(double.weight, 2.0)
    nn.init.constant_(triple.weight, 3.0)
    mixer = Recorder()
    block = Block(mixer, nn.Identity(), (double, triple))
    out = block(torch.ones(1, 1, 1), pos="here", cache="there")
    # 1 + 10 (2 1) = 21, then 21 + 3 21 = 84.
    assert out.item() == 84
    assert mixer.options == {"pos": "here", "cache": "there"}


def test_parts_that_give_nothing_leave_the_tokens_alone():
    silent = nn.Linear(3, 3)
    nn.init.zeros_(silent.weight)
    nn.init.zeros_(silent.bias)
    block = Block(Recorder(), silent, (silent, nn.Identity()))
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)
