"""What calls with a processor hand on to it."""

from functools import cache


@cache
def processing_options() -> frozenset[str]:
    """Every option of transformers' processors: of text, pictures, videos and sounds, and of all together."""
    from transformers import processing_utils

    names: set[str] = set()
    for kind in ("TextKwargs", "ImagesKwargs", "VideosKwargs", "AudioKwargs", "CommonKwargs"):
        names |= set(getattr(getattr(processing_utils, kind, None), "__annotations__", ()))
    chat = {"documents", "chat_template", "load_audio_from_video", "enable_thinking", "num_frames", "fps"}
    return frozenset(names | chat) - {"device", "return_tensors"}
