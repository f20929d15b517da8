"""Signals outside of training."""

import os
import signal

import pytest

from aux_rnn.system.signals import interrupt_on_signals


def fail_to_import():
    """Does what an extension module makes of a KeyboardInterrupt during its import."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt as error:
        raise ImportError("numpy._core.multiarray failed to import") from error


def test_a_signal_during_an_import_is_an_interruption():
    with pytest.raises(KeyboardInterrupt), interrupt_on_signals():
        fail_to_import()


def test_an_import_that_fails_without_a_signal_fails():
    with pytest.raises(ImportError, match="no such module"), interrupt_on_signals():
        raise ImportError("no such module")
