"""How well angle, shift and content are told apart: rVAE and trVAE on digits posed at random.

To show: circular correlation of inferred and true angle >= 0.97 within a digit, R2 of the shift
>= 0.95, R2 of the angle from the content z <= 0.05. Seconds an epoch of 1,000 digits beside it.
"""

import math

import torch
from common import SHAPE, Clock, batch_of, device_of, images, parser, report
from torch import nn

import ppvae
from ppvae.data import posed_digits
from ppvae.fitting import cosine
from ppvae.guides import Align, AmortizedGuide
from ppvae.inference import encode
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import (
    MLP,
    Angle,
    CanvasDecoder,
    ConvEncoder,
    CoordinateDecoder,
    EquivariantPose,
    Shift,
    Sites,
    heads,
)
from ppvae.objectives import ELBO, Linear
from ppvae.scores import circular_correlation, linear_r2, r2, shift_r2

made = parser(__doc__, epochs=100)
made.add_argument("--digit", default="3", help="one digit, or all in one model")
made.add_argument("--decoder", default="canvas", choices=("canvas", "coordinates"))
made.add_argument("--latent-dim", type=int, default=8)
made.add_argument("--rotation", type=float, default=math.pi, help="half-width, radians")
made.add_argument("--shift", type=float, default=0.1, help="half image sides; 0 for the rVAE")
made.add_argument("--pose", default="equivariant", choices=("equivariant", "conv"))
made.add_argument("--angles", type=int, default=16, help="K of the equivariant network")
made.add_argument("--beta", type=float, default=4.0, help="weight of z's KL at the start")
made.add_argument("--annealed", type=int, default=1000, help="steps until it is one")
made.add_argument("--keep", action="store_true", help="content from the image as it stands")
options = made.parse_args()

digit = None if options.digit == "all" else int(options.digit)
data = posed_digits(
    digit,
    source=images(options),
    rotation=options.rotation,
    shift=options.shift,
    seed=options.seed,
)
torch.manual_seed(options.seed)
head, dim = heads.Bernoulli(SHAPE), options.latent_dim
decoder = {
    "canvas": lambda: CanvasDecoder(MLP(dim, heads.Raw(head.raw_shape)), head),
    "coordinates": lambda: CoordinateDecoder(dim, head, num_frequencies=4),
}[options.decoder]()
widths = {"rotation": math.inf}
families = {"rotation": Angle()}
if options.shift:
    widths["translation"], families["translation"] = options.shift, Shift()
model = VAE(PosedDecoder(decoder, **widths), latent_dim=dim)
pose = (
    EquivariantPose(SHAPE, translation=bool(options.shift), angles=options.angles)
    if options.pose == "equivariant"
    else ConvEncoder(SHAPE, Sites(families), channels=[32, 64])
)
trunk = Align(pose, SHAPE, undo=not options.keep)
content = ConvEncoder(SHAPE, heads.DiagonalNormal(dim), channels=[32, 64])
guide = AmortizedGuide(nn.Sequential(trunk, content))

with Clock() as clock:
    run = ppvae.fit(
        model,
        guide,
        data,
        ELBO(weights={"z": Linear(options.beta, 1.0, options.annealed)}),
        epochs=options.epochs,
        batch_size=100,
        learning_rate=2e-3,
        schedule=cosine,
        seed=options.seed,
        device=options.device,
        progress=False,
    )

test = batch_of(data.test, device_of(model))
found = encode(guide, test)
scores = {}
for y in test["y"].unique().tolist():
    rows = test["y"] == y
    score = {
        "angle_correlation": circular_correlation(found["rotation"][rows], test["angle"][rows]),
        "angle_from_content_r2": linear_r2(found["z"][rows].cpu(), test["angle"][rows].cpu()),
    }
    if options.shift:
        shifts = found["translation"][rows], test["shift"][rows]
        score["shift_r2"] = shift_r2(*shifts, test["angle"][rows])
        score["shift_r2_with_the_origin"] = r2(*shifts)
    scores[str(y)] = score
report(
    options,
    digits=scores,
    validation_elbo=run.history.column("val_elbo")[-1],
    seconds_per_epoch_of_1000=clock.seconds / options.epochs / data.train.num_rows * 1000,
)
