"""Write the report of a warehouse: `write_report.py WAREHOUSE FOLDER`. A script, for a fresh process."""

from __future__ import annotations

import sys
from pathlib import Path

from cellfarm.report import write_report

if __name__ == "__main__":
    write_report(Path(sys.argv[1]), Path(sys.argv[2]))
