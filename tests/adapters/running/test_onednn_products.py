"""Matrix products of a forward pass by oneDNN: where they are taken, and that they give what torch's give."""

import copy

import pytest
import torch
import torch.nn.functional as F
import transformers

from afterlogits import pipeline
from afterlogits.adapters.running import onednn_products
from afterlogits.adapters.running.onednn_products import OneDnnProducts, gains_by_onednn
from tests.builders import text_models
from tests.builders.vision_models import parts, picture

WIDE = transformers.ViTConfig(
    hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=1024, image_size=64, patch_size=8
)


@pytest.fixture
def counted(monkeypatch):
    """The products that oneDNN was asked for: rows, inputs, outputs."""
    found = []
    plain = torch.ops.mkldnn._linear_pointwise

    def linear(rows, weight, *others):
        found.append((rows.numel() // rows.shape[-1], *reversed(weight.shape)))
        return plain(rows, weight, *others)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", linear)
    return found


@pytest.mark.parametrize("shape", [(256, 64), (2, 128, 64), (1, 1, 300, 64)])
@pytest.mark.parametrize("biased", [True, False])
def test_products_are_torch_s_but_for_rounding(shape, biased, counted):
    """64 terms of about 1: the sums differ by a few steps of float32 at 8, 1e-6 each."""
    generator = torch.Generator().manual_seed(len(shape))
    rows, weight = torch.randn(shape, generator=generator), torch.randn(128, 64, generator=generator)
    bias = torch.randn(128, generator=generator) if biased else None
    with torch.no_grad():
        expected = F.linear(rows, weight, bias)
        with OneDnnProducts(least=1):
            found = F.linear(rows, weight, bias)
            strided = F.linear(rows.transpose(-1, -2).contiguous().transpose(-1, -2), weight, bias)
    assert counted == [(rows.numel() // 64, 64, 128)] * 2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert found.shape == expected.shape and torch.equal(found, strided)


@pytest.mark.parametrize("bias", [torch.randn(1).expand(128), torch.randn(256)[::2], torch.randn(64, 128)])
def test_a_bias_that_lies_apart_in_memory_is_torch_s(bias, counted):
    """oneDNN would read what stands behind its first number."""
    rows, weight = torch.randn(64, 64), torch.randn(128, 64)
    with torch.no_grad(), OneDnnProducts(least=1):
        found = F.linear(rows, weight, bias)
    assert not counted
    torch.testing.assert_close(found, rows @ weight.T + bias)


@pytest.mark.parametrize("context", [torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad()])
def test_autocast_and_gradients_are_torch_s(context, counted):
    """Under autocast the results are bfloat16, whatever comes in."""
    rows, weight, heads = torch.randn(64, 64), torch.randn(128, 64), torch.randn(1, 2, 300, 8)
    with torch.no_grad(), context:
        with OneDnnProducts(least=1):
            found = F.linear(rows, weight), F.scaled_dot_product_attention(heads, heads, heads)
        expected = F.linear(rows, weight), F.scaled_dot_product_attention(heads, heads, heads)
    assert all(one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not counted


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Sparse CSR tensor support")
def test_sparse_and_nested_tensors_are_torch_s(counted):
    """A layer may hold its weight sparse, which has no strides to ask for."""
    rows, weight = torch.ones(64, 64), torch.eye(64)
    nested = torch.nested.nested_tensor([rows[:3], rows])
    with torch.no_grad(), OneDnnProducts(least=1):
        for sparse in (weight.to_sparse(), weight.to_sparse_csr()):
            assert torch.equal(F.linear(rows, sparse), rows)
        assert torch.equal(F.linear(rows.to_sparse(), weight), rows)
        assert torch.equal(F.linear(nested, weight).to_padded_tensor(0.0)[1], rows)
    assert not counted


def test_tangents_of_forward_derivatives_are_kept(counted):
    """They are there without gradients too: of A x the tangent along x is A x."""
    rows, weight = torch.randn(64, 64), torch.randn(64, 64)
    with torch.no_grad(), OneDnnProducts(least=1):
        _, tangent = torch.func.jvp(lambda given: F.linear(given, weight), (rows,), (rows,))
    assert not counted
    torch.testing.assert_close(tangent, rows @ weight.T)


def test_nan_and_infinity_stay_where_they_are():
    rows = torch.ones(32, 64)
    rows[3, 5], rows[4, 6] = torch.nan, torch.inf
    with torch.no_grad(), OneDnnProducts(least=1):
        found = F.linear(rows, torch.ones(64, 64))
    assert found.isnan().all(dim=1).nonzero().flatten().tolist() == [3]
    assert found.isinf().all(dim=1).nonzero().flatten().tolist() == [4]
    assert (found[:3] == 64).all()


def test_others_are_left_to_torch(counted):
    rows, weight = torch.ones(64, 64), torch.ones(64, 64)
    with torch.no_grad(), OneDnnProducts(least=64**3):
        F.linear(rows[:63], weight)  # too small
        F.linear(rows.double(), weight.double())
        F.linear(rows.bfloat16(), weight.bfloat16())
        F.linear(rows[0], weight)
        F.linear(rows, torch.ones(64, 65)[:, :64])  # with gaps in memory
        assert not counted
        F.linear(rows, weight)
        assert counted == [(64, 64, 64)]
    trained = torch.nn.Linear(64, 64)
    with OneDnnProducts(least=1):
        trained(rows).sum().backward()
    assert counted == [(64, 64, 64)] and trained.weight.grad is not None


def test_which_models_gain(monkeypatch):
    monkeypatch.setenv("AFTERLOGITS_ONEDNN", "on")
    model = transformers.ViTForImageClassification(WIDE)
    assert gains_by_onednn(model)
    assert not gains_by_onednn(parts("vit")["model"])  # small
    assert not gains_by_onednn(copy.deepcopy(model).bfloat16())
    assert not gains_by_onednn(lambda **inputs: None)
    compiled = copy.deepcopy(model)
    compiled.compile()
    assert not gains_by_onednn(compiled)
    monkeypatch.setenv("AFTERLOGITS_ONEDNN", "off")
    assert not gains_by_onednn(model)
    monkeypatch.delenv("AFTERLOGITS_ONEDNN")
    monkeypatch.setattr(onednn_products, "_mkl_is_narrow", lambda: False)
    assert not gains_by_onednn(model)


def test_a_pipeline_takes_them_and_answers_as_transformers(monkeypatch, counted):
    """Rows of 65 patches by 256 inputs and 1,024 outputs are large enough, by 256 outputs as well; the head is not."""
    monkeypatch.setenv("AFTERLOGITS_ONEDNN", "on")
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(WIDE).eval()
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    options = {"model": model, "image_processor": processor, "device": "cpu"}
    images = [picture(64, 48, seed) for seed in range(3)]
    own = pipeline("image-classification", **options)
    alone = own(images, batch_size=1)
    assert counted == [] and alone == transformers.pipeline("image-classification", **options)(images)
    assert own(images[0]) == alone[0] and not counted
    found = own(images)
    assert len(counted) == 2 * 6
    large = own(images, batch_tokens=64 * 64)  # a batch each, by the budget alone
    assert len(counted) == 4 * 2 * 6 and [each[0]["label"] for each in large] == [each[0]["label"] for each in alone]
    for own, other in zip(found, transformers.pipeline("image-classification", **options)(images), strict=True):
        assert [record["label"] for record in own] == [record["label"] for record in other]
        assert [record["score"] for record in own] == pytest.approx([record["score"] for record in other], abs=1e-6)


@pytest.mark.parametrize("task", ["token-classification", "fill-mask", "question-answering"])
def test_batches_of_texts_take_them_and_a_short_text_alone_does_not(monkeypatch, counted, task):
    """2 layers of 6 products each: 40 texts are 200 tokens and more, one is below 32."""
    monkeypatch.setenv("AFTERLOGITS_ONEDNN", "on")
    torch.manual_seed(0)
    tokenizer = text_models.wordpiece()
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = transformers.BertConfig(vocab_size=len(tokenizer), initializer_range=0.1, **sizes)
    kinds = {
        "token-classification": transformers.BertForTokenClassification,
        "fill-mask": transformers.BertForMaskedLM,
        "question-answering": transformers.BertForQuestionAnswering,
    }
    pipe = pipeline(task, model=kinds[task](config).eval(), tokenizer=tokenizer, device="cpu", batch_size=40)
    text = "the river [MASK] ." if task == "fill-mask" else "the river"
    item = {"question": text, "context": text} if task == "question-answering" else text
    alone = pipe(item)
    long = "the river [MASK] " + "the river " * 24
    pipe({"question": text, "context": long} if task == "question-answering" else long)
    assert not counted  # a row alone is torch's to the last bit, however long it is
    together = pipe([item] * 40)
    assert len(counted) >= 12
    for found in together:
        for one, other in zip(*([each] if isinstance(each, dict) else each for each in (found, alone)), strict=True):
            assert one == {**other, "score": pytest.approx(other["score"], abs=1e-6)}
