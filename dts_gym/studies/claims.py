"""The claim of the paper that each experiment tests, by its id, for a list of experiments without loading them."""

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
    "bai-mab": "With a budget of rounds and then one recommendation, rounds shared out by the prior (PI-BAI) err less "
    "often than sequential halving and equal shares.",
    "bai-linear": "Rounds shared out by the prior err less often also where actions share one parameter.",
    "bai-hierarchical": "Rounds shared out by the prior err less often also where actions share effects.",
    "bai-ratings": "Rounds shared out by the prior err less often also on real ratings, under a prior of what genres "
    "and year say that is fitted to other movies.",
}
