"""Prompts and responses as one packed batch, with what is to be predicted where."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rllm_assets.models.attention import Group, PackedLayout

Tokens = Sequence[int]
Given = Sequence[bool]


@dataclass(frozen=True)
class Packed:
    """Groups of a prompt and its responses, ready for a forward pass.

    `token_ids` are the model's inputs, where responses that begin alike share their beginning. `readers` are the inputs whose
    hidden states predict something; `reader_of` says which of them predicts each response token, and `targets` which token that
    is. Both run over all response tokens of all groups in order, less those that were given and not sampled. `lengths` is how
    many each response has of them.
    """

    token_ids: Tensor
    layout: PackedLayout
    readers: Tensor
    reader_of: Tensor
    targets: Tensor
    lengths: tuple[int, ...]

    def split(self, per_token: Tensor) -> list[Tensor]:
        """Cut a tensor over all response tokens into one tensor a response."""
        return list(per_token.split(self.lengths))


def pack(
    groups: Sequence[tuple[Tokens, Sequence[Tokens]]],
    device: torch.device,
    given: Sequence[Sequence[Given | None]] | None = None,
) -> Packed:
    """Pack (prompt, responses) groups; responses must not be empty.

    The last token of a response is predicted, never read: it is no input.

    Args:
        groups: prompts with their responses.
        device: where to.
        given: for each response which of its tokens are observations, that the model reads and does not predict; None for none.
    """
    inputs: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    shapes: list[Group] = []
    lengths: list[int] = []
    for number, (prompt, responses) in enumerate(groups):
        inputs.extend(prompt)
        first = len(inputs)
        # Where the token is that follows another one in any response: those that begin alike are computed once.
        follower: dict[tuple[int, int], int] = {}
        places: list[list[int]] = []
        for index, response in enumerate(responses):
            read_at = [first - 1]
            for token in response[:-1]:
                place = follower.setdefault((read_at[-1], token), len(inputs))
                if place == len(inputs):
                    inputs.append(token)
                read_at.append(place)
            observed = given[number][index] if given is not None else None
            wanted = (
                range(len(response)) if observed is None else [i for i, is_given in enumerate(observed) if not is_given]
            )
            sources.extend(read_at[i] for i in wanted)
            targets.extend(response[i] for i in wanted)
            lengths.append(len(wanted))
            places.append([place - first for place in read_at[1:]])
        shapes.append(Group(len(prompt), tuple(places)))
    readers, reader_of = torch.tensor(sources, dtype=torch.long).unique(return_inverse=True)
    return Packed(
        token_ids=torch.tensor(inputs, dtype=torch.long, device=device),
        layout=PackedLayout(shapes, device),
        readers=readers.to(device),
        reader_of=reader_of.to(device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        lengths=tuple(lengths),
    )
