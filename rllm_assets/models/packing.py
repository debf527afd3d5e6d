"""Prompts and responses as one packed batch, with what is to be predicted where."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllm_assets.models.attention import Group, PackedLayout

Tokens = Sequence[int]


@dataclass(frozen=True)
class Packed:
    """Groups of a prompt and its responses, ready for a forward pass.

    `token_ids` are the model's inputs; `sources` says which of their hidden states predicts each response token, and `targets`
    which token that is. Both run over all response tokens of all groups in order.
    """

    token_ids: Tensor
    layout: PackedLayout
    sources: Tensor
    targets: Tensor
    lengths: tuple[int, ...]

    def split(self, per_token: Tensor) -> list[Tensor]:
        """Cut a tensor over all response tokens into one tensor a response."""
        return list(per_token.split(self.lengths))


def pack(groups: Sequence[tuple[Tokens, Sequence[Tokens]]], device: torch.device) -> Packed:
    """Pack (prompt, responses) groups; responses must not be empty.

    The last token of a response is predicted, never read: it is no input.
    """
    inputs: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    shapes: list[Group] = []
    for prompt, responses in groups:
        inputs.extend(prompt)
        last_of_prompt = len(inputs) - 1
        for response in responses:
            start = len(inputs)
            inputs.extend(response[:-1])
            sources.extend([last_of_prompt, *range(start, len(inputs))])
            targets.extend(response)
        shapes.append(Group(len(prompt), tuple(len(response) - 1 for response in responses)))
    return Packed(
        token_ids=torch.tensor(inputs, device=device),
        layout=PackedLayout(shapes, device),
        sources=torch.tensor(sources, device=device),
        targets=torch.tensor(targets, device=device),
        lengths=tuple(len(response) for _, responses in groups for response in responses),
    )
