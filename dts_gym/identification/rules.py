"""The rules by name, and how a rule is made from its name and settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dts_gym.harness.agent_texts import parse_settings
from dts_gym.identification.elimination import BayesElim, SequentialHalving, SuccessiveRejects
from dts_gym.identification.prior_shares import InformationAllocation, OptimalAllocation, WarmUpAllocation
from dts_gym.identification.rule import Rule
from dts_gym.identification.simple_rules import KnowledgeGradient, Uniform
from dts_gym.identification.top_two import T3C, TS, TopTwoTS
from dts_gym.utils.validation import did_you_mean

_BUILT_IN: tuple[type[Rule], ...] = (
    Uniform,
    SequentialHalving,
    SuccessiveRejects,
    BayesElim,
    TS,
    TopTwoTS,
    T3C,
    KnowledgeGradient,
    OptimalAllocation,
    InformationAllocation,
    WarmUpAllocation,
)
RULES: dict[str, type[Rule]] = {cls.name or cls.__name__: cls for cls in _BUILT_IN}


def rule_ids() -> list[str]:
    """Names of the package's rules.

    Examples
    --------
    >>> rule_ids()[:2]
    ['Uniform', 'SequentialHalving']
    """
    return list(RULES)


@dataclass(frozen=True)
class RuleSpec:
    """A rule in a comparison.

    Parameters
    ----------
    rule : a name as `rule_ids` lists, or a class that derives from `dts_gym.identification.Rule`.
    settings : arguments of the rule's constructor.
    label : the rule's name in tables and figures; made from rule and settings if empty.

    Examples
    --------
    >>> RuleSpec("TopTwoTS", {"leader_share": 0.7}).label
    'TopTwoTS (leader_share 0.7)'
    """

    rule: str | type[Rule]
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        cls = rule_class(self.rule)
        known = inspect.signature(cls).parameters
        if unknown := [name for name in self.settings if name not in known]:
            near = did_you_mean(unknown[0], known)
            raise ValueError(f"settings of {self.name} must be among {sorted(known)}, got {unknown[0]!r}{near}")
        if not self.label:
            told = ", ".join(f"{name} {value}" for name, value in self.settings.items())
            object.__setattr__(self, "label", f"{self.name} ({told})" if told else self.name)
        self.make()

    @property
    def name(self) -> str:
        """The rule's name, of a class its own."""
        return self.rule if isinstance(self.rule, str) else self.rule.name or self.rule.__name__

    def make(self) -> Rule:
        """A fresh rule; ValueError where a setting is out of range."""
        return rule_class(self.rule)(**self.settings)


def rule_class(rule: Any) -> type[Rule]:
    """The class of a rule; ValueError for an unknown name or another class.

    Examples
    --------
    >>> rule_class("TS").__name__
    'TS'
    """
    if isinstance(rule, type) and issubclass(rule, Rule):
        if lacking := sorted(getattr(rule, "__abstractmethods__", ())):
            raise ValueError(f"rule must be a class that defines {lacking}, got {rule!r:.200}")
        return rule
    if not isinstance(rule, str) or rule not in RULES:
        near = did_you_mean(rule, RULES) if isinstance(rule, str) else ""
        raise ValueError(f"rule must be one of {rule_ids()} or a class derived from Rule, got {rule!r:.200}{near}")
    return RULES[rule]


def rule_spec(rule: Any) -> RuleSpec:
    """Read a rule: a name, with settings as in ``"TopTwoTS:leader_share=0.7"``, a class, or a `RuleSpec` as it is."""
    if isinstance(rule, RuleSpec):
        return rule
    if not isinstance(rule, str):
        return RuleSpec(rule)
    name, colon, settings = rule.partition(":")
    return RuleSpec(name, parse_settings("rules", rule, settings) if colon else {})
