"""FluidSynth with one SoundFont: a part in, its dry sound out."""

import ctypes
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hmic_keras.data.synthesis._instruments import Preset
from hmic_keras.data.synthesis._score import Control, Note
from hmic_keras.errors import AudioError, MissingDependencyError

_LOG = logging.getLogger("hmic_keras")
# FluidSynth computes blocks of 64 samples and applies events between them.
_BLOCK = 64
# Each channel of the library keeps one preset's samples in memory.
_CHANNELS = 256
_CHANNEL = 0
_CONTROLLERS = {"vibrato": 1, "expression": 11}
_ALL_CONTROLLERS_OFF = 121
_BEND_CENTRE, _BEND_PER_SEMITONE = 8192, 4096
_OK = 0
# At one moment endings come first, so that a key can be struck again, and controls before
# the notes that they shape.
_OFF, _CONTROL, _ON = range(3)
_pointer, _int = ctypes.c_void_p, ctypes.c_int
_side = (ctypes.POINTER(ctypes.c_float), _int, _int)
_SIGNATURES = {
    "new_fluid_settings": (_pointer,),
    "delete_fluid_settings": (None, _pointer),
    "fluid_settings_setint": (_int, _pointer, ctypes.c_char_p, _int),
    "fluid_settings_setnum": (_int, _pointer, ctypes.c_char_p, ctypes.c_double),
    "new_fluid_synth": (_pointer, _pointer),
    "delete_fluid_synth": (None, _pointer),
    "fluid_synth_sfload": (_int, _pointer, ctypes.c_char_p, _int),
    "fluid_synth_get_sfont_by_id": (_pointer, _pointer, _int),
    "fluid_synth_add_sfont": (_int, _pointer, _pointer),
    "fluid_synth_remove_sfont": (_int, _pointer, _pointer),
    "fluid_synth_program_select": (_int, _pointer, _int, _int, _int, _int),
    "fluid_synth_noteon": (_int, _pointer, _int, _int, _int),
    "fluid_synth_noteoff": (_int, _pointer, _int, _int),
    "fluid_synth_cc": (_int, _pointer, _int, _int, _int),
    "fluid_synth_pitch_bend": (_int, _pointer, _int, _int),
    "fluid_synth_all_sounds_off": (_int, _pointer, _int),
    "fluid_synth_write_float": (_int, _pointer, _int, *_side, *_side),
    "fluid_version": (None, *[ctypes.POINTER(_int)] * 3),
}
_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_INSTALL = (
    "Install the library (Debian and Ubuntu: apt-get install libfluidsynth3; macOS: brew "
    'install fluid-synth) and the Python binding (pip install "hmic-keras[synth]").'
)


@_LOG_CALLBACK
def _to_logging(level: int, message: bytes, _data: None) -> None:
    _LOG.debug("FluidSynth: %s", message.decode("utf-8", "replace"))


