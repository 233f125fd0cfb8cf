"""The completions of shells: made by shtab, tried in bash."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from ppvae.app.cli import main

pytest.importorskip("shtab")


def completed(script, *words):
    """What bash offers for the last of the words."""
    line = " ".join(f"'{word}'" for word in words)
    code = f"""
source {script}
COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}
_shtab_ppvae 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    run = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_models_and_options(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "ppvae.bash"
    script.write_text(capsys.readouterr().out)
    assert {"fit", "report", "completion"} <= completed(script, "ppvae", "")
    assert completed(script, "ppvae", "fit", "gp") == {"gpvae"}
    assert "--latent-dim" in completed(script, "ppvae", "fit", "vae", "--lat")
    assert completed(script, "ppvae", "completion", "z") == {"zsh"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "gpvae" in capsys.readouterr().out


def test_a_missing_shtab_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "pip install 'ppvae[completion]'" in capsys.readouterr().err
