"""What the tests of training stacks share: a script in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def in_two_processes(tmp_path: Path) -> Callable[[str], list[Any]]:
    """Run a script with this folder and the test's as arguments; give what each process saved as ``out-RANK``."""

    def run(text: str) -> list[Any]:
        script = tmp_path / "script.py"
        script.write_text(text)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [*launcher, str(script), str(Path(__file__).parent), str(tmp_path)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return [torch.load(tmp_path / f"out-{rank}", weights_only=False) for rank in range(2)]

    return run