@lru_cache(maxsize=1)
def _load(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.fluid_set_log_function.argtypes = [_int, _LOG_CALLBACK, _pointer]
    library.fluid_set_log_function.restype = _pointer
    for level in range(5):
        library.fluid_set_log_function(level, _to_logging, None)
    return library


def import_fluidsynth() -> ctypes.CDLL:
    """Returns the FluidSynth library, its messages sent to the log.

    The Python binding finds it; the calls are made directly, since the binding offers neither
    float output nor a SoundFont that several synthesisers share.

    Raises:
        MissingDependencyError: If the binding or the library is absent or too old.
    """
    try:
        import fluidsynth

        return _load(fluidsynth.lib)
    except (ImportError, OSError, AttributeError) as error:
        raise MissingDependencyError(
            f"Rendering needs FluidSynth, which cannot be loaded ({error}). {_INSTALL}"
        ) from error


def fluidsynth_version() -> str:
    """Returns the version of the FluidSynth library, such as `2.3.1`.

    Raises:
        MissingDependencyError: If FluidSynth cannot be loaded.
    """
    library = import_fluidsynth()
    parts = (ctypes.c_int(), ctypes.c_int(), ctypes.c_int())
    library.fluid_version(*(ctypes.byref(part) for part in parts))
    return ".".join(str(part.value) for part in parts)


_Sides = tuple[Any, Any]


def _sides(sound: np.ndarray) -> _Sides:
    """Returns pointers to left and right, which keep the array alive."""
    return sound[0].ctypes.data_as(_side[0]), sound[1].ctypes.data_as(_side[0])


class SoundLibrary:
    """A SoundFont in memory and the players that share it.

    Args:
        soundfont: Path of the SoundFont.
        sample_rate: Samples a second of the output.

    Raises:
        MissingDependencyError: If FluidSynth cannot be loaded.
        AudioError: If FluidSynth cannot load the SoundFont.
    """

    def __init__(self, soundfont: Path, sample_rate: int) -> None:
        self._library = import_fluidsynth()
        self._rate = sample_rate
        self._settings = self._library.new_fluid_settings()
        for name, value in (
            (b"synth.reverb.active", 0),
            (b"synth.chorus.active", 0),
            (b"synth.dynamic-sample-loading", 1),
            (b"synth.polyphony", 256),
        ):
            self._library.fluid_settings_setint(self._settings, name, value)
        self._library.fluid_settings_setnum(self._settings, b"synth.gain", 0.5)
        self._library.fluid_settings_setnum(
            self._settings, b"synth.sample-rate", float(sample_rate)
        )
        self._keeper = self._new_synth(_CHANNELS)
        self._font = self._library.fluid_synth_sfload(self._keeper, str(soundfont).encode(), 0)
        if self._font < 0:
            self.close()
            raise AudioError(
                f"soundfont: FluidSynth cannot load {soundfont}. The file is damaged, or it is "
                "an SF3 and this FluidSynth was built without libsndfile; try an SF2."
            )
        self._shared = self._library.fluid_synth_get_sfont_by_id(self._keeper, self._font)
        self._kept: dict[Preset, int] = {}

    def _new_synth(self, channels: int) -> int:
        self._library.fluid_settings_setint(self._settings, b"synth.midi-channels", channels)
        return self._library.new_fluid_synth(self._settings)

    def close(self) -> None:
        """Frees the synthesiser and the SoundFont."""
        self._library.delete_fluid_synth(self._keeper)
        self._library.delete_fluid_settings(self._settings)

    def keep(self, preset: Preset) -> None:
        """Reads a preset's samples, if that is still to be done, and keeps them in memory."""
        if preset not in self._kept and len(self._kept) < _CHANNELS:
            channel = self._kept[preset] = len(self._kept)
            self._library.fluid_synth_program_select(self._keeper, channel, self._font, *preset)

    @contextmanager
    def player(self) -> Iterator["PartPlayer"]:
        """Yields a new player.

        A voice that has played before starts its next note a trace differently, so what must
        not depend on history needs a new player. That takes some milliseconds, as what was
        read from the SoundFont is shared.
        """
        synth = self._new_synth(16)
        try:
            font = self._library.fluid_synth_add_sfont(synth, self._shared)
            yield PartPlayer(self, self._library, synth, font, self._rate)
        finally:
            self._library.fluid_synth_remove_sfont(synth, self._shared)
            self._library.delete_fluid_synth(synth)


class PartPlayer:
    """Plays parts one at a time, dry; `SoundLibrary.player` makes one.

    The same calls in the same order on a new instance give the same samples.
    """

    def __init__(
        self, library: SoundLibrary, calls: ctypes.CDLL, synth: int, font: int, rate: int
    ) -> None:
        self._owner, self._library, self._rate = library, calls, rate
        self._synth, self._font = synth, font

    def render(
        self,
        notes: Sequence[Note],
        preset: Preset,
        *,
        frames: int,
        detune: float = 0.0,
        controls: Sequence[Control] = (),
    ) -> np.ndarray:
        """Plays `notes` with one preset.

        Args:
            notes: What to play.
            preset: `(bank, program)`.
            frames: Length of the result in samples.
            detune: Semitones added to every pitch; with any bend, -2 to 2.
            controls: Vibrato, swells and bends.

        Returns:
            Left and right, float32 of shape `(2, frames)`; full scale is 1 but may be
            exceeded.

        Raises:
            AudioError: If the SoundFont has no such preset.
        """
        self._owner.keep(preset)
        call, synth = self._library, self._synth
        if call.fluid_synth_program_select(synth, _CHANNEL, self._font, *preset) != _OK:
            raise AudioError(
                f"soundfont: no preset at bank {preset[0]}, program {preset[1]}. "
                "Use a SoundFont that has it."
            )
        call.fluid_synth_cc(synth, _CHANNEL, _ALL_CONTROLLERS_OFF, 0)
        self._control(Control(0.0, "bend", 0.0), detune)
        blocks = -(-frames // _BLOCK)
        sound = np.zeros((2, blocks * _BLOCK), np.float32)
        sides = _sides(sound)
        done = 0
        for at, kind, _, event in self._events(notes, controls, blocks):
            self._write(sides, done, at)
            done = at
            if isinstance(event, Control):
                self._control(event, detune)
            elif kind == _ON:
                call.fluid_synth_noteon(synth, _CHANNEL, event.key, event.velocity)
            else:
                call.fluid_synth_noteoff(synth, _CHANNEL, event.key)
        self._write(sides, done, blocks)
        call.fluid_synth_all_sounds_off(synth, _CHANNEL)
        # The voices just silenced leave the synthesiser with the next block.
        self._write(_sides(np.zeros((2, _BLOCK), np.float32)), 0, 1)
        return sound[:, :frames]

    def _control(self, control: Control, detune: float) -> None:
        if control.kind == "bend":
            wheel = _BEND_CENTRE + round((control.value + detune) * _BEND_PER_SEMITONE)
            wheel = min(max(wheel, 0), 2 * _BEND_CENTRE - 1)
            self._library.fluid_synth_pitch_bend(self._synth, _CHANNEL, wheel)
        else:
            number, value = _CONTROLLERS[control.kind], round(127 * control.value)
            self._library.fluid_synth_cc(self._synth, _CHANNEL, number, value)

    def _events(
        self, notes: Sequence[Note], controls: Sequence[Control], blocks: int
    ) -> list[tuple[int, int, int, Note | Control]]:
        """Returns `(block, kind, rank, event)` in playing order."""
        per_second = self._rate / _BLOCK
        sounding: dict[int, int] = {}
        events: list[tuple[int, int, int, Note | Control]] = []
        for note in sorted(notes, key=lambda item: item.onset, reverse=True):
            on = round(note.onset * per_second)
            # A key struck again ends the earlier note, whose own end would cut the later one.
            off = min(
                round((note.onset + note.duration) * per_second), sounding.get(note.key, blocks)
            )
            if on < blocks and off > on:
                events.append((on, _ON, note.key, note))
                events.append((off, _OFF, note.key, note))
                sounding[note.key] = on
        events += [
            (round(control.onset * per_second), _CONTROL, i, control)
            for i, control in enumerate(controls)
        ]
        return sorted((e for e in events if e[0] < blocks), key=lambda event: event[:3])

    def _write(self, sides: _Sides, start: int, stop: int) -> None:
        if stop <= start:
            return
        at, count = start * _BLOCK, (stop - start) * _BLOCK
        left, right = sides
        self._library.fluid_synth_write_float(self._synth, count, left, at, 1, right, at, 1)
