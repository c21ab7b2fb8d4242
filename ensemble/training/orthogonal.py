"""Matrices in place of others, with the same directions and singular values of about 1: what Muon moves kernels by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(matrices: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    r"""Return roughly :math:`U V^T` of matrices :math:`U S V^T`: all but the smallest singular values become about 1.

    Five steps :math:`X \leftarrow (a + b A + c A^2) X, A = X X^T` from each matrix divided by its norm, with the
    coefficients of Jordan et al., which make small singular values grow fast. The steps multiply square matrices only:
    :math:`A \leftarrow B A B` and :math:`P \leftarrow B P` with :math:`B = a + b A + c A^2`, and at the end
    :math:`X \leftarrow P X`. After three steps they begin anew from :math:`X`, because in bf16 the rounding of A grows
    twelvefold in each of them.

    Args:
        matrices: matrices whose shorter sides are equal.
        dtype: precision of the products.

    Returns:
        A matrix for each, of its shape and of this type.

    Reference:
        Zhang et al., Gram Newton-Schulz: A Fast, Hardware-Aware Newton-Schulz Algorithm for Muon, 2026.
    """
    tall = [matrix.shape[0] > matrix.shape[1] for matrix in matrices]
    wide = [x.T if turned else x for x, turned in zip(matrices, tall, strict=True)]
    wide = [(x / x.norm().clamp(min=1e-7)).to(dtype) for x in wide]
    for steps in (3, 2):
        wide = [product @ x for product, x in zip(_polynomial(_grams(wide), steps), wide, strict=True)]
    return [x.T if turned else x for x, turned in zip(wide, tall, strict=True)]


def _grams(matrices: Sequence[Tensor]) -> Tensor:
    """Return the products (k, n, n) of matrices (n, any) with their transposes."""
    return torch.stack([matrix @ matrix.T for matrix in matrices])


def _polynomial(grams_knn: Tensor, steps: int) -> Tensor:
    """Return the matrices (k, n, n) that do these steps of `orthogonal` at once, if multiplied from the left."""
    a, b, c = COEFFICIENTS
    products_knn: Tensor | None = None
    for left in range(steps, 0, -1):
        factors_knn = torch.baddbmm(grams_knn, grams_knn, grams_knn, beta=b, alpha=c)
        factors_knn.diagonal(dim1=1, dim2=2).add_(a)
        products_knn = factors_knn if products_knn is None else factors_knn @ products_knn
        if left > 1:
            grams_knn = factors_knn @ grams_knn @ factors_knn
    assert products_knn is not None
    return products_knn
