"""Choose what the pipeline runs of MMCCD's Table 2, by lines of conf/graph.yaml and dvc.yaml. From the repository's root:

PYTHONPATH=src python tools/pairs.py all                        all 24 cells: six pairs, and the rows of one modality
PYTHONPATH=src python tools/pairs.py flair-t2 t2-flair t2       these pairs, and DAE and DDPM of T2
PYTHONPATH=src python tools/pairs.py default                    flair-t2 and t2-flair, as committed

<x>-<y>: x is segmented, y is what it is translated to: rows MMCCD and Cyclic U-Net, networks of both directions. flair-t2
and the rows of FLAIR alone always run. Lines are commented out, never lost; then `dvc repro` runs what is new.
"""

import argparse
import re
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_text

GRAPH, PIPELINE = Path("conf/graph.yaml"), Path("dvc.yaml")
PAIRS = tuple("-".join(pair) for pair in permutations(("flair", "t2", "t1"), 2))
MAIN = "flair-t2"  # the rows `mmccd` and `cyclic_unet`, which other parts of the pipeline are made from
SINGLE = ("t2", "t1")  # modalities whose own rows may be left out
WORDS = {"all": (*PAIRS, *SINGLE), "default": (MAIN, "t2-flair")}

PAIR_OF_NETWORK = re.compile(r"  (?:# )?- (\w+-\w+)")
PAIR_OF_ROW = re.compile(r"  (?:# )?(?:mmccd|cyclic_unet)_(\w+?_\w+): ")
PAIR_OF_CURVE = re.compile(r" +(?:# )?models/(mmccd|translator)/(\w+-\w+)/log\.csv: .*")
MODALITY = re.compile(rf" +(?:# )?(?:- .*)?\b(?:dae|ddpm)[-_]({'|'.join(SINGLE)})\b.*")


@dataclass(frozen=True)
class Choice:
    """pairs: those that run, in the order of PAIRS. single: modalities whose DAE and DDPM do, beside FLAIR."""

    pairs: tuple[str, ...]
    single: tuple[str, ...]

    @classmethod
    def of(cls, words: list[str]) -> "Choice":
        """What the words mean. UserError on an unknown one."""
        meant = {MAIN}
        for word in words:
            if word not in WORDS and word not in WORDS["all"]:
                expected = ", ".join([*WORDS["all"], *WORDS])
                raise UserError(f"found the pair {word!r}, expected some of {expected}; change that argument")
            meant |= set(WORDS.get(word, (word,)))
        return cls(tuple(pair for pair in PAIRS if pair in meant), tuple(name for name in SINGLE if name in meant))

    def wants(self, line: str, block: str) -> bool | None:
        """Whether a line below `block` has to be in force; None if it is none of those that are switched."""
        if (found := PAIR_OF_NETWORK.fullmatch(line)) and found[1] in PAIRS:
            return self.trains(found[1], both_ways=block == "translators")
        if found := PAIR_OF_CURVE.fullmatch(line):
            return self.trains(found[2], both_ways=found[1] == "translator")
        if found := PAIR_OF_ROW.match(line):
            return found[1].replace("_", "-") in self.pairs
        if found := MODALITY.fullmatch(line):
            return found[1] in self.single
        return None

    def trains(self, pair: str, both_ways: bool) -> bool:
        """Whether a network of the pair is needed; both ways: for the pair that leads back, too."""
        return pair in self.pairs or (both_ways and "-".join(reversed(pair.split("-"))) in self.pairs)

    def lists(self, text: str) -> str:
        """The graph with the lists that stand in one line: `rebuilt`, and the rows of system mmccd. Other words stay."""
        for name, form in (("rebuilt", "{0}_{1}={0}/{1}"), ("  mmccd", "{0}_{1}")):
            text = relisted(text, name, form.format("ddpm", "flair"), rows_of(SINGLE, form), rows_of(self.single, form))
        return relisted(text, "  mmccd", "cyclic_unet", rows_of_pairs(PAIRS), rows_of_pairs(self.pairs))


def rows_of(modalities: tuple[str, ...], form: str) -> list[str]:
    """Words for DAE and DDPM of each modality."""
    return [form.format(kind, name) for name in modalities for kind in ("dae", "ddpm")]


def rows_of_pairs(pairs: tuple[str, ...]) -> list[str]:
    """Keys of MMCCD and Cyclic U-Net, but for the main pair."""
    return [f"{kind}_{pair.replace('-', '_')}" for pair in pairs if pair != MAIN for kind in ("mmccd", "cyclic_unet")]


def relisted(text: str, name: str, after: str, ours: list[str], wanted: list[str]) -> str:
    """The text with the line `name: words`, of whose words `ours` only the wanted ones are left, behind the word `after`."""
    found = re.search(rf"(?m)^{name}: (.*)$", text)
    words = [word for word in found[1].split() if word not in ours] if found else []
    if after not in words:
        raise UserError(f"{GRAPH}: found no line `{name.strip()}:` with {after}, expected the one as committed; mend it")
    at = words.index(after) + 1
    return text[: found.start(1)] + " ".join([*words[:at], *wanted, *words[at:]]) + text[found.end(1) :]


def main(argv: list[str]) -> None:
    """Rewrites conf/graph.yaml and dvc.yaml."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="pair", help=f"{', '.join(WORDS['all'])}; or all, or default")
    choice = Choice.of(parser.parse_args(argv).words)
    if absent := [path for path in (GRAPH, PIPELINE) if not path.is_file()]:
        raise UserError(f"{absent[0]}: no such file, expected those of the repository; run this in its root")
    made = {path: edited(path, path.read_text(encoding="utf-8"), choice) for path in (GRAPH, PIPELINE)}
    for path, text in made.items():
        write_text(path, text)
    run.log(f"pairs: {', '.join((*choice.pairs, *choice.single))}; `dvc repro` runs what is new")


def edited(path: Path, text: str, choice: Choice) -> str:
    """GRAPH or PIPELINE, with what the choice needs."""
    text = switched(text, choice)
    return choice.lists(text) if path == GRAPH else text


def switched(text: str, choice: Choice) -> str:
    """The text with the lines of the choice in force and those of all others commented out."""
    lines, block = [], ""
    for line in text.split("\n"):
        block = found[1] if (found := re.match(r"(\w+):", line)) else block
        on, bare = choice.wants(line, block), re.sub(r"^( *)# ", r"\1", line)
        lines.append(line if on is None else bare if on else re.sub(r"^( *)", r"\1# ", bare))
    return "\n".join(lines)


if __name__ == "__main__":
    run.main(main)
