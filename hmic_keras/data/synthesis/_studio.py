"""Making one clip: from its job to files and to what the tables say about it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmic_keras.data.synthesis._compose import compose
from hmic_keras.data.synthesis._fluidsynth import PartPlayer, SoundLibrary
from hmic_keras.data.synthesis._instruments import Instrument, Preset
from hmic_keras.data.synthesis._midi import excerpt
from hmic_keras.data.synthesis._mixing import mix, rendering_rate
from hmic_keras.data.synthesis._models import has_model, play
from hmic_keras.data.synthesis._plan import Job
from hmic_keras.data.synthesis._score import Note, Part, Score
from hmic_keras.data.synthesis._settings import SUBTYPES, Settings
from hmic_keras.data.synthesis._silence import draw_silence
from hmic_keras.data.synthesis._soundfont import SoundFont
from hmic_keras.errors import AudioError

# FluidSynth's output below this, at its usual level of about 0.1, is a key without a sample.
_SILENCE = 1e-4
_STEM_PEAK = 0.9
_TAKES = 8


@dataclass(frozen=True)
class Commission:
    """What all clips of a corpus are made with.

    Attributes:
        settings: What was asked for.
        players: The classes that can sound and their instruments.
        font: The SoundFont.
        midi_files: Files to take scores from; empty to write the music.
        folder: Where the clips go.
    """

    settings: Settings
    players: Mapping[str, Instrument]
    font: SoundFont
    midi_files: tuple[Path, ...]
    folder: Path


@dataclass(frozen=True)
class PlayedPart:
    """What the tables say of one part.

    Attributes:
        class_name: Its class.
        role: What kind of part it is.
        preset: The preset that sounded, or `None` if a model played.
        events: `(start, end)` of each note in seconds.
        activity: `(onset, offset)` of where it is heard.
        keys: Lowest and highest key.
        stem: Path of its stem, if there is one.
        gain: What to multiply the stem by to get its share of the clip.
    """

    class_name: str
    role: str
    preset: Preset | None
    events: tuple[tuple[float, float], ...]
    activity: tuple[tuple[float, float], ...]
    keys: tuple[int, int]
    stem: str | None
    gain: float


@dataclass(frozen=True)
class Clip:
    """A finished clip.

    Attributes:
        path: Where it is, relative to the corpus.
        style: The style of the music, or what a clip without instruments holds.
        parts: What plays.
        digest: SHA-256 of the samples before encoding.
        source: The MIDI file it is from.
        skipped: MIDI files that could not be read, with the reason.
    """

    path: str
    style: str
    parts: tuple[PlayedPart, ...]
    digest: bytes
    source: str | None
    skipped: Mapping[str, str]


@dataclass(frozen=True)
class _Take:
    """A score, those of its parts that sound with what was played, and where it is from."""

    score: Score
    heard: list[tuple[Part, np.ndarray, Preset | None]]
    source: str | None
    skipped: Mapping[str, str]


class Studio:
    """Makes clips one after the other; each depends on its job only.

    Args:
        commission: What the clips are made with.
    """

    def __init__(self, commission: Commission) -> None:
        self._all = commission
        self._settings = commission.settings
        self._rate = rendering_rate(self._settings.sample_rate)
        self._library = SoundLibrary(commission.font.path, self._rate)

    def close(self) -> None:
        """Frees the SoundFont."""
        self._library.close()

    def clip(self, job: Job) -> Clip:
        """Makes a clip.

        Raises:
            AudioError: If a part stays silent, a file cannot be written, or no MIDI file
                tried has music for the classes.
        """
        rng = self._settings.rng("clip", job.index)
        path = f"clips/{job.index:05d}.{self._settings.format}"
        if job.class_names or job.from_midi:
            return self._music(rng, job, path)
        settings = self._settings
        kind, samples = draw_silence(
            rng, settings.frames, settings.sample_rate, settings.channels
        )
        self._write(path, samples)
        return Clip(path, kind, (), _digest(samples), None, {})

    def _music(self, rng: np.random.Generator, job: Job, path: str) -> Clip:
        settings = self._settings
        take = self._take(rng, job)
        mixed = mix(
            rng,
            [(sound, part.pan) for part, sound, _ in take.heard],
            settings.frames,
            settings.sample_rate,
            channels=settings.channels,
            stems=settings.stems,
        )
        self._write(path, mixed.clip)
        stems: list[tuple[str | None, float]] = [(None, 1.0)] * len(take.heard)
        if settings.stems:
            stems = [self._stem(job.index, i, stem) for i, stem in enumerate(mixed.stems)]
        parts = tuple(
            PlayedPart(
                part.class_name,
                part.role,
                preset,
                _events(part.notes, settings.seconds),
                tuple(activity),
                (min(n.key for n in part.notes), max(n.key for n in part.notes)),
                *stem,
            )
            for (part, _, preset), activity, stem in zip(
                take.heard, mixed.activity, stems, strict=True
            )
        )
        digest = _digest(mixed.clip)
        return Clip(path, take.score.style, parts, digest, take.source, take.skipped)

    def _take(self, rng: np.random.Generator, job: Job) -> _Take:
        """Plays a score, and another one if some of it stays silent.

        What a MIDI file asks for may be silent in a SoundFont and is left out then; what was
        written is written anew, as some SoundFonts lack the upper keys of a preset.
        """
        # A generator of its own: who plays what, and where, is the same with models as without.
        models = self._settings.rng("models", job.index)
        for _ in range(_TAKES):
            score, source, skipped = self._score(rng, job)
            with self._library.player() as player:
                played = [
                    (part, self._perform(models.spawn(1)[0], player, part))
                    for part in score.parts
                ]
            heard = [(part, *found) for part, found in played if found is not None]
            if len(heard) == len(played) or (job.from_midi and heard):
                return _Take(score, heard, source, skipped)
        part = next(part for part, found in played if found is None)
        keys = sorted({note.key for note in part.notes})
        raise AudioError(
            f"soundfont: {self._all.font.path} stays silent for {part.class_name} on the MIDI "
            f"keys {', '.join(map(str, keys))}. Use a complete General MIDI SoundFont."
        )

    def _score(
        self, rng: np.random.Generator, job: Job
    ) -> tuple[Score, str | None, dict[str, str]]:
        """Returns a score, the MIDI file it is from, and those that could not be read."""
        settings, players = self._settings, self._all.players
        if job.style is None:
            files = self._all.midi_files
            score, path, skipped = excerpt(rng, settings, files, players, job.index)
            return score, path.name, skipped
        chosen = {name: players[name] for name in job.class_names}
        if settings.whole_range:
            chosen = {name: one.over_whole_range() for name, one in chosen.items()}
        return compose(rng, job.style, chosen, settings.seconds), None, {}

    def _perform(
        self, rng: np.random.Generator, player: PartPlayer, part: Part
    ) -> tuple[np.ndarray, Preset | None] | None:
        """Plays a part by the model of its class, if that is drawn, or from the SoundFont."""
        frames = int(np.ceil(self._settings.seconds * self._rate))
        if not self._models(rng, part):
            return self._play(player, part, frames)
        return play(rng, part, frames, self._rate), None

    def _models(self, rng: np.random.Generator, part: Part) -> bool:
        share, name = self._settings.modelled, part.class_name
        if share == 0.0 or not has_model(name, self._all.players[name]):
            return False
        # What the SoundFont lacks has no other sound.
        return rng.random() < share or not self._all.font.presets.keys() & set(part.presets)

    def _play(
        self, player: PartPlayer, part: Part, frames: int
    ) -> tuple[np.ndarray, Preset] | None:
        """Plays a part with the first of its presets that the SoundFont has and that sounds."""
        for preset in part.presets:
            if preset in self._all.font.presets:
                sound = player.render(
                    part.notes,
                    preset,
                    frames=frames,
                    detune=part.detune,
                    controls=part.controls,
                )
                if max(sound.max(), -sound.min()) > _SILENCE:
                    return sound, preset
        return None

    def _stem(self, index: int, number: int, share: np.ndarray) -> tuple[str, float]:
        gain = float(np.abs(share).max()) / _STEM_PEAK
        path = f"stems/{index:05d}-{number}.{self._settings.format}"
        self._write(path, share / np.float32(gain))
        return path, gain

    def _write(self, path: str, samples: np.ndarray) -> None:
        import soundfile

        settings = self._settings
        vorbis = settings.format == "ogg"
        options = {"compression_level": 1.0 - settings.quality} if vorbis else {}
        try:
            with soundfile.SoundFile(
                self._all.folder / path,
                "w",
                settings.sample_rate,
                channels=settings.channels,
                subtype=SUBTYPES[settings.format],
                **options,
            ) as stream:
                # libsndfile overflows its stack when it gets a long Vorbis stream in one piece.
                for start in range(0, len(samples), settings.sample_rate):
                    stream.write(samples[start : start + settings.sample_rate])
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path} cannot be written: {error}") from error


def _digest(samples: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(samples).tobytes()).digest()


def _events(notes: Sequence[Note], seconds: float) -> tuple[tuple[float, float], ...]:
    """Returns start and end of each note; a key struck again ends the note before."""
    struck: dict[int, float] = {}
    events = []
    for note in sorted(notes, key=lambda item: item.onset, reverse=True):
        end = min(note.onset + note.duration, struck.get(note.key, seconds), seconds)
        struck[note.key] = note.onset
        if end > note.onset:
            events.append((note.onset, end))
    return tuple(sorted(events))
