"""Descriptions of the machine."""

import pytest

from aux_rnn.system import machine


def test_vector_extensions_are_named(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name : AMD EPYC\nflags : fpu avx2 avx512f avx512bw avx512_bf16\n")
    assert machine.vector_extensions(tmp_path / "cpuinfo") == ["AVX2", "AVX-512", "AVX512-BF16"]
    assert machine.vector_extensions(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("precision", "platform", "extensions", "is_slow"),
    [
        ("bfloat16", "cpu", ["AVX2"], True),
        ("bfloat16", "cpu", ["AVX-512", "AVX512-BF16"], False),
        ("bfloat16", "cpu", [], False),  # unknown
        ("bfloat16", "tpu", ["AVX2"], False),
        ("float32", "cpu", ["AVX2"], False),
    ],
)
def test_a_precision_that_is_slow_on_the_cpu_is_reported(monkeypatch, precision, platform, extensions, is_slow):
    monkeypatch.setattr(machine, "vector_extensions", lambda: extensions)
    expected = "precision=bfloat16 is slower than float32 on this CPU, which has only AVX2" if is_slow else ""
    assert machine.warn_of_precision(precision, platform) == expected
