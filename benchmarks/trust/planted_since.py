"""Bugs to plant in what was written since the first list: checks, devices, signals, strangers."""

from __future__ import annotations

from benchmarks.trust.planted import Mutant

__all__ = ["SINCE"]

SINCE = (
    Mutant(
        "booleans that are integers",
        "expected.py",
        "isinstance(v, Integral) and not isinstance(v, bool) and",
        "isinstance(v, Integral) and",
        ("test_borders.py",),
        "bool",
    ),
    Mutant(
        "annotations in the module of another decorator",
        "borders.py",
        'getattr(unwrap(function), "__globals__", {})',
        'getattr(function, "__globals__", {})',
        ("test_borders.py",),
        "decorat",
    ),
    Mutant(
        "steps of Adam counted twice",
        "fitting/direct.py",
        "torch.ones(()), alpha=1.0)",
        "torch.ones(()), alpha=2.0)",
        ("fitting/test_direct.py",),
    ),
    Mutant(
        "an optimiser's hooks that are passed over",
        "fitting/direct.py",
        "type(optimizer) is not Adam or _has_hooks(optimizer)",
        "type(optimizer) is not Adam",
        ("fitting/test_direct.py",),
    ),
    Mutant(
        "a region's mean over voxels that are missing, too",
        "data/regions.py",
        "np.where(known, values, 0.0)) / counts",
        "np.where(known, values, 0.0)) / self.sizes[:, None]",
        ("data/test_regions.py",),
    ),
    Mutant(
        "a background of regions that is always zero",
        "data/regions.py",
        "*rows.shape[1:]), background)",
        "*rows.shape[1:]), 0.0)",
        ("data/test_regions.py",),
    ),
    Mutant(
        "a second signal's exit status without 128",
        "signals.py",
        "os._exit(128 + number)",
        "os._exit(number)",
        ("app/test_signals.py",),
        "second",
    ),
    Mutant(
        "a signal that the next fit takes for its own",
        "signals.py",
        "        _PENDING.clear()",
        "        pass",
        ("app/test_signals.py",),
    ),
    Mutant(
        "tensors that stay on the device they are on",
        "programs/batches.py",
        "len({tensor.device for tensor in tensors}) < 2 or",
        "len({tensor.device for tensor in tensors}) < 9 or",
        ("programs/test_devices.py", "test_on_gpu.py"),
    ),
    Mutant(
        "a trusted module trusted with what it imports",
        "runs/recipe.py",
        'return function if name or f"{home}.".startswith(f"{where}.") else None',
        "return function",
        ("runs/test_strangers.py",),
        "trusted_with",
    ),
    Mutant(
        "a planted folder's link that is followed",
        "runs/files.py",
        "        path = path / part\n        if path.is_symlink():",
        "        path = path / part\n        if False:",
        ("app/test_planted.py",),
        "writes_through",
    ),
    Mutant(
        "a column split without training rows",
        "data/files.py",
        "if strange or not (codes == 0).any():",
        "if strange:",
        ("data/test_hostile.py",),
        "split",
    ),
)
