"""Rendering a labelled polyphonic corpus from a SoundFont.

Each clip is a short piece in one key and tempo, in one of several styles, in which a few
classes play parts that suit them; or an excerpt of a MIDI file. Every part is rendered alone,
so labels and activity describe what is heard, then brought to a drawn level, coloured a
little, panned, mixed and put into a drawn room.

FluidSynth (LGPL-2.1) plays the SoundFont; it comes with the extra `[synth]` and a system
package. What a corpus may be used for follows from the licence of the SoundFont (and of the
MIDI files), whose own notices are kept in the manifest.
"""

from hmic_keras.data.synthesis._corpus import render_corpus
from hmic_keras.data.synthesis._settings import Format
from hmic_keras.data.synthesis._silence import draw_silence
from hmic_keras.data.synthesis._soundfont import find_soundfont

__all__ = ["Format", "draw_silence", "find_soundfont", "render_corpus"]
