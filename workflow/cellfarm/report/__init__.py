"""The report: one self-contained HTML page and its figures, made from the warehouse."""

from cellfarm.report.page import write_report

__all__ = ["write_report"]
