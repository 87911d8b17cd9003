"""Why connections were lost, since when, and what would help: an explanation out of what the kernel counted. Pure."""

from __future__ import annotations

from lab.diagnosis.why.explanation import Explanation, LabNow, of_lab, of_run, question_of
from lab.diagnosis.why.limits import LimitAccount
from lab.diagnosis.why.remedies import Remedy, remedies

__all__ = ["Explanation", "LabNow", "LimitAccount", "Remedy", "of_lab", "of_run", "question_of", "remedies"]
