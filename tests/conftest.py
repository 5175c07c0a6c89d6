"""Its presence puts this folder on the import path: ``strategies`` is shared by the tests."""
