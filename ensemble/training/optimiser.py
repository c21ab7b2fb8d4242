"""The optimisers: AdamW, and Muon for hidden kernels with AdamW for the rest. Neither loads torch's compiler."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError
from ensemble.training.encoder import parameter_groups

Kind = TypeVar("Kind", bound=type[torch.optim.Optimizer])

LEAST = 16  # rows and columns of a matrix that Muon takes


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
class _Muon(torch.optim.Muon):
    """`torch.optim.Muon` with the same numbers."""


class MuonAndAdamW:
    r"""Muon for hidden kernels, each as a matrix, and AdamW for all other parameters.

    Muon replaces the momentum of a matrix by the nearest matrix whose singular values are all 1. With rows r and
    columns c, gradient G, momentum :math:`\mu = 0.95` and learning rate :math:`\eta`:

    .. math:: M \leftarrow \mu M + (1 - \mu) G, \quad
        W \leftarrow (1 - \eta \lambda) W - 0.2 \eta \sqrt{\max(r, c)}\, U V^T, \quad
        U S V^T = \mu M + (1 - \mu) G

    The factor gives its updates the size of those of AdamW, so that both have one learning rate.

    Args:
        groups: groups of parameters as `parameter_groups` returns them; their weight decay and part count for both.
        hidden: the parameters that Muon takes; see `hidden_kernels`.
        lr: learning rate.
        fused: whether AdamW is the fused one.

    Reference:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; Liu et al., Muon is Scalable for
        LLM Training, 2025 (the factor).
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], hidden: Collection[nn.Parameter], *, lr: float, fused: bool
    ) -> None:
        ids, own, rest = {id(p) for p in hidden}, list[dict[str, Any]](), list[dict[str, Any]]()
        self._kernels: list[tuple[nn.Parameter, nn.Parameter]] = []  # with its matrix, which is the same memory
        for group in groups:
            pairs = [(p, nn.Parameter(as_matrix(p.detach()))) for p in group["params"] if id(p) in ids]
            assert all(kernel.data_ptr() == matrix.data_ptr() for kernel, matrix in pairs)
            self._kernels += pairs
            own.append({**group, "params": [matrix for _, matrix in pairs]})
            rest.append({**group, "params": [p for p in group["params"] if id(p) not in ids]})
        self._muon = _Muon([g for g in own if g["params"]], lr=lr, adjust_lr_fn="match_rms_adamw")
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
    if chosen.name == "adamw":
        return AdamW(groups, lr=chosen.lr, fused=fused)
    return MuonAndAdamW(groups, hidden_kernels(network), lr=chosen.lr, fused=fused)


def hidden_kernels(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights between the first and the last layer that learn and make a matrix of at least 16 x 16.

    Raises:
        EnsError: there is none, so that Muon would change nothing.
    """
    kernels = [p for p in network.parameters() if p.ndim in (2, 4)]
    found = [p for p in kernels[1:-1] if p.requires_grad and min(as_matrix(p).shape) >= LEAST]
    if not found:
        raise EnsError(
            f"expected a network with hidden layers of at least {LEAST} channels for the optimiser muon, but this one"
            " has none that learns; choose more filters, or the optimiser adamw"
        )
    return found


def as_matrix(kernel: Tensor) -> Tensor:
    """Return a kernel (outputs, inputs, height, width) as a matrix (outputs, height x width x inputs).

    Of a kernel in channels-last order it is a view.
    """
    return kernel if kernel.ndim == 2 else kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)
