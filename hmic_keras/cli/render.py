"""`hmic render`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import _terminal


def render(
    out: Annotated[
        Path, typer.Option(file_okay=False, help="New folder for clips, labels and manifest.")
    ],
    soundfont: Annotated[
        Path, typer.Option(help="SoundFont: a file, or the name of an installed one.")
    ],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips.")],
    taxonomy: Annotated[
        str, typer.Option(help="Packaged name or file whose finest classes play.")
    ] = "openmic",
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 10.0,
    polyphony: Annotated[
        tuple[int, int], typer.Option(help="Fewest and most instruments in a clip.")
    ] = (1, 6),
    polyphony_decay: Annotated[
        float, typer.Option(help="Share of clips with one instrument more, to the next fewer.")
    ] = 1.0,
    midi: Annotated[
        Path | None, typer.Option(help="Folder of MIDI files to take the music from.")
    ] = None,
    empty: Annotated[
        float, typer.Option(help="Share of clips without instruments: noise, hum, silence.")
    ] = 0.0,
    modelled: Annotated[
        float, typer.Option(help="Share of the parts played by models, not by the SoundFont.")
    ] = 0.0,
    whole_range: Annotated[
        bool,
        typer.Option("--whole-range", help="Play high and low as often as in the middle."),
    ] = False,
    stems: Annotated[
        bool, typer.Option("--stems", help="Write each instrument by itself, too.")
    ] = False,
    stereo: Annotated[bool, typer.Option("--stereo", help="Two channels, not one.")] = False,
    format: Annotated[Literal["ogg", "flac", "wav"], typer.Option(help="File format.")] = "ogg",
    quality: Annotated[float, typer.Option(help="Vorbis quality of ogg, 0 to 1.")] = 0.4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest as JSON.")
    ] = False,
) -> None:
    """Render a labelled polyphonic corpus from a SoundFont.

    Needs the FluidSynth library and `pip install "hmic-keras[synth]"`.

    Example: `hmic render --out corpus --soundfont FluidR3_GM.sf2 --clips 500`
    """
    from ..data.synthesis import render_corpus
    from ..taxonomy import Taxonomy

    with _terminal.progress() as progress:
        manifest = render_corpus(
            Taxonomy.load(taxonomy),
            out,
            clips=clips,
            soundfont=soundfont,
            seconds=seconds,
            seed=seed,
            polyphony=polyphony,
            polyphony_decay=polyphony_decay,
            midi=midi,
            empty=empty,
            modelled=modelled,
            whole_range=whole_range,
            channels=2 if stereo else 1,
            stems=stems,
            quality=quality,
            format=format,
            processes=processes,
            progress=lambda done, total: progress("render", done, total),
        )
    if as_json:
        _terminal.say_json(manifest)
    else:
        _terminal.say(f"{clips} clips, labels.csv and manifest.json are in {out}")
