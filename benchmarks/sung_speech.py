r"""Renders singing: the voices of free speech synthesizers, made to sing by WORLD.

The SoundFonts' voices sing "aah", and the package's own model of a voice has vowels from a
table. A speech synthesizer made of recordings has the sounds of a language, and the ways from
one to the next. Nonsense words are spoken, taken apart into pitch, spectral envelope and
aperiodicity (Morise, Yokomori and Ozawa, "WORLD", IEICE Trans. Inf. & Syst. 2016), cut into
syllables, and put together again on the notes that this package writes.

    apt install festival flite festvox-{ca-ona-hts,czech-dita,czech-krb,czech-machac,czech-ph} \
        festvox-{kallpc16k,kdlpc16k,suopuhe-mv,suopuhe-lj,italp16k,itapc16k,ru}
    pip install pyworld
    python benchmarks/sung_speech.py speak --voices voices
    python benchmarks/sung_speech.py sing --voices voices --clips 450 --seed 11 --out sung/0

The result is a corpus with stems of the one class `voice`, which `adapt.py` mixes with others.
Its stems come in the ranges, roles and rhythms of the package's scores.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

RATE, HOP, FFT_SIZE = 16000, 0.005, 1024
FESTIVAL = (
    "upc_ca_ona_hts", "czech_dita", "czech_krb", "czech_machac", "czech_ph", "kal_diphone",
    "ked_diphone", "hy_fi_mv_diphone", "suo_fi_lj_diphone", "lp_diphone", "pc_diphone",
    "msu_ru_nsh_clunits",
)  # fmt: skip
FLITE = ("awb", "rms", "slt")
CONSONANTS = [*"bdfgklmnprstvlmnrd", "sh", "tr", "st", "pl", "br", ""]
VOWELS = ["a", "e", "i", "o", "u", "a", "o", "ai", "au"]
SENTENCES, WORDS = 40, 6
ENVELOPE_BANDS = 60
TAXONOMY = {"voice_family": ["voice"]}
SCRATCH_FONT = "TimGM6mb.sf2"
"""Only so that there is one: every part is sung."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    speaking, singing = parts.add_parser("speak"), parts.add_parser("sing")
    for part in (speaking, singing):
        part.add_argument("--voices", type=Path, required=True, help="folder of what was said")
    singing.add_argument("--clips", type=int, required=True)
    singing.add_argument("--seed", type=int, required=True)
    singing.add_argument("--out", type=Path, required=True, help="the corpus")
    args = parser.parse_args()
    if args.part == "speak":
        for voice in (*FESTIVAL, *FLITE):
            speak(voice, args.voices / f"{voice}.npz")
    else:
        sing(read_speakers(args.voices), args.clips, args.seed, args.out)


def speak(voice: str, path: Path) -> None:
    """Lets a voice say nonsense and writes what WORLD makes of it, with its syllables."""
    import pyworld

    from hmic_keras._files import atomic_path
    from hmic_keras.data import load_audio

    rng = np.random.default_rng(sum(map(ord, voice)))
    pitch, envelope, aperiodicity, syllables = [], [], [], []
    frames = 0
    for _ in range(SENTENCES):
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder) / "said.wav"
            _say(voice, _nonsense(rng), said)
            sound = load_audio(said, RATE).astype("float64")
        sound *= 0.5 / (np.abs(sound).max() + 1e-9)
        f0, times = pyworld.harvest(
            sound, RATE, f0_floor=60, f0_ceil=450, frame_period=HOP * 1000
        )
        spectrum = pyworld.cheaptrick(sound, f0, times, RATE)
        noise = pyworld.d4c(sound, f0, times, RATE)
        coded = pyworld.code_spectral_envelope(spectrum, RATE, ENVELOPE_BANDS)
        loudness = np.log(_envelopes(coded).mean(axis=1) + 1e-12)
        syllables += [[at + frames for at in one] for one in syllables_of(f0, loudness)]
        frames += len(f0)
        pitch.append(f0)
        envelope.append(coded)
        aperiodicity.append(pyworld.code_aperiodicity(noise, RATE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as written, written.open("wb") as stream:
        np.savez(
            stream,
            f0=np.concatenate(pitch).astype("float32"),
            envelope=np.concatenate(envelope).astype("float32"),
            aperiodicity=np.concatenate(aperiodicity).astype("float32"),
            syllables=np.array(syllables, "int32"),
        )
    print(f"{voice}: {frames * HOP:.0f} s, {len(syllables)} syllables", flush=True)


def _nonsense(rng: np.random.Generator) -> str:
    def word() -> str:
        syllables = rng.integers(1, 4)
        body = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(syllables))
        return body + rng.choice(["", "", "n", "s", "l", "r"])

    return " ".join(word() for _ in range(WORDS))


def _say(voice: str, text: str, path: Path) -> None:
    if voice in FLITE:
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
        return
    wanted = f'(voice_{voice}) (utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}")'
    script = path.with_suffix(".scm")
    script.write_text(wanted, "utf-8")
    subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)


