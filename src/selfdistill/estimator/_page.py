"""What a fitted estimator shows in a notebook: scikit-learn's diagram, and below it the report on the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.read_options import ReadOptions
from selfdistill.runs._label_table import SavedLabelTable

if TYPE_CHECKING:
    from selfdistill.issues._table import LabelTable


class Shown:
    """Adds the report to what scikit-learn shows; examples are named by their row."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        return bundle | {name: text + self._report() for name, text in bundle.items() if name == "text/html"}

    def _repr_html_inner(self) -> str:
        diagram: str = super()._repr_html_inner()  # type: ignore[misc]
        return diagram + self._report()

    def _report(self) -> str:
        """The report; nothing before `fit`, or where the findings were given up."""
        table: LabelTable | None = getattr(self, "label_table_", None)
        if table is None:
            return ""
        from selfdistill.report._content import Subject
        from selfdistill.report._report import Report

        trust, curves = getattr(self, "trust_", None), getattr(self, "curves_", None)
        return Report(
            Subject(
                name="Labels in memory",
                found=_findings(table, getattr(self, "classes_", ())),
                verdict=trust.verdict if trust else "",
                sentences=trust.sentences if trust else (),
                holds="",
                curves={} if curves is None else {str(name): curves[name].tolist() for name in curves},
                counts=table.noise.counts,
            )
        )._repr_html_()


def _findings(table: LabelTable, classes: Any) -> SavedLabelTable:
    names, rows = np.array([str(one) for one in classes], object), np.arange(len(table.given))
    others = np.array(table.distribution, np.float32)
    others[rows, table.given] = -1
    other = others.argmax(1)
    return SavedLabelTable(
        source="",
        options=ReadOptions(),
        classes=tuple(names),
        ids=np.array([f"row {row}" for row in rows], object),
        given=names[table.given],
        refined=names[table.refined],
        confidence=table.confidence,
        quality=table.quality,
        is_issue=table.is_issue,
        p_given=table.p_given,
        p_other=others[rows, other],
        other=names[other],
        first_learned=table.first_learned,
    )
