"""Helpers of several test modules: random problems, and dense posteriors to compare the package's with.

The dense formulas work on the joint normal distribution of all actions' parameters, level by level from the top of the
chain, and know nothing of messages, tables or collapsed chains.
"""

import numpy as np

from dts_gym import BanditProblem, GaussianReward, make_agent
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.denoisers import DenoiserLink, DenoiserNetwork


def random_cov(rng, d, least=0.1, width=None):
    """A random covariance (d, d): that of ``width`` normal vectors (None: d of them), plus ``least`` times I."""
    width = d if width is None else width
    root = rng.standard_normal((d, width))
    return root @ root.T / width + least * np.eye(d)


def random_axes(rng, d):
    """Random orthonormal columns, (d, d)."""
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def cov_along(axes, variances):
    """The covariance (d, d) with these variances along the columns of ``axes``; zeros make it singular."""
    cov = (axes * np.asarray(variances)) @ axes.T
    return (cov + cov.T) / 2


def random_chain(rng, depth, branch=0, d=2, covariances=None, least=0.1):
    """A linear chain with random weights and offsets.

    Its covariances are those given, which the caller has drawn before, or `random_cov` with ``least``, drawn between
    the weights and the offsets.
    """
    weights = [rng.uniform(-1, 1, (d, d)) for _ in range(depth)]
    covs = [random_cov(rng, d, least) for _ in range(depth + 1)] if covariances is None else covariances
    return LinearDiffusionPrior(weights, covs, list(rng.standard_normal((depth, d))), branch)


def loud_denoisers():
    """A pre-trained chain, d = 2, of three small denoisers with large random weights."""
    rng = np.random.default_rng(0)
    network = DenoiserNetwork(
        rng.standard_normal((8, 2)), *rng.standard_normal((2, 1, 8, 8)) / 3, rng.standard_normal((2, 8)) / 4,
        np.zeros(2), rng.standard_normal((3, 2, 8)),
    )  # fmt: skip
    bars = [1.0, 0.7, 0.4, 0.1]
    links = [DenoiserLink(network, step, bars[step], bars[step - 1]) for step in (1, 2, 3)]
    return DiffusionPrior(links, [scale * np.eye(2) for scale in (0.1, 0.2, 0.3, 1.0)])


def prior_moments(prior, num_actions):
    """Mean (K d,) and covariance (K d, K d) of all parameters: levels one by one, from the top."""
    K, d = num_actions, prior.dim
    mean, cov = np.zeros(K * d), np.zeros((K * d, K * d))
    for ell in range(prior.depth, -1, -1):
        if ell < prior.depth:
            W = np.kron(np.eye(K), prior.weights[ell])
            mean, cov = W @ mean + np.tile(prior.offsets[ell], K), W @ cov @ W.T
        together = np.eye(K) if ell <= prior.branch else np.ones((K, K))
        cov = cov + np.kron(together, prior.covariances[ell])
    return mean, cov


def given_rewards(mean, cov, d, data, noise_std):
    """A normal distribution that begins with the parameters of the actions, d each, conditioned on rewards.

    ``data`` are contexts (n, d), actions (n,) and rewards (n,). The gain is solved for in the rewards' space.
    """
    contexts, actions, rewards = data
    H = np.zeros((len(rewards), len(mean)))
    for row, (x, a) in enumerate(zip(contexts, actions, strict=True)):
        H[row, a * d : (a + 1) * d] = x
    gain = np.linalg.solve(H @ cov @ H.T + noise_std**2 * np.eye(len(rewards)), H @ cov).T
    return mean + gain @ (rewards - H @ mean), cov - gain @ H @ cov


def dense_posterior(prior, num_actions, data, noise_std, scale=1.0):
    """Mean (K d,) and covariance (K d, K d), times ``scale`` squared, of all parameters given rewards."""
    mean, cov = given_rewards(*prior_moments(prior, num_actions), prior.dim, data, noise_std)
    return mean, scale**2 * cov


def taught(posterior, data):
    """The posterior (or agent) after contexts, actions and rewards, one by one."""
    for x, a, y in zip(*data, strict=True):
        posterior.update(x, int(a), float(y))
    return posterior


def taught_agent(agent_id, prior, settings, num_actions, rounds):
    """An agent that has seen random rewards, 0 or 1, of its actions 0, 1 and 2; the others stay unplayed.

    ``settings`` are the agent's, and may hold the problem's ``reward`` and ``features``.
    """
    settings = dict(settings)
    reward = settings.pop("reward", GaussianReward(0.7))
    features = settings.pop("features", "disjoint")
    agent = make_agent(agent_id, BanditProblem(num_actions, 2, prior, reward, features), seed=3, **settings)
    rng = np.random.default_rng(1)
    for _ in range(rounds):
        agent.update(rng.uniform(-1, 1, agent.problem.context_shape), int(rng.integers(3)), float(rng.integers(2)))
    return agent


def z_scores(draws, mean, cov):
    """z-scores of the sample mean and of every entry of the sample covariance of normal draws, (n,), (n, n)."""
    n = len(draws)
    centred = draws - mean
    variances = np.diag(cov)
    spread = np.sqrt(np.maximum(variances, 1e-300) / n)
    mean_z = np.where(variances > 1e-8, centred.mean(axis=0) / spread, 0.0)
    # Gaussian: Var(e_i e_j) = cov_ii cov_jj + cov_ij^2.
    entry_spread = np.sqrt((np.outer(variances, variances) + cov**2) / n)
    off = centred.T @ centred / n - cov
    cov_z = np.where(entry_spread > 1e-8, off / np.maximum(entry_spread, 1e-300), 0.0)
    return mean_z, cov_z


GENRES = ("Comedy", "Drama", "Horror")


def rated_movies(folder):
    """Ratings of 80 movies whose factors are decided by three genres, up to a little noise; movie 7 is not listed."""
    rng = np.random.default_rng(0)
    genres = rng.random((80, 3)) < 0.5
    genres[np.arange(80), rng.integers(3, size=80)] = True
    movies = genres @ rng.standard_normal((3, 3)) + 0.2 * rng.standard_normal((80, 3))
    stars = np.clip(3 + 0.7 * rng.standard_normal((60, 3)) @ movies.T + 0.3 * rng.standard_normal((60, 80)), 0.5, 5)
    rated = [(u, m) for u in range(60) for m in range(80) if rng.random() < 0.7]
    (folder / "u.data").write_text("".join(f"{u}\t{m}\t{stars[u, m]:.2f}\t0\n" for u, m in rated))
    flags = {"Comedy": 5, "Drama": 8, "Horror": 11}
    lines = []
    for m in set(range(80)) - {7}:
        columns = ["0"] * 19
        for j, genre in enumerate(GENRES):
            columns[flags[genre]] = str(int(genres[m, j]))
        lines.append(f"{m}|Père {m} ({1950 + m % 60})||||{'|'.join(columns)}\n")
    (folder / "u.item").write_bytes("".join(lines).encode("latin-1"))
    return folder
