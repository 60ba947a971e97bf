"""The claim of the paper that each experiment tests, by its id, for a list of experiments without loading them.

Also the causes of failed claims that several experiments share.
"""

CLAIMS = {
    "regret-LL": "dTS has less regret than the baselines with linear diffusion and linear rewards.",
    "regret-LN": "dTS has less regret than the baselines with linear diffusion and non-linear rewards.",
    "regret-NL": "dTS has less regret than the baselines with non-linear diffusion and linear rewards.",
    "regret-NN": "dTS has less regret than the baselines with non-linear diffusion and non-linear rewards.",
    "gap-vs-K": "The gap between dTS and LinTS grows with the number of actions.",
    "scaling": "Regret of dTS grows with the number of actions, the dimension and the depth, as its bound does.",
    "misspecification": "dTS under a prior that is off is still better than HierTS under the right one.",
    "swiss-roll": "dTS is ahead of LinTS with 50 pre-training samples already, more of them and more steps help.",
    "movielens": "With a prior pre-trained on other movies, dTS has less regret than LinTS and LinUCB on real ratings.",
    "cost": "dTS costs O((L + K) d^3) time and O((L + K) d^2) space, like LinTS; a joint posterior costs O(K^3 d^3) "
    "time and O(K^2 d^2) space.",
    "posterior-error": "The deck's two approximations (Gaussian likelihood, linear diffusion formulas) stand for the "
    "posterior.",
    "bound": "Bayes regret is below sqrt(n (d K sigma_1^2 + sum of the latents' terms)): informative priors reduce "
    "regret.",
    "posterior-2d": "A diffusion prior captures structure that a Gaussian cannot: regret is lower.",
    "exploration": "Untuned, bounds that fall over the horizon have no more regret than the best constant scale of any "
    "rival.",
    "offpolicy-synthetic": "From a log of many actions, the structured posterior learns a better policy than "
    "independent ones, and knows its own policy's value.",
    "offpolicy-ratings": "The same on real ratings, under a prior fitted to other movies.",
    "offpolicy-digits": "Lower bounds by logarithmic smoothing are tighter than those of implicit exploration, and "
    "these than those of clipped weights; policies learned by them are guaranteed to improve on the log.",
    "mixed-effects": "Thompson sampling that knows how actions mix a few shared effects has less regret than agents "
    "that do not.",
    "item-features": "On real ratings, a prior of what genres and year say of a movie is worth more than any that "
    "takes movies for alike.",
    "bai-mab": "With a budget of rounds and then one recommendation, rounds shared out by the prior (PI-BAI) err less "
    "often than sequential halving and equal shares.",
    "bai-linear": "Rounds shared out by the prior err less often also where actions share one parameter.",
    "bai-hierarchical": "Rounds shared out by the prior err less often also where actions share effects.",
    "bai-ratings": "Rounds shared out by the prior err less often also on real ratings, under a prior of what genres "
    "and year say that is fitted to other movies.",
}

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
