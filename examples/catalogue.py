"""A shop of 5000 items of which 2 % change every day; rewards come in a day late. Simulated, in one process.

python examples/catalogue.py [DAYS] [ITEMS] [ROUNDS]

ROUNDS a day. An item that leaves is masked at once; the day after, when its last rewards are in, its number is given
to a new item (`retire`), which begins with what the features say about it. Times are CPU times in rounds of dTS,
choosing and learning, on a problem of the same size that does not change.
"""

import resource
import sys
from time import process_time

import numpy as np

import dts_gym

DIM, FEATURES, CHANGE, REPORTS = 5, 4, 0.02, 10


def usual_round(num_actions: int, rounds: int) -> float:
    """Median seconds of a round of dTS on a linear chain of the same size."""
    prior, rng = dts_gym.random_linear_prior(DIM, 2, seed=0), np.random.default_rng(0)
    problem = dts_gym.BanditProblem(num_actions, DIM, prior, dts_gym.GaussianReward(1.0))
    agent, times = dts_gym.make_agent("dTS", problem, seed=0), []
    for _ in range(rounds):
        context, start = rng.uniform(-1, 1, DIM), process_time()
        agent.update(context, agent.act(context), rng.standard_normal())
        times.append(process_time() - start)
    return float(np.median(times))


def main(days: int = 30, items: int = 5000, rounds: int = 1000) -> None:
    unit, rng = usual_round(items, rounds), np.random.default_rng(1)
    effects = rng.standard_normal((FEATURES, DIM)) / FEATURES**0.5  # what features do, unknown to the agent

    def arriving(count: int) -> tuple[np.ndarray, np.ndarray]:
        z = rng.standard_normal((count, FEATURES))
        return z, z @ effects + 0.5 * rng.standard_normal((count, DIM))

    features, theta = arriving(items)
    prior = dts_gym.MixedEffectPrior(features, np.eye(FEATURES * DIM) / FEATURES, 0.25 * np.eye(DIM))
    agent = dts_gym.make_agent("dTS", dts_gym.BanditProblem(items, DIM, prior, dts_gym.GaussianReward(1.0)), seed=0)
    live, leaving, late = np.ones(items, dtype=bool), np.arange(0), []
    choices, changes, evenings, changing = [], [], [], max(1, round(CHANGE * items))
    print(f"{'day':>4}{'items':>8}{'mean reward':>13}{'Random':>9}{'best':>7}{'peak memory, MB':>17}")
    for day in range(1, days + 1):
        contexts, actions = rng.uniform(-1, 1, (rounds, DIM)), np.empty(rounds, dtype=np.int64)
        for t, context in enumerate(contexts):
            start = process_time()
            actions[t] = agent.act(context, mask=live)
            choices.append(process_time() - start)
        scores, means = contexts @ theta[live].T, np.vecdot(contexts, theta[actions])
        (z, new), start = arriving(changing), process_time()
        for batch in late:  # yesterday's rewards, the last ones of the items that left last evening
            agent.update(*batch)
        late = [(contexts, actions, means + rng.standard_normal(rounds))]
        for number, row in zip(leaving, z[: len(leaving)], strict=True):
            began = process_time()
            agent.retire(int(number), item_features=row)
            changes.append(process_time() - began)
        if not len(leaving):  # the first evening: no number is free yet
            leaving = agent.add_actions(item_features=z)
            theta, live = np.concatenate([theta, new]), np.append(live, np.ones(changing, dtype=bool))
        theta[leaving], live[leaving] = new, True
        leaving = rng.choice(np.setdiff1d(np.flatnonzero(live), leaving), changing, replace=False)
        live[leaving] = False
        evenings.append(process_time() - start)
        if day == 1 or day % max(1, days // REPORTS) == 0:
            rewards = f"{means.mean():>13.3f}{scores.mean():>9.3f}{scores.max(axis=1).mean():>7.2f}"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{day:>4}{live.sum():>8}{rewards}{peak:>17.0f}", flush=True)
    for name, times in (("a choice", choices), ("a new item", changes or [0.0]), ("an evening", evenings)):
        shares = ", ".join(f"{level:.1%} {np.quantile(times, level) / unit:.2f}" for level in (0.5, 0.95, 0.99, 0.999))
        print(f"quantiles of {name} in rounds of dTS ({1e6 * unit:.0f} µs): {shares}, slowest {max(times) / unit:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
