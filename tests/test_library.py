"""The package as a library: quick to import, every public name with an example that runs."""

import doctest
import inspect
import sys
import typing

import pytest
from faulty import run

import aux_rnn


@pytest.mark.slow
@pytest.mark.usefixtures("shared_steps")
@pytest.mark.parametrize("name", aux_rnn.__all__)
def test_every_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public, options = getattr(aux_rnn, name), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=options)
    module = sys.modules[public.__module__]
    examples = doctest.DocTestFinder(exclude_empty=True).find(public, name, module=module, globs=dict(vars(module)))
    assert any(test.examples for test in examples)
    for test in examples:
        runner.run(test)
    assert runner.summarize().failed == 0


def test_public_functions_describe_each_argument_and_have_types_that_can_be_resolved():
    for public in filter(inspect.isfunction, (getattr(aux_rnn, name) for name in aux_rnn.__all__)):
        described = inspect.getdoc(public).partition("Args:")[2]
        for argument in inspect.signature(public).parameters:
            assert f"\n  {argument}: " in described or f"\n  **{argument}: " in described, public
        assert "return" in typing.get_type_hints(public)


PROGRAM = """
import sys
before = set(sys.modules)
import aux_rnn
print(*sorted(set(sys.modules) - before))
aux_rnn.fit, aux_rnn.joint_loss
from absl import flags
ours = [name for name in flags.FLAGS if "aux_rnn" in (flags.FLAGS.find_module_defining_flag(name) or "")]
assert not ours and not flags.FLAGS.is_parsed(), ours
import jax; assert not jax._src.xla_bridge._backends
"""


def test_the_import_needs_neither_jax_nor_absl_and_a_name_starts_no_device_and_reads_no_flag():
    done = run([sys.executable, "-c", PROGRAM])
    assert done.code == 0, done.err
    imported = {name.split(".")[0] for name in done.out.split()}
    assert imported <= {"aux_rnn", "etils", *sys.stdlib_module_names}
