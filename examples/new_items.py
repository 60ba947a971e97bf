"""What an agent loses on items that arrive in the middle of a run, by what its prior says of an item that is new.

python examples/new_items.py [RUNS] [ROUNDS]

A run has 40 items; after ROUNDS rounds 40 more arrive, and ROUNDS rounds follow. Items have parameters B z + own part,
where z is a one and four features. The agent "features" knows z and the right prior; "exchangeable items" knows only
that all items come from one distribution with an unknown mean; N(0, I) is a habit. The first 20 plays of a new item are
its cold start.
"""

import sys

import numpy as np

import dts_gym

DIM, FEATURES, ITEMS, FIRST, OWN = 5, 4, 40, 20, 0.5


def agents_for(features: np.ndarray, seed: int) -> dict[str, dts_gym.agents.Agent]:
    """An agent for each prior, on the items that are there at first."""
    J, reward = FEATURES + 1, dts_gym.GaussianReward(1.0)
    by_features = dts_gym.MixedEffectPrior(features, np.eye(J * DIM) / J, OWN**2 * np.eye(DIM))
    # The mean of all items has the variance of an effect, and an item what the features and its own part add.
    spread = (FEATURES / J + OWN**2) * np.eye(DIM)
    exchangeable = dts_gym.LinearDiffusionPrior([np.eye(DIM)], [spread, np.eye(DIM) / J])

    def made(agent_id: str, prior: dts_gym.Prior) -> dts_gym.agents.Agent:
        return dts_gym.make_agent(agent_id, dts_gym.BanditProblem(len(features), DIM, prior, reward), seed=seed)

    return {
        "features": made("dTS", by_features),
        "exchangeable items": made("dTS", exchangeable),
        "N(0, I)": made("LinTS", exchangeable),
    }


def play(seed: int, rounds: int) -> dict[str, tuple[float, float, float, float]]:
    """For every agent: plays and regret of cold starts, an item; regret a cold play; regret a round since they came."""
    rng, J, found = np.random.default_rng(seed), FEATURES + 1, {}
    z = np.column_stack([np.ones(2 * ITEMS), rng.standard_normal((2 * ITEMS, FEATURES))])
    theta = z @ rng.standard_normal((J, DIM)) / J**0.5 + OWN * rng.standard_normal((2 * ITEMS, DIM))
    contexts, noise = rng.uniform(-1, 1, (2 * rounds, DIM)), rng.standard_normal(2 * rounds)
    for name, agent in agents_for(z[:ITEMS], seed).items():
        plays, cold, regret = np.zeros(2 * ITEMS, dtype=int), 0.0, 0.0
        for t, context in enumerate(contexts):
            if t == rounds:
                agent.add_actions(**({"item_features": z[ITEMS:]} if name == "features" else {"count": ITEMS}))
            action, means = agent.act(context), theta @ context
            agent.update(context, action, means[action] + noise[t])
            if t >= rounds:
                lost = means.max() - means[action]
                regret += lost
                cold += lost * (action >= ITEMS and plays[action] < FIRST)
            plays[action] += 1
        first = np.minimum(plays[ITEMS:], FIRST).sum()
        found[name] = first / ITEMS, cold / ITEMS, cold / first, regret / rounds
    return found


def main(runs: int = 30, rounds: int = 1000) -> None:
    """Play some runs, the same for all agents."""
    all_runs = [play(seed, rounds) for seed in range(runs)]
    print(f"{'prior':<20}{'cold plays':>12}{'their regret':>18}{'a cold play':>18}{'a round since':>18}")
    for name in all_runs[0]:
        values = np.array([run[name] for run in all_runs])
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / runs**0.5
        cells = "".join(f"{m:>10.3f} ± {e:.3f}" for m, e in zip(mean[1:], error[1:], strict=True))
        print(f"{name:<20}{mean[0]:>12.1f}{cells}")
    print(
        f"of a new item: its first {FIRST} plays or fewer, and their regret; then regret of such a play, and of a round"
    )
    print(f"since the items came; means of {runs} runs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
