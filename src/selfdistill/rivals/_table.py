"""Every rival: one line for each paper."""

from __future__ import annotations

from selfdistill.rivals import (
    chen2021nts,
    han2018coteaching,
    huang2020sat,
    kim2021pskd,
    li2020dividemix,
    liu2020elr,
    liu2022sop,
    lu2022selc,
    patrini2017correction,
    reed2015bootstrap,
    tanaka2018joint,
    wang2019sce,
    yuan2024labelwave,
    zhang2018gce,
)
from selfdistill.rivals._method import Method

_PAPERS = (
    chen2021nts,
    yuan2024labelwave,
    reed2015bootstrap,
    patrini2017correction,
    zhang2018gce,
    wang2019sce,
    liu2020elr,
    huang2020sat,
    lu2022selc,
    liu2022sop,
    kim2021pskd,
    tanaka2018joint,
    han2018coteaching,
    li2020dividemix,
)
RIVALS: dict[str, Method] = {name: method for paper in _PAPERS for name, method in paper.METHODS.items()}
"""Every rival by name."""
