"""What every shipped command does without options: metrics, processor time, peak memory.

Each entry of ``ppvae list`` is fitted in a process of its own, ``ppvae fit NAME --seed S``, into
FOLDER/NAME, where its report can be read afterwards. Results are written to FOLDER/defaults.json
after each entry; a second call goes on with those that are missing.

python -m benchmarks.defaults FOLDER [--seed 0] [--entries vae,cvae] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ppvae

__all__ = ["fitted", "main", "row"]

# Metrics with a column of their own, beside which an entry's own follow.
COMMON = ("elbo", "log_likelihood", "null_log_likelihood", "information")
# Metrics that the table leaves out: counts, settings, and details of those it shows.
DETAILS = {
    "train_seconds", "epochs", "n_train", "n_validation", "n_test", "seed", "compiled",
    "best_epoch", "best_val_elbo", "rate", "distortion", "pareto_k", "effective", "untrusted",
    "active_units", "information_upper", "information_limit", "test_mse_se", "rotation_spread",
}  # fmt: skip


def fitted(name: str, folder: Path, seed: int, threads: int) -> dict[str, Any]:
    """Fit an entry in a process of its own.

    Arguments:
        name: The entry.
        folder: Folder in which its run folder is made.
        seed: Random seed.
        threads: Threads that torch and its libraries may use.

    Returns:
        ``status``, ``cpu`` and ``wall`` in seconds, ``memory`` in MB, ``metrics``.
    """
    command = [sys.executable, "-W", "ignore", "-m", "ppvae", "fit", name, "--seed", str(seed)]
    command += ["--out", str(folder / name), "--overwrite"]
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MPLBACKEND": "Agg"}
    started = time.perf_counter()
    with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    scale = 1e6 if sys.platform == "darwin" else 1e3
    metrics = folder / name / "metrics.json"
    return {
        "status": process.returncode,
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": time.perf_counter() - started,
        "memory": usage.ru_maxrss / scale,
        "metrics": json.loads(metrics.read_text("utf-8")) if metrics.is_file() else {},
    }


def row(name: str, result: dict[str, Any]) -> str:
    """A row of the table.

    Arguments:
        name: The entry.
        result: What :func:`fitted` returned.

    Returns:
        The row, in Markdown.
    """
    metrics = result["metrics"]
    cells = []
    for key in COMMON:  # Of several latents, each by its name.
        parts = [
            f"{v:.4g} ({k[len(key) + 1 :]})" for k, v in metrics.items() if k.startswith(f"{key}/")
        ]
        cells.append(f"{metrics[key]:.4g}" if key in metrics else ", ".join(parts) or "-")
    own = [
        f"{key} {value:.3g}"
        for key, value in metrics.items()
        if isinstance(value, float) and key.split("/")[0] not in {*COMMON, *DETAILS}
    ]
    failed = f" (exit status {result['status']})" if result["status"] else ""
    parts = [
        name + failed,
        f"{result['cpu']:.0f}",
        f"{result['memory']:.0f}",
        *cells,
        ", ".join(own),
    ]
    return "| " + " | ".join(parts) + " |"


def main() -> None:
    """Fit the entries and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the runs and of defaults.json")
    parser.add_argument("--seed", type=int, default=0, help="random seed of every fit")
    parser.add_argument("--entries", help="entries with commas between them; all by default")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    args = parser.parse_args()
    names = args.entries.split(",") if args.entries else list(ppvae.zoo.names())
    args.folder.mkdir(parents=True, exist_ok=True)
    record = args.folder / "defaults.json"
    results = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    print("| entry | CPU, s | MB | " + " | ".join(COMMON) + " | its own |")
    print("|" + "---|" * (len(COMMON) + 4))
    for name in names:
        if name not in results:
            results[name] = fitted(name, args.folder, args.seed, args.threads)
            record.write_text(json.dumps(results, indent=1), "utf-8")
        print(row(name, results[name]), flush=True)
    sys.exit(any(results[name]["status"] for name in names))


if __name__ == "__main__":
    main()
