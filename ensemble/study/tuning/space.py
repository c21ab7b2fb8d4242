"""Build the search space: every option annotated with a range, except those that the user has fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.architectures import ARCHITECTURES
from ensemble.config import TrainSettings
from ensemble.core.component_text import format_component, parse_given
from ensemble.core.errors import EnsError
from ensemble.core.registry import OneOf, Registry, Search
from ensemble.losses import LOSSES
from ensemble.losses.expression import loss_text, parse_sum

if TYPE_CHECKING:
    from optuna.trial import Trial

STRENGTHS = ("none", "hflip", "flips", "geometric", "full")  # augmentations that are tried
DIGITS = 3  # significant digits of a tried number, so that a user can type exactly what was trained


@dataclass(frozen=True)
class TunedOption:
    """One option that is tuned.

    Attributes:
        name: ``lr``, ``arch.filters`` or ``loss.gamma``; in a sum of losses ``loss.focal.gamma``.
        search: range or choices of its values.
        default: default of the option; the first trial has all defaults.
    """

    name: str
    search: Search
    default: Any

    def suggest(self, trial: Trial) -> Any:
        """Return the value that Optuna proposes."""
        if isinstance(self.search, OneOf):
            return trial.suggest_categorical(self.name, self.search.choices)
        low, high, log = self.search.low, self.search.high, self.search.log
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(self.name, low, high, log=log)
        return trial.suggest_float(self.name, low, high, log=log)

    def __str__(self) -> str:
        """Return ``0.0003 to 0.01, log``, or the choices."""
        if isinstance(self.search, OneOf):
            return ", ".join(str(choice) for choice in self.search.choices)
        return f"{self.search.low:g} to {self.search.high:g}{', log' * self.search.log}"


def search_space(arguments: Mapping[str, Any], rate: float) -> dict[str, TunedOption]:
    """Return every tuned option by name.

    Args:
        arguments: arguments of ``ensemble.train``; options that they set are not tuned.
        rate: the learning rate by default, which depends on the optimiser.

    Raises:
        EnsError: every option is set, or the default of an option lies outside its search range.
        UnknownName: an architecture or a loss that does not exist.

    >>> arguments = {"arch": "unet", "loss": "dice(scheme=none) + focal(scheme=none)", "lr": 1e-3, "augment": "flips"}
    >>> tuned = search_space(arguments, rate=2e-3)
    >>> [name for name in tuned if name != "weight_decay"]
    ['arch.filters', 'arch.depth', 'arch.dropout', 'loss.focal.gamma']
    >>> str(tuned["arch.filters"])
    '8 to 32, log'
    """
    options = [*_of_architecture(arguments), *_of_loss(arguments), *_of_training(arguments, rate)]
    for option in options:
        if option.default not in option.search:
            raise EnsError(
                f"the default of {option.name} is {option.default}, which is outside its search range: {option}; change"
                " the default or the range in the signature of the component"
            )
    if not options:
        raise EnsError("expected something to tune, but every option with a search space is set; leave one of them out")
    return {option.name: option for option in options}


def rounded(value: Any) -> Any:
    """Return a number rounded to the digits that are trained and shown; other values stay as they are."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def train_arguments(arguments: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``ensemble.train`` with the values of a trial, to three digits.

    >>> train_arguments({"arch": "unet(depth=2)", "loss": "ce"}, {"arch.filters": 12, "lr": 0.00123456})
    {'arch': 'unet(depth=2, filters=12)', 'loss': 'ce', 'lr': 0.00123}
    """
    arch_options, loss_options, settings = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for name, value in values.items():
        part, _, option = name.partition(".")
        target = {"arch": arch_options, "loss": loss_options}.get(part) if option else settings
        assert target is not None, name
        target[option or part] = rounded(value)
    if arch_options:
        call = parse_given(arguments["arch"], ARCHITECTURES)
        settings["arch"] = format_component(call.name, call.options | arch_options)
    if loss_options:
        settings["loss"] = loss_text(arguments["loss"], loss_options)
    return {**arguments, **settings}


def _of_architecture(arguments: Mapping[str, Any]) -> Iterator[TunedOption]:
    name, given = parse_given(arguments["arch"], ARCHITECTURES)
    for option, search, default in _options(ARCHITECTURES, name):
        if option not in given:
            yield TunedOption(f"arch.{option}", search, default)


def _of_loss(arguments: Mapping[str, Any]) -> Iterator[TunedOption]:
    terms = parse_sum(arguments["loss"])
    for term in terms:
        for option, search, default in _options(LOSSES, term.name):
            if option not in term.options:
                yield TunedOption(f"loss.{f'{term.name}.' if len(terms) > 1 else ''}{option}", search, default)


def _options(registry: Registry[Any], name: str) -> Iterator[tuple[str, Search, Any]]:
    options = registry.options(name)
    return ((option, search, options[option].default) for option, search in registry.space(name).items())


def _of_training(arguments: Mapping[str, Any], rate: float) -> Iterator[TunedOption]:
    fields = TrainSettings.model_fields
    for name, field in fields.items():
        extra: Any = field.json_schema_extra
        if extra["search"] is not None and arguments.get(name) is None:
            default = rate if name == "lr" else field.default
            yield TunedOption(name, extra["search"], default)
    if arguments.get("augment") is None:
        yield TunedOption("augment", OneOf(STRENGTHS), fields["augment"].default)
