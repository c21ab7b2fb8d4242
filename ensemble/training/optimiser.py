"""The optimisers: AdamW, and Muon for hidden kernels with AdamW for the rest. Neither loads torch's compiler."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ensemble.config import MemberSettings, OptimiserName
from ensemble.core.errors import EnsError
from ensemble.training.encoder import parameter_groups
from ensemble.training.orthogonal import orthogonal

Kind = TypeVar("Kind", bound=type[torch.optim.Optimizer])

MOMENTS: dict[OptimiserName, int] = {"adamw": 2, "muon": 1}  # numbers kept for each weight that learns
LEAST = 16  # rows and columns of a matrix that Muon takes
AT_ONCE = 1 << 22  # numbers of the matrices that Muon moves at once; it holds ten bytes for each
MOMENTUM = 0.95


def _without_compiler(kind: Kind) -> Kind:
    """Undo the wrappers of torch that import its compiler, which takes a second: no optimiser is compiled here."""
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        setattr(kind, name, inspect.unwrap(getattr(kind, name)))
    kind.step = torch.no_grad()(inspect.unwrap(kind.step))
    return kind


@_without_compiler
class AdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` with the same numbers."""


@_without_compiler
class Muon(torch.optim.Optimizer):
    r"""Muon with the matrix products in a precision that the machine multiplies fast.

    With a matrix W of rows r and columns c, its gradient G, momentum :math:`\mu = 0.95`, learning rate :math:`\eta` and
    weight decay :math:`\lambda`:

    .. math:: M \leftarrow M + (1 - \mu) (G - M), \quad
        W \leftarrow (1 - \eta \lambda) W - 0.2 \eta \sqrt{\max(r, c)}\, U V^T, \quad
        U S V^T = \mu M + (1 - \mu) G

    The factor gives its updates the size of those of AdamW, so that both have one learning rate. `torch.optim.Muon`
    computes the same in bf16 only, which without bf16 units is 20 times slower. With them it takes longer, too
    (`experiments/benchmarks/optimisers.py`).

    Args:
        groups: groups of matrices.
        lr: learning rate.
        dtype: precision of the products, bfloat16 or float32.

    Reference:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; Liu et al., Muon is Scalable for
        LLM Training, 2025 (the factor).
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, lr: float, dtype: torch.dtype) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self._dtype = dtype

    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  (no closure)
        """Do one step."""
        for group in self.param_groups:
            for matrices in _batches(matrix for matrix in group["params"] if matrix.grad is not None):
                self._move(matrices, group["lr"], group["weight_decay"])

    def _move(self, matrices: Sequence[Tensor], lr: float, weight_decay: float) -> None:
        """Do one step of matrices whose shorter sides are equal."""
        momenta = [self._momentum(matrix) for matrix in matrices]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)  # pyright: ignore[reportPrivateUsage]
        directions = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # pyright: ignore[reportPrivateUsage]
        for matrix, update in zip(matrices, orthogonal(directions, self._dtype), strict=True):
            matrix.mul_(1 - lr * weight_decay)
            matrix.add_(update, alpha=-lr * 0.2 * math.sqrt(max(matrix.shape)))

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        return state["momentum"]


def _batches(matrices: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return the matrices in batches whose shorter sides are equal, with ``AT_ONCE`` numbers at most if they can."""
    batches: list[list[Tensor]] = []
    last: dict[int, list[Tensor]] = {}
    for matrix in matrices:
        batch = last.get(min(matrix.shape))
        if batch is None or sum(map(Tensor.numel, batch)) + matrix.numel() > AT_ONCE:
            batch = last[min(matrix.shape)] = []
            batches.append(batch)
        batch.append(matrix)
    return batches


