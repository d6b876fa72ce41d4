"""What stands in for what cannot run here as the pages show it: without a network, a GPU, and hours. Nothing else may.

Each line is used, or a test fails; so does a command of a page that is neither run nor named here.
"""

from __future__ import annotations

from typing import NamedTuple


class Swap(NamedTuple):
    """In commands and programs of the pages that match `page` (a glob), what matches `old` is `new`."""

    page: str
    old: str
    new: str


class Elsewhere(NamedTuple):
    """Commands or blocks of a page that match, and the test that runs them in place of ours."""

    page: str
    matches: str
    test: str


# weights that a network brings, in a size that takes hours -> our own, small
SWAPS = (
    Swap("*", r"\bopenai:ViT-B-16\b", "resight-mini"),
    Swap("*", r"--size (256 128|384 128)", "--size 64 32"),
    Swap("*", r"\bsize=\(256, 128\)", "size=(64, 32)"),
    Swap("docs/training.md", r"Config\(n_identities=8\)", "Config(n_identities=4, n_images=2, **SMALL)"),
    Swap("docs/gallery.md", r"/data/crops\b", "more_crops"),
    Swap("docs/gallery.md", r"3f2a…", "A_ROW"),  # the first row that the gallery lists
    Swap("docs/gallery.md", r"forget people Ann\b", "forget people Ann --yes"),  # nobody is there to be asked
)

# words behind a command that would take hours: the last of a flag counts
SMALL = "--size 64 32 --epochs 1 --workers 1 --device cpu"
ADDED = {
    "train finetune": f"{SMALL} --n-identities 4 --n-images 2",
    "train clip-reid": f"{SMALL} --n-identities 4 --n-images 2 --prompt-epochs 1 --prompt-batch 16",
    "train pcl-unsupervised": f"{SMALL} --n-batches 2 --batch-size 32",
    "train text-direct": f"{SMALL} --warmup-epochs 0 --batch-size 16",
    "report": "--queries 4",
}

# exit status 1 where faults may be found
MAY_FIND_FAULTS = ("data check",)

ELSEWHERE = (
    Elsewhere("*", r"^make demo$", "tests/test_cli.py::test_demo_trains_and_runs_to_its_page"),
    Elsewhere("README.md", r"^make test$", "tests/docs/test_pages.py::test_make_has_the_targets"),
    Elsewhere("README.md", r"^make docs$", "tests/docs/test_site.py::test_every_page_of_the_navigation_is_built"),
    Elsewhere(
        "docs/serve.md",
        r"^curl |^\$ RESIGHT_TOKEN=|^import httpx$",
        "tests/service/test_serve.py::test_a_service_runs_the_documents_examples_and_finishes_what_it_began",
    ),
    Elsewhere("*", r"^torchrun .* -m resight train ", "tests/test_resume.py::test_two_processes_train_as_one_does"),
    Elsewhere(
        "*",
        r"^resight serve ",
        "tests/service/test_serve.py::test_a_service_runs_the_documents_examples_and_finishes_what_it_began",
    ),
    Elsewhere("docs/extending/loss.md", r"^--8<-- ", "tests/docs/test_programs.py::test_the_loss_is_its_formula"),
    Elsewhere("docs/extending/method.md", r"^--8<-- ", "tests/docs/test_programs.py::test_the_method_goes_on"),
    Elsewhere("docs/extending/benchmark.md", r"^--8<-- ", "tests/docs/test_programs.py::test_the_layout_is_read"),
)

# folders, tables and pictures that a page speaks of as yours; `Place` in test_blocks.py makes them
PREPARED = {
    "README.md": ("my_crops/", "my_labelled/", "Market-1501/", "who.jpg", "a.jpg", "b.jpg"),
    "docs/api.md": ("crops.csv",),
    "docs/export.md": ("market1501/", "runs/market/encoder", "one.jpg", "two.jpg"),
    "docs/extending/benchmark.md": ("zebras/",),
    "docs/gallery.md": ("my_crops/", "more_crops/", "my_labelled/", "who.jpg", "who_from_behind.jpg"),
    "docs/sharing.md": ("farm.csv", "other_farm.csv", "runs/cows/encoder"),
    "docs/text.md": ("crops.csv",),
    "docs/tour.md": ("my_crops/", "my_labelled/", "who.jpg"),
    "docs/training.md": ("my_cows/", "crops.csv"),
    "docs/unsupervised.md": ("crops/", "crops.csv"),
}
