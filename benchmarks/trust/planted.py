"""Bugs to plant, five rooms of them: the file, the text, what takes its place, and the tests."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Attributes:
        name: The bug in a few words.
        file: File in the package.
        old: Text that occurs in it exactly once.
        new: Text that replaces it.
        tests: Test files of the room.
        likely: Expression of pytest's ``-k`` for tests that are run before all others.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    likely: str = ""


ELBO = ("objectives/test_elbo.py",)
SCHEDULES = ("objectives/test_schedules.py",)
COLLAPSED = ("gp/test_collapsed.py",)
ENSEMBLES = ("test_ensembles.py",)
FIT = ("fitting/test_fit.py", "fitting/test_numbers.py")
DATA = ("data/test_data.py", "data/test_doors.py")

OBJECTIVES = (
    Mutant(
        "a prior's scale not squared in the full-covariance KL",
        "objectives/kl.py",
        "/ scale.square() - 1",
        "/ scale - 1",
        ELBO,
        "kl_to_a",
    ),
    Mutant(
        "a schedule not clamped at its end",
        "objectives/schedules.py",
        "/ self.steps).clamp(0.0, 1.0)",
        "/ self.steps).clamp_min(0.0)",
        SCHEDULES,
    ),
    Mutant(
        "a cyclic schedule that does not stay flat",
        "objectives/schedules.py",
        "(2 * phase).clamp(0.0, 1.0)",
        "2 * phase",
        SCHEDULES,
    ),
    Mutant(
        "biased HSIC",
        "objectives/independence.py",
        "ones[0] * ones[1] / ((n - 1) * (n - 2))",
        "ones[0] * ones[1] / n**2",
        ("objectives/test_independence.py",),
    ),
    Mutant(
        "classes that a guide excludes counted among the weights",
        "objectives/weights.py",
        "value = torch.where(absent, -torch.inf, value)",
        "value = torch.where(absent, value, value)",
        ("evaluate/test_likelihood.py", "objectives/test_variants.py"),
    ),
    Mutant(
        "SMILE clips large scores alone",
        "objectives/estimators.py",
        "marginal.clamp(-self.clip, self.clip)",
        "marginal.clamp_max(self.clip)",
        ("objectives/test_estimators.py",),
    ),
    Mutant(
        "the loss of known labels divided by all data",
        "objectives/supervision.py",
        "total / context.shards.sum(known).clamp_min(1)",
        "total / known.numel()",
        ("objectives/test_variants.py", "models/test_joint.py"),
        "supervision_is",
    ),
    Mutant(
        "a closed form where the guide's draw is needed",
        "objectives/elbo.py",
        "analytic=self.spec.analytic and name not in sampled)",
        "analytic=self.spec.analytic)",
        ("objectives/test_order.py",),
        "too_early",
    ),
    Mutant(
        "a capacity that penalises one side",
        "objectives/schedules.py",
        "(kl - target.to(kl)).abs()",
        "(kl - target.to(kl)).clamp_min(0)",
        ELBO,
        "capacity_takes",
    ),
    Mutant(
        "MINE's average that begins at zero",
        "objectives/estimators.py",
        "(self.steps / (1 + self.steps)).clamp_max(self.decay)",
        "torch.full_like(self.steps, self.decay)",
        ("objectives/test_estimators.py", "objectives/test_critics.py"),
        "moving_average",
    ),
)

GP = (
    Mutant(
        "a predictive scale without the noise",
        "gp/prior.py",
        "dist.Normal(f @ self.mean, (spread + v1).sqrt())",
        "dist.Normal(f @ self.mean, spread.sqrt())",
        COLLAPSED,
        "dense_gp_posterior",
    ),
    Mutant(
        "a new object's predictive scale without the noise",
        "gp/new_objects.py",
        "(spread + v1).sqrt()",
        "spread.sqrt()",
        ("gp/test_predictions.py",),
        "new_object",
    ),
    Mutant(
        "a variance that falls where a datum is left out",
        "gp/leave_one_out.py",
        "(v1 / kept).sqrt()",
        "(v1 * kept).sqrt()",
        ("gp/test_predictions.py",),
        "leave_one_out",
    ),
    Mutant(
        "the noise of uncertain encodings in other units",
        "gp/state.py",
        "layout.gram(x, r, variances.to(x).mT) * (v0 / v1.square())",
        "layout.gram(x, r, variances.to(x).mT) * (v0 / v1)",
        COLLAPSED,
        "dense_gp_posterior",
    ),
    Mutant(
        "of many objects, the last few alone",
        "gp/layout.py",
        "total += grid[:, :, part] @ _outer(x[part])",
        "total = grid[:, :, part] @ _outer(x[part])",
        ("gp/test_layout.py", "gp/test_collapsed.py"),
        "sums_are",
    ),
    Mutant(
        "a share of the KL without the leverage",
        "gp/collapsed.py",
        "((1 - p.leverage / p.v1) / p.v1).detach()",
        "(1 / p.v1).detach()",
        COLLAPSED,
        "dense_kl",
    ),
    Mutant(
        "a subject's own variance not in the prediction without it",
        "gp/additive/leaving.py",
        "scales.noise + own.square().sum(-1) + (solved * shared).sum(-1)",
        "scales.noise + (solved * shared).sum(-1)",
        ("gp/additive/test_exact.py",),
        "leaving_out_is",
    ),
    Mutant(
        "an unseen subject without its prior variance",
        "gp/additive/arrow.py",
        ".diagonal(dim1=-2, dim2=-1).fill_(1.0)",
        ".diagonal(dim1=-2, dim2=-1).fill_(0.0)",
        ("gp/additive/test_exact.py", "gp/additive/test_terms.py"),
        "predictions_are",
    ),
    Mutant(
        "half a log-determinant",
        "gp/integrated.py",
        "2 * scale.log().sum(-1)",
        "scale.log().sum(-1)",
        COLLAPSED,
        "dense_kl",
    ),
    Mutant(
        "a view behind that does not repeat",
        "gp/interpolation.py",
        "ahead % period, behind % period",
        "ahead % period, behind",
        ("gp/test_predictions.py",),
        "interpolation",
    ),
)

FITTING = (
    Mutant(
        "a halved rate that its schedule restores",
        "fitting/rates.py",
        "[rate / 2 for rate in",
        "[rate for rate in",
        ("fitting/test_rates.py", "fitting/test_numbers.py"),
        "undone or halved",
    ),
    Mutant(
        "averaged weights that remember the first ones",
        "fitting/tensors.py",
        "min(self.decay, (1 + self.steps) / (10 + self.steps))",
        "self.decay",
        FIT,
        "averaged",
    ),
    Mutant(
        "patience of one validation more",
        "fitting/loop.py",
        "training.best.stale >= patience",
        "training.best.stale > patience",
        FIT,
        "early_stopping",
    ),
    Mutant(
        "a validation's small last batch counted in full",
        "fitting/training.py",
        "mean * ((stop - start) / rows)",
        "mean * min(1.0, self.batch_size / rows)",
        FIT,
        "validation_is_the_plain",
    ),
    Mutant(
        "a save that does not complete an interrupted one",
        "runs/folder.py",
        "        _finish(folder)\n        _sweep(folder)",
        "        _sweep(folder)",
        ("runs/test_crashes.py",),
        "cut_off or kill",
    ),
    Mutant(
        "a critic's gradients that add up",
        "fitting/step.py",
        "            self.optimizer.zero_grad(set_to_none=True)\n",
        "",
        ("fitting/test_critics.py",),
        "critic_learns or critic_moves",
    ),
    Mutant(
        "buffers that a validation changes",
        "fitting/tensors.py",
        "            value.copy_(copy)\n",
        "",
        ("fitting/test_fit.py", "fitting/test_gp.py"),
        "validation",
    ),
    Mutant(
        "a fingerprint of the first rows alone",
        "fitting/fingerprint.py",
        "np.linspace(0, rows - 1, ROWS).astype(np.int64)",
        "np.arange(ROWS)",
        ("fitting/test_fingerprint.py", "fitting/test_callbacks.py"),
        "fingerprint",
    ),
    Mutant(
        "a checkpoint of weights that are not finite",
        "fitting/callbacks.py",
        "training.done < len(training.feed) and training.check()",
        "training.done < len(training.feed)",
        ("fitting/test_callbacks.py", "fitting/test_numbers.py"),
        "not_finite",
    ),
)

DATA_ROOM = (
    Mutant(
        "NaN searched in the first rows alone",
        "data/convert.py",
        "    for rows in spans(column):\n        chunk =",
        "    for rows in list(spans(column))[:1]:\n        chunk =",
        DATA,
        "last_of_many",
    ),
    Mutant(
        "intensities divided by 256",
        "data/dataset.py",
        "values.to(dtype) / 255 if",
        "values.to(dtype) / 256 if",
        DATA,
        "scale_intensities",
    ),
    Mutant(
        "a missing class numbered as the last one",
        "data/record.py",
        "np.where(codes >= 0, places[codes], -1)",
        "places[codes]",
        DATA,
        "stays_missing",
    ),
    Mutant(
        "pictures with height and width exchanged",
        "data/arrays.py",
        "x.transpose(0, 3, 1, 2)",
        "x.transpose(0, 3, 2, 1)",
        (*DATA, "data/test_kinds_arrays.py"),
        "channels_last",
    ),
    Mutant(
        "features in the order of the new table",
        "data/roles.py",
        "return list(known), record",
        "return [c for c in rest if c in set(known)], record",
        (*DATA, "data/test_kinds_tables.py"),
        "matched_by_name",
    ),
    Mutant(
        "sparse counts that wrap at 255",
        "data/sparse.py",
        'if rows.dtype.kind in "bu":',
        'if rows.dtype.kind in "b":',
        ("data/test_sparse.py", "data/test_doors.py"),
        "any_type",
    ),
    Mutant(
        "validation data among the test data",
        "data/splits.py",
        "order[counts[0] : sum(counts)]",
        "order[: counts[1]]",
        DATA,
        "random_splits",
    ),
)

ENSEMBLE = (
    Mutant(
        "Hungarian matching that minimises",
        "ensembles/agreement.py",
        "maximize=True",
        "maximize=False",
        ENSEMBLES,
        "renamed",
    ),
    Mutant(
        "images of a class that another member numbers so",
        "ensembles/members.py",
        "site: own[latents[site]]",
        "site: latents[site]",
        ENSEMBLES,
        "finds_the_classes",
    ),
    Mutant(
        "schedules that stand still side by side",
        "ensembles/stacked.py",
        'self.buffers_of["step"] + 1',
        'self.buffers_of["step"] + 0',
        ENSEMBLES,
        "stacked_losses or schedules",
    ),
    Mutant(
        "stability that compares members with themselves",
        "ensembles/agreement.py",
        "for second in precise[i + 1 :]:",
        "for second in precise[i:]:",
        ENSEMBLES,
        "renamed or dispersion",
    ),
)

MUTANTS = (*OBJECTIVES, *GP, *FITTING, *DATA_ROOM, *ENSEMBLE)
