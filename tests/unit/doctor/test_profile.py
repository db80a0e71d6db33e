"""What an experiment will take, as it is said; and that every profile is one."""

from dataclasses import replace
from unittest.mock import ANY

import pytest

from tests.unit.config.own_files import write_rows
from tests.workspaces import PROJECT
from wmtp.config.accelerators import known
from wmtp.doctor import profile
from wmtp.doctor.machine import Finding
from wmtp.doctor.memory import Memory
from wmtp.doctor.profile import Devices, complete, estimate, find_devices, hours_of, lengths_of, things
from wmtp.doctor.work import Work
from wmtp.errors import ConfigError

pytestmark = pytest.mark.slow

PROFILES = sorted(path.stem for path in (PROJECT / "configs/profiles").glob("*.yaml"))
H100 = Devices.of(known("h100"), 8, 0.5)


MEANT_FOR = {
    "local": Devices.of(known("rtx-4090"), 1, 0.35),
    "production": Devices.of(known("h100"), 3, 0.35),
    **dict.fromkeys(("codecontests", "smollm2"), replace(H100, number=4)),  # micro-batches of 4 examples
}


def memory_of(lines):
    (found,) = (line for line in lines if isinstance(line, Finding) and line.what == "memory of a device")
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_composes_and_fits_the_devices_that_it_is_meant_for(name):
    lines = estimate(PROJECT, name, [], MEANT_FOR.get(name, H100), price=2.0)
    config, left = complete(PROJECT, name, [])
    assert sum(str(line).startswith("train_policy@") for line in lines) == len(config.runs)
    assert [line for line in lines if isinstance(line, Finding) and line.detail.startswith("not given")] == left
    assert memory_of(lines).is_fine, memory_of(lines).detail


def test_what_does_not_fit_is_said_with_what_would_help():
    found = memory_of(estimate(PROJECT, "toy", [], replace(H100, memory_bytes=2**30), price=None))
    assert not found.is_fine and "of 1.0 GiB: a smaller" in found.detail


def test_hours_are_operations_over_what_devices_reach():
    work = Work("train", flops=8 * 0.5 * 989e12 * 7200, dtype="bfloat16")
    assert hours_of(work, H100) == pytest.approx(2.0)
    slow = Work("evaluate", flops=1.0, forwards=3600 * 1000 / 2, weights=int(3.35e12 / 1000))
    assert hours_of(slow, H100) == pytest.approx(1.0)  # a millisecond to read the weights, and one for the rest


def test_costs_are_device_hours_at_a_price(monkeypatch):
    work = Work("train", tokens=5.0, flops=8 * 0.5 * 989e12 * 7200, dtype="bfloat16", memory=Memory(2**30, 2**30, 2**30))
    for price, amount in ((None, "16.00"), (2.5, "40.00")):
        rows = list(profile._table([work], H100, price))
        assert rows[1].split()[:6] == ["train", "5", "2.85e+04", "2.0", "h", amount] and rows[-1].startswith("all")


def test_an_unknown_device_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"--gpu v100 is not known: one of b200, h200, .*rtx-3090"):
        find_devices(PROJECT, "v100", 1, None)


def test_without_data_lengths_are_taken_and_said(tmp_path):
    config, _ = complete(PROJECT, "demo", [])
    lengths, source = lengths_of(config, tmp_path)
    assert lengths.mean == pytest.approx(0.6 * 192) and "60% of data.max_length=192" in source


def test_documents_are_taken_to_fill_their_rows(tmp_path):
    config, _ = complete(PROJECT, "text", [])
    longest = config.data.max_length
    lengths, source = lengths_of(config, tmp_path)
    assert (lengths.mean, lengths.prompt_frac) == (longest, 0.0) and "every document is taken to fill a row" in source


def test_what_is_not_there_is_named_and_what_is_on_the_hub_is_fetched(tmp_path):
    overrides = ["train_policy.model.pretrained=owner/model@v1", "data.tokenizer.path=some/where"]
    config, _ = complete(PROJECT, "toy", overrides)
    found = {finding.what: finding for finding in things(config, tmp_path)}
    assert found["train_policy.model.pretrained"].is_fine and not found["data.tokenizer.path"].is_fine


def test_what_is_there_and_does_not_serve_is_named_too(tmp_path):
    write_rows(tmp_path / "data.jsonl", 60)
    (tmp_path / "cut.parquet").write_text("PAR1")
    (tmp_path / "model").mkdir()
    (tmp_path / "dvc.yaml").symlink_to(PROJECT / "dvc.yaml")
    (tmp_path / "configs").symlink_to(PROJECT / "configs")
    few = Finding("data.num_reference_problems", False, "100 is not allowed: data.train_path=data.jsonl has 60 rows")
    model = Finding("train_policy.model.pretrained", False, "model: there is no config.json in it")
    elsewhere = Finding("data.test_path", False, "none.jsonl does not exist: give the file")
    given = ["data.validation_path=data.jsonl", "data.test_path=none.jsonl", "train_policy.model.pretrained=./model"]
    tokenizer = Finding("data.tokenizer.path", False, ANY)  # the model's own
    for name, found in {"data.jsonl": few, "cut.parquet": Finding("data.train_path", False, ANY)}.items():
        config, _ = complete(tmp_path, "jsonl", [f"data.train_path={name}", *given])
        findings = list(things(config, tmp_path))
        bad = [finding for finding in findings if not finding.is_fine]
        assert sorted(one.what for one in bad) == sorted(one.what for one in (found, model, tokenizer, elsewhere))
        assert found in bad and elsewhere in bad
        assert len({finding.what for finding in findings}) == len(findings), "each thing once"
        assert Finding("data.validation_path", True, "data.jsonl") in findings
