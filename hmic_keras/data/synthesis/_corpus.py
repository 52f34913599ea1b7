"""`render_corpus`: the whole of a corpus, all at once or not at all."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hmic_keras._files import atomic_path, sha256, write_json
from hmic_keras.data.synthesis._fluidsynth import fluidsynth_version
from hmic_keras.data.synthesis._general_midi import instruments_of
from hmic_keras.data.synthesis._instruments import Instrument
from hmic_keras.data.synthesis._midi import find_midi
from hmic_keras.data.synthesis._models import has_model
from hmic_keras.data.synthesis._plan import Job, plan
from hmic_keras.data.synthesis._settings import Format, Settings, check_out, check_whole
from hmic_keras.data.synthesis._soundfont import SoundFont, find_soundfont, read_soundfont
from hmic_keras.data.synthesis._studio import Clip, Commission, Studio
from hmic_keras.data.synthesis._tables import write_tables
from hmic_keras.errors import AudioError
from hmic_keras.taxonomy import Taxonomy

_LOG = logging.getLogger("hmic_keras")
_CLIPS_PER_PROCESS = 16


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
    midi: str | os.PathLike[str] | None = None,
    empty: float = 0.0,
    modelled: float = 0.0,
    whole_range: bool = False,
    channels: Literal[1, 2] = 1,
    stems: bool = False,
    format: Format = "ogg",
    quality: float = 0.4,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Renders short polyphonic pieces with exact labels.

    Writes, all at once when everything is done, or not at all:

    - `clips/*`, and `labels.csv`, which `read_clips` reads;
    - `events.csv`: `path`, `class`, `start`, `end` of every note, in seconds;
    - `activity.csv`: `path`, `class`, `onset`, `offset` in seconds: where the dry sound of the
      class is within 35 dB of its loudest moment in that clip, in steps of 20 ms, gaps of up
      to 0.1 s closed;
    - `parts.csv`: `path`, `style`, `class`, `role`, `bank`, `program`, `lowest`, `highest`
      (MIDI keys) of every part; `bank` and `program` are empty where a model played;
    - with `stems`, `stems/*` and `stems.csv`: a label table of every part by itself, with
      the columns `meta_clip` and `meta_gain`. The stems of a clip, each times its gain, add
      up to the clip as it was before encoding;
    - `manifest.json`: provenance, settings, versions, checksums.

    The samples of clip `i` depend on the SoundFont, the MIDI files, the versions of this
    package, FluidSynth, NumPy, SciPy and soxr, and the settings, but neither on the number of
    clips nor on that of processes. Unless MIDI files decide, all classes occur about equally
    often. Who plays what does not depend on `modelled`, as long as the SoundFont has every
    class.

    Args:
        taxonomy: Its finest classes must have a known sound: the tags of `openmic`, classes
            with the attribute `program` (a General MIDI program from 0 to 127), or classes
            named as the programs are in `general_midi`.
        out: Folder to make; may exist if it is empty.
        clips: Number of clips, at least 1.
        soundfont: SF2 or SF3 file in General MIDI order, or the name of an installed one
            (`find_soundfont`). A class for which it has no preset is left unobserved in the
            labels, listed in the manifest and named in a warning, unless a model plays it.
        seconds: Length of each clip, 1 to 60.
        sample_rate: Samples a second, 8000 to 48000.
        seed: Seed of every choice, not negative.
        polyphony: Fewest and most classes in a clip. Excerpts of MIDI files come as near to
            the fewest as a few tries allow.
        polyphony_decay: How much rarer each further class is, above 0 to 1: a clip with
            `k + 1` classes is drawn `polyphony_decay` times as often as one with `k`.
        midi: Folder of MIDI files to take excerpts from, instead of writing music. A class is
            played by the programs that stand for it; notes of other programs are left out.
            Files that cannot be read are left out, listed in the manifest and counted in a
            warning.
        empty: Share of clips, 0 to 1, in which no instrument plays: silence, noise, hum, test
            tones, crackle. Every class is absent from them.
        modelled: Share of the parts, 0 to 1, that a model plays instead of the SoundFont: an
            instrument whose sound is computed and drawn anew for each part. Concerns the
            classes that have a model, that is the tags of `openmic` and `acoustic_guitar` and
            `electric_guitar`, unless a `program` decides. Above 0, such a class that the
            SoundFont lacks is always played by its model.
        whole_range: Whether instruments play all over their range, high and low as often as in
            the middle, and some notes higher and lower than is usual, so that pitch tells less
            about who plays. No matter where MIDI files decide.
        channels: 1 for mono, 2 for stereo; the parts are panned either way.
        stems: Whether to write each part by itself, too.
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
        AudioError: If the SoundFont or the MIDI files cannot be used, or the clips cannot be
            encoded.
        MissingDependencyError: If FluidSynth or, for MIDI files, mido is not installed.

    Example:
        >>> from hmic_keras import Taxonomy
        >>> render_corpus(Taxonomy.load("openmic"), "corpus", clips=0, soundfont="piano.sf2")
        Traceback (most recent call last):
            ...
        hmic_keras.errors.HmicError: clips must be an integer of at least 1. Received: 0
    """
    settings = Settings(
        classes=taxonomy.classes(taxonomy.levels[0]),
        seconds=seconds,
        sample_rate=sample_rate,
        seed=seed,
        polyphony=polyphony,
        polyphony_decay=polyphony_decay,
        empty=empty,
        modelled=modelled,
        whole_range=whole_range,
        channels=channels,
        stems=stems,
        format=format,
        quality=quality,
    )
    check_whole("clips", clips, 1)
    if processes is not None:
        check_whole("processes", processes, 1)
    check_out(out)
    instruments = instruments_of(taxonomy)
    synthesiser = fluidsynth_version()
    font = read_soundfont(find_soundfont(soundfont))
    midi_files = () if midi is None else find_midi(midi)
    players = _players(settings, instruments, font)
    jobs = list(plan(settings, players, clips, from_midi=bool(midi_files)))
    with atomic_path(out) as folder:
        for name in ("clips", "stems") if stems else ("clips",):
            (folder / name).mkdir(parents=True)
        commission = Commission(settings, players, font, midi_files, folder)
        finished = []
        for clip in _render(jobs, commission, processes or _processes(clips)):
            finished.append(clip)
            if progress is not None:
                progress(len(finished), clips)
        tables = write_tables(folder, taxonomy, tuple(players), finished)
        manifest = {
            "taxonomy": {"name": taxonomy.name, "hash": taxonomy.hash},
            "clips": clips,
            "settings": {**asdict(settings), "midi": None if midi is None else str(midi)},
            "unobserved": [name for name in settings.classes if name not in players],
            "clips_per_class": _counts(settings, finished),
            "modelled_parts": _modelled(finished),
            "clips_per_style": dict(sorted(Counter(c.style for c in finished).items())),
            "soundfont": {
                "file": font.path.name,
                "name": font.name,
                "sha256": sha256(font.path),
                "notices": font.notices,
            },
            **_midi_report(midi_files, finished),
            "versions": {"fluidsynth": synthesiser, **_versions()},
            "sha256": {
                **{name: sha256(folder / name) for name in tables},
                "samples": hashlib.sha256(b"".join(c.digest for c in finished)).hexdigest(),
            },
        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def _players(
    settings: Settings, instruments: Mapping[str, Instrument], font: SoundFont
) -> dict[str, Instrument]:
    """Returns the instruments for which the SoundFont has a preset, or that are modelled."""
    players = {
        name: instrument
        for name, instrument in instruments.items()
        if any(preset in font.presets for preset in instrument.presets)
        or (settings.modelled > 0 and has_model(name, instrument))
    }
    if len(players) < settings.polyphony[0]:
        raise AudioError(
            f"soundfont: {font.path} sounds {len(players)} of the taxonomy's classes, fewer "
            f"than the {settings.polyphony[0]} that each clip must hold. Use a General MIDI "
            "SoundFont or lower polyphony."
        )
    if missing := [name for name in instruments if name not in players]:
        _LOG.warning(
            "%s has no sound for %s: left unobserved in the labels.",
            font.path.name,
            ", ".join(missing),
        )
    return players


def _processes(clips: int) -> int:
    # Starting a process costs about as much as a few clips.
    return max(1, min(os.cpu_count() or 1, clips // _CLIPS_PER_PROCESS))


_commission: Commission | None = None
_studio: Studio | None = None


def _enter_worker(commission: Commission) -> None:
    global _commission
    _commission = commission


def _work(job: Job) -> Clip:
    # Opened by the first clip, not by the initialiser, whose errors the pool would swallow.
    global _studio
    if _studio is None:
        if _commission is None:
            raise RuntimeError("A worker was given a clip before its settings.")
        _studio = Studio(_commission)
    return _studio.clip(job)


def _render(jobs: Sequence[Job], commission: Commission, processes: int) -> Iterator[Clip]:
    if processes == 1:
        studio = Studio(commission)
        try:
            yield from map(studio.clip, jobs)
        finally:
            studio.close()
        return
    # Not `fork`: TensorFlow's threads may be running in this process.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _enter_worker, (commission,))
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


def _counts(settings: Settings, clips: Sequence[Clip]) -> dict[str, int]:
    heard = Counter(name for clip in clips for name in {p.class_name for p in clip.parts})
    return {name: heard[name] for name in settings.classes}


def _modelled(clips: Sequence[Clip]) -> dict[str, int]:
    """Returns how many parts of each class a model played."""
    played = Counter(
        part.class_name for clip in clips for part in clip.parts if part.preset is None
    )
    return dict(sorted(played.items()))


def _midi_report(files: Sequence[Path], clips: Sequence[Clip]) -> dict[str, Any]:
    if not files:
        return {}
    skipped = {path: reason for clip in clips for path, reason in clip.skipped.items()}
    if skipped:
        _LOG.warning(
            "%d of %d MIDI files left out, such as: %s",
            len(skipped),
            len(files),
            next(iter(skipped.values())),
        )
    used = {clip.source for clip in clips if clip.source is not None}
    return {"midi": {"files": len(files), "used": len(used), "skipped": skipped}}


def _versions() -> dict[str, str]:
    import scipy
    import soundfile
    import soxr

    from hmic_keras import __version__

    return {
        "hmic_keras": __version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "soxr": soxr.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }
