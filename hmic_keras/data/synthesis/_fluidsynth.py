"""One FluidSynth with one SoundFont: a part in, its dry sound out."""

import ctypes
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hmic_keras.data._score import Note
from hmic_keras.errors import AudioError, MissingDependencyError

_LOG = logging.getLogger("hmic_keras")
# FluidSynth computes blocks of 64 samples and applies events between them.
_BLOCK = 64
_CHANNELS = 256
_MODULATION_WHEEL, _ALL_CONTROLLERS_OFF = 1, 121
_BEND_PER_SEMITONE = 4096
_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_INSTALL = (
    "Install the library (Debian and Ubuntu: apt-get install libfluidsynth3; macOS: brew "
    'install fluid-synth) and the Python binding (pip install "hmic-keras[synth]").'
)


@_LOG_CALLBACK
def _to_logging(level: int, message: bytes, _data: None) -> None:
    _LOG.debug("FluidSynth: %s", message.decode("utf-8", "replace"))


def import_fluidsynth() -> tuple[Any, ctypes.CDLL]:
    """Returns the Python binding and the FluidSynth library, its messages sent to the log.

    Raises:
        MissingDependencyError: If the binding or the library is absent or too old.
    """
    try:
        import fluidsynth

        # The binding has no function for float output or for the log, so call the library.
        library = ctypes.CDLL(fluidsynth.lib)
        library.fluid_set_log_function.argtypes = [ctypes.c_int, _LOG_CALLBACK, ctypes.c_void_p]
        library.fluid_set_log_function.restype = ctypes.c_void_p
        side = (ctypes.POINTER(ctypes.c_float), ctypes.c_int, ctypes.c_int)
        library.fluid_synth_write_float.argtypes = [ctypes.c_void_p, ctypes.c_int, *side, *side]
    except (ImportError, OSError, AttributeError) as error:
        raise MissingDependencyError(
            f"Rendering needs FluidSynth, which cannot be loaded ({error}). {_INSTALL}"
        ) from error
    for level in range(5):
        library.fluid_set_log_function(level, _to_logging, None)
    return fluidsynth, library


def fluidsynth_version() -> str:
    """Returns the version of the FluidSynth library, such as `2.3.1`.

    Raises:
        MissingDependencyError: If FluidSynth cannot be loaded.
    """
    _, library = import_fluidsynth()
    parts = (ctypes.c_int(), ctypes.c_int(), ctypes.c_int())
    library.fluid_version(*(ctypes.byref(part) for part in parts))
    return ".".join(str(part.value) for part in parts)


class PartRenderer:
    """Plays parts one at a time, dry, in mono.

    The same calls in the same order on a new instance give the same samples. A voice that has
    played before starts its next note a trace differently, so what must not depend on history
    needs a new instance. That is cheap while another one has the presets loaded: instances in
    one process share what they read from a SoundFont.

    Args:
        soundfont: Path of the SoundFont.
        sample_rate: Samples a second of the output.

    Raises:
        MissingDependencyError: If FluidSynth cannot be loaded.
        AudioError: If FluidSynth cannot load the SoundFont.
    """

    def __init__(self, soundfont: Path, sample_rate: int) -> None:
        binding, self._library = import_fluidsynth()
        self._rate = sample_rate
        self._synth = binding.Synth(
            gain=0.5,
            samplerate=float(sample_rate),
            channels=_CHANNELS,
            **{
                "synth.reverb.active": 0,
                "synth.chorus.active": 0,
                "synth.dynamic-sample-loading": 1,
                "synth.polyphony": 256,
            },
        )
        self._font = self._synth.sfload(str(soundfont))
        if self._font < 0:
            raise AudioError(
                f"soundfont: FluidSynth cannot load {soundfont}. The file is damaged, or it is "
                "an SF3 and this FluidSynth was built without libsndfile; try an SF2."
            )
        self._channels: dict[tuple[int, int], int] = {}

    def close(self) -> None:
        """Frees the synthesiser and the SoundFont."""
        self._synth.delete()

    def load(self, preset: tuple[int, int]) -> int:
        """Reads a preset's samples, if that is still to be done, and keeps them.

        Args:
            preset: `(bank, program)`.

        Returns:
            The channel on which the preset plays.

        Raises:
            AudioError: If the SoundFont has no such preset.
        """
        if preset not in self._channels:
            channel = len(self._channels)
            if self._synth.program_select(channel, self._font, *preset) != 0:
                raise AudioError(
                    f"soundfont: no preset at bank {preset[0]}, program {preset[1]}. "
                    "Use a SoundFont that has it."
                )
            self._channels[preset] = channel
        return self._channels[preset]

    def render(
        self,
        notes: Iterable[Note],
        preset: tuple[int, int],
        *,
        frames: int,
        detune: float = 0.0,
        vibrato: int = 0,
    ) -> np.ndarray:
        """Plays `notes` with one preset.

        Args:
            notes: What to play.
            preset: `(bank, program)`.
            frames: Length of the result in samples.
            detune: Semitones added to every pitch, -2 to 2.
            vibrato: Modulation-wheel value, 0 to 127.

        Returns:
            Mono samples, float32 of shape `(frames,)`; full scale is 1 but may be exceeded.

        Raises:
            AudioError: If the SoundFont has no such preset.
        """
        channel = self.load(preset)
        synth = self._synth
        synth.cc(channel, _ALL_CONTROLLERS_OFF, 0)
        synth.cc(channel, _MODULATION_WHEEL, vibrato)
        synth.pitch_bend(channel, round(detune * _BEND_PER_SEMITONE))
        blocks = -(-frames // _BLOCK)
        sound = np.zeros((2, blocks * _BLOCK), np.float32)
        done = 0
        for at, is_on, key, velocity in self._events(notes, blocks):
            self._write(sound, done, at)
            done = at
            if is_on:
                synth.noteon(channel, key, velocity)
            else:
                synth.noteoff(channel, key)
        self._write(sound, done, blocks)
        synth.all_sounds_off(channel)
        # The voices just silenced leave the synthesiser with the next block.
        self._write(np.zeros((2, _BLOCK), np.float32), 0, 1)
        return sound.mean(axis=0)[:frames]

    def _events(self, notes: Iterable[Note], blocks: int) -> list[tuple[int, bool, int, int]]:
        """Returns `(block, is_on, key, velocity)` in playing order, endings first."""
        per_second = self._rate / _BLOCK
        sounding: dict[int, int] = {}
        events = []
        for note in sorted(notes, key=lambda item: item.onset, reverse=True):
            on = round(note.onset * per_second)
            # A key struck again ends the earlier note, whose own end would cut the later one.
            off = min(
                round((note.onset + note.duration) * per_second), sounding.get(note.key, blocks)
            )
            if on < blocks and off > on:
                events.append((on, True, note.key, note.velocity))
                events.append((off, False, note.key, 0))
                sounding[note.key] = on
        return sorted(event for event in events if event[0] < blocks)

    def _write(self, sound: np.ndarray, start: int, stop: int) -> None:
        if stop <= start:
            return
        pointer = ctypes.POINTER(ctypes.c_float)
        left, right = (side.ctypes.data_as(pointer) for side in sound)
        self._library.fluid_synth_write_float(
            self._synth.synth,
            (stop - start) * _BLOCK,
            left,
            start * _BLOCK,
            1,
            right,
            start * _BLOCK,
            1,
        )
