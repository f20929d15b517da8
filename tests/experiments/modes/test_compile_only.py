"""Compiles the steps for TPUs that are not present, with the compiler of `libtpu`, and reads what it reports of them.

Where libtpu is not installed (`EXTRAS=compile-tpu`), these tests are skipped, except for those of the messages.
"""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest
from modes import topologies
from modes.compile_only import compile_for, format_compiled

from aux_rnn.config.serialization import from_flat
from aux_rnn.recurrence.precision import MATMULS
from aux_rnn.recurrence.scan import steps_per_iteration, traced_for

has_cuda = find_spec("jax_cuda12_plugin") is not None
needs_cuda = pytest.mark.skipif(not has_cuda, reason="the CUDA plugin of JAX is not installed: EXTRAS=compile-gpu")
needs_libtpu = pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is not installed: EXTRAS=compile-tpu")

SMALL = dict(dataset="digits", image_size=4, optimizer="sgd", batch_size=64, pretrain_epochs=0, segment_length=10)
SMALL |= dict(supervised_truncation=10, auxiliary_truncation=10, decoder_truncation="full", embedding_size=8)
SMALL |= dict(hidden_size=16, head_sizes=(16,), decoder_sizes=(16, 16), decoder_head_sizes=(16,))
TRANSFORMER = dict(encoder="transformer", auxiliary="none", transformer_layers=1)
CIFAR = dict(dataset="cifar10", decoder_input_dropout=0.5, auxiliary_weight=10.0)


def check_programs(settings, topology, stays_on_chip=True):
    """Compiles a run; states and weights of every loop over elements stay on the chip, exchanges outside of them."""
    found = compile_for(from_flat(settings), topology)
    for phase, compiled in found.phases.items():
        assert found.example_bytes < compiled.peak_bytes < found.topology.usable_bytes
        assert compiled.program.cycles > compiled.program.operations > 0
        # Around all others in training is the loop over the steps of a dispatch, whose number is an argument.
        dispatch, loops = compiled.program.loops[: phase != "evaluate"], compiled.program.loops[phase != "evaluate" :]
        assert all((loop.iterations, loop.depth) == (1, 0) and loop.collectives for loop in dispatch)
        assert [loop for loop in loops if loop.collectives] == []
        # A loop around others runs chunks of steps, and may sum the gradient of the weights in HBM, as on a v4.
        followed = zip(loops, [*loops[1:], loops[0]], strict=True) if loops else ()
        in_hbm = [loop for loop, after in followed if after.depth <= loop.depth and loop.in_hbm]
        assert not (stays_on_chip and in_hbm)
    return found


@needs_libtpu
@pytest.mark.slow
def test_all_steps_compile_and_are_shown_in_80_columns():
    found = check_programs({**SMALL, "pretrain_epochs": 1}, "v5e:2x2")
    assert list(found.phases) == ["pretrain", "train", "evaluate"]
    # 16 steps before the last window of 10, that window and those of the anchors together, and 10 of the decoder.
    loops = found.phases["train"].program.loops
    assert [loop.iterations for loop in loops[:4]] == [1, 6, 10, 10]
    assert [loop.name for loop in loops[1:4]] == ["encode", "encode", "decode/decoders_reconstruct"]
    assert loops[-1].name == "encode backward"
    # 1,293 images in batches of 64, and another batch: 16 bytes each and a label.
    assert found.example_bytes == 21 * 64 * (16 + 4)
    page = format_compiled(from_flat(SMALL), found)
    assert max(map(len, page.splitlines())) <= 80
    assert "# rows        16 on each device, 64 from each host" in page
    assert "of training examples on each device" in page
    assert "--hidden_size=16\n" in page


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "changes"),
    [
        ("v6e:4x4", {"precision": "bfloat16"}),  # four hosts
        ("v5e:2x2", {"recurrence": "scan", "data_on_device": "never"}),
        ("v6e:2x2", {"encoder": "gru"}),
        ("v6e:2x2", {"dataset": "digits_text", "image_size": 0}),  # tokens, unequal lengths
        ("v5e:2x2", TRANSFORMER),
        ("v5e:2x2", {"recurrence": "pallas"}),
        ("v6e:2x2", {"recurrence": "pallas", "precision": "bfloat16"}),
        ("v4:2x2x1", {"recurrence": "pallas", "supervised_truncation": "full"}),
        ("v5p:2x2x1", {"recurrence": "pallas", "dataset": "digits_text", "image_size": 0}),
    ],
)
def test_every_kind_of_model_compiles(topology, changes):
    is_gru = "gru" in changes.values()
    found = check_programs({**SMALL, **changes}, topology, stays_on_chip=not is_gru)
    assert bool(found.example_bytes) == ("never" not in changes.values())
    program = found.phases["train"].program
    # In a dispatch the compiler leaves biases of Flax's GRU in HBM.
    assert not is_gru or any(loop.in_hbm for loop in program.loops[1:])
    assert bool(program.loops[1:]) == (not {"transformer", "pallas"} & {*changes.values()})
    # The first pass, the windows and the decoder, the latter two in both directions, as an untruncated first pass.
    assert program.kernels == ("pallas" in changes.values()) * (5 + ("full" in changes.values()))