class MuonAndAdamW:
    """Muon for hidden kernels, each as a matrix, and AdamW for all other parameters.

    Args:
        groups: groups of parameters as `parameter_groups` returns them; their weight decay and part count for both.
        hidden: the parameters that Muon takes; see `hidden_kernels`.
        lr: learning rate.
        fused: whether AdamW is the fused one.
        dtype: precision of Muon's products.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        hidden: Collection[nn.Parameter],
        *,
        lr: float,
        fused: bool,
        dtype: torch.dtype,
    ) -> None:
        ids, own, rest = {id(p) for p in hidden}, list[dict[str, Any]](), list[dict[str, Any]]()
        self._kernels: list[tuple[nn.Parameter, nn.Parameter]] = []  # with its matrix, which is the same memory
        for group in groups:
            pairs = [(p, nn.Parameter(as_matrix(p.detach()))) for p in group["params"] if id(p) in ids]
            assert all(kernel.data_ptr() == matrix.data_ptr() for kernel, matrix in pairs)
            self._kernels += pairs
            own.append({**group, "params": [matrix for _, matrix in pairs]})
            rest.append({**group, "params": [p for p in group["params"] if id(p) not in ids]})
        self._muon = Muon([g for g in own if g["params"]], lr=lr, dtype=dtype)
        self._adamw = AdamW([g for g in rest if g["params"]], lr=lr, fused=fused)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, whose learning rates the trainer sets."""
        return self._adamw.param_groups + self._muon.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad(set_to_none)
        for kernel, _ in self._kernels:
            kernel.grad = None

    def step(self) -> None:
        """Do one step of both."""
        for kernel, matrix in self._kernels:
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad)
        self._adamw.step()
        self._muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {"adamw": self._adamw.state_dict(), "muon": self._muon.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the states of both."""
        self._adamw.load_state_dict(state["adamw"])
        self._muon.load_state_dict(state["muon"])


def make_optimiser(network: nn.Module, settings: MemberSettings) -> AdamW | MuonAndAdamW:
    """Return the optimiser of a network, whose memory format is final: Muon needs kernels that lie in channels-last."""
    groups, chosen = parameter_groups(network, settings), settings.optimiser
    fused = chosen.kind == "adamw-fused"
    hidden = hidden_kernels(network) if chosen.name == "muon" else []
    if not hidden:  # the user chose AdamW, or every hidden kernel is frozen
        return AdamW(groups, lr=chosen.lr, fused=fused)
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    return MuonAndAdamW(groups, hidden, lr=chosen.lr, fused=fused, dtype=dtype)


def choose_optimiser(asked: OptimiserName | None, *, hidden: bool, pretrained: bool) -> OptimiserName:
    """Return the optimiser that a user asked for, or the one that suits a network.

    Muon trains a network from random weights better (experiments/README.md, "Does Muon train better than AdamW?").

    Args:
        asked: what the user asked for.
        hidden: whether the network has kernels for Muon; see `hidden_kernels`.
        pretrained: whether its encoder starts from weights that already know something.

    Raises:
        EnsError: Muon for a network without such kernels, in which it would change nothing.

    >>> choose_optimiser(None, hidden=True, pretrained=False), choose_optimiser(None, hidden=True, pretrained=True)
    ('muon', 'adamw')
    """
    if asked == "muon" and not hidden:
        raise EnsError(
            f"expected a network with hidden layers of at least {LEAST} channels for the optimiser muon, but this one"
            " has none; choose more filters, or the optimiser adamw"
        )
    return asked or ("muon" if hidden and not pretrained else "adamw")


def hidden_kernels(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights between the first and the last layer that learn and make a matrix of at least 16 x 16."""
    kernels = [p for p in network.parameters() if p.ndim in (2, 4)]
    return [p for p in kernels[1:-1] if p.requires_grad and min(as_matrix(p).shape) >= LEAST]


def as_matrix(kernel: Tensor) -> Tensor:
    """Return a kernel (outputs, inputs, height, width) as a matrix (outputs, height x width x inputs).

    Of a kernel in channels-last order it is a view.
    """
    return kernel if kernel.ndim == 2 else kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)
