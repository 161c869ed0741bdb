import torch
from torch import nn

from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import GELU
from minitransformer.models.stack import Stack


def stack(num_layers=3, **parts):
    torch.manual_seed(0)
    return Stack(
        *(9, 32, num_layers),
        mixer=lambda i: Attention(32, 4, bias=True),
        mlp=lambda i: GELU(32, 128),
        **parts,
    )


def test_what_comes_out_is_normalized():
    tokens = stack().tokens(torch.arange(9).unsqueeze(0))
    size = tokens.square().mean(dim=-1).sqrt()
    torch.testing.assert_close(size, torch.ones(1, 9), rtol=1e-3, atol=0)


def test_each_part_adds_to_the_stream():
    model = stack().double()
    ids = torch.arange(9).unsqueeze(0)
    x = model.embed(ids)
    for block in model.blocks:
        x = x + block.mixer(block.mixer_norm(x))
        x = x + block.mlp(block.mlp_norm(x))
    torch.testing.assert_close(model.tokens(ids), model.norm(x), rtol=0, atol=1e-12)


def test_a_code_is_added_to_what_is_embedded():
    class Code(nn.Module):
        def forward(self, pos):
            return pos.unsqueeze(-1) * torch.ones(32)

    seen = []
    model = stack(code=Code())
    model.blocks[0].register_forward_pre_hook(lambda block, args: seen.append(args[0]))
    ids, pos = torch.tensor([[4, 4]]), torch.tensor([3, 7])
    model.tokens(ids, pos=pos)
    wanted = model.embed(ids) + pos.view(1, 2, 1)
    torch.testing.assert_close(seen[0], wanted, rtol=0, atol=1e-6)


def test_it_starts_small_and_the_smaller_the_deeper():
    for num_layers in (2, 8):
        model = stack(num_layers)
        model.start_small()
        for block in model.blocks:
            assert abs(block.mlp.up_proj.weight.std() / 0.02 - 1) < 0.05
            wanted = 0.02 * (2 * num_layers) ** -0.5
            assert abs(block.mlp.down_proj.weight.std() / wanted - 1) < 0.05
            assert abs(block.mixer.o_proj.weight.std() / wanted - 1) < 0.1
            assert not block.mlp.up_proj.bias.any()
            assert torch.equal(block.mlp_norm.weight, torch.ones(32))
