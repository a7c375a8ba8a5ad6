"""One number a slice from its anomaly map, for methods that have none of their own."""

import numpy as np

QUANTILE = 0.99  # of the map inside the brain


def image_scores(maps: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """float32 (n,): the 99th percentile of each map (n, H, W) inside its brain (bool); 0 without brain."""
    pairs = zip(maps, brain, strict=True)
    return np.array([np.quantile(m[b], QUANTILE) if b.any() else 0 for m, b in pairs], np.float32)
