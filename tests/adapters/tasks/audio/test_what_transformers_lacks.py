"""Confidences, times put right, known texts aligned, words while the sound comes in, subtitles and pictures."""

import json
import xml.etree.ElementTree

import numpy as np
import pytest
import torch

from afterlogits.adapters.pipelines import pipeline
from afterlogits.adapters.tasks.audio.formats import FORMATS, cues_of, write_recognition
from afterlogits.adapters.tasks.audio.live_recognition import LiveRecognition
from afterlogits.adapters.tasks.audio.results import wav_bytes
from afterlogits.adapters.tasks.audio.waveforms import draw_waveform
from tests.builders.audio_models import ctc_tokenizer, noise, wav2vec2, whisper
from tests.builders.versions import V4

SOUND = noise(5.0, 3)


def recogniser(task="automatic-speech-recognition", **options):
    model, extractor = wav2vec2()
    return pipeline(task, model=model, tokenizer=ctc_tokenizer(), feature_extractor=extractor, **options)


def test_confidences_of_words_are_means_of_frames():
    """A word of one letter of one frame is as probable as that frame."""
    model, extractor = wav2vec2()
    found = recogniser()(SOUND, return_timestamps="word", confidence=True)
    with torch.no_grad():
        features = extractor(SOUND, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
        best = model(**features).logits[0].softmax(-1).max(-1).values
    assert 0 < found["confidence"] <= 1
    letters = recogniser()(SOUND, return_timestamps="char", confidence=True)["chunks"]
    for letter in letters:
        first, last = (round(time * 50) for time in letter["timestamp"])
        assert letter["confidence"] == pytest.approx(float(best[first:last].mean()), rel=1e-5)
    plain = recogniser()(SOUND, return_timestamps="word")
    assert [chunk["text"] for chunk in plain["chunks"]] == [chunk["text"] for chunk in found["chunks"]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("times", [True, "word"])
def test_confidences_of_whisper(times):
    """The text stays; the whole's is the geometric mean of all text tokens."""
    model, tokenizer, extractor = whisper(longest=16)
    pipe = pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=extractor)
    plain, found = (pipe(SOUND, return_timestamps=times, confidence=given) for given in (False, True))
    assert plain["text"] == found["text"]
    assert all(0 < chunk["confidence"] <= 1 for chunk in found["chunks"])
    lowest, highest = (pick(chunk["confidence"] for chunk in found["chunks"]) for pick in (min, max))
    assert lowest <= found["confidence"] <= highest


@pytest.mark.filterwarnings("ignore")
def test_confidence_of_whisper_without_times():
    """The same text; the mean log-probability of its tokens, from the scores of a plain generate."""
    model, tokenizer, extractor = whisper(longest=16)
    pipe = pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=extractor)
    # A random model says times here, which are no text.
    times = list(range(tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1, len(tokenizer)))
    greedy = {"num_beams": 1, "suppress_tokens": times}
    plain, found = (pipe(SOUND, confidence=given, generate_kwargs=greedy) for given in (False, True))
    assert found["text"] == plain["text"] != "" and "chunks" not in found
    inputs = extractor(SOUND, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
    output = model.generate(**inputs, **greedy, output_scores=True, return_dict_in_generate=True)
    scores = torch.stack(output.scores, dim=1).log_softmax(-1)[0]
    ids = output.sequences[0][-len(scores) :]
    spoken = torch.tensor([token not in set(tokenizer.all_special_ids) for token in ids.tolist()])
    own = scores[torch.arange(len(ids)), ids][spoken]
    assert found["confidence"] == pytest.approx(float(own.double().mean().exp()), rel=1e-5)
    for count in (3, 5):
        beams = pipe([SOUND, SOUND[:40_000]], confidence=True, generate_kwargs={"num_beams": count})
        alone = [pipe(sound, generate_kwargs={"num_beams": count})["text"] for sound in (SOUND, SOUND[:40_000])]
        assert [each["text"] for each in beams] == alone and all(0 < each["confidence"] <= 1 for each in beams)
        # The mean over the tokens that transformers followed the beams by, of each recording by itself.
        for sound, each in zip((SOUND, SOUND[:40_000]), beams, strict=True):
            inputs = extractor(sound, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
            output = model.generate(**inputs, num_beams=count, output_scores=True, return_dict_in_generate=True)
            ids = output.sequences[0][-len(output.scores) :]
            along = torch.cat(output.scores).log_softmax(-1)[torch.arange(len(ids)), ids]
            spoken = torch.tensor([token not in set(tokenizer.all_special_ids) | set(times) for token in ids.tolist()])
            if spoken.any():
                assert each["confidence"] == pytest.approx(float(along[spoken].double().mean().exp()), rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_times_are_put_right_where_results_are_corrected():
    """A random Whisper speaks of 29 s of a sound of 5: corrected, no time lies beyond its end or before another."""
    model, tokenizer, extractor = whisper(longest=24)
    pipe = pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=extractor)
    as_there = pipe(SOUND, return_timestamps=True)["chunks"]
    assert any(chunk["timestamp"][1] is None or chunk["timestamp"][1] > 5.0 for chunk in as_there)
    for chunk in (corrected := pipe(SOUND, return_timestamps=True, compat=False)["chunks"]):
        start, end = chunk["timestamp"]
        assert 0 <= start <= end <= 5.0
    starts = [chunk["timestamp"][0] for chunk in corrected]
    assert starts == sorted(starts)


@pytest.mark.skipif(V4, reason="4.57.6 writes the end token of a sound into its text")
def test_a_known_text_is_found_where_it_is_recognised():
    """The text that greedy search gives, aligned, has its words in the frames of that search."""
    said = recogniser()(SOUND, return_timestamps="word")
    found = recogniser("forced-alignment")(SOUND, text=said["text"])
    assert [chunk["text"] for chunk in found["chunks"]] == said["text"].split()
    for aligned, heard in zip(found["chunks"], said["chunks"], strict=True):
        assert abs(aligned["timestamp"][0] - heard["timestamp"][0]) <= 0.1
        assert 0 < aligned["confidence"] <= 1


def test_several_texts_are_aligned_at_once_as_alone():
    items = [{"audio": SOUND, "text": "g gg"}, {"raw": SOUND[:9000], "sampling_rate": 16_000, "text": "Hello 世界 m"}]
    pipe = recogniser("forced-alignment")
    together = pipe(items)
    assert [record["chunks"] for record in together] == [pipe(item)["chunks"] for item in items]
    assert [chunk["text"] for chunk in together[1]["chunks"]] == ["Hello", "世界", "m"]
    left_out = recogniser("forced-alignment", unknown="skip")(items[1])
    assert [chunk["text"] for chunk in left_out["chunks"]] == ["Hello", "m"]


def test_a_text_longer_than_its_sound_has_no_frames():
    found = recogniser("forced-alignment")({"audio": SOUND[:2000], "text": "far too long for so few frames"})
    assert found["chunks"] == [] and found["score"] == float("-inf")


@pytest.mark.parametrize("pieces", [1, 7, 23])
@pytest.mark.parametrize("strides", [(0.2, 0.2), (0.3, 0.1)])
def test_words_that_come_in_are_those_of_the_whole(pieces, strides):
    pipe = recogniser()
    whole = pipe(SOUND, chunk_length_s=1.0, stride_length_s=strides, return_timestamps="word")
    live = LiveRecognition(pipe, chunk_length_s=1.0, stride_length_s=strides)
    heard = list(live.over(np.array_split(SOUND, pieces)))
    assert [word for each in heard for word in each.settled] == whole["chunks"]
    assert heard[-1].tail == []
    with pytest.raises(ValueError, match="feed must come before close"):
        live.feed(SOUND)


@pytest.mark.skipif(V4, reason="4.57.6 writes the end token of a sound into its text")
def test_every_format_of_a_recognition():
    found = recogniser()(SOUND, return_timestamps="word")
    for form in FORMATS:
        assert found["chunks"][0]["text"] in found.write(form)
    assert found.to_srt().startswith("1\n00:00:00,")
    assert found.to_vtt().startswith("WEBVTT\n")
    assert found.to_textgrid().count("IntervalTier") == 2
    assert json.loads(found.write("json"))["chunks"][0]["end"] <= 5.0
    assert all(len(line) <= 60 for cue in cues_of(found, seconds=5.0, longest_line=60) for line in cue.text.split("\n"))


def test_a_text_without_times_is_one_cue():
    plain = recogniser()(SOUND)
    assert plain.to_srt().count("-->") == 1
    with pytest.raises(ValueError, match=r"^record must have chunks with times"):
        write_recognition(dict(plain), "srt")
    with pytest.raises(ValueError, match=r"^form must be one of 'srt', 'vtt', 'textgrid', 'tsv', 'json'; got 'doc'$"):
        write_recognition(plain, "doc")


def test_pictures_of_sounds_hold_their_words(tmp_path):
    """Two lines of twelve seconds; every word of a chunk with times is in the picture, escaped."""
    chunks = [
        {"text": "a<b", "timestamp": (0.5, 2.0), "confidence": 0.5},
        {"text": "over", "timestamp": (11.0, 13.0)},
        {"text": "none", "timestamp": (None, None)},
    ]
    picture = draw_waveform(noise(14.0), 16_000, chunks)
    root = xml.etree.ElementTree.fromstring(picture)
    assert root.attrib["height"] == str(2 * 112)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert texts.count("a<b") == 1 and texts.count("over") == 2 and "none" not in texts
    found = recogniser()(SOUND, return_timestamps="word")
    assert "<audio" in found._repr_html_() and "<svg" in found._repr_html_()
    found.save(tmp_path / "said.svg")
    found.save(tmp_path / "said.png")
    assert (tmp_path / "said.svg").read_text(encoding="utf-8") == found.waveform()
    assert (tmp_path / "said.png").read_bytes()[:4] == b"\x89PNG"
    assert draw_waveform(np.full(100, np.nan), 16_000)


def test_a_wav_file_of_samples():
    content = wav_bytes(np.array([0.0, 1.0, -2.0], dtype=np.float32), 8000)
    assert content[:4] == b"RIFF" and content[-6:] == np.array([0, 32767, -32767], dtype="<i2").tobytes()
