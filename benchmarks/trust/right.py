"""Values that look bad and are right, each kind with the reason: the documentation says so."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["why_right"]

# Ends of "function argument value", by reason.
KINDS: Mapping[str, tuple[str, ...]] = {
    "the number of rows is free where no other argument has the same rows": (
        *("x: half", "x: one", "draws half", "means half", "codes half", "u half", "u one"),
        *("probs half", "probs one", "latents z: half", "latents z: one", "rotations one"),
        *(
            "positions half",
            "positions one",
            "positions empty",
            "faces half",
            "faces one",
            "rows half",
        ),
        *("rows one", "Dataset.batch rows empty", "candidates half", "k half"),
        *("k one", "pit half", "pit one", "pictures half", "pictures one", "errors half"),
        *("covariates half", "covariates one", "values half", "values one", "points half"),
        *("points one", "frequencies half", "frequencies one", "deep_kernel_surrogate x half"),
        *("deep_kernel_surrogate x one", "X half", "X one"),
    ),
    "rows are flattened, or may have any shape": (
        *(
            "features deep",
            "candidates deep",
            "target deep",
            "data deep",
            "codes deep",
            "y deep",
            "draws deep",
        ),
        *(
            "data.as_splits data x: deep",
            "data.as_splits data wide",
            "data.describe data x: deep",
            "images deep",
        ),
        *(
            "data.describe data wide",
            "columns x: deep",
            "columns wide",
            "seen_per_datum data x: deep",
        ),
        *(
            "seen_per_datum data wide",
            "train x: deep",
            "train wide",
            "null_log_likelihood data x: deep",
        ),
        *("pit deep", "pit scalar", "pit number", "k deep", "k scalar", "k number"),
        *(
            "colour deep",
            "classes deep",
            "points deep",
            "frequencies deep",
            "deep_kernel_surrogate x deep",
        ),
    ),
    "classes, factors and targets are any numbers": (
        *("found negative", "found fractions", "true negative", "true fractions"),
        *("factors negative", "factors fractions", "target fractions", "y fractions"),
        *("y negative", "classes negative", "classes fractions"),
    ),
    "booleans are 0 and 1 in data and figures": (
        *("x: boolean", "colour boolean", "matrix boolean", "pictures boolean", "k boolean"),
        *("original boolean", "mean boolean", "z boolean", "pit boolean", "errors boolean"),
    ),
    "a column that the model does not take is not read": ("batch uneven",),
    "a column may have any name, and x is not needed to predict or sample": (
        *("data without x", "columns without x", "columns without y", "runs without a"),
        *("columns empty", "latents empty", "curves without a"),
    ),
    "one number is a column of one row": ("columns x: number", "columns x: scalar"),
    "NaN, infinity or zero, where they have a documented meaning": (
        *("columns x: nan", "log_weights empty", "log_weights half", "log_weights one"),
        *("log_weights nan", "log_weights inf", "dependence z nan", "dependence z inf"),
        *(
            "rounds 0",
            "k nan",
            "k inf",
            "seen_per_datum data x: nan",
            "train x: nan",
            "Search.tell y nan",
        ),
        *("values nan", "values inf", "pictures nan", "original nan", "mean nan", "colour nan"),
        *(
            "active.calibration y nan",
            "active.calibration y inf",
            "mean inf",
            "scale nan",
            "scale inf",
        ),
        *("reach inf", "X nan", "y: nan"),
    ),
    "zero, minus one or a lot, where they are in the range": (
        *("prior_rows 0", "retries 0", "reference 0", "seed 0", "rounds 1e30", "start -1"),
        *("end -1", "batch_size 1e30", "validate_every 1e30", "retries 1e30", "epochs 1e30"),
        *(
            "block 1e30",
            "after 0",
            "value -1",
            "MutualInformation weight -1",
            "digit 0",
            "folds 0",
        ),
        *("index 0", "held_out 0", "order 0", "batch 1e30", "Search.tell y -1", "random_state 0"),
    ),
    "None, or nothing, where it is documented": (
        *("ks empty", "intervals empty", "callbacks empty", "max_rows None", "rows None"),
        *("fit objective None", "site None", "fit seed None", "clip_norm None", "average None"),
        *("device None", "out None", "every None", "data.load seed None", "first empty"),
        *("second empty", "missing_ok empty", "Phase epochs None", "hold empty", "hidden empty"),
        *("weights empty", "terms empty", "capacity empty", "Recipe options empty"),
        *(
            "values empty",
            "options empty",
            "settings empty",
            "columns empty",
            "interval None",
            "name empty",
        ),
    ),
    "names are any text; one that is unknown is refused where it is used": (
        *("x texts", "missing_ok texts", "missing_ok text", "site long", "column long"),
        *("first long", "second long", "name long", "ylabel long", "without z"),
        *("Recipe options without a", "Recipe options a: None"),
    ),
    "another module: what it returns is checked where it is used": (
        *("embedding other", "network other", "decoder other", "encoder other"),
        *("null_log_likelihood model other", "change none taken"),
    ),
    "positions are rounded, a list of one number is one": ("positions fractions", "y list"),
    "a size for each of several inputs": ("in_features list",),
}
_WHY = {end: reason for reason, ends in KINDS.items() for end in ends}


def why_right(tried: str) -> str | None:
    """The reason for which a call without an error is right; None if there is none.

    Arguments:
        tried: Function, argument and kind of value, as printed.
    """
    return next((why for end, why in _WHY.items() if f" {tried}".endswith(f" {end}")), None)
