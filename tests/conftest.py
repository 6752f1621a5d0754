"""What all tests share: one thread for torch, and shapes checked by jaxtyping."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# No deadlines: seconds say more of a busy machine than of the code. CI tries the same examples each time, a desk tries
# new ones.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

_HOOK = install_import_hook("selfdistill.losses", "beartype.beartype")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}")
    return folder


@pytest.fixture
def cli(capsys):
    """Run the command line in this process: exit code, stdout, stderr."""
    from selfdistill.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call
