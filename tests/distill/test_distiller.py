"""Teaching: the student that a live teacher gives, at the cost of plain training; resumed, refused, in generations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div
from torch.utils.flop_counter import FlopCounterMode

from selfdistill._core.errors import DataError, Interrupted, RunError, SettingError
from selfdistill._core.events import BatchDone
from selfdistill._core.record import read_json_record
from selfdistill.distill import Distiller, dark_knowledge, find_teacher, soft_labels
from selfdistill.distill._job import STORE
from selfdistill.distill._objective import OBJECTIVES
from selfdistill.distill._request import DistillRequest, start
from selfdistill.distill._soft_labels import load_store
from selfdistill.networks._build import build
from selfdistill.runs._model_file import load_model
from selfdistill.targets._base import GivenLabels
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

FEW = Settings(epochs=3)
SOURCE = {"source": None, "read": {}, "test": None, "seed": 0}


class Teacher(nn.Module):
    """Counts how often it is asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body, self.asked = nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.Tanh(), nn.Linear(50, 10)), 0

    def forward(self, x):
        self.asked += len(x)
        return 8 * self.body(x.float() / 16)


def live(teacher, data, settings, loss):
    """A loop with the teacher in it, full batch, written out."""
    stats = data.preprocess.stats
    student = build(settings.network, (1, 8, 8), 10, seed=settings.seed, stats=stats)
    optimizer = torch.optim.SGD(student.parameters(), lr=settings.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rise = max(settings.lr_warmup, 2 / (settings.epochs + 1))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, settings.epochs + 1, pct_start=rise, cycle_momentum=False
    )
    for _ in range(settings.epochs):
        with torch.no_grad():
            v = teacher(data.inputs)
        optimizer.zero_grad()
        loss(student(data.inputs), v, data.labels).backward()
        optimizer.step()
        schedule.step()
    return student


def hinton(z, v, y):
    soft = kl_div((z / 3).log_softmax(-1), (v / 3).softmax(-1), reduction="batchmean")
    return 0.7 * 9 * soft + 0.3 * cross_entropy(z, y)


def standardised(z, v, y):
    z_bar, v_bar = ((x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0) for x in (z, v))
    soft = kl_div((z_bar / 2).log_softmax(-1), (v_bar / 2).softmax(-1), reduction="batchmean")
    return 0.9 * 4 * soft + 0.1 * cross_entropy(z, y)


def dkd(z, v, y):
    """With masks and logarithms of sums, as the authors' code has it."""
    own = torch.nn.functional.one_hot(y, z.shape[1]).bool()
    p, q = (z / 4).softmax(-1), (v / 4).softmax(-1)
    b_p, b_q = (torch.stack([(x * own).sum(-1), (x * ~own).sum(-1)], -1) for x in (p, q))
    others = kl_div((z / 4 - 1000 * own).log_softmax(-1), (v / 4 - 1000 * own).softmax(-1), reduction="batchmean")
    return cross_entropy(z, y) + 16 * (kl_div(b_p.log(), b_q, reduction="batchmean") + 2 * others)


LIVE = {
    "standardised": ({}, standardised),
    "dkd": ({"beta": 2.0}, dkd),
    "hinton": ({"temperature": 3.0, "weight": 0.7}, hinton),
    "refinery": ({}, lambda z, v, y: cross_entropy(z, v.softmax(-1))),
    "born-again": ({"mixing": 0.6}, lambda z, v, y: 0.4 * cross_entropy(z, y) + 0.6 * cross_entropy(z, v.softmax(-1))),
    "noisy-best": ({}, lambda z, v, y: cross_entropy(z, v.argmax(-1))),
    "top-2": ({}, lambda z, v, y: sum(cross_entropy(z, v.topk(2).indices[:, i]) for i in (0, 1)) / 2),
}


