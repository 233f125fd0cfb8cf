"""Patients over visits: the effects of age, sex, a disease and the patient on an image.

Digits represent patients (ppvae.data.visits): threes and sixes that move with age, and turn after
the onset of a disease; a quarter of the pixels is missing. An additive GP prior splits the latents
into terms over named columns, each with a share of the variance; terms with the patient's id have
separate weights per patient. Afterwards: predictions of later visits of patients with five visits,
and pictures of what each term does. Run: python examples/visits.py --epochs 40

Data of your own: one row per visit, x with NaN where a value is missing, and a column for each
covariate; ppvae.data.Dataset({"x": ..., "id": ..., "age": ...}, missing_ok=("x",)). On the command
line: ppvae fit longitudinal --data visits.npz --kernel "cat(id) + rbf(age) + rbf(age)*cat(id)".
"""

import argparse
import math

import torch

import ppvae
from ppvae import plots
from ppvae.data import visits
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp.additive import (
    RBF,
    AdditivePrior,
    Categorical,
    LeaveVisitsOut,
    Observed,
    contribution,
    share_table,
)
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, Calibrated, ConvDecoder, MaskedEncoder, heads, masked_shape
from ppvae.objectives import ELBO

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--subjects", type=int, default=100)
parser.add_argument("--out", default="terms.png", help="image file to write: the terms")
options = parser.parse_args()

train, validation, test = visits(num_subjects=options.subjects)
kernel = (
    Categorical("id")
    + RBF("age")
    + RBF("age") * Categorical("id")
    + RBF("age") * Categorical("sex")
    + RBF("disease_age") * Observed("disease_age")
)

# z_l ~ GP(0, sum of the terms and noise); "order": later visits are predicted from earlier ones.
torch.manual_seed(0)
shape, latents = (1, 36, 36), 16
prior = AdditivePrior(kernel, latent_dim=latents, order="age")
head = heads.Masked(heads.Normal(shape, heads.Shared(math.exp(-1.5))))
decoder = Calibrated(ConvDecoder(latents, head, channels=(32, 16), last_channels=8, hidden=64))
inputs = masked_shape(shape)
encoder = MLP(math.prod(inputs), heads.DiagonalNormal(latents), hidden=(128,), in_shape=inputs)
model = VAE(decoder, prior=prior)
guide = AmortizedGuide(MaskedEncoder(encoder, event_dim=3))
run = ppvae.fit(
    model,
    guide,
    train,
    ELBO() + LeaveVisitsOut(),
    epochs=options.epochs,
    batch_size=128,
    learning_rate=4e-3,
    optimizer=grouped_adam((prior.parameters(), 2.5)),
    schedule=warmup_cosine(0.1, floor=0.01),
    seed=0,
)

# Later visits, predicted from the covariates and the patients' first visits only.
columns = {name: torch.as_tensor(test[name]) for name in prior.columns}
truth = torch.as_tensor(test["x"])
prediction = run.predict(columns, num_draws=50)
# A guess to compare with: the mean image of the same age, sex and disease.
known = {name: torch.as_tensor(train[name]) for name in ("x", "age", "sex", "disease")}
like = ["age", "sex", "disease"]
groups = torch.stack([known[name] for name in like], 1)
rows = torch.stack([torch.as_tensor(test[name]) for name in like], 1)
average = torch.stack([known["x"][(groups == row).all(1)].nanmean(0) for row in rows])
for name, guess in {"prediction": prediction.mean, "mean image of the group": average}.items():
    print(f"MSE of later visits, {name}: {(guess - truth).square().nanmean():.4f}")
print("\nShares of variance, the mean over latents and each latent:")
print(share_table(prior))

# What each term does: a patient's visits as predicted, then with one term alone following the
# visits while the others stay as they are at the first one.
patient = int(columns["id"][columns["disease_age"].isnan().logical_not()][0])
mine = (columns["id"] == patient).nonzero()[::2, 0]
visit = {name: values[mine] for name, values in columns.items()}
terms = {name: contribution(prior, visit, name).mean.float() for name in kernel.names}
z = sum(terms.values())
latents_of = {
    "predicted": z,
    "without the\npatient's terms": z - terms["id"] - terms["age x id"],
    **{
        f"only {name}\nchanges": z[:1] + term - term[:1]
        for name, term in terms.items()
        if name != "id"
    },
}
with torch.no_grad():
    pictures = [truth[mine], *(decoder(latent).mean.cpu() for latent in latents_of.values())]
figure = plots.images(
    torch.stack(pictures).clamp(0, 1),
    row_labels=["true\n(green: missing)", *latents_of],
    column_labels=[f"visit {int(age)}" for age in visit["age"]],
)
figure.savefig(options.out)
print(f"\nterms of patient {patient}: {options.out}")
