"""Rendering a labelled polyphonic corpus from a SoundFont.

Each clip is a short piece in one key and tempo in which a few classes play parts that suit
them. Every part is rendered alone, so labels and activity describe what is heard, then
brought to a drawn level, coloured a little, mixed and put into a drawn room.

FluidSynth (LGPL-2.1) plays the SoundFont; it comes with the extra `[synth]` and a system
package. What a corpus may be used for follows from the licence of the SoundFont, whose own
notices are kept in the manifest.
"""

import csv
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hmic_keras._files import atomic_path, sha256, write_json
from hmic_keras.data._fluidsynth import PartRenderer, fluidsynth_version
from hmic_keras.data._instruments import INSTRUMENTS
from hmic_keras.data._mixing import mix, oversampling
from hmic_keras.data._score import Part, compose
from hmic_keras.data._soundfont import SoundFont, read_soundfont
from hmic_keras.data.sources.folder import write_labels
from hmic_keras.errors import AudioError, HmicError, TaxonomyError
from hmic_keras.taxonomy import Taxonomy

__all__ = ["Format", "render_corpus"]

_LOG = logging.getLogger("hmic_keras")

Format = Literal["ogg", "flac", "wav"]
_SUBTYPES: dict[str, str] = {"ogg": "VORBIS", "flac": "PCM_16", "wav": "PCM_16"}
# FluidSynth's output below this, at its usual level of about 0.1, is a key without a sample.
_SILENCE = 1e-4
_CLIPS_PER_PROCESS = 16


@dataclass(frozen=True)
class _Settings:
    """What, beside the SoundFont, determines every sample of a clip."""

    classes: tuple[str, ...]
    seconds: float
    sample_rate: int
    seed: int
    polyphony: tuple[int, int]
    polyphony_decay: float
    format: Format
    quality: float


@dataclass(frozen=True)
class _Job:
    index: int
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class _Clip:
    """A finished clip: its place, which class sounds when, and a digest of its samples."""

    path: str
    activity: tuple[tuple[str, float, float], ...]
    digest: bytes


