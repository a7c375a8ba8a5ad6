"""Where stages leave what they say about a method: one folder a system (conf/graph.yaml), one file a method in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A method and the system that it belongs to, by their keys in conf/graph.yaml; paths are relative to the repository."""

    system: str
    method: str

    def predictions(self, split: str) -> Path:
        """Maps of one split. A folder a split, so that calibration can depend on validation alone."""
        return Path("predictions") / self.system / split / f"{self.method}.npz"

    @property
    def threshold(self) -> Path:
        """What calibrate@<system> found."""
        return Path("models/thresholds") / self.system / f"{self.method}.json"

    @property
    def scores(self) -> Path:
        """Per test slice, from evaluate@<system>."""
        return Path("scores") / self.system / f"{self.method}.csv"

    @property
    def curve(self) -> Path:
        """Precision and recall, from evaluate@<system>."""
        return Path("scores") / self.system / "pr" / f"{self.method}.csv"

    @property
    def metrics(self) -> Path:
        """The method's numbers, from evaluate@<system>."""
        return Path("metrics") / self.system / f"{self.method}.json"
