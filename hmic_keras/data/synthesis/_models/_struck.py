"""Struck instruments: strings of a piano, bars, membranes and plates, as sums of their modes.

Ratios of the modes are those of N. H. Fletcher and T. D. Rossing, "The Physics of Musical
Instruments": free bars, undercut bars (marimba, vibraphone), ideal membranes; cymbals have so
many modes that they are drawn.
"""

from collections.abc import Callable

import numpy as np

from hmic_keras.data.synthesis._instruments import (
    BELL,
    HATS,
    KICKS,
    OPEN_HAT,
    RIDES,
    RIM,
    SNARES,
    TOMS,
)
from hmic_keras.data.synthesis._models._sound import (
    Warp,
    filtered,
    high_pass,
    low_pass,
    overdriven,
    partials,
    play_notes,
    resonances,
)
from hmic_keras.data.synthesis._models._stage import Stage, hertz

_Make = Callable[[int, float, int], np.ndarray]


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _noise_burst(
    stage: Stage, frames: int, seconds: float, low: float, high: float
) -> np.ndarray:
    """Returns noise of a band that falls by 60 dB in `seconds`, of deviation 1 at its start."""
    size = min(frames, max(int(seconds * stage.rate), 64))
    spectrum = np.fft.rfft(stage.noise(size))
    grid = np.fft.rfftfreq(size, 1.0 / stage.rate)
    band = np.fft.irfft(spectrum * high_pass(grid, low, 3.0) * low_pass(grid, high, 3.0), size)
    band /= np.std(band) + 1e-9
    fade = np.exp(-6.9 / (seconds * stage.rate) * np.arange(size))
    burst = np.zeros(frames, np.float32)
    burst[:size] = band * fade
    return burst


def piano(stage: Stage) -> np.ndarray:
    """Plays a grand, an upright, or an electric piano."""
    return _electric_piano(stage) if stage.rng.random() < 0.25 else _strings(stage)


def _strings(stage: Stage) -> np.ndarray:
    """Plays stiff strings, two or three to a key, that decay fast first and slowly after."""
    rng = stage.rng
    stiff = _log(rng, 1.5e-4, 6e-4)
    ring, corner = _log(rng, 5.0, 14.0), _log(rng, 700.0, 2600.0)
    strike, spread = rng.uniform(0.1, 0.14), _log(rng, 0.3, 4.0)
    knock = _log(rng, 0.02, 0.15)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        base = hertz(key + stage.part.detune)
        number = np.arange(1, max(2, int(stage.band / base) + 1))
        # Inharmonicity grows by about a factor of 2.5 an octave in the treble.
        bend = np.sqrt(1.0 + stiff * 2.0 ** (1.2 * (key - 60) / 12.0) * number**2)
        tone = base * number * bend / bend[0]
        bright = corner * 2.0 ** (2.4 * (force - 0.5)) + base
        gain = np.sin(np.pi * number * strike) / number**0.6 * low_pass(tone, bright, 3.0)
        gain *= np.exp(rng.normal(0.0, 0.3, len(number)))
        loss = 6.9 / ring * 2.0 ** ((key - 48) / 18.0) * (1.0 + (tone / 1500.0) ** 1.2)
        tunes = 2.0 ** (spread / 1200.0 * np.array([-0.5, 0.1, 0.5]))
        losses = loss * np.array([[4.0], [2.5], [0.7]])
        shares = np.array([0.6, 0.5, 0.25]) * rng.uniform(0.7, 1.3, 3)
        kept = tone < stage.band
        sound = partials(
            (tunes[:, None] * tone)[:, kept].ravel(),
            losses[:, kept].ravel(),
            (-1j * shares[:, None] * gain)[:, kept].ravel(),
            frames,
            stage.rate,
        )
        thump = _noise_burst(stage, frames, 0.08, 60.0, 900.0)
        return sound + np.float32(knock * np.abs(sound).max() * (0.3 + force)) * thump

    warp = Warp(stage, stage.control("bend", 0.0))
    sound = play_notes(stage, warp, make, release=_log(rng, 0.08, 0.5), longest=12.0)
    centres = np.exp(rng.uniform(np.log(80.0), np.log(4000.0), 16))
    quality, gain = rng.uniform(2.0, 10.0, 16), rng.uniform(-0.5, 0.6, 16)
    return filtered(stage, sound, lambda grid: 1.0 + resonances(grid, centres, quality, gain))