@needs_cuda
@pytest.mark.slow
def test_an_h100_has_kernels_and_no_cycles():
    settings = from_flat({**SMALL, "segment_length": 15, "image_size": 0})
    found = compile_for(settings, "h100")
    program = found.phases["train"].program
    # 64 steps, the windows of 10 of them at the end, and 15 of the decoder: one iteration is 20 steps.
    assert [loop.iterations for loop in program.loops][:2] == [1, 2]
    assert program.operations > program.cycles == 0
    assert max(map(len, format_compiled(settings, found).splitlines())) <= 80


def test_loops_are_traced_for_the_platform_of_the_topology():
    a = jnp.ones((2, 2))
    for platform, steps, precision in (("gpu", 20, "TF32_TF32_F32"), ("tpu", 1, "HIGHEST"), (None, 1, "HIGHEST")):
        with traced_for(platform):
            assert steps_per_iteration() == steps
            assert precision in str(jax.make_jaxpr(lambda a: MATMULS["tensorfloat32"](a, a))(a))


@needs_libtpu
@pytest.mark.long
@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x4", "v5p:2x2x1", "v6e:2x4"])
def test_the_sizes_of_the_paper_compile(topology):
    check_programs(CIFAR, topology, stays_on_chip=not topology.startswith("v5p"))  # which leaves some states in HBM


@needs_libtpu
def test_the_devices_of_several_hosts_are_those_of_one_host_after_another():
    found = topologies.find_topology("v6e:4x4")
    assert [device.process_index for device in found.devices] == [host for host in range(4) for _ in range(4)]
    assert topologies.find_topology("v5e:2x4").hosts == found.hosts / 4 == 1


@pytest.fixture
def refusal(run_main):
    """Returns the message with which a dry run refuses the words."""

    def refuse(*words):
        settings = ["--dataset=cifar10", "--auxiliary=none", "--supervised_truncation=4"]
        code, out, err = run_main("--mode=dry_run", *settings, *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    return refuse


LARGE = "--batch_size=32768 --encoder=transformer --transformer_layers=1"
MISTAKES = [
    ("--topology=v5e:3x3", "error: --topology=v5e:3x3: must be such as v5e:2x4; v5e: and v6e: have 1x1, 2x2"),
    ("--topology=v7", "v4: and v5p: have 2x2x1, 2x2x2"),
    ("--topology=v5e:2x4 --mode=train", "must be left out with --mode=train"),
    pytest.param("--topology=v5e:2x4 --batch_size=12", "a multiple of the 8 devices of", marks=needs_libtpu),
    pytest.param(f"--topology=v5e:1x1 {LARGE}", "=32768: must be smaller", marks=[needs_libtpu, pytest.mark.slow]),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_topology_or_batch_that_cannot_be_used_gets_one_line(words, message, refusal):
    assert message in refusal(*words.split())


@pytest.mark.parametrize(("topology", "extra"), [("v5e:2x4", "compile-tpu"), ("h100", "compile-gpu")])
def test_a_compiler_that_is_missing_names_the_extra(topology, extra, refusal, monkeypatch):
    monkeypatch.setattr(topologies, "find_spec", lambda name: None)
    assert f"is not installed; EXTRAS={extra} ./launch.sh" in refusal(f"--topology={topology}")


def test_a_compiler_of_another_version_names_the_extra(refusal, monkeypatch):
    monkeypatch.setattr(topologies, "find_spec", lambda name: True)
    monkeypatch.setattr(topologies.metadata, "version", lambda name: "0.0.4")
    message = refusal("--topology=v5e:2x4")
    assert "libtpu 0.0.4 is installed" in message
    assert "EXTRAS=compile-tpu" in message
