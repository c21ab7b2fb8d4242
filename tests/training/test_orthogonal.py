"""Square matrices do what the steps on whole matrices do; the reference is float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.training.orthogonal import orthogonal


def five_steps(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the five steps of Jordan et al., each on the whole matrix."""
    turned = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if turned else matrix).to(dtype)
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if turned else x).double()


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(found.double() - exact, 2))


def matrices(rows: int, columns: int) -> dict[str, torch.Tensor]:
    """Return matrices with easy and with hard singular values."""
    torch.manual_seed(0)
    short, noise = min(rows, columns), torch.randn(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(side, short))[0] for side in (rows, columns))
    return {
        "noise": noise,
        "five orders of magnitude": left * torch.logspace(-5, 0, short) @ right.T,
        "rank 5": torch.randn(rows, 5) @ torch.randn(5, columns),
        "one that dominates": torch.randn(rows, 1) @ torch.randn(1, columns) + 1e-3 * noise,
    }


@pytest.mark.parametrize("shape", [(16, 16), (24, 144), (144, 24), (64, 300), (128, 128)])
def test_square_matrices_do_the_steps_of_whole_ones(shape: tuple[int, int]) -> None:
    for kind, matrix in matrices(*shape).items():
        exact = five_steps(matrix.double(), torch.float64)
        (single,), (half,) = (orthogonal([matrix], dtype) for dtype in (torch.float32, torch.bfloat16))
        assert (single.dtype, half.dtype) == (torch.float32, torch.bfloat16)
        assert error(single, exact) < 0.005, kind
        assert error(half, exact) < max(0.2, 0.8 * error(five_steps(matrix, torch.bfloat16), exact)), kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_matrices_are_independent_of_their_size_and_of_each_other(dtype: torch.dtype, data: st.DataObject) -> None:
    short = data.draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    shapes = data.draw(st.lists(st.tuples(st.booleans(), st.integers(short, 40)), min_size=1, max_size=4))
    several = [torch.randn((long, short) if tall else (short, long), generator=generator) for tall, long in shapes]
    scale = data.draw(st.sampled_from([1e-4, 0.5, 1.0, 1e6]))
    for matrix, found in zip(several, orthogonal([scale * matrix for matrix in several], dtype), strict=True):
        (alone,) = orthogonal([matrix], dtype)
        assert found.shape == matrix.shape
        assert error(found, alone.double()) < (0.005 if dtype == torch.float32 else 0.3)


def test_without_a_direction_nothing_moves() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(orthogonal([torch.zeros(3, 5)], dtype)[0], torch.zeros(3, 5, dtype=dtype))
