"""CTC prefix beam search: enumeration of every path on small inputs, and pyctcdecode where it is installed."""

import logging
import math
import random

import pytest
import torch

from afterlogits.postprocess.audio import HotWords, NgramModel, PyctcdecodeModel, read_arpa, search_ctc_beams
from tests.oracles.ctc_paths import text_probabilities
from tests.postprocess.audio.beam_cases import LABELS, draw_logits, draw_words, write_arpa

WIDE = {"beam_width": 10_000, "beam_prune_logp": -math.inf, "token_min_logp": -math.inf}


def decoder_of(*arguments, **options):
    """pyctcdecode's decoder, without its remarks on small alphabets; kenlm reports on the standard error."""
    pyctcdecode = pytest.importorskip("pyctcdecode", reason="pyctcdecode is not installed: nothing to compare with")
    logging.disable(logging.WARNING)
    try:
        return pyctcdecode.build_ctcdecoder(*arguments, **options)
    finally:
        logging.disable(logging.NOTSET)


def ours(beams):
    return [(beam.text, list(beam.words)) for beam in beams]


def theirs(beams):
    return [(text, [(word, tuple(map(int, span))) for word, span in frames]) for text, _, frames, _, _ in beams]


def assert_same_beams(found, expected):
    """Texts, words, frames and order equal; log-probabilities and scores to 1e-6."""
    assert ours(found) == theirs(expected)
    for beam, (*_, logprob, score) in zip(found, expected, strict=True):
        assert beam.logprob == pytest.approx(logprob, rel=1e-6, abs=1e-6)
        assert beam.score == pytest.approx(score, rel=1e-6, abs=1e-5)


# golden


def test_two_ways_to_one_text():
    """Two frames of a and blank, 1/2 each: "a" has three of four paths, "" one."""
    logits = torch.zeros(1, 2, 2)
    best, other = search_ctc_beams(logits, ["", "a"], **WIDE).rows[0]
    assert (best.text, other.text) == ("a", "")
    assert (best.logprob, other.logprob) == (pytest.approx(math.log(0.75)), pytest.approx(math.log(0.25)))


def test_words_and_their_frames():
    """a a _ b | c: the word "ab" has frames 0 to 3, "c" frame 5."""
    ids = [2, 2, 0, 3, 1, 4]
    logits = torch.nn.functional.one_hot(torch.tensor([ids]), 5) * 20.0
    found = search_ctc_beams(logits, ["", " ", "a", "b", "c"])
    assert found.rows[0][0].words == (("ab", (0, 4)), ("c", (5, 6)))
    assert found.records()[0][0]["words"][1] == {"word": "c", "start_offset": 5, "end_offset": 6}


def test_a_hot_word_wins():
    """ "b" is a little less probable than "a"; asked for, it is written."""
    logits = torch.tensor([[[0.0, 2.0, 1.8]]])
    assert search_ctc_beams(logits, ["", "a", "b"]).texts() == ["a"]
    assert search_ctc_beams(logits, ["", "a", "b"], hot_words=HotWords.of(["b"], weight=1.0)).texts() == ["b"]


def test_nothing():
    """No rows, and a row without frames."""
    assert search_ctc_beams(torch.zeros(0, 3, 2), ["", "a"]).rows == ()
    (beams,) = search_ctc_beams(torch.zeros(1, 0, 2), ["", "a"]).rows
    assert [(beam.text, beam.logprob) for beam in beams] == [("", 0.0)]


# property


def test_wide_beams_are_an_enumeration():
    """120 drawn inputs of up to 5 frames and 4 symbols: every text, its log-probability, and the best one first."""
    for seed in range(120):
        draw = random.Random(seed)
        labels = draw.choice([["", "a", "b"], ["", " ", "a"], ["", " ", "a", "b"], [" ", "", "ab", "a"]])
        logits = torch.randn(1, draw.randint(1, 5), len(labels), generator=torch.Generator().manual_seed(seed)) * 2
        expected = text_probabilities(logits[0].log_softmax(-1).tolist(), labels)
        beams = search_ctc_beams(logits, labels, **WIDE).rows[0]
        assert {beam.text: beam.logprob for beam in beams} == {
            text: pytest.approx(logprob, abs=1e-5) for text, logprob in expected.items()
        }
        assert beams[0].logprob >= max(expected.values()) - 1e-5


def test_rows_of_a_batch_are_what_they_are_alone():
    """40 batches of clips of their own lengths."""
    for seed in range(40):
        draw = random.Random(seed)
        clips = [draw_logits(10 * seed + i, symbols=5)[0] for i in range(draw.randint(1, 5))]
        lengths = torch.tensor([len(clip) for clip in clips])
        padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
        padded = padded + 7 * (torch.arange(padded.shape[1])[None, :, None] >= lengths[:, None, None])
        found = search_ctc_beams(padded, LABELS[:5], lengths=lengths, beam_width=7).rows
        for clip, beams in zip(clips, found, strict=True):
            assert search_ctc_beams(clip[None], LABELS[:5], beam_width=7).rows[0] == beams