def _electric_piano(stage: Stage) -> np.ndarray:
    """Plays tines or reeds before a pickup, sometimes with tremolo."""
    rng = stage.rng
    ring, drive = _log(rng, 2.0, 6.0), _log(rng, 0.4, 2.5)
    bell, bias = _log(rng, 0.02, 0.25), rng.uniform(0.1, 0.6)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        base = hertz(key + stage.part.detune)
        tones = np.array([base, min(6.27 * base, 0.9 * stage.band)])
        decay = np.array([6.9 / ring * (base / 220.0) ** 0.4, 25.0])
        tine = partials(tones, decay, -1j * np.array([1.0, bell * force]), frames, stage.rate)
        bent = np.tanh(drive * (0.3 + force) * tine + np.float32(bias)) - np.tanh(bias)
        return bent.astype(np.float32)

    warp = Warp(stage, stage.control("bend", 0.0))
    sound = play_notes(stage, warp, make, release=_log(rng, 0.06, 0.25), longest=8.0)
    if rng.random() < 0.4:
        turns = np.sin(2 * np.pi * rng.uniform(3.0, 7.0) * stage.times)
        sound = sound * stage.full(1.0 - rng.uniform(0.1, 0.6) * (0.5 + 0.5 * turns))
    return filtered(stage, sound, lambda grid: high_pass(grid, 25.0))


# Ratios of the modes, their levels with a soft and a hard mallet, seconds of ringing at 440 Hz.
_BARS = {
    "marimba": ((1.0, 3.93, 9.6), (1.0, 0.15, 0.03), (1.0, 0.4, 0.15), (0.4, 1.0)),
    "xylophone": (
        (1.0, 3.0, 6.1, 10.2), (1.0, 0.3, 0.1, 0.03), (1.0, 0.7, 0.4, 0.2), (0.2, 0.5),
    ),
    "vibraphone": ((1.0, 4.0, 10.3), (1.0, 0.1, 0.02), (1.0, 0.35, 0.12), (3.0, 8.0)),
    "glockenspiel": (
        (1.0, 2.76, 5.4, 8.93), (1.0, 0.3, 0.1, 0.05), (1.0, 0.8, 0.5, 0.3), (2.0, 5.0),
    ),
}  # fmt: skip


def mallet_percussion(stage: Stage) -> np.ndarray:
    """Plays a marimba, xylophone, vibraphone or glockenspiel."""
    rng = stage.rng
    kind = str(rng.choice(list(_BARS)))
    ratios, soft, hard, rings = _BARS[kind]
    ratio = np.array(ratios) * np.array([1.0, *rng.uniform(0.97, 1.03, len(ratios) - 1)])
    firm, ring = rng.uniform(0.0, 1.0), _log(rng, *rings)
    knock = _log(rng, 0.01, 0.25)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        tone = hertz(key + stage.part.detune) * ratio
        hardness = np.clip(firm + 0.6 * (force - 0.5), 0.0, 1.0)
        gain = np.array(soft) * (1.0 - hardness) + np.array(hard) * hardness
        gain = gain * np.exp(rng.normal(0.0, 0.2, len(gain)))
        loss = 6.9 / ring * (tone / 440.0) ** 0.6 * np.array([1.0, *[2.0] * (len(gain) - 1)])
        kept = tone < stage.band
        sound = partials(tone[kept], loss[kept], -1j * gain[kept], frames, stage.rate)
        burst = _noise_burst(stage, frames, 0.03, 500.0, 5000.0)
        return sound + np.float32(knock * (0.3 + hardness)) * burst

    # Bars are not damped but by the vibraphone's pedal.
    release = _log(rng, 0.2, 1.5) if kind == "vibraphone" else ring
    warp = Warp(stage, stage.control("bend", 0.0))
    sound = play_notes(stage, warp, make, release=release, longest=6.0)
    if kind == "vibraphone" and rng.random() < 0.5:
        turns = np.sin(2 * np.pi * rng.uniform(2.0, 7.0) * stage.times)
        sound = sound * stage.full(1.0 - rng.uniform(0.1, 0.5) * (0.5 + 0.5 * turns))
    return filtered(stage, sound, lambda grid: high_pass(grid, 60.0))


# An ideal membrane: zeros of Bessel functions over the first.
_MEMBRANE = np.array([1.0, 1.593, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 4.06])


def drums(stage: Stage) -> np.ndarray:
    """Plays the drums of a kit: membranes, snares; or electronic ones."""
    rng = stage.rng
    electronic = rng.random() < 0.2
    make = _drum_maker(stage, electronic)
    warp = Warp(stage, np.zeros(len(stage.times)))
    sound = play_notes(stage, warp, make, release=2.0, longest=2.0)
    if rng.random() < 0.25:
        sound = overdriven(stage, sound, _log(rng, 1.0, 5.0))
    return filtered(stage, sound, lambda grid: high_pass(grid, 25.0))


