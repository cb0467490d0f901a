"""`python -m cellfarm.virtual`: what `cellfarm virtual` runs."""

from ..cli.main import run_app
from .commands import app

run_app(app, "cellfarm virtual")
