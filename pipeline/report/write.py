"""The report of a run: one HTML page and the main picture, in the run's folder."""

from __future__ import annotations

from collections.abc import Callable

from ddgm.pipeline.report.page import render_page
from ddgm.pipeline.report.pictures import preview
from ddgm.pipeline.report.run_data import load_run_data
from ddgm.pipeline.report.slices import pick_slices, view_of
from ddgm.pipeline.report.trust.prior_fit import prior_fit
from ddgm.pipeline.store.run_store import RunStore

PAGE, PICTURE = "report.html", "preview.png"


def write_report(root: str, say: Callable[[str], object] = lambda text: None) -> list[str]:
    """Write the page and the picture of a run, finished or not, into its folder.

    Args:
        root: of the run.
        say: is told whether the prior fits the data.

    Returns:
        The names written.

    Raises:
        StoreError: there is no run, or none of its blocks is done.
    """
    run = load_run_data(RunStore(root))
    views = {name: view_of(run, row) for name, row in pick_slices(run.columns[run.ranking]).items()}
    picture = preview(run, views["median"])
    fit = prior_fit(run)
    page = render_page(run, views, fit).encode()
    folder = run.store.folder
    if picture is None:
        folder.delete(PICTURE)  # of an earlier report: not of this state of the run
    else:
        folder.write(PICTURE, picture)
    folder.write(PAGE, page)
    say(fit[0])
    return [PAGE] if picture is None else [PAGE, PICTURE]
