"""Evaluation where the answer is exact: a linear-Gaussian model with the exact and a wrong guide.

python -m benchmarks.evaluate.exact
"""

import json
import time

import torch

from ppvae.evaluate import (
    amortization_gap,
    check_predictions,
    dci,
    log_likelihood,
    mig,
    sap,
    simulation_based_calibration,
    uniformity,
)
from tests.evaluate.programs import D, linear_run

STATISTICS = {"mean": lambda x: x.mean(1), "spread": lambda x: x.std(1)}


def evidence():
    found = {}
    for name, wrong in {
        "exact guide": {},
        "half as wide": {"spread": 0.5},
        "a quarter as wide, shifted": {"spread": 0.25, "shift": 0.5},
        "1.5 times as wide": {"spread": 1.5},
    }.items():
        torch.manual_seed(1)
        run = linear_run(**wrong)
        x = run.model.draw(1000)
        exact = run.model.log_evidence(x)
        estimate = log_likelihood(run, {"x": x}, num_particles=256)
        found[name] = {
            "exact": float(exact.mean()),
            "importance": float(estimate.log_likelihood.mean()),
            "largest error": float((estimate.log_likelihood - exact).abs().max()),
            "elbo": float(estimate.elbo.mean()),
            "median k": float(estimate.pareto_k.median()),
            "share k > 0.7": estimate.means()["untrusted"],
        }
    return found


def calibration():
    found = {}
    for name, wrong in {"exact guide": {}, "half as wide": {"spread": 0.5}}.items():
        torch.manual_seed(1)
        run = linear_run(**wrong)
        sbc = simulation_based_calibration(run, {"x": torch.zeros(1, D)}, num_datasets=200)
        found[name] = [float(p) for p in sbc.p_values["z"]]
    return found


def checks():
    torch.manual_seed(1)
    run = linear_run()
    own = run.model.draw(200)
    centre = run.model.bias.detach()
    found = {}
    for name, x in {"own data": own, "2.5 times as wide": centre + 2.5 * (own - centre)}.items():
        check = check_predictions(run, {"x": x}, statistics=STATISTICS)
        found[name] = {
            **check.means(),
            "uniform p-values": {
                key: uniformity(part.p_values) for key, part in check.statistics.items()
            },
            "uniform PIT": [uniformity(part) for part in check.pit.T],
        }
    return found


def gap():
    torch.manual_seed(1)
    run = linear_run(shift=0.5)
    x = run.model.draw(8)
    found = amortization_gap(run, {"x": x}, steps=150, learning_rate=1e-2, max_rows=8)
    lost = run.model.log_evidence(x) - found.amortized
    return {"exact": float(lost.mean()), "found": float(found.gap.mean())}


def disentanglement():
    torch.manual_seed(1)
    factors = torch.randint(0, 5, (5000, 2))
    turn = torch.tensor([[1.0, -1.0], [1.0, 1.0]]) / 2**0.5
    found = {}
    for name, codes in {
        "perfect": factors.double(),
        "turned by 45 degrees": factors.double() @ turn.double(),
        "noise": torch.randn(5000, 2),
    }.items():
        codes = codes + 0.01 * torch.randn(5000, 2)
        told = dci(codes, factors)
        found[name] = {
            "MIG": mig(codes, factors),
            "SAP": sap(codes, factors),
            "D": told.disentanglement,
            "C": told.completeness,
            "I": told.informativeness,
        }
    return found


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.3g}")


def main():
    torch.set_default_dtype(torch.float64)
    for part in (evidence, calibration, checks, gap, disentanglement):
        started = time.perf_counter()
        found = rounded(part())
        seconds = round(time.perf_counter() - started, 1)
        print(json.dumps({part.__name__: found, "seconds": seconds}, indent=2))


if __name__ == "__main__":
    main()
