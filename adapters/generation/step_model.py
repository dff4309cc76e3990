"""A StepModel over an AutoModel and its cache.

The general path asks the model for its inputs at every step, as transformers' own loops do, so that every architecture
is served. Most decoder-only and encoder-decoder models do not override that preparation; for them the inputs of the
second step are kept as a template and only the token, the position and the mask change.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin
from transformers.generation import utils as library

from ...decoding.search.history import History
from ...decoding.search.step_model import expansion
from .logits_buffer import HeadMemory
from .model_inputs import CACHE, SHAREABLE, input_names, one_of_each, parameters_of, rows_of
from .turns import take_turn

__all__ = ["AutoStepModel"]

CACHE_NAMES: Sequence[str] = library.ALL_CACHE_NAMES
# Not a value per row, even where there are as many as rows: the cache moves on its own, and 4.57 counts cache slots.
NOT_ROWS = frozenset([*CACHE_NAMES, "cache_position"])
_WHISPERS_OWN = (
    "transformers.models.whisper.modeling_whisper",
    "WhisperForConditionalGeneration.prepare_inputs_for_generation",
)
_PLAIN_LAYERS = ("DynamicLayer", "DynamicSlidingWindowLayer")
_UNDONE = ({"DynamicCache", "DynamicLayer"}, {"StaticCache", "StaticLayer"})  # caches that forget their last token


class AutoStepModel:
    """Drives ``model`` from the inputs that ``generate`` prepared for it.

    input_ids: [N, P], already expanded to beams or sequences; ``copies`` says how many neighbours stem from one prompt,
    so that the prompt is run once for all of them where the cache can be repeated (``shared_prefill``).
    keep_outputs: keep the whole output of the last forward in ``outputs``, for attentions and hidden states.
    """

    def __init__(
        self,
        model: Any,
        input_ids: Tensor,
        model_kwargs: dict[str, Any],
        generation_config: Any,
        *,
        copies: int = 1,
        shared_prefill: bool = True,
        keep_outputs: bool = False,
    ):
        self.model = model
        self.model_kwargs = model_kwargs
        self.config = generation_config
        self.history = History(input_ids)
        self.copies = copies
        self.keep_outputs = keep_outputs
        self.outputs: Any = None
        self.is_encoder_decoder: bool = model.config.is_encoder_decoder
        self.use_cache: bool = bool(model_kwargs.get("use_cache", True))
        self.shared_prefill = shared_prefill and copies > 1 and not keep_outputs and self._can_share_prefill()
        self._template: dict[str, Any] | None = None
        self._forward: Any = model.__call__
        self._memory: HeadMemory | None = None
        self._compiles = False
        self._position_ids: Tensor | None = None
        self._mask: History | None = None
        self._before: dict[str, Any] | None = None  # ``model_kwargs`` of the step before, by the general path
        self._writes_again = False  # whether a forward may write where the logits of the one before are
        self._copies_logits = self._copied = False
        self._slots = input_names(self.is_encoder_decoder)
        self._keeps_logits = "logits_to_keep" in parameters_of(model.forward)

    # The three verbs of a StepModel.

    def prefill(self) -> Tensor:
        logits = self._read_prompt()
        if not self._compiles:
            self._memory = HeadMemory.for_steps_like(self.model, logits)
        return logits

    def _read_prompt(self) -> Tensor:
        if not self.shared_prefill:
            return self._take(self._first_forward(self.history.ids, self.model_kwargs))
        prompts = {name: one_of_each(value, self.copies) for name, value in self.model_kwargs.items()}
        outputs = self._first_forward(self.history.ids[:: self.copies], prompts)
        cache = outputs.get(CACHE)
        if cache is None and prompts[CACHE].get_seq_length() > 0:
            cache = prompts[CACHE]  # written, though not returned: an encoder's configuration under a language model
        if cache is None:
            # The model was given a cache and keeps none, or keeps its state out of sight: run every row.
            self.shared_prefill = False
            return self._read_prompt()
        cache.reorder_cache(expansion(self.history.batch_size // self.copies, self.copies, self.history.ids.device))
        return self._take(outputs).repeat_interleave(self.copies, dim=0)

    def step(self, token_ids: Tensor) -> Tensor:
        take_turn()
        self.history.append(token_ids)
        memory = self._memory
        reused = memory if memory is not None and memory.serves(self.history.batch_size) else nullcontext()
        if self._template is not None:
            with reused:
                outputs = self._forward(**self._next_inputs(token_ids))
            return self._take(outputs)
        inputs, self._before = self._prepare_inputs(), dict(self.model_kwargs)
        with reused:
            outputs = self._forward(**inputs, return_dict=True)
        logits = self._take(outputs)
        self._try_template(inputs, outputs)
        return logits

    @property
    def takes_several(self) -> bool:
        """Whether ``step`` may be given several tokens a row now: their places in its inputs and cache are known."""
        cache: Any = None if self._template is None else self._own_cache()
        return type(cache) is library.DynamicCache and all(type(one).__name__ in _PLAIN_LAYERS for one in cache.layers)

    def select_rows(self, rows: Tensor) -> None:
        count = self.history.batch_size
        if rows.shape[0] == count:
            here = torch.arange(count, device=rows.device)
            if torch.equal(rows, here):
                return
            within_prompts = torch.equal(rows // self.copies, here // self.copies)
        else:
            within_prompts = False
        self.history.select_rows(rows)
        self._select_cache(rows, within_prompts)
        if not within_prompts:
            self._select_inputs(rows, count)

    def _select_inputs(self, rows: Tensor, count: int) -> None:
        """Make row i of everything the model is fed beside its cache what row ``rows[i]`` of ``count`` was."""
        self.model_kwargs = {
            name: value if name in NOT_ROWS else rows_of(value, rows, count)
            for name, value in self.model_kwargs.items()
        }
        if self._template is not None:
            self._template = {
                name: value if name in NOT_ROWS else rows_of(value, rows, count)
                for name, value in self._template.items()
            }
            if self._position_ids is not None and self._position_ids.shape[0] == count:
                self._position_ids = self._position_ids.index_select(0, rows)
            if self._mask is not None:
                self._mask.select_rows(rows)
        self.copies = 1

    def reorder_beams(self, rows: Tensor) -> None:
        """``select_rows`` for beams that change places among those of their prompt: asks no device whether they do."""
        if rows.device.type == "cpu":
            self.select_rows(rows)
            return
        self.history.select_rows(rows)
        self._select_cache(rows, self.copies > 1)
        if self.copies == 1:
            self._select_inputs(rows, rows.shape[0])

    def take_back(self) -> None:
        """Forget the last token that was read, where somebody may see the cache."""
        if self._cache_is_seen():
            self.cache.crop(-1)

    @property
    def may_step_back(self) -> bool:
        """Whether the next step can be undone: its inputs are made as ever, its cache is plain or static, and the
        logits of the step before outlive it. Those of a compiled forward of transformers are copied for whoever has
        asked this once; those of a caller's are not."""
        model = self.model
        if getattr(model, "_compiled_call_impl", None) is not None or hasattr(
            model.forward, "_torchdynamo_orig_callable"
        ):
            return False
        self._copies_logits = self._writes_again
        if self._writes_again and not self._copied:
            return False
        cache = self._own_cache()
        kinds = {type(cache).__name__, *(type(layer).__name__ for layer in getattr(cache, "layers", ()))}
        return kinds in _UNDONE and (self._template is not None or self._steps_as_ever())

    def _steps_as_ever(self) -> bool:
        """Whether all that the general path changes for a step are keyword arguments, the cache and the history."""
        kind = type(self.model)
        own_update = kind._update_model_kwargs_for_generation
        # transformers 4 has no word for code that came with the checkpoint.
        is_remote = getattr(self.model, "is_remote_code", lambda: kind.__module__.startswith("transformers_modules"))
        if own_update is not GenerationMixin._update_model_kwargs_for_generation or is_remote():
            return False
        return self.use_cache and _prepares_as_ever(kind) and not hasattr(self.model, "_reorder_cache")

    def step_back(self) -> None:
        """Undo the last step of one token."""
        self.history.crop(self.history.length - 1)
        cache = self._own_cache()
        if type(cache.layers[0]).__name__ == "StaticLayer":
            for layer in cache.layers:  # what was written there is written over
                if hasattr(layer, "cumulative_length"):  # transformers 4 is told the place at each step
                    layer.cumulative_length.sub_(1)
        else:
            cache.crop(-1)
        if self._template is None:
            assert self._before is not None
            self.model_kwargs = self._before
            return
        if self._position_ids is not None:
            self._position_ids = self._position_ids[:, -1:] - 1
        if self._mask is not None:
            self._mask.crop(self._mask.length - 1)

    def _own_cache(self) -> Any:
        """The cache, or the part of it that grows with every step; None without one."""
        cache: Any = self.model_kwargs.get(CACHE) if self._template is None else self._template[CACHE]
        return getattr(cache, "self_attention_cache", cache)

    # What the loops' callers ask beside.

    @property
    def cache(self) -> Any:
        """The cache object the model holds now, or None."""
        return next((self.model_kwargs[name] for name in CACHE_NAMES if name in self.model_kwargs), None)

    def can_select_rows(self) -> bool:
        """Whether rows can leave the batch: whether everything the model is fed is known to have its rows first."""
        if getattr(self.model, "_is_stateful", False) and not isinstance(self.cache, library.Cache):
            return False
        return all(
            name in SHAREABLE
            or not isinstance(value, (Tensor, list, tuple, Mapping))
            or (isinstance(value, Tensor) and value.ndim >= 1)
            for name, value in self.model_kwargs.items()
            if value is not None
        )

    def may_take_back(self) -> bool:
        """Whether a token more than is needed may be read, and nobody sees it afterwards."""
        layers = getattr(self.cache, "layers", ())
        plain = all(type(layer).__name__ == "DynamicLayer" for layer in layers)
        return not self._cache_is_seen() or (type(self.cache) is library.DynamicCache and plain)

    def _cache_is_seen(self) -> bool:
        """Whether the cache is the caller's own, or is returned."""
        cache = self.cache
        return cache is not None and (bool(self.config.return_dict_in_generate) or self._may_be_the_callers(cache))

    def _may_be_the_callers(self, cache: Any) -> bool:
        """transformers 4.57 does not say whose a cache is."""
        return getattr(cache, "_is_user_defined", False) or not hasattr(self.model, "_prefill")

    # The general path.

    def _first_forward(self, input_ids: Tensor, model_kwargs: dict[str, Any]) -> Any:
        model = self.model
        if hasattr(model, "_prefill"):
            return model._prefill(input_ids, self.config, model_kwargs, is_first_iteration=not self.config.is_assistant)
        # transformers 4.57: positions in the cache are an argument, kept up to date in the keyword arguments.
        model_kwargs.update(model._get_initial_cache_position(input_ids.shape[1], input_ids.device, model_kwargs))
        return model(**model.prepare_inputs_for_generation(input_ids, **model_kwargs), return_dict=True)

    def _prepare_inputs(self) -> dict[str, Any]:
        ids = self.history.ids.contiguous()
        if not hasattr(self.model, "_prefill"):
            inputs: dict[str, Any] = self.model.prepare_inputs_for_generation(ids, **self.model_kwargs)
            return inputs
        length = 1 if self.use_cache else None
        inputs = self.model.prepare_inputs_for_generation(ids, next_sequence_length=length, **self.model_kwargs)
        return inputs

    def _take(self, outputs: Any) -> Tensor:
        """The last position's logits; keyword arguments brought up to date, the outputs kept or let go."""
        if self._template is None:
            self.model_kwargs = self.model._update_model_kwargs_for_generation(
                outputs, self.model_kwargs, is_encoder_decoder=self.is_encoder_decoder
            )
        self.outputs = outputs if self.keep_outputs else None
        logits: Tensor = outputs.logits[:, -1]
        if logits.dtype != torch.float32:
            logits = logits.float()
        elif 0 in logits.stride():
            logits = logits.contiguous()  # an expanded tensor cannot be written into
        elif self._copies_logits:
            logits = logits.clone()
        self._copied = self._copies_logits
        return logits.to(self.history.ids.device)

    # The template path.

    def compile_forward(self) -> bool:
        """Use transformers' compiled forward for the steps after the prompt, where it would compile it itself; whether
        it does."""
        model = self.model
        if not model._valid_auto_compile_criteria(self.model_kwargs, self.config):
            return False
        self._forward = model.get_compiled_call(self.config.compile_config)
        self._writes_again = True
        self._compiles = True
        return True

    def _try_template(self, inputs: dict[str, Any], outputs: Any) -> None:
        """Keep ``inputs`` for later steps if nothing but the token, position and mask changes in them."""
        model, slots = self.model, self._slots
        plain = type(model)
        if not self.use_cache or not hasattr(model, "_prefill"):
            return
        if (
            not _prepares_as_ever(plain)
            or plain._update_model_kwargs_for_generation is not GenerationMixin._update_model_kwargs_for_generation
            or model.is_remote_code()
        ):
            return
        cache: Any = inputs.get(CACHE)
        if type(cache) not in (library.DynamicCache, library.EncoderDecoderCache) or cache.is_compileable:
            return
        if outputs.get(CACHE) is not cache:
            return
        constant = {"encoder_outputs"} | ({"attention_mask"} if self.is_encoder_decoder else set())
        known = {*slots.values(), *constant, CACHE}
        if any(
            isinstance(value, (Tensor, Mapping, list, tuple)) for name, value in inputs.items() if name not in known
        ):
            return
        positions, mask = inputs.get(slots["position_ids"]), inputs.get(slots["mask"])
        if (positions is not None and positions.ndim != 2) or (mask is not None and mask.ndim != 2):
            return
        self._position_ids = positions
        self._mask = None if mask is None else History(mask)
        self._template = {**inputs, "return_dict": True}

    def _next_inputs(self, token_ids: Tensor) -> dict[str, Any]:
        """The inputs of a later step from those of the first two: token ids, positions and mask are new, the rest
        stays."""
        assert self._template is not None
        inputs, slots = dict(self._template), self._slots
        count = 1 if token_ids.ndim == 1 else token_ids.shape[1]
        inputs[slots["token_ids"]] = token_ids.reshape(-1, count)
        if self._position_ids is not None:
            first = self._position_ids[:, -1:] + 1
            self._position_ids = first if count == 1 else first + torch.arange(count, device=first.device)
            inputs[slots["position_ids"]] = self._position_ids
        if self._mask is not None:
            self._mask.append(self._mask.ids.new_ones((self._mask.batch_size, count)))
            inputs[slots["mask"]] = self._mask.ids
        if count > 1 and self._keeps_logits:
            inputs["logits_to_keep"] = 1
        return inputs

    # Rows.

    def _can_share_prefill(self) -> bool:
        """Whether a prompt may be read once for its copies: a plain cache that can be expanded, and rows that are
        equal."""
        model, kwargs = self.model, self.model_kwargs
        cache: Any = kwargs.get(CACHE)
        if not self.use_cache or type(cache) not in (library.DynamicCache, library.EncoderDecoderCache):
            return False
        if getattr(model, "_is_stateful", False) or hasattr(model, "_reorder_cache") or cache.get_seq_length() > 0:
            return False
        if not hasattr(model, "_prefill") or self.config.prefill_chunk_size is not None:
            return False
        if type(model)._update_model_kwargs_for_generation is not GenerationMixin._update_model_kwargs_for_generation:
            return False
        count = self.history.batch_size
        return all(
            name in SHAREABLE and (not isinstance(value, Tensor) or value.shape[:1] == (count,))
            for name, value in kwargs.items()
            if value is not None
        )

    def _select_cache(self, rows: Tensor, within_prompts: bool) -> None:
        """Move the cache to the rows ``rows``; within_prompts: beams of one prompt change places, whose input is the
        same."""
        name = next((name for name in CACHE_NAMES if name in self.model_kwargs), None)
        if name is None or self.model_kwargs[name] is None:
            return
        cache = self.model_kwargs[name]
        if within_prompts and name != CACHE and not hasattr(self.model, "_prefill"):
            return  # transformers 4.57 leaves such a state where it is when beams change places
        if hasattr(self.model, "_reorder_cache"):
            self.model_kwargs[name] = self.model._reorder_cache(cache, rows)
        elif within_prompts and type(cache) is library.EncoderDecoderCache:
            # Beams of one prompt attend to the same encoder states: only the decoder's own part moves.
            cache.self_attention_cache.reorder_cache(rows)
        elif hasattr(cache, "reorder_cache"):
            cache.reorder_cache(rows)
        else:
            raise ValueError(
                f"the cache of {type(self.model).__name__} must be one whose rows can be reordered;"
                f" got {type(cache).__name__}"
            )


def _prepares_as_ever(kind: Any) -> bool:
    """Whether the inputs of a step change in token, position and mask alone: where a model's class leaves them to
    transformers, or adds what Whisper's does, positions counted along the mask."""
    method = kind.prepare_inputs_for_generation
    own = (method.__module__, method.__qualname__)
    return method is GenerationMixin.prepare_inputs_for_generation or own == _WHISPERS_OWN