@pytest.mark.parametrize("name", LIVE)
def test_the_stored_teacher_gives_the_student_of_the_live_one(small, name):
    numbers, loss = LIVE[name]
    settings = Settings(epochs=12, batch_size=300, lr=0.05)
    fitted = Distiller("mlp:8", objective=name, settings=settings, **numbers).fit(Teacher(), small)
    slow = live(Teacher(), small, fitted.settings, loss)
    for (label, a), b in zip(fitted.model.state_dict().items(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-3, msg=label)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(
            fitted.model.parameters(),
            build("mlp:8", (1, 8, 8), 10, seed=0, stats=small.preprocess.stats).parameters(),
            strict=True,
        )
    )


def flops(call):
    with FlopCounterMode(display=False) as counted:
        call()
    return counted.get_total_flops()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_student_from_the_store_costs_what_plain_training_costs(small, name):
    teacher = Teacher()
    store = soft_labels(find_teacher(teacher, small), small, TorchRuntime())
    asked = teacher.asked
    settings = replace(FEW, network="mlp:16").resolve(300, "cpu")
    plain = flops(lambda: fit(small, replace(settings, method="cross-entropy")))
    taught = flops(lambda: Distiller("mlp:16", objective=name, settings=FEW).fit(store, small))
    assert plain > 0
    assert taught == plain
    assert teacher.asked == asked == 300 + 2  # each example once, and two to see whether it fits


def test_a_run_directory_like_any_other_with_who_taught_it(tmp_path, digits, teacher_run, tests_of_digits):
    messages = []
    out = tmp_path / "student"
    record = Distiller("mlp:8", settings=FEW).teach(
        teacher_run, digits, out, source=SOURCE, evaluations=tests_of_digits, say=messages.append
    )
    assert {p.name for p in out.iterdir()} == {
        "run.json",
        "labels.parquet",
        "model.safetensors",
        "metrics.jsonl",
        "checkpoint",
        STORE,
    }
    found = record.as_json()["distillation"]
    teacher = read_json_record(teacher_run)
    assert found["teacher"]["name"] == str(teacher_run)
    assert found["choose"] == "held-out"
    assert len(found["candidates"]) == 8
    assert {row["epoch"]: row["held_out_accuracy"] for row in found["candidates"]} == dict(
        enumerate(teacher["curves"]["held_out_accuracy"], 1)
    )
    assert set(found["choices"]) == {"last", "held-out", "label-wave", "air"}
    assert found["numbers"] == {"temperature": 4.0, "weight": 0.9}
    store = load_store(out / STORE)
    there = torch.arange(len(digits))
    knowledge = dark_knowledge(store.soft.probabilities(there), digits.labels, truth=digits.truth)
    assert found["dark_knowledge"].pop("information") == pytest.approx(knowledge.pop("information"))
    assert found["dark_knowledge"] == pytest.approx(knowledge)
    assert store.about.source == SOURCE
    assert record.settings.network == "mlp:8"
    assert "test" in record.result.accuracies
    assert messages == [f"Learning from {teacher_run} after epoch {found['epoch']}, chosen by held-out from 8 epochs"]
    json.dumps(record.as_json(), allow_nan=False)


