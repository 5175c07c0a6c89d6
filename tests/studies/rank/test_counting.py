import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexnet.studies.rank.counting import count_above

pytestmark = pytest.mark.numeric


def by_svd(matrix, tolerance):
    values = np.linalg.svd(np.asarray(matrix, dtype=np.float64), compute_uv=False)
    return int((values > tolerance * values[0]).sum())


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(1, 70),
    st.sampled_from([1e-4, 1e-3, 0.02, 0.3, 0.9]),
    st.floats(0, 3),
)
def test_the_count_is_that_of_singular_values_in_float64(seed, rows, columns, tolerance, steep):
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((rows, columns)) * np.exp(
        -steep * np.arange(columns) / columns
    )
    assert count_above(matrix, tolerance) == by_svd(matrix, tolerance)


@pytest.mark.parametrize("rank", [1, 7, 40, 90])
def test_repeated_rows_are_counted_once(rank):
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((rank, 200))
    matrix = rows[generator.integers(0, rank, 100 - rank)]
    matrix = generator.permutation(np.concatenate([rows, matrix]))
    assert count_above(matrix, 1e-4) == rank
    assert count_above(matrix.astype(np.float32), 1e-4) == rank


def test_scale_and_orientation_do_not_matter():
    matrix = np.random.default_rng(1).standard_normal((50, 80))
    assert count_above(1e6 * matrix, 0.1) == count_above(matrix, 0.1)
    assert count_above(matrix.T, 0.1) == count_above(matrix, 0.1)


def test_a_matrix_of_zeros_has_no_rank():
    assert count_above(np.zeros((5, 9)), 0.01) == 0
    assert count_above(np.zeros((50, 90)), 0.01) == 0
