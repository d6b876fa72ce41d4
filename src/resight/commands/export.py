"""`resight export`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resight.commands.arguments import EncoderArguments, print_json, say
from resight.exported import Number, Runtime

if TYPE_CHECKING:
    from resight.types import Splits


@dataclass(frozen=True, slots=True)
class ExportCommand:
    """Write an encoder as graphs that ONNX Runtime or OpenVINO computes, and check that they give the same answers.

    The folder is an ENCODER of every command that embeds, and needs no PyTorch to embed. Graphs that disagree are not
    left behind: one line has the figures, and the exit status is 1.
    """

    encoder: EncoderArguments
    to: Runtime
    """onnx (ONNX Runtime) or openvino (Intel's processors, where it is faster)."""
    out: Path
    """Folder to write image and text graphs and encoder.json to: new, empty, or an export."""
    with_preprocess: bool = False
    """The image graph takes uint8 pictures and normalises them itself."""
    precision: Number = "float32"
    """float32; float16 and bf16 (of OpenVINO) halve the files; int8 is for the image tower, and needs --data.
    OpenVINO computes in what is named, and is several times faster in bf16 and int8 where the processor has them."""
    batch: int | None = None
    """The only number of pictures, or texts, that the graphs take (default: any)."""
    data: Path | None = None
    """Labelled pictures: a folder, table or benchmark. int8 is fitted to its pictures for training, or else to all;
    query and gallery are what is compared (default: drawn people)."""
    no_verify: bool = False
    """Do not compare with PyTorch. The export then has its own fingerprint: galleries of the original refuse it."""
    opset: int = 20
    """ONNX's, from 18 to 23: older runtimes need an older one."""
    json: bool = False
    """Print the outcome as JSON."""


def export(arguments: ExportCommand) -> int:
    from resight.calibration import FILE
    from resight.data.dataset import all_records
    from resight.data.index import read
    from resight.encoder import Encoder
    from resight.export import ExportConfig, require_libraries, require_place
    from resight.export import export as write
    from resight.parity import choose_probe

    config = ExportConfig(
        arguments.to, arguments.precision, arguments.batch, arguments.with_preprocess, arguments.opset
    )
    require_libraries(config)
    require_place(arguments.out)
    splits = None if arguments.data is None else read(arguments.data)
    source = arguments.encoder
    with ExitStack() as stack:
        encoder = Encoder.load(source.encoder, device=source.device, seed=source.seed, **source.clip.options())
        probe = None
        if not arguments.no_verify:
            probe = (splits and choose_probe(splits)) or _drawn(stack, said=splits is not None)
        learned = Path(source.encoder) / FILE
        parity = write(
            encoder,
            arguments.out,
            config,
            probe=probe,
            samples=(splits.train or splits.unassigned or all_records(splits)) if splits else (),
            calibration_file=learned if learned.is_file() else None,
        )
    passed = parity is None or parity.passed
    if arguments.json:
        print_json({"out": str(arguments.out), "passed": passed, "parity": parity and asdict(parity)})
    elif parity is None:
        print(f"{arguments.out}: {config.runtime}, {config.precision}, not compared with PyTorch")
    elif passed:
        print(f"{arguments.out}: {config.runtime}, {config.precision}; {parity.line()}")
    if parity is not None and not passed:
        say(f"resight: {arguments.out}: does not give PyTorch's answers and was not written: {parity.line()}")
    return 0 if passed else 1


def _drawn(stack: ExitStack, *, said: bool) -> Splits:
    from resight.parity import drawn_probe

    if said:
        say("note: the data show no identity twice in query and gallery, so drawn people are compared.")
    return drawn_probe(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "drawn")
