"""An accelerator, or a skip that says so."""

import pytest
import torch


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine: what runs on one is not checked")
    return torch.device("cuda")
