"""What Whisper attended to while it wrote each word: transformers' own matrix, the same alone and in a batch, drawn."""

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

from afterlogits.adapters.jobs.beside import Drawings
from afterlogits.adapters.jobs.entries import Entry
from afterlogits.adapters.media.colours import number_colours
from afterlogits.adapters.media.sound_drawing import MARGIN, ROW, TEXT, WAVE, WIDTH, draw_sound
from afterlogits.adapters.pipelines import pipeline
from afterlogits.adapters.tasks.audio.word_attention import WordAttention
from tests.builders.audio_models import ctc_tokenizer, noise, wav2vec2, whisper

SOUND = noise(5.0, 3)
GREEDY = {"num_beams": 1}
pytestmark = pytest.mark.filterwarnings("ignore")


def recogniser(longest=16):
    model, tokenizer, extractor = whisper(longest=longest)
    return pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=extractor)


def matrix_by_transformers(pipe, sound):
    """[T, F]: the attentions of the alignment heads to the frames of the sound standardised, filtered and averaged, by
    transformers' operations; row r is of the token r + 1 after the prompt. And the tokens after the prompt."""
    model, extractor = pipe.model, pipe.feature_extractor
    inputs = extractor(sound, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    output = model.generate(
        **inputs, **GREEDY, return_timestamps=True, return_token_timestamps=True, return_segments=True
    )
    result = output["segments"][0][0]["result"]
    given = output["segments"][0][0]["idxs"][0]
    heads = model.generation_config.alignment_heads
    steps = result["cross_attentions"]
    weights = torch.stack([torch.cat([step[layer][0, head] for step in steps]) for layer, head in heads])[:, given:]
    weights = weights[..., : int(inputs["attention_mask"].sum()) // 2]
    mean, std = weights.mean(-2, keepdim=True), weights.std(-2, keepdim=True, unbiased=False)
    matrix = _median_filter(((weights - mean) / std)[None], model.config.median_filter_width)[0].mean(0)
    return matrix, result["sequences"][given:]


def test_the_matrix_is_transformers_own():
    """A word's weights are the mean of its tokens' rows; the answer itself does not change."""
    pipe = recogniser()
    found = pipe(SOUND, return_timestamps="word", attention=True, generate_kwargs=GREEDY)
    assert found == pipe(SOUND, return_timestamps="word", generate_kwargs=GREEDY)
    matrix, ids = matrix_by_transformers(pipe, SOUND)
    first_time = pipe.tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1
    texts = [place for place, token in enumerate(ids.tolist()) if token < pipe.tokenizer.eos_token_id]
    assert all(ids[place] < first_time for place in texts) and texts[0] > 0
    rows = matrix[torch.tensor(texts) - 1]
    own = [word for word in found.attention if word.begin == 0]
    # Every byte is a word here; what follows the last time is left to the next window.
    assert len(own) == len(texts) - 1 > 2
    for word, row in zip(own, rows[:-1], strict=True):
        torch.testing.assert_close(torch.from_numpy(word.weights[: matrix.shape[1]]), row)
        assert not word.weights[matrix.shape[1] :].any()
    assert [(word.text, word.timestamp) for word in found.attention] == [
        (chunk["text"], chunk["timestamp"]) for chunk in found["chunks"]
    ]


def test_the_path_through_the_matrix_ends_each_word():
    """The end of a word is where transformers' alignment of all rows leaves the row of its last token."""
    pipe = recogniser()
    found = pipe(SOUND, return_timestamps="word", attention=True, generate_kwargs=GREEDY)
    matrix, _ = matrix_by_transformers(pipe, SOUND)
    rows, columns = _dynamic_time_warping(-matrix.double().numpy())
    starts = {round(float(columns[rows == row][0]) * 0.02, 2) for row in range(len(matrix))}
    bounds = {edge for word in found.attention if word.begin == 0 for edge in word.timestamp}
    assert bounds <= starts | {0.0} and max(bounds) > 1


def test_a_recording_has_the_same_alone_and_among_others_and_in_later_windows():
    pipe = recogniser()
    sounds = [SOUND, noise(2.5, 4), noise(70.0, 5)]
    together = pipe(sounds, return_timestamps="word", attention=True)
    for sound, batched in zip(sounds, together, strict=True):
        alone = pipe(sound, return_timestamps="word", attention=True)
        assert alone == batched and len(alone.attention) == len(batched.attention) > 0
        for one, other in zip(alone.attention, batched.attention, strict=True):
            assert (one.begin, one.timestamp, one.step) == (other.begin, other.timestamp, 0.02)
            np.testing.assert_array_equal(one.weights, other.weights)
    begins = [word.begin for word in together[2].attention]
    assert begins == sorted(begins) and begins[-1] > 28
    assert not any(each.attention for each in pipe(sounds[:2], return_timestamps="word"))


def test_beams_and_confidences_beside():
    found = recogniser()(
        SOUND, return_timestamps="word", attention=True, confidence=True, generate_kwargs={"num_beams": 3}
    )
    assert len(found.attention) == len(found["chunks"]) and all("confidence" in chunk for chunk in found["chunks"])


def word(text, start, end, peak, frames=100, begin=0.0):
    """Weight 1 at the position ``peak`` of 0.02 s, 0 elsewhere."""
    weights = np.zeros(frames, np.float32)
    weights[peak] = 1.0
    return WordAttention(text, (start, end), weights, begin, 0.02)


def test_drawn_rows_are_light_where_the_model_looked():
    """A line of 2 s is 1,080 pixels, 10.8 a position: position 50 is 540 to 550.8, and row 1 begins at 128."""
    words = [word(" one", 0.0, 0.8, 20), word(" two", 0.8, 1.6, 50), word(" three", 1.6, None, 10, begin=1.0)]
    chunks = [{"text": each.text, "timestamp": each.timestamp} for each in words]
    drawn = draw_sound(np.zeros(32_000), 16_000, chunks, words, seconds_per_line=2.0)
    assert drawn.size == (MARGIN + WIDTH, WAVE + TEXT + 3 * ROW + 8)
    pixels = np.asarray(drawn)[:, MARGIN:]
    row = pixels[WAVE + TEXT + ROW + 2]
    light = np.flatnonzero((row == number_colours()[255]).all(1))
    assert (light[0], light[-1]) == (540, 550)
    third = pixels[WAVE + TEXT + 2 * ROW + 2]
    assert (third[:540] == 255).all() and (third[648:659] == number_colours()[255]).all()  # before its window: white
    assert (pixels[WAVE + TEXT + ROW + ROW // 2, 440:460] == (94, 234, 212)).all()  # the path, from 0.8 s on


def test_a_drawing_has_a_line_for_every_some_seconds():
    silence = np.zeros(16_000 * 30)
    assert draw_sound(silence, 16_000).size == (MARGIN + WIDTH, 3 * (WAVE + TEXT + 8))
    assert draw_sound(silence, 16_000, longest=13.0).height == 2 * (WAVE + TEXT + 8)
    assert draw_sound(silence[:0], 16_000, [{"text": "x", "timestamp": (None, None)}]).height == WAVE + TEXT + 8


def test_results_draw_themselves_in_notebooks_and_jobs(tmp_path):
    found = recogniser()(SOUND, return_timestamps="word", attention=True, generate_kwargs=GREEDY)
    assert "image/png" in found._repr_html_()
    Drawings(str(tmp_path)).add(Entry(7, None, "a.wav", b""), found)
    content = (tmp_path / "000007-a.png").read_bytes()
    assert content[:4] == b"\x89PNG" and content == found._repr_png_()


def test_what_has_no_attention_is_refused():
    said = 'attention must be False but for a Whisper with return_timestamps="word" and without chunk_length_s'
    model, extractor = wav2vec2()
    ctc = pipeline("automatic-speech-recognition", model=model, tokenizer=ctc_tokenizer(), feature_extractor=extractor)
    for pipe, options in (
        (ctc, {"return_timestamps": "word"}),
        (recogniser(), {"return_timestamps": True}),
        (recogniser(), {"return_timestamps": "word", "chunk_length_s": 10}),
    ):
        with pytest.raises(ValueError) as error:
            pipe(SOUND, attention=True, **options)
        assert str(error.value) == said
