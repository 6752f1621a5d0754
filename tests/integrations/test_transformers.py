"""Robust targets in Hugging Face's Trainer: what a plain loop gives, also resumed and by two processes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selfdistill import RobustTargets, with_index
from selfdistill._core.errors import DataError, RunError, SettingError

pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
pytestmark = [pytest.mark.filterwarnings("ignore")]  # of transformers, accelerate and what they import
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    from selfdistill.integrations.transformers import SelfDistillMixin, SelfDistillTrainer

N, K = 24, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(K, size=N)
TOKENS = 3 + LABELS[:, None] + RNG.integers(6, size=(N, 5))
NAMES = {0: "place", 1: "person", 2: "number"}


def data(column="label", **extra):
    return datasets.Dataset.from_dict(
        {"input_ids": TOKENS.tolist(), column: LABELS.tolist(), "text": ["?"] * N} | extra
    )


def model():
    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ids = {"id2label": NAMES, "label2id": {name: i for i, name in NAMES.items()}}
    return BertForSequenceClassification(BertConfig(vocab_size=16, max_position_embeddings=8, **size, **none, **ids))


def trainer(folder, dataset=None, kind=SelfDistillTrainer, more=None, **options):
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "seed": 7, "logging_strategy": "no"}
    steps = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 3,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }
    options = {"save_strategy": "no"} | quiet | steps | options
    arguments = TrainingArguments(output_dir=str(folder), **options)
    return kind(model=model(), args=arguments, train_dataset=data() if dataset is None else dataset, **(more or {}))


def plain_loop(reference, epochs=3, accumulate=1):
    """The same steps, written out; the order is the one that Trainer drew."""
    net, robust = model().train(), RobustTargets(LABELS, K, steps=6 // accumulate)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.0)
    tokens, labels = torch.tensor(TOKENS), torch.tensor(LABELS)
    for epoch in range(epochs):
        for step, index in enumerate(reference[epoch]):
            (robust.loss(index, net(input_ids=tokens[index]).logits, labels[index]) / accumulate).backward()
            if (step + 1) % accumulate == 0:
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        robust.end_epoch()
    return net, robust


def noting(robust, order):
    loss = robust.loss

    def noted(index, *rest):
        order[-1].append(index.clone())
        return loss(index, *rest)

    end = robust.end_epoch

    def ended():
        order.append([])
        return end()

    robust.loss, robust.end_epoch = noted, ended
    return robust


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_gives_what_a_plain_loop_gives_and_logs_what_it_found(tmp_path, accumulate):
    order = [[]]
    robust = noting(RobustTargets(LABELS, K, steps=6 // accumulate), order)
    run = trainer(tmp_path, more={"robust": robust}, gradient_accumulation_steps=accumulate)
    run.train()
    _, twin = plain_loop(order, accumulate=accumulate)
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(run.robust.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    logged = [line for line in run.state.log_history if "refined_share" in line]
    assert [line["epoch"] for line in logged] == [1, 2, 3]
    assert logged[-1]["label_issues"] == run.label_issues().is_label_issue.sum()
    assert set(run.label_issues().given_class) <= set(NAMES.values())
    assert "robust" not in dict(run.model.named_modules())


@pytest.mark.parametrize("when", [{"save_strategy": "epoch"}, {"save_strategy": "steps", "save_steps": 8}])
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, when):
    whole = trainer(tmp_path, **when)
    whole.train()
    (first, *_) = sorted(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    again = trainer(tmp_path, **when)
    again.train(resume_from_checkpoint=str(first))
    assert equal(whole.model, again.model)
    assert equal(whole.robust, again.robust)
    (first / "robust_targets.safetensors").unlink()
    with pytest.raises(RunError, match=r"robust_targets.safetensors is missing. Resume from a checkpoint that this"):
        trainer(tmp_path, **when).train(resume_from_checkpoint=str(first))


def test_evaluation_and_prediction_stay_as_they_are(tmp_path):
    run, plain = trainer(tmp_path), trainer(tmp_path, kind=Trainer)
    run.train()
    plain.model.load_state_dict(run.model.state_dict())
    wanted = plain.evaluate(data())["eval_loss"]
    assert run.evaluate(data())["eval_loss"] == pytest.approx(wanted)
    assert run.evaluate(run.train_dataset)["eval_loss"] == pytest.approx(wanted)
    np.testing.assert_allclose(run.predict(data()).predictions, plain.predict(data()).predictions)


def test_other_kinds_of_training_sets(tmp_path):
    items = [{"input_ids": torch.tensor(row), "labels": int(y)} for row, y in zip(TOKENS, LABELS, strict=True)]
    runs = [trainer(tmp_path, dataset, num_train_epochs=1) for dataset in (data(), data("labels"), items)]
    for run in runs:
        run.train()
    assert equal(runs[0].robust, runs[1].robust)
    assert equal(runs[0].robust, runs[2].robust)
    stream = with_index(data()).to_iterable_dataset()
    robust = RobustTargets(LABELS, K, steps=6)
    run = trainer(tmp_path, stream, more={"robust": robust}, max_steps=12)
    run.train()
    assert robust.dynamics.seen.tolist() == [2.0] * N
    with pytest.raises(SettingError, match=r"has no length, so its labels are not known. Pass robust=RobustTargets"):
        trainer(tmp_path, stream, max_steps=20).train()
    with pytest.raises(DataError, match=r"the training set has no labels. Name the column labels or label"):
        trainer(tmp_path, data("answer"))


def test_a_loss_of_ones_own_is_not_ignored_in_silence(tmp_path):
    with pytest.raises(SettingError, match="label_smoothing_factor is set, but the loss comes from the targets"):
        trainer(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(SettingError, match="compute_loss_func is set"):
        trainer(tmp_path, more={"compute_loss_func": lambda *_, **__: 0})


def test_another_trainer_takes_the_mixin(tmp_path):
    class Other(SelfDistillMixin, Trainer):
        pass

    run = trainer(tmp_path, kind=Other, more={"robust": "elr"}, max_steps=6)
    run.train()
    assert run.robust.method == "elr"
    first = run.robust
    run.train()
    assert run.robust is not first  # a training of its own


TWO = """
import sys
sys.path.insert(0, sys.argv[1])
import torch, test_transformers as t
run = t.trainer(sys.argv[2], save_strategy="steps", save_steps=5, per_device_train_batch_size=2)
run.train()
torch.save(run.robust.state_dict(), f"{sys.argv[2]}/out-{run.args.process_index}")
"""


@pytest.mark.slow
def test_two_processes_keep_the_same_targets_and_save_the_writes_of_both(tmp_path, in_two_processes):
    first, second = in_two_processes(TWO)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (first["dynamics.seen"] == 3).all()
    state = load_file(tmp_path / "checkpoint-5" / "robust_targets.safetensors")
    assert state["targets.staged.count"].sum() == 5 * 2 * 2  # steps of the first epoch, processes, examples


SPREAD = """
import sys
sys.path.insert(0, sys.argv[1])
import torch, test_transformers as t


