"""The cost of the exact sum over classes: milliseconds per step at K = 1 and K = 10.

To show: K = 10 under 4 times K = 1. ``join`` says after how many hidden layers of the decoder the
class comes in; what is before is shared by all classes.
"""

import statistics
import time

import torch
from common import SHAPE, batch_of, device_of, images, parser, report

from ppvae.guides import FactorizedGuide
from ppvae.models import JointVAE
from ppvae.nets import MLP, Sites, heads
from ppvae.objectives import ELBO

made = parser(__doc__, epochs=1)
made.add_argument("--steps", type=int, default=50)
made.add_argument("--hidden", type=int, nargs="+", default=[512, 256])
options = made.parse_args()
data = images(options).train.take(torch.arange(100))


def stepper(classes, join):
    torch.manual_seed(options.seed)
    sites = Sites({"z": heads.DiagonalNormal(10), "y": heads.Classes(classes)})
    model = JointVAE(
        MLP([10, classes], heads.Bernoulli(SHAPE), hidden=options.hidden, join=join),
        latent_dim=10,
        classes=classes,
    )
    guide = FactorizedGuide(MLP(784, sites, hidden=options.hidden, in_shape=SHAPE))
    objective = ELBO()(model, guide).to(options.device or "cpu")
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)
    batch = {"x": batch_of(data, device_of(objective))["x"]}

    def step():
        started = time.perf_counter()
        objective(batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch["x"].is_cuda:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - started)

    return step


results = {}
for join in range(len(options.hidden)):
    # The two alternate, so that a busy machine slows both.
    steps = {classes: stepper(classes, join) for classes in (1, 10)}
    times = {1: [], 10: []}
    for i in range(options.steps + 5):
        for classes, step in steps.items():
            spent = step()
            if i >= 5:
                times[classes].append(spent)
    medians = {str(k): statistics.median(v) for k, v in times.items()}
    results[f"join {join}"] = {**medians, "ratio": medians["10"] / medians["1"]}
report(options, milliseconds=results)
