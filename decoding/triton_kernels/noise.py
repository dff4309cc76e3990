"""Noise inside a kernel: the seeded rows' counters (SplitMix64), and torch's CUDA stream (Philox4x32-10).

Seeded noise is that of ``kernels.counter_noise``, bit for bit in its uniforms. It comes in two precisions: float32 for
every listed token, within ``SCREEN`` of the float64 race, and float64 for the few tokens that might win.

torch's stream is random access on CUDA. ``exponential_`` over n float32 elements runs G threads (a multiple of 256, at
most what the device holds at once): element e takes the draw j = e div G of thread e mod G, which is word j mod 4 of
Philox with the generator's seed as key and the counter (offset / 4 + j div 4, e mod G). So the noise of a few
candidates costs a few hashes. Source: ATen's ``distribution_elementwise_grid_stride_kernel`` and cuRAND's
``_curand_uniform``; Salmon et al. 2011 for Philox.
"""

from .language import jit, tl

GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
MIX1, MIX2 = tl.constexpr(0xBF58476D1CE4E5B9), tl.constexpr(0x94D049BB133111EB)
SCREEN = tl.constexpr(2e-4)
"""Relative, of a float32 race time against the float64 one: an exponential of an argument within 87 (87 * 3 UNIT and 4
units), a logarithm off by 3e-7 where the noise is above 0.02 (1.5e-5), a division: 4e-5, five times over."""

STREAM_MARGIN = tl.constexpr(5e-5)
"""Relative, of p / q against transformers': RACE_MARGIN, and 87 * 3 UNIT and 4 units of our exponential."""


@jit
def counter_bits(key, token_ids):
    """63 random bits for each token id [..] int64 of a row with the counter ``key``: uint64."""
    z = key.to(tl.uint64) + token_ids.to(tl.uint64) * GOLDEN
    z = (z ^ (z >> 30)) * MIX1
    z = (z ^ (z >> 27)) * MIX2
    z = z ^ (z >> 31)
    # The lowest 63 bits: a mask of uint64 is not a constant that the interpreter takes.
    return (z << 1) >> 1


@jit
def counter_uniform(key, token_ids):
    """Uniform in (0, 1], float64, as ``kernels.counter_noise.counter_uniform``."""
    return (counter_bits(key, token_ids).to(tl.float64) + 0.5) * (2.0**-63)


@jit
def screening_exponential(uniform):
    """Exp(1) noise in float32 from float64 uniforms, relative error below ``SCREEN``; inf where the uniform is 1."""
    u = uniform.to(tl.float32)
    series = u * (1.0 + u * (0.5 + u * (0.33333333 + u * (0.25 + u * 0.2))))
    return tl.where(u < 0.02, series, -tl.log((1.0 - uniform).to(tl.float32)))


@jit
def exact_exponential(uniform):
    """Exp(1) noise in float64, a few units in the last place off: log1p without libdevice, after Kahan."""
    rest = 1.0 - uniform
    lost = 1.0 - rest  # what of the uniform is left in ``rest``, exact
    return tl.where(lost == 0.0, uniform, -tl.log(rest) * (uniform / tl.where(lost == 0.0, 1.0, lost)))


@jit
def stream_uniform(seed, offset, elements, threads):
    """torch's uniform of the elements [..] int64 of one CUDA draw, float32 in (0, 1].

    seed: the generator's. offset: its offset at the draw. threads: G, how many threads the draw runs.
    """
    draw = elements // threads
    thread = (elements % threads).to(tl.uint64)
    counter = (offset // 4 + draw // 4).to(tl.uint64)
    # cuRAND's counter is 128 bits: the offset in the lower half, the thread in the upper.
    low, high = (counter << 32) >> 32, counter >> 32
    first, second = (thread << 32) >> 32, thread >> 32
    a, b, c, d = tl.philox(
        seed, low.to(tl.uint32), high.to(tl.uint32), first.to(tl.uint32), second.to(tl.uint32), n_rounds=10
    )
    word = draw % 4
    bits = tl.where(word == 0, a, tl.where(word == 1, b, tl.where(word == 2, c, d)))
    return bits.to(tl.float32) * (2.0**-32) + (2.0**-33)


@jit
def stream_exponential(uniform, HARDWARE: tl.constexpr):
    """torch's CUDA exponential of a float32 uniform. HARDWARE: by the instruction that torch's ``__logf`` is."""
    if HARDWARE:
        log2 = tl.inline_asm_elementwise(
            "lg2.approx.f32 $0, $1;", "=f,f", [uniform], dtype=tl.float32, is_pure=True, pack=1
        )
        log = log2 * 0.69314718
    else:
        log = tl.log(uniform)
    # ATen's guard: a logarithm of 1 would be 0 and the quotient p / q infinite.
    return tl.where(uniform >= 0.99999994, 5.9604645e-08, -log)
