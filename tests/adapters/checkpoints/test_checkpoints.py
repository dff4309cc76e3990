"""The checkpoints that ship: size, plain loading, labels, the chat template, and which task has which folder."""

import pytest
import torch

from afterlogits.adapters.checkpoints import FOLDERS, TEXT, path
from tests.builders.shipped_models import loaded


def test_all_seven_take_at_most_ten_megabytes() -> None:
    """Weights, tokenizers, configurations and cards together."""
    sizes = [file.stat().st_size for folder in TEXT for file in path(folder).iterdir()]
    assert sum(sizes) <= 10_000_000


@pytest.mark.parametrize("folder", TEXT)
def test_plain_loading_gives_a_float32_model_of_the_stated_size(folder: str) -> None:
    """Half precision on disk, float32 in memory, 0.5 to 1 million parameters, and the card says how many."""
    model, tokenizer = loaded(folder)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert model.dtype == torch.float32
    assert 500_000 <= size <= 1_000_000
    assert f"{size:,} parameters" in " ".join((path(folder) / "README.md").read_text().split())
    assert len(tokenizer) == model.config.vocab_size


def test_chat_template_writes_the_trained_format() -> None:
    """The language model read stories asked for in this very form."""
    messages = [{"role": "user", "content": "Tell me a story about a fox."}]
    text = loaded("language-model")[1].apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>\nTell me a story about a fox.<|end|>\n<|assistant|>\n"


def test_path_of_an_unknown_task() -> None:
    with pytest.raises(ValueError, match=r"^task must be one of .* or translation_XX_to_YY; got 'mask-generation'$"):
        path("mask-generation")


def test_path_of_every_text_task() -> None:
    tasks = "question-answering ner token-classification sentiment-analysis text-classification fill-mask summarization"
    tasks += " zero-shot-classification text-generation text2text-generation translation translation_en_to_fr"
    tasks += " feature-extraction"
    assert all((path(task) / "config.json").exists() for task in tasks.split())


def test_what_ships_is_whole() -> None:
    """In an installed wheel too: weights, configuration and card of every model, what the demonstration shows."""
    for folder in FOLDERS:
        assert {"config.json", "README.md", "model.safetensors"} <= {file.name for file in path(folder).iterdir()}
    beside = path("ner").parent
    for name in (
        "demo_items.json",
        "demo_pictures/clip/0.png",
        "demo_sounds/words-1.flac",
        "demo_sounds/truth.json",
        "demo_pages/receipt.png",
    ):
        assert (beside / name).is_file(), name


def test_no_class_is_of_one_version_of_transformers() -> None:
    """Tokenizers and processors under the names that transformers 4 and 5 have."""
    for folder in FOLDERS:
        for name in ("tokenizer_config.json", "preprocessor_config.json"):
            file = path(folder) / name
            said = file.read_text() if file.exists() else ""
            assert "TokenizersBackend" not in said and 'ProcessorPil"' not in said, file
