from __future__ import annotations

import os

import pytest

from selfdistill._core.errors import DataError, RunError
from selfdistill._core.folder import check_folder, clear_parts, inside, is_part, named_folder


def test_links_that_stay_inside_and_files_that_are_missing_are_welcome(tmp_path):
    real = tmp_path / "real"
    (real / "deep").mkdir(parents=True)
    (real / "a.txt").write_text("a")
    (real / "deep" / "b.txt").symlink_to("../a.txt")
    (tmp_path / "run").symlink_to(real)
    assert inside(tmp_path / "run", "deep/b.txt").read_text() == "a"
    assert not inside(tmp_path / "run", "none.txt").exists()
    check_folder(tmp_path / "run")


@pytest.mark.parametrize("target", ["../outside.txt", "../nothing", "../outside"])
def test_links_that_lead_out_are_refused_whether_or_not_something_is_there(tmp_path, target):
    (tmp_path / "outside.txt").write_text("mine")
    (tmp_path / "outside").mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / "x").symlink_to(target)
    for check in (lambda: inside(run, "x"), lambda: check_folder(run)):
        with pytest.raises(RunError, match=r"run/x is a link that leads out of its folder, to .*Remove it"):
            check()


def test_a_linked_folder_a_pipe_and_a_circle_are_refused(tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    (run / "checkpoint").symlink_to(outside)
    with pytest.raises(RunError, match="leads out of its folder"):
        inside(run, "checkpoint/step-000000001.pt")
    (run / "plain").touch()
    assert inside(run / "plain", "run.json") == run / "plain" / "run.json"  # is not there
    os.mkfifo(run / "pipe")
    with pytest.raises(RunError, match="pipe is not a regular file"):
        inside(run, "pipe")
    (run / "round").symlink_to("round")
    with pytest.raises(RunError, match="round cannot be followed"):
        inside(run, "round")


def test_parts_are_told_by_their_name_and_cleared_at_any_depth(tmp_path):
    (tmp_path / "deep").mkdir()
    part, other = tmp_path / "deep" / ".a.pt.ab12cd_9.part", tmp_path / "a.part"
    part.write_text("")
    other.write_text("")
    (tmp_path / ".b.ab12cd_8.part").symlink_to(other)
    assert (is_part(part), is_part(other), is_part(tmp_path / ".b.ab12cd_8.part")) == (True, False, False)
    clear_parts(tmp_path)
    assert not part.exists()
    assert other.exists()


@pytest.mark.parametrize("name", ["..", "", ".", "a/b", "a\\b", "a\0"])
def test_a_name_that_leads_elsewhere_is_no_folder_of_a_class(tmp_path, name):
    assert named_folder(tmp_path, "cat") == tmp_path / "cat"
    with pytest.raises(DataError, match=r"cannot be the name of a folder\. Write a list instead"):
        named_folder(tmp_path, name)
