"""The report's sections on cost and throughput."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.science.columns import spread
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
    names = [case["network"] for case in record["cases"]]
    shape = ", ".join(f"{case['network']} on {case['shape']}" for case in record["cases"])
    lines += [
        "FLOPs of matrix products and convolutions over a whole small fit, its first trainings, surveys and second "
        f"networks included, over those of cross-entropy ({record['epochs']} epochs, symmetric 40 %; {shape}). "
        "*Published*: passes per epoch counted in the methods' public code, ResNet-18. *State*: bytes of the targets' "
        "buffers and parameters with one row per example, per example and class (10 classes). "
        "To count anew: `python -m benchmarks.science cost`.",
        "",
        "| method | " + " | ".join(f"FLOPs, {name}" for name in names) + " | published | state |",
        "|---" * (len(names) + 3) + "|",
    ]
    for method in record["methods"]:
        values = []
        for case in record["cases"]:
            found = case["methods"][method]
            base = case["methods"]["cross-entropy"]
            values.append(found.get("diverged") or f"{found['flops'] / base['flops']:.2f}")
        state = next((c["methods"][method] for c in record["cases"] if "sample_bytes" in c["methods"][method]), None)
        per = "–" if state is None else f"{state['sample_bytes'] / state['examples'] / state['classes']:.1f}"
        lines.append(f"| {method} | " + " | ".join(values) + f" | {PUBLISHED.get(method, '–')} | {per} |")
    each = "; ".join(
        f"{case['network']} {case['methods']['cross-entropy']['flops_per_image'] / 1e6:,.1f} MFLOP"
        for case in record["cases"]
    )
    return [*lines, "", f"Cross-entropy per image and step: {each}.", ""]


def _throughput(store: Path) -> list[str]:
    lines = ["## Throughput of the loop", ""]
    found = [read_file(path) for path in sorted(store.glob("throughput-*.json"))]
    if not found:
        return [*lines, "Not measured yet: `python -m benchmarks.science throughput`.", ""]
    for record in found:
        lines += _machine(record)
    if not any(record["device"].startswith("cuda") for record in found):
        lines += [
            "On a GPU: not measured, none was at hand; `python -m benchmarks.science throughput --device cuda`.",
            "",
        ]
    return lines


def _machine(record: dict[str, Any]) -> list[str]:
    hardware = record["hardware"]
    lines = [
        f"{hardware['device_name']}, {hardware['threads']} thread(s), {record['precision']}, batch {record['batch']}. "
        "Images per second of the bare loop (forward, backward, step on batches that are ready on the device), and the "
        f"others over it, paired, mean ± standard deviation of {record['repetitions']} alternating repetitions. *Limit*: "
        f"FLOPs of the bare loop over those of a large matrix product ({record['limit_flops'] / 1e9:,.0f} GFLOP/s).",
        "",
    ]
    names = [*dict.fromkeys(name for case in record["cases"] for name in case["images_per_second"] if name != "bare")]
    lines += [
        "| network, shape | bare, images/s | limit | " + " | ".join(names) + " |",
        "|---" * (len(names) + 3) + "|",
    ]
    for case in record["cases"]:
        speeds = case["images_per_second"]
        bare = speeds["bare"]
        cells = [
            spread([mine / its for mine, its in zip(speeds[name], bare, strict=True)], 1.0, 2)
            if name in speeds
            else "–"
            for name in names
        ]
        share = sum(bare) / len(bare) * case["flops_per_image"] / record["limit_flops"]
        lines.append(
            f"| {case['network']}, {case['shape']} | {spread(bare, 1.0, 0)} | {100 * share:.0f} % | "
            + " | ".join(cells)
            + " |"
        )
    return [*lines, ""]
