"""The report's sections on cost and throughput."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.pages import grid, spread
from benchmarks.science.cost import FILE as COST
from benchmarks.science.cost import PUBLISHED
from benchmarks.science.records import read_file


def section(store: Path) -> list[str]:
    """Write both sections; what was not measured is said."""
    return [*_cost(store), *_throughput(store)]


def _cost(store: Path) -> list[str]:
    lines = ["## What a method costs: FLOPs and bytes, counted", ""]
    path = store / COST
    if not path.is_file():
        return [*lines, "Not counted yet: `python -m benchmarks.science cost`.", ""]
    record = read_file(path)
    shape = ", ".join(f"{case['network']} on {case['shape']}" for case in record["cases"])
    lines += [
        "FLOPs of matrix products and convolutions over a whole small fit (first trainings, predictions of the "
        "training set, second networks included) over those of cross-entropy "
        f"({record['epochs']} epochs, symmetric 40 %; {shape}). "
        "*Published*: passes per epoch counted in the methods' public code, ResNet-18. *State*: bytes of the targets' "
        "buffers and parameters with one row per example, per example and class (10 classes). To count anew: "
        "`python -m benchmarks.science cost`.",
        "",
    ]
    body = []
    for method in record["methods"]:
        every = [case["methods"][method] for case in record["cases"]]
        base = [case["methods"]["cross-entropy"]["flops"] for case in record["cases"]]
        shown = [mine.get("diverged") or f"{mine['flops'] / its:.2f}" for mine, its in zip(every, base, strict=True)]
        state = next((mine for mine in every if "sample_bytes" in mine), None)
        per = "–" if state is None else f"{state['sample_bytes'] / state['examples'] / state['classes']:.1f}"
        body.append([method, *shown, PUBLISHED.get(method, "–"), per])
    head = ["method", *(f"FLOPs, {case['network']}" for case in record["cases"]), "published", "state"]
    plain = [(case["network"], case["methods"]["cross-entropy"]["flops_per_image"]) for case in record["cases"]]
    each = "; ".join(f"{network} {flops / 1e6:,.1f} MFLOP" for network, flops in plain)
    return [*lines, *grid(head, body), "", f"Cross-entropy per image and step: {each}.", ""]


def _throughput(store: Path) -> list[str]:
    lines = ["## Throughput of the loop", ""]
    found = [read_file(path) for path in sorted(store.glob("throughput-*.json"))]
    if not found:
        return [*lines, "Not measured yet: `python -m benchmarks.science throughput`.", ""]
    for record in found:
        lines += _machine(record)
    if not any(record["device"].startswith("cuda") for record in found):
        command = "`python -m benchmarks.science throughput --device cuda`"
        lines += [f"On a GPU: not measured, none was at hand; {command}.", ""]
    return lines


def _machine(record: dict[str, Any]) -> list[str]:
    hardware = record["hardware"]
    lines = [
        f"{hardware['device_name']}, {hardware['threads']} thread(s), {record['precision']}, batch {record['batch']}. "
        "Images per second of the bare loop (forward, backward, step on batches that are ready on the device), and "
        "the others over it: mean ± standard deviation of all repetitions by the clock, and in brackets by CPU "
        "seconds of the process that trains. On a CPU a fit and the bare loop take a step each in "
        "turn, ends of epochs counted for the fit, so that what else the machine does slows both alike; the "
        "DataLoader, whose workers go on meanwhile, and all on a GPU, run before or after the bare loop. *Limit*: "
        "FLOPs of the fastest bare repetition over those of a large matrix product.",
        "",
    ]
    names = [*dict.fromkeys(name for case in record["cases"] for name in case["images_per_second"] if name != "bare")]
    body = []
    for case in record["cases"]:
        over, by_cpu, bare = case["over_bare"], case["over_bare_by_cpu"], case["images_per_second"]["bare"]
        share = max(bare) * case["flops_per_image"] / case["limit_flops"]
        shown = [f"{spread(over[n], 1.0, 3)} ({spread(by_cpu[n], 1.0, 3)})" if n in over else "–" for n in names]
        title = f"{case['network']}, {case['shape']}"
        body.append([title, f"{case['images']:,}", spread(bare, 1.0, 0), f"{100 * share:.0f} %", *shown])
    return [*lines, *grid(["network, shape", "images an epoch", "bare, images/s", "limit", *names], body), ""]