def syllables_of(f0: np.ndarray, loudness: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns the start, nucleus and end of syllables: voiced maxima of loudness.

    Args:
        f0: Pitch of each frame in hertz, 0 where it is unvoiced.
        loudness: Logarithm of the power of each frame.
    """
    smooth = np.convolve(np.where(f0 > 0, loudness, -20.0), np.ones(7) / 7, "same")
    frames, near, far = len(f0), 12, 40
    nuclei = [
        at
        for at in range(4, frames - 4)
        if smooth[at] == smooth[max(0, at - near) : at + near + 1].max()
        and smooth[at] > smooth.max() - 3.5
        and (f0[max(0, at - 6) : at + 7] > 0).all()
    ]
    found = []
    for number, nucleus in enumerate(nuclei):
        low = nuclei[number - 1] if number else max(0, nucleus - far)
        last = number + 1 == len(nuclei)
        high = min(frames - 1, nucleus + far) if last else nuclei[number + 1]
        start = max(low + int(np.argmin(smooth[low:nucleus])), nucleus - far)
        end = min(nucleus + int(np.argmin(smooth[nucleus:high])), nucleus + far)
        if nucleus - start >= 4 and end - nucleus >= 4:
            found.append((start, nucleus, end))
    return found


def _envelopes(coded: np.ndarray) -> np.ndarray:
    import pyworld

    return pyworld.decode_spectral_envelope(
        np.ascontiguousarray(coded, "float64"), RATE, FFT_SIZE
    )


@dataclass(frozen=True)
class Speaker:
    """What one voice said.

    Attributes:
        f0: Pitch of each frame in hertz, 0 where unvoiced `(frames,)`.
        envelope: Coded spectral envelopes `(frames, ENVELOPE_BANDS)`.
        aperiodicity: Coded aperiodicity `(frames, 1)`.
        syllables: Start, nucleus and end in frames `(syllables, 3)`.
        key: The MIDI key at which it speaks.
    """

    f0: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray
    syllables: np.ndarray
    key: float


def read_speakers(folder: Path) -> list[Speaker]:
    """Reads what `speak` wrote, in the order of the names."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            arrays = dict(file)
        f0 = arrays["f0"]
        found.append(
            Speaker(**arrays, key=69 + 12 * float(np.log2(np.median(f0[f0 > 0]) / 440)))
        )
    if not found:
        raise SystemExit(f"'{folder}' holds no voices. Run the part `speak` first.")
    return found


@dataclass(frozen=True)
class Manner:
    """How a part is sung; all its singers have it in common.

    Attributes:
        tilt: Exponent of the spectrum above 1.5 kHz: how brightly.
        ring: Gain of the singer's formant at 2.9 kHz.
        airy: Exponent of the aperiodicity: below 1 for more breath.
        melisma: Share of connected notes that keep their syllable.
        release: Length of the fade in seconds.
        words: Whether long notes are divided into syllables.
        pace: Shortest and longest mean length of such a syllable in seconds.
        size: Factor of all formants.
    """

    tilt: float
    ring: float
    airy: float
    melisma: float
    release: float
    words: bool
    pace: tuple[float, float]
    size: float


def sing(speakers: Sequence[Speaker], clips: int, seed: int, out: Path) -> None:
    """Renders a corpus of stems in which every part is sung by the speakers."""
    import hmic_keras as hk
    from hmic_keras.data.synthesis import _models, render_corpus

    # What plays the class of a model is found there by name.
    _models.MODELS = MappingProxyType(  # type: ignore[misc]
        {**_models.MODELS, "voice": lambda stage: voice(stage, speakers)}
    )
    render_corpus(
        hk.Taxonomy.from_dict(TAXONOMY),
        out,
        clips=clips,
        soundfont=SCRATCH_FONT,
        seed=seed,
        polyphony=(1, 1),
        modelled=1.0,
        stems=True,
        # A new process would not know who sings.
        processes=1,
    )


def voice(stage: Any, speakers: Sequence[Speaker]) -> np.ndarray:
    """Sings a part: one singer, several, or a choir."""
    import soxr

    from hmic_keras.data.synthesis._models._stage import lines_of

    rng, notes = stage.rng, stage.part.notes
    lines = lines_of(notes)
    alone = len(lines) == 1 and rng.random() < 0.75
    each = 1 if alone else max(1, min(int(rng.integers(1, 5)), 6 // len(lines)))
    leader = _speaker_for(rng, notes, speakers)
    mixed = rng.random() < 0.5
    tilt = rng.uniform(-0.35, 0.45)
    ring = float(rng.choice([0.0, rng.uniform(0.5, 4.0)], p=[0.6, 0.4]))
    airy = float(np.exp(rng.normal(0.0, 0.3)))
    melisma = float(rng.choice([0.0, 0.3, 0.9], p=[0.4, 0.45, 0.15]))
    release = rng.uniform(0.03, 0.15)
    size = float(np.exp(rng.normal(0.0, 0.08)))
    few = rng.random() < 0.15
    words = bool(rng.random() < 0.65)
    pace = rng.uniform(0.14, 0.35)
    longest = pace * rng.uniform(1.2, 2.5)
    text = int(rng.integers(0, 2**31))
    sound = np.zeros(int(stage.frames / stage.rate * RATE) + 1600)
    for line in lines:
        for _ in range(each):
            speaker = leader if alone or not mixed else _speaker_for(rng, line, speakers)
            count = len(speaker.syllables)
            start = np.random.default_rng(text).integers(0, count - 60)
            said = speaker.syllables[start : start + (3 if few else 60)]
            own = size * (1.0 if alone else np.exp(rng.normal(0.0, 0.03)))
            manner = Manner(
                tilt, ring, airy, melisma, release, words, (pace, longest), float(own)
            )
            sung = _sung(stage, line, alone, speaker, manner, said)
            sound[: len(sung)] += sung[: len(sound)]
    sound = soxr.resample(sound, RATE, stage.rate)[: stage.frames]
    return np.pad(sound, (0, stage.frames - len(sound))).astype(np.float32)


def _speaker_for(
    rng: np.random.Generator, notes: Sequence[Any], speakers: Sequence[Speaker]
) -> Speaker:
    """Draws one whose register the notes suit: who sings is some way above who speaks."""
    mean = float(np.mean([note.key for note in notes]))
    reach = np.array([one.key for one in speakers]) + rng.uniform(2, 12)
    likely = np.exp(-np.abs(reach - mean) / 4)
    return speakers[rng.choice(len(speakers), p=likely / likely.sum())]


def _sung(
    stage: Any,
    line: Sequence[Any],
    alone: bool,
    speaker: Speaker,
    manner: Manner,
    said: np.ndarray,
) -> np.ndarray:
    """Returns one line by one singer, at `RATE`."""
    import pyworld

    from hmic_keras.data.synthesis._models import _voice
    from hmic_keras.data.synthesis._score import Note

    rng = stage.rng
    notes = list(line)
    if not alone:
        late = rng.normal(0.0, 0.018)
        notes = [Note(max(0.0, n.onset + late), n.duration, n.key, n.velocity) for n in line]
    if manner.words:
        notes = [part for note in notes for part in _divided(rng, note, manner.pace)]
    glide = float(np.exp(rng.uniform(np.log(0.01), np.log(0.05))))
    keys = stage.keys(notes, glide) + stage.part.detune + stage.control("bend", 0.0)
    keys += _voice._vibrato(stage, notes)
    keys += rng.uniform(0.03, 0.1) * stage.wander(9.0)
    keys += rng.uniform(0.03, 0.12) * stage.wander(2.0)
    if not alone:
        keys += rng.normal(0.0, 0.1)
    if rng.random() < 0.4:
        keys += _voice._scoops(stage, notes)
    times = np.arange(int(stage.frames / stage.rate / HOP) + 2) * HOP
    f0 = 440 * 2 ** ((np.interp(times, stage.times, keys) - 69) / 12)
    where, gain = _placed(rng, notes, len(times), speaker, manner, said)
    envelope = np.full((len(times), FFT_SIZE // 2 + 1), 1e-12)
    aperiodicity = np.full_like(envelope, 0.999)
    voiced = np.zeros(len(times), bool)
    sounding = where >= 0
    if sounding.any():
        frames = where[sounding]
        hertz = np.linspace(0.0, RATE / 2, FFT_SIZE // 2 + 1)
        colour = (1 + (hertz / 1500) ** 2) ** manner.tilt
        colour *= 1 + manner.ring * np.exp(-(((hertz - 2900) / 450) ** 2))
        swell = np.interp(times, stage.times, stage.control("expression", 1.0))[sounding]
        level = gain[sounding] * swell * (1 + 0.05 * rng.standard_normal())
        mouth = _resized(_envelopes(speaker.envelope[frames]), manner.size)
        envelope[sounding] = mouth * colour * (level**2)[:, None]
        noise = pyworld.decode_aperiodicity(
            np.ascontiguousarray(speaker.aperiodicity[frames], "float64"), RATE, FFT_SIZE
        )
        aperiodicity[sounding] = np.clip(noise**manner.airy, 0.001, 0.999)
        voiced[sounding] = speaker.f0[frames] > 0
    return pyworld.synthesize(
        np.where(voiced, f0, 0.0), envelope, aperiodicity, RATE, HOP * 1000
    )


def _divided(rng: np.random.Generator, note: Any, pace: tuple[float, float]) -> list[Any]:
    """Divides a note into syllables, of which some are a little higher or lower."""
    from hmic_keras.data.synthesis._score import Note

    length = min(note.duration, 8.0)
    count = max(1, round(length / rng.uniform(*pace)))
    evenly = rng.random() >= 0.5
    cuts = np.arange(1, count) / count if evenly else np.sort(rng.uniform(0, 1, count - 1))
    edges = np.concatenate([[0.0], cuts, [1.0]]) * length
    found = []
    for number, lasts in enumerate(np.diff(edges)):
        if number and lasts < 0.07:
            continue
        key = note.key + (int(rng.choice([0, 0, 0, 2, -2, -1, 1, 3])) if number else 0)
        breath = 0.0
        if number == count - 1 and rng.random() < 0.3 and lasts > 0.35:
            breath = rng.uniform(0.02, 0.2)
        velocity = int(np.clip(note.velocity + rng.normal(0, 10), 20, 127))
        found.append(Note(note.onset + edges[number], lasts - breath, key, velocity))
    return found


def _placed(
    rng: np.random.Generator,
    notes: Sequence[Any],
    frames: int,
    speaker: Speaker,
    manner: Manner,
    said: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for every frame which frame of speech sounds, or -1, and how loud.

    A syllable keeps the pace of its consonants; its vowel is drawn out around the nucleus.
    """
    where, gain = np.full(frames, -1), np.zeros(frames)
    end_of_clip = frames * HOP + 1
    number = 0
    start, nucleus, end = said[0]
    for index, note in enumerate(notes):
        before = notes[index - 1]
        connected = before.onset + before.duration > note.onset - 0.06
        held = bool(index) and rng.random() < manner.melisma and connected
        if not held:
            number += 1
            start, nucleus, end = said[number % len(said)]
        following = notes[index + 1].onset if index + 1 < len(notes) else end_of_clip
        lasts = min(max(note.duration, 0.08), following - note.onset + 0.02)
        head = 0 if held else min(nucleus - start, int(0.45 * lasts / HOP))
        first = int(note.onset / HOP) - head * 2 // 3
        tail = min(end - nucleus, max(2, int(0.3 * lasts / HOP)))
        body = max(0, int((note.onset + lasts) / HOP) - first - head - tail)
        width = rng.uniform(0.1, 0.8)
        low = 0.0 if head else -width * (nucleus - start)
        high = max(width * (end - nucleus - 2), low)
        spoken = np.concatenate(
            [
                np.arange(nucleus - head, nucleus),
                nucleus + np.linspace(low, high, body).astype(int),
                np.linspace(nucleus + high, end - 1, tail).astype(int),
            ]
        )
        spoken = spoken[max(0, -first) : max(0, frames - first)]
        first = max(0, first)
        if not len(spoken) or first >= frames:
            continue
        loudness = np.sqrt(_envelopes(speaker.envelope[nucleus : nucleus + 1]).mean()) + 1e-9
        shape = np.full(len(spoken), (0.3 + 0.7 * (note.velocity / 127) ** 1.3) / loudness)
        fade, attack = min(len(shape) // 3, int(manner.release / HOP)), min(len(shape) // 4, 4)
        if fade > 1:
            shape[-fade:] *= np.linspace(1.0, 0.15, fade) ** 1.5
        if attack > 1:
            shape[:attack] *= np.linspace(0.3, 1.0, attack)
        where[first : first + len(spoken)] = spoken
        gain[first : first + len(spoken)] = shape
    return where, gain


def _resized(envelope: np.ndarray, size: float) -> np.ndarray:
    """Moves all formants up by the factor `size`."""
    bins = envelope.shape[1]
    at = np.arange(bins) / size
    below = np.minimum(at.astype(int), bins - 2)
    share = np.clip(at - below, 0.0, 1.0)
    logs = np.log(envelope + 1e-16)
    return np.exp(logs[:, below] * (1 - share) + logs[:, below + 1] * share)


if __name__ == "__main__":
    main()
