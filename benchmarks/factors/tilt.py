"""The slant of handwritten digits: the rotation that best aligns them, which limits pose.py.

Each image is turned, again and again, to fit best the mean and the first principal components of
all the others as they stand. The spread of the angles is the writers' own tilt, which a model
that explains its data cannot tell from a turn.
"""

import math

import torch
from common import batch_of, images, parser, report

from ppvae.evaluate.scores import resultant_length
from ppvae.nets import Pose, grid, resample, transform_grid

made = parser(__doc__, epochs=8)
made.add_argument("--digit", type=int, default=3)
made.add_argument("--images", type=int, default=400)
made.add_argument("--components", type=int, nargs="+", default=[0, 2, 8])
options = made.parse_args()

torch.manual_seed(options.seed)
train = images(options).train
x = batch_of(train.take(torch.as_tensor(train["y"]) == options.digit))["x"][: options.images]
angles = torch.arange(-40, 41, 4) * math.pi / 180
places = transform_grid(grid(*x.shape[-2:]), Pose(angle=angles))
turned = resample(x[:, None], places[None]).flatten(2)  # (N, K, pixels)

results = {}
for count in options.components:
    chosen = torch.full((len(x),), len(angles) // 2)
    for _ in range(options.epochs):
        now = turned[torch.arange(len(x)), chosen]
        error = turned - now.mean(0)
        if count:
            axes = torch.pca_lowrank(now - now.mean(0), q=count)[2]
            error = error - (error @ axes) @ axes.mT
        chosen = error.square().sum(-1).argmin(1)
    tilt = angles[chosen]
    spread, even = tilt.var(), (math.pi / 3) ** 2 / 3
    # Of even angles over the full turn; Fisher and Lee's coefficient is its square.
    length = resultant_length(tilt)
    results[str(count)] = {
        "degrees": math.degrees(spread.sqrt()),
        "resultant_length": length,
        "correlation_full_turn": length**2,
        "correlation_60_degrees": float((1 + spread / even).rsqrt()),
    }
report(options, components=results)
