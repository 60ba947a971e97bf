"""Causes of failed claims that several experiments share."""

HASTE = (
    "5000 rounds are few for what dTS explores at scale 1; upper bounds explore less than draws, and draws under "
    "N(0, I) less than under the chain's wider marginal"
)
# Measured in the study regret-LL, by counting first plays of actions.
STUCK = (
    "at small scales dTS no longer tries actions that it has not played, as it knows them to be no better than others "
    "(after 2500 rounds of LL at K=100 it had played 34 +- 2 at 0.25, 13 +- 1 at 0.1); agents that hold them for 0 on "
    "average try them wherever all rewards are negative (99 and 91 +- 6, most of them there): the cheaper exploration"
)
