"""Subjects x tasks: what a subject would do in a task that she never did.

Signals of 94 regions of the brain in six motor tasks (ppvae.data.tasks), drawn with a known
correlation of the tasks. A GP prior with a covariance of its own over the tasks
(FreeFormFeatures), independent from subject to subject, predicts the left-out task of half of the
subjects from their others, with intervals. Beside it: the mean of the task, the mean of the
subject, and their sum; and the task correlations that were learned, with intervals, against those
that were drawn (the second picture, NAME-intervals.png).
The graphical lasso, its penalty chosen by cross-validation, says which tasks go together directly:
of the latents of subjects who did all tasks, against the graph that was drawn. The third picture,
NAME-latents.png, is a t-SNE of the latents by task and by subject, or with --umap a UMAP.
Run: python examples/tasks.py

Data of your own: x (N, regions), object the subject and view the task, whole numbers from 0.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import ppvae
from ppvae import plots
from ppvae.data.tasks import TASK_CORRELATION, TASKS
from ppvae.evaluate import dependencies, tsne, umap, view_correlation
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp import FreeFormFeatures, GPPrior, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads, shared_scale

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=400)
parser.add_argument("--subjects", type=int, default=60)
parser.add_argument("--seed", type=int, default=0, help="of the data and of the fit")
parser.add_argument("--fast", action="store_true", help="a few epochs of few subjects")
parser.add_argument("--umap", action="store_true", help="in place of t-SNE; pip: umap-learn")
parser.add_argument("--out", default="tasks.png", help="picture of the task correlations")
options = parser.parse_args()
subjects, epochs = (12, 10) if options.fast else (options.subjects, options.epochs)

splits = ppvae.data.tasks(num_subjects=subjects, seed=options.seed)
x, subject, task = (torch.as_tensor(splits.train[name]) for name in ("x", "object", "view"))
new_x, new_subject, new_task = (torch.as_tensor(splits.test[n]) for n in ("x", "object", "view"))

# Tasks differ in their means, which every subject shares; the GP is of what differs by subject.
of_task = torch.stack([x[task == t].mean(0) for t in range(len(TASKS))])
rest = x - of_task[task]
of_subject = torch.stack([rest[subject == s].mean(0) for s in range(subjects)])

# k(s, s') = 1 for a subject with itself and 0 for another: a table of unit vectors, kept as it is.
torch.manual_seed(options.seed)
regions, latents = x.size(1), 8
who = ObjectTable(subjects, subjects)
who.table.data.copy_(torch.eye(subjects))
who.table.requires_grad_(False)
views = FreeFormFeatures(torch.arange(len(TASKS)))
prior = GPPrior(who, views, latent_dim=latents)
decoder = MLP(latents, heads.Normal((regions,), heads.Shared(0.5)), hidden=())
encoder = MLP(regions, heads.DiagonalNormal(latents), hidden=())
# The scale of latents and decoder as a parameter of its own; without it, it ends too large.
encoder, decoder = shared_scale(encoder, decoder, latent_dim=latents)
run = ppvae.fit(
    GPVAE(prior, decoder),
    GPGuide(encoder, prior),
    {"x": rest, "object": subject, "view": task},
    epochs=epochs,
    batch_size=len(x),
    learning_rate=5e-2,
    optimizer=grouped_adam((prior.parameters(), 3.0)),
    schedule=warmup_cosine(0.1, floor=0.01),
    seed=options.seed,
)

prediction = run.predict({"object": new_subject, "view": new_task}, num_draws=400)
truth = new_x - of_task[new_task]
guesses = {
    "GP prior": prediction.mean,
    "mean of the task": torch.zeros_like(truth),
    "mean of the subject": of_subject[new_subject] + x.mean(0) - of_task[new_task],
    "task + subject": of_subject[new_subject],
}
print(f"{len(truth)} tasks that a subject never did: mean squared error (standard error)")
for name, guess in guesses.items():
    error = (guess - truth).square().mean(1)
    print(f"  {name:<20} {error.mean():.3f} ({error.std() / len(error) ** 0.5:.3f})")
inside = (truth >= prediction.lower) & (truth <= prediction.upper)
print(f"share of values in 90 % intervals {inside.double().mean():.3f}")

# The latents' correlation of two tasks of one subject, v0 R: the kernel's R and the share v1 that
# is each datum's own are not determined apart, as many pairs of them have the same likelihood.
seen = {"x": rest, "object": subject, "view": task}
posterior = view_correlation(run, seen, names=TASKS)
learned, planted = posterior.learned.numpy(), np.asarray(TASK_CORRELATION)
pairs = np.triu_indices(len(TASKS), 1)
off, v1 = np.abs(learned - planted)[pairs], prior.variances()[1].item()
off_kernel = np.abs(learned / (1 - v1) - planted)[pairs]
print(f"task correlations off by {off.mean():.3f} on average, by {off.max():.3f} at most")
print(f"  of the kernel alone, {off_kernel.mean():.3f} and {off_kernel.max():.3f}")
print(f"share of the variance that is each datum's own {v1:.3f} (drawn with none)")
print(f"{'two tasks':<25}  learned   mean   90 % interval  drawn")
hits = 0
for row, i, j in zip(posterior.rows(), *pairs, strict=True):
    true, (low, high) = planted[i, j], (row["lower"], row["upper"])
    hits += low <= true <= high
    names = f"{row['first']}, {row['second']}"
    print(
        f"{names:<25}  {learned[i, j]:7.2f}  {row['mean']:5.2f}   {low:5.2f} to {high:5.2f}"
        f"  {true:5.2f}{'' if low <= true <= high else '  outside'}"
    )
print(f"{hits} of {len(pairs[0])} intervals hold the correlation that was drawn", end="; ")
print(f"Pareto k {posterior.pareto_k:.2f}, {posterior.effective:.0f} effective draws")

# Each latent of each subject who did all tasks is one observation of the tasks. Two tasks are
# joined in the graph if they are correlated given all others.
z = run.encode(seen)["z"]
whole = torch.bincount(subject, minlength=subjects)[subject] == len(TASKS)
order = (subject[whole] * len(TASKS) + task[whole]).argsort()
by_task = z[whole][order].reshape(-1, len(TASKS), latents).transpose(1, 2).flatten(0, 1)
lasso = dependencies(by_task)
direct, inverse = lasso.partial_correlation.numpy(), np.linalg.inv(planted)
scale = np.sqrt(np.diag(inverse))
drawn = -inverse / scale / scale[:, None] + 2 * np.eye(len(TASKS))
found, edges = np.abs(direct[pairs]) > 0.02, np.abs(drawn[pairs]) > 0.02
print(f"graph: {len(by_task)} observations, penalty {lasso.alpha:.3f} by cross-validation")
print(
    f"  {(found & edges).sum()} of {edges.sum()} edges, {(found & ~edges).sum()} of "
    f"{(~edges).sum()} pairs without one joined"
)
print(f"  partial correlations off by {np.abs(direct - drawn)[pairs].mean():.3f} on average")

matrices = {
    "correlation: learned": learned,
    "correlation: drawn": planted,
    "partial correlation: learned": direct,
    "partial correlation: drawn": drawn,
}
figure = plots.covariance(matrices, ticks=TASKS, label="of two tasks")
figure.savefig(options.out)
print(f"the correlations: {options.out}")
out = Path(options.out)
figure = plots.correlation_intervals(
    *(posterior.mean, posterior.lower, posterior.upper),
    ticks=TASKS,
    truth=planted,
    label="correlation of two tasks, 90 % interval",
)
figure.savefig(out.with_name(f"{out.stem}-intervals{out.suffix}"))

# Colours of tasks, and of the six subjects with the largest signals, all others in grey.
places = umap(z) if options.umap else tsne(z)
largest = torch.stack([z[subject == s].norm() for s in range(subjects)]).topk(6).indices
figure = Figure(figsize=(8, 4), layout="constrained")
left, right = figure.subplots(1, 2)
for t, name in enumerate(TASKS):
    left.scatter(*places[task == t].T, s=10, lw=0, color=f"C{t}", label=name)
right.scatter(*places.T, s=10, lw=0, color="0.85")
for n, s in enumerate(largest.tolist()):
    right.scatter(*places[subject == s].T, s=18, lw=0, color=f"C{n}", label=f"subject {s}")
for axes, title in ((left, "latents by task"), (right, "by subject: six of them")):
    axes.set(title=title, xticks=[], yticks=[])
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.02))
figure.savefig(out.with_name(f"{out.stem}-latents{out.suffix}"), dpi=150)
