"""CTC with a decoder: pyctcdecode's, whose search is for all recordings at once here, or one called as it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....postprocess.audio.ctc_beams import search_ctc_beams
from ....postprocess.audio.word_scores import HotWords, PyctcdecodeModel, WordModel

Best = tuple[str, Sequence[tuple[str, tuple[int, int]]]]  # a text and its words with their frames
# What decode_beams takes that the search here has under the same or another name.
_SEARCHED = frozenset({"beam_width", "beam_prune_logp", "token_min_logp", "hotwords", "hotword_weight"})


def best_beams(logits: Sequence[Tensor], decoder: Any, options: Mapping[str, Any]) -> list[Best]:
    """The best text of every recording. logits: [T, V] of each. options: those of pyctcdecode's ``decode_beams``.

    A decoder over letters is searched for all recordings at once, to the same texts; one over pieces of words, one with
    further options, and one that is not pyctcdecode's run as they are, one recording after the other.
    """
    if not _searchable(decoder, options):
        return [_own(decoder, each, options) for each in logits]
    given = dict(options)
    hot, weight = given.pop("hotwords", None), given.pop("hotword_weight", 10.0)
    # pad_sequence fills with 0, which the lengths cut off again.
    found = search_ctc_beams(
        pad_sequence(list(logits), batch_first=True),
        decoder._alphabet.labels,
        lengths=_lengths(logits),
        model=_model(decoder),
        hot_words=None if not hot else HotWords.of(hot, weight),
        num_texts=1,
        **given,
    )
    return [(beams[0].text, beams[0].words) for beams in found.rows]


def _searchable(decoder: Any, options: Mapping[str, Any]) -> bool:
    alphabet = getattr(decoder, "_alphabet", None)
    of_letters = type(decoder).__name__ == "BeamSearchDecoderCTC" and alphabet is not None and not alphabet.is_bpe
    return of_letters and set(options) <= _SEARCHED


def _model(decoder: Any) -> WordModel | None:
    held = decoder.model_container[decoder._model_key]
    return None if held is None else PyctcdecodeModel(held)


def _lengths(logits: Sequence[Tensor]) -> Tensor:
    return logits[0].new_tensor([len(each) for each in logits]).long()


def _own(decoder: Any, logits: Tensor, options: Mapping[str, Any]) -> Best:
    text, _, words, *_ = decoder.decode_beams(logits.numpy(), **options)[0]
    return text, words
