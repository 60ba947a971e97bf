"""Best-arm identification: rules with a budget of rounds on four problems, and how often each recommends wrongly.

The problems and the first claim are those of Nguyen et al., "Prior-Dependent Allocations for Bayesian Fixed-Budget
Best-Arm Identification in Structured Bandits" (2025), "the paper" of this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dts_gym.harness.conduct import Conduct
from dts_gym.identification.comparing import compared_rules
from dts_gym.identification.comparison import IdentificationComparison
from dts_gym.identification.figures import budgets_figure
from dts_gym.identification.targets import checked_target
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.log_study import Contrast
from dts_gym.studies.study import Ask, Findings, Study, Verdict, chosen, judge
from dts_gym.utils.tables import mean_interval

_SHARES = ("PI-BAI-Opt", "PI-BAI-G", "PI-BAI-TS")
_ROUND_BY_ROUND = ("KnowledgeGradient", "TopTwoTS", "TS")
_RULES = (*_ROUND_BY_ROUND, *_SHARES, "BayesElim", "SequentialHalving", "Uniform")  # the first: others less it
_QUICK_RUNS = 20
_QUICK_BUDGETS = (20, 40)


@dataclass(frozen=True)
class IdentificationStudy(Study):
    """Rules on the same instances of one of the paper's problems, with several budgets.

    Parameters
    ----------
    problem : name of the problem, as `dts_gym.compare_identification` accepts it.
    budgets : numbers of rounds of the profile "paper".
    small : settings of the problem in the profile "quick".
    runs : number of instances of the profile "paper".
    uses_data : whether the problem is made of a data set, which can be named.
    contrasts : claims that one rule errs more often than another, of budgets by their parts' names.
    """

    problem: str
    budgets: tuple[int, ...]
    small: Mapping[str, int]
    contrasts: tuple[Contrast, ...]
    runs: int = 1000
    uses_data: bool = False

    @property
    def takes_data(self) -> bool:
        return self.uses_data

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        quick = ask.profile == "quick"
        budgets = _QUICK_BUDGETS if quick else self.budgets
        return {
            "problem": self.problem,
            **self._posed(ask),
            "rules": list(_RULES),
            "budgets": [budgets[i] for i in chosen([_part(n) for n in budgets], ask.only)],
            "runs": ask.seeds or (_QUICK_RUNS if quick else self.runs),
        }

    def _posed(self, ask: Ask) -> dict[str, Any]:
        """The settings of the problem that differ from its defaults."""
        data = {} if ask.data is None else {"data": ask.data}
        return {**(self.small if ask.profile == "quick" else {}), **data}

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        asked = self.settings(ask)
        comparison = compared_rules(
            conduct.within("rules"),
            checked_target("problem", self.problem, self._posed(ask), None),
            asked["rules"],
            asked["budgets"],
            asked["runs"],
        )
        verdicts = tuple(
            _verdict(contrast, budget, comparison)
            for contrast in self.contrasts
            for budget in comparison.budgets
            if not contrast.cells or _part(budget) in contrast.cells
        )
        notes = "\n".join(least_error(comparison, budget) for budget in comparison.budgets)
        return Findings(
            comparison.rows(),
            notes,
            comparison.table("csv"),
            verdicts,
            lambda path: budgets_figure(comparison, path),
            comparison.states,
        )


def least_error(comparison: IdentificationComparison, budget: int) -> str:
    """The rule of the least probability of error, and those whose paired 95 % interval from it contains 0.

    The intervals are not simultaneous, and the rule was picked on the same runs: a rule that is truly best may be left
    out by chance.
    """
    errors = {label: comparison.errors(label, budget) for label in comparison.labels}
    best = min(errors, key=lambda label: float(errors[label].mean()))
    tied = [label for label, each in errors.items() if label != best and not mean_interval(each - errors[best])[0] > 0]
    told = f", not told apart from {', '.join(tied)}" if tied else ", below every other rule"
    return f"n={budget}: {best} errs least often ({errors[best].mean():.3f}){told}."


def _part(budget: int) -> str:
    """The name by which a budget is asked for."""
    return f"budget-{budget}"


def _verdict(contrast: Contrast, budget: int, comparison: IdentificationComparison) -> Verdict:
    difference = comparison.errors(contrast.more, budget) - comparison.errors(contrast.less, budget)
    return judge(contrast.claim, f"n={budget}", contrast.text, mean_interval(difference))


def _contrasts(claim: str, more: tuple[str, ...], less: tuple[str, ...]) -> tuple[Contrast, ...]:
    """A claim that each of some rules errs more often than each of others."""
    return tuple(
        Contrast(claim, worse, better, f"P(error) of {worse} less {better}'s") for better in less for worse in more
    )


_CONTRASTS = (
    *_contrasts(
        "Rounds shared out by the prior err less often than sequential halving and equal shares.",
        ("SequentialHalving", "Uniform"),
        _SHARES,
    ),
    *_contrasts(
        "Beyond the paper: rules that look at the exact joint posterior in every round err less often than the "
        "published warm-up rule and sequential halving.",
        ("PI-BAI-TS", "SequentialHalving"),
        _ROUND_BY_ROUND,
    ),
)
_RECOMMENDED = (
    " the same and with the same noise for every rule and budget. A rule recommends the action of the largest "
    "posterior mean, a rule by stages the action that is left."
)
_DESCRIPTION = " Noise 1; 1000 instances drawn from the prior (Nguyen et al. 2025: 10 000)," + _RECOMMENDED
STUDIES = (
    IdentificationStudy(
        id="bai-mab",
        claim=CLAIMS["bai-mab"],
        description=(
            "10 independent actions, prior means from 0 to 1 and deviations from 0.1 to 0.5 in equal steps; budgets "
            "from 20 to 300." + _DESCRIPTION
        ),
        problem="mab",
        budgets=(20, 50, 100, 200, 300),
        small={"num_actions": 5},
        contrasts=_CONTRASTS,
    ),
    IdentificationStudy(
        id="bai-linear",
        claim=CLAIMS["bai-linear"],
        description=(
            "30 actions with normal features in 4 dimensions, drawn for each instance, and one parameter N(0, I); "
            "budgets from 50 to 300." + _DESCRIPTION
        ),
        problem="linear",
        budgets=(50, 100, 200, 300),
        small={"num_actions": 8, "dim": 2},
        contrasts=_CONTRASTS,
    ),
    IdentificationStudy(
        id="bai-hierarchical",
        claim=CLAIMS["bai-hierarchical"],
        description=(
            "60 actions that share 10 effects by weights drawn for each instance, uniform numbers over their sum; the "
            "effects have means from 0 to 2 and variances from 0.01 to 0.25, the actions' own deviations run from 0.1 "
            "to 0.5, in equal steps; budgets from 150 to 550." + _DESCRIPTION
        ),
        problem="hierarchical",
        budgets=(150, 200, 300, 400, 550),
        small={"num_actions": 8, "num_effects": 3},
        contrasts=_CONTRASTS,
    ),
    IdentificationStudy(
        id="bai-ratings",
        claim=CLAIMS["bai-ratings"],
        description=(
            "100 movies of MovieLens, the best one for a user, by rank-5 factors; movies and user are drawn for each "
            "instance, and rewards are the products of their factors with the noise of the factorisation's residuals. "
            "The prior says what genres and year tell of a movie, and is fitted to other movies, so that it is not the "
            "distribution that the instances are drawn from; budgets from 200 to 1000. 200 instances," + _RECOMMENDED
        ),
        problem="ratings",
        budgets=(200, 400, 600, 800, 1000),
        small={"num_actions": 10, "rank": 3, "min_ratings": 5},
        contrasts=_CONTRASTS,
        runs=200,
        uses_data=True,
    ),
)
