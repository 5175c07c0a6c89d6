"""How many singular values of a matrix are above a share of the largest one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.linalg.blas import dsyrk
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

MIN_LANCZOS = 24
"""Rows from which on the largest eigenvalue comes from a Lanczos iteration."""


def count_above(matrix: NDArray[Any], tolerance: float) -> int:
    """Return how many singular values exceed ``tolerance`` times the largest.

    They are not computed: by Sylvester's law as many eigenvalues of the Gram matrix lie above a
    shift as the factor D of its shifted L D L^T has positive ones.

    Args:
        matrix: Shape (rows, columns), finite.
        tolerance: From 1e-5, below which the squares in the Gram matrix lose what counts, to 1.
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape[0] > values.shape[1]:
        values = values.T
    if not values.any():
        return 0
    gram = dsyrk(1.0, values, lower=1)
    largest = _largest_eigenvalue(gram)
    gram[np.diag_indices_from(gram)] -= tolerance**2 * largest
    factors, pivots, info = lapack.dsytrf(gram, lower=1, overwrite_a=1)
    assert info >= 0
    return _num_positive(factors, pivots)


def _largest_eigenvalue(lower: NDArray[np.float64]) -> float:
    """Return the largest eigenvalue of a positive matrix that is given by its lower half."""
    full = np.tril(lower) + np.tril(lower, -1).T
    if len(full) >= MIN_LANCZOS:
        try:
            start = np.ones(len(full))
            return float(eigsh(full, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
        except ArpackNoConvergence:
            pass
    return float(np.linalg.eigvalsh(full)[-1])


def _num_positive(factors: NDArray[np.float64], pivots: NDArray[np.int32]) -> int:
    """Return how many eigenvalues of D are positive.

    Negative pivots come in pairs, one for each 2x2 block, of whose eigenvalues one is positive.
    """
    single = pivots > 0
    diagonal = np.diagonal(factors)
    return int((diagonal[single] > 0).sum() + (~single).sum() // 2)
