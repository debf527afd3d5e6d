"""Both forms of the cache give the attention of separate sequences, as their rows grow, move and end."""

import pytest
import torch

from rllm_assets.models import cache, kernels
from rllm_assets.models.cache import Cache, Rows

CPU = torch.device("cpu")
LENGTHS = [5, 33, 64]


class Sequences:
    """What the cache is compared with: each slot's keys and values, kept apart and in double precision."""

    def __init__(self, prompts):
        self.kept = {(group, 0): prompt for group, prompt in enumerate(prompts)}

    def attend(self, place, q_HD, k_KD, v_KD, scale):
        keys, values = (
            torch.cat([old, new[:, None]], dim=1) for old, new in zip(self.kept[place], (k_KD, v_KD), strict=True)
        )
        self.kept[place] = keys, values
        q_KRD = q_HD.view(len(keys), -1, q_HD.shape[-1])
        weights = (scale * q_KRD.double() @ keys.double().transpose(1, 2)).softmax(-1)
        return (weights @ values.double()).flatten(0, 1)


@pytest.mark.parametrize(
    ("dtype", "key_heads", "repeat", "size"),
    [
        (torch.float32, 2, 2, 8),
        (torch.float32, 1, 3, 64),
        *(
            (torch.bfloat16, k, r, d)
            for k, r, d in ((2, 1, 64), (3, 3, 64), (1, 7, 128), (2, 4, 64), (1, 6, 64), (2, 2, 16))
        ),
    ],
)
def test_it_is_that_of_separate_sequences(dtype, key_heads, repeat, size):
    torch.manual_seed(0)
    prompts = torch.randn(2, key_heads, sum(LENGTHS), size).to(dtype)
    known = Sequences(list(zip(*(part.split(LENGTHS, dim=1) for part in prompts), strict=True)))
    grid = Cache(LENGTHS, CPU)
    grid.read_prompts(0, *prompts)

    def step(number, places, shape):
        group, slot = (torch.tensor(of_row) for of_row in zip(*places, strict=True))
        q, k, v = (
            torch.randn(heads, len(places), size).to(dtype) for heads in (key_heads * repeat, key_heads, key_heads)
        )
        found = grid.attend(0, (q, k, v), Rows(group, slot, shape, number), 0.2)
        exact = torch.stack([known.attend(p, q[:, i], k[:, i], v[:, i], 0.2) for i, p in enumerate(places)])
        # Weights are rounded to bfloat16 too where products take them.
        torch.testing.assert_close(found.double(), exact, atol=0.03 if dtype == torch.bfloat16 else 1e-5, rtol=0.01)

    step(0, [(0, 0), (1, 0), (2, 0)], (3, 1))
    # The second group branches into three slots, the third into two.
    before, after = [(0, 0), (1, 0), (1, 0), (1, 0), (2, 0), (2, 0)], [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    grid.lay_out([0, 1, 2], 3, before, after)
    known.kept = {new: known.kept[old] for old, new in zip(before, after, strict=True)}
    for number in range(1, 40):
        step(number, after, (3, 3))
    # One slot is taken over by another's answer, and the first group ends.
    grid.copy([(1, 0)], [(1, 2)])
    known.kept[1, 2] = known.kept[1, 0]
    step(40, after[1:], (3, 3))
    left, moved = [(1, 1), (1, 2), (2, 0), (2, 1)], [(0, 0), (0, 1), (1, 0), (1, 1)]
    grid.lay_out([1, 2], 2, left, moved)
    known.kept = {new: known.kept[old] for old, new in zip(left, moved, strict=True)}
    for number in range(41, 70):
        step(number, moved, (2, 2))


def test_the_kernel_takes_heads_of_whole_vectors_in_bfloat16_only(monkeypatch):
    def form(size, dtype=torch.bfloat16):
        return type(cache.form_for(torch.zeros(1, 1, size, dtype=dtype))).__name__

    if kernels.are_usable(torch.bfloat16, CPU):
        assert form(64) == form(128) == "_Paired"
    assert form(16) == form(80) == form(64, torch.float32) == "_Plain"
    monkeypatch.setattr(kernels, "_library", lambda: None)
    assert form(64) == "_Plain"