def stop_at(epoch, step, count=1):
    left = [count]

    def tell(event):
        if isinstance(event, BatchDone) and (event.epoch, event.step) == (epoch, step):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_generations_resume_wherever_they_were_stopped(tmp_path, small, generation):
    distiller = Distiller("mlp:8", objective="born-again", generations=3, settings=FEW)
    whole = distiller.teach(Teacher(), small, tmp_path / "whole", source=SOURCE)
    out = tmp_path / "cut"
    with pytest.raises(Interrupted, match=r"Go on with: selfdistill distill --resume .*cut$"):
        distiller.teach(Teacher(), small, out, source=SOURCE, tell=stop_at(1, 3, generation))
    teacher = Teacher()
    again = distiller.teach(teacher, small, out, source=SOURCE, resume=True)
    assert teacher.asked == 0
    for name in ("model.safetensors", "labels.parquet", "generation-1/model.safetensors", f"generation-2/{STORE}"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert [one.folder for one in again.distillation.earlier] == ["generation-1", "generation-2"]
    seeds = {read_json_record(path)["settings"]["seed"] for path in (out, out / "generation-1", out / "generation-2")}
    assert len(seeds) == 3
    assert whole.distillation.dark_knowledge == again.distillation.dark_knowledge
    taught = load_store(out / "generation-1" / STORE)
    model = load_model(out / "generation-1" / "model.safetensors").network
    p = predict_probabilities(model, small.inputs, TorchRuntime())
    torch.testing.assert_close(taught.soft.probabilities(torch.arange(300)), p, rtol=0, atol=1.5e-3)


def test_soft_labels_and_generations_of_another_run_are_refused(tmp_path, small):
    distiller = Distiller("mlp:8", objective="born-again", generations=2, settings=FEW)
    for name in "ab":
        teacher = Teacher()
        with torch.no_grad():
            teacher.body[1].bias += name == "b"
        with pytest.raises(Interrupted):
            distiller.teach(teacher, small, tmp_path / name, source=SOURCE, tell=stop_at(1, 3, 2))
    for name, words in ((STORE, r"soft_labels.safetensors is damaged, or of another run"), ("generation-1", "another")):
        out, other = shutil.copytree(tmp_path / "a", tmp_path / name), tmp_path / "b" / name
        shutil.copytree(other, out / name, dirs_exist_ok=True) if other.is_dir() else shutil.copy(other, out)
        with pytest.raises(RunError, match=words):
            distiller.teach(Teacher(), small, out, source=SOURCE, resume=True)
    assert distiller.teach(Teacher(), small, tmp_path / "a", source=SOURCE, resume=True).status == "finished"


def test_a_kill_before_the_soft_labels_are_there_is_resumed(tmp_path, small, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("selfdistill.distill._job.save_store", killed)
        with pytest.raises(Interrupted):
            Distiller("mlp:8", settings=FEW).teach(Teacher(), small, out, source=SOURCE)
    assert not (out / STORE).exists()
    record = Distiller("mlp:8", settings=FEW).teach(Teacher(), small, out, source=SOURCE, resume=True)
    assert record.status == "finished"


def test_a_named_store_teaches_others(tmp_path, small):
    path = tmp_path / "soft.safetensors"
    Distiller("mlp:8", settings=FEW).teach(Teacher(), small, tmp_path / "one", source=SOURCE, store=path)
    assert not (tmp_path / "one" / STORE).exists()
    record = Distiller("mlp:4", settings=FEW).teach(path, small, tmp_path / "two", source=SOURCE)
    assert record.distillation.teacher.name == "Teacher"
    with pytest.raises(SettingError, match=r"store .* exists already. Choose another name, or give it as the teacher"):
        Distiller("mlp:8", settings=FEW).teach(Teacher(), small, tmp_path / "three", store=path)
    assert not (tmp_path / "three").exists()


def test_a_function_of_ones_own_is_the_objective(tmp_path, small):
    def squared(z, v, y):
        return (z.softmax(-1) - (v.softmax(-1) + y) / 2).square().sum(-1)

    settings = Settings(epochs=8, batch_size=300, lr=0.05)
    fitted = Distiller("mlp:8", objective=squared, settings=settings).fit(Teacher(), small)
    mean = lambda z, v, y: squared(z, v, torch.eye(10)[y]).mean()
    slow = live(Teacher(), small, fitted.settings, mean)
    for a, b in zip(fitted.model.state_dict().values(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-3)
    record = Distiller("mlp:8", objective=squared, settings=FEW).teach(
        Teacher(), small, tmp_path / "run", source=SOURCE
    )
    assert record.distillation.objective == record.settings.method == "own: squared"
    with pytest.raises(RunError, match=r"run learns from a custom objective. Resume it from the code that started it"):
        start(DistillRequest(resume=tmp_path / "run"))


NO_OBJECTIVES = {
    "a mean": (lambda z, v, y: (z - v).square().mean(), r"gives a value of shape \[\] for 2 examples"),
    "no gradient": (lambda z, v, y: (v - y).square().sum(-1), r"or one without a gradient. Give one value per example"),
    "no tensor": (lambda z, v, y: 3, r"gives a value of type int"),
    "no function": (7, r"the objective 7 must be a name or a function"),
}


@pytest.mark.parametrize("name", NO_OBJECTIVES)
def test_what_is_no_objective_is_refused_before_anything_is_written(tmp_path, small, name):
    function, words = NO_OBJECTIVES[name]
    with pytest.raises(SettingError, match=words):
        Distiller("mlp:4", objective=function, settings=FEW).teach(Teacher(), small, tmp_path / "run", source=SOURCE)
    assert list(tmp_path.iterdir()) == []


def test_a_function_takes_no_numbers():
    with pytest.raises(SettingError, match=r"the objective <function .*> takes no temperature. Leave it out"):
        Distiller(objective=lambda z, v, y: z.sum(-1), temperature=2.0)


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (Teacher, r"the student is the class Teacher. Pass one of its kind: Teacher\(...\)"),
        (lambda: None, r"the student is <function .*Pass an nn.Module, or a name such as 'mlp:32'"),
        (None, "the student is None"),
        (7, "the student is 7"),
    ],
    ids=["class", "function", "None", "7"],
)
def test_what_is_no_student_is_refused(student, words):
    with pytest.raises(SettingError, match=words):
        Distiller(student)


REFUSED = {
    "generations": ({"generations": 0}, SettingError, "generations is 0, but must be a whole number of at least 1"),
    "entries": ({"entries": 0}, SettingError, "entries is 0"),
    "student": ({"student": "resnet18"}, SettingError, "too small for 'resnet18'"),
    "no such network": ({"student": "mpl:3"}, SettingError, "network 'mpl:3' is not one of auto, mlp"),
    "pair": ({"student": "2*mlp:4"}, SettingError, "is a pair, but one network is taught"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, small, name):
    wrong, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        Distiller(**{"student": "mlp:4", "settings": FEW} | wrong).teach(
            Teacher(), small, tmp_path / "run", source=SOURCE
        )
    assert list(tmp_path.iterdir()) == []


def test_other_refusals(tmp_path, small, last_run, digits):
    with pytest.raises(
        SettingError, match=r"the student is a Teacher, but a run directory holds networks by their name"
    ):
        Distiller(Teacher()).teach(Teacher(), small, tmp_path / "run")
    with pytest.raises(RunError, match="kept the weights of epoch 2 only, so held-out has nothing to choose from"):
        Distiller("mlp:4", objective="noisy-best").teach(last_run, digits, tmp_path / "run", source=SOURCE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="already holds files"):
        Distiller("mlp:4").teach(Teacher(), small, tmp_path / "full")
    store = soft_labels(find_teacher(Teacher(), small), small, TorchRuntime())
    with pytest.raises(DataError, match="soft labels of Teacher are of 300 examples"):
        Distiller("mlp:4").fit(store, digits)


@pytest.mark.parametrize(
    ("objective", "numbers"), [("hinton", {"temperature": 1e30}), ("born-again", {"mixing": 1e30})]
)
def test_a_number_that_makes_the_loss_diverge_is_named(small, objective, numbers):
    distiller = Distiller("mlp:4", objective=objective, settings=FEW, **numbers)
    (name,) = numbers
    with pytest.raises(SettingError, match=rf"the loss became nan in epoch 1. Bring `{name}` \(1e\+30\) nearer"):
        distiller.fit(Teacher(), small)


@pytest.mark.parametrize("mixing", [-1.0, 3.0])
def test_weights_outside_0_and_1_stay_finite_over_a_whole_training(small, mixing):
    settings = Settings(epochs=15)
    fitted = Distiller("mlp:16", objective="born-again", mixing=mixing, settings=settings).fit(Teacher(), small)
    assert all(torch.tensor(epoch["loss"]).isfinite() for epoch in fitted.curves)
    assert all(p.isfinite().all() for p in fitted.model.parameters())
    assert not isinstance(fitted.targets, GivenLabels)
