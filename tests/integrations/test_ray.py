"""The page on Ray runs, with a worker that dies once; features that Ray's tasks make are the same files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "ray.md"
EPOCHS = "    for epoch in range(begin, 15):\n"
DIES = """        print("begin", begin)
        if epoch == 7 and begin == 0 and train.get_context().get_world_rank() == 1:
            import os
            os._exit(9)
"""


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(tmp_path, code, *arguments):
    (tmp_path / "page.py").write_text(code)
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-W", "ignore", str(tmp_path / "page.py"), *map(str, arguments)]
    kind = {"env": os.environ | own | {"HOME": str(tmp_path)}, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=tmp_path, timeout=280, check=False, **kind)
    assert done.returncode == 0, done.stderr
    return done


def test_the_page_goes_on_after_a_worker_has_died_and_the_findings_are_right(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    block = blocks()[0]
    out = tmp_path / "found.parquet"
    for old, new in ((EPOCHS, EPOCHS + DIES), ('"/shared/found.parquet"', repr(str(out)))):
        assert block.count(old) == 1
        block = block.replace(old, new)
    done = run(tmp_path, block)
    assert "'refined_share':" in done.stdout
    assert re.search(r"begin [67]\b", done.stdout), done.stdout  # Ray may not have kept the last checkpoint yet
    found = pd.read_parquet(out)
    wrong, flagged = (found.given_class != found.truth).to_numpy(), found.is_label_issue.to_numpy()
    assert len(found) == 1797
    assert (flagged & wrong).sum() > 0.85 * max(flagged.sum(), wrong.sum())


def test_a_sweep_of_the_page_votes_for_the_wrong_labels(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    block = blocks()[1]
    assert len(block.splitlines()) < 25
    for old, new in (("/shared", str(tmp_path)), ("range(3)", "range(2)"), ("epochs=15", "epochs=8")):
        assert old in block
        block = block.replace(old, new)
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=240)
    given = np.where(rng.random(240) < 0.2, (truth + 1) % 3, truth)
    table = pd.DataFrame(np.eye(3)[truth] * 4 + rng.normal(size=(240, 3)), columns=list("abc"))
    table.assign(y=given, id=[f"row {i}" for i in range(240)]).to_csv(tmp_path / "data.csv", index=False)
    run(
        tmp_path,
        f"{block}\nvotes.to_parquet('votes.parquet')\ndoubtful.to_frame('share').to_parquet('doubtful.parquet')",
    )
    votes, doubtful = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("votes", "doubtful"))
    assert votes.shape == (240, 4)
    assert len(list((tmp_path / "sweep").iterdir())) == 4
    first = [int(name.split()[1]) for name in doubtful.index[:30]]
    assert (given != truth)[first].mean() > 0.8


EMBED = """
import sys
from selfdistill.cli import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code, left.code
if "--on" in sys.argv:
    import ray
    assert ray.is_initialized()
"""


@pytest.mark.parametrize("what", ["photos", "texts"])
def test_features_of_tasks_are_the_same_files(tmp_path, what):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    pytest.importorskip("efficientnet_lite_pytorch" if what == "photos" else "all_minilm_l6_v2")
    rng = np.random.default_rng(0)
    if what == "photos":
        source = tmp_path / "photos"
        for number in range(70):
            place = source / "ab"[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 20 + number % 5, 3), np.uint8)).save(place)
        (source / "a" / "4.png").write_bytes(b"no photo")
        options = ["--skip-bad"]
    else:
        source = tmp_path / "t.csv"
        lines = [f"a {'very ' * (i % 9)}good day {i},{i % 2}" for i in range(70)]
        source.write_text("\n".join(["review,y", *lines]))
        options = ["--label", "y", "--text", "review"]
    for out, on in (("here", []), ("there", ["--on", "ray"])):
        run(tmp_path, EMBED, "embed", source, "--out", out, *options, *on)
    files = [{path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("here", "there")]
    assert files[0] == files[1]
    assert len(pd.read_parquet(tmp_path / "here")) == (69 if what == "photos" else 70)
