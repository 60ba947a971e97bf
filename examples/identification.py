"""Best-arm identification: which of 60 related actions is the best, after 300 rounds?

python examples/identification.py 20
"""

import sys

import dts_gym

runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
result = dts_gym.identify("hierarchical", budget=300, seed=0)
chosen = result.recommendation
print(f"recommended: action {chosen}, the best with probability {result.probability_best[chosen]:.2f}")
most = sorted(result.counts.tolist())[-5:]
print(f"simple regret: {result.simple_regret:.3f}; rounds of the most played actions: {most}")

print(
    dts_gym.compare_identification(
        "hierarchical",
        ["KnowledgeGradient", "TopTwoTS", "SequentialHalving", "PI-BAI-TS"],
        budgets=[150, 300],
        seeds=runs,
    )
)