def test_as_many_texts_as_asked_for():
    logits, labels = draw_logits(3, frames=20)
    whole = search_ctc_beams(logits[None], labels).rows[0]
    assert search_ctc_beams(logits[None], labels, num_texts=2).rows[0] == whole[:2]


def test_an_arpa_file_is_read(tmp_path):
    """log10 P(b | a) from the pair; P(a | b) backs off: -0.3 of b and -0.5 of a."""
    path = tmp_path / "tiny.arpa"
    path.write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-99\t<s>\t0\n-1\t</s>\n-0.5\ta\t-0.2\n-0.6\tb\t-0.3\n\n"
        "\\2-grams:\n-0.1\ta b\n\n\\end\\\n"
    )
    counts = read_arpa(path)
    assert (counts.order, counts.words()) == (2, {"a", "b"})
    assert counts.logprob(("a",), "b") == -0.1
    assert counts.logprob(("b",), "a") == pytest.approx(-0.8)
    assert counts.logprob(("b",), "c") == -100.3  # no <unk> in the file


# parity


def test_same_as_pyctcdecode():
    """500 drawn inputs, beams of 1 to 100: all texts, words, frames and scores."""
    decoders = {}
    for seed in range(500):
        logits, labels = draw_logits(seed)
        if len(labels) not in decoders:
            decoders[len(labels)] = decoder_of(labels)
        width = random.Random(seed).choice([1, 3, 10, 25, 100])
        expected = decoders[len(labels)].decode_beams(logits.numpy(), beam_width=width)
        assert_same_beams(search_ctc_beams(logits[None], labels, beam_width=width).rows[0], expected)


def test_same_as_pyctcdecode_for_probabilities_and_long_symbols():
    """Softmaxes are taken as they are; symbols of several characters may spell one text in two ways."""
    labels = ["", " ", "a", "b", "ab", "ba"]
    decoder = decoder_of(labels)
    for seed in range(200):
        logits, _ = draw_logits(seed, symbols=6)
        logits = logits.double().softmax(-1) if seed % 2 else logits
        expected = decoder.decode_beams(logits.numpy(), beam_width=20)
        assert_same_beams(search_ctc_beams(logits[None], labels, beam_width=20).rows[0], expected)


def test_same_as_pyctcdecode_with_models(tmp_path, capfd):
    """150 drawn n-gram models (own reader, and KenLM through pyctcdecode) with hot words and boundaries."""
    pytest.importorskip("kenlm", reason="kenlm is not installed: no n-gram model of pyctcdecode to compare with")
    for seed in range(150):
        draw = random.Random(seed)
        logits, labels = draw_logits(seed, symbols=draw.choice([4, 6, 8]), noise=draw.choice([None, 2]))
        words, path = draw_words(seed, labels), tmp_path / f"{seed}.arpa"
        write_arpa(path, words, seed, order=draw.choice([2, 3]), unknown=draw.random() < 0.8)
        weights = (draw.choice([0.5, 1.0]), draw.choice([1.5, 0.0]), draw.choice([-10.0, -2.0]), draw.random() < 0.7)
        names = ("alpha", "beta", "unk_score_offset", "lm_score_boundary")
        decoder = decoder_of(labels, kenlm_model_path=str(path), **dict(zip(names, weights, strict=True)))
        hot = draw.sample(words, min(2, len(words))) if draw.random() < 0.5 else []
        width = draw.choice([1, 3, 10, 25])
        expected = decoder.decode_beams(logits.numpy(), beam_width=width, hotwords=hot, hotword_weight=4.0)
        known = decoder._language_model._unigram_set
        for model in (NgramModel(read_arpa(path), known, *weights), PyctcdecodeModel(decoder._language_model)):
            options = {"model": model, "hot_words": HotWords.of(hot, weight=4.0), "beam_width": width}
            assert_same_beams(search_ctc_beams(logits[None], labels, **options).rows[0], expected)


# errors


@pytest.mark.parametrize(
    ("logits", "options", "message"),
    [
        (torch.zeros(3, 2), {}, "logits must be [B, T, V]; got shape [3, 2]"),
        (torch.zeros(1, 3, 4), {}, "symbols must be one for each of 4 ids; got 2"),
        (torch.zeros(1, 3, 2), {"beam_width": 0}, "beam_width must be at least 1; got 0"),
        (torch.tensor([[[0.0, 0]], [[0, math.nan]]]), {}, "logits must not be NaN; got NaN in row 1"),
    ],
)
def test_errors(logits, options, message):
    with pytest.raises(ValueError) as caught:
        search_ctc_beams(logits, ["", "a"], **options)
    assert str(caught.value) == message


def test_files_that_are_no_model(tmp_path):
    path = tmp_path / "broken.arpa"
    path.write_text("\\data\\\n\\2-grams:\n-1\ta\n\\end\\\n")
    with pytest.raises(ValueError) as caught:
        read_arpa(path)
    assert str(caught.value) == f"n-grams must have 2 words and at most one back-off; got '-1\\ta' in line 3 of {path}"
    path.write_text("nothing")
    with pytest.raises(ValueError) as caught:
        read_arpa(path)
    assert str(caught.value) == f"path must be an ARPA file that ends with \\end\\; got {path}"
