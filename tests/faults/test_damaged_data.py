"""Damaged data: one line, nothing lost, and after repair the run continues to the same end."""

import pytest
from faulty import BAD_INPUT, INTERRUPTED, command, interrupt, read_end, run, snapshot
from official import write_dbpedia


@pytest.mark.faults
def test_damaged_data_is_refused_and_after_repair_the_run_continues(tmp_path):
    write_dbpedia(tmp_path / "manual/dbpedia")
    texts = ("--dataset=dbpedia", "--image_size=0", "--sequence_length=16", "--allow_partial")
    alone, interrupted = (
        command(tmp_path / name, tmp_path / "data", *texts, f"--manual_dir={tmp_path / 'manual'}")
        for name in ("alone", "run")
    )
    assert run(alone).code == 0
    assert interrupt(interrupted).code == INTERRUPTED
    (file,) = tmp_path.glob("data/sequential_dbpedia/*/*train.array_record*")
    content = bytearray(file.read_bytes())
    used = [place for place, byte in enumerate(content) if byte]  # blocks are padded with zeros, which are not checked
    content[used[len(used) // 2]] ^= 1
    file.write_bytes(content)
    before = snapshot(tmp_path)
    run(interrupted).check_stopped(BAD_INPUT, str(file.parent))
    assert snapshot(tmp_path) == before
    content[used[len(used) // 2]] ^= 1
    file.write_bytes(content)
    assert run(interrupted).code == 0
    assert read_end(tmp_path / "run") == read_end(tmp_path / "alone")
