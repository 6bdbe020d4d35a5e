"""Kinds of arrays and parts of a cube."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Cells: TypeAlias = npt.NDArray[np.int64]
Box: TypeAlias = tuple[slice, slice, slice]  # x, y, channel
