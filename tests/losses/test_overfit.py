"""Every loss alone teaches a small network eight images by heart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ensemble.architectures import ARCHITECTURES
from ensemble.core.void import VOID
from ensemble.losses import LOSSES, build_loss


def bands() -> tuple[Tensor, Tensor]:
    """Eight 32x64 images of three upright bands that differ in texture only, with a frame of void."""
    generator = torch.Generator().manual_seed(5)
    rows, columns = torch.arange(32)[:, None], torch.arange(64)[None, :]
    checks_hw = ((rows // 4 + columns // 4) % 2).float()
    textures_khw = torch.stack([torch.full((32, 64), 0.5), (rows // 2 % 2).expand(32, 64).float(), checks_hw])
    edges_n2 = torch.randint(1, 5, (8, 2), generator=generator) * 8 + torch.tensor([0, 24])
    labels_nhw = (columns >= edges_n2[:, :, None, None]).sum(1).expand(8, 32, 64).contiguous()
    images_nhw = textures_khw.expand(8, 3, 32, 64).gather(1, labels_nhw[:, None])[:, 0]
    labels_nhw[:, :2], labels_nhw[:, :, -3:] = VOID, VOID
    return (images_nhw + 0.1 * torch.randn(8, 32, 64, generator=generator))[:, None], labels_nhw


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LOSSES))
def test_learns_eight_images_by_heart(name: str) -> None:
    images_nchw, labels_nhw = bands()
    labelled_nhw = labels_nhw != VOID
    torch.manual_seed(0)
    network = ARCHITECTURES.create("unet", 1, 3, filters=8, depth=2)
    loss = build_loss(name, labels_nhw[labelled_nhw].bincount(minlength=3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(40):
        value = loss(network.train()(images_nchw), labels_nhw)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    # Batch statistics of training: the running ones lag behind forty quick steps.
    right_nhw = network(images_nchw).argmax(1) == labels_nhw
    accuracy = right_nhw[labelled_nhw].float().mean().item()
    assert accuracy >= 0.95, f"{accuracy:.3f}"
