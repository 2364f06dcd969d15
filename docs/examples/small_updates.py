"""Why training in few bits rounds stochastically: many small updates of a weight."""

import lowp

STEPS, UPDATE = 1000, 1e-3

for rounding in ["nearest_ties_to_even", "stochastic_a"]:
    weight = 1.0
    for step in range(STEPS):
        weight = lowp.quantize(weight + UPDATE, "bfloat16", rounding=rounding, seed=7, stream=step)
    print(f"{rounding}: 1 + {STEPS} * {UPDATE:g} = {weight:g}")
