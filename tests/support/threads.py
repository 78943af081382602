"""A fixture for tests that compute with small models."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Threads of OpenMP wait for each other much longer than small models compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