def render_corpus(
    taxonomy: Taxonomy,
    out: str | os.PathLike[str],
    *,
    clips: int,
    soundfont: str | os.PathLike[str],
    seconds: float = 10.0,
    sample_rate: int = 16_000,
    seed: int = 0,
    polyphony: tuple[int, int] = (1, 6),
    polyphony_decay: float = 1.0,
    format: Format = "ogg",
    quality: float = 0.4,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Renders short polyphonic pieces with exact labels.

    Writes `clips/*`, `labels.csv` (read it with `read_clips`), `activity.csv` (`path`,
    `class`, `onset`, `offset` in seconds: where the dry sound of the class is within 35 dB of
    its loudest moment in that clip, in steps of 20 ms, gaps of up to 0.1 s closed) and
    `manifest.json` (provenance, settings, versions, checksums). All of it appears at once
    when everything is done, or not at all.

    The samples of clip `i` depend on the SoundFont, the versions of FluidSynth, NumPy and
    soxr, and the settings, but neither on the number of clips nor on that of processes. All
    classes occur equally often, give or take a few clips.

    Args:
        taxonomy: Its finest classes must be among those with a known sound: the 20 tags of
            the `openmic` taxonomy.
        out: Folder to make; may exist if it is empty.
        clips: Number of clips, at least 1.
        soundfont: SF2 or SF3 file in General MIDI order. A class for which it has no preset is
            left unobserved in the labels, listed in the manifest and named in a warning.
        seconds: Length of each clip, 1 to 60.
        sample_rate: Samples a second, 8000 to 48000.
        seed: Seed of every choice, not negative.
        polyphony: Fewest and most classes in a clip.
        polyphony_decay: How much rarer each further class is, above 0 to 1: a clip with
            `k + 1` classes is drawn `polyphony_decay` times as often as one with `k`.
        format: `"ogg"` (Vorbis), `"flac"` or `"wav"` (both 16 bit).
        quality: Quality of Vorbis, 0 to 1; `flac` and `wav` ignore it.
        processes: Processes to use; by default one per processor, fewer for few clips. More
            than one need an importable main module, as always with `spawn`: in a script, call
            this under `if __name__ == "__main__":`.
        progress: Called with the numbers of finished and of all clips after each clip.

    Returns:
        The content of `manifest.json`.

    Raises:
        HmicError: If an argument is out of range or `out` exists and is not an empty folder.
        TaxonomyError: If a finest class has no known sound.
        AudioError: If the SoundFont cannot be used, or the clips cannot be encoded.
        MissingDependencyError: If FluidSynth is not installed.

    Example:
        >>> from hmic_keras import Taxonomy
        >>> render_corpus(Taxonomy.load("openmic"), "corpus", clips=0, soundfont="piano.sf2")
        Traceback (most recent call last):
            ...
        hmic_keras.errors.HmicError: clips must be an integer of at least 1. Received: 0
    """
    settings = _Settings(
        classes=taxonomy.classes(taxonomy.levels[0]),
        seconds=seconds,
        sample_rate=sample_rate,
        seed=seed,
        polyphony=polyphony,
        polyphony_decay=polyphony_decay,
        format=format,
        quality=quality,
    )
    _check_settings(settings)
    _check_whole("clips", clips, 1)
    if processes is not None:
        _check_whole("processes", processes, 1)
    _check_out(Path(out))
    _check_classes(taxonomy)
    synthesiser = fluidsynth_version()
    font = read_soundfont(soundfont)
    playable = _playable(settings, font)
    jobs = list(_deal(settings, playable, clips))
    with atomic_path(out) as folder:
        (folder / "clips").mkdir(parents=True)
        finished = []
        for clip in _render(jobs, settings, font, folder, processes or _processes(clips)):
            finished.append(clip)
            if progress is not None:
                progress(len(finished), clips)
        _write_tables(folder, taxonomy, playable, jobs, finished)
        manifest = {
            "taxonomy": {"name": taxonomy.name, "hash": taxonomy.hash},
            "clips": clips,
            "settings": asdict(settings),
            "unobserved": [name for name in settings.classes if name not in playable],
            "clips_per_class": _counts(settings, jobs),
            "soundfont": {
                "file": font.path.name,
                "name": font.name,
                "sha256": sha256(font.path),
                "notices": font.notices,
            },
            "versions": {"fluidsynth": synthesiser, **_versions()},
            "sha256": {
                "labels.csv": sha256(folder / "labels.csv"),
                "activity.csv": sha256(folder / "activity.csv"),
                "samples": hashlib.sha256(b"".join(c.digest for c in finished)).hexdigest(),
            },
        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def _check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise HmicError(f"{name} must be an integer {span}. Received: {value!r}")


def _check_number(name: str, value: Any, least: float, most: float, *, open_end: bool) -> None:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not (least < value <= most if open_end else least <= value <= most):
        span = f"above {least:g} and at most" if open_end else f"from {least:g} to"
        raise HmicError(f"{name} must be a number {span} {most:g}. Received: {value!r}")


def _check_settings(settings: _Settings) -> None:
    _check_number("seconds", settings.seconds, 1, 60, open_end=False)
    _check_whole("sample_rate", settings.sample_rate, 8000, 48000)
    _check_whole("seed", settings.seed, 0)
    _check_number("polyphony_decay", settings.polyphony_decay, 0, 1, open_end=True)
    _check_number("quality", settings.quality, 0, 1, open_end=False)
    if not isinstance(settings.polyphony, tuple | list) or len(settings.polyphony) != 2:
        raise HmicError(
            "polyphony must be a pair: the fewest and the most classes in a clip. "
            f"Received: {settings.polyphony!r}"
        )
    _check_whole("polyphony[0]", settings.polyphony[0], 1)
    _check_whole("polyphony[1]", settings.polyphony[1], settings.polyphony[0])
    if settings.format not in _SUBTYPES:
        raise HmicError(
            f"format must be one of {', '.join(_SUBTYPES)}. Received: {settings.format!r}"
        )


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HmicError(
            f"out: {out} exists and is not an empty folder. Name a new one, or remove it first."
        )


def _check_classes(taxonomy: Taxonomy) -> None:
    unknown = [n for n in taxonomy.classes(taxonomy.levels[0]) if n not in INSTRUMENTS]
    if unknown:
        raise TaxonomyError(
            f"Taxonomy {taxonomy.name!r} has finest classes without a known sound: "
            f"{', '.join(unknown)}. Known: {', '.join(INSTRUMENTS)}."
        )


def _playable(settings: _Settings, font: SoundFont) -> tuple[str, ...]:
    playable = tuple(
        name
        for name in settings.classes
        if any(preset in font.presets for preset in INSTRUMENTS[name].presets)
    )
    if len(playable) < settings.polyphony[0]:
        raise AudioError(
            f"soundfont: {font.path} sounds {len(playable)} of the taxonomy's classes, fewer "
            f"than the {settings.polyphony[0]} that each clip must hold. Use a General MIDI "
            "SoundFont or lower polyphony."
        )
    if missing := [name for name in settings.classes if name not in playable]:
        _LOG.warning(
            "%s has no sound for %s: left unobserved in the labels.",
            font.path.name,
            ", ".join(missing),
        )
    return playable


def _rng(
    seed: int, purpose: Literal["size", "deck", "clip"], index: int
) -> np.random.Generator:
    return np.random.default_rng([seed, ("size", "deck", "clip").index(purpose), index])


def _deal(settings: _Settings, playable: Sequence[str], clips: int) -> Iterator[_Job]:
    """Deals the classes to the clips like cards, from one shuffled deck after another."""
    low, high = settings.polyphony
    sizes = np.arange(low, min(high, len(playable)) + 1)
    weights = settings.polyphony_decay ** (sizes - low).astype(np.float64)
    waiting: list[str] = []
    decks = 0
    for index in range(clips):
        rng = _rng(settings.seed, "size", index)
        size = rng.choice(sizes, p=weights / weights.sum())
        hand: list[str] = []
        while len(hand) < size:
            name = next((name for name in waiting if name not in hand), None)
            if name is None:
                waiting += _rng(settings.seed, "deck", decks).permutation(playable).tolist()
                decks += 1
            else:
                hand.append(name)
                waiting.remove(name)
        yield _Job(index, tuple(hand))


def _processes(clips: int) -> int:
    # Starting a process costs about as much as a few clips.
    return max(1, min(os.cpu_count() or 1, clips // _CLIPS_PER_PROCESS))


class _Studio:
    """Renders clips one after the other, each with a new synthesiser.

    One more synthesiser plays nothing: it keeps the samples of every preset in memory.
    """

    def __init__(self, settings: _Settings, font: SoundFont, folder: Path) -> None:
        self._settings, self._font, self._folder = settings, font, folder
        self._rate = settings.sample_rate * oversampling(settings.sample_rate)
        self._library = PartRenderer(font.path, self._rate)

    def close(self) -> None:
        self._library.close()

    def clip(self, job: _Job) -> _Clip:
        settings = self._settings
        rng = _rng(settings.seed, "clip", job.index)
        score = compose(rng, job.class_names, settings.seconds)
        player = PartRenderer(self._font.path, self._rate)
        try:
            parts = [self._play(player, part) for part in score.parts]
        finally:
            player.close()
        samples, activity = mix(rng, parts, settings.sample_rate)
        path = f"clips/{job.index:05d}.{settings.format}"
        _write_audio(self._folder / path, samples, settings)
        return _Clip(
            path,
            tuple(
                (name, *interval)
                for name, intervals in zip(job.class_names, activity, strict=True)
                for interval in intervals
            ),
            hashlib.sha256(samples.tobytes()).digest(),
        )

    def _play(self, player: PartRenderer, part: Part) -> np.ndarray:
        """Plays a part with the first of its presets that the SoundFont has and that sounds."""
        frames = round(self._settings.seconds * self._settings.sample_rate)
        frames *= self._rate // self._settings.sample_rate
        for preset in part.presets:
            if preset in self._font.presets:
                self._library.load(preset)
                sound = player.render(
                    part.notes,
                    preset,
                    frames=frames,
                    detune=part.detune,
                    vibrato=part.vibrato,
                )
                if np.abs(sound).max() > _SILENCE:
                    return sound
        keys = sorted({note.key for note in part.notes})
        raise AudioError(
            f"soundfont: {self._font.path} stays silent for {part.class_name} on the MIDI keys "
            f"{', '.join(map(str, keys))}. Use a complete General MIDI SoundFont."
        )


_opening: tuple[_Settings, SoundFont, Path] | None = None
_studio: _Studio | None = None


def _enter_worker(settings: _Settings, font: SoundFont, folder: Path) -> None:
    global _opening
    _opening = (settings, font, folder)


def _work(job: _Job) -> _Clip:
    # Opened by the first clip, not by the initialiser, whose errors the pool would swallow.
    global _studio
    if _studio is None:
        if _opening is None:
            raise RuntimeError("A worker was given a clip before its settings.")
        _studio = _Studio(*_opening)
    return _studio.clip(job)


def _render(
    jobs: Sequence[_Job], settings: _Settings, font: SoundFont, folder: Path, processes: int
) -> Iterator[_Clip]:
    if processes == 1:
        studio = _Studio(settings, font, folder)
        try:
            yield from map(studio.clip, jobs)
        finally:
            studio.close()
        return
    # Not `fork`: TensorFlow's threads may be running in this process.
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), _enter_worker, (settings, font, folder)
    )
    try:
        yield from pool.map(_work, jobs, chunksize=4)
    except BrokenProcessPool as error:
        raise AudioError(
            "A rendering process ended before its work was done. In a script, call "
            'render_corpus under `if __name__ == "__main__":`; otherwise memory may have run '
            "out: use fewer processes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write_audio(path: Path, samples: np.ndarray, settings: _Settings) -> None:
    import soundfile

    options = {"compression_level": 1.0 - settings.quality} if settings.format == "ogg" else {}
    try:
        with soundfile.SoundFile(
            path,
            "w",
            settings.sample_rate,
            channels=1,
            subtype=_SUBTYPES[settings.format],
            **options,
        ) as stream:
            # libsndfile overflows its stack when it gets a long Vorbis stream in one piece.
            for start in range(0, len(samples), settings.sample_rate):
                stream.write(samples[start : start + settings.sample_rate])
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path.name} cannot be written: {error}") from error


def _write_tables(
    folder: Path,
    taxonomy: Taxonomy,
    playable: Sequence[str],
    jobs: Sequence[_Job],
    clips: Sequence[_Clip],
) -> None:
    finest = taxonomy.levels[0]
    position = taxonomy.index(finest)
    labels = np.full((len(jobs), len(position)), -1.0, np.float32)
    labels[:, [position[name] for name in playable]] = 0.0
    for row, job in zip(labels, jobs, strict=True):
        row[[position[name] for name in job.class_names]] = 1.0
    write_labels(
        folder / "labels.csv", [clip.path for clip in clips], taxonomy, {finest: labels}
    )
    with (folder / "activity.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("path", "class", "onset", "offset"))
        for clip in clips:
            for name, onset, offset in clip.activity:
                writer.writerow((clip.path, name, f"{onset:.2f}", f"{offset:.2f}"))


def _counts(settings: _Settings, jobs: Iterable[_Job]) -> dict[str, int]:
    dealt = Counter(name for job in jobs for name in job.class_names)
    return {name: dealt[name] for name in settings.classes}


def _versions() -> dict[str, str]:
    import soundfile
    import soxr

    from hmic_keras import __version__

    return {
        "hmic_keras": __version__,
        "numpy": np.__version__,
        "soxr": soxr.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }
