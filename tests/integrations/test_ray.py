"""The page on Ray Train runs with two workers, one of which dies once, and finds the wrong labels."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "ray.md"
EPOCHS = "    for epoch in range(begin, 15):\n"
DIES = """        print("begin", begin)
        if epoch == 7 and begin == 0 and train.get_context().get_world_rank() == 1:
            import os
            os._exit(9)
"""


def test_the_page_goes_on_after_a_worker_has_died_and_the_findings_are_right(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    out = tmp_path / "found.parquet"
    for old, new in ((EPOCHS, EPOCHS + DIES), ('"/shared/found.parquet"', repr(str(out)))):
        assert block.count(old) == 1
        block = block.replace(old, new)
    (tmp_path / "page.py").write_text(block)
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-W", "ignore", str(tmp_path / "page.py")]
    kind = {"env": os.environ | own | {"HOME": str(tmp_path)}, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=tmp_path, timeout=280, check=False, **kind)
    assert done.returncode == 0, done.stderr
    assert "'refined_share':" in done.stdout
    assert re.search(r"begin [67]\b", done.stdout), done.stdout  # Ray may not have kept the last checkpoint yet
    found = pd.read_parquet(out)
    wrong, flagged = (found.given_class != found.truth).to_numpy(), found.is_label_issue.to_numpy()
    assert len(found) == 1797
    assert (flagged & wrong).sum() > 0.85 * max(flagged.sum(), wrong.sum())
