"""The report: figures by hand, text, JSON and page."""

import html.parser
import json

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from lrpet_tf import errors
from tests.export import nets

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A net, its factorized form at a rank that changes its outputs, labels, the file and the report."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("report")
    dense, data = nets.conv_net(), nets.images(40)
    dense.get_layer("logits").bias.assign(-dense.predict(data, verbose=0).mean(0))  # else one class is right for all
    answers = dense.predict(data, verbose=0).argmax(1)
    assert len(set(answers)) > 2
    answers[::4] = (answers[::4] + 1) % 4
    plan = lrpet.make_plan(dense, 0.25, exclude="logits")
    with pytest.warns(UserWarning, match="not of their planned rank"):
        small = lrpet.factorize(dense, plan)
    options = {"quantize": "int8", "representative_data": (data, answers), "min_sqnr_db": -100.0}
    report = lrpet.export_tflite(small, folder / "net.tflite", reference=dense, **options)
    return dense, small, data, answers, plan, folder, report


def test_accuracy_at_each_stage_by_hand(case):
    dense, small, data, answers, _, folder, report = case
    lrpet.export_tflite(small, folder / "float.tflite", samples=data)
    outputs = [
        dense.predict(data, verbose=0),
        small.predict(data, verbose=0),
        nets.run_directly(folder / "float.tflite", {"image": data})["logits"],
        nets.run_directly(folder / "net.tflite", {"image": data})["logits"],
    ]
    assert [stage.accuracy for stage in report.stages] == [np.mean(each.argmax(1) == answers) for each in outputs]
    assert report.stages[0].accuracy == 0.75
    assert report.accuracy_drop == report.stages[0].accuracy - report.accuracy > 0
    for index in (1, 2, 3):
        since_start = report.stages[index].since_start[0]
        assert since_start.max_difference == pytest.approx(np.max(np.abs(outputs[index] - outputs[0])), rel=1e-4)
        agreement = np.mean(outputs[index].argmax(1) == outputs[index - 1].argmax(1))
        assert report.stages[index].since_previous[0].top1_agreement == agreement
    assert report.stages[1].since_previous[0].sqnr_db < report.stages[3].since_previous[0].sqnr_db < 60
    assert report.stages[2].since_previous[0].sqnr_db > 90


def test_text(case):
    *_, report = case
    text = str(report)
    for part in ("float32 file", "int8 file", "signal to noise", "accuracy", "memory for values", "operators:", "CONV_2D"):
        assert part in text
    assert "calibrated on 40 samples" in text


def test_json(case):
    *_, folder, report = case
    report.save(folder / "report.json")
    content = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)  # no NaN, no Infinity
    assert content["stages"][-1]["accuracy"] == report.accuracy
    assert content["exported"]["arena_bytes"] == report.exported.arena_bytes
    assert content["latency_ratio"] == report.latency_ratio
    assert content["audit"]["operators"]["CONV_2D"] == 4
    assert content["sqnr_db"] == report.sqnr_db
    assert content["metadata"]["provenance"]["quantize"] == "int8"


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.open, self.void = [], [], {"meta", "img", "br"}

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_no_other_file(case):
    *_, folder, report = case
    report.save(folder / "report.html")
    page = (folder / "report.html").read_text()
    parser = _Links()
    parser.feed(page)
    assert not parser.open
    assert len(parser.found) == 2
    assert all(link.startswith("data:image/png;base64,iVBOR") for link in parser.found)
    for part in ("reference Keras model", "int8 file", "Where it was lost", "net.tflite", "Plan: 2 layers"):
        assert part in page
    assert "lrpet_tf" in page


def test_names_are_escaped(case):
    import dataclasses

    *_, report = case
    page = dataclasses.replace(report, path="<script>alert(1)</script>.tflite").to_html()
    assert "<script>" not in page


def test_other_forms(case):
    *_, folder, report = case
    report.save(folder / "report.txt")
    assert (folder / "report.txt").read_text() == str(report)
    with pytest.raises(errors.ExportError, match=r"\.json, \.html, \.txt.*report\.pdf"):
        report.save(folder / "report.pdf")


def test_the_file_tells_where_it_comes_from(case):
    _, small, _, _, plan, folder, report = case
    metadata = lrpet.read_metadata(folder / "net.tflite")
    assert metadata == report.metadata
    facts = metadata.provenance
    assert facts["plan"] == {layer.path: [layer.decomposition, layer.rank] for layer in plan.layers}
    assert (facts["macs"], facts["params"]) == (lrpet.count_macs(small), lrpet.count_params(small))
    assert (facts["quantize"], facts["calibration_samples"], facts["model"]) == ("int8", 40, "net")
    assert facts["versions"]["lrpet_tf"] == lrpet.__version__
    assert facts["versions"]["keras"] == keras.__version__


def test_what_the_user_tells(tmp_path):
    info = lrpet.FileInfo(
        description="Tells four things apart.",
        version="3",
        author="A. Author",
        license="Apache-2.0",
        normalization=([1.0, 2.0, 3.0], 0.5),
        labels=["a", "b", "ä", "d"],
    )
    model, data = nets.conv_net(), nets.images()
    lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data, info=info)
    found = lrpet.read_metadata(tmp_path / "net.tflite")
    assert (found.description, found.version, found.author, found.license) == (
        info.description,
        info.version,
        info.author,
        info.license,
    )
    assert (found.inputs[0].name, found.inputs[0].mean, found.inputs[0].std) == ("image", (1.0, 2.0, 3.0), (0.5,))
    assert (found.outputs[0].name, found.outputs[0].labels) == ("logits", ("a", "b", "ä", "d"))
    outputs = nets.run_directly(tmp_path / "net.tflite", {"image": data})
    np.testing.assert_allclose(outputs["logits"], model.predict(data, verbose=0), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a", "b"]}, "4 entries of output 'logits'. Received: 2 labels"),
        ({"labels": {"other": ["a"] * 4}}, "must name some of logits. Received: 'other'"),
        ({"normalization": (0.0, 0.0)}, "no std of 0"),
        ({"normalization": ([1.0, 2.0], 1.0)}, "one a channel of 3"),
        ({"normalization": 3}, r"must be \(mean, std\)"),
    ],
)
def test_what_does_not_fit(tmp_path, options, message):
    with pytest.raises(errors.ExportError, match=message):
        lrpet.export_tflite(nets.conv_net(), tmp_path / "net.tflite", info=lrpet.FileInfo(**options))
    assert not list(tmp_path.iterdir())
