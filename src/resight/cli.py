"""`resight`: finds the command, parses its arguments, turns errors into one line and an exit status."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import sys
from typing import Any, NamedTuple, get_type_hints

from resight.errors import ConfigError, ResightError


class Command(NamedTuple):
    """words: as typed after `resight`; home: module and function, whose one argument is a dataclass of the flags."""

    words: tuple[str, ...]
    summary: str
    home: str


COMMANDS = (
    Command(("demo",), "Draw people, fine-tune, evaluate, and make a gallery: the tour, in minutes", "tour:demo"),
    Command(("data", "make-sample"), "Draw a made-up person data set with captions", "data:make_sample"),
    Command(("data", "check"), "Find what is wrong with a data set", "data:check"),
    Command(("data", "audit"), "Find likely label faults, and decide about them on a page", "audit:audit"),
    Command(("data", "correct"), "Write a corrected table from what was decided about label faults", "audit:correct"),
    Command(("data", "split"), "Cut query, gallery and validation from a data set", "data:split"),
    Command(("data", "list"), "List the known benchmarks and their expected layout", "data:list_benchmarks"),
    Command(
        ("train", "finetune"),
        "Fine-tune the image tower by identity and triplet loss: the baseline",
        "train:finetune_command",
    ),
    Command(
        ("train", "clip-reid"),
        "CLIP-ReID: learned words for each identity, then the image tower",
        "train:clip_reid_command",
    ),
    Command(("train", "pcl"), "PCL-CLIP: contrast with the centroids of identities", "train:pcl_command"),
    Command(
        ("train", "pcl-unsupervised"),
        "PCL-CLIP without labels: contrast with clusters of the pictures",
        "train:pcl_unsupervised_command",
    ),
    Command(
        ("train", "text-direct"), "Train both towers of CLIP on pictures and captions", "train:text_direct_command"
    ),
    Command(
        ("train", "prompt-decoupling"),
        "Prompt decoupling: prompts for both towers from captions, then both towers",
        "train:prompt_decoupling_command",
    ),
    Command(("calibrate",), "Learn which similarity means the same individual", "calibrate:calibrate"),
    Command(("compare",), "Say whether two pictures show the same individual", "calibrate:compare"),
    Command(("embed",), "Turn pictures into vectors, and save them", "encoding:embed"),
    Command(("evaluate",), "Measure mAP, CMC and mINP on query and gallery", "encoding:evaluate"),
    Command(("report",), "Explain a run or an encoder: a page of lists, reasons and relevance maps", "explain:report"),
    Command(
        ("cluster",), "Say who is who among pictures without names, as a table and contact sheets", "cluster:cluster"
    ),
    Command(("gallery", "create"), "Make a gallery of pictures that can be searched", "gallery:create"),
    Command(("gallery", "add"), "Add pictures to a gallery", "gallery:add"),
    Command(("gallery", "update"), "Correct what is known of a gallery's rows", "gallery:update"),
    Command(("gallery", "remove"), "Take rows out of a gallery", "gallery:remove"),
    Command(("gallery", "forget"), "Erase an identity from a gallery, and from the cache", "gallery:forget"),
    Command(("gallery", "list"), "List a gallery's rows, also as a table", "gallery:list_rows"),
    Command(("gallery", "info"), "Say what a gallery holds, and of which encoder", "gallery:info"),
    Command(("gallery", "compact"), "Bring every row into the index, and drop what was removed", "gallery:compact"),
    Command(("search",), "Find who a picture shows or words describe in a gallery", "search:search"),
    Command(("serve",), "Serve a gallery: a page to search it by picture or words, and HTTP", "serve:serve"),
    Command(("export",), "Write an encoder for ONNX Runtime or OpenVINO, and check that it agrees", "export:export"),
    Command(("encoders",), "List the encoders here, with their licences and figures", "sharing:encoders"),
    Command(("push",), "Send an encoder to the Hugging Face hub, with a model card", "sharing:push"),
    Command(("pull",), "Fetch an encoder from the Hugging Face hub, and check it", "sharing:pull"),
    Command(("doctor",), "Describe this machine and installation, for a bug report", "tour:doctor"),
)


def help_text() -> str:
    width = max(len(" ".join(command.words)) for command in COMMANDS)
    rows = "\n".join(f"  {' '.join(command.words):<{width}}  {command.summary}" for command in COMMANDS)
    return (
        "usage: resight COMMAND [arguments]\n\n"
        "Fine-tune CLIP to recognise the same person, vehicle, animal or object again, from a picture or words.\n\n"
        f"{rows}\n\n"
        "resight COMMAND --help explains a command and every argument of it; resight --version prints the version.\n"
        "Exit status: 0 done; 1 done, and faults were found; 2 could not run, and one line says why."
    )


def find(words: list[str]) -> tuple[Command, list[str]]:
    """The command that `words` start with, and what is left for its arguments. Raises ConfigError for no command."""
    for command in COMMANDS:
        n = len(command.words)
        if tuple(words[:n]) == command.words:
            return command, words[n:]
    group = [" ".join(command.words) for command in COMMANDS if command.words[0] == words[0] and len(command.words) > 1]
    if group:
        raise ConfigError(f"resight {words[0]}: say which of: {', '.join(group)}.")
    typed = " ".join(words[:2])
    close = difflib.get_close_matches(typed, [" ".join(command.words) for command in COMMANDS], n=1, cutoff=0.5)
    hint = f" Did you mean `resight {close[0]}`?" if close else " `resight --help` lists the commands."
    raise ConfigError(f"resight {words[0]}: there is no such command.{hint}")


def main(words: list[str] | None = None) -> int:
    """Runs one command; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to stop
    try:
        status = _run(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
        return status
    except ResightError as error:
        return _failed(str(error))
    except MemoryError as error:
        return _failed(f"out of memory ({error}). A smaller --size or --batch-size needs less.")
    except KeyboardInterrupt:
        _failed("stopped.")
        return 130
    except OSError as error:  # of the output: the parts turn those of their files into errors of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
        gone = isinstance(error, BrokenPipeError)  # the reader of a pipe has seen enough, as `head` has
        return 0 if gone else _failed(f"cannot go on ({error}).")


def _failed(message: str) -> int:
    """Prints one line, whatever control characters a file's name brought into it."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    number = os.environ.get("RANK", "0")  # torchrun's: what all processes of a group say is told from each one's own
    print(f"resight: {line}" if number == "0" else f"process {number}: {line}", file=sys.stderr)
    return 2


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        from resight import __version__

        print(f"resight {__version__}")
        return 0
    group = [command for command in COMMANDS if command.words[0] == words[0] and len(command.words) > 1]
    if group and words[1:2] and words[1] in ("-h", "--help", "help"):
        print("\n".join(f"resight {' '.join(command.words)}: {command.summary}" for command in group))
        return 0
    command, rest = find(words)
    module, name = command.home.split(":")
    function = getattr(importlib.import_module(f"resight.commands.{module}"), name)
    arguments = get_type_hints(function)["arguments"]
    before = arguments.before_flags(rest) if hasattr(arguments, "before_flags") else None
    parsed = parse(arguments, rest, f"resight {' '.join(command.words)}", before)
    return int(function(parsed))


def parse(arguments: type[Any], words: list[str], program: str, before: Any = None) -> Any:
    """The dataclass `arguments` filled from the command line; SystemExit after --help. before: what flags overrule.

    Raises ConfigError with the parser's complaint, which it would print as a box of several lines.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            config: tuple[Any, ...] = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
            if before is None:
                return tyro.cli(arguments, args=words, prog=program, config=config)
            config = config[:1]  # --no-FLAG too: what holds before the flags may have switched one on
            return tyro.cli(arguments, args=words, prog=program, config=config, default=before)
    except SystemExit as ended:
        if not ended.code:
            raise
        shown = complaint.getvalue().split("For full helptext")[0].split("Argument helptext")[0]
        shown = shown.replace("[bold]", "").replace("[/bold]", "")
        inside = [line.strip("│╭╮╰╯─ ") for line in shown.splitlines()[1:]]
        what = " ".join(line for line in inside if line.strip("-")).rstrip(".")  # not the rules of plain terminals
        raise ConfigError(f"{what}. `{program} --help` explains.") from ended


if __name__ == "__main__":
    sys.exit(main())