def _drum_maker(stage: Stage, electronic: bool) -> _Make:
    rng = stage.rng
    kick, snare = _log(rng, 42.0, 75.0), _log(rng, 150.0, 260.0)
    lowest, ring = _log(rng, 70.0, 100.0), _log(rng, 0.25, 0.9)
    beater, wires = _log(rng, 0.03, 0.5), _log(rng, 0.4, 2.0)
    tail, bright = _log(rng, 0.12, 0.4), _log(rng, 4000.0, 9000.0)
    drop, pure = rng.uniform(0.3, 2.0), 0.0 if electronic else 1.0

    def make(key: int, force: float, frames: int) -> np.ndarray:
        if key in KICKS:
            skin = _skin(stage, kick, 0.5 * ring + 0.15, drop + 0.8, 0.4 * pure, force, frames)
            return skin + np.float32(beater * force) * _noise_burst(
                stage, frames, 0.02, 800.0, 5000.0
            )
        if key in SNARES:
            skin = _skin(stage, snare, 0.4 * ring, 0.4, 0.8 * pure, force, frames)
            hiss = _noise_burst(stage, frames, tail * (0.7 + 0.6 * force), 1200.0, bright)
            return 0.6 * skin + np.float32(0.35 * wires) * hiss
        if key == RIM:
            skin = _skin(stage, 3.0 * snare, 0.08, 0.0, 1.0, 1.0, frames)
            return skin + 0.3 * _noise_burst(stage, frames, 0.02, 1500.0, 7000.0)
        pitch = lowest * 2.0 ** ((5 - TOMS.index(key)) / 6.0) if key in TOMS else lowest
        skin = _skin(stage, pitch, ring, 0.4 * drop, 0.7 * pure, force, frames)
        return skin + np.float32(0.3 * beater) * _noise_burst(
            stage, frames, 0.03, 500.0, 4000.0
        )

    return make


def _skin(
    stage: Stage,
    base: float,
    ring: float,
    drop: float,
    upper: float,
    force: float,
    frames: int,
) -> np.ndarray:
    """Sounds a membrane: its lowest mode, which falls in pitch, and the ones above."""
    rng = stage.rng
    time = np.arange(frames) / stage.rate
    fall = 0.03 * (1.0 - np.exp(-time / 0.03)) * drop * (0.5 + force)
    low = np.sin(2 * np.pi * base * (time + fall)) * np.exp(-6.9 / ring * time)
    tone = base * _MEMBRANE[1:] * rng.uniform(0.96, 1.04, 9)
    gain = upper * (0.3 + 0.7 * force) * rng.uniform(0.1, 0.6, 9)
    high = partials(
        tone, 6.9 / ring * (1.0 + tone / (2.0 * base)), -1j * gain, frames, stage.rate
    )
    return low.astype(np.float32) + high


def cymbals(stage: Stage) -> np.ndarray:
    """Plays hi-hats, rides and crashes: plates with hundreds of modes, and hiss."""
    rng = stage.rng
    size = _log(rng, 0.75, 1.35)
    plates = {
        name: _plate(rng, count, low * size, high)
        for name, count, low, high in (
            ("hat", 220, 900.0, 11_000.0),
            ("ride", 260, 300.0, 9000.0),
            ("crash", 300, 250.0, 10_000.0),
        )
    }
    closed, opened = _log(rng, 0.06, 0.2), _log(rng, 0.4, 1.2)
    ride, crash = _log(rng, 1.5, 4.0), _log(rng, 1.2, 4.0)
    hiss, pure = _log(rng, 0.1, 0.8), _log(rng, 0.5, 1.5)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        if key in (*HATS, OPEN_HAT):
            kind, ring = "hat", opened if key == OPEN_HAT else closed
        elif key in (*RIDES, BELL):
            kind, ring = "ride", ride
        else:
            kind, ring = "crash", crash
        tone, gain = plates[kind]
        kept = tone < stage.band
        tone, gain = tone[kept], gain[kept] * low_pass(tone[kept], 3000.0 * (0.6 + force), 1.0)
        if key == BELL:
            gain = gain * (1.0 + 6.0 * (np.arange(len(tone)) % 40 == 7))
        loss = 6.9 / ring * (0.6 + (tone / 4000.0) ** pure)
        phase = np.exp(2j * np.pi * rng.random(len(tone)))
        sound = partials(tone, loss, gain * phase, frames, stage.rate)
        wash = _noise_burst(stage, frames, 0.7 * ring, 3000.0, stage.band)
        if kind == "crash":
            rise = int(0.01 * stage.rate)
            sound[:rise] *= np.linspace(0.3, 1.0, min(rise, len(sound)), dtype=np.float32)
        return sound + np.float32(hiss * np.std(sound[: stage.rate // 20])) * wash

    warp = Warp(stage, np.zeros(len(stage.times)))
    longest = 3.0
    sound = play_notes(stage, warp, make, release=longest, longest=longest)
    return filtered(stage, sound, lambda grid: high_pass(grid, 200.0, 2.0))


def _plate(
    rng: np.random.Generator, count: int, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the modes of a plate, which lie evenly in frequency, and their levels."""
    tone = np.sort(rng.uniform(low, high, count))
    return tone, np.exp(rng.normal(0.0, 0.8, count)) * (tone / low) ** -rng.uniform(0.0, 0.5)