class Spread(t.SelfDistillTrainer):
    def get_train_dataloader(self):
        own = self.train_dataset.remove_columns("text").select(self.robust.rows)
        return torch.utils.data.DataLoader(
            own, self.args.train_batch_size, shuffle=True, collate_fn=self.data_collator
        )


order = [[]]
run = t.trainer(sys.argv[2], kind=Spread, save_strategy="steps", save_steps=5, disable_tqdm=True)  # begins the group
robust = t.RobustTargets(t.LABELS, t.K, steps=3, shard=True)
run._wanted = t.noting(robust, order)
run.train()
out = run.model.state_dict(), order, robust.refined(), run.label_issues()
torch.save(out, f"{sys.argv[2]}/out-{run.args.process_index}")
torch.distributed.barrier()
"""


@pytest.mark.slow
def test_state_spread_over_two_processes_ends_where_one_process_does(tmp_path, in_two_processes):
    outs = in_two_processes(SPREAD)
    pairs = [list(zip(*epoch, strict=True)) for epoch in zip(*(out[1][:3] for out in outs), strict=True)]
    assert [len(epoch) for epoch in pairs] == [3, 3, 3]
    net, robust = plain_loop([[index for pair in epoch for index in pair] for epoch in pairs], accumulate=2)
    for weights, _, refined, found in outs:
        torch.testing.assert_close(weights, dict(net.state_dict()), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(refined, robust.refined(), rtol=1e-4, atol=1e-5)
        assert found.refined_label.tolist() == robust.label_issues(list(NAMES.values())).refined_label.tolist()
    state = load_file(tmp_path / "checkpoint-5" / "robust_targets.safetensors")
    RobustTargets(LABELS, K, steps=3).load_state_dict(state)
    assert state["targets.staged.count"].sum() == 2 * 2 * 4  # steps of the second epoch, processes, examples
