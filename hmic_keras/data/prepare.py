"""From audio files to a folder of records, in several processes, once.

A folder appears shard by shard; `manifest.json` comes last and says that it is complete. Until
then `unfinished/` keeps what is being made and what is done, so that a run that was stopped,
however rudely, goes on where it was. The same clips and settings give the same bytes, whatever
the number of processes and however often it was stopped.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .._files import sha256, write_json
from ..config import AudioConfig
from ..errors import AudioError, HmicError, RecordError
from ._shards import UNFINISHED, Shard, content_of, deal, is_finished, read_json, write_shard
from ._tables import some, write_table
from .prepared import FORMAT, INDEX, MANIFEST, SKIPPED, PreparedClips, read_manifest
from .processes import in_processes
from .records import SCHEMA, STORED, Features
from .sources.folder import LabelledClips

__all__ = ["prepare_clips"]

_PLAN = "plan.json"
_ON_ERROR = ("raise", "skip")


def prepare_clips(
    clips: LabelledClips,
    out: str | os.PathLike[str],
    *,
    features: Features = "waveform",
    audio: AudioConfig | None = None,
    clips_per_shard: int = 128,
    processes: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: Callable[[int, int], None] | None = None,
) -> PreparedClips:
    """Decodes, resamples and stores clips as sharded TFRecords for fast training.

    Running it again on a finished folder only compares clips (paths, file sizes, labels,
    notes) and settings with the manifest. A run that was stopped goes on with the shards it
    lacks, and makes those anew whose clips have changed since. Only one run may write to a
    folder at a time.

    A second at 16 kHz takes 32 kB as a waveform and 8 kB as a log-mel spectrogram. Each
    process holds one whole file at a time, decoded to 4 bytes a sample, more than once while
    it is resampled and stored.

    Args:
        clips: Labelled audio files.
        out: Folder to make, to complete or to find complete.
        features: `"waveform"` stores 16-bit samples, `"log_mel"` float16 frames of the layer
            `LogMelSpectrogram`, for models with `input="log_mel"`.
        audio: Settings; of a waveform only the sample rate counts. The default `AudioConfig()`.
        clips_per_shard: Clips in a file; 128 of ten seconds take 41 MB.
        processes: Processes to use; by default one per processor, at most one a shard. More
            than one, and any for `"log_mel"`, need an importable main module, as always with
            `spawn`: in a script, call this under `if __name__ == "__main__":`.
        on_error: Whether a file that cannot be used, silent ones included, ends the run or is
            left out and listed in `skipped.csv` with the reason.
        progress: Called with the numbers of finished and of all clips after each shard.

    Returns:
        The prepared clips, in the order of `clips`.

    Raises:
        AudioError: If a file cannot be used and `on_error="raise"`, or none can.
        HmicError: If an argument is out of range, or a process is ended.
        RecordError: If `out` holds something else, or was prepared from other clips or with
            other settings.

    Example:
        >>> import tempfile
        >>> from hmic_keras.data import demo_clips
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     records = prepare_clips(demo_clips("test").subset([4, 2]), f"{folder}/records")
        ...     records.ids, records.read(0, 16000, 32000).shape
        (('00004.ogg', '00002.ogg'), (16000,))
    """
    out = Path(out)
    audio = audio or AudioConfig()
    _check_arguments(clips, features, clips_per_shard, processes, on_error)
    ids = _ids(clips.paths)
    settings = _settings(clips, features, audio, clips_per_shard)
    content = content_of(clips.paths, ids, clips.labels, clips.events)
    if (out / MANIFEST).is_file():
        return _finished(out, {**settings, **content}, on_error)
    _start(out, settings)
    shards = list(deal(clips, ids, out, features, audio, clips_per_shard, on_error))
    reports = _write(shards, processes, progress)
    skipped = [(ids[row], why) for report in reports for row, why in report["skipped"]]
    if len(skipped) == len(clips):
        reasons = some([reason for _, reason in skipped], quote=False)
        raise AudioError(f"None of the {len(clips)} files can be used: {reasons}")
    making = out / UNFINISHED
    _write_index(making / INDEX, clips, ids, reports)
    write_table(making / SKIPPED, ("path", "reason"), skipped)
    manifest = _manifest(clips, shards, reports, {**settings, **content})
    manifest["index_sha256"] = sha256(making / INDEX)
    write_json(making / MANIFEST, manifest)
    _publish(out, [shard.file for shard in shards], bool(skipped))
    return PreparedClips.open(out)


def _check_arguments(
    clips: LabelledClips,
    features: str,
    clips_per_shard: int,
    processes: int | None,
    on_error: str,
) -> None:
    def positive(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0

    rules = [
        ("clips", "LabelledClips", type(clips).__name__, isinstance(clips, LabelledClips)),
        ("features", f"one of {', '.join(STORED)}", features, features in STORED),
        ("clips_per_shard", "a positive integer", clips_per_shard, positive(clips_per_shard)),
        (
            "processes",
            "a positive integer or None",
            processes,
            processes is None or positive(processes),
        ),
        ("on_error", f"one of {', '.join(_ON_ERROR)}", on_error, on_error in _ON_ERROR),
    ]
    for name, rule, value, holds in rules:
        if not holds:
            raise HmicError(f"`{name}` must be {rule}. Received: {value!r}")
    if not len(clips):
        raise HmicError("`clips` must hold at least one clip. Received none")


def _ids(paths: Sequence[Path]) -> tuple[str, ...]:
    """Returns the paths below their common folder, so that moving a corpus changes nothing."""
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return tuple(Path(os.path.relpath(path, root)).as_posix() for path in absolute)


def _settings(
    clips: LabelledClips, features: Features, audio: AudioConfig, clips_per_shard: int
) -> dict[str, Any]:
    """Returns what, beside the clips themselves, determines the bytes of the records."""
    return {
        "schema": SCHEMA,
        "taxonomy": clips.taxonomy.hash,
        "features": features,
        "audio": _relevant(audio, features),
        "clips_per_shard": clips_per_shard,
    }


def _relevant(audio: AudioConfig, features: Features) -> dict[str, Any]:
    values = audio.to_dict()
    return values if features == "log_mel" else {"sample_rate": values["sample_rate"]}


def _refuse_other_settings(
    out: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], state: str
) -> None:
    differing = sorted(
        key for key in {*theirs, *ours} if theirs.get(key, "") != ours.get(key, "")
    )
    if differing:
        raise RecordError(
            f"out: {out} {state} with other {', '.join(differing)}. Name another folder, or "
            "remove this one first."
        )


def _finished(out: Path, settings: Mapping[str, Any], on_error: str) -> PreparedClips:
    manifest = read_manifest(out)
    _refuse_other_settings(out, manifest["settings"], settings, "was prepared")
    # Left where a run was stopped after its last step but one.
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    if manifest["skipped"] and on_error == "raise":
        raise AudioError(
            f"{out} lacks {manifest['skipped']} files that could not be used; see "
            f"{out / SKIPPED}. Mend and prepare them in a new folder, or accept that they are "
            'skipped with on_error="skip".'
        )
    return PreparedClips.open(out)


def _start(out: Path, settings: dict[str, Any]) -> None:
    plan = out / UNFINISHED / _PLAN
    if plan.is_file():
        _refuse_other_settings(out, read_json(plan), settings, "is being prepared")
        return
    if out.exists() and (not out.is_dir() or set(out.iterdir()) - {plan.parent}):
        raise RecordError(
            f"out: {out} exists and is no folder of records. Name a new one, or remove it "
            "first."
        )
    write_json(plan, settings)


def _write(
    shards: Sequence[Shard],
    processes: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    """Writes the shards that are missing and returns the reports of all."""
    total = sum(len(shard.rows) for shard in shards)
    missing = [shard for shard in shards if not is_finished(shard)]
    done = total - sum(len(shard.rows) for shard in missing)

    def report(clips: int) -> None:
        if progress is not None:
            progress(clips, total)

    report(done)
    workers = min(processes or os.cpu_count() or 1, len(missing))
    # TensorFlow's threads, which change last bits, are set before it is imported: not here.
    alone = workers <= 1 and shards[0].features != "log_mel"
    results = (
        map(write_shard, missing)
        if alone or not missing
        else in_processes(write_shard, missing, workers, "prepare_clips")
    )
    for clips in results:
        done += clips
        report(done)
    return [read_json(shard.report) for shard in shards]


def _write_index(
    path: Path, clips: LabelledClips, ids: Sequence[str], reports: Sequence[Mapping[str, Any]]
) -> None:
    entries = [
        (row, number, offset, length)
        for number, report in enumerate(reports)
        for row, offset, length in report["entries"]
    ]
    rows, shards, offsets, lengths = np.array(entries, np.int64).T
    arrays: dict[str, np.ndarray] = {
        "ids": np.array([ids[row] for row in rows]),
        "shard": shards,
        "offset": offsets,
        "length": lengths,
        **{f"labels/{level}": values[rows] for level, values in clips.labels.items()},
    }
    if clips.events is not None:
        kept = [clips.events[row] for row in rows]
        arrays["events"] = np.concatenate(kept)
        arrays["event_splits"] = np.cumsum([len(notes) for notes in kept])[:-1]
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _publish(out: Path, files: Sequence[str], skipped: bool) -> None:
    """Moves what makes a folder complete into place, the manifest last."""
    making = out / UNFINISHED
    for stale in {path.name for path in out.glob("shard-*.tfrecord")} - set(files):
        (out / stale).unlink()
    for name in (INDEX, *([SKIPPED] if skipped else []), MANIFEST):
        os.replace(making / name, out / name)
    shutil.rmtree(making)


def _manifest(
    clips: LabelledClips,
    shards: Sequence[Shard],
    reports: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    entries = [entry for report in reports for entry in report["entries"]]
    rows = [row for row, _, _ in entries]
    features, audio = shards[0].features, shards[0].audio
    step = audio.hop_length if features == "log_mel" else 1
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "features": features,
        "audio": _relevant(audio, features),
        "clips": len(rows),
        "skipped": len(clips) - len(rows),
        "seconds": round(sum(length for *_, length in entries) * step / audio.sample_rate, 1),
        "events": clips.events is not None,
        "class_counts": {
            level: {
                name: {
                    "present": int((column > 0.5).sum()),
                    "observed": int((column >= 0).sum()),
                }
                for name, column in zip(
                    clips.taxonomy.classes(level), values[rows].T, strict=True
                )
            }
            for level, values in clips.labels.items()
        },
        "taxonomy": clips.taxonomy.to_dict(),
        "taxonomy_hash": clips.taxonomy.hash,
        "settings": dict(settings),
        "shards": [
            {
                "file": shard.file,
                "clips": len(report["entries"]),
                "bytes": report["bytes"],
                "sha256": report["sha256"],
            }
            for shard, report in zip(shards, reports, strict=True)
        ],
        "versions": _versions(features),
    }


def _versions(features: Features) -> dict[str, str]:
    import soundfile
    import soxr

    from .. import __version__

    found = {
        "hmic_keras": __version__,
        "numpy": np.__version__,
        "soxr": soxr.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }
    if features == "log_mel":
        found["tensorflow"] = metadata.version("tensorflow")
    return found
