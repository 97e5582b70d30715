"""Renews the support table and its page, as ``make models`` does: PYTHONPATH=tests python tests/conformance/make.py"""

import json
from pathlib import Path

from conformance.page import page
from conformance.support import support
from transformers.utils import logging

from atv.commands.models import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = support()
    TABLE.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))
    passing = sum(not row["failed"] for row in found["types"].values())
    print(f"{passing} of {len(found['types'])} types pass every check; written to {TABLE} and {PAGE}")
