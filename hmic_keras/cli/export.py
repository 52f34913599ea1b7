"""`hmic export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import _terminal


def export(
    model: Annotated[str, typer.Argument(help="Model name or path of a trained Keras model.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder to write.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--formats",
            "--format",
            help="keras, savedmodel, float32 (or tflite), float16, dynamic_int8, weight_int8, "
            "static_int8, w4, onnx; several with commas or by repeating it. The first three by "
            "default.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Label table (CSV); files are compared on its clips, and the mAP they lose "
            "on them is stated."
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Label table (CSV) of clips to compare on, instead of a few probes."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Label table (CSV) of typical clips, to quantise for and compare on; "
            "static_int8 needs one."
        ),
    ] = None,
    extras: Annotated[
        str | None,
        typer.Option(help="What to answer besides: attention_maps, embedding, or both."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest difference to Keras that is kept, instead of the usual."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the files and their differences as JSON.")
    ] = False,
) -> None:
    """Export a model, checked against the Keras answer, with its manifest.

    Example: `hmic export model --out exported --formats float32,dynamic_int8`
    """
    with _terminal.quiet():
        from .. import zoo
        from ..data.sources.folder import read_clips
        from ..export import export_model

        keras_model = zoo.load_model(model)
        taxonomy = keras_model.taxonomy
        options: dict[str, Any] = {"formats": _terminal.names(formats)} if formats else {}
        tables = {"evaluation": data, "waveforms": compare, "calibration": calibration}
        for name, table in tables.items():
            if table is not None:
                options[name] = read_clips(table, taxonomy)
        manifest = export_model(
            keras_model,
            out,
            **options,
            extras=_terminal.names([extras]) if extras else (),
            tolerance=tolerance,
        )
    if as_json:
        files = {kind: str(out / name) for kind, name in manifest["files"].items()}
        exports = manifest["exports"]
        _terminal.say_json({"files": files, "parity": manifest["parity"], "exports": exports})
        return
    for kind, name in manifest["files"].items():
        _terminal.say(f"{kind}: {out / name}{_note(manifest['exports'][kind])}")


def _note(export: dict[str, Any]) -> str:
    size = f"{export['size_bytes'] / 1e6:.2f} MB"
    if "parity" not in export:
        return f", {size}"
    report = export["parity"]
    note = (
        f", differs from Keras by at most {max(report['max'].values()):.1e} on "
        f"{report['inputs']} windows, {size}, {export['latency_ms']:.1f} ms a window"
    )
    lost = {level: values["lost"] for level, values in report.get("map", {}).items()}
    known = [f"{value:.4f} {level}" for level, value in lost.items() if value is not None]
    return note + (f", mAP lost: {', '.join(known)}" if known else "")
